"""How often a PKCS #12 file (RFC 7292) has passwords hashed, told before it is done.

Rounds are the file's choice: a few octets can ask for years of work. They are found without knowing every algorithm,
because wherever one takes rounds they are the INTEGER behind the OCTET STRING with the salt: PKCS #12's own parameters
(appendix C), those of PBKDF2 and PBMAC1 (RFC 8018, RFC 9579), the cost of scrypt (RFC 7914), and `macData`.

What is encrypted is not looked into. It can only be decrypted with the password, so what it asks for was put there by
somebody who shares that with whoever opens the file.
"""

from collections.abc import Iterator
from typing import Final

from certctl_core.errors import TooLarge, Unreadable
from certctl_core.pki import asn1
from certctl_core.pki.cms import ber

MAX_ROUNDS: Final = 2_000_000
"""Of the whole file, which has about three passwords hashed: a second or two. Today's advice is 600,000 rounds."""

_CONSTRUCTED: Final = 0x20
_EXPLICIT_0: Final = 0xA0
_MOST_VALUES: Final = 50_000
_DEEPEST: Final = 6
"""Octet strings within octet strings. A file has two: of contents, of bags."""


def require_few(data: bytes, what: str) -> None:
    """Raises `TooLarge` for more than `MAX_ROUNDS`, and `Unreadable` for what is not even BER."""
    total = sum(_rounds(ber.to_der(data, _MOST_VALUES), 0, 0))
    if total > MAX_ROUNDS:
        raise TooLarge(
            f"{what} has passwords hashed {total if total < 2**63 else 'very many'} times, more than {MAX_ROUNDS}",
            hint="Export it again with fewer rounds.",
        )


def _rounds(der: bytes, parent: int, depth: int) -> Iterator[int]:
    """The rounds that the values in `der`, which stand in one of tag `parent`, ask for."""
    before = 0
    for tag, content in _values(der):
        if tag == asn1.INTEGER and before == asn1.OCTET_STRING:
            yield int.from_bytes(content, "big")
        elif tag & _CONSTRUCTED:
            yield from _rounds(content, tag, depth)
        elif tag == asn1.OCTET_STRING and parent == _EXPLICIT_0:
            # The content of a ContentInfo, or a certificate.
            if depth == _DEEPEST:
                raise Unreadable("octet strings are nested too deeply")
            yield from _rounds(ber.to_der(content, _MOST_VALUES), 0, depth + 1)
        before = tag


def _values(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each value, of which `ber.to_der` has seen to it that they are whole."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            octets = length & 0x7F
            length, at = int.from_bytes(der[at : at + octets], "big"), at + octets
        yield tag, der[at : at + length]
        at += length
