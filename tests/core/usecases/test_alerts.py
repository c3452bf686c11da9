"""Who is told of what: ends to come, renewals that failed or are missing, deployments, revocations."""

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from certctl_core.errors import UpstreamRejected
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate, RevocationReason
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.models.records import AlertSeverity, AuditEvent, Channel, Notification, NotificationType
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import (
    alerts,
    catalog,
    certificates,
    deployment,
    issuance,
    jobs,
    notifications,
    renewal,
    rescheduling,
    revocation,
    status,
    watchdog,
)
from tests.core.usecases.world import ADMIN, World, as_agent

N = NotificationType


def told(world: World, *kinds: NotificationType) -> list[Notification]:
    with world.ports.work() as work:
        page = work.notifications.page(Query(limit=500))
    return [message for message in page.items if not kinds or message.type in kinds]


def events(world: World, action: str) -> list[AuditEvent]:
    with world.ports.work() as work:
        return list(work.audit.page(Query((Where("action", action),), sort="timestamp", limit=500)).items)


def by_hand(world: World, **changes: Any) -> None:
    """The policy does not renew by itself, so that nothing but alerts happens."""
    asked = catalog.UpdateRenewalPolicy(**{"auto_renew": False} | changes)
    catalog.update_renewal_policy(world.ports, ADMIN, "rp-test", asked)
    rescheduling.work_off(world.ports)


@pytest.fixture
def issued(world: World) -> ManagedCertificate:
    """A certificate of 90 days, just issued."""
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    return world.now_is(certificate)


# Ends to come


def test_an_owner_is_told_once_at_each_threshold(world: World, issued: ManagedCertificate) -> None:
    by_hand(world)
    days = []
    for day in range(1, 93):
        world.clock.advance(timedelta(days=1))
        if alerts.sweep(world.ports):
            days.append(day)
        renewal.expire(world.ports)
        assert alerts.sweep(world.ports) == 0
    assert days == [60, 76, 83, 90]
    assert [event.details["threshold_days"] for event in events(world, "expiration_alert_sent")] == [30, 14, 7, 0]
    assert [event.details["days_until_expiry"] for event in events(world, "expiration_alert_sent")] == [30, 14, 7, 0]
    messages = told(world)
    assert {(message.type, message.channel, message.recipient) for message in messages} == {
        (N.EXPIRATION_WARNING, "Email", "olga@example.com")
    }
    first, *_, last = (message.message for message in messages)
    assert "site (site.example.com) ends in 30 days, on 2027-01-30 11:54 UTC" in first
    assert "certctl certs renew mc-site" in first
    assert "Owner: Olga" in first
    assert "ended on 2027-01-30" in last


def test_telling_again_is_up_to_the_database(world: World, issued: ManagedCertificate) -> None:
    """Whatever sets the time of an alert back, an end and a threshold are told of once."""
    by_hand(world)
    world.clock.advance(timedelta(days=77))
    for _ in range(3):
        with world.ports.work() as work:
            work.certificates.save(evolve(work.certificates.get(issued.id), next_alert_at=world.clock.now()))
        assert alerts.sweep(world.ports) == 1
    assert len(told(world)) == 1


def test_a_new_certificate_is_told_of_anew(world: World, issued: ManagedCertificate) -> None:
    by_hand(world)
    (agent,) = (a for a in _agents(world) if a.startswith("agent-web"))
    for number in range(2):
        world.clock.advance(timedelta(days=61))
        assert alerts.sweep(world.ports) == 1
        renewal.renew(world.ports, ADMIN, issued.id)
        world.submit(issued, _agent(world, agent), f"key {number}")
        assert world.now_is(issued).status is CertificateStatus.ACTIVE
    assert [event.details["threshold_days"] for event in events(world, "expiration_alert_sent")] == [30, 30]


def test_what_is_told_of_shows_as_expiring(world: World, issued: ManagedCertificate) -> None:
    world.clock.advance(timedelta(days=59, hours=23, minutes=55))
    assert alerts.sweep(world.ports) == 1
    assert world.now_is(issued).status is CertificateStatus.EXPIRING


