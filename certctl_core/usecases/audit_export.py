"""The audit trail, whole or a part of it, to be taken away.

However long it is, it is read a few hundred events at a time, each time in a transaction of its own: who receives it
may be slow, and no transaction waits for a network. Nothing is missed for that. Events never change, and a leaf keeps
its place; so a whole export reads the tree from its first leaf to its last, and then what is not in it. Before it reads
the last leaves it looks at what waits: an event that is not among them waited then, so its number is not lower than the
lowest that did.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from attrs import evolve, frozen

from certctl_core.models.access import Actor
from certctl_core.models.trail import Checkpoint, Entry
from certctl_core.pki import merkle
from certctl_core.pki.checkpoint import Verifier
from certctl_core.pki.export import Item, Proof
from certctl_core.ports import Ports
from certctl_core.ports.store import Is, Query, Where, Work
from certctl_core.usecases import scope, sealing

AT_ONCE: Final = 500
"""Events in memory together. Each may have details of 64 KiB."""


@frozen(kw_only=True)
class Export:
    """`items` come as they are read. They can be read once; nobody needs to read them to their end."""

    verifier: Verifier
    at: datetime
    items: Iterator[Item]


def export(ports: Ports, caller: Actor, where: Sequence[Where] = (), *, with_proofs: bool = True) -> Export:
    """Without conditions everything there is: the sealed events in the order of the tree, each checkpoint behind the
    last event that it is of, and then what is not sealed yet. With conditions what they leave, in the order of time;
    with proofs a checkpoint first, and a proof behind every few events. Asked for `resource_type` `api`, the recorded
    API calls, which are not sealed. What is written while it is read may be in it or not."""
    scope.must_reach_everything(caller)
    where = tuple(where)
    if Where("resource_type", "api") in where:
        items: Iterator[Item] = _calls(ports, where)
    else:
        items = _part(ports, where, with_proofs) if where else _whole(ports)
    verifier, _ = sealing.ensure_signer(ports)
    return Export(verifier=verifier, at=ports.clock.now(), items=items)


def _whole(ports: Ports) -> Iterator[Item]:
    size = 0
    while True:
        with ports.work() as work:
            waiting = work.seals.longest_waiting()
            entries = work.seals.leaves(size, AT_ONCE)
            checkpoints = _between(work, size, size + len(entries))
        for entry in entries:
            yield entry
            size += 1
            if checkpoint := checkpoints.get(size):
                yield checkpoint
        if len(entries) < AT_ONCE:
            break
    if waiting is not None:
        yield from _beyond(ports, size, waiting.seq)


def _between(work: Work, size: int, end: int) -> dict[int, Checkpoint]:
    """The checkpoints of more than `size` and at most `end` events, by how many."""
    where = (Where("tree_size", size, Is.AFTER), Where("tree_size", end + 1, Is.BEFORE))
    page = work.seals.checkpoints(Query(where, sort="tree_size", limit=end - size, count=False))
    return {checkpoint.tree_size: checkpoint for checkpoint in page.items}


def _beyond(ports: Ports, size: int, seq: int) -> Iterator[Item]:
    while True:
        with ports.work() as work:
            entries = work.seals.beyond(size, seq, AT_ONCE)
        for entry in entries:
            yield _unsealed(entry)
        if len(entries) < AT_ONCE:
            return
        seq = entries[-1].seq + 1


def _part(ports: Ports, where: tuple[Where, ...], with_proofs: bool) -> Iterator[Item]:
    last = None
    if with_proofs:
        with ports.work() as work:
            last = work.seals.latest()
        if last is not None:
            yield last
    after = None
    while True:
        with ports.work() as work:
            page = work.seals.entries(Query(where, sort="timestamp", limit=AT_ONCE, after=after, count=False))
            entries = [entry if _is_in(entry, last) or not with_proofs else _unsealed(entry) for entry in page.items]
            proof = _proof(work, last, entries) if last is not None else None
        yield from entries
        if proof is not None:
            yield proof
        if not page.more:
            return
        after = (entries[-1].timestamp, entries[-1].id)


def _is_in(entry: Entry, checkpoint: Checkpoint | None) -> bool:
    return checkpoint is not None and entry.leaf_index is not None and entry.leaf_index < checkpoint.tree_size


def _unsealed(entry: Entry) -> Entry:
    """As it was when the last checkpoint of the export was signed."""
    return evolve(entry, leaf_index=None, leaf_hash=None)


def _proof(work: Work, checkpoint: Checkpoint, entries: Sequence[Entry]) -> Proof | None:
    """What leads from these events to the root of the checkpoint. None when none of them is under it."""
    leaves = sorted(entry.leaf_index for entry in entries if entry.leaf_index is not None)
    if not leaves:
        return None
    subtrees = merkle.beside(leaves, checkpoint.tree_size)
    return Proof(checkpoint.tree_size, tuple(sealing.hashes(work, subtrees)))


def _calls(ports: Ports, where: tuple[Where, ...]) -> Iterator[Item]:
    after = None
    while True:
        with ports.work() as work:
            page = work.calls.page(Query(where, sort="timestamp", limit=AT_ONCE, after=after, count=False))
        yield from map(Entry.of, page.items)
        if not page.more:
            return
        after = (page.items[-1].timestamp, page.items[-1].id)
