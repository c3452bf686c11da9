"""Recording: what a CA answered, and everything that follows from it, in one transaction.

The answers of a batch are recorded together, in a constant number of statements. When the database takes exception to
one of them, a serial number that is on record already for example, they are recorded one by one, and only that one
fails.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import define, evolve, field, frozen

from certctl_core.errors import CertctlError, Duplicate, Refused, UpstreamRejected, UpstreamUnavailable
from certctl_core.ids import AgentId, CertificateId, JobId, VersionId, mint
from certctl_core.lifecycle import certificate as life
from certctl_core.lifecycle import job as job_life
from certctl_core.lifecycle.certificate import CERTIFICATE, CertificateEvent
from certctl_core.models.access import SYSTEM
from certctl_core.models.catalog import ConfiguredTarget, RenewalPolicy
from certctl_core.models.certificates import (
    AttemptStatus,
    CertificateStatus,
    CertificateVersion,
    IssuanceAttempt,
    ManagedCertificate,
)
from certctl_core.models.jobs import ISSUING, Job, JobStatus, JobType
from certctl_core.models.records import AuditEvent
from certctl_core.pki import keys, reading
from certctl_core.pki.plan import LeafPlan
from certctl_core.policy import renewal as renewal_policy
from certctl_core.policy import schedule
from certctl_core.policy.holders import holders_among
from certctl_core.ports import Ports
from certctl_core.ports.issuer import Issued, Ordered
from certctl_core.ports.store import Work
from certctl_core.usecases import audit, compliance, deployment, jobs, notices, notifications, revocation
from certctl_core.usecases.notifications import Notice
from certctl_core.usecases.orders import Order

POLL_PAUSE: Final = timedelta(seconds=30)
SHORTEST_POLL_PAUSE: Final = timedelta(seconds=5)
LONGEST_POLL_PAUSE: Final = timedelta(days=1)
ORDER_PATIENCE: Final = timedelta(days=7)
"""How long a CA may take to fill an order before it is given up and another one placed."""


@frozen
class Answer:
    """What became of asking the CA. `given` is None when it was not asked: somebody else should. `version` is what is
    made of a certificate that was given, once it has been checked."""

    order: Order
    given: Issued | Ordered | CertctlError | None
    version: CertificateVersion | None = None


@frozen
class Outcome:
    """How the job stands after its answer was recorded; `version` when there is one, `error` when it failed."""

    job: Job
    version: CertificateVersion | None = None
    error: CertctlError | None = None


def record(ports: Ports, answers: Sequence[Answer]) -> Sequence[Outcome]:
    """Write down the answers, one outcome for each. Raises `Conflict` and `UpstreamUnavailable` when the database does
    not let it, which says nothing about the attempts."""
    issued = [_Issued(answer.order, answer.version) for answer in answers if answer.version is not None]
    outcomes = iter(_recorded_in_turn(ports, issued))
    return [next(outcomes) if answer.version is not None else _recorded_otherwise(ports, answer) for answer in answers]


def _recorded_in_turn(ports: Ports, issued: Sequence["_Issued"]) -> Sequence[Outcome]:
    """Those of one certificate, which has several key holders, one after the other: each meets what the one before it
    left."""
    turns: list[list[_Issued]] = []
    taken: Counter[CertificateId] = Counter()
    for each in issued:
        turn = taken[each.order.certificate.id]
        taken[each.order.certificate.id] += 1
        turns += [[]] if turn == len(turns) else []
        turns[turn].append(each)
    outcomes = {id(each): outcome for turn in turns for each, outcome in zip(turn, _recorded(ports, turn), strict=True)}
    return [outcomes[id(each)] for each in issued]


def _recorded(ports: Ports, issued: Sequence["_Issued"]) -> Sequence[Outcome]:
    try:
        return _record(ports, issued)
    except Duplicate:
        if len(issued) > 1:
            return [outcome for each in issued for outcome in _recorded(ports, [each])]
        rejected = UpstreamRejected("the CA returned a certificate that is on record already")
        return [record_failure(ports, issued[0].order.job.id, issued[0].order, rejected)]


def _recorded_otherwise(ports: Ports, answer: Answer) -> Outcome:
    order = answer.order
    if isinstance(answer.given, CertctlError):
        return record_failure(ports, order.job.id, order, answer.given)
    if isinstance(answer.given, Ordered):
        return _record_ordered(ports, order, answer.given)
    with ports.work() as work:
        held = jobs.lock(work, order.job.id)
        if not _still_held(held.job, order):
            return Outcome(held.job)
        return Outcome(work.jobs.save(job_life.release(held.job, ports.clock.now())))


# --- a certificate came -----------------------------------------------------------------------------------------------


@define
class _Changes:
    """What is to be written about a batch, sent together."""

    attempts: list[IssuanceAttempt] = field(factory=list)
    certificates: list[ManagedCertificate] = field(factory=list)
    ended: list[Job] = field(factory=list)
    opened: list[Job] = field(factory=list)
    events: list[AuditEvent] = field(factory=list)
    notices: list[Notice] = field(factory=list)

    def write(self, work: Work, now: datetime) -> None:
        """Jobs that end go first: they give up the places of those that begin."""
        work.attempts.save_many(self.attempts)
        work.certificates.save_many(self.certificates)
        work.jobs.save_many(self.ended)
        work.jobs.add_many(self.opened)
        work.audit.add(*self.events)
        notifications.owe(work, now, *self.notices)


@frozen
class _Issued:
    order: Order
    version: CertificateVersion


@frozen
class _Found:
    """An answer and what it meets now: certificate, job and attempt, held."""

    held: jobs.Locked
    attempt: IssuanceAttempt
    version: CertificateVersion

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for it. It exists all the same."""
        job, certificate = self.held.job, self.held.certificate
        is_over = certificate.status in (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED)
        return job.attempt_id == self.attempt.id and job.status is not JobStatus.CANCELLED and not is_over


