"""The Merkle tree of the audit trail as stores keep it."""

from collections.abc import Sequence
from hashlib import sha256

import pytest

from certctl_core.errors import Duplicate, Invalid, NotFound
from certctl_core.models.records import AuditEvent
from certctl_core.models.trail import Checkpoint, Entry
from certctl_core.pki import merkle
from certctl_core.pki.merkle import Edge, Subtree
from certctl_core.ports.store import Is, Query, StoredSigner, Where, Work
from tests.contract.store import facts
from tests.contract.store.facts import AT, HOUR, SECOND, OpenWork


def events(count: int, first: int = 1) -> list[AuditEvent]:
    return [facts.event(f"audit-{n:04}", details={"n": n}) for n in range(first, first + count)]


def write(store: OpenWork, *added: AuditEvent) -> None:
    with store() as work:
        work.audit.add(*added)


def seal(store: OpenWork, limit: int = 1000) -> list[Entry]:
    """What sealing does, without signing."""
    with store() as work:
        return grow(work, Edge(size_of(work), edge_of(work)), limit)


def size_of(work: Work) -> int:
    return len(work.seals.leaves(0, 100_000))


def edge_of(work: Work) -> list[bytes]:
    cover = merkle.cover((0, size_of(work)))
    hashes = work.seals.hashes(cover)
    return [hashes[subtree] for subtree in cover]


def grow(work: Work, edge: Edge, limit: int) -> list[Entry]:
    taken = list(work.seals.take(limit))
    first, leaves = edge.size, [merkle.leaf_hash(entry.text.encode()) for entry in taken]
    completed: dict[Subtree, bytes] = {}
    for leaf in leaves:
        completed.update(edge.add(leaf))
    work.seals.append(first, [entry.seq for entry in taken], leaves, completed)
    return taken


def ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.id for entry in entries]


def checkpoint(size: int) -> Checkpoint:
    root = sha256(str(size).encode()).digest()
    return Checkpoint(tree_size=size, root_hash=root, created_at=AT + size * SECOND, note=f"note of {size}\n")


class TestWaiting:
    def test_an_event_waits_from_the_moment_it_is_written(self, store: OpenWork) -> None:
        write(store, *events(3))
        with store() as work:
            assert work.seals.waiting() == 3
            longest = work.seals.longest_waiting()
            assert longest is not None
            assert longest.id == "audit-0001"

    def test_what_waits_is_taken_in_the_order_of_writing(self, store: OpenWork) -> None:
        write(store, *events(2, first=8))
        write(store, *events(3))
        with store() as work:
            assert ids(list(work.seals.take(4))) == ["audit-0008", "audit-0009", "audit-0001", "audit-0002"]
        with store() as work:
            assert ids(list(work.seals.take(4))) == ["audit-0003"]
            assert list(work.seals.take(4)) == []
            assert (work.seals.waiting(), work.seals.longest_waiting()) == (0, None)

    def test_what_waits_is_taken_from_a_number_on(self, store: OpenWork) -> None:
        write(store, *events(5))
        with store() as work:
            third = work.seals.entry("audit-0003").seq
            assert ids(list(work.seals.take(2, third))) == ["audit-0003", "audit-0004"]
        with store() as work:
            assert ids(list(work.seals.take(9))) == ["audit-0001", "audit-0002", "audit-0005"]

    def test_an_entry_is_the_event_as_it_was_written(self, store: OpenWork) -> None:
        event = facts.event(details={"b": "ü", "a": [1.5, None]}, request_id="req-1")
        write(store, event)
        with store() as work:
            (entry,) = work.seals.take(1)
            assert entry.seq > 0
            assert entry == Entry.of(event, entry.seq)
            assert work.seals.entry("audit-1") == entry
            with pytest.raises(NotFound, match="nothing"):
                work.seals.entry("nothing")

    def test_what_a_failed_transaction_took_waits_on(self, store: OpenWork) -> None:
        write(store, *events(2))
        with pytest.raises(Duplicate), store() as work:
            work.seals.append(7, [entry.seq for entry in work.seals.take(10)] * 2, [bytes(32)] * 4, {})
        with store() as work:
            assert work.seals.waiting() == 2
            assert work.seals.leaves(0, 10) == []

    def test_an_event_that_was_rolled_back_never_waits(self, store: OpenWork) -> None:
        with pytest.raises(Duplicate), store() as work:
            work.audit.add(*events(2), *events(1))
        write(store, *events(1, first=3))
        assert ids(seal(store)) == ["audit-0003"]


