"""BER (X.690 section 8) made DER, as far as CMS senders deviate from it.

CMS may be sent in BER, and some senders do: lengths that are indefinite or longer than needed, and octet strings in
pieces. That is what is put right here; order within sets and values of primitive types are left as they came, because
signatures were made over them. The input is bounded in depth and in number of values, and read once from left to right.
"""

from typing import Final

from certctl_core.errors import Unreadable
from certctl_core.pki import asn1

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 4000

_CONSTRUCTED: Final = 0x20
_INDEFINITE: Final = 0x80
_OCTETS_IN_PIECES: Final = asn1.OCTET_STRING | _CONSTRUCTED


def to_der(data: bytes, most: int = MAX_VALUES) -> bytes:
    """The one value that `data` is, made of at most so many, in definite-length form. Raises `Unreadable`."""
    reader = _Reader(data, most)
    tag, content = reader.value(len(data), 0)
    if reader.at != len(data):
        raise Unreadable("there are bytes behind the end of the message")
    return asn1.tlv(tag, content)


class _Reader:
    def __init__(self, data: bytes, most: int) -> None:
        self._data = data
        self._left = most
        self.at = 0

    def value(self, end: int, depth: int) -> tuple[int, bytes]:
        """Tag and content of the value that begins here and has to end by `end`."""
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise Unreadable("the message is made of too many parts, or nested too deeply")
        tag = self._octet(end)
        if tag & 0x1F == 0x1F or tag == 0:
            raise Unreadable(f"the message has a tag {tag:#04x} where none of CMS can be")
        length = self._length(end)
        if length is None:
            if not tag & _CONSTRUCTED:
                raise Unreadable("a primitive value of the message has no length")
            return self._joined(tag, self._until_marked(end, depth + 1))
        stop = self.at + length
        if stop > end:
            raise Unreadable("the message ends early")
        if tag & _CONSTRUCTED:
            parts = []
            while self.at < stop:
                parts.append(self.value(stop, depth + 1))
            return self._joined(tag, parts)
        content = self._data[self.at : stop]
        self.at = stop
        return tag, content

    def _until_marked(self, end: int, depth: int) -> list[tuple[int, bytes]]:
        """The values up to the end-of-contents octets (section 8.1.5)."""
        parts = []
        while self._data[self.at : min(self.at + 2, end)] != b"\0\0":
            parts.append(self.value(end, depth))
        self.at += 2
        return parts

    @staticmethod
    def _joined(tag: int, parts: list[tuple[int, bytes]]) -> tuple[int, bytes]:
        if tag != _OCTETS_IN_PIECES:
            return tag, b"".join(asn1.tlv(*part) for part in parts)
        if any(inner != asn1.OCTET_STRING for inner, _ in parts):
            raise Unreadable("an octet string of the message has pieces that are none")
        return asn1.OCTET_STRING, b"".join(content for _, content in parts)

    def _length(self, end: int) -> int | None:
        first = self._octet(end)
        if first < 0x80:
            return first
        if first == _INDEFINITE:
            return None
        # Five octets say more than any message has.
        if first > 0x84:
            raise Unreadable("a length in the message is too long")
        length = 0
        for _ in range(first & 0x7F):
            length = length << 8 | self._octet(end)
        return length

    def _octet(self, end: int) -> int:
        if self.at >= end:
            raise Unreadable("the message ends early")
        octet = self._data[self.at]
        self.at += 1
        return octet
