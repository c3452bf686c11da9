"""The audit trail, the scheduler's loops and the record of API calls, in memory."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import evolve

from certctl_adapters.kinds import API_CALLS, AUDIT_EVENTS, LOOPS
from certctl_adapters.memory.table import page_of
from certctl_adapters.memory.transaction import Transaction
from certctl_adapters.records import as_audit_event, read_json
from certctl_core.errors import NotFound
from certctl_core.models.records import AuditEvent, LoopOutcome, LoopState
from certctl_core.models.trail import Entry, canonical_json
from certctl_core.ports.store import ApiCall, ApiCalls, AuditTrail, Loops, Page, Query

ENTRIES: Final = "audit_entries"
"""Events as entries, by id."""

ORDER: Final = "audit_order"
"""Ids of events by the order of writing, from 1."""

UNSEALED: Final = "audit_unsealed"
"""The same of events that are no leaves yet."""


class MemoryAuditTrail(AuditTrail):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, *events: AuditEvent) -> None:
        for event in events:
            # As it will be read back: whatever is not JSON is found out here too.
            plain = read_json(canonical_json(event.details))
            self._transaction.insert(AUDIT_EVENTS, evolve(event, details=plain))
            seq = len(self._transaction.rows(ENTRIES)) + 1
            self._transaction.set(ENTRIES, event.id, Entry.of(event, seq))
            self._transaction.set(ORDER, seq, event.id)
            self._transaction.set(UNSEALED, seq, event.id)

    def get(self, identity: str) -> AuditEvent:
        found: AuditEvent | None = self._transaction.rows(AUDIT_EVENTS.table).get(identity)
        if found is None:
            raise NotFound.of(AUDIT_EVENTS.noun, identity)
        return found

    def page(self, query: Query) -> Page[AuditEvent]:
        AUDIT_EVENTS.check(query)
        return page_of(self._transaction.rows(AUDIT_EVENTS.table).values(), AUDIT_EVENTS, query)


class MemoryApiCalls(ApiCalls):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, calls: Sequence[ApiCall]) -> None:
        for call in calls:
            event = as_audit_event(call)
            self._transaction.set(API_CALLS.table, event.id, event)

    def page(self, query: Query) -> Page[AuditEvent]:
        API_CALLS.check(query)
        return page_of(self._transaction.rows(API_CALLS.table).values(), API_CALLS, query)

    def keep_since(self, cutoff: datetime, now: datetime) -> None:
        del now  # there are no partitions to make
        start = cutoff.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        rows = self._transaction.rows(API_CALLS.table)
        for key in [key for key, event in rows.items() if event.timestamp < start]:
            self._transaction.unset(API_CALLS.table, key)


class MemoryLoops(Loops):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def ensure(self, name: str, interval: timedelta, now: datetime) -> None:
        known = self._find(name)
        if known is None:
            self._put(LoopState(name=name, interval=interval, next_run_at=now))
        elif known.interval != interval:
            self._put(evolve(known, interval=interval, next_run_at=min(known.next_run_at, now + interval)))

    def claim_due(self, now: datetime, names: Sequence[str]) -> Sequence[str]:
        due = [loop for loop in self.all() if loop.name in names and loop.next_run_at <= now]
        for loop in due:
            self._put(evolve(loop, next_run_at=now + loop.interval))
        return [loop.name for loop in due]

    def started(self, name: str, worker: str, at: datetime) -> None:
        loop = self._get(name)
        self._put(
            evolve(loop, last_started_at=at, last_outcome=LoopOutcome.RUNNING, last_worker=worker, runs=loop.runs + 1)
        )

    def finished(self, name: str, at: datetime, took: timedelta, items: int, error: str) -> None:
        loop = self._get(name)
        self._put(
            evolve(
                loop,
                last_finished_at=at,
                last_duration=took,
                last_items=items,
                last_error=error,
                last_outcome=LoopOutcome.FAILED if error else LoopOutcome.SUCCESS,
                failures=loop.failures + bool(error),
            )
        )

    def all(self) -> Sequence[LoopState]:
        return sorted(self._transaction.rows(LOOPS.table).values(), key=lambda loop: str(loop.name))

    def _find(self, name: str) -> LoopState | None:
        return self._transaction.rows(LOOPS.table).get(name)

    def _get(self, name: str) -> LoopState:
        found = self._find(name)
        if found is None:
            raise NotFound.of(LOOPS.noun, name)
        return found

    def _put(self, loop: LoopState) -> None:
        self._transaction.set(LOOPS.table, loop.name, loop)
