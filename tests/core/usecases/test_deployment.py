"""Deployment jobs: handed out once, acknowledged, reported, verified, retried."""

from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import Conflict, Forbidden, Gone, Invalid, NotFound
from certctl_core.models.agents import Agent
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.jobs import JobStatus, JobType, VerificationStatus
from certctl_core.usecases import agents, catalog, certificates, deployment, jobs
from tests.core.usecases.world import ADMIN, World, as_agent


@pytest.fixture
def agent(world: World) -> Agent:
    return world.agent()


@pytest.fixture
def certificate(world: World, agent: Agent) -> ManagedCertificate:
    """Issued, with one deployment job waiting."""
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    return certificate


def handed_out(world: World, agent: Agent) -> list[deployment.WorkItem]:
    return [
        item for item in deployment.work(world.ports, as_agent(agent), agent.id) if item.job.type is JobType.DEPLOYMENT
    ]


def test_a_deployment_is_handed_out_once(world: World, agent: Agent, certificate: ManagedCertificate) -> None:
    (item,) = handed_out(world, agent)
    assert item.job.certificate_id == certificate.id
    assert item.target_config["cert_path"] == "/srv/site.pem"
    assert handed_out(world, agent) == []


@pytest.mark.usefixtures("certificate")
def test_a_deployment_nobody_acknowledged_is_offered_again_after_its_lease(world: World, agent: Agent) -> None:
    (lost,) = handed_out(world, agent)
    world.clock.advance(timedelta(seconds=31))
    (again,) = handed_out(world, agent)
    assert again.job.id == lost.job.id


@pytest.mark.usefixtures("certificate")
def test_an_acknowledged_deployment_is_left_to_its_agent_until_it_falls_silent(world: World, agent: Agent) -> None:
    (item,) = handed_out(world, agent)
    deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, JobStatus.RUNNING)

    world.clock.advance(timedelta(minutes=2))
    assert jobs.release_lapsed(world.ports) == 0
    world.clock.advance(deployment.RUNNING_LEASE)
    assert jobs.release_lapsed(world.ports) == 1
    assert len(handed_out(world, agent)) == 1


@pytest.mark.usefixtures("certificate")
def test_a_running_deployment_is_lost_to_an_agent_that_asks_for_more_work(world: World, agent: Agent) -> None:
    (item,) = handed_out(world, agent)
    world.clock.advance(timedelta(seconds=20))
    deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, JobStatus.RUNNING)
    world.clock.advance(timedelta(seconds=20))
    assert handed_out(world, agent) == []
    world.clock.advance(timedelta(seconds=10))
    assert [again.job.id for again in handed_out(world, agent)] == [item.job.id]


def test_a_completed_deployment_is_remembered_as_installed(
    world: World, agent: Agent, certificate: ManagedCertificate
) -> None:
    (item,) = handed_out(world, agent)
    deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, JobStatus.COMPLETED)

    ((known),) = certificates.deployments(world.ports, ADMIN, certificate.id)
    with world.ports.work() as work:
        version = work.versions.latest(certificate.id)
    assert version is not None
    assert known.deployment is not None
    assert known.deployment.installed_fingerprint == version.fingerprint_sha256
    assert known.deployment.served_fingerprint == "", "installed and served are two facts"
    assert world.now_is(certificate).last_deployment_at == world.clock.now()


def test_a_failed_deployment_says_why_and_tries_again_by_itself(
    world: World, agent: Agent, certificate: ManagedCertificate
) -> None:
    (item,) = handed_out(world, agent)
    said = "nginx: [emerg] unexpected end of file"
    failed = deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, JobStatus.FAILED, said)
    assert failed.last_error == said
    assert failed.next_attempt_at is not None
    assert handed_out(world, agent) == []

    world.clock.advance(timedelta(hours=2))
    assert jobs.retry_due(world.ports) == 1
    assert len(handed_out(world, agent)) == 1
    assert certificates.deployments(world.ports, ADMIN, certificate.id)[0].deployment is not None


@pytest.mark.usefixtures("certificate")
def test_an_operator_retries_at_once(world: World, agent: Agent) -> None:
    (item,) = handed_out(world, agent)
    deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, JobStatus.FAILED, "no")
    jobs.retry(world.ports, ADMIN, item.job.id)
    assert [again.job.id for again in handed_out(world, agent)] == [item.job.id]