def _record(ports: Ports, issued: Sequence[_Issued]) -> Sequence[Outcome]:
    now = ports.clock.now()
    with ports.work() as work:
        met = _meet(work, issued)
        new = [found for found in met if found.attempt.status is not AttemptStatus.ISSUED]
        work.versions.add_many([found.version for found in new])
        changes = _Changes()
        changes.attempts += [_answered(found.attempt, now) for found in new]
        for found in new:
            if not found.is_wanted:
                _put_on_record(work, changes, found, now)
        completed = _write(work, changes, [found for found in new if found.is_wanted], now)
        return [
            _known_already(work, found)
            if found.attempt.status is AttemptStatus.ISSUED
            else Outcome(completed.get(found.held.job.id, found.held.job), found.version if found.is_wanted else None)
            for found in met
        ]


def record_with_order(work: Work, answers: Sequence[Answer], now: datetime) -> Sequence[Outcome]:
    """Write down certificates together with their orders, which are not on record yet. The caller holds certificates
    and jobs, each certificate once. Raises `Duplicate` when the database takes exception to one of them."""
    found = [
        _Found(jobs.Locked(answer.order.certificate, answer.order.job), answer.order.attempt, answer.version)
        for answer in answers
        if answer.version is not None
    ]
    work.attempts.add_many([_answered(each.attempt, now) for each in found])
    work.versions.add_many([each.version for each in found])
    completed = _write(work, _Changes(), found, now)
    return [Outcome(completed[each.held.job.id], each.version) for each in found]


def _answered(attempt: IssuanceAttempt, now: datetime) -> IssuanceAttempt:
    return evolve(attempt, status=AttemptStatus.ISSUED, error="", finished_at=now)


def _write(work: Work, changes: _Changes, wanted: Sequence[_Found], now: datetime) -> Mapping[JobId, Job]:
    """Everything that follows from versions that are on record and waited for, with other changes; the jobs that are
    done now."""
    surroundings = _Surroundings.read(work, wanted)
    completed = {found.held.job.id: _complete(changes, surroundings, found, now) for found in wanted}
    judged = compliance.judge(work, compliance.in_force(work), changes.certificates, now)
    changes.certificates = list(judged.certificates)
    changes.write(work, now)
    compliance.record(work, SYSTEM, judged)
    return completed


def _meet(work: Work, issued: Sequence[_Issued]) -> Sequence[_Found]:
    """Neither a certificate with an attempt nor an open job is ever removed, so all of them are there."""
    certificates = work.certificates.lock_many([each.order.certificate.id for each in issued])
    held_jobs = work.jobs.lock_many([each.order.job.id for each in issued])
    attempts = work.attempts.lock_many([each.order.attempt.id for each in issued])
    return [
        _Found(
            jobs.Locked(certificates[each.order.certificate.id], held_jobs[each.order.job.id]),
            attempts[each.order.attempt.id],
            each.version,
        )
        for each in issued
    ]


