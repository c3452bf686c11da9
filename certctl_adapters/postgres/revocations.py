"""Revocations, and the entries of CRLs made from them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from attrs import evolve

from certctl_adapters.kinds import REVOCATIONS
from certctl_adapters.postgres.codecs import as_json
from certctl_adapters.postgres.table import PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.errors import NotFound
from certctl_core.ids import CertificateId, IssuerId
from certctl_core.models.certificates import Revocation
from certctl_core.models.crls import CrlScope
from certctl_core.ports.store import Revocations

_REVOCATION: Final = shape_of(REVOCATIONS)

# Entries are joined by the server, so many at a time: rows of their own would take longer to be sent and unpacked than
# to be read. What was revoked together lies together, so that reading in the order of the changes is reading forwards.
_TOGETHER: Final = 20_000
_LISTED: Final = b"""
    SELECT string_agg(p.entry, ''::bytea), count(*), max(p.change) FROM (
        SELECT entry, change FROM certificate_revocations
        WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
            AND released_at IS NULL AND NOT has_left AND change > %(after)s
        ORDER BY change LIMIT %(limit)s
    ) AS p
"""
_CHANGED: Final = b"""
    SELECT string_agg(p.entry, ''::bytea), count(*), max(p.change) FROM (
        (
            SELECT entry, change FROM certificate_revocations
            WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
                AND released_at IS NULL AND NOT has_left AND change > %(after)s
            ORDER BY change LIMIT %(limit)s
        )
        UNION ALL
        (
            SELECT entry, change FROM certificate_revocations
            WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
                AND released_at IS NOT NULL AND change > %(after)s AND NOT has_left
            ORDER BY change LIMIT %(limit)s
        )
        ORDER BY change LIMIT %(limit)s
    ) AS p
