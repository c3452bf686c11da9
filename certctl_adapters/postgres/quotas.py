"""Quotas."""

from datetime import UTC, datetime, timedelta

from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ports.store import Quotas


class PostgresQuotas(Quotas):
    """One row for each, with the times at which it was used lately: never more of them than there may be."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def take(self, what: str, whose: str, most: int, within: timedelta, now: datetime) -> datetime | None:
        parameters = {"what": what, "whose": whose, "most": most, "since": now - within, "now": now}
        taken = self._transaction.change(
            b"""
            INSERT INTO quotas AS q (what, whose, used, last_used_at)
            VALUES (%(what)s, %(whose)s, ARRAY[%(now)s::timestamptz], %(now)s)
            ON CONFLICT (what, whose) DO UPDATE
            SET used = ARRAY(SELECT at FROM unnest(q.used) AS at WHERE at > %(since)s) || excluded.used,
                last_used_at = excluded.last_used_at
            WHERE (SELECT count(*) FROM unnest(q.used) AS at WHERE at > %(since)s) < %(most)s
            """,
            parameters,
        )
        if taken:
            return None
        row = self._transaction.row(
            b"""
            SELECT at FROM quotas, unnest(used) AS at WHERE what = %(what)s AND whose = %(whose)s
            ORDER BY at DESC LIMIT 1 OFFSET %(most)s - 1
            """,
            parameters,
        )
        return (row[0].astimezone(UTC) if row else now) + within

    def forget(self, before: datetime) -> int:
        return self._transaction.change(b"DELETE FROM quotas WHERE last_used_at < %s", [before])
