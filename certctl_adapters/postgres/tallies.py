"""Totals and history that are kept. The tables and how they are filled: `sql/`, "counts and list indexes"."""

from collections.abc import Sequence
from datetime import date, timedelta

from certctl_adapters.kinds import JOBS, NOTIFICATIONS
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ports.store import Endings, JobsOfDay, Tallies


class PostgresTallies(Tallies):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def tally(self, limit: int) -> int:
        row = self._transaction.row(b"SELECT tally_notes(%s)", [limit])
        return int(row[0]) if row else 0

    def tidy(self) -> None:
        self._transaction.rows(b"SELECT forget_empty_tallies()::text")

    def close_days(self, until: date, limit: int) -> int:
        return self._transaction.change(
            b"""
            INSERT INTO daily_issuances (day, n)
            SELECT days.day, (
                SELECT count(*) FROM certificate_versions
                WHERE created_at >= days.day::timestamp AT TIME ZONE 'UTC'
                  AND created_at < (days.day + 1)::timestamp AT TIME ZONE 'UTC'
            )
            FROM (SELECT coalesce(
                (SELECT max(day) + 1 FROM daily_issuances),
                (SELECT (min(created_at) AT TIME ZONE 'UTC')::date FROM certificate_versions)
            ) AS day) AS first
            CROSS JOIN LATERAL (
                SELECT first.day + n AS day FROM generate_series(0, least(%(until)s - first.day, %(limit)s) - 1) AS n
            ) AS days
            WHERE days.day IS NOT NULL
            ON CONFLICT DO NOTHING
            """,
            {"until": until, "limit": limit},
        )

    def jobs_by_day(self, first: date, days: int) -> Sequence[JobsOfDay]:
        rows = self._transaction.rows(
            b"""
            SELECT day, coalesce(sum(n) FILTER (WHERE status = 'Completed'), 0),
                   coalesce(sum(n) FILTER (WHERE status = 'Failed'), 0)
            FROM (
                SELECT day, status, n FROM daily_endings WHERE kind = %(kind)s AND day >= %(first)s
                UNION ALL
                SELECT (ended AT TIME ZONE 'UTC')::date, after_status, 1 FROM status_notes
                WHERE kind = %(kind)s AND ended IS NOT NULL
            ) AS ended
            GROUP BY day
            """,
            {"kind": JOBS.table, "first": first},
        )
        known = {day: JobsOfDay(day, int(completed), int(failed)) for day, completed, failed in rows}
        return [known.get(day, JobsOfDay(day)) for day in _days(first, days)]

    def issued_by_day(self, first: date, days: int) -> Sequence[tuple[date, int]]:
        known = self._transaction.counts(
            b"""
            SELECT day, n FROM daily_issuances WHERE day >= %(first)s
            UNION ALL
            SELECT (created_at AT TIME ZONE 'UTC')::date, count(*) FROM certificate_versions
            WHERE created_at >= greatest(%(first)s, (SELECT max(day) + 1 FROM daily_issuances))::timestamp
                AT TIME ZONE 'UTC'
            GROUP BY 1
            """,
            {"first": first},
        )
        return [(day, known.get(day, 0)) for day in _days(first, days)]

    def endings(self) -> Endings:
        rows = self._transaction.rows(
            b"""
            SELECT kind, status, sum(n) FROM (
                SELECT kind, status, n FROM daily_endings
                UNION ALL
                SELECT kind, after_status, 1 FROM status_notes WHERE ended IS NOT NULL
            ) AS ended
            GROUP BY kind, status
            """
        )
        ended = {(kind, status): int(count) for kind, status, count in rows}
        return Endings(
            jobs_completed=ended.get((JOBS.table, "Completed"), 0),
            jobs_failed=ended.get((JOBS.table, "Failed"), 0),
            notifications_sent=ended.get((NOTIFICATIONS.table, "sent"), 0),
            notifications_dead=ended.get((NOTIFICATIONS.table, "dead"), 0),
        )


def _days(first: date, days: int) -> Sequence[date]:
    return [first + timedelta(days=number) for number in range(days)]
