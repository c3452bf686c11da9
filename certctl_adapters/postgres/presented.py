"""What was presented."""

from datetime import UTC, datetime

from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ports.store import Presentation, Presented


class PostgresPresented(Presented):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def present(self, realm: str, value: bytes, used_for: bytes, now: datetime, until: datetime) -> Presentation:
        added = self._transaction.change(
            b"""
            INSERT INTO presented (realm, value, used_for, presented_at, until) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (realm, value) DO NOTHING
            """,
            [realm, value, used_for, now, until],
        )
        if added:
            return Presentation(used_for, now)
        row = self._transaction.row(
            b"SELECT used_for, presented_at FROM presented WHERE realm = %s AND value = %s", [realm, value]
        )
        # Forgotten between the two statements: then it was over.
        return Presentation(row[0], row[1].astimezone(UTC)) if row else Presentation(used_for, now)

    def count(self, realm: str) -> int:
        row = self._transaction.row(b"SELECT count(*) FROM presented WHERE realm = %s", [realm])
        return int(row[0]) if row else 0

    def forget(self, now: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM presented WHERE (realm, value) IN (
                SELECT realm, value FROM presented WHERE until <= %s ORDER BY until LIMIT %s FOR UPDATE SKIP LOCKED
            )
            """,
            [now, limit],
        )
