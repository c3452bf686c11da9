"""The Merkle tree of a log that only grows, and proofs about it (RFC 9162 section 2).

    leaf    SHA-256(0x00 || entry)
    node    SHA-256(0x01 || left || right)
    root    of no leaves SHA-256(), of one leaf its hash, of more the node above the first 2^k leaves, 2^k being the
            largest power of two smaller than their number, and the rest

Theory of operation. A subtree is complete when it stands above 2^level leaves; once complete it never changes, however
large the tree grows. Every hash that a proof needs is the root of a range of leaves, and every such range consists of
at most log2(n) complete subtrees (`cover`), whose hashes folded from the right give the root of the range (`fold`). So
whoever stores complete subtrees answers every question with few reads, and whoever knows those at the right edge of the
tree (`Edge`) can let it grow and tell its root without anything else.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

from attrs import define, field, frozen

HASH_SIZE: Final = 32
EMPTY: Final = sha256().digest()
"""The root of a tree without leaves."""

Range = tuple[int, int]
"""Leaves from the first number up to, and without, the second."""


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


@frozen
class Subtree:
    """A complete subtree: the one at `position`, counted from the left, of those above 2^`level` leaves."""

    level: int
    position: int

    @property
    def leaves(self) -> Range:
        return self.position << self.level, (self.position + 1) << self.level


@define
class Edge:
    """The complete subtrees that a tree of `size` leaves consists of, by their hashes, the largest and leftmost
    first."""

    size: int = 0
    hashes: list[bytes] = field(factory=list)

    def add(self, leaf: bytes) -> Iterator[tuple[Subtree, bytes]]:
        """Append a leaf, given by its hash. Yields each subtree above it that it completed, from the bottom up; exhaust
        it before anything else."""
        level, number, above = 0, self.size, leaf
        while number & 1:
            level, number = level + 1, number >> 1
            above = node_hash(self.hashes.pop(), above)
            yield Subtree(level, number), above
        self.hashes.append(above)
        self.size += 1

    def root(self) -> bytes:
        return fold(self.hashes) if self.hashes else EMPTY


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root above complete subtrees that lie beside one another, as `cover` lists them."""
    *lefts, above = hashes
    for left in reversed(lefts):
        above = node_hash(left, above)
    return above


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root above leaves, given by their hashes."""
    edge = Edge()
    for leaf in leaves:
        for _ in edge.add(leaf):
            pass
    return edge.root()


def cover(leaves: Range) -> tuple[Subtree, ...]:
    """The complete subtrees that a range consists of, the leftmost first. The range is one of a tree: a whole tree, or
    what one of the functions below names."""
    start, end = leaves
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append(Subtree(level, start >> level))
        start += 1 << level
    return tuple(found)


def inclusion_path(index: int, size: int) -> tuple[Range, ...]:
    """What an inclusion proof of leaf `index` in a tree of `size` leaves consists of: the roots of these ranges, in
    order (RFC 9162 section 2.1.3.1). Raises ValueError when the tree has no such leaf."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    start, end, path = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return tuple(reversed(path))


def consistency_path(first: int, second: int) -> tuple[Range, ...]:
    """What a proof that a tree of `second` leaves begins with the one of `first` leaves consists of (RFC 9162 section
    2.1.4.1). Raises ValueError unless 0 < first <= second."""
    if not 0 < first <= second:
        raise ValueError(f"no tree of {second} leaves grew out of one of {first}")
    start, end, is_whole, path = 0, second, True, []
    while first < end:
        middle = start + _split(end - start)
        if first <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start, is_whole = middle, False
    if not is_whole:
        path.append((start, end))
    return tuple(reversed(path))


def beside(leaves: Sequence[int], size: int) -> tuple[Subtree, ...]:
    """What must be known beside some leaves, given in order, to compute the root: the complete subtrees that have none
    of them, the leftmost first. Together they are the inclusion proofs of all of them, each hash once."""
    found: list[Subtree] = []

    def walk(start: int, end: int, low: int, high: int) -> None:
        if low == high:
            found.extend(cover((start, end)))
        elif end - start > 1:
            middle = start + _split(end - start)
            cut = bisect_left(leaves, middle, low, high)
            walk(start, middle, low, cut)
            walk(middle, end, cut, high)

    walk(0, size, 0, len(leaves))
    return tuple(found)


def root_above(leaves: Mapping[int, bytes], size: int, hashes: Iterable[bytes]) -> bytes:
    """The root of a tree of `size` leaves, some of which have these hashes; `hashes` are those of the subtrees that
    `beside` names. Raises ValueError for leaves that such a tree has not, and for too few or too many hashes."""
    order, given = sorted(leaves), iter(hashes)
    if order and not 0 <= order[0] <= order[-1] < size:
        raise ValueError(f"a tree of {size} leaves has not all of the leaves {order[0]} to {order[-1]}")

    def walk(start: int, end: int, low: int, high: int) -> bytes:
        if low == high:
            return fold([next(given) for _ in cover((start, end))])
        if end - start == 1:
            return leaves[start]
        middle = start + _split(end - start)
        cut = bisect_left(order, middle, low, high)
        return node_hash(walk(start, middle, low, cut), walk(middle, end, cut, high))

    try:
        root = walk(0, size, 0, len(order)) if size else EMPTY
    except StopIteration:
        raise ValueError("the proof has too few hashes") from None
    if next(given, None) is not None:
        raise ValueError("the proof has too many hashes")
    return root


def proves_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` shows that leaf `index`, given by its hash, is in the tree (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    here, last, above = index, size - 1, leaf
    for beside in path:
        if last == 0:
            return False
        if here & 1 or here == last:
            above = node_hash(beside, above)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            above = node_hash(above, beside)
        here, last = here >> 1, last >> 1
    return last == 0 and above == root


def proves_consistency(first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Whether `path` shows that the second tree begins with the first one (RFC 9162 section 2.1.4.2)."""
    if not 0 < first <= second:
        return False
    if first == second:
        return not path and first_root == second_root
    if not path:
        return False
    steps = list(path) if first & (first - 1) else [first_root, *path]
    here, last = first - 1, second - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    old = new = steps[0]
    for beside in steps[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            old, new = node_hash(beside, old), node_hash(beside, new)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            new = node_hash(new, beside)
        here, last = here >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1
