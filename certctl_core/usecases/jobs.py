"""Jobs as operators and loops see them: look, cancel, try again, give back what a dead worker held.

Theory of operation. The jobs table is the truth; whatever carries job ids to a worker may lose or repeat them. A job
that runs is held by a lease. Who dies while holding it does not record a result, the lease lapses, `release_lapsed`
gives the job back, and the next run starts from what the database knows: an issuing job from its attempt, whose serial
number and validity were fixed before the CA was called, a deployment from the newest version of its key holder.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from certctl_core.errors import Conflict, NotFound, Refused
from certctl_core.ids import CertificateId
from certctl_core.lifecycle import certificate as certificate_life
from certctl_core.lifecycle import job as life
from certctl_core.lifecycle.certificate import CERTIFICATE, CertificateEvent
from certctl_core.models.access import SYSTEM, Actor, Principal
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.jobs import ISSUING, OPEN_JOB, Job, JobStatus, JobType
from certctl_core.models.records import AuditEvent
from certctl_core.policy import renewal as renewal_policy
from certctl_core.policy import retry as retry_policy
from certctl_core.ports import Ports
from certctl_core.ports.store import Is, Page, Query, Where, Work
from certctl_core.usecases import audit, consent, notices, notifications, scope

BATCH: Final = 200
HOPELESS: Final = 10
"""A job that has been taken up so often is not taken up again: each time it took its holder with it."""

DEPLOYMENT_RETRY: Final = timedelta(seconds=30)
"""First pause before a deployment tries again; reload problems are usually mended within minutes."""


def get(ports: Ports, caller: Actor, job_id: str) -> Job:
    """A job is seen by who sees its certificate. Raises `NotFound`."""
    with ports.work() as work:
        job = work.jobs.get(job_id)
        if not caller.scope.is_everything and not scope.sees(caller, work.certificates.get(job.certificate_id)):
            raise NotFound.of("job", job_id)
        return job


def page(ports: Ports, caller: Actor, query: Query) -> Page[Job]:
    with ports.work() as work:
        return work.jobs.page(evolve(query, where=(*query.where, *scope.certificates(caller))))


@frozen
class Locked:
    """A job and its certificate, both held, in the order that keeps transactions from waiting in a circle."""

    certificate: ManagedCertificate
    job: Job


def lock(work: Work, job_id: str) -> Locked:
    """Raises `NotFound`."""
    certificate_id = work.jobs.get(job_id).certificate_id
    return Locked(work.certificates.lock(certificate_id), work.jobs.lock(job_id))


def lock_seen(work: Work, caller: Actor, job_id: str) -> Locked:
    """As `lock`, on behalf of a caller who has to see the job."""
    held = lock(work, job_id)
    if not scope.sees(caller, held.certificate):
        raise NotFound.of("job", job_id)
    return held


def cancel(ports: Ports, caller: Actor, job_id: str) -> Job:
    """An issuing job that is cancelled leaves its certificate Failed if nothing else is renewing it."""
    now = ports.clock.now()
    with ports.work() as work:
        held = lock_seen(work, caller, job_id)
        job = end(work, held, now, f"cancelled by {caller.name}")
        audit_change(work, "job_cancelled", held.job, job, now, caller)
    return job


def end(work: Work, held: Locked, now: datetime, reason: str) -> Job:
    """Cancel a job in the open transaction, with what waits for it. Raises `IllegalTransition`."""
    job = work.jobs.save(life.cancel(held.job, now, reason))
    consent.withdraw(work, [job], now)
    abandon_if_idle(work, held.certificate, now, reason, on_purpose=True)
    return job


def retry(ports: Ports, caller: Principal, job_id: str) -> Job:
    """The operator says now, so it is now: no waiting for the back-off.

    Raises `IllegalTransition` for a job that has not failed and `Conflict` for one whose place another has taken, or
    whose certificate is revoked or archived.
    """
    now = ports.clock.now()
    with ports.work() as work:
        held = lock_seen(work, caller, job_id)
        job = life.retry(held.job, now)
        _must_be_the_last(work, job)
        if job.type in ISSUING:
            if held.certificate.status is not CertificateStatus.RENEWAL_IN_PROGRESS:
                work.certificates.save(certificate_life.step(held.certificate, CertificateEvent.RENEW, now))
            job = consent.demand(ports, work, held.certificate, job, caller, now)
        else:
            job = _of_the_newest_version(work, held.certificate, job)
        job = work.jobs.save(job)
        audit_change(work, "job_retried", held.job, job, now, caller)
    return job


def _must_be_the_last(work: Work, job: Job) -> None:
    """Raises `Conflict` when a newer job does what this one was to do. Two of them cannot be open at once: the one that
    came back second would be refused again and again, and with it whatever else a sweep has before it."""
    where = (
        Where("certificate_id", job.certificate_id),
        Where("type", ISSUING if job.type in ISSUING else (job.type,), Is.ONE_OF),
        Where("agent_id", job.agent_id) if job.type in ISSUING else Where("target_id", job.target_id),
        Where("created_at", job.created_at, Is.AFTER),
    )
    newer = work.jobs.page(Query(where, descending=True, limit=1, count=False)).items
    if newer:
        raise Conflict(
            f"cannot retry job {job.id}: job {newer[0].id} has taken its place",
            hint="Retry that one if it has failed; or renew or deploy the certificate again.",
        )


def _of_the_newest_version(work: Work, certificate: ManagedCertificate, job: Job) -> Job:
    """What an agent picks up is the newest version of its key; the job has to say the same."""
    if certificate.status in (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED):
        raise Conflict(f"cannot retry job {job.id}: certificate {certificate.id} is {certificate.status.value}")
    newest = work.versions.latest(certificate.id, job.agent_id)
    return job if newest is None else evolve(job, version_id=newest.id)


def fail(work: Work, actor: Actor, held: Locked, now: datetime, error: str, *, final: bool = False) -> Job:
    """Record a failure in the open transaction: try again later while attempts are left, else give up.

    A certificate whose last issuing job gives up is Failed, with the reason, and will be looked at again later: one
    failure must not end its renewal for good.
    """
    job = held.job
    if job.status is not JobStatus.RUNNING:
        # Nobody could claim it, since no CSR came: waiting for one in vain uses up an attempt all the same.
        job = evolve(job, attempts=job.attempts + 1)
    again = None if final else _next_attempt(work, evolve(held, job=job), now)
    job = work.jobs.save(life.fail(job, now, error, again))
    if job.type in ISSUING:
        audit.record(
            work, actor, now, "renewal_job_failed", "certificate", job.certificate_id, job_id=job.id, error=error
        )
        if again is None:
            abandon_if_idle(work, held.certificate, now, error)
    else:
        if again is None:
            _tell_of_deployment(work, held.certificate, job, now, error)
        audit.record(
            work,
            actor,
            now,
            "deployment_job_failed",
            "certificate",
            job.certificate_id,
            job_id=job.id,
            target_id=job.target_id,
            error=error,
        )
    return job


def _tell_of_deployment(work: Work, certificate: ManagedCertificate, job: Job, now: datetime, error: str) -> None:
    target = work.targets.find(job.target_id) if job.target_id else None
    notifications.owe(work, now, notices.deployment_failed(certificate, target, error))


def _next_attempt(work: Work, held: Locked, now: datetime) -> datetime | None:
    job = held.job
    if job.attempts >= job.max_attempts:
        return None
    if job.agent_id is not None and work.agents.get(job.agent_id).retired_at is not None:
        return None  # It was opened while its agent was being retired.
    interval = DEPLOYMENT_RETRY
    if job.type in ISSUING:
        interval = work.renewal_policies.get(held.certificate.renewal_policy_id).retry_interval
    return retry_policy.next_attempt_at(now, attempt=job.attempts, interval=interval, key=job.id)


def abandon_if_idle(
    work: Work, certificate: ManagedCertificate, now: datetime, reason: str, *, on_purpose: bool = False
) -> None:
    """Mark the certificate Failed when no issuing job of it is open any more, and tell its owner, unless somebody ended
    its renewal on purpose. The caller holds the certificate."""
    if any(job.type in ISSUING for job in work.jobs.open_of(certificate.id)):
        return
    if not CERTIFICATE.allows(certificate.status, CertificateEvent.ABANDON):
        return
    abandoned = certificate_life.step(certificate, CertificateEvent.ABANDON, now, reason)
    policy = work.renewal_policies.get(certificate.renewal_policy_id)
    failed = work.certificates.save(renewal_policy.after_failure(abandoned, policy, now))
    if not on_purpose:
        notifications.owe(work, now, notices.renewal_failed(failed, reason))


def must_not_be_hopeless(job: Job) -> None:
    """Raises `Refused` for a job just claimed whose holders, again and again, recorded no result."""
    if job.attempts > max(job.max_attempts, HOPELESS):
        raise Refused(f"given up: taken up {job.attempts} times without a result")


def release_lapsed(ports: Ports) -> int:
    """Give back jobs whose holder did not record a result in time. Returns how many."""
    return _sweep(ports, lambda work, now: work.jobs.due_releases(now, BATCH), life.release, "job_released")


def purge(ports: Ports, keep: timedelta) -> int:
    """Forget jobs that are over and older than `keep`; the audit trail still tells of them. Returns how many."""
    done = 0
    while True:
        with ports.work() as work:
            removed = work.jobs.purge(ports.clock.now() - keep, BATCH)
        done += removed
        if removed < BATCH:
            return done


def retry_due(ports: Ports) -> int:
    """Failed jobs whose pause is over try again. Returns how many."""
    return _sweep(ports, lambda work, now: work.jobs.due_retries(now, BATCH), life.retry, "job_retry")


def waiting_for_workers(ports: Ports) -> int:
    """How many issuing jobs are due and have nobody working on them."""
    due = (
        Where("status", JobStatus.PENDING),
        Where("type", ISSUING, Is.ONE_OF),
        Where("scheduled_at", ports.clock.now(), Is.BEFORE),
    )
    with ports.work() as work:
        return work.jobs.page(Query(due, limit=1)).total


def _sweep(
    ports: Ports,
    due: Callable[[Work, datetime], Sequence[Job]],
    change: Callable[[Job, datetime], Job],
    action: str,
) -> int:
    """Change due jobs batch by batch, one transaction each, so that a long list never holds locks for long."""
    done = 0
    while True:
        now = ports.clock.now()
        with ports.work() as work:
            batch = due(work, now)
            changed = work.jobs.save_many([change(job, now) for job in batch])
            pairs = zip(batch, changed, strict=True)
            work.audit.add(*(event for before, after in pairs for event in _changed(action, before, after, now)))
        done += len(batch)
        if len(batch) < BATCH:
            return done


def time_out(ports: Ports, csr_after: timedelta) -> int:
    """Fail jobs that have waited too long for their agent's CSR. Returns how many."""
    done = 0
    while True:
        now = ports.clock.now()
        with ports.work() as work:
            overdue = [job.id for job in work.jobs.due_timeouts(now - csr_after, BATCH)]
        for job_id in overdue:
            _time_out(ports, job_id, csr_after, now)
        done += len(overdue)
        if len(overdue) < BATCH:
            return done


