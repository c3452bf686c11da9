"""The Merkle tree against the definitions of RFC 9162 taken literally, and against published values."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.pki import merkle
from certctl_core.pki.merkle import Edge, Subtree

# The tree that implementations of certificate transparency have in common for their tests: its entries and, by size,
# its roots.
ENTRIES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
ENTRIES += [bytes.fromhex("606162636465666768696a6b6c6d6e6f")]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
INCLUSION = {
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
CONSISTENCY = {
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
    (6, 7): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
}

# RFC 9162 sections 2.1.1, 2.1.3.1 and 2.1.4.1, word by word.


def k_of(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(entries: Sequence[bytes]) -> bytes:
    n = len(entries)
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = k_of(n)
    return sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(m: int, entries: Sequence[bytes]) -> list[bytes]:
    n = len(entries)
    if n == 1:
        return []
    k = k_of(n)
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def subproof(m: int, entries: Sequence[bytes], is_whole: bool) -> list[bytes]:
    n = len(entries)
    if m == n:
        return [] if is_whole else [mth(entries)]
    k = k_of(n)
    if m <= k:
        return [*subproof(m, entries[:k], is_whole), mth(entries[k:])]
    return [*subproof(m - k, entries[k:], False), mth(entries[:k])]


def entries_of(size: int) -> list[bytes]:
    return [number.to_bytes(4, "big") for number in range(size)]


def leaves_of(entries: Sequence[bytes]) -> list[bytes]:
    return [merkle.leaf_hash(entry) for entry in entries]


def resolved(ranges: Sequence[merkle.Range], entries: Sequence[bytes]) -> list[bytes]:
    """The hashes that stand for ranges, each computed from the complete subtrees it consists of."""
    return [merkle.fold([mth(entries[slice(*subtree.leaves)]) for subtree in merkle.cover(one)]) for one in ranges]


sizes = st.integers(1, 70)


@pytest.mark.parametrize("size", ROOTS)
def test_roots_are_those_that_everybody_has(size: int) -> None:
    assert merkle.root_of(leaves_of(ENTRIES[:size])).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_those_that_everybody_has(index: int, size: int) -> None:
    known = INCLUSION[index, size]
    assert [one.hex() for one in resolved(merkle.inclusion_path(index, size), ENTRIES[:size])] == list(known)


@pytest.mark.parametrize(("first", "second"), CONSISTENCY)
def test_consistency_proofs_are_those_that_everybody_has(first: int, second: int) -> None:
    known = CONSISTENCY[first, second]
    assert [one.hex() for one in resolved(merkle.consistency_path(first, second), ENTRIES[:second])] == list(known)


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_a_growing_tree_has_the_root_of_the_definition_at_every_size(entries: list[bytes]) -> None:
    edge = Edge()
    completed: dict[Subtree, bytes] = {}
    for size, entry in enumerate(entries, start=1):
        completed |= edge.add(merkle.leaf_hash(entry))
        assert (edge.size, edge.root()) == (size, mth(entries[:size]))
    assert set(completed) == {
        Subtree(level, position) for level in range(1, 8) for position in range(len(entries) >> level)
    }
    assert all(found == mth(entries[slice(*subtree.leaves)]) for subtree, found in completed.items())


@given(sizes, st.data())
def test_every_leaf_of_every_tree_can_be_proved(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    entries = entries_of(size)
    proof = resolved(merkle.inclusion_path(index, size), entries)
    assert proof == path(index, entries)
    leaf, root = merkle.leaf_hash(entries[index]), mth(entries)
    assert merkle.proves_inclusion(leaf, index, size, proof, root)


@given(sizes, st.data())
def test_an_inclusion_proof_proves_nothing_else(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    entries = entries_of(size)
    proof, leaf, root = path(index, entries), merkle.leaf_hash(entries[index]), mth(entries)
    other = merkle.leaf_hash(b"another entry")
    assert not merkle.proves_inclusion(other, index, size, proof, root)
    assert not merkle.proves_inclusion(leaf, index, size, proof, other)
    assert not merkle.proves_inclusion(leaf, index, size, [*proof, other], root)
    assert not merkle.proves_inclusion(leaf, size, size, proof, root)
    assert not merkle.proves_inclusion(leaf, -1, size, proof, root)
    for place in range(len(proof)):
        assert not merkle.proves_inclusion(leaf, index, size, proof[:place] + proof[place + 1 :], root)
        assert not merkle.proves_inclusion(leaf, index, size, [*proof[:place], other, *proof[place + 1 :]], root)
    for wrong in set(range(size)) - {index}:
        assert not merkle.proves_inclusion(leaf, wrong, size, proof, root)


@given(sizes, st.data())
def test_every_tree_is_shown_to_have_grown_out_of_every_smaller_one(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, second))
    entries = entries_of(second)
    proof = resolved(merkle.consistency_path(first, second), entries)
    assert proof == subproof(first, entries, True)
    assert merkle.proves_consistency(first, second, proof, mth(entries[:first]), mth(entries))


@given(st.integers(2, 70), st.data())
def test_a_changed_history_is_not_consistent(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, second - 1))
    changed = data.draw(st.integers(0, first - 1))
    before, after = entries_of(second), entries_of(second)
    after[changed] = b"changed"
    old, new, forged = mth(before[:first]), mth(after), subproof(first, after, True)
    assert not merkle.proves_consistency(first, second, forged, old, new)
    assert not merkle.proves_consistency(first, second, subproof(first, before, True), old, new)
    assert not merkle.proves_consistency(first, second, [], old, new)
    assert not merkle.proves_consistency(first, second, [*forged, old], mth(after[:first]), new)


def test_the_same_tree_is_consistent_with_itself_alone() -> None:
    root, other = mth(entries_of(5)), mth(entries_of(6))
    assert merkle.proves_consistency(5, 5, [], root, root)
    assert not merkle.proves_consistency(5, 5, [], root, other)
    assert not merkle.proves_consistency(5, 5, [other], root, root)
    assert not merkle.proves_consistency(6, 5, [], other, root)
    assert not merkle.proves_consistency(0, 5, [], merkle.EMPTY, root)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_what_is_not_there_has_no_path(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        merkle.inclusion_path(index, size)


@pytest.mark.parametrize(("first", "second"), [(0, 3), (4, 3), (-1, 0)])
def test_a_tree_does_not_shrink(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="grew"):
        merkle.consistency_path(first, second)


@given(sizes, st.data())
def test_some_leaves_and_what_is_beside_them_give_the_root(size: int, data: st.DataObject) -> None:
    entries = entries_of(size)
    chosen = data.draw(st.sets(st.integers(0, size - 1)))
    leaves = {index: merkle.leaf_hash(entries[index]) for index in chosen}
    needed = merkle.beside(sorted(chosen), size)
    proof = [mth(entries[slice(*subtree.leaves)]) for subtree in needed]
    assert merkle.root_above(leaves, size, proof) == mth(entries)
    assert not chosen & {index for subtree in needed for index in range(*subtree.leaves)}
    other = merkle.leaf_hash(b"another entry")
    for index in chosen:
        assert merkle.root_above(leaves | {index: other}, size, proof) != mth(entries)
    for place in range(len(proof)):
        with pytest.raises(ValueError, match="too few"):
            merkle.root_above(leaves, size, proof[:place] + proof[place + 1 :])
    with pytest.raises(ValueError, match="too many"):
        merkle.root_above(leaves, size, [*proof, other])
    for outside in (-1, size):
        with pytest.raises(ValueError, match="has not"):
            merkle.root_above(leaves | {outside: other}, size, proof)


def test_a_run_of_leaves_needs_no_more_than_its_ends_do() -> None:
    assert len(merkle.beside(range(5_000, 5_500), 1_000_000)) <= 40
    assert merkle.beside(range(64), 64) == ()
    assert merkle.beside([], 6) == (Subtree(2, 0), Subtree(1, 2))
    assert merkle.root_above({}, 0, []) == merkle.EMPTY


@given(st.integers(1, 1 << 40), st.data())
def test_proofs_are_short_whatever_the_size(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    longest = size.bit_length()
    for ranges in (merkle.inclusion_path(index, size), merkle.consistency_path(index + 1, size)):
        assert len(ranges) <= longest + 1
        assert sum(len(merkle.cover(one)) for one in ranges) <= 2 * longest
