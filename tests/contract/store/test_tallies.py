"""Totals are right at every moment, whatever has been tallied, and history outlives its rows."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from certctl_adapters.memory import MemoryStore
from certctl_adapters.postgres import listing
from certctl_adapters.postgres.work import Pool, PostgresWork
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.models.records import NotificationStatus
from certctl_core.ports.store import Endings, Is, JobsOfDay, Query, Where, Work
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, OpenWork

MIDNIGHT = AT.replace(hour=0, minute=0, second=0, microsecond=0)
TODAY = MIDNIGHT.date()
ENVIRONMENTS = ("", "prod", "test")
BOUNDS = tuple(MIDNIGHT + hours * HOUR for hours in (-100.5, -48, -24.25, -1, 0, 0.5, 23, 24, 30.75, 97))

FILTERS: tuple[tuple[Where, ...], ...] = (
    (),
    (Where("status", CertificateStatus.ACTIVE),),
    (Where("status", (CertificateStatus.ACTIVE, CertificateStatus.FAILED), Is.ONE_OF),),
    (Where("environment", "prod"),),
    (Where("environment", "nowhere"),),
    (Where("team_id", "team-2"),),
    (Where("team_id", ("team-1", "team-2"), Is.ONE_OF), Where("environment", ("prod", "test"), Is.ONE_OF)),
    (Where("team_id", ("team-1",), Is.ONE_OF), Where("status", CertificateStatus.ACTIVE)),
    (Where("owner_id", "owner-2"),),
    (Where("issuer_id", "iss-2"),),
    (Where("profile_id", "prof-1"),),
    (Where("profile_id", None),),
    (Where("owner_id", "owner-2"), Where("status", CertificateStatus.ACTIVE)),
    *(
        (Where(name, bound, how),)
        for name in ("expires_at", "created_at")
        for bound in BOUNDS
        for how in (Is.AFTER, Is.BEFORE)
    ),
    *(
        (Where("expires_at", after, Is.AFTER), Where("expires_at", before, Is.BEFORE))
        for after in BOUNDS[::2]
        for before in BOUNDS[1::2]
    ),
)


@pytest.fixture
def memory() -> OpenWork:
    """A seeded store that counts and sorts everything each time."""
    store = MemoryStore().work
    with store() as work:
        facts.seed(work)
    return store


class Fleet:
    """A few certificates and jobs, made and changed at random, the same way for every store."""

    def __init__(self, open_work: OpenWork, seed: int) -> None:
        self.open = open_work
        self._random = random.Random(seed)  # noqa: S311 - the same every time
        self._number = 0

    def prepare(self) -> None:
        with self.open() as work:
            work.teams.add(facts.team("team-2"))
            work.owners.add(facts.owner("owner-2", team_id="team-2"))
            work.issuers.add(facts.issuer("iss-2"))

    def step(self) -> None:
        with self.open() as work:
            for _ in range(self._random.randint(1, 4)):
                self._random.choice(
                    (self._add, self._add, self._change, self._job, self._end_job, self._add_many, self._change_many)
                )(work)

    def _add(self, work: Work) -> None:
        work.certificates.add(self._new())

    def _add_many(self, work: Work) -> None:
        added = [self._new() for _ in range(self._random.randint(2, 4))]
        work.certificates.add_many(added)
        work.jobs.add_many(
            [
                facts.job(f"job-of-{each.id}", certificate_id=each.id, status=JobStatus.COMPLETED, completed_at=AT)
                for each in added
            ]
        )

    def _new(self) -> ManagedCertificate:
        self._number += 1
        return facts.certificate(f"mc-{self._number:04}", name=f"n-{self._number}", **self._values())

    def _change_many(self, work: Work) -> None:
        several = self._random.sample(range(1, self._number + 1), min(self._number, 5))
        known = [work.certificates.get(f"mc-{number:04}") for number in several]
        work.certificates.save_many([evolve(each, **self._values()) for each in known])

    def _change(self, work: Work) -> None:
        if self._number:
            known = work.certificates.get(f"mc-{self._random.randint(1, self._number):04}")
            work.certificates.save(evolve(known, **self._values()))

    def _values(self) -> dict[str, Any]:
        pick = self._random.choice
        return {
            "status": pick((CertificateStatus.ACTIVE, CertificateStatus.PENDING, CertificateStatus.FAILED)),
            "environment": pick(ENVIRONMENTS),
            "team_id": pick(("team-1", "team-2")),
            "owner_id": pick(("owner-1", "owner-2")),
            "issuer_id": pick(("iss-1", "iss-2")),
            "profile_id": pick((None, "prof-1")),
            "expires_at": pick((None, *BOUNDS)),
            "created_at": pick(BOUNDS),
            "updated_at": pick(BOUNDS),
        }

    def _job(self, work: Work) -> None:
        if self._number:
            certificate = f"mc-{self._random.randint(1, self._number):04}"
            status = self._random.choice((JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.FAILED))
            identity = f"job-{self._random.getrandbits(60)}"
            work.jobs.add(facts.job(identity, certificate_id=certificate, status=status, completed_at=AT))

    def _end_job(self, work: Work) -> None:
        jobs = work.jobs.page(Query(limit=200)).items
        if jobs:
            job = self._random.choice(jobs)
            status = self._random.choice((JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED))
            later = self._random.choice((None, AT + DAY)) if status is JobStatus.FAILED else None
            work.jobs.save(evolve(job, status=status, next_attempt_at=later, completed_at=AT + DAY))


def totals(work: Work) -> Sequence[Any]:
    """Everything that is kept, as it is said."""
    return [
        [work.certificates.page(Query(where, limit=0)).total for where in FILTERS],
        [work.certificates.count(*where) for where in FILTERS],
        work.certificates.count_by_status(),
        work.certificates.expiring_by_day(MIDNIGHT - 5 * DAY, 12),
        [work.certificates.ending(after, before) for after in BOUNDS for before in BOUNDS if after < before],
        work.jobs.count_by_status(),
        [work.jobs.count(Where("type", kind), Where("status", status)) for kind in JobType for status in JobStatus],
        work.tallies.jobs_by_day(TODAY - DAY, 5),
        work.tallies.endings(),
    ]


@pytest.mark.integration
class TestTotals:
    @pytest.mark.parametrize("seed", range(3))
    def test_totals_are_those_of_a_store_that_counts(self, postgres: OpenWork, memory: OpenWork, seed: int) -> None:
        """Whenever changes are tallied, and inside of a transaction that has made some."""
        ours, counting = Fleet(postgres, seed), Fleet(memory, seed)
        ours.prepare()
        counting.prepare()
        for step in range(31):
            ours.step()
            counting.step()
            if step % 7 == 0:
                with postgres() as work:
                    work.tallies.tally(10)
            if step % 13 == 0:
                with postgres() as work:
                    work.tallies.tidy()
            if step % 5 == 0:
                with postgres() as left, memory() as right:
                    ours._change(left)
                    counting._change(right)
                    assert totals(left) == totals(right)

    def test_counting_anew_changes_nothing(self, postgres: OpenWork, pool: Pool) -> None:
        fleet = Fleet(postgres, 1)
        fleet.prepare()
        for _ in range(20):
            fleet.step()
        with postgres() as work:
            before = totals(work)
        with pool.connection() as connection:
            connection.execute("SELECT recount()")
        with postgres() as work:
            after = totals(work)
        assert after[:7] == before[:7]

    def test_totals_are_right_while_others_write_and_tally(self, pool: Pool) -> None:
        """No snapshot sees a change twice or not at all."""
        work = PostgresWork(pool)
        with work() as seeding:
            facts.seed(seeding)

        def write(number: int) -> None:
            for step in range(15):
                with work() as changing:
                    changing.certificates.add(facts.certificate(f"mc-{number}-{step}", name=f"{number}-{step}"))

        def tally() -> None:
            for _ in range(30):
                with work() as tallying:
                    tallying.tallies.tally(3)

        def read() -> None:
            for _ in range(30):
                with pool.connection() as connection:
                    assert connection.execute(SEEN).fetchone() == (True,)

        with ThreadPoolExecutor(4) as threads:
            started = [
                threads.submit(write, 1),
                threads.submit(write, 2),
                threads.submit(tally),
                threads.submit(read),
            ]
            for one in started:
                one.result(60)


SEEN = """
    SELECT (SELECT count(*) FROM managed_certificates)
        = (SELECT coalesce(sum(n), 0) FROM certificate_groups) + (SELECT coalesce(sum(n), 0) FROM certificate_deltas)