@pytest.mark.usefixtures("certificate")
def test_a_late_report_about_an_ended_job_changes_nothing(world: World, agent: Agent) -> None:
    (item,) = handed_out(world, agent)
    deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, JobStatus.COMPLETED)
    late = deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, JobStatus.FAILED, "late")
    assert late.status is JobStatus.COMPLETED
    assert late.last_error == ""


@pytest.mark.usefixtures("certificate")
def test_another_agents_job_is_forbidden(world: World, agent: Agent) -> None:
    (item,) = handed_out(world, agent)
    other = world.agent("other")
    with pytest.raises(Forbidden):
        deployment.report(world.ports, as_agent(other), other.id, item.job.id, JobStatus.COMPLETED)
    with pytest.raises(Forbidden):
        deployment.report(world.ports, as_agent(other), agent.id, item.job.id, JobStatus.COMPLETED)
    with pytest.raises(Forbidden):
        deployment.work(world.ports, as_agent(other), agent.id)


def test_only_the_key_holder_picks_the_certificate_up(
    world: World, agent: Agent, certificate: ManagedCertificate
) -> None:
    other = world.agent("other")
    assert deployment.pick_up(world.ports, as_agent(agent), agent.id, certificate.id).agent_id == agent.id
    with pytest.raises(NotFound):
        deployment.pick_up(world.ports, as_agent(other), other.id, certificate.id)


def test_a_newer_version_takes_the_place_of_an_older_deployment(
    world: World, agent: Agent, certificate: ManagedCertificate
) -> None:
    world.issued(certificate, agent, "second key")
    pending = [job for job in world.jobs(JobStatus.PENDING) if job.type is JobType.DEPLOYMENT]
    cancelled = [job for job in world.jobs(JobStatus.CANCELLED) if job.type is JobType.DEPLOYMENT]
    assert len(pending) == len(cancelled) == 1
    assert pending[0].version_id != cancelled[0].version_id


def test_deploying_what_was_never_issued_says_so(world: World, agent: Agent) -> None:
    certificate = world.certificate(world.target(agent, "other"), name="never")
    with pytest.raises(Conflict, match="nothing has been issued"):
        deployment.deploy(world.ports, ADMIN, certificate.id)


def test_deploying_to_a_target_of_another_certificate_names_the_field(
    world: World, certificate: ManagedCertificate
) -> None:
    with pytest.raises(Invalid) as refusal:
        deployment.deploy(world.ports, ADMIN, certificate.id, "target-x")  # type: ignore[arg-type]
    assert refusal.value.fields[0].field == "target_id"


def test_what_is_served_is_recorded_and_a_failed_probe_is_too(
    world: World, agent: Agent, certificate: ManagedCertificate
) -> None:
    (item,) = handed_out(world, agent)
    assert item.target is not None
    seen = deployment.Verification(
        target_id=item.target.id, expected_fingerprint="ab", actual_fingerprint="AB", verified=True
    )
    verified = deployment.verify(world.ports, as_agent(agent), item.job.id, seen)
    assert verified.verification_status is VerificationStatus.SUCCESS
    known = certificates.deployments(world.ports, ADMIN, certificate.id)[0].deployment
    assert known is not None
    assert known.served_fingerprint == "ab"

    unseen = deployment.Verification(
        target_id=item.target.id, expected_fingerprint="", actual_fingerprint="", verified=False, error="refused"
    )
    failed = deployment.verify(world.ports, as_agent(agent), item.job.id, unseen)
    assert failed.verification_status is VerificationStatus.FAILED
    assert failed.verification_error == "refused"


def test_a_retired_agent_is_told_to_go(world: World, agent: Agent, certificate: ManagedCertificate) -> None:
    agents.retire(world.ports, ADMIN, agent.id, force=True, reason="decommissioned")
    for call in (
        lambda: deployment.work(world.ports, as_agent(agent), agent.id),
        lambda: agents.heartbeat(world.ports, as_agent(agent), agent.id, agents.Heartbeat()),
        lambda: deployment.pick_up(world.ports, as_agent(agent), agent.id, certificate.id),
    ):
        with pytest.raises(Gone):
            call()


