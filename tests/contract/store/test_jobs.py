"""The queues: what is due, what is claimed, and that nothing is done twice."""

from datetime import datetime, timedelta

import pytest
from attrs import evolve

from certctl_core.errors import Duplicate
from certctl_core.ids import CertificateId
from certctl_core.lifecycle import job as life
from certctl_core.models.jobs import OPEN_JOB, Job, JobStatus, JobType
from certctl_core.ports.store import Query
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, MINUTE, SECOND, OpenWork

LEASE = timedelta(seconds=30)


@pytest.fixture
def busy(seeded: OpenWork) -> OpenWork:
    """Seeded, with the certificates `mc-1` to `mc-9`."""
    with seeded() as work:
        for number in range(1, 10):
            work.certificates.add(facts.certificate(f"mc-{number}", target_ids=("t-1", "t-2")))
    return seeded


def put(store: OpenWork, *jobs: Job) -> None:
    with store() as work:
        for job in jobs:
            work.jobs.add(job)


def ids(jobs: object) -> list[str]:
    return [job.id for job in jobs]  # type: ignore[attr-defined]


def one_each(*, kind: JobType, scheduled_at: datetime = AT) -> list[Job]:
    """A job of every status, each for a certificate of its own, named like the status."""
    return [
        facts.job(
            status.value,
            certificate_id=f"mc-{number}",
            type=kind,
            target_id="t-1" if kind is JobType.DEPLOYMENT else None,
            status=status,
            scheduled_at=scheduled_at,
        )
        for number, status in enumerate(JobStatus, 1)
    ]


class TestUniqueness:
    @pytest.mark.parametrize("status", OPEN_JOB)
    @pytest.mark.parametrize("holder", ["a-1", None])
    def test_a_key_holder_has_one_open_issuing_job(self, busy: OpenWork, status: JobStatus, holder: str | None) -> None:
        put(busy, facts.job("job-1", type=JobType.ISSUANCE, status=status, agent_id=holder))
        with pytest.raises(Duplicate, match="certificate_id 'mc-1'"):
            put(busy, facts.job("job-2", type=JobType.RENEWAL, agent_id=holder))
        put(busy, facts.job("job-3", agent_id="a-2"), facts.deployment_job("job-4", agent_id=holder))

    @pytest.mark.parametrize("status", OPEN_JOB)
    def test_a_target_has_one_open_deployment(self, busy: OpenWork, status: JobStatus) -> None:
        put(busy, facts.deployment_job("job-1", status=status))
        with pytest.raises(Duplicate, match="target_id 't-1'"):
            put(busy, facts.deployment_job("job-2"))
        put(busy, facts.deployment_job("job-3", target_id="t-2"), facts.job("job-4"))

    @pytest.mark.parametrize("make", [facts.job, facts.deployment_job])
    def test_jobs_that_are_over_are_in_nobodys_way(self, busy: OpenWork, make: object) -> None:
        for number, status in enumerate(set(JobStatus) - set(OPEN_JOB)):
            put(busy, make(f"job-{number}", status=status))  # type: ignore[operator]
        put(busy, make("open"))  # type: ignore[operator]
        with busy() as work:
            assert work.jobs.get("open").status is JobStatus.PENDING

    def test_a_failed_job_cannot_come_back_beside_another(self, busy: OpenWork) -> None:
        failed = facts.job("failed", status=JobStatus.FAILED)
        put(busy, failed, facts.job("open"))
        with pytest.raises(Duplicate), busy() as work:
            work.jobs.save(life.retry(failed, AT))


