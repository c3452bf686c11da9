"""Jobs and the verification of deployments on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self

import attrs
from attrs import frozen

from certctl_core.errors import NotFound
from certctl_core.ids import TargetId
from certctl_core.models import jobs as facts
from certctl_core.models.certificates import CertificateVersion
from certctl_core.models.jobs import JobStatus, JobType, VerificationStatus
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import deployment
from certctl_web.media.bounds import Length, Name, Report, Word
from certctl_web.media.paging import Paging
from certctl_web.media.reading import Accepts


@frozen(kw_only=True)
class Job:
    """One piece of work. `next_attempt_at` is when a Failed job tries again by itself; `approval_id` is the request
    that allows, or has yet to allow, what it issues."""

    id: str
    type: JobType
    certificate_id: str
    target_id: str | None = None
    agent_id: str | None = None
    approval_id: str | None = None
    status: JobStatus
    attempts: int
    max_attempts: int
    last_error: str | None = None
    requested_by: str | None = None
    scheduled_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    next_attempt_at: datetime | None = None
    created_at: datetime
    verification_status: VerificationStatus
    verified_at: datetime | None = None
    verification_error: str | None = None
    verification_fingerprint: str | None = None

    @classmethod
    def of(cls, fact: facts.Job) -> Self:
        optional = ("last_error", "requested_by", "verification_error", "verification_fingerprint")
        values = {a.name: getattr(fact, a.name) for a in attrs.fields(cls)}
        return cls(**values | {name: values[name] or None for name in optional})


@frozen(kw_only=True)
class JobList(Paging):
    """Newest first."""

    status: JobStatus | None = None
    type: JobType | None = None
    certificate_id: str | None = None
    agent_id: str | None = None

    def wish(self) -> Query:
        names = ("status", "type", "certificate_id", "agent_id")
        where = (Where(name, value) for name in names if (value := getattr(self, name)) is not None)
        return self.ask(*where, descending=True)


@frozen(kw_only=True)
class Reject(Accepts):
    reason: Annotated[str, Length(0, 1000)] = ""


@frozen(kw_only=True)
class Verify:
    """What a probe of the target saw; `actual_fingerprint` is empty when it failed, and `error` says why."""

    target_id: Name
    expected_fingerprint: Word
    actual_fingerprint: Word
    verified: bool = False
    error: Report = ""

    def wish(self) -> deployment.Verification:
        return deployment.Verification(
            target_id=TargetId(self.target_id),
            expected_fingerprint=self.expected_fingerprint,
            actual_fingerprint=self.actual_fingerprint,
            verified=self.verified,
            error=self.error,
        )


@frozen(kw_only=True)
class Verified:
    job_id: str
    verified: bool
    verified_at: datetime

    @classmethod
    def of(cls, job: facts.Job) -> Self:
        result = VerificationResult.of(job, ())
        return cls(job_id=result.job_id, verified=result.verified, verified_at=result.verified_at)


@frozen(kw_only=True)
class VerificationResult:
    """What was to be served and what was."""

    job_id: str
    target_id: str
    expected_fingerprint: str
    actual_fingerprint: str
    verified: bool
    verified_at: datetime
    error: str | None = None

    @classmethod
    def of(cls, job: facts.Job, versions: Sequence[CertificateVersion]) -> Self:
        """`versions` are those of the job's certificate. Raises `NotFound` before anything was verified."""
        if job.verified_at is None:
            raise NotFound(f"job {job.id} has not been verified", hint="Its agent verifies after it has deployed.")
        expected = next((v.fingerprint_sha256 for v in versions if v.id == job.version_id), "")
        return cls(
            job_id=job.id,
            target_id=job.target_id or "",
            expected_fingerprint=expected,
            actual_fingerprint=job.verification_fingerprint,
            verified=job.verification_status is VerificationStatus.SUCCESS,
            verified_at=job.verified_at,
            error=job.verification_error or None,
        )
