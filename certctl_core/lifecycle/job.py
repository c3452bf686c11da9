"""The life of a job.

    AwaitingApproval ──approve──▶ Pending ──claim──▶ Running ──complete──▶ Completed
                                   ▲  ▲ │              │ │
    AwaitingCSR ──claim──▶ Running │  │ │  ◀─release───┘ └──fail──▶ Failed ──retry──▶ Pending or AwaitingCSR
                                   │  └─┴──────────────────────────────┘
                                   └── a lapsed lease gives the job back

A result may come after its lease has lapsed, when the job is Pending again or has Failed: it completes the job.
Completed and Cancelled are final. Failed is not: while attempts are left the retry loop, and at any time an operator,
may try again. An issuing job that has no CSR yet goes back to AwaitingCSR, one that has goes to Pending. One that would
issue what nobody has approved goes, or goes back, to AwaitingApproval and forgets its CSR: what it will issue may have
other names.
"""

from datetime import datetime, timedelta
from enum import Enum

from attrs import evolve

from certctl_core.lifecycle.machine import Machine, from_each
from certctl_core.models.jobs import ISSUING, OPEN_JOB, Job, JobType
from certctl_core.models.jobs import JobStatus as S


class JobEvent(Enum):
    PARK = "ask for approval of"
    APPROVE = "approve"
    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    RELEASE = "release"
    RETRY = "retry"
    ASK_AGAIN = "ask the agent for"
    CANCEL = "cancel"


JOB: Machine[S, JobEvent] = Machine(
    "job",
    {
        **from_each((S.PENDING, S.AWAITING_CSR, S.RUNNING), JobEvent.PARK, S.AWAITING_APPROVAL),
        (S.AWAITING_APPROVAL, JobEvent.APPROVE): S.PENDING,
        (S.AWAITING_APPROVAL, JobEvent.ASK_AGAIN): S.AWAITING_CSR,
        **from_each((S.PENDING, S.AWAITING_CSR), JobEvent.CLAIM, S.RUNNING),
        **from_each((S.RUNNING, S.PENDING, S.FAILED), JobEvent.COMPLETE, S.COMPLETED),
        **from_each(OPEN_JOB, JobEvent.FAIL, S.FAILED),
        (S.RUNNING, JobEvent.RELEASE): S.PENDING,
        (S.FAILED, JobEvent.RETRY): S.PENDING,
        (S.FAILED, JobEvent.ASK_AGAIN): S.AWAITING_CSR,
        **from_each((*OPEN_JOB, S.FAILED), JobEvent.CANCEL, S.CANCELLED),
    },
)


def claim(job: Job, at: datetime, lease: timedelta) -> Job:
    """Take the job for `lease`. A claim is an attempt, whatever comes of it."""
    return evolve(
        job,
        status=JOB.next(job.status, JobEvent.CLAIM),
        attempts=job.attempts + 1,
        started_at=at,
        acknowledged_at=None,
        completed_at=None,
        lease_until=at + lease,
        next_attempt_at=None,
        updated_at=at,
    )


def complete(job: Job, at: datetime) -> Job:
    return evolve(
        job,
        status=JOB.next(job.status, JobEvent.COMPLETE),
        completed_at=at,
        lease_until=None,
        next_attempt_at=None,
        last_error="",
        updated_at=at,
    )


def fail(job: Job, at: datetime, error: str, next_attempt_at: datetime | None) -> Job:
    """Record the failure. `next_attempt_at` is None when the job will not try again by itself."""
    return evolve(
        job,
        status=JOB.next(job.status, JobEvent.FAIL),
        completed_at=at,
        lease_until=None,
        last_error=error,
        next_attempt_at=next_attempt_at,
        updated_at=at,
    )


def release(job: Job, at: datetime) -> Job:
    """Give back a job whose lease has lapsed, so that somebody else may claim it. A deployment that its agent never
    began was no attempt: the hand-out was lost, or the agent was busy with others."""
    was_begun = job.type is not JobType.DEPLOYMENT or job.acknowledged_at is not None
    return evolve(
        job,
        status=JOB.next(job.status, JobEvent.RELEASE),
        attempts=job.attempts if was_begun else job.attempts - 1,
        lease_until=None,
        acknowledged_at=None,
        scheduled_at=at,
        updated_at=at,
    )


def retry(job: Job, at: datetime) -> Job:
    """Try a failed job again, now."""
    event = JobEvent.ASK_AGAIN if _lacks_csr(job) else JobEvent.RETRY
    return evolve(
        job, status=JOB.next(job.status, event), scheduled_at=at, next_attempt_at=None, completed_at=None, updated_at=at
    )


def cancel(job: Job, at: datetime, reason: str = "") -> Job:
    return evolve(
        job,
        status=JOB.next(job.status, JobEvent.CANCEL),
        completed_at=at,
        lease_until=None,
        next_attempt_at=None,
        last_error=reason or job.last_error,
        updated_at=at,
    )


def park(job: Job, at: datetime) -> Job:
    """Have the job wait for an approval, and begin from there."""
    return evolve(
        job,
        status=JOB.next(job.status, JobEvent.PARK),
        attempt_id=None,
        started_at=None,
        lease_until=None,
        updated_at=at,
    )


def approve(job: Job, at: datetime) -> Job:
    """It may go on, when its time has come."""
    event = JobEvent.ASK_AGAIN if _lacks_csr(job) else JobEvent.APPROVE
    return evolve(job, status=JOB.next(job.status, event), scheduled_at=max(job.scheduled_at, at), updated_at=at)


def _lacks_csr(job: Job) -> bool:
    """Whether the job can only go on once its agent has made a key."""
    return job.type in ISSUING and job.attempt_id is None
