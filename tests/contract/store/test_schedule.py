"""Who was told of which end, policies that certificates have yet to follow, and the pace of issuers."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from threading import Thread

import pytest
from attrs import evolve

from certctl_core.errors import Invalid
from certctl_core.models.catalog import Rescheduling
from certctl_core.models.records import ExpirationAlert
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, MINUTE, SECOND, OpenWork


def alert(certificate: str = "mc-1", days: int = 30, ends: timedelta = 30 * DAY) -> ExpirationAlert:
    return ExpirationAlert(certificate_id=certificate, expires_at=AT + ends, threshold_days=days, told_at=AT)


class TestAlerts:
    def test_only_new_ones_come_back(self, store: OpenWork) -> None:
        first, second = alert(), alert("mc-2")
        with store() as work:
            assert list(work.alerts.add_new([first, second])) == [first, second]
            assert list(work.alerts.add_new([])) == []
        others = [alert(days=14), alert(ends=90 * DAY), alert("mc-3")]
        with store() as work:
            assert list(work.alerts.add_new([others[0], first, others[1], second, others[2]])) == others
        with store() as work:
            assert list(work.alerts.add_new([evolve(first, told_at=AT + DAY), *others])) == []

    def test_what_is_undone_was_not_told(self, store: OpenWork) -> None:
        with suppress(ZeroDivisionError), store() as work:
            work.alerts.add_new([alert()])
            raise ZeroDivisionError
        with store() as work:
            assert list(work.alerts.add_new([alert()])) == [alert()]

    def test_those_of_long_past_ends_are_forgotten_the_oldest_first(self, store: OpenWork) -> None:
        told = [alert(f"mc-{days}", ends=days * DAY) for days in (3, 1, 2, 5)]
        with store() as work:
            work.alerts.add_new(told)
        with store() as work:
            assert work.alerts.forget(AT + 3 * DAY, 1) == 1
            assert work.alerts.forget(AT + 3 * DAY, 10) == 1
            assert work.alerts.forget(AT + 3 * DAY, 10) == 0
        with store() as work:
            assert [each.certificate_id for each in work.alerts.add_new(told)] == ["mc-1", "mc-2"]


class TestReschedulings:
    def test_the_one_asked_for_first_comes_first(self, store: OpenWork) -> None:
        with store() as work:
            assert work.reschedulings.claim() is None
            work.reschedulings.ask("rp-2", AT + SECOND)
            work.reschedulings.ask("rp-1", AT)
        with store() as work:
            claimed = work.reschedulings.claim()
            assert claimed == Rescheduling(policy_id="rp-1", requested_at=AT)
            work.reschedulings.advance(evolve(claimed, after="mc-7"))
        with store() as work:
            assert work.reschedulings.claim() == Rescheduling(policy_id="rp-1", after="mc-7", requested_at=AT)
            work.reschedulings.finish(claimed)
        with store() as work:
            assert work.reschedulings.claim() == Rescheduling(policy_id="rp-2", requested_at=AT + SECOND)

    def test_asked_for_again_it_begins_anew_and_keeps_its_place(self, store: OpenWork) -> None:
        with store() as work:
            work.reschedulings.ask("rp-1", AT)
            work.reschedulings.advance(Rescheduling(policy_id="rp-1", after="mc-7", requested_at=AT))
        with store() as work:
            work.reschedulings.ask("rp-1", AT + DAY)
        with store() as work:
            assert work.reschedulings.claim() == Rescheduling(policy_id="rp-1", requested_at=AT)


class TestPace:
    def test_places_follow_one_another(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.issuers.add(facts.issuer("iss-2"))
            assert work.pace.take({"iss-1": 3}, MINUTE, AT) == {"iss-1": AT}
        with seeded() as work:
            taken = work.pace.take({"iss-1": 2, "iss-2": 1}, MINUTE, AT + SECOND)
            assert taken == {"iss-1": AT + 3 * MINUTE, "iss-2": AT + SECOND}
            assert work.pace.take({}, MINUTE, AT) == {}
        with seeded() as work:
            assert work.pace.take({"iss-1": 1, "iss-2": 1}, SECOND, AT + HOUR) == {
                "iss-1": AT + HOUR,
                "iss-2": AT + HOUR,
            }

    def test_places_are_of_issuers_that_exist(self, seeded: OpenWork) -> None:
        with pytest.raises(Invalid), seeded() as work:
            work.pace.take({"nobody": 1}, MINUTE, AT)


@pytest.mark.integration
class TestTogether:
    """What two do at once, which only a database can get wrong."""

    def test_one_of_two_tells(self, postgres: OpenWork) -> None:
        told: list[int] = []

        def tell() -> None:
            with postgres() as work:
                told.append(len(work.alerts.add_new([alert(f"mc-{n}") for n in range(50)])))

        _together(tell, tell, tell)
        assert sum(told) == 50

    def test_one_of_two_works_on_a_policy(self, postgres: OpenWork) -> None:
        with postgres() as work:
            work.reschedulings.ask("rp-1", AT)
        with postgres() as first:
            assert first.reschedulings.claim() is not None
            with postgres() as second:
                assert second.reschedulings.claim() is None

    def test_no_place_is_taken_twice(self, postgres: OpenWork) -> None:
        taken: list[timedelta] = []

        def take() -> None:
            for _ in range(10):
                with postgres() as work:
                    taken.append(work.pace.take({"iss-1": 1}, SECOND, AT)["iss-1"] - AT)

        _together(take, take, take)
        assert sorted(taken) == [SECOND * place for place in range(30)]


def _together(*steps: Callable[[], None]) -> None:
    threads = [Thread(target=step) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
