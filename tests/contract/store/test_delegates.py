"""Delegates in any store."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from certctl_core.errors import Duplicate, Invalid
from certctl_core.ids import IssuerId
from certctl_core.models.delegates import Delegate, Purpose
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, OpenWork

ISSUER = IssuerId("iss-1")


def add(store: OpenWork, *delegates: Delegate) -> None:
    with store() as work:
        for one in delegates:
            assert work.delegates.lock_or_add(one) == one


def test_the_newest_generation_is_found_among_its_kind(seeded: OpenWork) -> None:
    first, second = facts.delegate("del-1"), facts.delegate("del-2", generation=2)
    other_label = facts.delegate("del-3", purpose=Purpose.RA, label="phones", generation=7)
    other_ca = facts.delegate("del-4", authority="ff", generation=9)
    add(seeded, first, second, other_label, other_ca)
    with seeded() as work:
        assert work.delegates.newest(ISSUER, "aa", Purpose.OCSP) == second
        assert work.delegates.newest(ISSUER, "aa", Purpose.RA, "phones") == other_label
        assert work.delegates.newest(ISSUER, "ff", Purpose.OCSP) == other_ca
        assert work.delegates.newest(ISSUER, "aa", Purpose.RA) is None
        assert work.delegates.newest(IssuerId("iss-9"), "aa", Purpose.OCSP) is None


def test_a_generation_that_is_there_wins(seeded: OpenWork) -> None:
    first = facts.delegate("del-1")
    add(seeded, first)
    with seeded() as work:
        assert work.delegates.lock_or_add(facts.delegate("del-2", sealed_key=b"another")) == first
    with seeded() as work:
        assert work.delegates.newest(ISSUER, "aa", Purpose.OCSP) == first


@pytest.mark.integration
def test_of_replicas_that_make_one_at_the_same_time_one_wins(postgres: OpenWork) -> None:
    together = threading.Barrier(4)

    def make(number: int) -> str:
        together.wait(10)
        with postgres() as work:
            return work.delegates.lock_or_add(facts.delegate(f"del-{number}")).id

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(make, range(4)))) == 1


def test_only_the_last_generation_is_to_be_renewed(seeded: OpenWork) -> None:
    first, second = facts.delegate("del-1", renew_at=AT), facts.delegate("del-2", generation=2, renew_at=AT + HOUR)
    unrelated = facts.delegate("del-3", label="other", renew_at=AT + DAY)
    add(seeded, first, unrelated, second)
    with seeded() as work:
        assert list(work.delegates.due_for_renewal(AT + HOUR, 10)) == [second]
    with seeded() as work:
        assert list(work.delegates.due_for_renewal(AT + 2 * DAY, 10)) == [second, unrelated]
        assert list(work.delegates.due_for_renewal(AT + 2 * DAY, 1)) == [second]
        work.delegates.set_renewal(second.id, None)
        work.delegates.set_renewal(unrelated.id, AT + 3 * DAY)
    with seeded() as work:
        assert list(work.delegates.due_for_renewal(AT + 2 * DAY, 10)) == []


def test_those_of_an_issuer_that_have_not_ended_come_newest_first(seeded: OpenWork) -> None:
    with seeded() as work:
        work.issuers.add(facts.issuer("iss-2"))
    old = facts.delegate("del-1", not_after=AT)
    first, second = facts.delegate("del-2", generation=2), facts.delegate("del-3", generation=3, created_at=AT + HOUR)
    add(seeded, old, first, second, facts.delegate("del-4", issuer_id="iss-2"))
    with seeded() as work:
        assert list(work.delegates.unexpired(ISSUER, AT)) == [second, first]


def test_what_ended_long_ago_is_forgotten(seeded: OpenWork) -> None:
    add(seeded, facts.delegate("del-1", not_after=AT), facts.delegate("del-2", generation=2))
    with seeded() as work:
        assert work.delegates.forget(AT + HOUR, 10) == 1
        assert work.delegates.forget(AT + HOUR, 10) == 0
        assert [one.id for one in work.delegates.unexpired(ISSUER, AT)] == ["del-2"]


def test_a_serial_number_is_given_once(seeded: OpenWork) -> None:
    add(seeded, facts.delegate("del-1"))
    with pytest.raises(Duplicate), seeded() as work:
        work.delegates.lock_or_add(facts.delegate("del-2", label="b", serial_number=facts.serial("del-1")))


def test_a_delegate_is_of_an_issuer_and_goes_with_it(seeded: OpenWork) -> None:
    with pytest.raises(Invalid), seeded() as work:
        work.delegates.lock_or_add(facts.delegate("del-1", issuer_id="iss-9"))
    with seeded() as work:
        work.issuers.add(facts.issuer("iss-2"))
    add(seeded, facts.delegate("del-1", issuer_id="iss-2"))
    with seeded() as work:
        work.issuers.remove("iss-2")
    with seeded() as work:
        assert list(work.delegates.unexpired(IssuerId("iss-2"), AT)) == []
