"""Jobs in the hands of operators: what may be tried again, and that no job is in the way of the others."""

from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import Conflict, IllegalTransition, UpstreamUnavailable
from certctl_core.models.agents import Agent
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate, RevocationReason
from certctl_core.models.jobs import Job, JobStatus, JobType
from certctl_core.ports.store import Query
from certctl_core.usecases import certificates, jobs, renewal, revocation
from tests.core.usecases.world import ADMIN, World, as_agent


@pytest.fixture
def agent(world: World) -> Agent:
    return world.agent()


def fail_for_good(world: World, job: Job) -> None:
    with world.ports.work() as work:
        held = jobs.lock(work, job.id)
        jobs.fail(work, ADMIN, held, world.clock.now(), "no", final=True)


def deployments_of(world: World, certificate: ManagedCertificate) -> list[Job]:
    return [job for job in world.jobs() if job.type is JobType.DEPLOYMENT and job.certificate_id == certificate.id]


def test_a_job_whose_place_was_taken_is_not_tried_again(world: World, agent: Agent) -> None:
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    (old,) = deployments_of(world, certificate)
    fail_for_good(world, old)
    world.clock.advance(timedelta(minutes=1))
    world.issued(certificate, agent, "second key")

    with pytest.raises(Conflict, match="taken its place"):
        jobs.retry(world.ports, ADMIN, old.id)


def test_an_issuing_job_whose_place_was_taken_is_not_tried_again(world: World, agent: Agent) -> None:
    certificate = world.certificate(world.target(agent))
    (old,) = renewal.renew(world.ports, ADMIN, certificate.id)
    fail_for_good(world, old)
    world.clock.advance(timedelta(minutes=1))
    world.issued(certificate, agent)

    with pytest.raises(Conflict, match="taken its place"):
        jobs.retry(world.ports, ADMIN, old.id)
    assert world.now_is(certificate).status is CertificateStatus.ACTIVE


def test_nothing_of_a_revoked_certificate_is_tried_again(world: World, agent: Agent) -> None:
    first, second = world.target(agent, "a"), world.target(agent, "b")
    certificate = world.certificate(first, second)
    world.issued(certificate, agent)
    deployment, _ = deployments_of(world, certificate)
    fail_for_good(world, deployment)
    world.clock.advance(timedelta(minutes=1))
    (issuing,) = renewal.renew(world.ports, ADMIN, certificate.id)
    fail_for_good(world, issuing)
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.KEY_COMPROMISE)

    with pytest.raises(Conflict, match="Revoked"):
        jobs.retry(world.ports, ADMIN, deployment.id)
    with pytest.raises(IllegalTransition, match="Revoked"):
        jobs.retry(world.ports, ADMIN, issuing.id)


def test_a_retried_deployment_is_of_the_newest_version(world: World, agent: Agent) -> None:
    first, second = world.target(agent, "a"), world.target(agent, "b")
    certificate = world.certificate(first, second)
    world.issued(certificate, agent)
    (old,) = [job for job in deployments_of(world, certificate) if job.target_id == first.id]
    fail_for_good(world, old)
    with world.ports.work() as work:
        disabled = work.targets.save(evolve(work.targets.get(first.id), enabled=False))
    newest = world.issued(certificate, agent, "second key").version
    with world.ports.work() as work:
        work.targets.save(evolve(disabled, enabled=True))

    assert newest is not None
    assert jobs.retry(world.ports, ADMIN, old.id).version_id == newest.id


def test_a_retry_brings_a_failed_certificate_back_into_renewal(world: World, agent: Agent) -> None:
    certificate = world.certificate(world.target(agent))
    world.ca.trouble = UpstreamUnavailable("the CA is asleep")
    job = world.issued(certificate, agent).job
    fail_for_good(world, jobs.retry(world.ports, ADMIN, job.id))
    assert world.now_is(certificate).status is CertificateStatus.FAILED

    jobs.retry(world.ports, ADMIN, job.id)
    assert world.now_is(certificate).status is CertificateStatus.RENEWAL_IN_PROGRESS


def test_archiving_ends_every_job_and_none_comes_back(world: World, agent: Agent) -> None:
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    certificates.archive(world.ports, ADMIN, certificate.id)
    assert jobs.retry_due(world.ports) == 0
    assert {job.status for job in world.jobs()} == {JobStatus.COMPLETED, JobStatus.CANCELLED}
    with pytest.raises(IllegalTransition):
        jobs.retry(world.ports, as_agent(agent), world.jobs(JobStatus.CANCELLED)[0].id)


def test_a_certificate_that_waits_for_a_key_again_has_that_on_record(world: World, agent: Agent) -> None:
    certificate = world.certificate(world.target(agent))
    (job,) = renewal.renew(world.ports, ADMIN, certificate.id)
    fail_for_good(world, job)
    jobs.retry(world.ports, ADMIN, job.id)
    with world.ports.work() as work:
        *_, told, awaiting = work.audit.page(Query(sort="timestamp", limit=100)).items
    assert (told.action, told.actor, told.resource_id) == ("job_retried", ADMIN.name, job.id)
    assert told.details == {"old_status": "Failed", "new_status": "AwaitingCSR"}
    assert (awaiting.action, awaiting.resource_id) == ("renewal_awaiting_csr", certificate.id)
    assert awaiting.details == {"job_id": job.id}
