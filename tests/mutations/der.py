"""Mutations that know DER (X.690): a value is taken out, put in twice, given another tag or a length that lies.

Lengths around the place of a mutation are written anew, so that what is wrong is wrong in one place and readers get as
far as it. What cannot be parsed is mutated byte by byte.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from attrs import frozen

CONSTRUCTED: Final = 0x20
OCTET_STRING: Final = 0x04
BIT_STRING: Final = 0x03
DEEPEST: Final = 40


@frozen
class Place:
    """Where a value is: its tag and length begin at `start`, its content at `content`, and it ends before `end`."""

    start: int
    content: int
    end: int
    parent: int | None


@lru_cache(maxsize=4)
def places(data: bytes) -> tuple[Place, ...]:
    """All values that can be made out, the outer before the inner; values inside of strings too."""
    found: list[Place] = []
    _descend(data, 0, len(data), None, 0, found)
    return tuple(found)


def _descend(data: bytes, start: int, end: int, parent: int | None, depth: int, found: list[Place]) -> None:
    while start < end:
        content, after = _header(data, start, end)
        if content == 0:
            return
        found.append(Place(start, content, after, parent))
        here = len(found) - 1
        inside = _inside(data, start, content, after)
        if inside is not None and depth < DEEPEST:
            _descend(data, inside, after, here, depth + 1, found)
        start = after


def _header(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the content begins and where it ends; (0, 0) when there is no value."""
    at = start + 1
    if data[start] & 0x1F == 0x1F:
        while at < end and data[at] & 0x80:
            at += 1
        at += 1
    if at >= end:
        return 0, 0
    length, at = data[at], at + 1
    if length & 0x80:
        octets = length & 0x7F
        length, at = int.from_bytes(data[at : at + octets], "big"), at + octets
    return (at, at + length) if at + length <= end else (0, 0)


def _inside(data: bytes, start: int, content: int, end: int) -> int | None:
    """Where the values within begin, None when there are none."""
    if data[start] & CONSTRUCTED:
        return content
    if data[start] == BIT_STRING and end - content > 2 and data[content] == 0:
        content += 1
    elif data[start] != OCTET_STRING:
        return None
    holds = (
        end - content > 2 and data[content] in (0x30, 0x31, 0x02, 0x04, 0x16) and _header(data, content, end)[1] == end
    )
    return content if holds else None


def replaced(data: bytes, index: int, new: bytes) -> bytes:
    """`data` with other bytes in place of a value, and the lengths around them right."""
    all_places = places(data)
    place = all_places[index]
    while place.parent is not None:
        above = all_places[place.parent]
        content = data[above.content : place.start] + new + data[place.end : above.end]
        new = _tag(data, above) + length_of(len(content)) + content
        place = above
    return data[: place.start] + new + data[place.end :]


def _tag(data: bytes, place: Place) -> bytes:
    """The octets of the tag, which may be several."""
    end = place.start + 1
    if data[place.start] & 0x1F == 0x1F:
        while data[end] & 0x80:
            end += 1
        end += 1
    return data[place.start : end]


def length_of(length: int) -> bytes:
    """A length in the fewest octets."""
    if length < 0x80:
        return bytes((length,))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


# What is done to a value. Each takes tag, content and a number to choose by, and gives what stands there instead.

Change = Callable[[bytes, bytes, int], bytes]

_TAGS: Final = (
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0C, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1A, 0x1C, 0x1E, 0x24, 0x30, 0x31,
    0x80, 0x81, 0x82, 0x86, 0x87, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0x00, 0x9F, 0xFF,
)  # fmt: skip
_STRINGS: Final = (0x0C, 0x12, 0x13, 0x14, 0x16, 0x19, 0x1A, 0x1B, 0x1C, 0x1E)
_LENGTHS: Final = (
    b"\x80", b"\x81\x05", b"\x82\x00\x05", b"\x84\x7f\xff\xff\xff", b"\x84\xff\xff\xff\xff",
    b"\x88\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x88\xff\xff\xff\xff\xff\xff\xff\xff", b"\xff",
    b"\x85\x00\x00\x00\x00\x01",
)  # fmt: skip
_INTEGERS: Final = (
    b"", b"\x00", b"\x80", b"\xff", b"\x00\x00", b"\x00\x01", b"\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x80\x00\x00\x00",
    b"\x7f" + b"\xff" * 7, b"\x00" + b"\xff" * 20, b"\x7f" * 21, b"\x01" + b"\x00" * 255, b"\x7f" + b"\xff" * 4095,
    b"\x7f" + b"\xff" * 30000,
)  # fmt: skip
_OIDS: Final = (
    b"",
    b"\x80",
    b"\x55\x80",
    b"\x55\x1d\x8f",
    b"\x2a" + b"\xff" * 40 + b"\x7f",
    b"\x55\x1d\x11",
    b"\x2b" * 2000,
)
_TIMES: Final = (
    b"\x17\x0d500101000000Z", b"\x17\x0d260230000000Z", b"\x17\x0b2601010000Z", b"\x17\x11260101000000+0100",
    b"\x18\x0f99991231235959Z", b"\x18\x0f00000101000000Z", b"\x18\x1220260101000000.5Z", b"\x17\x00",
    b"\x18\x0f20261301000000Z",
)  # fmt: skip
_TEXTS: Final = (
    b"\x00",
    b"a\x00b",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"",
    b"*",
    b"." * 300,
    b"\xf0\x9f\x92\xa9",
    b"x" * 70000,
)


