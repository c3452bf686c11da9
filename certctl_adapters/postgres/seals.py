"""The Merkle tree of the audit trail.

Of the complete subtrees every fourth level is kept, which is a fifteenth as many rows as there are leaves; one of
another level is the root above at most eight of a level that is kept.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from certctl_adapters.kinds import AUDIT_ENTRIES, CHECKPOINTS, SIGNERS
from certctl_adapters.postgres.table import PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.models.trail import Checkpoint, Entry
from certctl_core.pki import merkle
from certctl_core.pki.merkle import Subtree
from certctl_core.ports.store import Page, Query, Seals, StoredSigner

_ENTRY: Final = shape_of(
    AUDIT_ENTRIES,
    leaf_index="(SELECT l.leaf_index FROM audit_leaves AS l WHERE l.seq = t.seq)",
    leaf_hash="(SELECT l.hash FROM audit_leaves AS l WHERE l.seq = t.seq)",
)
_LEAF: Final = shape_of(AUDIT_ENTRIES, leaf_index="l.leaf_index", leaf_hash="l.hash")
_WAITING: Final = shape_of(AUDIT_ENTRIES, leaf_index="NULL::bigint", leaf_hash="NULL::bytea")
_CHECKPOINT: Final = shape_of(CHECKPOINTS)
_SIGNER: Final = shape_of(SIGNERS)
_TREE_LOCK: Final = 0x6175646974747265  # "audittre" in ASCII
_STRIDE: Final = 4
_AT_ONCE: Final = 500
"""Events that are in memory together: each may have details of 64 KiB."""


class PostgresSeals(Seals):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._entries = PostgresTable(transaction, _ENTRY)
        self._leaves = PostgresTable(transaction, _LEAF)
        self._waiting = PostgresTable(transaction, _WAITING)
        self._checkpoints = PostgresTable(transaction, _CHECKPOINT)
        self._signers = PostgresTable(transaction, _SIGNER)

    def find_signer(self) -> StoredSigner | None:
        return self._signers.one("SELECT {columns} FROM {table} AS t")

    def lock_or_add_signer(self, signer: StoredSigner) -> StoredSigner:
        statement = _SIGNER.statement("INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT DO NOTHING")
        self._transaction.change(statement, _SIGNER.dump(signer), SIGNERS, signer)
        # A statement of its own: one that waited for another's insert does not see the row it waited for.
        return self._signers.lock(signer.id)

    def take(self, limit: int, seq: int = 0) -> Iterable[Entry]:
        self._transaction.rows(b"SELECT pg_advisory_xact_lock(%s)::text", [_TREE_LOCK])
        taken = self._transaction.rows(
            b"""
            DELETE FROM audit_unsealed
            WHERE seq IN (SELECT seq FROM audit_unsealed WHERE seq >= %s ORDER BY seq LIMIT %s) RETURNING seq
            """,
            [seq, limit],
        )
        if not taken:
            return ()
        statement = _WAITING.statement("SELECT {columns} FROM {table} AS t WHERE t.seq = ANY(%(seqs)s) ORDER BY t.seq")
        seqs = [number for (number,) in taken]
        return map(_WAITING.load, self._transaction.stream("entries", statement, {"seqs": seqs}, _AT_ONCE))

    def append(
        self, first: int, seqs: Sequence[int], hashes: Sequence[bytes], subtrees: Mapping[Subtree, bytes]
    ) -> None:
        self._transaction.change(
            b"""
            INSERT INTO audit_leaves (leaf_index, seq, hash)
            SELECT %(first)s + u.n - 1, u.seq, substring(%(hashes)b FROM ((u.n - 1) * 32 + 1)::integer FOR 32)
            FROM unnest(%(seqs)s::bigint[]) WITH ORDINALITY AS u (seq, n)
            """,
            {"first": first, "seqs": list(seqs), "hashes": b"".join(hashes)},
        )
        kept = [(subtree, value) for subtree, value in subtrees.items() if subtree.level % _STRIDE == 0]
        if kept:
            self._transaction.change(
                b"""
                INSERT INTO audit_subtrees (level, position, hash)
                SELECT u.level, u.position, substring(%(hashes)b FROM ((u.n - 1) * 32 + 1)::integer FOR 32)
                FROM unnest(%(levels)s::smallint[], %(positions)s::bigint[]) WITH ORDINALITY AS u (level, position, n)
                """,
                {
                    "levels": [subtree.level for subtree, _ in kept],
                    "positions": [subtree.position for subtree, _ in kept],
                    "hashes": b"".join(value for _, value in kept),
                },
            )

    def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._checkpoints.add(checkpoint)

    def checkpoint(self, tree_size: int) -> Checkpoint:
        return self._checkpoints.get(str(tree_size))

    def latest(self) -> Checkpoint | None:
        return self._checkpoints.one("SELECT {columns} FROM {table} AS t ORDER BY t.tree_size DESC LIMIT 1")

    def checkpoints(self, query: Query) -> Page[Checkpoint]:
        return self._checkpoints.page(query)

    def hashes(self, subtrees: Collection[Subtree]) -> Mapping[Subtree, bytes]:
        parts = {subtree: _parts(subtree) for subtree in subtrees}
        wanted = {part for several in parts.values() for part in several}
        above = [part for part in wanted if part.level]
        rows = self._transaction.rows(
            b"""
            SELECT 0, leaf_index, hash FROM audit_leaves WHERE leaf_index = ANY(%(leaves)s::bigint[])
            UNION ALL
            SELECT s.level, s.position, s.hash
            FROM unnest(%(levels)s::smallint[], %(positions)s::bigint[]) AS w (level, position)
            JOIN audit_subtrees AS s USING (level, position)
            """,
            {
                "leaves": [part.position for part in wanted if not part.level],
                "levels": [part.level for part in above],
                "positions": [part.position for part in above],
            },
        )
        known = {Subtree(level, position): bytes(value) for level, position, value in rows}
        return {
            subtree: merkle.root_of(known[part] for part in several)
            for subtree, several in parts.items()
            if known.keys() >= set(several)
        }

    def entry(self, identity: str) -> Entry:
        return self._entries.get(identity)

    def entries(self, query: Query) -> Page[Entry]:
        return self._entries.page(query)

    def leaves(self, first: int, limit: int) -> Sequence[Entry]:
        return self._leaves.select(
            """
            SELECT {columns} FROM audit_leaves AS l JOIN {table} AS t USING (seq)
            WHERE l.leaf_index >= %(first)s AND l.leaf_index < %(end)s ORDER BY l.leaf_index
            """,
            first=first,
            end=first + limit,
        )

    def beyond(self, tree_size: int, seq: int, limit: int) -> Sequence[Entry]:
        # A subquery for each row, never a join: there may be a million leaves, and few rows are looked at.
        return self._entries.select(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.seq >= %(seq)s
              AND coalesce((SELECT l.leaf_index FROM audit_leaves AS l WHERE l.seq = t.seq), %(size)s) >= %(size)s
            ORDER BY t.seq LIMIT %(limit)s
            """,
            seq=seq,
            size=tree_size,
            limit=limit,
        )

    def waiting(self) -> int:
        row = self._transaction.row(b"SELECT count(*) FROM audit_unsealed")
        return int(row[0]) if row else 0

    def longest_waiting(self) -> Entry | None:
        return self._waiting.one(
            "SELECT {columns} FROM audit_unsealed JOIN {table} AS t USING (seq) ORDER BY seq LIMIT 1"
        )


def _parts(subtree: Subtree) -> tuple[Subtree, ...]:
    """The subtrees of a level that is kept, which this one stands above, from left to right."""
    rise = subtree.level % _STRIDE
    first = subtree.position << rise
    return tuple(Subtree(subtree.level - rise, first + number) for number in range(1 << rise))