class TestDeployments:
    def test_a_claim_is_what_the_life_of_a_job_says(self, busy: OpenWork) -> None:
        waiting = facts.deployment_job(
            attempts=1, started_at=AT - DAY, completed_at=AT - DAY, last_error="once", next_attempt_at=AT
        )
        put(busy, waiting)
        with busy() as work:
            claimed = work.jobs.claim_deployments("a-1", AT, LEASE, 10)
        expected = evolve(life.claim(waiting, AT, LEASE), revision=2)
        assert claimed == [expected]
        with busy() as work:
            assert work.jobs.get(waiting.id) == expected

    def test_only_the_agents_own_due_deployments_are_handed_out_oldest_first(self, busy: OpenWork) -> None:
        put(
            busy,
            facts.deployment_job("second", certificate_id="mc-1", scheduled_at=AT),
            facts.deployment_job("first", certificate_id="mc-2", scheduled_at=AT - HOUR),
            facts.deployment_job("not yet", certificate_id="mc-3", scheduled_at=AT + SECOND),
            facts.deployment_job("another's", certificate_id="mc-4", agent_id="a-2", target_id="t-2"),
            facts.job("issuing", certificate_id="mc-5"),
        )
        with busy() as work:
            assert ids(work.jobs.claim_deployments("a-1", AT, LEASE, 10)) == ["first", "second"]

    def test_only_pending_deployments_are_handed_out(self, busy: OpenWork) -> None:
        put(busy, *one_each(kind=JobType.DEPLOYMENT))
        with busy() as work:
            assert ids(work.jobs.claim_deployments("a-1", AT, LEASE, 10)) == ["Pending"]

    def test_no_more_is_handed_out_than_asked_for(self, busy: OpenWork) -> None:
        put(busy, *(facts.deployment_job(f"job-{n}", certificate_id=f"mc-{n}") for n in range(1, 6)))
        seen = []
        for _ in range(4):
            with busy() as work:
                seen.append(ids(work.jobs.claim_deployments("a-1", AT, LEASE, 2)))
        assert seen == [["job-1", "job-2"], ["job-3", "job-4"], ["job-5"], []]

    def test_a_hand_out_whose_answer_was_lost_is_offered_again(self, busy: OpenWork) -> None:
        put(busy, facts.deployment_job())
        with busy() as work:
            first = work.jobs.claim_deployments("a-1", AT, LEASE, 10)
        with busy() as work:
            assert work.jobs.claim_deployments("a-1", AT + LEASE - SECOND, LEASE, 10) == []
        with busy() as work:
            again = work.jobs.claim_deployments("a-1", AT + LEASE, LEASE, 10)
        assert ids(again) == ids(first)
        assert (again[0].attempts, again[0].lease_until) == (1, AT + 2 * LEASE)

    def test_an_acknowledged_job_is_offered_again_to_an_agent_that_asks_for_more(self, busy: OpenWork) -> None:
        put(busy, facts.deployment_job())
        with busy() as work:
            (handed,) = work.jobs.claim_deployments("a-1", AT, LEASE, 10)
            work.jobs.save(evolve(handed, acknowledged_at=AT + MINUTE, lease_until=AT + HOUR))
        with busy() as work:
            assert work.jobs.claim_deployments("a-1", AT + MINUTE + LEASE - SECOND, LEASE, 10) == []
            (again,) = work.jobs.claim_deployments("a-1", AT + MINUTE + LEASE, LEASE, 10)
            assert (again.acknowledged_at, again.attempts) == (None, 2)


