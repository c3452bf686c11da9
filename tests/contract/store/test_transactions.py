"""One transaction: all of it or nothing, nothing after its end, nobody's changes lost."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from attrs import evolve

from certctl_adapters.kinds import TransactionAborted
from certctl_core.errors import Duplicate, Invalid, StaleWrite
from certctl_core.ports.store import Work
from tests.contract.store import facts
from tests.contract.store.facts import AT, OpenWork


class Interruption(BaseException):
    """What a worker that is told to stop in the middle sees."""


class TestTransaction:
    @pytest.mark.parametrize("error", [ValueError, Interruption])
    def test_an_exception_undoes_everything(self, seeded: OpenWork, error: type[BaseException]) -> None:
        def fail_halfway() -> None:
            with seeded() as work:
                work.certificates.add(facts.certificate(target_ids=("t-1",)))
                work.teams.save(evolve(work.teams.get("team-1"), name="renamed"))
                work.api_keys.add(facts.api_key())
                work.sessions.add(facts.session())
                work.targets.remove("t-2")
                work.audit.add(facts.event())
                work.loops.ensure("loop", timedelta(minutes=1), AT)
                work.crls.next_number("iss-1")
                raise error

        with pytest.raises(error):
            fail_halfway()
        with seeded() as work:
            assert work.certificates.find("mc-1") is None
            assert work.teams.get("team-1").name == "team-1"
            assert work.api_keys.by_hashes([facts.api_key().key_hash]) == {}
            assert work.sessions.find(facts.session().id_hash, AT) is None
            assert work.targets.find("t-2") is not None
            assert work.loops.all() == []
            assert work.crls.next_number("iss-1") == 1
            work.certificates.add(facts.certificate(name="mc-1"))

    def test_a_name_given_up_in_a_transaction_that_failed_is_still_taken(self, seeded: OpenWork) -> None:
        def fail_halfway() -> None:
            with seeded() as work:
                work.teams.save(evolve(work.teams.get("team-1"), name="renamed"))
                raise Interruption

        with pytest.raises(Interruption):
            fail_halfway()
        with pytest.raises(Duplicate), seeded() as work:
            work.teams.add(facts.team("team-2", name="team-1"))
        with seeded() as work:
            work.teams.add(facts.team("team-2", name="renamed"))

    def test_after_a_refused_write_nothing_is_kept_even_if_the_error_is_swallowed(self, seeded: OpenWork) -> None:
        def swallow() -> None:
            with seeded() as work:
                work.teams.add(facts.team("team-2"))
                with pytest.raises(Duplicate):
                    work.teams.add(facts.team("team-1"))

        with pytest.raises(TransactionAborted):
            swallow()
        with seeded() as work:
            assert work.teams.find("team-2") is None

    def test_a_work_is_of_no_use_after_its_end(self, seeded: OpenWork) -> None:
        def leave() -> Work:
            with seeded() as work:
                return work

        work = leave()
        with pytest.raises(AssertionError, match="over"):
            work.teams.find("team-1")
        with pytest.raises(AssertionError, match="over"):
            work.teams.add(facts.team("team-2"))

    def test_of_two_concurrent_writers_one_is_told(self, seeded: OpenWork) -> None:
        both_have_read = threading.Barrier(2)

        def rename(name: str) -> str | None:
            with seeded() as work:
                team = work.teams.get("team-1")
            both_have_read.wait(10)
            try:
                with seeded() as work:
                    work.teams.save(evolve(team, name=name))
            except StaleWrite:
                return None
            return name

        with ThreadPoolExecutor(2) as threads:
            outcomes = list(threads.map(rename, ["left", "right"]))
        with seeded() as work:
            assert outcomes.count(None) == 1
            assert work.teams.get("team-1").name in outcomes
            assert work.teams.get("team-1").revision == 2

    def test_changes_under_a_lock_are_never_lost(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.certificates.add(facts.certificate())

        def count_up(_: int) -> None:
            with seeded() as work:
                certificate = work.certificates.lock("mc-1")
                targets = ("t-1", "t-2") if certificate.generation % 2 else ("t-2",)
                work.certificates.save(evolve(certificate, generation=certificate.generation + 1, target_ids=targets))

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(count_up, range(20)))
        with seeded() as work:
            assert work.certificates.get("mc-1").generation == 20
            assert [d.target_id for d in work.deployments.of("mc-1")] == ["t-1", "t-2"]

    def test_text_that_no_database_can_hold_is_invalid(self, postgres: OpenWork) -> None:
        with pytest.raises(Invalid), postgres() as work:
            work.teams.add(facts.team("team-2", description="a\0b"))