"""


class PostgresRevocations(Revocations):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _REVOCATION)

    def add(self, revocation: Revocation) -> None:
        self.add_many([revocation])

    def add_many(self, revocations: Sequence[Revocation]) -> None:
        if revocations:
            self._table.add_many(self._counted(revocations))

    def change_many(self, revocations: Sequence[Revocation]) -> None:
        if not revocations:
            return
        statement = _REVOCATION.statement(
            """
            UPDATE {table} AS t SET {changes_to_new}, has_left = false
            FROM json_populate_recordset(NULL::{table}, %(rows)s::json) AS new
            WHERE t.{key} = ANY(%(ids)s) AND t.{key} = new.{key}
            """
        )
        rows = as_json([_REVOCATION.dump(revocation) for revocation in self._counted(revocations)])
        ids = [revocation.id for revocation in revocations]
        if self._transaction.change(statement, {"rows": rows, "ids": ids}, REVOCATIONS) != len(ids):
            raise NotFound.of(REVOCATIONS.noun, ", ".join(ids))

    def find(self, issuer_id: IssuerId, serial_number: str) -> Revocation | None:
        return self._table.one(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.issuer_id = %(issuer)s AND t.serial_number = %(serial)s AND t.released_at IS NULL
            """,
            issuer=issuer_id,
            serial=serial_number,
        )

    def of(self, certificate_ids: Iterable[CertificateId], *, released: bool = False) -> Sequence[Revocation]:
        return self._table.select(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.certificate_id = ANY(%(ids)s) AND (%(released)s OR t.released_at IS NULL)
            ORDER BY t.revoked_at, t.id
            """,
            ids=list(certificate_ids),
            released=released,
        )

    def unassigned(self, limit: int) -> Sequence[Revocation]:
        return self._table.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.authority = '' ORDER BY t.id LIMIT %(limit)s
            FOR UPDATE SKIP LOCKED
            """,
            limit=limit,
        )

    def leave(self, scope: CrlScope, ended_before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            UPDATE certificate_revocations SET has_left = true WHERE id IN (
                SELECT id FROM certificate_revocations
                WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
                    AND not_after < %(before)s AND NOT has_left
                ORDER BY not_after LIMIT %(limit)s
            )
            """,
            {**_of(scope), "before": ended_before, "limit": limit},
        )

    def listed(self, scope: CrlScope) -> tuple[Sequence[bytes], int]:
        return self._joined(_LISTED, scope, 0)

    def changed(self, scope: CrlScope, since: int) -> tuple[Sequence[bytes], int]:
        return self._joined(_CHANGED, scope, since)

    def count(self, issuer_id: IssuerId) -> int:
        row = self._transaction.row(b"SELECT revocations FROM revocation_counts WHERE issuer_id = %s", [issuer_id])
        return int(row[0]) if row else 0

    def _joined(self, statement: bytes, scope: CrlScope, after: int) -> tuple[Sequence[bytes], int]:
        parts: list[bytes] = []
        total = 0
        while True:
            parameters = {**_of(scope), "after": after, "limit": _TOGETHER}
            entries, count, last = self._transaction.binary_row(statement, parameters)
            if not count:
                return parts, total
            parts.append(entries)
            total += count
            after = last
            if count < _TOGETHER:
                return parts, total

    def _counted(self, revocations: Sequence[Revocation]) -> Sequence[Revocation]:
        """With the numbers of their changes. Whoever counts in the same issuer waits until this transaction ends, so
        the numbers rise in the order in which changes can be seen."""
        self._transaction.change(
            b"""
            INSERT INTO revocation_counts AS r (issuer_id, revocations)
            SELECT issuer, count(*) FROM unnest(%s::text[]) AS issuer WHERE issuer IN (SELECT id FROM issuers)
            GROUP BY issuer ORDER BY issuer
            ON CONFLICT (issuer_id) DO UPDATE SET revocations = r.revocations + excluded.revocations
            """,
            [[revocation.issuer_id for revocation in revocations]],
        )
        scopes = [_scope(revocation) for revocation in revocations]
        numbers = {scope: last - count for scope, (last, count) in self._count_scopes(scopes, revocations).items()}
        counted = []
        for scope, revocation in zip(scopes, revocations, strict=True):
            if scope is None:
                counted.append(revocation)
                continue
            numbers[scope] += 1
            counted.append(evolve(revocation, change=numbers[scope]))
        return counted

    def _count_scopes(
        self, scopes: Sequence[CrlScope | None], revocations: Sequence[Revocation]
    ) -> dict[CrlScope, tuple[int, int]]:
        """What each scope's count is then, and by how much it has risen."""
        rising = Counter(scope for scope in scopes if scope is not None)
        if not rising:
            return {}
        ordered = sorted(rising)
        at = min(revocation.released_at or revocation.revoked_at for revocation in revocations)
        rows = self._transaction.rows(
            b"""
            INSERT INTO crl_scopes AS s (issuer_id, authority, partition, changes, due_at)
            SELECT *, %(at)s FROM unnest(%(issuers)s::text[], %(authorities)s::text[], %(partitions)s::int[],
                %(counts)s::bigint[])
            ON CONFLICT (issuer_id, authority, partition) DO UPDATE
                SET changes = s.changes + excluded.changes, due_at = least(s.due_at, excluded.due_at)
            RETURNING issuer_id, authority, partition, changes
            """,
            {
                "at": at,
                "issuers": [scope.issuer_id for scope in ordered],
                "authorities": [scope.authority for scope in ordered],
                "partitions": [scope.partition for scope in ordered],
                "counts": [rising[scope] for scope in ordered],
            },
            REVOCATIONS,
        )
        found = {CrlScope(issuer, authority, partition): int(last) for issuer, authority, partition, last in rows}
        return {scope: (found[scope], rising[scope]) for scope in ordered}


def _scope(revocation: Revocation) -> CrlScope | None:
    if not revocation.authority or revocation.partition is None:
        return None
    return CrlScope(revocation.issuer_id, revocation.authority, revocation.partition)


def _of(scope: CrlScope) -> dict[str, object]:
    return {"issuer": scope.issuer_id, "authority": scope.authority, "partition": scope.partition}
