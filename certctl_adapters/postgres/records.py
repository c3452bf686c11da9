"""The audit trail, the scheduler's loops and the record of API calls."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import evolve
from psycopg import sql

from certctl_adapters.kinds import API_CALLS, AUDIT_EVENTS, LOOPS
from certctl_adapters.postgres import totals
from certctl_adapters.postgres.codecs import Codec
from certctl_adapters.postgres.listing import Listing
from certctl_adapters.postgres.table import PostgresTable, Shape, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_adapters.records import read_json
from certctl_core.errors import NotFound
from certctl_core.ids import mint
from certctl_core.models.records import AuditEvent, LoopState
from certctl_core.models.trail import canonical_json
from certctl_core.ports.store import ApiCall, ApiCalls, AuditTrail, Loops, Page, Query


def _with_canonical_details(shape: Shape[AuditEvent]) -> Shape[AuditEvent]:
    details = Codec(canonical_json, read_json)
    return Shape(shape.kind, tuple(evolve(c, codec=details) if c.field == "details" else c for c in shape.columns))


_AUDIT_EVENT: Final = _with_canonical_details(shape_of(AUDIT_EVENTS))
_AUDIT_LISTING: Final = Listing(
    _AUDIT_EVENT,
    totals.AUDIT_EVENTS,
    ordered=frozenset(
        (name, "timestamp") for name in ("actor", "actor_type", "action", "resource_type", "resource_id")
    ),
)
_LOOP: Final = shape_of(LOOPS)
_CALL: Final = shape_of(
    API_CALLS,
    actor_type="'User'::text",
    action="('api_' || lower(t.method))",
    resource_type="'api'::text",
    resource_id="t.path",
    details="""
        jsonb_build_object(
            'method', t.method, 'path', t.path, 'status', t.status, 'body_hash', t.body_hash,
            'latency_ms', floor(extract(epoch FROM t.took) * 1000)::bigint
        )
    """,
    timestamp="t.at",
)
_OF_A_CALL: Final = ("at", "actor", "method", "path", "status", "took", "request_id", "body_hash")
_MONTHS_LOCK: Final = 0x6170692063616C6C  # "api call" in ASCII


class PostgresAuditTrail(AuditTrail):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _AUDIT_EVENT, _AUDIT_LISTING)

    def add(self, *events: AuditEvent) -> None:
        if len(events) == 1:
            self._table.add(events[0])
        else:
            self._table.add_many(events)

    def get(self, identity: str) -> AuditEvent:
        return self._table.get(identity)

    def page(self, query: Query) -> Page[AuditEvent]:
        return self._table.page(query)


class PostgresApiCalls(ApiCalls):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _CALL)

    def add(self, calls: Sequence[ApiCall]) -> None:
        if not calls:
            return
        rows = [(mint("call", call.at), *(getattr(call, name) for name in _OF_A_CALL)) for call in calls]
        self._transaction.change(
            b"""
            INSERT INTO api_calls (id, at, actor, method, path, status, took, request_id, body_hash)
            SELECT * FROM unnest(
                %s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::integer[], %s::interval[],
                %s::text[], %s::text[]
            )
            """,
            [list(column) for column in zip(*rows, strict=True)],
            API_CALLS,
        )

    def page(self, query: Query) -> Page[AuditEvent]:
        return self._table.page(query)

    def keep_since(self, cutoff: datetime, now: datetime) -> None:
        self._transaction.rows(b"SELECT pg_advisory_xact_lock(%s)::text", [_MONTHS_LOCK])
        months = self._months()
        for start in (_month(now), _month(now, 1)):
            if _partition(start) not in months:
                self._make(start)
        first = _month(cutoff)
        for name in months:
            if name < _partition(first):
                self._transaction.change(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
        self._transaction.change(b"DELETE FROM api_calls_default WHERE at < %s", [first])

    def _months(self) -> Sequence[str]:
        rows = self._transaction.rows(
            b"""
            SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'api_calls'::regclass AND c.relname <> 'api_calls_default'
            """
        )
        return [name for (name,) in rows]

    def _make(self, start: datetime) -> None:
        """A partition for the month. What arrived before it was made is waiting in the default one."""
        name, end = sql.Identifier(_partition(start)), _month(start, 1)
        self._transaction.change(sql.SQL("CREATE TABLE {} (LIKE api_calls INCLUDING ALL)").format(name))
        self._transaction.change(
            sql.SQL(
                """
                WITH moved AS (DELETE FROM api_calls_default WHERE at >= %s AND at < %s RETURNING *)
                INSERT INTO {} SELECT * FROM moved
                """
            ).format(name),
            [start, end],
        )
        self._transaction.change(
            sql.SQL("ALTER TABLE api_calls ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                name, sql.Literal(start.isoformat()), sql.Literal(end.isoformat())
            )
        )


class PostgresLoops(Loops):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _LOOP)

    def ensure(self, name: str, interval: timedelta, now: datetime) -> None:
        self._transaction.change(
            b"""
            INSERT INTO scheduler_loops AS l (name, run_interval, next_run_at)
            VALUES (%(name)s, %(interval)s, %(now)s)
            ON CONFLICT (name) DO UPDATE
            SET run_interval = excluded.run_interval, next_run_at = least(l.next_run_at, %(next)s)
            WHERE l.run_interval <> excluded.run_interval
            """,
            {"name": name, "interval": interval, "now": now, "next": now + interval},
        )

    def claim_due(self, now: datetime, names: Sequence[str]) -> Sequence[str]:
        rows = self._transaction.rows(
            b"""
            WITH due AS MATERIALIZED (
                SELECT name FROM scheduler_loops WHERE name = ANY(%(names)s) AND next_run_at <= %(now)s
                FOR UPDATE SKIP LOCKED
            )
            UPDATE scheduler_loops AS l SET next_run_at = %(now)s + l.run_interval
            FROM due WHERE l.name = due.name RETURNING l.name
            """,
            {"names": list(names), "now": now},
        )
        return sorted(name for (name,) in rows)

    def started(self, name: str, worker: str, at: datetime) -> None:
        touched = self._transaction.change(
            b"""
            UPDATE scheduler_loops
            SET last_started_at = %(at)s, last_outcome = 'running', last_worker = %(worker)s, runs = runs + 1
            WHERE name = %(name)s
            """,
            {"name": name, "worker": worker, "at": at},
        )
        _must_exist(touched, name)

    def finished(self, name: str, at: datetime, took: timedelta, items: int, error: str) -> None:
        touched = self._transaction.change(
            b"""
            UPDATE scheduler_loops
            SET last_finished_at = %(at)s, last_duration = %(took)s, last_items = %(items)s, last_error = %(error)s,
                last_outcome = CASE WHEN %(error)s = '' THEN 'success' ELSE 'failed' END,
                failures = failures + CASE WHEN %(error)s = '' THEN 0 ELSE 1 END
            WHERE name = %(name)s
            """,
            {"name": name, "at": at, "took": took, "items": items, "error": error},
        )
        _must_exist(touched, name)

    def all(self) -> Sequence[LoopState]:
        return self._table.select("SELECT {columns} FROM {table} AS t ORDER BY t.name")


def _must_exist(touched: int, name: str) -> None:
    if not touched:
        raise NotFound.of(LOOPS.noun, name)


def _month(at: datetime, later: int = 0) -> datetime:
    """The first moment of the month of `at` in UTC, or of the `later`-th month after it."""
    at = at.astimezone(UTC)
    years, month = divmod(at.month - 1 + later, 12)
    return datetime(at.year + years, month + 1, 1, tzinfo=UTC)


def _partition(start: datetime) -> str:
    return f"api_calls_{start:%Y_%m}"