def _known_already(work: Work, found: _Found) -> Outcome:
    """Our lease had lapsed, and somebody else has recorded it meanwhile."""
    job = found.held.job
    return Outcome(job, work.versions.get(job.version_id) if job.version_id else None)


def version_of(order: Order, given: Issued, seen: LeafPlan, now: datetime) -> CertificateVersion:
    """The version that a certificate, which says what `seen` says, becomes when it is recorded."""
    attempt, key = order.attempt, keys.describe(seen.public_key)
    return CertificateVersion(
        id=VersionId(mint("certver", now)),
        certificate_id=attempt.certificate_id,
        generation=attempt.generation,
        attempt_id=attempt.id,
        job_id=attempt.job_id,
        agent_id=attempt.agent_id,
        issuer_id=attempt.issuer_id,
        serial_number=seen.serial_number,
        not_before=seen.not_before,
        not_after=seen.not_after,
        fingerprint_sha256=reading.fingerprint(given.certificate),
        certificate=given.certificate,
        chain=given.chain,
        csr=attempt.csr,
        key_algorithm=key.algorithm,
        key_size=key.size,
        authority=reading.authority_of(given.certificate),
        created_at=now,
    )


def _put_on_record(work: Work, changes: _Changes, found: _Found, now: datetime) -> None:
    """Nobody waits for this version any more. It exists all the same: it can be found, and revoked."""
    certificate = found.held.certificate
    if certificate.status is CertificateStatus.REVOKED and certificate.revocation_reason is not None:
        revocation.enter(work, SYSTEM, found.version, certificate.revocation_reason, now)
    changes.events.append(
        audit.event(
            SYSTEM,
            now,
            "unwanted_certificate_recorded",
            "certificate",
            certificate.id,
            job_id=found.held.job.id,
            serial=found.version.serial_number,
            fingerprint=found.version.fingerprint_sha256,
            certificate_status=certificate.status.value,
        )
    )


@frozen
class _Surroundings:
    """What decides about the certificates that were issued, read in one statement for each kind of thing.

    `versions` and `issuing` are there for certificates with other key holders only: all that is said about the others
    follows from the version just issued.
    """

    targets: Mapping[str, ConfiguredTarget]
    policies: Mapping[str, RenewalPolicy]
    open_jobs: Mapping[CertificateId, Sequence[Job]]
    versions: Mapping[CertificateId, Sequence[CertificateVersion]]
    issuing: Mapping[CertificateId, Sequence[Job]]

    @classmethod
    def read(cls, work: Work, issued: Sequence[_Found]) -> "_Surroundings":
        certificates = [found.held.certificate for found in issued]
        targets = work.targets.many({target for certificate in certificates for target in certificate.target_ids})
        shared = [
            found.version.certificate_id
            for found in issued
            if holders_among(targets, found.held.certificate) != _holder(found.version)
        ]
        return cls(
            targets,
            work.renewal_policies.many({certificate.renewal_policy_id for certificate in certificates}),
            work.jobs.open_of_many([certificate.id for certificate in certificates]) if certificates else {},
            work.versions.latest_per_holder_many(shared) if shared else {},
            work.jobs.newest_issuing(shared) if shared else {},
        )


def _holder(version: CertificateVersion) -> tuple[AgentId, ...]:
    """Who has its key, among agents: a device that enrolled is none."""
    return () if version.agent_id is None else (version.agent_id,)


def _complete(changes: _Changes, seen: _Surroundings, found: _Found, now: datetime) -> Job:
    """The job is done, the certificate has a new version, which is to be deployed."""
    version = found.version
    job = evolve(job_life.complete(found.held.job, now), version_id=version.id)
    certificate = _renewed(seen, found, now)
    if certificate.status is CertificateStatus.FAILED:
        changes.notices.append(notices.renewal_failed(certificate, certificate.status_reason))
    elif certificate.status is CertificateStatus.ACTIVE and job.type is JobType.RENEWAL:
        changes.notices.append(notices.renewed(certificate, version))
    deployments = deployment.replace_jobs(
        SYSTEM, certificate, version, now, seen.targets, seen.open_jobs.get(certificate.id, ())
    )
    changes.certificates.append(certificate)
    changes.ended += [job, *deployments.cancelled]
    changes.opened += deployments.opened
    changes.events.append(
        audit.event(
            SYSTEM,
            now,
            "renewal_job_completed",
            "certificate",
            certificate.id,
            job_id=job.id,
            serial=version.serial_number,
            fingerprint=version.fingerprint_sha256,
            not_after=version.not_after.isoformat(),
        )
    )
    changes.events += deployments.events
    return evolve(job, revision=job.revision + 1)


