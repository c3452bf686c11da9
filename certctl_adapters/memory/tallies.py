"""Totals and history, in memory: totals are counted each time, so nothing is to be tallied."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, timedelta

from certctl_adapters.kinds import JOBS, NOTIFICATIONS, VERSIONS
from certctl_adapters.memory.transaction import ENDINGS, Transaction
from certctl_core.ports.store import Endings, JobsOfDay, Tallies


class MemoryTallies(Tallies):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def tally(self, limit: int) -> int:
        del limit
        return 0

    def tidy(self) -> None:
        """There are no counts."""

    def close_days(self, until: date, limit: int) -> int:
        del until, limit
        return 0

    def jobs_by_day(self, first: date, days: int) -> Sequence[JobsOfDay]:
        ended = self._transaction.rows(ENDINGS)
        return [
            JobsOfDay(day, ended.get((JOBS.table, "Completed", day), 0), ended.get((JOBS.table, "Failed", day), 0))
            for day in _days(first, days)
        ]

    def issued_by_day(self, first: date, days: int) -> Sequence[tuple[date, int]]:
        versions = self._transaction.rows(VERSIONS.table).values()
        issued = Counter(version.created_at.astimezone(UTC).date() for version in versions)
        return [(day, issued[day]) for day in _days(first, days)]

    def endings(self) -> Endings:
        ended: Counter[tuple[str, str]] = Counter()
        for (table, status, _), count in self._transaction.rows(ENDINGS).items():
            ended[table, status] += count
        return Endings(
            jobs_completed=ended[JOBS.table, "Completed"],
            jobs_failed=ended[JOBS.table, "Failed"],
            notifications_sent=ended[NOTIFICATIONS.table, "sent"],
            notifications_dead=ended[NOTIFICATIONS.table, "dead"],
        )


def _days(first: date, days: int) -> Sequence[date]:
    return [first + timedelta(days=number) for number in range(days)]
