"""The Merkle tree of the audit trail, in memory."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final

from attrs import evolve

from certctl_adapters.kinds import AUDIT_ENTRIES, AUDIT_EVENTS, CHECKPOINTS, SIGNERS
from certctl_adapters.memory.records import ENTRIES, ORDER, UNSEALED
from certctl_adapters.memory.table import MemoryTable, page_of
from certctl_adapters.memory.transaction import Transaction
from certctl_core.errors import Duplicate, NotFound
from certctl_core.models.trail import Checkpoint, Entry
from certctl_core.pki.merkle import Subtree
from certctl_core.ports.store import Page, Query, Seals, StoredSigner

_LEAVES: Final = "audit_leaves"
"""Ids of events by their place in the tree."""

_SUBTREES: Final = "audit_subtrees"


class MemorySeals(Seals):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._signers = MemoryTable(transaction, SIGNERS)

    def find_signer(self) -> StoredSigner | None:
        return next(iter(self._transaction.rows(SIGNERS.table).values()), None)

    def lock_or_add_signer(self, signer: StoredSigner) -> StoredSigner:
        if self._signers.find(signer.id) is None:
            self._signers.add(signer)
        return self._signers.get(signer.id)

    def take(self, limit: int, seq: int = 0) -> Iterable[Entry]:
        waiting = self._transaction.rows(UNSEALED)
        taken = [(number, waiting[number]) for number in sorted(waiting) if number >= seq][:limit]
        for number, _ in taken:
            self._transaction.unset(UNSEALED, number)
        return [self.entry(identity) for _, identity in taken]

    def append(
        self, first: int, seqs: Sequence[int], hashes: Sequence[bytes], subtrees: Mapping[Subtree, bytes]
    ) -> None:
        for index, (seq, value) in enumerate(zip(seqs, hashes, strict=True), start=first):
            entry = self.entry(self._transaction.rows(ORDER)[seq])
            if index in self._transaction.rows(_LEAVES) or entry.leaf_index is not None:
                raise self._transaction.refuse(Duplicate(f"leaf {index} or event {entry.id} is in the tree already"))
            self._transaction.set(_LEAVES, index, entry.id)
            self._transaction.set(ENTRIES, entry.id, evolve(entry, leaf_index=index, leaf_hash=value))
            self._transaction.set(_SUBTREES, Subtree(0, index), value)
        for subtree, value in subtrees.items():
            self._transaction.set(_SUBTREES, subtree, value)

    def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._transaction.insert(CHECKPOINTS, checkpoint)

    def checkpoint(self, tree_size: int) -> Checkpoint:
        found: Checkpoint | None = self._transaction.rows(CHECKPOINTS.table).get(str(tree_size))
        if found is None:
            raise NotFound.of(CHECKPOINTS.noun, str(tree_size))
        return found

    def latest(self) -> Checkpoint | None:
        found: Iterable[Checkpoint] = self._transaction.rows(CHECKPOINTS.table).values()
        return max(found, key=attrgetter("tree_size"), default=None)

    def checkpoints(self, query: Query) -> Page[Checkpoint]:
        CHECKPOINTS.check(query)
        return page_of(self._transaction.rows(CHECKPOINTS.table).values(), CHECKPOINTS, query)

    def hashes(self, subtrees: Collection[Subtree]) -> Mapping[Subtree, bytes]:
        known = self._transaction.rows(_SUBTREES)
        return {subtree: known[subtree] for subtree in subtrees if subtree in known}

    def entry(self, identity: str) -> Entry:
        found: Entry | None = self._transaction.rows(ENTRIES).get(identity)
        if found is None:
            raise NotFound.of(AUDIT_EVENTS.noun, identity)
        return found

    def entries(self, query: Query) -> Page[Entry]:
        AUDIT_ENTRIES.check(query)
        return page_of(self._all(), AUDIT_ENTRIES, query)

    def leaves(self, first: int, limit: int) -> Sequence[Entry]:
        leaves = self._transaction.rows(_LEAVES)
        return [self.entry(leaves[index]) for index in range(first, first + limit) if index in leaves]

    def beyond(self, tree_size: int, seq: int, limit: int) -> Sequence[Entry]:
        found = (
            entry
            for entry in self._all()
            if entry.seq >= seq and (entry.leaf_index is None or entry.leaf_index >= tree_size)
        )
        return sorted(found, key=attrgetter("seq"))[:limit]

    def waiting(self) -> int:
        return len(self._transaction.rows(UNSEALED))

    def longest_waiting(self) -> Entry | None:
        waiting = self._transaction.rows(UNSEALED)
        return self.entry(waiting[min(waiting)]) if waiting else None

    def _all(self) -> Iterable[Entry]:
        entries: Iterable[Entry] = self._transaction.rows(ENTRIES).values()
        return entries
