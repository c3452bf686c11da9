"""Totals of lists that are kept rather than counted; the migration that makes their tables tells how.

Every relation below adds up what has been tallied and the changes since then, so that one statement sees a total that
is exact in its snapshot.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString

from attrs import field, frozen
from psycopg import sql

from certctl_core.ports.store import Is, Where

_ALWAYS: Final = sql.SQL("true")
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


@frozen
class Periods:
    """Relations in which rows are counted by days and by hours: `day` or `hour`, and `n`."""

    days: LiteralString
    hours: LiteralString


@frozen
class Totals:
    """Where rows of a table are counted already. `by` are relations with a column `n` beside columns of the table
    itself, of which the first serves lists without a filter as well; `periods` by the field that is counted so."""

    by: tuple[tuple[frozenset[str], LiteralString], ...] = ()
    periods: Mapping[str, Periods] = field(factory=dict)

    def relation(self, where: Sequence[Where]) -> LiteralString | None:
        """A relation in which rows are counted by all fields of the conditions. Nothing is counted under no value."""
        asked = {one.field for one in where}
        if any(one.value is None for one in where):
            return None
        return next((relation for fields, relation in self.by if asked <= fields), None)

    def between(self, where: Sequence[Where]) -> "Between | None":
        """The conditions as bounds of one field that is counted by days, when that is what they are."""
        names = {one.field for one in where}
        if len(names) != 1 or not names <= self.periods.keys():
            return None
        if any(one.how not in (Is.AFTER, Is.BEFORE) or one.value is None for one in where):
            return None
        after = max((one.value for one in where if one.how is Is.AFTER), default=None)
        before = min((one.value for one in where if one.how is Is.BEFORE), default=None)
        (name,) = names
        return Between(self.periods[name], after, before)


@frozen
class Between:
    """Rows between two times, both excluded, None being no bound.

    Added up are the days that lie in it as a whole, and at each bound the hours between that day and the bound, and the
    rows between that hour and the bound. Between bounds that are near each other there is perhaps no such day: then it
    is the rows.
    """

    counted: Periods
    after: datetime | None
    before: datetime | None

    def statement(
        self, table: sql.Composable, column: sql.Composable, condition: sql.Composable = _ALWAYS
    ) -> tuple[sql.Composed, list[Any]]:
        """What counts, and its parameters. `column` is the time, read from alias t; `condition` holds for the rows of
        the table that the relations count."""
        if self.after is not None and self.before is not None and self.before - self.after < 2 * _DAY:
            near = sql.SQL("SELECT count(*) FROM {0} AS t WHERE {1} > %s AND {1} < %s AND {2}")
            return near.format(table, column, condition), [self.after, self.before]
        days: list[tuple[LiteralString, datetime]] = []
        edges: list[tuple[sql.Composable, list[datetime]]] = []
        rows = sql.SQL("(SELECT count(*) FROM {0} AS t WHERE {1} {2} %s AND {1} < %s AND {3})")
        hours = sql.SQL("(SELECT coalesce(sum(t.n), 0) FROM {} AS t WHERE t.hour >= %s AND t.hour < %s)").format(
            sql.SQL(self.counted.hours)
        )
        if self.after is not None:
            hour, day = _start(self.after, _HOUR) + _HOUR, _start(self.after, _DAY) + _DAY
            days.append(("t.day >= %s", day))
            edges += [(hours, [hour, day]), (rows.format(table, column, sql.SQL(">"), condition), [self.after, hour])]
        if self.before is not None:
            hour, day = _start(self.before, _HOUR), _start(self.before, _DAY)
            days.append(("t.day < %s", day))
            edges += [(hours, [day, hour]), (rows.format(table, column, sql.SQL(">="), condition), [hour, self.before])]
        whole = sql.SQL("(SELECT coalesce(sum(t.n), 0) FROM {} AS t WHERE {})").format(
            sql.SQL(self.counted.days), sql.SQL(" AND ").join(sql.SQL(condition) for condition, _ in days)
        )
        statement = sql.SQL("SELECT {}").format(sql.SQL(" + ").join([whole, *(edge for edge, _ in edges)]))
        return statement, [*(bound for _, bound in days), *(bound for _, bounds in edges for bound in bounds)]


def _start(at: datetime, period: timedelta) -> datetime:
    """When the period that it is in began, as `hour_of` and `day_of` in the database."""
    return at - (at - _EPOCH) % period


NOTHING_KEPT: Final = Totals()


def _fields(words: str) -> frozenset[str]:
    return frozenset(words.split())


CERTIFICATES: Final = Totals(
    by=(
        (
            _fields("team_id environment status"),
            """(
                SELECT team_id, environment, status, n FROM certificate_groups
                UNION ALL SELECT team_id, environment, status, n FROM certificate_deltas
            )""",
        ),
        (
            _fields("owner_id"),
            """(
                SELECT value AS owner_id, n FROM certificate_facet_counts WHERE facet = 'owner_id'
                UNION ALL SELECT owner_id, n FROM certificate_deltas
            )""",
        ),
        (
            _fields("issuer_id"),
            """(
                SELECT value AS issuer_id, n FROM certificate_facet_counts WHERE facet = 'issuer_id'
                UNION ALL SELECT issuer_id, n FROM certificate_deltas
            )""",
        ),
        (
            _fields("profile_id"),
            """(
                SELECT value AS certificate_profile_id, n FROM certificate_facet_counts
                WHERE facet = 'certificate_profile_id'
                UNION ALL SELECT certificate_profile_id, n FROM certificate_deltas
            )""",
        ),
    ),
    periods={
        "created_at": Periods(
            days="""(
                SELECT day, n FROM certificate_days WHERE facet = 'created_at'
                UNION ALL SELECT day_of(created_at), n FROM certificate_deltas
            )""",
            hours="""(
                SELECT hour, n FROM certificate_hours WHERE facet = 'created_at'
                UNION ALL SELECT hour_of(created_at), n FROM certificate_deltas
            )""",
        ),
        "updated_at": Periods(
            days="""(
                SELECT day, n FROM certificate_days WHERE facet = 'updated_at'
                UNION ALL SELECT day_of(updated_at), n FROM certificate_deltas
            )""",
            hours="""(
                SELECT hour, n FROM certificate_hours WHERE facet = 'updated_at'
                UNION ALL SELECT hour_of(updated_at), n FROM certificate_deltas
            )""",
        ),
        "expires_at": Periods(
            days="""(
                SELECT day, n FROM certificate_days WHERE facet = 'expires_at'
                UNION ALL SELECT day_of(expires_at), n FROM certificate_deltas
            )""",
            hours="""(
                SELECT hour, n FROM certificate_hours WHERE facet = 'expires_at'
                UNION ALL SELECT hour_of(expires_at), n FROM certificate_deltas
            )""",
        ),
    },
)
IN_USE: Final = Periods(
    days="""(
        SELECT day, n FROM certificate_days WHERE facet = 'in_use'
        UNION ALL SELECT day_of(expires_at), n FROM certificate_deltas WHERE is_in_use(status)
    )""",
    hours="""(
        SELECT hour, n FROM certificate_hours WHERE facet = 'in_use'
        UNION ALL SELECT hour_of(expires_at), n FROM certificate_deltas WHERE is_in_use(status)
    )""",
)
"""Ends of certificates that somebody uses."""

JOBS: Final = Totals(
    by=(
        (
            _fields("type status"),
            """(
                SELECT type, status, n FROM status_counts WHERE kind = 'jobs'
                UNION ALL SELECT type, status, n FROM status_deltas WHERE kind = 'jobs'
            )""",
        ),
    )
)
NOTIFICATIONS: Final = Totals(
    by=(
        (
            _fields("type status"),
            """(
                SELECT type, status, n FROM status_counts WHERE kind = 'notification_events'
                UNION ALL SELECT type, status, n FROM status_deltas WHERE kind = 'notification_events'
            )""",
        ),
    )
)
DISCOVERED: Final = Totals(
    by=(
        (
            _fields("status"),
            """(
                SELECT status, n FROM status_counts WHERE kind = 'discovered_certificates'
                UNION ALL SELECT status, n FROM status_deltas WHERE kind = 'discovered_certificates'
            )""",
        ),
    )
)
AUDIT_EVENTS: Final = Totals(
    by=(
        (
            _fields(""),
            """(
                SELECT coalesce(max(leaf_index) + 1, 0) AS n FROM audit_leaves
                UNION ALL SELECT count(*) FROM audit_unsealed
            )""",
        ),
        (
            _fields("actor"),
            """(
                SELECT value AS actor, n FROM audit_facet_counts WHERE facet = 'actor'
                UNION ALL SELECT e.actor, 1 FROM audit_unsealed AS u JOIN audit_events AS e USING (seq)
            )""",
        ),
        (
            _fields("action"),
            """(
                SELECT value AS action, n FROM audit_facet_counts WHERE facet = 'action'
                UNION ALL SELECT e.action, 1 FROM audit_unsealed AS u JOIN audit_events AS e USING (seq)
            )""",
        ),
        (
            _fields("resource_type"),
            """(
                SELECT value AS resource_type, n FROM audit_facet_counts WHERE facet = 'resource_type'
                UNION ALL SELECT e.resource_type, 1 FROM audit_unsealed AS u JOIN audit_events AS e USING (seq)
            )""",
        ),
    ),
    periods={
        "timestamp": Periods(
            days="""(
                SELECT day, n FROM audit_days
                UNION ALL
                SELECT day_of(e.timestamp), 1 FROM audit_unsealed AS u JOIN audit_events AS e USING (seq)
            )""",
            hours="""(
                SELECT hour, n FROM audit_hours
                UNION ALL
                SELECT hour_of(e.timestamp), 1 FROM audit_unsealed AS u JOIN audit_events AS e USING (seq)
            )""",
        )
    },
)