def test_due_for_renewal_and_for_an_alert_is_one_change(world: World, issued: ManagedCertificate) -> None:
    world.clock.advance(timedelta(days=65))
    before = world.now_is(issued).revision
    assert renewal.sweep(world.ports) == 1
    after = world.now_is(issued)
    assert (after.status, after.revision) == (CertificateStatus.RENEWAL_IN_PROGRESS, before + 1)
    assert len(told(world, N.EXPIRATION_WARNING)) == 1
    assert alerts.sweep(world.ports) == 0


def test_nobody_to_be_told_is_on_record(world: World, issued: ManagedCertificate) -> None:
    by_hand(world, alert_channels={AlertSeverity.INFORMATIONAL: ()})
    world.clock.advance(timedelta(days=61))
    assert alerts.sweep(world.ports) == 1
    assert told(world) == []
    (event,) = events(world, "expiration_alert_skipped_no_channels")
    assert event.details["threshold_days"] == 30


def test_every_channel_of_the_severity_is_used(world: World, issued: ManagedCertificate) -> None:
    by_hand(
        world,
        alert_channels={AlertSeverity.CRITICAL: (Channel.PAGER_DUTY, Channel.SLACK)},
        alert_severity_map={30: AlertSeverity.CRITICAL},
    )
    world.clock.advance(timedelta(days=61))
    alerts.sweep(world.ports)
    assert sorted(message.channel for message in told(world)) == ["PagerDuty", "Slack"]
    (event,) = events(world, "expiration_alert_sent")
    assert event.details["channels"] == ["PagerDuty", "Slack"]


def test_an_owner_without_an_address_is_named_by_id(world: World, issued: ManagedCertificate) -> None:
    with world.ports.work() as work:
        work.owners.save(evolve(work.owners.get("owner-1"), email=""))
    by_hand(world)
    world.clock.advance(timedelta(days=61))
    alerts.sweep(world.ports)
    assert [message.recipient for message in told(world)] == ["owner-1"]


def test_a_policy_with_an_earlier_threshold_tells_at_once_of_what_it_puts_behind(
    world: World, issued: ManagedCertificate
) -> None:
    world.clock.advance(timedelta(days=55))
    assert alerts.sweep(world.ports) == 0
    by_hand(world, alert_thresholds_days=(45, 14))
    assert alerts.sweep(world.ports) == 1
    (message,) = told(world)
    assert "ends in 35 days" in message.message
    by_hand(world, alert_thresholds_days=(45, 20))
    alerts.sweep(world.ports)
    assert len(told(world)) == 1


def test_a_threshold_that_is_taken_away_is_not_told_of(world: World, issued: ManagedCertificate) -> None:
    by_hand(world, alert_thresholds_days=())
    world.clock.advance(timedelta(days=89))
    assert alerts.sweep(world.ports) == 0
    assert told(world) == []


def test_what_was_told_is_forgotten_long_after_the_end(world: World, issued: ManagedCertificate) -> None:
    by_hand(world)
    world.clock.advance(timedelta(days=61))
    alerts.sweep(world.ports)
    assert alerts.forget(world.ports) == 0
    world.clock.advance(timedelta(days=30) + alerts.KEPT)
    assert alerts.forget(world.ports) == 1


