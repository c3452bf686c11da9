"""Approvals: look at what waits for somebody's agreement, approve it, reject it, let it expire.

Deciding takes the certificate, its job and the request, in this order, as everything that ends a job does. So of two
deciders one is told that it is decided already, and a decision meets an expiry, a revocation or a new renewal either
wholly before or wholly after it.
"""

from datetime import datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from certctl_core.errors import Conflict, Forbidden, NotFound
from certctl_core.lifecycle import approval as life
from certctl_core.lifecycle import job as job_life
from certctl_core.models.access import SYSTEM, Actor, Principal
from certctl_core.models.approvals import ApprovalRequest, ApprovalState
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.jobs import Job, JobStatus
from certctl_core.policy import approval as policy
from certctl_core.ports import Ports
from certctl_core.ports.store import Is, Page, Query, Where, Work
from certctl_core.usecases import consent, jobs, scope
from certctl_core.usecases.consent import Asked, Consent

BATCH: Final = 200


def get(ports: Ports, caller: Actor, approval_id: str) -> ApprovalRequest:
    """Raises `NotFound` for what does not exist or is out of reach."""
    with ports.work() as work:
        request = work.approvals.get(approval_id)
        _must_see(caller, work.certificates.get(request.certificate_id), approval_id)
    return request


def page(ports: Ports, caller: Actor, query: Query) -> Page[ApprovalRequest]:
    with ports.work() as work:
        return work.approvals.page(evolve(query, where=(*query.where, *scope.certificates(caller))))


# --- deciding ---------------------------------------------------------------------------------------------------------


def approve(ports: Ports, caller: Principal, approval_id: str, note: str = "") -> ApprovalRequest:
    """Let the job go on with exactly what the request pins.

    Raises `Forbidden` for whoever asked for it, ordered it or owns the certificate, `IllegalTransition` when it is
    decided or expired, and `Conflict` when something else would be issued by now: then another request is made.
    """
    now = ports.clock.now()
    with ports.work() as work:
        decided = _approve(ports, work, caller, _hold(work, caller, approval_id), note, now)
    return _sound(decided)


def approve_job(ports: Ports, caller: Principal, job_id: str, note: str = "") -> ApprovalRequest:
    """As `approve`, for the request that a job waits for. Raises `IllegalTransition` when it waits for none."""
    now = ports.clock.now()
    with ports.work() as work:
        decided = _approve(ports, work, caller, _hold_of_job(work, caller, job_id), note, now)
    return _sound(decided)


def reject(ports: Ports, caller: Principal, approval_id: str, note: str = "") -> ApprovalRequest:
    """Cancel the job. Raises `Forbidden` for whoever asked for it, and `IllegalTransition` as `approve`."""
    now = ports.clock.now()
    with ports.work() as work:
        return _reject(work, caller, _hold(work, caller, approval_id), note, now)


def reject_job(ports: Ports, caller: Principal, job_id: str, note: str = "") -> ApprovalRequest:
    """As `reject`, for the request that a job waits for."""
    now = ports.clock.now()
    with ports.work() as work:
        return _reject(work, caller, _hold_of_job(work, caller, job_id), note, now)


@frozen
class _Held:
    """A request with its job and its certificate, all held."""

    certificate: ManagedCertificate
    job: Job
    request: ApprovalRequest


def _hold(work: Work, caller: Actor, approval_id: str) -> _Held:
    request = work.approvals.get(approval_id)
    certificate = _must_see(caller, work.certificates.lock(request.certificate_id), approval_id)
    return _Held(certificate, work.jobs.lock(request.job_id), work.approvals.lock(approval_id))


def _hold_of_job(work: Work, caller: Actor, job_id: str) -> _Held:
    held = jobs.lock_seen(work, caller, job_id)
    job_life.JOB.next(held.job.status, job_life.JobEvent.APPROVE)
    if held.job.approval_id is None:
        raise Conflict(f"job {job_id} has no approval request", hint="Cancel the job and renew the certificate.")
    return _Held(held.certificate, held.job, work.approvals.lock(held.job.approval_id))


