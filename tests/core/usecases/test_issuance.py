"""The one issuing door: what gets through, what does not, and that nothing is issued twice."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import Conflict, Forbidden, Gone, Refused, UpstreamRejected, UpstreamUnavailable
from certctl_core.ids import JobId
from certctl_core.models.certificates import (
    AttemptStatus,
    CertificateStatus,
    CertificateVersion,
    ManagedCertificate,
    RevocationReason,
)
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.pki import ca, csr, keys
from certctl_core.pki.keys import KeyKind
from certctl_core.ports.issuer import Issued, IssueRequest, Ordered
from certctl_core.ports.store import Work
from certctl_core.usecases import (
    agents,
    catalog,
    certificates,
    deployment,
    issuance,
    jobs,
    recording,
    renewal,
    revocation,
)
from tests.core.usecases.world import ADMIN, World, as_agent, make_world

called = pytest.mark.parametrize("world", ["called"], indirect=True)
"""For what is true only of a CA that has to be called."""


@pytest.fixture(params=["called", "at hand"])
def world(request: pytest.FixtureRequest) -> World:
    return make_world(at_hand=request.param == "at hand")


class Crash(BaseException):
    """Stops a use case where a tripwire stands, as kill -9 would."""


def crash_at(world: World, point: str) -> None:
    def trip(reached: str, /) -> None:
        if reached == point:
            raise Crash(point)

    world.ports = evolve(world.ports, tripwire=trip)


def calm(world: World) -> None:
    world.ports = evolve(world.ports, tripwire=lambda _point, /: None)


def test_a_submitted_csr_becomes_an_active_certificate_with_a_deployment_for_each_target(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent, "a"), world.target(agent, "b"))

    submitted = world.issued(certificate, agent)

    assert submitted.job.status is JobStatus.COMPLETED
    assert submitted.version is not None
    assert submitted.version.certificate.public_key() == world.csr(certificate).public_key()
    now_is = world.now_is(certificate)
    assert now_is.status is CertificateStatus.ACTIVE
    assert now_is.expires_at == submitted.version.not_after
    assert now_is.renew_at is not None
    assert world.clock.now() < now_is.renew_at < submitted.version.not_after
    deployments = [job for job in world.jobs(JobStatus.PENDING) if job.type is JobType.DEPLOYMENT]
    assert {job.target_id for job in deployments} == set(certificate.target_ids)
    assert {"csr_submitted", "renewal_job_completed", "deployment_jobs_created"} <= set(world.actions())


def test_each_key_holder_gets_a_certificate_for_a_key_of_its_own(world: World) -> None:
    first, second = world.agent("one"), world.agent("two")
    certificate = world.certificate(world.target(first), world.target(second))

    opened = renewal.renew(world.ports, ADMIN, certificate.id)
    assert {job.agent_id for job in opened} == {first.id, second.id}
    world.submit(certificate, first, "key one")
    assert world.now_is(certificate).status is CertificateStatus.RENEWAL_IN_PROGRESS
    world.submit(certificate, second, "key two")

    assert world.now_is(certificate).status is CertificateStatus.ACTIVE
    with world.ports.work() as work:
        held = work.versions.latest_per_holder(certificate.id)
    assert {version.agent_id for version in held} == {first.id, second.id}
    assert len({version.serial_number for version in held}) == 2


@called
@pytest.mark.parametrize("point", ["issue:1", "issue:2"])
def test_a_crash_before_recording_is_made_good_with_the_same_certificate(world: World, point: str) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)
    crash_at(world, point)
    with pytest.raises(Crash):
        world.submit(certificate, agent)
    calm(world)

    world.clock.advance(world.ports.lease + timedelta(seconds=1))
    assert jobs.release_lapsed(world.ports) == 1
    assert issuance.process_due(world.ports) == 1

    assert world.now_is(certificate).status is CertificateStatus.ACTIVE
    with world.ports.work() as work:
        versions = work.versions.page(certificate.id, 10, 0).items
    assert len(versions) == 1
    signed = {ca.sign_leaf(world.ca.authority, request.plan) for request in world.ca.requests}
    assert signed == {versions[0].certificate}, "every call of the CA asked for one and the same certificate"


def test_a_crash_after_recording_is_answered_with_what_was_issued(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)
    crash_at(world, "record:1")
    with pytest.raises(Crash):
        world.submit(certificate, agent)
    calm(world)

    again = world.submit(certificate, agent)

    assert again.version is not None
    assert len(world.ca.requests) == 1


@called
def test_a_csr_made_again_for_the_same_key_while_the_first_is_under_way_is_accepted(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)
    crash_at(world, "issue:1")
    with pytest.raises(Crash):
        world.submit(certificate, agent)
    calm(world)

    assert world.submit(certificate, agent).version is None
    with pytest.raises(Conflict):
        world.submit(certificate, agent, "another key")


def test_a_csr_that_is_not_what_was_ordered_is_refused_and_the_job_still_waits(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    (job,) = renewal.renew(world.ports, ADMIN, certificate.id)
    greedy = csr.build(keys.generate(KeyKind.ECDSA_P256), certificate.common_name, ("*.bank.example",))

    with pytest.raises(Refused, match=r"bank\.example") as refusal:
        issuance.submit_csr(
            world.ports,
            as_agent(agent),
            issuance.SubmitCsr(agent_id=agent.id, certificate_id=certificate.id, csr=greedy),
        )

    assert refusal.value.reasons
    assert jobs.get(world.ports, ADMIN, job.id).status is JobStatus.AWAITING_CSR
    assert world.ca.requests == []


def test_without_an_open_job_no_csr_is_signed(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))

    with pytest.raises(Conflict, match="no job"):
        world.submit(certificate, agent)
    assert world.ca.requests == []


def test_an_agent_cannot_submit_for_another_one(world: World) -> None:
    agent, thief = world.agent("one"), world.agent("two")
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)

    asked = issuance.SubmitCsr(agent_id=agent.id, certificate_id=certificate.id, csr=world.csr(certificate))
    with pytest.raises(Forbidden):
        issuance.submit_csr(world.ports, as_agent(thief), asked)
    with pytest.raises(Conflict):
        world.submit(certificate, thief)


def test_a_retired_agent_cannot_submit(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)
    agents.retire(world.ports, ADMIN, agent.id, force=True, reason="gone")

    with pytest.raises(Gone):
        world.submit(certificate, agent)


@called
def test_a_ca_that_does_not_answer_is_asked_again_for_the_same_certificate(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.ca.trouble = UpstreamUnavailable("the CA is asleep")
    submitted = world.issued(certificate, agent)
    assert submitted.job.status is JobStatus.FAILED
    assert submitted.job.last_error == "the CA is asleep"
    assert submitted.job.next_attempt_at is not None

    world.ca.trouble = None
    world.clock.advance(timedelta(hours=2))
    assert jobs.retry_due(world.ports) == 1
    assert issuance.process_due(world.ports) == 1

    assert world.now_is(certificate).status is CertificateStatus.ACTIVE
    first, second = world.ca.requests
    assert first.plan == second.plan
    assert first.idempotency_key == second.idempotency_key


@called
def test_after_a_final_refusal_of_the_ca_a_retry_is_a_new_order(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.ca.trouble = UpstreamRejected("account suspended")
    with pytest.raises(UpstreamRejected, match="suspended"):
        world.issued(certificate, agent)
    (failed,) = world.jobs(JobStatus.FAILED)

    world.ca.trouble = None
    jobs.retry(world.ports, ADMIN, failed.id)
    issuance.process_due(world.ports)

    assert world.now_is(certificate).status is CertificateStatus.ACTIVE
    first, second = world.ca.requests
    assert first.idempotency_key != second.idempotency_key
    assert first.plan.serial_number != second.plan.serial_number
    with world.ports.work() as work:
        assert work.attempts.get(first.idempotency_key).status is AttemptStatus.FAILED


def test_an_order_the_ca_takes_its_time_for_is_polled_and_does_not_use_up_attempts(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.ca.answer = lambda _request: Ordered("order-7")
    assert world.issued(certificate, agent).version is None
    world.ca.answer = None

    for _ in range(5):
        world.clock.advance(timedelta(minutes=1))
        issuance.process_due(world.ports)

    assert world.now_is(certificate).status is CertificateStatus.ACTIVE


def test_a_certificate_for_another_key_or_name_than_ordered_is_not_stored(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))

    def another(request: IssueRequest) -> Issued:
        stranger = keys.generate(KeyKind.ECDSA_P256).public_key()
        return Issued(ca.sign_leaf(world.ca.authority, evolve(request.plan, public_key=stranger)), ())

    world.ca.answer = another
    with pytest.raises(Refused, match="not ordered"):
        world.issued(certificate, agent)

    with world.ports.work() as work:
        assert work.versions.latest(certificate.id) is None
    assert world.now_is(certificate).status is CertificateStatus.FAILED


def test_when_attempts_run_out_the_certificate_is_failed_with_the_reason_and_tried_again_later(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.ca.trouble = UpstreamUnavailable("the CA is asleep")
    world.issued(certificate, agent)
    for _ in range(4):
        world.clock.advance(timedelta(days=1))
        jobs.retry_due(world.ports)
        issuance.process_due(world.ports)

    failed = world.now_is(certificate)
    assert failed.status is CertificateStatus.FAILED
    assert failed.status_reason == "the CA is asleep"
    assert failed.renew_at is not None

    world.ca.trouble = None
    world.clock.advance(timedelta(days=2))
    assert renewal.sweep(world.ports) == 1
    world.submit(certificate, agent, "next key")
    assert world.now_is(certificate).status is CertificateStatus.ACTIVE


def test_an_agent_that_never_sends_its_csr_uses_up_the_attempts(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)
    for _ in range(3):
        world.clock.advance(timedelta(days=2))
        jobs.retry_due(world.ports)
        world.clock.advance(timedelta(days=2))
        jobs.time_out(world.ports, timedelta(days=1))

    failed = world.now_is(certificate)
    assert failed.status is CertificateStatus.FAILED
    assert "no CSR" in failed.status_reason
    assert failed.renew_at is not None, "the next round comes by itself"


def while_signing(world: World, happens: Callable[[], object]) -> None:
    """Have something happen once, after the CA has been called and before its answer is recorded."""

    def answer(request: IssueRequest) -> Issued:
        world.ca.answer = None
        happens()
        return Issued(ca.sign_leaf(world.ca.authority, request.plan), ())

    world.ca.answer = answer


def versions_of(world: World, certificate: ManagedCertificate) -> tuple[CertificateVersion, ...]:
    with world.ports.work() as work:
        return work.versions.page(certificate.id, 10, 0).items


@called
def test_what_is_signed_while_its_certificate_is_revoked_is_on_record_and_revoked_too(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    renewal.renew(world.ports, ADMIN, certificate.id)
    while_signing(world, lambda: revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.KEY_COMPROMISE))
    world.submit(certificate, agent, "next key")

    newest, _ = versions_of(world, certificate)
    with world.ports.work() as work:
        revoked = work.revocations.find(newest.issuer_id, newest.serial_number)
    assert revoked is not None
    assert revoked.reason is RevocationReason.KEY_COMPROMISE
    assert world.now_is(certificate).status is CertificateStatus.REVOKED
    assert not [job for job in world.jobs(JobStatus.PENDING) if job.type is JobType.DEPLOYMENT]


@called
def test_what_is_signed_while_its_job_is_cancelled_is_on_record_and_deployed_nowhere(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    (job,) = renewal.renew(world.ports, ADMIN, certificate.id)
    while_signing(world, lambda: jobs.cancel(world.ports, ADMIN, job.id))

    world.submit(certificate, agent)

    assert len(versions_of(world, certificate)) == 1
    assert world.now_is(certificate).status is CertificateStatus.FAILED
    assert [job.status for job in world.jobs()] == [JobStatus.CANCELLED]


def lapse(world: World) -> None:
    world.clock.advance(world.ports.lease + timedelta(seconds=1))
    assert jobs.release_lapsed(world.ports) == 1


@called
def test_an_answer_that_comes_after_the_lease_is_taken_all_the_same(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)
    while_signing(world, lambda: lapse(world))

    assert world.submit(certificate, agent).version is not None

    assert world.now_is(certificate).status is CertificateStatus.ACTIVE
    assert issuance.process_due(world.ports) == 0
    assert len(world.ca.requests) == 1


@called
def test_a_late_failure_does_not_end_the_work_of_whoever_took_the_job_over(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)
    taken: list[JobId] = []

    def slow(_request: IssueRequest) -> Issued:
        world.ca.answer = None
        lapse(world)
        taken.extend(issuance.claim_due(world.ports))
        raise UpstreamRejected("the connection was reset")

    world.ca.answer = slow
    with pytest.raises(UpstreamRejected):
        world.submit(certificate, agent)
    (job,) = world.jobs()
    assert job.status is JobStatus.RUNNING

    assert issuance.finish(world.ports, taken[0]) is None
    assert world.now_is(certificate).status is CertificateStatus.ACTIVE
    first, second = world.ca.requests
    assert first.idempotency_key == second.idempotency_key


@called
def test_a_database_in_the_way_of_recording_does_not_make_a_second_certificate(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)
    in_the_way: list[str] = []

    def work() -> AbstractContextManager[Work]:
        if in_the_way:
            raise Conflict(in_the_way.pop())
        return world.store.work()

    def trip(point: str, /) -> None:
        if point == "issue:2":
            in_the_way.append("somebody else is changing the same thing")

    ports = evolve(world.ports, work=work, tripwire=trip)
    asked = issuance.SubmitCsr(agent_id=agent.id, certificate_id=certificate.id, csr=world.csr(certificate))
    with pytest.raises(Conflict):
        issuance.submit_csr(ports, as_agent(agent), asked)

    lapse(world)
    assert issuance.process_due(world.ports) == 1
    first, second = world.ca.requests
    assert first.plan.serial_number == second.plan.serial_number
    assert world.now_is(certificate).status is CertificateStatus.ACTIVE


def test_an_attempt_that_has_waited_too_long_for_its_ca_is_followed_by_a_fresh_one(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.ca.trouble = UpstreamUnavailable("the CA is asleep")
    job = world.issued(certificate, agent).job
    world.ca.trouble = None

    world.clock.advance(timedelta(days=100))
    jobs.retry(world.ports, ADMIN, job.id)
    issuance.process_due(world.ports)

    (version,) = versions_of(world, certificate)
    assert version.not_after > world.clock.now() + timedelta(days=80)


@called
def test_a_certificate_that_has_expired_is_not_believed(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    while_signing(world, lambda: world.clock.advance(timedelta(days=91)))
    renewal.renew(world.ports, ADMIN, certificate.id)
    with pytest.raises(Refused, match="not ordered") as refusal:
        world.submit(certificate, agent)
    assert "expired" in " ".join(refusal.value.reasons)


@called
def test_a_retry_does_not_sign_a_csr_for_names_that_have_changed_since(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.ca.trouble = UpstreamUnavailable("the CA is asleep")
    job = world.issued(certificate, agent).job
    world.ca.trouble = None

    certificates.update(world.ports, ADMIN, certificate.id, certificates.UpdateCertificate(sans=("other.example.com",)))
    jobs.retry(world.ports, ADMIN, job.id)
    issuance.process_due(world.ports)

    assert len(world.ca.requests) == 1, "the CA was not asked for names that the CSR does not carry"
    assert world.now_is(certificate).status is CertificateStatus.FAILED


@called
def test_a_disabled_issuer_signs_nothing_not_even_what_was_begun_before(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.ca.trouble = UpstreamUnavailable("the CA is asleep")
    job = world.issued(certificate, agent).job
    with world.ports.work() as work:
        work.issuers.save(evolve(work.issuers.get("iss-local"), enabled=False))

    world.ca.trouble = None
    jobs.retry(world.ports, ADMIN, job.id)
    issuance.process_due(world.ports)

    assert len(world.ca.requests) == 1
    assert "disabled" in world.now_is(certificate).status_reason


def test_a_job_whose_target_moves_to_another_agent_ends_all_the_same(world: World) -> None:
    first, second = world.agent("one"), world.agent("two")
    target = world.target(first)
    certificate = world.certificate(target)
    renewal.renew(world.ports, ADMIN, certificate.id)
    catalog.update_target(world.ports, ADMIN, target.id, catalog.UpdateTarget(agent_id=second.id))

    assert world.submit(certificate, first).version is not None

    assert world.now_is(certificate).status is CertificateStatus.ACTIVE
    assert world.now_is(certificate).expires_at is not None


def test_a_certificate_that_a_key_holder_did_not_get_is_failed_whoever_is_last(world: World) -> None:
    first, second = world.agent("one"), world.agent("two")
    certificate = world.certificate(world.target(first), world.target(second))
    _, job = renewal.renew(world.ports, ADMIN, certificate.id)
    assert job.agent_id == second.id
    for _ in range(3):
        deployment.report(world.ports, as_agent(second), second.id, job.id, JobStatus.FAILED, "the disk is full")
        world.clock.advance(timedelta(days=2))
        jobs.retry_due(world.ports)

    world.submit(certificate, first)

    failed = world.now_is(certificate)
    assert failed.status is CertificateStatus.FAILED
    assert "the disk is full" in failed.status_reason
    assert failed.renew_at is not None
    assert failed.renew_at <= world.clock.now() + timedelta(days=2)


def test_a_job_that_is_taken_up_again_and_again_without_a_result_ends(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)

    def accident(_request: IssueRequest) -> Issued:
        raise ZeroDivisionError

    world.ca.answer = accident
    with pytest.raises(ZeroDivisionError):
        world.submit(certificate, agent)
    for _ in range(20):
        world.clock.advance(world.ports.lease + timedelta(seconds=1))
        jobs.release_lapsed(world.ports)
        with suppress(ZeroDivisionError):
            issuance.process_due(world.ports)

    failed = world.now_is(certificate)
    assert failed.status is CertificateStatus.FAILED
    assert "without a result" in failed.status_reason


def test_an_order_that_the_ca_never_fills_ends(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.ca.answer = lambda _request: Ordered("order-7")
    world.issued(certificate, agent)

    world.clock.advance(recording.ORDER_PATIENCE + timedelta(minutes=1))
    issuance.process_due(world.ports)

    (job,) = world.jobs()
    assert job.status is JobStatus.FAILED
    assert "order-7" in job.last_error


def test_a_ca_that_wants_to_be_asked_at_once_is_not_asked_without_end(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.ca.answer = lambda _request: Ordered("order-7", world.clock.now() - timedelta(days=1))
    world.issued(certificate, agent)
    assert issuance.process_due(world.ports) == 0
