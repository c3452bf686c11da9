"""Certificate serial numbers (RFC 5280 section 4.1.2.2) and their canonical text: lower-case hex, no leading zeros."""

import re
import secrets
from typing import Final

from certctl_core.errors import Invalid

MAX_OURS: Final = 2**159 - 1
"""The largest number whose DER INTEGER has 20 octets."""

_HEX: Final = re.compile(r"[0-9a-fA-F]{1,128}")


def new_serial() -> str:
    """159 random bits: as many as fit into 20 octets without a sign bit, so that two will never be equal."""
    return canonical(secrets.randbits(159) or 1)


def canonical(serial: int | str) -> str:
    """The canonical text of a positive number, or of hex in another spelling (capitals, zeros, `:` or `-` between).

    Raises `Invalid`.
    """
    return f"{to_int(serial):x}"


def to_int(serial: int | str) -> int:
    """The number. Texts are hex, as in `canonical`. Raises `Invalid` unless it is positive."""
    if isinstance(serial, str):
        digits = serial.replace(":", "").replace("-", "")
        if _HEX.fullmatch(digits) is None:
            raise Invalid.field("serial_number", "must be up to 128 hexadecimal digits")
        serial = int(digits, 16)
    if serial <= 0:
        raise Invalid.field("serial_number", "must be positive")
    return serial
