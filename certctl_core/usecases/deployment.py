"""Deployment: bringing the newest version to each target, and knowing what is installed and what is served.

    deploy:1  a deployment job is Running, the agent may not have heard of it (its hand-out lease is short)
    deploy:2  the agent has acknowledged it and works on it (its lease is long)
    deploy:3  the agent has installed the files and not reported it: doing it again changes nothing

An agent does what it was given before it asks for more. So a job that is Running while its agent asks for work is lost
to it: the answer that carried it never arrived, or the agent was started anew. It is offered again after the hand-out
time, which only keeps two polls in quick succession from both getting it. A job whose agent does not even ask is given
back when its lease has passed.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from attrs import evolve, frozen

from certctl_core.errors import CertctlError, Conflict, Forbidden, Invalid, NotFound, Refused, Unreadable
from certctl_core.ids import AgentId, CertificateId, JobId, TargetId, mint
from certctl_core.lifecycle import agent as agent_life
from certctl_core.lifecycle import job as life
from certctl_core.models.access import Actor, Principal
from certctl_core.models.catalog import ConfiguredTarget
from certctl_core.models.certificates import CertificateStatus, CertificateVersion, Deployment, ManagedCertificate
from certctl_core.models.jobs import ISSUING, Job, JobStatus, JobType, VerificationStatus
from certctl_core.models.records import AuditEvent
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import access, audit, catalog, jobs, notices, notifications, scope

RUNNING_LEASE: Final = timedelta(minutes=10)
"""How long an agent that acknowledged a deployment may take before it is given back."""

WORK_LIMIT: Final = 50
MAX_ATTEMPTS: Final = 5


@frozen
class WorkItem:
    """One thing for an agent to do. `target_config` is complete, secrets included: it goes to the key's owner only."""

    job: Job
    certificate: ManagedCertificate
    target: ConfiguredTarget | None
    target_config: Mapping[str, Any]


@frozen(kw_only=True)
class Verification:
    """What a probe of the target saw. The actual fingerprint is empty when the probe failed; then `error` says why."""

    target_id: TargetId
    expected_fingerprint: str
    actual_fingerprint: str
    verified: bool
    error: str = ""


def deploy(ports: Ports, caller: Principal, certificate_id: str, target_id: TargetId | None = None) -> tuple[Job, ...]:
    """Deploy the newest versions again, to one target or to all. Raises `Conflict` when nothing has been issued."""
    now = ports.clock.now()
    with ports.work() as work:
        certificate = scope.lock(work, caller, certificate_id)
        if target_id is not None and target_id not in certificate.target_ids:
            raise Invalid.field("target_id", f"{target_id} is not a target of {certificate.id}")
        if certificate.status in (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED):
            raise Conflict(f"cannot deploy {certificate.id}: it is {certificate.status.value}")
        opened: list[Job] = []
        for version in work.versions.latest_per_holder(certificate.id):
            opened += open_jobs(work, caller, certificate, version, now, only=target_id)
        if not opened:
            raise Conflict(
                f"cannot deploy {certificate.id}: nothing has been issued for its targets yet",
                hint="Renew the certificate; deployment follows by itself.",
            )
        audit.record(
            work,
            caller,
            now,
            "deployment_triggered",
            "certificate",
            certificate.id,
            common_name=certificate.common_name,
            target_id=target_id,
        )
    return tuple(opened)


def open_jobs(
    work: Work,
    actor: Actor,
    certificate: ManagedCertificate,
    version: CertificateVersion,
    now: datetime,
    only: TargetId | None = None,
) -> list[Job]:
    """One deployment job for each target of the version's key holder; older open ones give way. The caller holds the
    certificate."""
    targets = work.targets.many(certificate.target_ids)
    open_now = work.jobs.open_of(certificate.id)
    replaced = replace_jobs(actor, certificate, version, now, targets, open_now, only)
    work.jobs.save_many(replaced.cancelled)
    work.jobs.add_many(replaced.opened)
    work.audit.add(*replaced.events)
    return replaced.opened