class TestTree:
    @pytest.mark.parametrize("steps", [(1,), (5,), (1, 1, 1), (16, 1, 16), (3, 300, 14), (255, 2)])
    def test_every_subtree_can_be_asked_for(self, store: OpenWork, steps: tuple[int, ...]) -> None:
        total = sum(steps)
        write(store, *events(total))
        leaves = [merkle.leaf_hash(entry.text.encode()) for step in steps for entry in seal(store, step)]
        wanted = [Subtree(level, at) for level in range(total.bit_length()) for at in range(total >> level)]
        with store() as work:
            found = work.seals.hashes(wanted)
            absent = work.seals.hashes([Subtree(0, total), Subtree(4, total >> 4), Subtree(9, 7)])
        assert found == {subtree: merkle.root_of(leaves[slice(*subtree.leaves)]) for subtree in wanted}
        assert absent == {}

    def test_leaves_say_where_they_are(self, store: OpenWork) -> None:
        write(store, *events(20))
        seal(store, 7)
        with store() as work:
            first, middle, after = work.seals.leaves(0, 3), work.seals.leaves(5, 10), work.seals.leaves(7, 5)
            known, unknown = work.seals.entry("audit-0006"), work.seals.entry("audit-0008")
        assert [(entry.id, entry.leaf_index) for entry in first] == [(f"audit-{n:04}", n - 1) for n in (1, 2, 3)]
        assert ids(middle) == ["audit-0006", "audit-0007"]
        assert after == []
        assert (known.leaf_index, known.leaf_hash) == (5, merkle.leaf_hash(known.text.encode()))
        assert (unknown.leaf_index, unknown.leaf_hash) == (None, None)

    def test_what_is_beyond_a_size_is_found_sealed_or_not(self, store: OpenWork) -> None:
        write(store, *events(10))
        seal(store, 4)
        seal(store, 3)
        with store() as work:
            low = work.seals.entry("audit-0003").seq
            assert ids(work.seals.beyond(4, low, 100)) == [f"audit-{n:04}" for n in range(5, 11)]
            assert ids(work.seals.beyond(7, low, 2)) == ["audit-0008", "audit-0009"]
            last = work.seals.entry("audit-0009").seq
            assert ids(work.seals.beyond(0, last, 5)) == ["audit-0009", "audit-0010"]

    def test_no_leaf_and_no_event_is_in_the_tree_twice(self, store: OpenWork) -> None:
        write(store, *events(3))
        seal(store, 2)
        with store() as work:
            one, three = work.seals.entry("audit-0001"), work.seals.entry("audit-0003")
        with pytest.raises(Duplicate), store() as work:
            work.seals.append(1, [three.seq], [bytes(32)], {})
        with pytest.raises(Duplicate), store() as work:
            work.seals.append(2, [one.seq], [bytes(32)], {})

    def test_entries_are_narrowed_and_paged_as_events_are(self, store: OpenWork) -> None:
        later = [facts.event(f"audit-9{n}", actor="other", timestamp=AT + n * HOUR) for n in range(5)]
        write(store, *events(3), *later)
        seal(store, 5)
        where = (Where("actor", "other"), Where("timestamp", AT, Is.AFTER))
        with store() as work:
            first = work.seals.entries(Query(where, sort="timestamp", limit=2))
            last = first.items[-1]
            rest = work.seals.entries(Query(where, sort="timestamp", limit=2, after=(last.timestamp, last.id)))
            with pytest.raises(Invalid, match="audit event"):
                work.seals.entries(Query((Where("details", "x"),)))
        assert [(e.id, e.leaf_index) for e in (*first.items, *rest.items)] == [
            ("audit-91", 4),
            ("audit-92", None),
            ("audit-93", None),
            ("audit-94", None),
        ]
        assert (first.total, first.more, rest.more) == (4, True, False)


class TestCheckpoints:
    def test_the_latest_is_that_of_the_largest_tree(self, store: OpenWork) -> None:
        with store() as work:
            assert work.seals.latest() is None
            for size in (5, 10, 9):
                work.seals.add_checkpoint(checkpoint(size))
        with store() as work:
            assert work.seals.latest() == checkpoint(10)
            assert work.seals.checkpoint(9) == checkpoint(9)
            with pytest.raises(NotFound, match="7"):
                work.seals.checkpoint(7)

    def test_there_is_one_of_a_size(self, store: OpenWork) -> None:
        with store() as work:
            work.seals.add_checkpoint(checkpoint(5))
        with pytest.raises(Duplicate), store() as work:
            work.seals.add_checkpoint(checkpoint(5))

    def test_they_are_listed_by_size(self, store: OpenWork) -> None:
        with store() as work:
            for size in (9, 100, 20):
                work.seals.add_checkpoint(checkpoint(size))
        with store() as work:
            newest = work.seals.checkpoints(Query(sort="tree_size", descending=True, limit=2))
            between = work.seals.checkpoints(
                Query((Where("tree_size", 9, Is.AFTER), Where("tree_size", 100, Is.BEFORE)), sort="tree_size")
            )
        assert [one.tree_size for one in newest.items] == [100, 20]
        assert (newest.total, newest.more) == (3, True)
        assert [one.tree_size for one in between.items] == [20]

    def test_the_first_signer_stays(self, store: OpenWork) -> None:
        first = StoredSigner(name="one", public_key=bytes(32), sealed_key=b"sealed", created_at=AT)
        second = StoredSigner(name="two", public_key=bytes(range(32)), sealed_key=b"other", created_at=AT)
        with store() as work:
            assert work.seals.find_signer() is None
            assert work.seals.lock_or_add_signer(first) == first
            assert work.seals.lock_or_add_signer(second) == first
        with store() as work:
            assert work.seals.find_signer() == first