def value(tag: bytes, content: bytes) -> bytes:
    return tag + length_of(len(content)) + content


def _flip(tag: bytes, content: bytes, number: int) -> bytes:
    if not content:
        return value(tag, bytes((number & 0xFF,)))
    changed = bytearray(content)
    changed[(number >> 3) % len(content)] ^= 1 << (number & 7)
    return value(tag, bytes(changed))


def _wrapped(tag: bytes, content: bytes, number: int) -> bytes:
    """In up to 4096 others, each in the next."""
    inner, outer = value(tag, content), bytes(((0x30, 0x31, 0xA0, 0x24)[number & 3],))
    for _ in range(1 << (number >> 2) % 13):
        inner = value(outer, inner)
    return inner


CHANGES: Final[dict[str, Change]] = {
    "gone": lambda tag, content, number: b"",
    "twice": lambda tag, content, number: value(tag, content) * 2,
    "many times": lambda tag, content, number: (
        value(tag, content) * min(2 + number % 2000, 1 + 60000 // (len(content) + 1))
    ),
    "empty": lambda tag, content, number: value(tag, b""),
    "a bit": _flip,
    "another tag": lambda tag, content, number: value(bytes((_TAGS[number % len(_TAGS)],)), content),
    "any tag": lambda tag, content, number: value(bytes((number & 0xFF,)), content),
    "a long tag": lambda tag, content, number: value(b"\x1f" + b"\xff" * (number % 8) + b"\x01", content),
    "constructed or not": lambda tag, content, number: value(bytes((tag[0] ^ CONSTRUCTED,)) + tag[1:], content),
    "another string": lambda tag, content, number: value(bytes((_STRINGS[number % len(_STRINGS)],)), content),
    "a length that lies": lambda tag, content, number: (
        tag + length_of(max(0, len(content) + (-1, 1, -7, 7, 127, 128, 65536)[number % 7])) + content
    ),
    "a strange length": lambda tag, content, number: tag + _LENGTHS[number % len(_LENGTHS)] + content,
    "a longer length": lambda tag, content, number: (
        tag + bytes((0x80 | 1 + number % 8,)) + len(content).to_bytes(8, "big")[-(1 + number % 8) :] + content
    ),
    "indefinite": lambda tag, content, number: tag + b"\x80" + content + (b"\0\0" if number & 1 else b""),
    "indefinite and constructed": lambda tag, content, number: (
        bytes((tag[0] | CONSTRUCTED,)) + b"\x80" + content + b"\0\0"
    ),
    "in pieces": lambda tag, content, number: value(
        bytes((tag[0] | CONSTRUCTED,)), value(b"\x04", content[: number % 9]) + value(b"\x04", content[number % 9 :])
    ),
    "shorter": lambda tag, content, number: value(tag, content[: number % (len(content) + 1)]),
    "longer": lambda tag, content, number: value(tag, content + bytes(1 + number % 40)),
    "a number": lambda tag, content, number: value(tag, _INTEGERS[number % len(_INTEGERS)]),
    "a number in its place": lambda tag, content, number: value(
        b"\x02", number.to_bytes(8, "big")[-(number % 9) or 8 :]
    ),
    "an OID": lambda tag, content, number: value(b"\x06", _OIDS[number % len(_OIDS)]),
    "a time": lambda tag, content, number: _TIMES[number % len(_TIMES)],
    "a text": lambda tag, content, number: value(tag, _TEXTS[number % len(_TEXTS)]),
    "nested": _wrapped,
    "unused bits": lambda tag, content, number: value(b"\x03", bytes((number & 0xFF,)) + content),
    "rubbish behind": lambda tag, content, number: value(tag, content) + bytes((number & 0xFF,)) * (1 + number % 5),
    "rubbish within": lambda tag, content, number: value(tag, content + b"\x05\x00" * (1 + number % 3)),
    "null": lambda tag, content, number: b"\x05\x00",
}

ANYWHERE: Final = ("one from elsewhere", "a byte", "cut off", "behind it all")


def mutated(data: bytes, change: str, at: int, number: int) -> bytes:
    """`data` changed in one place. Every `at` and `number` has a meaning."""
    found = places(data)
    if change in CHANGES and found:
        place = found[at % len(found)]
        new = CHANGES[change](_tag(data, place), data[place.content : place.end], number)
        return replaced(data, at % len(found), new)
    match change:
        case "one from elsewhere" if found:
            other = found[number % len(found)]
            return replaced(data, at % len(found), data[other.start : other.end])
        case "cut off":
            return data[: at % (len(data) + 1)]
        case "behind it all":
            return data + number.to_bytes(8, "big")[-(1 + at % 8) :]
    changed = bytearray(data or b"\0")
    changed[at % len(changed)] = number & 0xFF
    return bytes(changed)


def neighbours(data: bytes, change: str, at: int, number: int, count: int) -> Iterator[bytes]:
    """The same change at `count` places and with as many numbers, spread over the whole."""
    for turn in range(count):
        yield mutated(data, change, at + turn * 7, number + turn * 0x9E37)