@frozen
class Replaced:
    """Deployment jobs that begin, those that give way to them, and the events that say so."""

    cancelled: list[Job]
    opened: list[Job]
    events: list[AuditEvent]


def replace_jobs(
    actor: Actor,
    certificate: ManagedCertificate,
    version: CertificateVersion,
    now: datetime,
    targets: Mapping[str, ConfiguredTarget],
    open_now: Sequence[Job],
    only: TargetId | None = None,
) -> Replaced:
    """What `open_jobs` is to write, of targets and open jobs read before. Jobs that give way are to be saved first."""
    wanted = [
        target
        for identity in certificate.target_ids
        if (target := targets.get(identity)) is not None
        and target.agent_id == version.agent_id
        and target.enabled
        and target.retired_at is None
        and only in (None, target.id)
    ]
    places = {target.id for target in wanted}
    cancelled = [
        life.cancel(old, now, "a newer deployment took its place")
        for old in open_now
        if old.type is JobType.DEPLOYMENT and old.target_id in places
    ]
    opened = [_deployment_job(certificate.id, target, version, actor, now) for target in wanted]
    created = audit.event(
        actor,
        now,
        "deployment_jobs_created",
        "certificate",
        certificate.id,
        jobs=[job.id for job in opened],
        serial=version.serial_number,
    )
    return Replaced(cancelled, opened, [created] if opened else [])


def _deployment_job(
    certificate_id: CertificateId, target: ConfiguredTarget, version: CertificateVersion, actor: Actor, now: datetime
) -> Job:
    return Job(
        id=JobId(mint("job", now)),
        type=JobType.DEPLOYMENT,
        certificate_id=certificate_id,
        target_id=target.id,
        agent_id=target.agent_id,
        version_id=version.id,
        max_attempts=MAX_ATTEMPTS,
        requested_by=actor.name,
        scheduled_at=now,
        created_at=now,
        updated_at=now,
    )


def work(
    ports: Ports, caller: Principal, agent_id: AgentId, *, hand_out: timedelta = timedelta(seconds=30)
) -> tuple[WorkItem, ...]:
    """What the agent should do now: CSRs it is asked for, and deployments, which are claimed for it for `hand_out`.

    Raises `Gone` for a retired agent and `Forbidden` for somebody else's.
    """
    access.must_act_for(caller, agent_id)
    has_work = ports.together.ask("polls", partial(_have_work, ports, hand_out), agent_id)
    if isinstance(has_work, CertctlError):
        raise has_work
    if not has_work:
        return ()
    now = ports.clock.now()
    with ports.work() as open_work:
        asked = open_work.jobs.awaiting_csr(agent_id, now, WORK_LIMIT)
        claimed = open_work.jobs.claim_deployments(agent_id, now, hand_out, WORK_LIMIT)
        if not asked and not claimed:
            return ()
        certificates = open_work.certificates.many({job.certificate_id for job in (*asked, *claimed)})
        targets = open_work.targets.many({job.target_id for job in claimed if job.target_id})
        items = [WorkItem(job, certificates[job.certificate_id], None, {}) for job in asked]
        deployments = [
            item
            for job in claimed
            if (item := _still_wanted(open_work, caller, job, certificates[job.certificate_id], targets, now))
        ]
        for item in deployments:
            audit.record(
                open_work,
                caller,
                now,
                "deployment_job_dispatched",
                "certificate",
                item.job.certificate_id,
                job_id=item.job.id,
                target_id=item.job.target_id,
            )
    ports.tripwire("deploy:1")
    return (*items, *(ready for item in deployments if (ready := _with_settings(ports, caller, item))))


def _have_work(ports: Ports, hand_out: timedelta, agent_ids: Sequence[AgentId]) -> Sequence[bool | CertctlError]:
    """Whether there may be something for each to do, or why it is not to ask. Most polls end here."""
    with ports.work() as open_work:
        agents = open_work.agents.many(agent_ids)
        busy = open_work.jobs.with_work(agent_ids, ports.clock.now(), hand_out)
    return [access.unfit(agents, agent_id) or agent_id in busy for agent_id in agent_ids]