class TestIssuing:
    def test_a_claim_is_what_the_life_of_a_job_says(self, busy: OpenWork) -> None:
        waiting = facts.job(attempts=1, acknowledged_at=AT, completed_at=AT - DAY, next_attempt_at=AT)
        put(busy, waiting)
        with busy() as work:
            claimed = work.jobs.claim_issuing(AT, LEASE, 10)
        assert claimed == [evolve(life.claim(waiting, AT, LEASE), revision=2)]

    def test_due_issuing_jobs_are_claimed_oldest_first_and_once(self, busy: OpenWork) -> None:
        put(
            busy,
            facts.job("second", certificate_id="mc-1", type=JobType.ISSUANCE),
            facts.job("first", certificate_id="mc-2", scheduled_at=AT - HOUR, agent_id=None),
            facts.job("not yet", certificate_id="mc-3", scheduled_at=AT + SECOND),
            facts.deployment_job("deployment", certificate_id="mc-4"),
        )
        with busy() as work:
            assert ids(work.jobs.claim_issuing(AT, LEASE, 1)) == ["first"]
        with busy() as work:
            assert ids(work.jobs.claim_issuing(AT, LEASE, 10)) == ["second"]
            assert work.jobs.claim_issuing(AT + DAY, LEASE, 0) == []

    def test_only_pending_issuing_jobs_are_claimed(self, busy: OpenWork) -> None:
        put(busy, *one_each(kind=JobType.RENEWAL))
        with busy() as work:
            assert ids(work.jobs.claim_issuing(AT, LEASE, 10)) == ["Pending"]

    def test_jobs_that_wait_for_a_csr_are_offered_until_it_comes(self, busy: OpenWork) -> None:
        waiting = JobStatus.AWAITING_CSR
        put(
            busy,
            facts.job("second", certificate_id="mc-1", status=waiting),
            facts.job("first", certificate_id="mc-2", status=waiting, scheduled_at=AT - HOUR),
            facts.job("not yet", certificate_id="mc-3", status=waiting, scheduled_at=AT + SECOND),
            facts.job("another's", certificate_id="mc-4", status=waiting, agent_id="a-2"),
            facts.job("pending", certificate_id="mc-5"),
        )
        for _ in range(2):
            with busy() as work:
                assert ids(work.jobs.awaiting_csr("a-1", AT, 10)) == ["first", "second"]
                assert ids(work.jobs.awaiting_csr("a-1", AT, 1)) == ["first"]

    def test_the_open_issuing_job_of_a_key_holder_is_found(self, busy: OpenWork) -> None:
        put(
            busy,
            facts.job("over", status=JobStatus.COMPLETED),
            facts.job("open", status=JobStatus.AWAITING_CSR),
            facts.job("another's", agent_id="a-2"),
            facts.deployment_job("deployment"),
        )
        with busy() as work:
            found = work.jobs.lock_issuing({"mc-1": "a-1", "mc-2": "a-1"})
            assert found == {"mc-1": facts.job("open", status=JobStatus.AWAITING_CSR)}
            assert work.jobs.lock_issuing({"mc-2": "a-1"}) == {}

    def test_the_newest_issuing_job_of_each_key_holder_is_found_whatever_became_of_it(self, busy: OpenWork) -> None:
        put(
            busy,
            facts.job("over", status=JobStatus.COMPLETED, created_at=AT - HOUR),
            facts.job("failed", status=JobStatus.FAILED),
            facts.job("another's", agent_id="a-2", status=JobStatus.CANCELLED, created_at=AT - HOUR),
            facts.job("elsewhere", certificate_id="mc-2"),
            facts.job("not asked for", certificate_id="mc-3"),
            facts.deployment_job("deployment", created_at=AT + HOUR),
        )
        with busy() as work:
            found = work.jobs.newest_issuing(["mc-1", "mc-2", "mc-4"])
            assert {identity: {job.id for job in jobs} for identity, jobs in found.items()} == {
                "mc-1": {"failed", "another's"},
                "mc-2": {"elsewhere"},
            }