def _time_out(ports: Ports, job_id: str, csr_after: timedelta, now: datetime) -> None:
    with ports.work() as work:
        held = lock(work, job_id)
        if held.job.status is not JobStatus.AWAITING_CSR:
            return
        error = _silence(held.job, csr_after)
        failed = fail(work, SYSTEM, held, now, error)
        audit_change(work, "job_timeout", held.job, failed, now)


def _silence(job: Job, csr_after: timedelta) -> str:
    if job.agent_id is None:
        return f"the device that enrolled has not come back within {csr_after}"
    return f"agent {job.agent_id} sent no CSR within {csr_after}: is it running and online?"


def audit_change(work: Work, action: str, before: Job, after: Job, now: datetime, actor: Actor = SYSTEM) -> None:
    """Record what became of a job."""
    work.audit.add(*_changed(action, before, after, now, actor))


def _changed(action: str, before: Job, after: Job, now: datetime, actor: Actor = SYSTEM) -> Iterator[AuditEvent]:
    """That a job waits for a CSR is told of its certificate, too, unless it did from the beginning."""
    old, new = before.status.value, after.status.value
    yield audit.event(actor, now, action, "job", before.id, old_status=old, new_status=new)
    if after.status is JobStatus.AWAITING_CSR:
        yield audit.event(SYSTEM, now, "renewal_awaiting_csr", "certificate", after.certificate_id, job_id=after.id)


def is_open(job: Job) -> bool:
    """Whether something will still happen to the job by itself."""
    return job.status in OPEN_JOB or (job.status is JobStatus.FAILED and job.next_attempt_at is not None)


def of_type(jobs: Sequence[Job], *types: JobType) -> tuple[Job, ...]:
    return tuple(job for job in jobs if job.type in types)


def open_of(work: Work, certificate_id: CertificateId) -> Sequence[Job]:
    return work.jobs.open_of(certificate_id)
