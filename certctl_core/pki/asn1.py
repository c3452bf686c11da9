"""The little DER (X.690) that is written by hand, where the library's builders are too slow."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from certctl_core.errors import Invalid

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
PRINTABLE_STRING: Final = 0x13
SEQUENCE: Final = 0x30
SET: Final = 0x31

TRUE: Final = b"\x01\x01\xff"
NULL: Final = b"\x05\x00"


def tlv(tag: int, content: bytes) -> bytes:
    """One value in definite-length form (X.690 section 8.1.3)."""
    return header(tag, len(content)) + content


def header(tag: int, length: int) -> bytes:
    """What stands before a content of so many octets."""
    if length < 0x80:
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


def sequence(*parts: bytes) -> bytes:
    """SEQUENCE of encoded values."""
    return tlv(SEQUENCE, b"".join(parts))


def integer(value: int) -> bytes:
    """INTEGER that is not negative: the fewest octets that leave the sign bit clear (X.690 section 8.3)."""
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def bit_string(content: bytes) -> bytes:
    """BIT STRING without unused bits."""
    return tlv(BIT_STRING, b"\0" + content)


def time(at: datetime) -> bytes:
    """Time of RFC 5280 sections 4.1.2.5 and 5.1.2.4: UTCTime through 2049, GeneralizedTime from 2050.

    A fraction of a second is dropped. Raises `Invalid` for a time without zone.
    """
    at = _in_utc(at)
    # A million of these are written for a large CRL; strftime takes three times as long.
    if at.year < 2050:
        return b"\x17\x0d%02d%02d%02d%02d%02d%02dZ" % (at.year % 100, at.month, at.day, at.hour, at.minute, at.second)
    return generalized_time(at)


def generalized_time(at: datetime) -> bytes:
    """GeneralizedTime whatever the year, as extensions have it (RFC 5280 section 5.3.2). As `time` otherwise."""
    at = _in_utc(at)
    return b"\x18\x0f%04d%02d%02d%02d%02d%02dZ" % (at.year, at.month, at.day, at.hour, at.minute, at.second)


@lru_cache(maxsize=256)
def object_identifier(dotted: str) -> bytes:
    """OBJECT IDENTIFIER (X.690 section 8.19)."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    octets = bytearray()
    for arc in (40 * first + second, *rest):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(0x80 | arc & 0x7F)
        octets += bytes(reversed(digits))
    return tlv(OBJECT_IDENTIFIER, bytes(octets))


def octets(content: bytes) -> bytes:
    """OCTET STRING."""
    return tlv(OCTET_STRING, content)


def printable(text: str) -> bytes:
    """PrintableString. Its alphabet (X.680 section 41.4) is the caller's business."""
    return tlv(PRINTABLE_STRING, text.encode("ascii"))


def set_of(*parts: bytes) -> bytes:
    """SET OF encoded values, in the order of DER (X.690 section 11.6)."""
    return tlv(SET, b"".join(sorted(parts)))


def _in_utc(at: datetime) -> datetime:
    if at.tzinfo is UTC:
        return at
    if at.tzinfo is None:
        raise Invalid(f"{at} is a time without zone")
    return at.astimezone(UTC)
