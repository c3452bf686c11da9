"""The audit trail, the loops and the record of API calls."""

from datetime import UTC, datetime, timedelta

import pytest

from certctl_core.errors import Duplicate, Invalid, NotFound
from certctl_core.models.access import ActorType
from certctl_core.models.records import AuditEvent, LoopOutcome, LoopState
from certctl_core.ports.store import Is, Page, Query, Where
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, MINUTE, SECOND, OpenWork


class TestAuditTrail:
    def test_an_event_comes_back_the_same(self, store: OpenWork) -> None:
        full = facts.event(
            details={"z": 1, "a": ["ü", None, True, 1.5], "nested": {"b": "%s", "a": {}}}, request_id="req-1"
        )
        plain = facts.event("audit-2", actor_type=ActorType.SYSTEM)
        with store() as work:
            work.audit.add(full, plain)
            work.audit.add()
        with store() as work:
            assert work.audit.get("audit-1") == full
            assert work.audit.get("audit-2") == plain
            with pytest.raises(NotFound, match="nobody"):
                work.audit.get("nobody")

    def test_details_are_json_or_nothing(self, store: OpenWork) -> None:
        for value in (AT, b"bytes", float("nan"), object()):
            with pytest.raises((TypeError, ValueError)), store() as work:
                work.audit.add(facts.event(details={"value": value}))

    def test_an_event_is_written_once(self, store: OpenWork) -> None:
        with store() as work:
            work.audit.add(facts.event())
        with pytest.raises(Duplicate), store() as work:
            work.audit.add(facts.event(action="something_else"))

    def test_every_actor_type_can_be_written(self, store: OpenWork) -> None:
        with store() as work:
            work.audit.add(*(facts.event(kind.value, actor_type=kind) for kind in ActorType))
        with store() as work:
            assert [work.audit.get(kind.value).actor_type for kind in ActorType] == list(ActorType)

    def test_the_trail_is_read_newest_first_page_by_page(self, store: OpenWork) -> None:
        events = [facts.event(f"audit-{n}", timestamp=AT + (n // 2) * SECOND) for n in range(6)]
        with store() as work:
            work.audit.add(*events)
        with store() as work:
            first = work.audit.page(Query(descending=True, limit=3))
            last = first.items[-1]
            rest = work.audit.page(Query(sort="timestamp", descending=True, limit=3, after=(last.timestamp, last.id)))
        assert [*first.items, *rest.items] == events[::-1]
        assert (first.total, first.more, rest.total, rest.more) == (6, True, 6, False)

    @pytest.mark.parametrize(
        ("where", "found"),
        [
            (Where("actor", "admin"), ["audit-1", "audit-3"]),
            (Where("action", "certificate_revoked"), ["audit-2"]),
            (Where("resource_type", "agent"), ["audit-3"]),
            (Where("resource_id", "mc-1"), ["audit-1", "audit-2"]),
            (Where("actor_type", ActorType.AGENT), ["audit-2"]),
            (Where("timestamp", AT, Is.AFTER), ["audit-2", "audit-3"]),
            (Where("timestamp", AT + HOUR, Is.BEFORE), ["audit-1"]),
            (Where("actor", ["admin", "a-1"], Is.ONE_OF), ["audit-1", "audit-2", "audit-3"]),
            (Where("request_id", "req-3"), ["audit-3"]),
        ],
    )
    def test_the_trail_can_be_narrowed(self, store: OpenWork, where: Where, found: list[str]) -> None:
        revoked = {"action": "certificate_revoked", "actor": "a-1", "actor_type": ActorType.AGENT}
        retired = {"action": "agent_retired", "resource_type": "agent", "resource_id": "a-1", "request_id": "req-3"}
        with store() as work:
            work.audit.add(
                facts.event("audit-1"),
                facts.event("audit-2", timestamp=AT + HOUR, **revoked),
                facts.event("audit-3", timestamp=AT + 2 * HOUR, **retired),
            )
        with store() as work:
            assert [event.id for event in work.audit.page(Query(where=(where,))).items] == found

    def test_the_trail_cannot_be_narrowed_by_details(self, store: OpenWork) -> None:
        with pytest.raises(Invalid, match="audit event"), store() as work:
            work.audit.page(Query(where=(Where("details", "x"),)))


class TestApiCalls:
    def test_calls_are_read_as_audit_events(self, store: OpenWork) -> None:
        with store() as work:
            work.calls.add(
                [
                    facts.call(at=AT + SECOND),
                    facts.call(
                        method="POST", actor="me", status=409, body_hash="ab", took=timedelta(microseconds=1900)
                    ),
                ]
            )
        with store() as work:
            post, get = work.calls.page(Query()).items
        assert (post.action, post.actor, post.resource_type, post.resource_id) == (
            "api_post",
            "me",
            "api",
            "/api/v1/jobs",
        )
        assert (post.timestamp, post.request_id, post.actor_type) == (AT, "req-1", ActorType.USER)
        assert post.details == {
            "method": "POST",
            "path": "/api/v1/jobs",
            "status": 409,
            "latency_ms": 1,
            "body_hash": "ab",
        }
        assert (get.action, get.timestamp) == ("api_get", AT + SECOND)
        assert get.id != post.id

    def test_calls_can_be_narrowed_and_paged(self, store: OpenWork) -> None:
        with store() as work:
            work.calls.add([])
            work.calls.add([facts.call(at=AT + n * SECOND, actor="me" if n % 2 else "you") for n in range(10)])
        with store() as work:
            mine = (Where("resource_type", "api"), Where("action", "api_get"), Where("actor", "me"))
            first = work.calls.page(Query(where=mine, descending=True, limit=3))
            last = first.items[-1]
            rest = work.calls.page(Query(where=mine, descending=True, limit=3, after=(last.timestamp, last.id)))
            none = work.calls.page(Query(where=(Where("resource_type", "certificate"),)))
        assert [(e.timestamp - AT).seconds for e in (*first.items, *rest.items)] == [9, 7, 5, 3, 1]
        assert (first.total, first.more, rest.more, none.total) == (5, True, False, 0)

    def test_whole_months_are_dropped(self, store: OpenWork) -> None:
        def month(number: int, day: int = 1) -> datetime:
            return datetime(2031, number, day, 0, 0, 0, tzinfo=UTC)

        times = [month(1, 31), month(2), month(2, 28), month(3), month(4) - SECOND, month(4)]

        def stored() -> Page[AuditEvent]:
            with store() as work:
                return work.calls.page(Query(limit=1000))

        with store() as work:
            work.calls.add([facts.call(at=at) for at in times])
        with store() as work:
            work.calls.keep_since(month(1), month(2, 10))
        assert [event.timestamp for event in stored().items] == times
        with store() as work:
            work.calls.keep_since(month(2, 20), month(3, 5))
        assert [event.timestamp for event in stored().items] == times[1:]
        with store() as work:
            work.calls.keep_since(month(3, 31), month(4, 5))
            work.calls.add([facts.call(at=month(4, 6))])
        assert [event.timestamp for event in stored().items] == [*times[3:], month(4, 6)]

    def test_a_year_ends_like_any_other_month(self, store: OpenWork) -> None:
        new_year = datetime(2032, 1, 1, tzinfo=UTC)
        with store() as work:
            work.calls.keep_since(new_year - DAY, new_year - DAY)
            work.calls.add([facts.call(at=new_year - SECOND), facts.call(at=new_year)])
        with store() as work:
            work.calls.keep_since(new_year, new_year)
            assert [event.timestamp for event in work.calls.page(Query()).items] == [new_year]


class TestLoops:
    def test_a_new_loop_is_due_at_once(self, store: OpenWork) -> None:
        with store() as work:
            work.loops.ensure("renewal", HOUR, AT)
            work.loops.ensure("expiry", timedelta(seconds=30), AT)
        with store() as work:
            assert work.loops.all() == [
                LoopState(name="expiry", interval=timedelta(seconds=30), next_run_at=AT),
                LoopState(name="renewal", interval=HOUR, next_run_at=AT),
            ]

    def test_a_due_run_is_claimed_once(self, store: OpenWork) -> None:
        with store() as work:
            for name in ("a", "b", "c"):
                work.loops.ensure(name, HOUR, AT)
        with store() as work:
            assert work.loops.claim_due(AT - SECOND, ["a", "b"]) == []
            assert work.loops.claim_due(AT, ["b", "a", "unknown"]) == ["a", "b"]
        with store() as work:
            assert work.loops.claim_due(AT + HOUR - SECOND, ["a", "b", "c"]) == ["c"]
            assert work.loops.claim_due(AT + HOUR, ["a"]) == ["a"]
            assert {loop.name: loop.next_run_at for loop in work.loops.all()} == {
                "a": AT + 2 * HOUR,
                "b": AT + HOUR,
                "c": AT + 2 * HOUR - SECOND,
            }

    def test_missed_runs_are_not_made_up_for(self, store: OpenWork) -> None:
        with store() as work:
            work.loops.ensure("a", HOUR, AT)
            assert work.loops.claim_due(AT + DAY, ["a"]) == ["a"]
            assert work.loops.claim_due(AT + DAY + SECOND, ["a"]) == []

    def test_a_shorter_interval_brings_the_next_run_nearer(self, store: OpenWork) -> None:
        with store() as work:
            work.loops.ensure("a", HOUR, AT)
            work.loops.claim_due(AT, ["a"])
            work.loops.ensure("a", HOUR, AT + 10 * MINUTE)
            assert work.loops.all()[0].next_run_at == AT + HOUR
            work.loops.ensure("a", MINUTE, AT + 10 * MINUTE)
            assert work.loops.all()[0].next_run_at == AT + 11 * MINUTE
            work.loops.ensure("a", DAY, AT + 10 * MINUTE)
            assert (work.loops.all()[0].next_run_at, work.loops.all()[0].interval) == (AT + 11 * MINUTE, DAY)

    def test_runs_are_remembered(self, store: OpenWork) -> None:
        took = timedelta(milliseconds=1500)
        with store() as work:
            work.loops.ensure("a", HOUR, AT)
            work.loops.started("a", "worker-1", AT)
            running = work.loops.all()[0]
            work.loops.finished("a", AT + took, took, 7, "")
            good = work.loops.all()[0]
            work.loops.started("a", "worker-2", AT + HOUR)
            work.loops.finished("a", AT + HOUR + took, took, 0, "no database")
            bad = work.loops.all()[0]
        assert (running.last_outcome, running.last_started_at, running.last_worker) == (
            LoopOutcome.RUNNING,
            AT,
            "worker-1",
        )
        assert (good.last_outcome, good.last_items, good.last_duration) == (LoopOutcome.SUCCESS, 7, took)
        assert bad == LoopState(
            name="a",
            interval=HOUR,
            next_run_at=AT,
            last_started_at=AT + HOUR,
            last_finished_at=AT + HOUR + took,
            last_duration=took,
            last_outcome=LoopOutcome.FAILED,
            last_error="no database",
            last_items=0,
            last_worker="worker-2",
            runs=2,
            failures=1,
        )

    def test_a_loop_that_does_not_exist_cannot_run(self, store: OpenWork) -> None:
        with store() as work:
            with pytest.raises(NotFound, match="nothing"):
                work.loops.started("nothing", "worker", AT)
            with pytest.raises(NotFound, match="nothing"):
                work.loops.finished("nothing", AT, SECOND, 0, "")
