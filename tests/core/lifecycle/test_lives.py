"""The lives: every table as a whole, and what its steps write beside the status."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve

from certctl_core.errors import Forbidden, Gone, IllegalTransition
from certctl_core.ids import AgentId, AttemptId, CertificateId, DiscoveredId, EndpointId, JobId, NotificationId
from certctl_core.lifecycle import agent, approval, bulk, discovered, endpoint, notification
from certctl_core.lifecycle import certificate as certificate_life
from certctl_core.lifecycle import job as job_life
from certctl_core.lifecycle.machine import Machine
from certctl_core.models.agents import Agent, AgentStatus
from certctl_core.models.jobs import Job, JobStatus, JobType
from certctl_core.models.observed import DiscoveredCertificate, DiscoveryStatus, EndpointHealth, HealthStatus
from certctl_core.models.records import Notification, NotificationStatus, NotificationType

AT = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
LIVES: tuple[Machine[Any, Any], ...] = (
    certificate_life.CERTIFICATE,
    job_life.JOB,
    approval.APPROVAL,
    agent.AGENT,
    notification.NOTIFICATION,
    discovered.DISCOVERED,
    endpoint.ENDPOINT,
    bulk.BULK_OPERATION,
)


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.noun)
def test_every_step_that_is_not_in_the_table_is_refused_and_says_what_is_possible(life: Machine[Any, Any]) -> None:
    states = type(next(iter(life.table.values())))
    events = type(next(iter(life.table))[1])
    for state in states:
        for event in events:
            if life.allows(state, event):
                assert life.next(state, event) is life.table[state, event]
            else:
                with pytest.raises(IllegalTransition, match=state.value) as refusal:
                    life.next(state, event)
                assert refusal.value.hint


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.CANCELLED])
def test_a_job_that_is_over_stays_over(status: JobStatus) -> None:
    assert not [event for event in job_life.JobEvent if job_life.JOB.allows(status, event)]


def test_an_archived_certificate_stays_archived() -> None:
    archived = certificate_life.S.ARCHIVED
    events = certificate_life.CertificateEvent
    assert not [event for event in events if certificate_life.CERTIFICATE.allows(archived, event)]


def job(**fields: Any) -> Job:
    return Job(
        **{
            "id": JobId("job-1"),
            "type": JobType.ISSUANCE,
            "certificate_id": CertificateId("mc-1"),
            "scheduled_at": AT,
            "created_at": AT,
            "updated_at": AT,
            **fields,
        }
    )


@pytest.mark.parametrize("step", [job_life.approve, job_life.retry])
def test_an_issuing_job_without_a_csr_asks_its_agent_first(step: Any) -> None:
    status = JobStatus.AWAITING_APPROVAL if step is job_life.approve else JobStatus.FAILED
    assert step(job(status=status), LATER).status is JobStatus.AWAITING_CSR
    assert step(job(status=status, attempt_id=AttemptId("a")), LATER).status is JobStatus.PENDING


def test_a_claim_holds_the_job_until_its_lease_ends() -> None:
    claimed = job_life.claim(job(), LATER, timedelta(minutes=1))
    assert (claimed.status, claimed.attempts) == (JobStatus.RUNNING, 1)
    assert claimed.lease_until == LATER + timedelta(minutes=1)
    assert job_life.complete(claimed, LATER).lease_until is None


def test_a_notification_is_tried_ever_more_rarely_and_then_given_up() -> None:
    told = Notification(
        id=NotificationId("n"), type=NotificationType.REVOCATION, recipient="a@example.org", message="m", created_at=AT
    )
    waits = []
    for _ in range(notification.MAX_TRIES - 1):
        told = notification.failed(told, AT, "no route")
        assert told.status is NotificationStatus.FAILED
        assert told.next_retry_at is not None
        waits.append(told.next_retry_at - AT)
    assert waits == [timedelta(minutes=minutes) for minutes in (2, 4, 8, 16)]
    dead = notification.failed(told, AT, "no route")
    assert (dead.status, dead.next_retry_at) == (NotificationStatus.DEAD, None)
    assert notification.requeue(dead).retry_count == 0
    assert notification.sent(notification.requeue(dead), LATER).sent_at == LATER


def test_the_failure_being_recorded_counts_towards_the_thresholds_of_an_endpoint() -> None:
    watched = EndpointHealth(
        id=EndpointId("hc-1"),
        endpoint="www.example.org:443",
        expected_fingerprint="aa",
        created_at=AT,
        updated_at=AT,
    )
    seen = []
    for _ in range(5):
        watched = endpoint.unseen(watched, AT, "no route")
        seen.append(watched.status)
    assert seen == [HealthStatus.UNKNOWN, *[HealthStatus.DEGRADED] * 3, HealthStatus.DOWN]
    assert (watched.failure_reason, watched.next_check_at) == ("no route", AT + timedelta(minutes=5))
    acknowledged = endpoint.acknowledge(watched, AT, "alice")
    back = endpoint.seen(acknowledged, LATER, "aa")
    assert (back.status, back.consecutive_failures, back.acknowledged) == (HealthStatus.HEALTHY, 0, False)
    assert endpoint.seen(back, LATER, "bb").status is HealthStatus.CERT_MISMATCH


def test_a_discovered_certificate_can_be_claimed_after_it_was_dismissed() -> None:
    found = DiscoveredCertificate(
        id=DiscoveredId("dc"),
        fingerprint_sha256="aa",
        common_name="x",
        agent_id=AgentId("a"),
        source_path="/srv/x.pem",
        first_seen_at=AT,
        last_seen_at=AT,
        created_at=AT,
        updated_at=AT,
    )
    dismissed = discovered.dismiss(found, LATER)
    assert (dismissed.status, dismissed.dismissed_at) == (DiscoveryStatus.DISMISSED, LATER)
    claimed = discovered.claim(dismissed, CertificateId("mc-1"), LATER)
    assert (claimed.status, claimed.dismissed_at) == (DiscoveryStatus.MANAGED, None)


def test_a_retired_agent_is_heard_no_more_and_a_sentinel_is_never_retired() -> None:
    known = Agent(id=AgentId("a"), name="a", hostname="a", registered_at=AT)
    assert agent.hear(agent.miss(known), LATER).status is AgentStatus.ONLINE
    retired = agent.retire(known, LATER, "rack removed")
    with pytest.raises(Gone):
        agent.hear(retired, LATER)
    with pytest.raises(Gone):
        agent.retire(retired, LATER, "again")
    with pytest.raises(Forbidden):
        agent.retire(evolve(known, id=AgentId("server-scanner")), LATER, "no")
