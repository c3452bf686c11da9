"""Renewal: on demand, and by the sweep that nobody has to remember.

A certificate is issued to key holders: the agents on whose hosts its targets are. Since a private key never leaves its
host, each holder makes its own key, so each gets an issuing job, a CSR and a version of its own.
"""

from datetime import datetime, timedelta
from typing import Final

from attrs import evolve

from certctl_core.errors import Conflict
from certctl_core.ids import AgentId, JobId, mint
from certctl_core.lifecycle import certificate as life
from certctl_core.lifecycle import job as job_life
from certctl_core.lifecycle.certificate import CERTIFICATE, CertificateEvent
from certctl_core.models.access import SYSTEM, Actor, Principal
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.jobs import ISSUING, Job, JobStatus, JobType
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import audit

BATCH: Final = 200
LOOK_AGAIN: Final = timedelta(days=1)
"""How soon a certificate that is due, and that nobody may renew by itself, is looked at again."""

BREAKER_LIMIT: Final = 5
BREAKER_WINDOW: Final = timedelta(days=1)


def renew(
    ports: Ports, caller: Principal, certificate_id: str, *, force: bool = False, reason: str = ""
) -> tuple[Job, ...]:
    """Issue or renew now, whatever the schedule says.

    A renewal that the schedule has begun, or that waits to try again after a failure, becomes the caller's: it goes on
    without waiting. One that somebody asked for and that is going on stands in the way, unless `force` starts it over.

    Raises `Conflict` then, and when no agent could make the key; `IllegalTransition` for a revoked or archived
    certificate.
    """
    now = ports.clock.now()
    with ports.work() as work:
        certificate = work.certificates.lock(certificate_id)
        audit.record(
            work,
            caller,
            now,
            "renewal_triggered",
            "certificate",
            certificate.id,
            common_name=certificate.common_name,
            force=force,
            reason=reason,
        )
        if certificate.status is CertificateStatus.RENEWAL_IN_PROGRESS:
            if not force:
                return _join(work, certificate, now)
            _cancel_issuing(work, certificate, now, caller)
            certificate = work.certificates.save(life.step(certificate, CertificateEvent.ABANDON, now))
        CERTIFICATE.next(certificate.status, CertificateEvent.RENEW)
        holders = key_holders(work, certificate)
        if not holders:
            raise Conflict(
                f"cannot renew {certificate.id}: it has no target, so there is no agent to make its key",
                hint="Give the certificate at least one enabled target (target_ids), then renew again.",
            )
        return _begin(work, caller, certificate, holders, now)


def _join(work: Work, certificate: ManagedCertificate, now: datetime) -> tuple[Job, ...]:
    """The open jobs of a renewal under way, those that wait to try again trying now. Raises `Conflict` when there is
    nothing to hurry and somebody else asked for it."""
    under_way = [job for job in work.jobs.open_of(certificate.id) if job.type in ISSUING]
    waiting = [job for job in under_way if job.status is JobStatus.FAILED]
    if not waiting and any(job.requested_by != SYSTEM.name for job in under_way):
        raise Conflict(
            f"a renewal of {certificate.id} is already in progress",
            hint="Wait for its job, or renew with force to start over.",
        )
    hurried = {job.id: work.jobs.save(job_life.retry(job, now)) for job in waiting}
    return tuple(hurried.get(job.id, job) for job in under_way)


def key_holders(work: Work, certificate: ManagedCertificate) -> tuple[AgentId, ...]:
    """The agents that hold, or will make, a private key for this certificate, in the order of its targets."""
    targets = work.targets.many(certificate.target_ids)
    usable = (targets[t] for t in certificate.target_ids if t in targets)
    return tuple(dict.fromkeys(t.agent_id for t in usable if t.enabled and t.retired_at is None))


def sweep(ports: Ports) -> int:
    """Look at every certificate whose time has come. Returns how many were looked at."""
    done = 0
    while True:
        now = ports.clock.now()
        with ports.work() as work:
            due = work.certificates.due_for_renewal(now, BATCH)
            for certificate in due:
                _consider(work, certificate, now)
        done += len(due)
        if len(due) < BATCH:
            return done


