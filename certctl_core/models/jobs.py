"""Jobs: the durable truth about work to be done."""

from datetime import datetime
from enum import Enum

from attrs import frozen

from certctl_core.ids import AgentId, ApprovalId, AttemptId, CertificateId, JobId, TargetId, VersionId


class JobType(Enum):
    ISSUANCE = "Issuance"
    RENEWAL = "Renewal"
    DEPLOYMENT = "Deployment"
    VALIDATION = "Validation"


ISSUING = (JobType.ISSUANCE, JobType.RENEWAL)
"""Job types that end in a new certificate version."""


class JobStatus(Enum):
    PENDING = "Pending"
    AWAITING_CSR = "AwaitingCSR"
    AWAITING_APPROVAL = "AwaitingApproval"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


OPEN_JOB = (JobStatus.PENDING, JobStatus.AWAITING_CSR, JobStatus.AWAITING_APPROVAL, JobStatus.RUNNING)
"""Statuses in which a job still expects something to happen by itself or by its agent."""


class VerificationStatus(Enum):
    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"


@frozen(kw_only=True)
class Job:
    """One piece of work.

    A Running job is held by a lease: whoever runs it must record a result before `lease_until`, or it is given back.
    `acknowledged_at` is when an agent last said that it works on it. `next_attempt_at` is when a Failed
    job with attempts left tries again; None means it will not by itself. `approval_id` is the request that allows, or
    has yet to allow, what it issues.
    """

    id: JobId
    type: JobType
    certificate_id: CertificateId
    target_id: TargetId | None = None
    agent_id: AgentId | None = None
    approval_id: ApprovalId | None = None
    attempt_id: AttemptId | None = None
    version_id: VersionId | None = None
    status: JobStatus = JobStatus.PENDING
    attempts: int = 0
    max_attempts: int = 3
    last_error: str = ""
    requested_by: str = ""
    scheduled_at: datetime
    started_at: datetime | None = None
    acknowledged_at: datetime | None = None
    completed_at: datetime | None = None
    lease_until: datetime | None = None
    next_attempt_at: datetime | None = None
    verification_status: VerificationStatus = VerificationStatus.PENDING
    verified_at: datetime | None = None
    verification_fingerprint: str = ""
    verification_error: str = ""
    created_at: datetime
    updated_at: datetime
    revision: int = 1