class TestSweeps:
    def test_a_lapsed_lease_is_found(self, busy: OpenWork) -> None:
        running = JobStatus.RUNNING
        put(
            busy,
            facts.job("now", certificate_id="mc-1", status=running, lease_until=AT),
            facts.job("long ago", certificate_id="mc-2", status=running, lease_until=AT - HOUR),
            facts.job("held", certificate_id="mc-3", status=running, lease_until=AT + SECOND),
            facts.job("over", certificate_id="mc-4", status=JobStatus.COMPLETED, lease_until=AT),
        )
        with busy() as work:
            assert ids(work.jobs.due_releases(AT, 10)) == ["long ago", "now"]
            assert ids(work.jobs.due_releases(AT, 1)) == ["long ago"]

    def test_a_failed_job_comes_up_for_retry(self, busy: OpenWork) -> None:
        failed = JobStatus.FAILED
        put(
            busy,
            facts.job("now", status=failed, next_attempt_at=AT),
            facts.job("long ago", status=failed, next_attempt_at=AT - HOUR),
            facts.job("later", status=failed, next_attempt_at=AT + SECOND),
            facts.job("never", status=failed),
            facts.job("cancelled", status=JobStatus.CANCELLED, next_attempt_at=AT),
        )
        with busy() as work:
            assert ids(work.jobs.due_retries(AT, 10)) == ["long ago", "now"]
            assert ids(work.jobs.due_retries(AT, 1)) == ["long ago"]

    def test_waiting_ends_by_how_long_it_lasted(self, busy: OpenWork) -> None:
        csr = JobStatus.AWAITING_CSR
        old = AT - DAY
        put(
            busy,
            facts.job("no csr", certificate_id="mc-1", status=csr, scheduled_at=old - SECOND),
            facts.job("csr just now", certificate_id="mc-2", status=csr, scheduled_at=old, created_at=AT - 9 * DAY),
            facts.job("never", certificate_id="mc-3", status=csr, scheduled_at=old - DAY),
            facts.job("unapproved", certificate_id="mc-4", status=JobStatus.AWAITING_APPROVAL, scheduled_at=old - DAY),
            facts.job("pending", certificate_id="mc-5", scheduled_at=old - DAY, created_at=AT - 9 * DAY),
        )
        with busy() as work:
            assert ids(work.jobs.due_timeouts(old, 10)) == ["never", "no csr"]
            assert ids(work.jobs.due_timeouts(old, 1)) == ["never"]

    def test_only_old_jobs_that_are_over_for_good_are_purged(self, busy: OpenWork) -> None:
        put(busy, *one_each(kind=JobType.ISSUANCE))
        put(busy, facts.job("will retry", certificate_id="mc-8", status=JobStatus.FAILED, next_attempt_at=AT + DAY))
        with busy() as work:
            assert work.jobs.purge(AT, 10) == 0
            assert work.jobs.purge(AT + SECOND, 2) == 2
            assert work.jobs.purge(AT + SECOND, 10) == 1
            left = work.jobs.page(Query(limit=20)).items
        assert {job.id for job in left} == {"Pending", "AwaitingCSR", "AwaitingApproval", "Running", "will retry"}

    def test_a_version_outlives_the_job_it_came_from(self, busy: OpenWork) -> None:
        put(busy, facts.job("old", status=JobStatus.COMPLETED))
        with busy() as work:
            work.attempts.add(facts.attempt(job_id="old"))
            work.versions.add(facts.version(job_id="old"))
        with busy() as work:
            assert work.jobs.purge(AT + SECOND, 10) == 1
        with busy() as work:
            version = work.versions.latest(CertificateId("mc-1"))
            assert version is not None
            assert version.job_id is None

    def test_open_jobs_of_a_certificate_include_those_that_will_retry(self, busy: OpenWork) -> None:
        put(
            busy,
            facts.job("open", created_at=AT + MINUTE),
            facts.deployment_job("deploying", status=JobStatus.RUNNING, created_at=AT),
            facts.job("will retry", status=JobStatus.FAILED, next_attempt_at=AT + DAY, created_at=AT - MINUTE),
            facts.job("failed for good", status=JobStatus.FAILED),
            facts.job("over", status=JobStatus.COMPLETED),
            facts.job("cancelled", status=JobStatus.CANCELLED),
            facts.job("another's", certificate_id="mc-2"),
        )
        with busy() as work:
            assert ids(work.jobs.open_of("mc-1")) == ["will retry", "deploying", "open"]
            several = work.jobs.open_of_many(["mc-1", "mc-2", "nobody"])
            assert {certificate: ids(jobs) for certificate, jobs in several.items()} == {
                "mc-1": ["will retry", "deploying", "open"],
                "mc-2": ["another's"],
            }
            assert work.jobs.open_of_many([]) == {}

    def test_counts_name_every_status(self, busy: OpenWork) -> None:
        put(busy, *one_each(kind=JobType.RENEWAL), facts.job("more", status=JobStatus.FAILED))
        with busy() as work:
            counts = work.jobs.count_by_status()
        assert counts == dict.fromkeys(JobStatus, 1) | {JobStatus.FAILED: 2}