def _still_wanted(
    open_work: Work,
    caller: Principal,
    job: Job,
    certificate: ManagedCertificate,
    targets: Mapping[str, ConfiguredTarget],
    now: datetime,
) -> WorkItem | None:
    """The item of a job just claimed. What is no longer to be done, or never comes to an end, ends here instead."""
    target = targets.get(job.target_id) if job.target_id else None
    if target is None or target.id not in certificate.target_ids:
        why = "the target was taken from the certificate"
    elif target.agent_id != job.agent_id:
        why = f"the target moved to agent {target.agent_id}"
    elif not target.enabled or target.retired_at is not None:
        why = "the target is disabled"
    else:
        try:
            jobs.must_not_be_hopeless(job)
        except Refused as hopeless:
            jobs.fail(open_work, caller, jobs.Locked(certificate, job), now, hopeless.message, final=True)
            return None
        return WorkItem(job, certificate, target, {})
    open_work.jobs.save(life.cancel(job, now, why))
    audit.record(open_work, caller, now, "deployment_job_cancelled", "job", job.id, reason=why)
    return None


def _with_settings(ports: Ports, caller: Principal, item: WorkItem) -> WorkItem | None:
    """The item complete. Settings that cannot be opened fail their own job and no other."""
    if item.target is None:
        return item
    try:
        return evolve(item, target_config=catalog.full_config(ports, item.target))
    except Unreadable as error:
        now = ports.clock.now()
        with ports.work() as open_work:
            held = jobs.lock(open_work, item.job.id)
            if held.job.status is JobStatus.RUNNING:
                said = f"the settings of target {item.target.id} cannot be opened: {error.message}"
                jobs.fail(open_work, caller, held, now, said)
        return None


def pick_up(ports: Ports, caller: Principal, agent_id: AgentId, certificate_id: str) -> CertificateVersion:
    """The newest version whose key this agent holds. Raises `NotFound` when there is none."""
    access.must_act_for(caller, agent_id)
    now = ports.clock.now()
    with ports.work() as open_work:
        agent_life.must_be_active(open_work.agents.get(agent_id))
        version = open_work.versions.latest(CertificateId(certificate_id), agent_id)
        if version is None:
            raise NotFound(
                f"agent {agent_id} holds no key of a certificate {certificate_id!r}",
                hint="The certificate is picked up by the agent that sent its CSR.",
            )
        audit.record(
            open_work,
            caller,
            now,
            "certificate_retrieved",
            "certificate",
            certificate_id,
            version=version.serial_number,
        )
    return version


def report(ports: Ports, caller: Principal, agent_id: AgentId, job_id: str, status: JobStatus, error: str = "") -> Job:
    """An agent says how its job goes. A report about a job that has ended changes nothing: reports may come late,
    twice or out of order. Raises `Forbidden` for another agent's job and `Invalid` for a status no agent may set."""
    access.must_act_for(caller, agent_id)
    if status not in (JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.FAILED):
        raise Invalid.field("status", f"an agent reports Running, Completed or Failed, not {status.value}")
    now = ports.clock.now()
    with ports.work() as open_work:
        held = jobs.lock(open_work, job_id)
        if held.job.agent_id != agent_id:
            raise Forbidden(f"job {job_id} belongs to another agent")
        after = _apply(open_work, caller, held, now, status, error)
        if after is not held.job:
            audit.record(open_work, caller, now, "job_status_reported", "job", job_id, status=status.value, error=error)
    if held.job.status is JobStatus.RUNNING and after.status is not JobStatus.RUNNING:
        took = now - (held.job.started_at or held.job.created_at)
        ports.meter.deployed("completed" if after.status is JobStatus.COMPLETED else "failed", took)
    ports.tripwire("deploy:2" if status is JobStatus.RUNNING else "deploy:3")
    return after


