"""Consent: what has to be approved before it is issued, pinned when it is asked for and compared when it is relied on.

An issuing job that needs approval carries the id of its request. When the CSR is there, and again when a job is taken
up, what the request pins is made anew from what the certificate, its profile, its issuer and its targets are then.
Where the two texts differ the approval is worth nothing: it expires, the job goes back to wait, and another request
pins what is to be issued now. A job that was opened under approval stays under it, whatever becomes of its profile.

Whoever calls holds the certificates and the jobs, so that nobody decides meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from attrs import evolve, frozen

from certctl_core.ids import ApiKeyId, ApprovalId, mint
from certctl_core.lifecycle import approval as life
from certctl_core.lifecycle import job as job_life
from certctl_core.models.access import SYSTEM, Actor, SystemActor
from certctl_core.models.approvals import ApprovalRequest, ApprovalState
from certctl_core.models.catalog import CertificateProfile, ConfiguredIssuer, ConfiguredTarget
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.jobs import Job, JobStatus
from certctl_core.models.records import AuditEvent
from certctl_core.policy import approval as policy
from certctl_core.policy.holders import holders_among
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import audit

BYPASS: Final = SystemActor("system-bypass")
OUTGROWN: Final = "what would be issued is not what was asked for any more"


@frozen
class Asked:
    """A new request, the job that needs it, and the request that it takes the place of. The job waits, unless consent
    is bypassed."""

    job: Job
    request: ApprovalRequest
    closed: ApprovalRequest | None
    events: tuple[AuditEvent, ...]

    @property
    def is_given(self) -> bool:
        return self.request.state is ApprovalState.APPROVED


@frozen
class Consent:
    """What decides whether jobs may go on, read in one statement for each kind of thing, and in none when neither a
    profile nor a job wants approval."""

    is_bypassed: bool
    profiles: Mapping[str, CertificateProfile]
    issuers: Mapping[str, ConfiguredIssuer]
    targets: Mapping[str, ConfiguredTarget]
    requests: Mapping[str, ApprovalRequest]

    @classmethod
    def read(
        cls,
        ports: Ports,
        work: Work,
        certificates: Iterable[ManagedCertificate],
        profiles: Mapping[str, CertificateProfile],
        jobs: Iterable[Job] = (),
        issuers: Mapping[str, ConfiguredIssuer] | None = None,
    ) -> "Consent":
        """About these certificates and jobs of theirs. `profiles`, and `issuers` if they have been read, are the
        certificates': what is compared has to be what is issued by."""
        under = [job for job in jobs if job.approval_id is not None]
        held = {job.certificate_id for job in under}
        concerned = [each for each in certificates if each.id in held or _wants_approval(profiles, each)]
        if not concerned:
            return cls(ports.bypass_approvals, profiles, {}, {}, {})
        return cls(
            ports.bypass_approvals,
            profiles,
            work.issuers.many({each.issuer_id for each in concerned}) if issuers is None else issuers,
            work.targets.many({target for each in concerned for target in each.target_ids}),
            work.approvals.many([str(job.approval_id) for job in under]) if under else {},
        )

    def is_needed(self, certificate: ManagedCertificate) -> bool:
        """Whether a new job of the certificate needs approval."""
        return _wants_approval(self.profiles, certificate)

    def covers(self, certificate: ManagedCertificate, job: Job) -> bool:
        """Whether the job may go on: it needs no approval, or has one of exactly what it would issue."""
        if job.approval_id is None:
            return not self.is_needed(certificate)
        request = self.requests.get(job.approval_id)
        return request is not None and request.state is ApprovalState.APPROVED and self.is_unchanged(certificate, job)

    def is_unchanged(self, certificate: ManagedCertificate, job: Job) -> bool:
        """Whether the job's request pins exactly what it would issue."""
        request = self.requests.get(job.approval_id or "")
        if request is None:
            return False
        now_is = self._content(certificate, job, request.requested_by, request.requested_by_key)
        return now_is == request.content and policy.digest(now_is) == request.content_sha256

    def ask(self, certificate: ManagedCertificate, job: Job, actor: Actor, now: datetime) -> Asked:
        """A request of `actor` for a job that has none to rely on. The job is as it is to be written."""
        return self._ask(certificate, job, actor, actor.name, actor.key_id, now)

    def ask_again(self, certificate: ManagedCertificate, job: Job, now: datetime) -> Asked:
        """As `ask`, by whoever asked before."""
        before = self.requests.get(job.approval_id or "")
        if before is None:
            return self._ask(certificate, job, SYSTEM, job.requested_by, None, now)
        return self._ask(certificate, job, SYSTEM, before.requested_by, before.requested_by_key, now)

    def _ask(
        self,
        certificate: ManagedCertificate,
        job: Job,
        actor: Actor,
        requested_by: str,
        requested_by_key: ApiKeyId | None,
        now: datetime,
    ) -> Asked:
        content = self._content(certificate, job, requested_by, requested_by_key)
        request = ApprovalRequest(
            id=ApprovalId(mint("ar", now)),
            certificate_id=certificate.id,
            job_id=job.id,
            profile_id=certificate.profile_id,
            content=content,
            content_sha256=policy.digest(content),
            requested_by=requested_by,
            requested_by_key=requested_by_key,
            ordered_by=certificate.ordered_by,
            ordered_by_key=certificate.ordered_by_key,
            created_at=now,
            updated_at=now,
        )
        before = self.requests.get(job.approval_id or "")
        closed = life.expire(before, now, OUTGROWN) if before is not None and is_live(before) else None
        events = [event(SYSTEM, now, "approval_expired", closed)] if closed is not None else []
        events.append(event(actor, now, "approval_requested", request))
        if self.is_bypassed:
            request = life.approve(request, BYPASS.name, now)
            events.append(event(BYPASS, now, "approval_bypassed", request))
        return Asked(self._waiting(job, request, now), request, closed, tuple(events))

    def _waiting(self, job: Job, request: ApprovalRequest, now: datetime) -> Job:
        under = evolve(job, approval_id=request.id)
        if not self.is_bypassed:
            return under if job.status is JobStatus.AWAITING_APPROVAL else job_life.park(under, now)
        return job_life.approve(under, now) if job.status is JobStatus.AWAITING_APPROVAL else under

    def _content(
        self, certificate: ManagedCertificate, job: Job, requested_by: str, requested_by_key: ApiKeyId | None
    ) -> str:
        return policy.canonical(
            policy.content(
                certificate,
                self.issuers[certificate.issuer_id],
                self.profiles.get(certificate.profile_id or ""),
                holders_among(self.targets, certificate),
                job.agent_id,
                requested_by,
                requested_by_key,
            )
        )