def _must_see(caller: Actor, certificate: ManagedCertificate, approval_id: str) -> ManagedCertificate:
    if not scope.sees(caller, certificate):
        raise NotFound.of("approval request", approval_id)
    return certificate


def _approve(
    ports: Ports, work: Work, caller: Principal, held: _Held, note: str, now: datetime
) -> ApprovalRequest | Asked:
    """The request, approved; or the one that takes its place."""
    owner = work.owners.find(held.certificate.owner_id)
    if said := policy.objection(caller, held.request, owner):
        raise Forbidden(f"you cannot approve this: {said}", hint="Somebody else has to look at it and decide.")
    approved = life.approve(held.request, caller.name, now, note)
    job = job_life.approve(held.job, now)
    known = Consent.read(ports, work, [held.certificate], consent.profiles_of(work, [held.certificate]), [held.job])
    if not known.is_unchanged(held.certificate, held.job):
        asked = known.ask_again(held.certificate, held.job, now)
        work.jobs.save(asked.job)
        consent.write(work, [asked])
        return asked
    _record(work, caller, held, job, approved, now, "approved")
    return approved


def _sound(decided: ApprovalRequest | Asked) -> ApprovalRequest:
    if isinstance(decided, Asked):
        raise Conflict(
            f"{consent.OUTGROWN}: request {decided.request.id} has taken its place",
            hint=f"Look at request {decided.request.id} and decide about it.",
        )
    return decided


def _reject(work: Work, caller: Principal, held: _Held, note: str, now: datetime) -> ApprovalRequest:
    if policy.is_requester(caller, held.request):
        raise Forbidden("you cannot reject what you asked for yourself", hint="Cancel the job to take it back.")
    rejected = life.reject(held.request, caller.name, now, note)
    job_life.JOB.next(held.job.status, job_life.JobEvent.APPROVE)  # only what could be approved can be rejected
    because = f"rejected by {caller.name}"
    job = job_life.cancel(held.job, now, f"{because}: {note}" if note else because)
    _record(work, caller, held, job, rejected, now, "rejected")
    jobs.abandon_if_idle(work, held.certificate, now, job.last_error, on_purpose=True)
    return rejected


def _record(
    work: Work, caller: Actor, held: _Held, job: Job, request: ApprovalRequest, now: datetime, verdict: str
) -> None:
    work.jobs.save(job)
    work.approvals.save(request)
    work.audit.add(consent.event(caller, now, f"approval_{verdict}", request))
    jobs.audit_change(work, f"job_{verdict}", held.job, job, now, caller)


# --- expiring ---------------------------------------------------------------------------------------------------------


def expire(ports: Ports, after: timedelta) -> int:
    """Expire requests that nobody decided about for so long, and fail their jobs. Returns how many."""
    done = 0
    while True:
        now = ports.clock.now()
        overdue = (Where("state", ApprovalState.PENDING), Where("created_at", now - after, Is.BEFORE))
        with ports.work() as work:
            due = work.approvals.page(Query(overdue, limit=BATCH, count=False)).items
        for request in due:
            with ports.work() as work:
                _expire(work, _hold(work, SYSTEM, request.id), after, now)
        done += len(due)
        if len(due) < BATCH:
            return done


def _expire(work: Work, held: _Held, after: timedelta, now: datetime) -> None:
    if held.request.state is not ApprovalState.PENDING:
        return  # somebody has decided meanwhile
    expired = work.approvals.save(life.expire(held.request, now, f"nobody decided within {after}"))
    work.audit.add(consent.event(SYSTEM, now, "approval_expired", expired))
    if held.job.status is JobStatus.AWAITING_APPROVAL and held.job.approval_id == expired.id:
        locked = jobs.Locked(held.certificate, held.job)
        failed = jobs.fail(work, SYSTEM, locked, now, f"nobody approved it within {after}", final=True)
        jobs.audit_change(work, "job_timeout", held.job, failed, now)