def _apply(open_work: Work, caller: Principal, held: jobs.Locked, now: datetime, status: JobStatus, error: str) -> Job:
    job = held.job
    if job.type in ISSUING:
        # The control plane completes issuing jobs itself; all an agent can say is that it could make no CSR.
        if status is JobStatus.FAILED and job.status is JobStatus.AWAITING_CSR:
            return jobs.fail(open_work, caller, held, now, error or "the agent gave no reason")
        return job
    if job.status is JobStatus.PENDING and status is JobStatus.RUNNING:
        # Given back before the agent came to it, because it had much to do before: it has it again.
        job = life.claim(job, now, RUNNING_LEASE)
    if job.status is not JobStatus.RUNNING:
        return job
    if status is JobStatus.RUNNING:
        return open_work.jobs.save(evolve(job, acknowledged_at=now, lease_until=now + RUNNING_LEASE, updated_at=now))
    if status is JobStatus.FAILED:
        _remember(open_work, job, last_error=error)
        return jobs.fail(open_work, caller, held, now, error or "the agent gave no reason")
    return _completed(open_work, caller, held, now)


def _completed(open_work: Work, caller: Principal, held: jobs.Locked, now: datetime) -> Job:
    job = open_work.jobs.save(life.complete(held.job, now))
    certificate = open_work.certificates.save(evolve(held.certificate, last_deployment_at=now, updated_at=now))
    if _was_given_up_before(open_work, job):
        target = open_work.targets.find(job.target_id) if job.target_id else None
        notifications.owe(open_work, now, notices.deployed_after_all(certificate, target))
    if job.version_id is not None:
        installed = open_work.versions.get(job.version_id)
        _remember(open_work, job, installed_fingerprint=installed.fingerprint_sha256, installed_at=now, last_error="")
    audit.record(
        open_work,
        caller,
        now,
        "deployment_job_completed",
        "certificate",
        job.certificate_id,
        job_id=job.id,
        target_id=job.target_id,
    )
    return job


def _was_given_up_before(open_work: Work, job: Job) -> bool:
    """Whether the last thing the owner heard of this target was that it failed: this job had used up its attempts and
    was revived, or it follows one that had."""
    if job.target_id is None or 1 < job.attempts <= job.max_attempts:
        return False
    known = open_work.deployments.find(job.certificate_id, job.target_id)
    return known is not None and known.last_error != ""


def _remember(open_work: Work, job: Job, **facts: Any) -> None:
    if job.target_id is None:
        return
    known = open_work.deployments.find(job.certificate_id, job.target_id)
    open_work.deployments.save(
        evolve(known or Deployment(certificate_id=job.certificate_id, target_id=job.target_id), **facts)
    )


def verify(ports: Ports, caller: Principal, job_id: str, asked: Verification) -> Job:
    """Record what a probe of the target saw. Raises `Forbidden` for another agent's job."""
    access.must_be_able_to_act(caller)
    if asked.verified and asked.actual_fingerprint.lower() != asked.expected_fingerprint.lower():
        raise Invalid.field("verified", "cannot be true while the fingerprints differ")
    if not asked.actual_fingerprint and not asked.error:
        raise Invalid.field("actual_fingerprint", "must not be empty unless error says why the probe failed")
    now = ports.clock.now()
    with ports.work() as open_work:
        held = jobs.lock(open_work, job_id)
        access.must_act_for(caller, held.job.agent_id or "")
        if held.job.target_id != asked.target_id:
            raise Invalid.field("target_id", f"job {job_id} deploys to {held.job.target_id}")
        job = open_work.jobs.save(
            evolve(
                held.job,
                verification_status=VerificationStatus.SUCCESS if asked.verified else VerificationStatus.FAILED,
                verified_at=now,
                verification_fingerprint=asked.actual_fingerprint.lower(),
                verification_error=asked.error,
                updated_at=now,
            )
        )
        if asked.actual_fingerprint:
            _remember(open_work, job, served_fingerprint=asked.actual_fingerprint.lower(), served_at=now)
        audit.record(
            open_work,
            caller,
            now,
            "job_verification_success" if asked.verified else "job_verification_failed",
            "job",
            job.id,
            target_id=asked.target_id,
            expected_fingerprint=asked.expected_fingerprint,
            actual_fingerprint=asked.actual_fingerprint,
            error=asked.error,
        )
    return job
