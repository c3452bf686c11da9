"""Renewal on demand and by the sweep."""

from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import Conflict, IllegalTransition, UpstreamUnavailable
from certctl_core.models.certificates import CertificateStatus, RevocationReason
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.usecases import certificates, issuance, renewal, revocation
from tests.core.usecases.world import ADMIN, World


def test_a_new_certificate_is_pending_and_the_sweep_issues_it_without_a_human(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    assert certificate.status is CertificateStatus.PENDING
    assert certificate.expires_at is None

    assert renewal.sweep(world.ports) == 1

    (job,) = world.jobs()
    assert (job.type, job.status, job.agent_id) == (JobType.ISSUANCE, JobStatus.AWAITING_CSR, agent.id)
    assert renewal.sweep(world.ports) == 0


def test_the_sweep_renews_in_the_last_third_of_life_and_not_before(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)

    world.clock.advance(timedelta(days=50))
    assert renewal.sweep(world.ports) == 0
    world.clock.advance(timedelta(days=20))
    assert renewal.sweep(world.ports) == 1

    (job,) = [job for job in world.jobs() if job.type is JobType.RENEWAL]
    assert job.status is JobStatus.AWAITING_CSR
    assert world.now_is(certificate).status is CertificateStatus.RENEWAL_IN_PROGRESS


def test_a_policy_that_does_not_renew_marks_the_certificate_as_expiring(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    with world.ports.work() as work:
        work.renewal_policies.save(evolve(work.renewal_policies.get("rp-test"), auto_renew=False))

    world.clock.advance(timedelta(days=70))
    renewal.sweep(world.ports)

    assert world.now_is(certificate).status is CertificateStatus.EXPIRING
    assert renewal.sweep(world.ports) == 0


def test_a_second_renewal_while_one_is_in_progress_is_a_conflict_unless_forced(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    (first,) = renewal.renew(world.ports, ADMIN, certificate.id)

    with pytest.raises(Conflict, match="already in progress"):
        renewal.renew(world.ports, ADMIN, certificate.id)
    (second,) = renewal.renew(world.ports, ADMIN, certificate.id, force=True, reason="stuck")

    by_id = {job.id: job for job in world.jobs()}
    assert by_id[first.id].status is JobStatus.CANCELLED
    assert by_id[second.id].status is JobStatus.AWAITING_CSR


def test_asking_for_a_renewal_that_the_schedule_has_begun_joins_it(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.sweep(world.ports)
    (begun,) = world.jobs()

    assert renewal.renew(world.ports, ADMIN, certificate.id) == (begun,)
    assert "renewal_triggered" in world.actions()


def test_asking_for_a_renewal_that_waits_to_try_again_makes_it_try_now(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.ca.trouble = UpstreamUnavailable("the CA is asleep")
    world.issued(certificate, agent)
    world.ca.trouble = None

    (job,) = renewal.renew(world.ports, ADMIN, certificate.id)

    assert job.status is JobStatus.PENDING
    assert issuance.process_due(world.ports) == 1
    assert world.now_is(certificate).status is CertificateStatus.ACTIVE


def test_a_certificate_without_a_target_cannot_be_renewed_and_says_what_to_do(world: World) -> None:
    certificate = world.certificate()
    with pytest.raises(Conflict, match="cannot renew") as refusal:
        renewal.renew(world.ports, ADMIN, certificate.id)
    assert "target" in refusal.value.hint


def test_a_revoked_or_archived_certificate_is_not_renewed(world: World) -> None:
    agent = world.agent()
    target = world.target(agent)
    revoked, archived = world.certificate(target), world.certificate(target, name="old")
    world.issued(revoked, agent)
    revocation.revoke(world.ports, ADMIN, revoked.id, RevocationReason.SUPERSEDED)
    certificates.archive(world.ports, ADMIN, archived.id)

    for certificate in (revoked, archived):
        with pytest.raises(IllegalTransition, match="cannot renew"):
            renewal.renew(world.ports, ADMIN, certificate.id)
    world.clock.advance(timedelta(days=200))
    assert renewal.sweep(world.ports) == 0


def test_an_expired_certificate_is_marked_and_can_still_be_renewed(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    world.clock.advance(timedelta(days=91))

    assert renewal.expire(world.ports) == 1
    assert world.now_is(certificate).status is CertificateStatus.EXPIRED
    assert renewal.expire(world.ports) == 0

    world.issued(certificate, agent, "new key")
    assert world.now_is(certificate).status is CertificateStatus.ACTIVE


def test_a_certificate_that_is_issued_over_and_over_is_paused_with_a_reason(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    for round_ in range(renewal.BREAKER_LIMIT):
        world.issued(certificate, agent, f"key {round_}")
    with world.ports.work() as work:
        work.certificates.save(evolve(work.certificates.get(certificate.id), renew_at=world.clock.now()))

    assert renewal.sweep(world.ports) == 1

    paused = world.now_is(certificate)
    assert paused.status is CertificateStatus.ACTIVE
    assert "paused" in paused.status_reason
    assert world.jobs(JobStatus.AWAITING_CSR) == []
    assert renewal.sweep(world.ports) == 0


def test_a_certificate_that_nobody_could_renew_is_looked_at_again(world: World) -> None:
    agent = world.agent()
    target = world.target(agent)
    certificate = world.certificate(target)
    world.issued(certificate, agent)
    with world.ports.work() as work:
        disabled = work.targets.save(evolve(work.targets.get(target.id), enabled=False))
    world.clock.advance(timedelta(days=70))
    renewal.sweep(world.ports)
    assert world.now_is(certificate).status is CertificateStatus.EXPIRING

    with world.ports.work() as work:
        work.targets.save(evolve(disabled, enabled=True))
    world.clock.advance(timedelta(days=1))
    renewal.sweep(world.ports)
    assert world.now_is(certificate).status is CertificateStatus.RENEWAL_IN_PROGRESS


def test_a_policy_that_renews_again_takes_its_certificates_up_again(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    with world.ports.work() as work:
        by_hand = work.renewal_policies.save(evolve(work.renewal_policies.get("rp-test"), auto_renew=False))
    world.clock.advance(timedelta(days=70))
    renewal.sweep(world.ports)
    with world.ports.work() as work:
        work.renewal_policies.save(evolve(by_hand, auto_renew=True))

    world.clock.advance(timedelta(days=1))
    renewal.sweep(world.ports)
    assert world.now_is(certificate).status is CertificateStatus.RENEWAL_IN_PROGRESS


def test_a_target_given_to_an_expiring_certificate_makes_it_due(world: World) -> None:
    agent = world.agent()
    target = world.target(agent)
    certificate = world.certificate(target)
    world.issued(certificate, agent)
    certificates.update(world.ports, ADMIN, certificate.id, certificates.UpdateCertificate(target_ids=()))
    world.clock.advance(timedelta(days=70))
    renewal.sweep(world.ports)

    certificates.update(world.ports, ADMIN, certificate.id, certificates.UpdateCertificate(target_ids=(target.id,)))
    renewal.sweep(world.ports)
    assert world.now_is(certificate).status is CertificateStatus.RENEWAL_IN_PROGRESS