def test_a_sweep_that_is_cut_off_loses_and_doubles_nothing(
    world: World, issued: ManagedCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a batch ends before its commit, nothing of it is there, and the next one does all of it."""
    world.clock.advance(timedelta(days=65))

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    for owner, step in ((alerts, "tell"), (renewal, "_places"), (notifications, "owe")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, cut_off)
            with pytest.raises(KeyboardInterrupt):
                renewal.sweep(world.ports)
        assert told(world) == []
        assert world.jobs(JobStatus.AWAITING_CSR) == []
        assert world.now_is(issued).status is CertificateStatus.ACTIVE
    assert renewal.sweep(world.ports) == 1
    assert len(told(world, N.EXPIRATION_WARNING)) == 1
    assert len(world.jobs(JobStatus.AWAITING_CSR)) == 1
    assert renewal.sweep(world.ports) + alerts.sweep(world.ports) == 0


# Renewals


def _give_up(world: World, certificate: ManagedCertificate) -> None:
    """Every attempt of a round is refused by the CA."""
    agent = _agent(world, "agent-web-1")
    world.ca.trouble = UpstreamRejected("no such account")
    with pytest.raises(UpstreamRejected):
        world.submit(certificate, agent)
    while world.jobs(JobStatus.FAILED)[0].next_attempt_at is not None:
        world.clock.advance(timedelta(hours=5))
        jobs.retry_due(world.ports)
        issuance.process_due(world.ports)


def test_a_renewal_that_failed_for_good_is_told_with_its_reason_and_next_round(world: World) -> None:
    certificate = world.certificate(world.target(world.agent()))
    renewal.sweep(world.ports)
    _give_up(world, certificate)
    failed = world.now_is(certificate)
    assert (failed.status, failed.status_reason) == (CertificateStatus.FAILED, "no such account")
    assert failed.renew_at is not None
    (message,) = told(world)
    assert message.type is N.RENEWAL_FAILURE
    assert message.recipient == "olga@example.com"
    assert "could not be issued: no such account." in message.message
    assert f"tried again at {failed.renew_at:%Y-%m-%d %H:%M} UTC" in message.message


def test_the_same_failure_is_told_once_a_day(world: World) -> None:
    certificate = world.certificate(world.target(world.agent()))
    renewal.sweep(world.ports)
    _give_up(world, certificate)
    for _ in range(2):
        again = world.now_is(certificate).renew_at
        assert again is not None
        world.clock.advance(again - world.clock.now())
        assert renewal.sweep(world.ports) == 1
        agent = _agent(world, "agent-web-1")
        (job,) = world.jobs(JobStatus.AWAITING_CSR)
        with world.ports.work() as work:
            work.jobs.save(evolve(job, max_attempts=1))
        with pytest.raises(UpstreamRejected):
            world.submit(certificate, agent, "another key")
    assert len(told(world, N.RENEWAL_FAILURE)) == 1


def test_what_an_operator_ends_is_no_failure_to_be_told_of(world: World) -> None:
    certificate = world.certificate(world.target(world.agent()))
    (job,) = renewal.renew(world.ports, ADMIN, certificate.id)
    jobs.cancel(world.ports, ADMIN, job.id)
    assert world.now_is(certificate).status is CertificateStatus.FAILED
    assert told(world) == []


def test_a_renewal_is_told_of_and_a_first_certificate_is_not(world: World, issued: ManagedCertificate) -> None:
    assert told(world) == []
    world.clock.advance(timedelta(days=65))
    renewal.renew(world.ports, ADMIN, issued.id)
    world.submit(issued, _agent(world, "agent-web-1"), "second key")
    (message,) = told(world)
    assert message.type is N.RENEWAL_SUCCESS
    assert "was renewed" in message.message


def test_a_paused_renewal_is_told_of(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    for round_ in range(renewal.BREAKER_LIMIT):
        world.issued(certificate, agent, f"key {round_}")
    with world.ports.work() as work:
        work.certificates.save(evolve(work.certificates.get(certificate.id), renew_at=world.clock.now()))
    renewal.sweep(world.ports)
    (message,) = told(world, N.RENEWAL_FAILURE)
    assert "5 certificates were issued" in message.message
    assert "--force" in message.message


# The watchdog


def test_a_renewal_that_never_came_is_reported_once_and_counted(world: World, issued: ManagedCertificate) -> None:
    """Whatever the schedule thinks: it began, and its job is lost on an agent that is not there."""
    world.clock.advance(timedelta(days=65))
    renewal.sweep(world.ports)
    assert watchdog.report(world.ports) == 0
    assert status.summary(world.ports, ADMIN).overdue == 0

    world.clock.advance(timedelta(days=3))
    assert status.summary(world.ports, ADMIN).overdue == 1  # by the clock, before anybody reported it
    assert watchdog.report(world.ports) == 1
    assert watchdog.report(world.ports) == 0

    (event,) = events(world, "renewal_overdue")
    assert event.resource_id == issued.id
    assert event.details["status"] == "RenewalInProgress"
    (message,) = told(world, N.RENEWAL_FAILURE)
    assert "should have been renewed by now" in message.message
    (listed,) = watchdog.page(world.ports, ADMIN, Query(sort="overdue_at")).items
    assert listed.overdue_reported_at == world.clock.now()


def test_a_renewal_after_all_ends_the_incident(world: World, issued: ManagedCertificate) -> None:
    world.clock.advance(timedelta(days=70))
    watchdog.report(world.ports)
    renewal.renew(world.ports, ADMIN, issued.id)
    world.submit(issued, _agent(world, "agent-web-1"), "second key")
    assert status.summary(world.ports, ADMIN).overdue == 0
    world.clock.advance(timedelta(days=70))
    assert watchdog.report(world.ports) == 1


def test_the_watchdog_believes_no_schedule(world: World, issued: ManagedCertificate) -> None:
    with world.ports.work() as work:
        work.certificates.save(evolve(work.certificates.get(issued.id), renew_at=None))
    world.clock.advance(timedelta(days=70))
    assert renewal.sweep(world.ports) == 0
    assert watchdog.report(world.ports) == 1


def test_a_certificate_that_is_never_issued_is_missed_after_a_day(world: World) -> None:
    world.certificate(world.target(world.agent()))
    world.clock.advance(timedelta(hours=23))
    assert watchdog.report(world.ports) == 0
    world.clock.advance(timedelta(hours=1))
    assert watchdog.report(world.ports) == 1
    assert "should have been issued" in told(world)[0].message


def test_nobody_misses_what_nobody_promised(world: World, issued: ManagedCertificate) -> None:
    agent = _agent(world, "agent-web-1")
    revoked = world.certificate(world.target(agent, "second"), name="revoked")
    world.issued(revoked, agent, "other key")
    archived = world.certificate(world.target(agent, "third"), name="archived")
    homeless = world.certificate(name="homeless")
    revocation.revoke(world.ports, ADMIN, revoked.id, RevocationReason.SUPERSEDED)
    certificates.archive(world.ports, ADMIN, archived.id)
    by_hand(world)
    world.clock.advance(timedelta(days=100))
    assert watchdog.report(world.ports) == 0
    assert status.summary(world.ports, ADMIN).overdue == 0
    assert world.now_is(homeless).overdue_at is None


# Deployments and revocations


def _deploy(world: World, certificate: ManagedCertificate, outcome: JobStatus, error: str = "") -> None:
    agent = _agent(world, "agent-web-1")
    for item in deployment.work(world.ports, as_agent(agent), agent.id):
        if item.job.type is JobType.DEPLOYMENT:
            deployment.report(world.ports, as_agent(agent), agent.id, item.job.id, outcome, error)


def test_a_deployment_is_told_of_when_it_failed_for_good_and_when_it_went_after_all(
    world: World, issued: ManagedCertificate
) -> None:
    for _ in range(deployment.MAX_ATTEMPTS):
        _deploy(world, issued, JobStatus.FAILED, "nginx: [emerg] no such file")
        assert len(told(world)) == (0 if _ < deployment.MAX_ATTEMPTS - 1 else 1)
        world.clock.advance(timedelta(hours=1))
        jobs.retry_due(world.ports)
    (message,) = told(world)
    assert message.type is N.DEPLOYMENT_FAILURE
    assert "nginx on agent-web-1: nginx: [emerg] no such file." in message.message

    (job,) = [job for job in world.jobs(JobStatus.FAILED) if job.type is JobType.DEPLOYMENT]
    jobs.retry(world.ports, ADMIN, job.id)
    _deploy(world, issued, JobStatus.COMPLETED)
    assert [message.type for message in told(world)] == [N.DEPLOYMENT_FAILURE, N.DEPLOYMENT_SUCCESS]


def test_a_deployment_that_goes_well_is_not_told_of(world: World, issued: ManagedCertificate) -> None:
    _deploy(world, issued, JobStatus.FAILED, "busy")
    world.clock.advance(timedelta(hours=1))
    jobs.retry_due(world.ports)
    _deploy(world, issued, JobStatus.COMPLETED)
    assert told(world) == []


def test_a_revocation_is_told_to_people_and_programs(world: World, issued: ManagedCertificate) -> None:
    revocation.revoke(world.ports, ADMIN, issued.id, RevocationReason.KEY_COMPROMISE)
    assert [(message.type, message.channel) for message in told(world)] == [
        (N.REVOCATION, "Email"),
        (N.REVOCATION, "Webhook"),
    ]
    with world.ports.work() as work:
        version = work.versions.latest(issued.id)
    assert version is not None
    assert version.serial_number in told(world)[0].message
    assert "keyCompromise" in told(world)[0].message


def _agents(world: World) -> list[str]:
    with world.ports.work() as work:
        return [agent.id for agent in work.agents.page(Query(limit=50)).items]


def _agent(world: World, identity: str) -> Any:
    with world.ports.work() as work:
        return work.agents.get(identity)