"""


class TestHistory:
    def test_what_ended_stays_counted_when_its_rows_are_gone(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.certificates.add(facts.certificate())
            job = facts.job(status=JobStatus.RUNNING, created_at=AT - 100 * DAY)
            work.jobs.add(job)
            failed = work.jobs.save(
                evolve(job, status=JobStatus.FAILED, next_attempt_at=AT + HOUR, completed_at=AT - DAY)
            )
            assert work.tallies.jobs_by_day(TODAY - DAY, 2) == [JobsOfDay(TODAY - DAY), JobsOfDay(TODAY)]
            work.jobs.save(evolve(failed, status=JobStatus.COMPLETED, next_attempt_at=None, completed_at=AT))
        with seeded() as work:
            work.tallies.tally(100)
            assert work.jobs.purge(AT, 10) == 1
        with seeded() as work:
            work.tallies.tally(100)
            work.tallies.tidy()
            assert work.tallies.jobs_by_day(TODAY - DAY, 2) == [JobsOfDay(TODAY - DAY), JobsOfDay(TODAY, completed=1)]
            assert work.tallies.endings() == Endings(jobs_completed=1)
            assert work.jobs.count() == 0

    def test_a_job_that_fails_for_good_has_failed_once(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.certificates.add(facts.certificate())
            work.jobs.add(facts.job(status=JobStatus.FAILED, completed_at=AT))
        with seeded() as work:
            known = work.jobs.get("job-1")
            work.jobs.save(evolve(known, last_error="told otherwise"))
            assert work.tallies.endings() == Endings(jobs_failed=1)

    def test_notifications_that_are_given_up_stay_counted(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.certificates.add(facts.certificate())
            work.notifications.add(facts.notification(certificate_id="mc-1"))
        for status in (NotificationStatus.DEAD, NotificationStatus.PENDING, NotificationStatus.SENT):
            with seeded() as work:
                work.notifications.save(evolve(work.notifications.get("notif-1"), status=status))
        with seeded() as work:
            assert work.tallies.endings() == Endings(notifications_sent=1, notifications_dead=1)
            assert work.notifications.count(Where("status", NotificationStatus.DEAD)) == 0

    def test_before_anything_was_issued_there_is_no_day_to_count(self, seeded: OpenWork) -> None:
        with seeded() as work:
            assert work.tallies.close_days(TODAY, 30) == 0
            assert work.tallies.issued_by_day(TODAY - DAY, 2) == [(TODAY - DAY, 0), (TODAY, 0)]

    def test_what_was_issued_is_counted_by_day_whether_days_are_closed_or_not(self, seeded: OpenWork) -> None:
        times = (MIDNIGHT - 3 * DAY, MIDNIGHT - timedelta(microseconds=1), MIDNIGHT, AT)
        with seeded() as work:
            work.certificates.add(facts.certificate())
            for number, at in enumerate(times, 1):
                work.versions.add(
                    facts.version(
                        f"certver-{number}",
                        generation=number,
                        serial_number=f"{number:x}",
                        created_at=at,
                        fingerprint_sha256=f"{number:064x}",
                    )
                )
        expected = [(TODAY - 4 * DAY, 0), (TODAY - 3 * DAY, 1), (TODAY - 2 * DAY, 0), (TODAY - DAY, 1), (TODAY, 2)]
        for until in (TODAY - 2 * DAY, TODAY, TODAY):
            with seeded() as work:
                assert work.tallies.issued_by_day(TODAY - 4 * DAY, 5) == expected
                work.tallies.close_days(until, 1)
                work.tallies.close_days(until, 30)
        with seeded() as work:
            assert work.tallies.issued_by_day(TODAY - 4 * DAY, 5) == expected
            assert work.tallies.close_days(TODAY, 30) == 0


@pytest.mark.integration
class TestEveryWayToAPage:
    """Which way is taken to a page is a matter of how many rows match; they all lead to the same page."""

    @pytest.mark.parametrize(("few", "walk", "many"), [(0, 3, 5), (0, 3, 10**6), (0, 10**6, 10**6), (10**6, 1, 1)])
    def test_pages_are_those_of_a_store_that_sorts(
        self, postgres: OpenWork, memory: OpenWork, monkeypatch: pytest.MonkeyPatch, few: int, walk: int, many: int
    ) -> None:
        for name, value in (("FEW", few), ("WALK", walk), ("MANY", many)):
            monkeypatch.setattr(listing, name, value)
        ours, sorting = Fleet(postgres, 7), Fleet(memory, 7)
        for fleet in (ours, sorting):
            fleet.prepare()
            for _ in range(25):
                fleet.step()
        with postgres() as left, memory() as right:
            for query in queries():
                assert left.certificates.page(query) == right.certificates.page(query)
                whole = right.certificates.page(evolve(query, limit=100, offset=0)).items
                for last in whole[:: max(1, len(whole) // 3)]:
                    place = evolve(query, after=(getattr(last, query.sort), last.id))
                    assert left.certificates.page(place) == right.certificates.page(place)


def queries() -> Sequence[Query]:
    return [
        Query(where, sort=sort, descending=descending, limit=4, offset=offset)
        for where in FILTERS[:13:2] + FILTERS[13::9]
        for sort in ("created_at", "expires_at", "name", "status")
        for descending in (False, True)
        for offset in (0, 5)
    ]