def test_a_target_whose_settings_cannot_be_opened_does_not_keep_the_agent_from_its_other_work(
    world: World, agent: Agent, certificate: ManagedCertificate
) -> None:
    broken = world.target(agent, "broken")
    with world.ports.work() as work:
        work.targets.save(evolve(work.targets.get(broken.id), sealed_config=b"by another key"))
    other = world.certificate(broken, name="other")
    world.issued(other, agent, "other key")

    (item,) = handed_out(world, agent)

    assert item.job.certificate_id == certificate.id
    (failed,) = world.jobs(JobStatus.FAILED)
    assert failed.target_id == broken.id
    assert "settings" in failed.last_error


@pytest.mark.usefixtures("certificate")
def test_a_target_that_moved_to_another_agent_is_not_shown_to_the_old_one(world: World, agent: Agent) -> None:
    elsewhere = world.agent("elsewhere")
    (job,) = world.jobs(JobStatus.PENDING)
    assert job.target_id is not None
    catalog.update_target(world.ports, ADMIN, job.target_id, catalog.UpdateTarget(agent_id=elsewhere.id))

    assert handed_out(world, agent) == []
    assert jobs.get(world.ports, ADMIN, job.id).status is JobStatus.CANCELLED


@pytest.mark.usefixtures("certificate")
def test_a_disabled_target_is_not_deployed_to(world: World, agent: Agent) -> None:
    (job,) = world.jobs(JobStatus.PENDING)
    assert job.target_id is not None
    catalog.update_target(world.ports, ADMIN, job.target_id, catalog.UpdateTarget(enabled=False))
    assert handed_out(world, agent) == []


def test_a_target_taken_from_a_certificate_is_not_deployed_to_and_can_be_deleted(
    world: World, agent: Agent, certificate: ManagedCertificate
) -> None:
    (job,) = world.jobs(JobStatus.PENDING)
    assert job.target_id is not None
    certificates.update(world.ports, ADMIN, certificate.id, certificates.UpdateCertificate(target_ids=()))
    assert jobs.get(world.ports, ADMIN, job.id).status is JobStatus.CANCELLED
    catalog.delete_target(world.ports, ADMIN, job.target_id)
    assert handed_out(world, agent) == []


@pytest.mark.usefixtures("certificate")
def test_an_agent_that_comes_late_to_what_it_was_given_may_still_do_it(world: World, agent: Agent) -> None:
    (item,) = handed_out(world, agent)
    world.clock.advance(timedelta(minutes=5))
    assert jobs.release_lapsed(world.ports) == 1

    running = deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, JobStatus.RUNNING)
    assert running.status is JobStatus.RUNNING
    done = deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, JobStatus.COMPLETED)
    assert (done.status, done.attempts) == (JobStatus.COMPLETED, 1)


@pytest.mark.usefixtures("certificate")
def test_hand_outs_that_nobody_took_use_up_no_attempts(world: World, agent: Agent) -> None:
    for _ in range(10):
        (item,) = handed_out(world, agent)
        world.clock.advance(timedelta(minutes=1))
    jobs.release_lapsed(world.ports)
    (item,) = handed_out(world, agent)
    failed = deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, JobStatus.FAILED, "no")
    assert failed.attempts == 1
    assert failed.next_attempt_at is not None


@pytest.mark.usefixtures("certificate")
def test_a_deployment_that_never_comes_to_a_result_ends(world: World, agent: Agent) -> None:
    given = 0
    while items := handed_out(world, agent):
        given += 1
        assert given < 50
        deployment.report(world.ports, as_agent(agent), agent.id, items[0].job.id, JobStatus.RUNNING)
        world.clock.advance(deployment.RUNNING_LEASE)
    (job,) = world.jobs(JobStatus.FAILED)
    assert "without a result" in job.last_error
    assert job.next_attempt_at is None


def test_jobs_that_are_over_are_forgotten_after_their_time(
    world: World, agent: Agent, certificate: ManagedCertificate
) -> None:
    (item,) = handed_out(world, agent)
    deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, JobStatus.COMPLETED)
    assert jobs.purge(world.ports, timedelta(days=90)) == 0
    world.clock.advance(timedelta(days=91))
    assert jobs.purge(world.ports, timedelta(days=90)) == 2
    assert world.jobs() == []
    assert certificates.versions(world.ports, ADMIN, certificate.id, 10, 0).total == 1
