"""Enrolments, and the secrets of those who enrol."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from certctl_adapters.kinds import ENROLMENT_SECRETS, ENROLMENTS
from certctl_adapters.postgres.table import PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ids import EnrolmentSecretId, JobId
from certctl_core.models.enrolment import Enrolment, EnrolmentProtocol, EnrolmentSecret
from certctl_core.ports.store import Enrolments, EnrolmentSecrets

_ENROLMENT: Final = shape_of(ENROLMENTS)
_SECRET: Final = shape_of(ENROLMENT_SECRETS)
_USE_PRECISION: Final = timedelta(minutes=1)


class PostgresEnrolments(PostgresTable[Enrolment], Enrolments):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _ENROLMENT)

    def of_transaction(self, protocol: EnrolmentProtocol, label: str, transaction: str) -> Enrolment | None:
        return self.one(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.protocol = %(protocol)s AND t.label = %(label)s AND t.transaction = %(transaction)s
            """,
            protocol=protocol.value,
            label=label,
            transaction=transaction,
        )

    def known(self, protocol: EnrolmentProtocol, label: str, transactions: Iterable[str]) -> frozenset[str]:
        rows = self._transaction.rows(
            b"SELECT transaction FROM enrolments WHERE protocol = %s AND label = %s AND transaction = ANY(%s)",
            [protocol.value, label, list(transactions)],
        )
        return frozenset(transaction for (transaction,) in rows)

    def of_job(self, job_id: JobId) -> Enrolment | None:
        return self.one("SELECT {columns} FROM {table} AS t WHERE t.job_id = %(job)s", job=job_id)


class PostgresEnrolmentSecrets(PostgresTable[EnrolmentSecret], EnrolmentSecrets):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _SECRET)

    def by_hash(self, secret_hash: str) -> EnrolmentSecret | None:
        return self.one("SELECT {columns} FROM {table} AS t WHERE t.secret_hash = %(hash)s", hash=secret_hash)

    def used(self, secret_id: EnrolmentSecretId, at: datetime) -> None:
        # A shared secret is used by many at once: none waits for another to note the same minute.
        self._transaction.change(
            b"""
            UPDATE enrolment_secrets SET last_used_at = %(at)s WHERE id = (
                SELECT id FROM enrolment_secrets
                WHERE id = %(id)s AND (last_used_at IS NULL OR last_used_at <= %(before)s)
                FOR NO KEY UPDATE SKIP LOCKED
            )
            """,
            {"id": secret_id, "at": at, "before": at - _USE_PRECISION},
        )

    def purge(self, expired_before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM enrolment_secrets WHERE id IN (
                SELECT id FROM enrolment_secrets WHERE expires_at < %s
                ORDER BY expires_at, id LIMIT %s FOR UPDATE SKIP LOCKED
            )
            """,
            [expired_before, limit],
        )
