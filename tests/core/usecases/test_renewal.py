"""Renewal on demand and by the sweep."""

from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import Conflict, IllegalTransition, NotFound, UpstreamUnavailable
from certctl_core.models.access import Scope
from certctl_core.models.certificates import CertificateStatus, RevocationReason
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.usecases import catalog, certificates, issuance, jobs, renewal, revocation
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


# Many at once


def test_many_are_renewed_together_each_with_its_own_outcome(world: World) -> None:
    agent, other = world.agent(), world.agent("web-2")
    target, second = world.target(agent), world.target(other)
    fresh = world.certificate(target, second, name="fresh")
    homeless = world.certificate(name="homeless")
    revoked = world.certificate(target, name="revoked")
    world.issued(revoked, agent)
    revocation.revoke(world.ports, ADMIN, revoked.id, RevocationReason.SUPERSEDED)
    with world.ports.work() as work:
        held = work.certificates.lock_many([fresh.id, homeless.id, revoked.id])
        asked = [held[each.id] for each in (homeless, fresh, revoked)]
        begun = renewal.begin_many(work, ADMIN, asked, world.clock.now())

    first, second_, third = begun
    assert "no target" in str(first.problem)
    assert isinstance(third.problem, IllegalTransition)
    assert second_.problem is None
    assert [job.agent_id for job in second_.jobs] == [agent.id, other.id]
    assert second_.certificate.status is CertificateStatus.RENEWAL_IN_PROGRESS
    assert world.now_is(fresh).status is CertificateStatus.RENEWAL_IN_PROGRESS
    assert world.now_is(homeless).status is CertificateStatus.PENDING
    assert world.actions().count("renewal_triggered") == 2  # the one that was revoked later, and the fresh one


def test_renewing_too_often_by_hand_takes_force_and_is_on_record(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    for round_ in range(renewal.BREAKER_LIMIT):
        world.issued(certificate, agent, f"key {round_}")

    with pytest.raises(Conflict, match="5 certificates were issued") as refusal:
        renewal.renew(world.ports, ADMIN, certificate.id)
    assert "force" in refusal.value.hint
    renewal.renew(world.ports, ADMIN, certificate.id, force=True, reason="the key leaked again")

    assert "renewal_breaker_overridden" in world.actions()
    world.submit(certificate, agent, "key 6")
    assert world.now_is(certificate).status is CertificateStatus.ACTIVE


def test_after_a_day_a_certificate_may_be_renewed_as_usual(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    for round_ in range(renewal.BREAKER_LIMIT):
        world.issued(certificate, agent, f"key {round_}")
    world.clock.advance(renewal.BREAKER_WINDOW)
    assert renewal.renew(world.ports, ADMIN, certificate.id)


def test_a_renewal_under_way_is_joined_even_when_its_target_is_gone(world: World) -> None:
    agent = world.agent()
    target = world.target(agent)
    certificate = world.certificate(target)
    renewal.sweep(world.ports)
    with world.ports.work() as work:
        work.targets.save(evolve(work.targets.get(target.id), enabled=False))
    assert renewal.renew(world.ports, ADMIN, certificate.id) == tuple(world.jobs())


def test_what_is_out_of_reach_is_not_renewed(world: World) -> None:
    certificate = world.certificate(world.target(world.agent()))
    elsewhere = evolve(ADMIN, scope=Scope(environments=frozenset({"production"})))
    with pytest.raises(NotFound):
        renewal.renew(world.ports, elsewhere, certificate.id)


def test_a_sweep_works_through_more_than_a_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "BATCH", 3)
    target = world.target(world.agent())
    for number in range(7):
        world.certificate(target, name=f"site-{number}")
    assert renewal.sweep(world.ports) == 7
    assert len(world.jobs(JobStatus.AWAITING_CSR)) == 7
    assert world.actions().count("renewal_job_created") == 7


# Running out


def test_what_lived_for_minutes_and_what_lived_for_months_run_out_under_names_of_their_own(world: World) -> None:
    agent = world.agent()
    target = world.target(agent)
    long, brief = world.certificate(target, name="long"), world.certificate(target, name="brief")
    profile = catalog.create_profile(
        world.ports,
        ADMIN,
        catalog.CreateProfile(name="minutes", max_ttl=timedelta(minutes=30), allow_short_lived=True),
    )
    certificates.update(world.ports, ADMIN, brief.id, certificates.UpdateCertificate(profile_id=profile.id))
    world.issued(long, agent)
    world.issued(brief, agent, "other key")
    world.clock.advance(timedelta(hours=1))
    assert renewal.expire(world.ports) == 1
    world.clock.advance(timedelta(days=100))
    assert renewal.expire(world.ports) == 1
    assert [action for action in world.actions() if "expired" in action] == [
        "short_lived_cert_expired",
        "certificate_expired",
    ]


def test_a_certificate_that_failed_and_ran_out_still_says_why(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    (job,) = renewal.renew(world.ports, ADMIN, certificate.id)
    jobs.cancel(world.ports, ADMIN, job.id)
    world.clock.advance(timedelta(days=91))
    assert renewal.expire(world.ports) == 1
    assert world.now_is(certificate).status is CertificateStatus.EXPIRED
    assert world.now_is(certificate).status_reason == "cancelled by alice"