def _consider(work: Work, certificate: ManagedCertificate, now: datetime) -> None:
    if not CERTIFICATE.allows(certificate.status, CertificateEvent.RENEW):
        work.certificates.save(evolve(certificate, renew_at=None, updated_at=now))
        return
    policy = work.renewal_policies.get(certificate.renewal_policy_id)
    if not policy.auto_renew:
        _mark_expiring(work, certificate, now)
        return
    holders = key_holders(work, certificate)
    if not holders:
        _mark_expiring(work, certificate, now)
        return
    issued = work.attempts.issued_since(certificate.id, now - BREAKER_WINDOW)
    if issued >= BREAKER_LIMIT * len(holders):
        _hold_back(work, certificate, now, issued)
        return
    _begin(work, SYSTEM, certificate, holders, now)


def _mark_expiring(work: Work, certificate: ManagedCertificate, now: datetime) -> None:
    """Nobody renews it by itself: it shows as Expiring. Its policy or its targets may change without it being touched,
    so it is looked at again."""
    seen = evolve(certificate, renew_at=now + LOOK_AGAIN)
    if seen.status is CertificateStatus.ACTIVE:
        seen = life.step(seen, CertificateEvent.APPROACH_EXPIRY, now)
    work.certificates.save(seen)


def _hold_back(work: Work, certificate: ManagedCertificate, now: datetime, issued: int) -> None:
    """A certificate that is issued again and again has something wrong with it that one more will not mend."""
    reason = f"renewal paused for a day: {issued} certificates were issued within a day; renew by hand to go on"
    work.certificates.save(evolve(certificate, renew_at=now + BREAKER_WINDOW, status_reason=reason, updated_at=now))
    audit.record(work, SYSTEM, now, "renewal_breaker_opened", "certificate", certificate.id, issued=issued)


def _begin(
    work: Work, actor: Actor, certificate: ManagedCertificate, holders: tuple[AgentId, ...], now: datetime
) -> tuple[Job, ...]:
    # A failed job of an earlier round that would still retry by itself is replaced by this round.
    _cancel_issuing(work, certificate, now, actor)
    policy = work.renewal_policies.get(certificate.renewal_policy_id)
    kind = JobType.ISSUANCE if certificate.expires_at is None else JobType.RENEWAL
    jobs = tuple(
        Job(
            id=JobId(mint("job", now)),
            type=kind,
            certificate_id=certificate.id,
            agent_id=holder,
            status=JobStatus.AWAITING_CSR,
            max_attempts=max(1, policy.max_retries),
            requested_by=actor.name,
            scheduled_at=now,
            created_at=now,
            updated_at=now,
        )
        for holder in holders
    )
    for job in jobs:
        work.jobs.add(job)
        audit.record(
            work,
            actor,
            now,
            "renewal_job_created",
            "certificate",
            certificate.id,
            job_id=job.id,
            agent_id=job.agent_id,
        )
    begun = life.step(certificate, CertificateEvent.RENEW, now)
    work.certificates.save(evolve(begun, renew_at=None))
    return jobs


def _cancel_issuing(work: Work, certificate: ManagedCertificate, now: datetime, actor: Actor) -> None:
    for job in work.jobs.open_of(certificate.id):
        if job.type in ISSUING:
            work.jobs.save(job_life.cancel(job, now, f"replaced by a new renewal of {actor.name}"))


def expire(ports: Ports) -> int:
    """Certificates past their end are Expired. Returns how many."""
    done = 0
    while True:
        now = ports.clock.now()
        with ports.work() as work:
            due = work.certificates.due_for_expiry(now, BATCH)
            for certificate in due:
                work.certificates.save(life.step(certificate, CertificateEvent.LAPSE, now))
                audit.record(
                    work,
                    SYSTEM,
                    now,
                    "certificate_expired",
                    "certificate",
                    certificate.id,
                    expired_at=certificate.expires_at.isoformat() if certificate.expires_at else "",
                )
        done += len(due)
        if len(due) < BATCH:
            return done
