"""Renewal on demand and by the sweep."""

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from certctl_core.errors import Conflict, IllegalTransition, Invalid, NotFound, UpstreamUnavailable
from certctl_core.ids import IssuerId
from certctl_core.models.access import Scope
from certctl_core.models.catalog import RenewalPolicy
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate, RevocationReason
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.models.records import AlertSeverity, Channel
from certctl_core.policy import renewal as renewal_policy
from certctl_core.ports.store import Query
from certctl_core.usecases import catalog, certificates, issuance, jobs, renewal, rescheduling, revocation
from tests.core.usecases.world import ADMIN, START, World


def change_policy(world: World, **changes: Any) -> None:
    """As an operator does, and with what follows by and by."""
    catalog.update_renewal_policy(world.ports, ADMIN, "rp-test", catalog.UpdateRenewalPolicy(**changes))
    rescheduling.work_off(world.ports)


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
    change_policy(world, auto_renew=False)

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
    change_policy(world, auto_renew=False)
    world.clock.advance(timedelta(days=70))
    assert renewal.sweep(world.ports) == 1
    assert "does not renew by itself" in world.now_is(certificate).status_reason
    assert renewal.sweep(world.ports) == 0

    change_policy(world, auto_renew=True)
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
        begun = renewal.begin_many(world.ports, work, ADMIN, asked, world.clock.now())

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


# Together with others


def test_after_an_outage_renewals_begin_one_after_the_other(world: World) -> None:
    agent = world.agent()
    target = world.target(agent)
    for number in range(6):
        world.issued(world.certificate(target, name=f"site-{number}"), agent, f"key {number}")
    world.clock.advance(timedelta(days=64))

    assert renewal.sweep(world.ports, pace=2) == 6

    times = sorted(job.scheduled_at for job in world.jobs(JobStatus.AWAITING_CSR))
    assert times == [world.clock.now() + timedelta(seconds=30) * place for place in range(6)]
    with world.ports.work() as work:
        offered = work.jobs.awaiting_csr(agent.id, world.clock.now() + timedelta(minutes=1), 50)
    assert len(offered) == 3


def test_a_later_sweep_stands_in_line_behind_an_earlier_one(world: World) -> None:
    agent = world.agent()
    target = world.target(agent)
    first, second = world.certificate(target, name="first"), world.certificate(target, name="second")
    world.issued(first, agent, "key 1")
    world.clock.advance(timedelta(days=5))
    world.issued(second, agent, "key 2")
    world.clock.advance(timedelta(days=59))
    assert renewal.sweep(world.ports, pace=1) == 1
    with world.ports.work() as work:
        work.certificates.save(evolve(work.certificates.get(second.id), renew_at=world.clock.now()))

    assert renewal.sweep(world.ports, pace=1) == 1

    times = sorted(job.scheduled_at for job in world.jobs(JobStatus.AWAITING_CSR))
    assert times == [world.clock.now(), world.clock.now() + timedelta(minutes=1)]


def test_nobody_waits_for_others_beyond_the_floor(world: World) -> None:
    agent = world.agent()
    target = world.target(agent)
    for number in range(4):
        world.issued(world.certificate(target, name=f"site-{number}"), agent, f"key {number}")
    world.clock.advance(timedelta(days=64))
    with world.ports.work() as work:
        work.pace.take({IssuerId("iss-local"): 10**6}, timedelta(minutes=1), world.clock.now())
    renewal.sweep(world.ports, pace=1)
    floor = min(c.expires_at for c in map(world.now_is, _all(world)) if c.expires_at) - timedelta(days=15)
    for job in world.jobs(JobStatus.AWAITING_CSR):
        assert abs(job.scheduled_at - floor) < timedelta(minutes=1)


@pytest.mark.parametrize("days", [76, 95])
def test_what_is_late_or_over_is_begun_at_once(world: World, days: int) -> None:
    agent = world.agent()
    target = world.target(agent)
    for number in range(3):
        world.issued(world.certificate(target, name=f"site-{number}"), agent, f"key {number}")
    world.clock.advance(timedelta(days=days))
    renewal.expire(world.ports)
    renewal.sweep(world.ports, pace=1)
    assert {job.scheduled_at for job in world.jobs(JobStatus.AWAITING_CSR)} == {world.clock.now()}