def _renewed(seen: _Surroundings, found: _Found, now: datetime) -> ManagedCertificate:
    """The certificate with a new version recorded. It stays in renewal while another key holder's job is open."""
    certificate, version = found.held.certificate, found.version
    holders = holders_among(seen.targets, certificate)
    latest = seen.versions.get(certificate.id, (version,))
    newest = [each for each in latest if each.agent_id in holders] or latest
    first_to_end = min(newest, key=lambda each: each.not_after)
    policy = seen.policies[certificate.renewal_policy_id]
    scheduled = schedule.issued(certificate, policy, first_to_end.not_before, first_to_end.not_after, now)
    renewed = evolve(scheduled, last_renewal_at=now, updated_at=now)
    others = (job for job in seen.open_jobs.get(certificate.id, ()) if job.id != found.held.job.id)
    if any(job.type in ISSUING for job in others):
        return evolve(renewed, renew_at=None)
    reason = _left_out(seen, found, holders)
    if reason and CERTIFICATE.allows(renewed.status, CertificateEvent.ABANDON):
        failed = life.step(renewed, CertificateEvent.ABANDON, now, reason)
        return renewal_policy.after_failure(failed, policy, now)
    return life.step(renewed, CertificateEvent.ISSUE, now)


def _left_out(seen: _Surroundings, found: _Found, holders: Sequence[AgentId]) -> str:
    """Which other key holder's job of this round gave up, and why; nothing when each has its version."""
    last = {job.agent_id: job for job in seen.issuing.get(found.version.certificate_id, ())}
    for holder in holders:
        job = last.get(holder)
        if job is None or job.id == found.held.job.id:
            continue
        if job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
            return f"agent {holder} got no certificate: {job.last_error}"
    return ""


# --- no certificate yet, or none at all -------------------------------------------------------------------------------


def _record_ordered(ports: Ports, order: Order, answer: Ordered) -> Outcome:
    """The CA will answer later: remember its order, and look again under a new claim. It has failed when it has been
    looked at for too long."""
    now = ports.clock.now()
    if now - order.attempt.created_at > ORDER_PATIENCE:
        late = UpstreamRejected(f"the CA has not filled order {answer.order_id} within {ORDER_PATIENCE.days} days")
        return record_failure(ports, order.job.id, order, late)
    with ports.work() as work:
        held = jobs.lock(work, order.job.id)
        attempt = work.attempts.lock(order.attempt.id)
        if attempt.status in (AttemptStatus.REQUESTED, AttemptStatus.ORDERED):
            work.attempts.save(evolve(attempt, status=AttemptStatus.ORDERED, upstream_order_id=answer.order_id))
        if not _still_held(held.job, order):
            return Outcome(held.job)
        wanted = answer.look_again_at or now + POLL_PAUSE
        look_again_at = min(max(wanted, now + SHORTEST_POLL_PAUSE), now + LONGEST_POLL_PAUSE)
        waiting = evolve(job_life.release(held.job, now), scheduled_at=look_again_at, attempts=held.job.attempts - 1)
        return Outcome(work.jobs.save(waiting))


def _still_held(job: Job, order: Order) -> bool:
    """Whether the job is still under the claim that the order was opened under."""
    return job.status is JobStatus.RUNNING and job.started_at == order.job.started_at


def record_failure(ports: Ports, job_id: JobId, order: Order | None, error: CertctlError) -> Outcome:
    """Write down why there is no certificate. `order` is None when none could be opened. A CA that does not answer
    leaves the attempt open: it is asked for the same certificate again."""
    now = ports.clock.now()
    with ports.work() as work:
        held = jobs.lock(work, job_id)
        if held.job.status is not JobStatus.RUNNING or not (order is None or _still_held(held.job, order)):
            return Outcome(held.job, error=error)
        if not isinstance(error, UpstreamUnavailable) and held.job.attempt_id is not None:
            attempt = work.attempts.lock(held.job.attempt_id)
            work.attempts.save(evolve(attempt, status=AttemptStatus.FAILED, error=str(error), finished_at=now))
        # What the profile refuses today it refuses again in a minute: only a change by an operator helps.
        job = jobs.fail(work, SYSTEM, held, now, _text(error), final=isinstance(error, Refused))
    return Outcome(job, error=error)


def _text(error: CertctlError) -> str:
    reasons = getattr(error, "reasons", ())
    return "; ".join((error.message, *reasons))