def profiles_of(work: Work, certificates: Iterable[ManagedCertificate]) -> Mapping[str, CertificateProfile]:
    return work.profiles.many({each.profile_id for each in certificates if each.profile_id is not None})


def write(work: Work, asked: Sequence[Asked]) -> None:
    """Put requests on record. Their jobs are there already, or saved by the caller."""
    if asked:
        work.approvals.save_many([each.closed for each in asked if each.closed is not None])
        work.approvals.add_many([each.request for each in asked])
        work.audit.add(*(event for each in asked for event in each.events))


def demand(ports: Ports, work: Work, certificate: ManagedCertificate, job: Job, actor: Actor, now: datetime) -> Job:
    """The job as it may go on, to be saved by the caller: when it needs an approval that it does not have, it waits for
    one that `actor` asks for."""
    consent = Consent.read(ports, work, [certificate], profiles_of(work, [certificate]), [job])
    if consent.covers(certificate, job):
        return job
    asked = consent.ask(certificate, job, actor, now)
    write(work, [asked])
    return asked.job


def withdraw(work: Work, jobs: Iterable[Job], now: datetime) -> None:
    """Nobody has to decide about jobs that are over. Those that are not, or wait for nobody, are passed over."""
    over = (JobStatus.CANCELLED, JobStatus.FAILED)
    ended = {job.approval_id: job for job in jobs if job.approval_id is not None and job.status in over}
    if not ended:
        return
    undecided = [each for each in work.approvals.many(ended).values() if each.state is ApprovalState.PENDING]
    expired = [life.expire(each, now, ended[each.id].last_error) for each in undecided]
    work.approvals.save_many(expired)
    work.audit.add(*(event(SYSTEM, now, "approval_expired", each) for each in expired))


def event(actor: Actor, now: datetime, action: str, request: ApprovalRequest) -> AuditEvent:
    """What the audit trail says of a request: enough to prove what was decided about."""
    return audit.event(
        actor,
        now,
        action,
        "approval_request",
        request.id,
        certificate_id=request.certificate_id,
        job_id=request.job_id,
        content_sha256=request.content_sha256,
        **{"note": request.decision_note} if request.decision_note else {},
        **{"reason": request.closed_reason} if request.closed_reason else {},
    )


def is_live(request: ApprovalRequest) -> bool:
    """Whether something may still be made of it."""
    return request.state in (ApprovalState.PENDING, ApprovalState.APPROVED)


def _wants_approval(profiles: Mapping[str, CertificateProfile], certificate: ManagedCertificate) -> bool:
    profile = profiles.get(certificate.profile_id or "")
    return profile is not None and profile.requires_approval
