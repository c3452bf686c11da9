"""Bytes from outside: capped before they are parsed, and parser errors turned into one of ours.

Whatever an agent, a CA or a client sends goes through `capped` and is parsed inside `parsing`, so that no reader of
this package raises anything but `TooLarge` and `Unreadable` for hostile input.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidKey, UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

from certctl_core.errors import TooLarge, Unreadable

_PARSER_ERRORS: Final = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    NotImplementedError,
    UnsupportedAlgorithm,
    InvalidKey,
    # OpenSSL refused the bytes without saying why in a way the library knows.
    InternalError,
    # Where warnings are errors: what the library reads today and will refuse one day, such as a serial number of 0.
    CryptographyDeprecationWarning,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def capped(data: bytes | str, what: str, limit: int) -> bytes:
    """`data` as bytes, at most `limit` of them. Raises `TooLarge`, and `Unreadable` for text that is not ASCII."""
    if len(data) > limit:
        raise TooLarge(f"{what} is over {limit} bytes")
    if isinstance(data, bytes):
        return data
    try:
        return data.encode("ascii")
    except UnicodeEncodeError:
        raise Unreadable(f"{what} is neither PEM nor DER", hint="PEM is plain ASCII text.") from None


def is_pem(data: bytes) -> bool:
    """Whether there is a PEM boundary. DER structures begin with a SEQUENCE (0x30), which text may also begin with."""
    return b"-----BEGIN " in data


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Turns what the parsers of cryptography raise into `Unreadable`. `what` begins the message."""
    try:
        yield
    except _PARSER_ERRORS as problem:
        words = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
        raise Unreadable(f"{what} cannot be read: {words}") from problem
