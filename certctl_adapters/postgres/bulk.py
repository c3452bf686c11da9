"""Bulk operations, their batches and failures."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from psycopg import sql

from certctl_adapters.kinds import BULK_OPERATIONS
from certctl_adapters.postgres.certificates import PostgresCertificates
from certctl_adapters.postgres.table import PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ids import CertificateId
from certctl_core.models.bulk import BulkFailure, BulkOperation
from certctl_core.ports.store import BulkOperations, Page, Where, page_of

_OPERATION: Final = shape_of(BULK_OPERATIONS)

_MATCH: Final = sql.SQL(
    """
    WITH batches AS (
        INSERT INTO bulk_operation_batches (operation_id, number, certificate_ids)
        SELECT %s, place / %s, array_agg(id ORDER BY id)
        FROM (
            SELECT t.id::text COLLATE "C" AS id, row_number() OVER (ORDER BY t.id) - 1 AS place
            FROM managed_certificates AS t {}
        ) AS matched
        GROUP BY 2
        RETURNING cardinality(certificate_ids) AS size
    )
    SELECT coalesce(sum(size), 0) FROM batches
    """
)


class PostgresBulkOperations(PostgresTable[BulkOperation], BulkOperations):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _OPERATION)
        self._certificates = PostgresCertificates(transaction)

    def match(self, operation_id: str, where: Sequence[Where], size: int) -> int:
        condition, parameters = self._certificates.condition(where)
        row = self._transaction.row(_MATCH.format(condition), [operation_id, size, *parameters])
        return int(row[0]) if row else 0

    def batch(self, operation_id: str, number: int) -> Sequence[CertificateId]:
        row = self._transaction.row(
            b"SELECT certificate_ids FROM bulk_operation_batches WHERE operation_id = %s AND number = %s",
            [operation_id, number],
        )
        return tuple(row[0]) if row else ()

    def forget_batches(self, operation_id: str) -> None:
        self._transaction.change(b"DELETE FROM bulk_operation_batches WHERE operation_id = %s", [operation_id])

    def add_failures(self, operation_id: str, failures: Sequence[BulkFailure]) -> None:
        if failures:
            self._transaction.change(
                b"""
                INSERT INTO bulk_operation_failures (operation_id, certificate_id, error)
                SELECT %s, certificate_id, error FROM unnest(%s::text[], %s::text[]) AS failed (certificate_id, error)
                """,
                [operation_id, [one.certificate_id for one in failures], [one.error for one in failures]],
            )

    def failures(
        self, operation_id: str, limit: int, offset: int = 0, after: tuple[str, str] | None = None
    ) -> Page[BulkFailure]:
        counted = self._transaction.row(
            b"SELECT count(*) FROM bulk_operation_failures WHERE operation_id = %s", [operation_id]
        )
        total = int(counted[0]) if counted else 0
        rows = self._transaction.rows(
            b"""
            SELECT certificate_id, error FROM bulk_operation_failures WHERE operation_id = %s AND certificate_id > %s
            ORDER BY certificate_id LIMIT %s OFFSET %s
            """,
            [operation_id, "" if after is None else after[1], limit + 1, offset],
        )
        items = [BulkFailure(CertificateId(certificate_id), error) for certificate_id, error in rows[:limit]]
        return page_of(items, total, len(rows) > limit, "certificate_id", "certificate_id")

    def due(self, now: datetime, limit: int) -> Sequence[BulkOperation]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.status = 'Running' AND (t.lease_until IS NULL OR t.lease_until <= %(now)s)
            ORDER BY t.created_at, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            now=now,
            limit=limit,
        )

    def purge(self, completed_before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM bulk_operations WHERE id IN (
                SELECT id FROM bulk_operations WHERE completed_at < %s
                ORDER BY completed_at, id LIMIT %s FOR UPDATE SKIP LOCKED
            )
            """,
            [completed_before, limit],
        )