def test_an_operator_does_not_stand_in_line(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    world.clock.advance(timedelta(days=64))
    with world.ports.work() as work:
        work.pace.take({IssuerId("iss-local"): 60}, timedelta(minutes=1), world.clock.now())
    renewal.sweep(world.ports)
    (waiting,) = world.jobs(JobStatus.AWAITING_CSR)
    assert waiting.scheduled_at == world.clock.now() + timedelta(hours=1)

    (hurried,) = renewal.renew(world.ports, ADMIN, certificate.id)

    assert hurried.id == waiting.id
    assert hurried.scheduled_at == world.clock.now()


# The policy


def test_a_wider_window_makes_certificates_due_that_were_not(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    world.clock.advance(timedelta(days=50))
    assert renewal.sweep(world.ports) == 0

    change_policy(world, renewal_window_share=0.6)

    assert renewal.sweep(world.ports) == 1
    assert world.now_is(certificate).status is CertificateStatus.RENEWAL_IN_PROGRESS


def test_a_policy_takes_more_certificates_along_than_fit_a_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescheduling, "BATCH", 3)
    agent = world.agent()
    target = world.target(agent)
    for number in range(7):
        world.issued(world.certificate(target, name=f"site-{number}"), agent, f"key {number}")
    change_policy(world, renewal_window=timedelta(days=10))
    assert all(c.renew_at and c.renew_at > world.clock.now() + timedelta(days=79) for c in _all(world))
    assert rescheduling.work_off(world.ports) == 0


def test_a_change_while_certificates_are_being_taken_along_begins_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescheduling, "BATCH", 2)
    agent = world.agent()
    target = world.target(agent)
    for number in range(5):
        world.issued(world.certificate(target, name=f"site-{number}"), agent, f"key {number}")
    catalog.update_renewal_policy(
        world.ports, ADMIN, "rp-test", catalog.UpdateRenewalPolicy(renewal_window=timedelta(days=10))
    )
    with world.ports.work() as work:
        claimed = work.reschedulings.claim()
        assert claimed is not None
        work.reschedulings.advance(evolve(claimed, after="mc-site-3"))
    catalog.update_renewal_policy(
        world.ports, ADMIN, "rp-test", catalog.UpdateRenewalPolicy(renewal_window=timedelta(days=20))
    )
    assert rescheduling.work_off(world.ports) == 5
    assert {renewal_policy.floor(_policy(world), each) for each in _all(world)} == {
        (each.expires_at or START) - timedelta(days=10) for each in _all(world)
    }


def test_a_change_that_touches_no_time_reschedules_nothing(world: World) -> None:
    catalog.update_renewal_policy(
        world.ports, ADMIN, "rp-test", catalog.UpdateRenewalPolicy(name="other", max_retries=5)
    )
    with world.ports.work() as work:
        assert work.reschedulings.claim() is None


def test_a_policy_that_is_gone_is_as_good_as_followed(world: World) -> None:
    made = catalog.create_renewal_policy(world.ports, ADMIN, catalog.CreateRenewalPolicy(name="brief"))
    asked = catalog.UpdateRenewalPolicy(renewal_window=timedelta(days=9))
    catalog.update_renewal_policy(world.ports, ADMIN, made.id, asked)
    catalog.delete_renewal_policy(world.ports, ADMIN, made.id)
    assert rescheduling.work_off(world.ports) == 0
    with world.ports.work() as work:
        assert work.reschedulings.claim() is None


def test_a_certificate_that_changes_its_policy_takes_the_new_times(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    brief = catalog.create_renewal_policy(
        world.ports, ADMIN, catalog.CreateRenewalPolicy(name="brief", renewal_window=timedelta(days=5))
    )
    moved = certificates.update(
        world.ports, ADMIN, certificate.id, certificates.UpdateCertificate(renewal_policy_id=brief.id)
    )
    assert moved.renew_at is not None
    assert moved.renew_at > world.clock.now() + timedelta(days=84)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"renewal_window_share": 1.0}, "renewal_window_share"),
        ({"renewal_window_share": -0.1}, "renewal_window_share"),
        ({"renewal_window_share": 0.5, "renewal_window": timedelta(days=5)}, "renewal_window_share"),
        ({"renewal_window": timedelta(days=400)}, "renewal_window_days"),
        ({"alert_thresholds_days": (30, 7, 30)}, "alert_thresholds_days[2]"),
        ({"alert_thresholds_days": (366,)}, "alert_thresholds_days[0]"),
        ({"alert_thresholds_days": tuple(range(21))}, "alert_thresholds_days"),
        ({"alert_severity_map": {400: AlertSeverity.WARNING}}, "alert_severity_map.400"),
        ({"alert_channels": {AlertSeverity.WARNING: (Channel.SLACK, Channel.SLACK)}}, "alert_channels.warning"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_field(world: World, given: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        catalog.create_renewal_policy(world.ports, ADMIN, catalog.CreateRenewalPolicy(name="odd", **given))
    assert [problem.field for problem in refusal.value.fields] == [field]


def test_a_window_in_days_takes_the_place_of_a_share_and_the_other_way_round(world: World) -> None:
    change_policy(world, renewal_window_share=0.25)
    assert (_policy(world).renewal_window, _policy(world).renewal_window_share) == (None, 0.25)
    change_policy(world, renewal_window=timedelta(days=20))
    assert (_policy(world).renewal_window, _policy(world).renewal_window_share) == (timedelta(days=20), None)
    change_policy(world, renewal_window=timedelta(0), renewal_window_share=0.5)
    assert (_policy(world).renewal_window, _policy(world).renewal_window_share) == (None, 0.5)
    change_policy(world, renewal_window=timedelta(0))
    assert (_policy(world).renewal_window, _policy(world).renewal_window_share) == (None, None)


def _policy(world: World) -> RenewalPolicy:
    return catalog.get_renewal_policy(world.ports, ADMIN, "rp-test")


def _all(world: World) -> tuple[ManagedCertificate, ...]:
    return certificates.page(world.ports, ADMIN, Query(limit=100)).items
