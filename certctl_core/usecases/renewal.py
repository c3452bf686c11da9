"""Renewal: on demand, and by the sweep that nobody has to remember.

A certificate is issued to key holders: the agents on whose hosts its targets are. Since a private key never leaves its
host, each holder makes its own key, so each gets an issuing job, a CSR and a version of its own.

Theory of operation. Certificates are renewed in batches of any size, one by hand being a batch of one. What decides
about a batch is read first (`_Circumstances`), then each certificate is judged with nothing but that, and what follows
is collected (`_Outcome`) and written: a constant number of statements, all in the transaction that holds the
certificates. A crash before its commit leaves everything as it was, `renew_at` included, so the next sweep does it;
after its commit the jobs are there and `renew_at` is not, so none does it twice. A second open job for a certificate
and key holder is refused by the database, whoever would add it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import define, evolve, field, frozen

from certctl_core.errors import CertctlError, Conflict
from certctl_core.ids import AgentId, CertificateId, JobId, mint
from certctl_core.lifecycle import certificate as life
from certctl_core.lifecycle import job as job_life
from certctl_core.lifecycle.certificate import CERTIFICATE, CertificateEvent
from certctl_core.models.access import SYSTEM, Actor, Principal
from certctl_core.models.catalog import CertificateProfile, ConfiguredTarget, RenewalPolicy
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.enrolment import is_renewed_by_device
from certctl_core.models.jobs import ISSUING, Job, JobStatus, JobType
from certctl_core.models.records import AuditEvent
from certctl_core.policy import renewal as policy_of_renewal
from certctl_core.policy.holders import holders_among
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import alerts, audit, consent, notices, notifications, scope
from certctl_core.usecases.consent import Asked, Consent
from certctl_core.usecases.notifications import Notice

BATCH: Final = 500
LOOK_AGAIN: Final = timedelta(days=1)
"""How soon a certificate that is due, and that nobody may renew by itself, is looked at again."""

PACE: Final = 1200
"""Renewals a minute that the schedule begins with one issuer unless told otherwise: a million certificates of 47 days
need 22."""

BREAKER_LIMIT: Final = 5
BREAKER_WINDOW: Final = timedelta(days=1)
"""A certificate that is issued again and again has something wrong with it that one more will not mend: after so many
for each of its key holders within this time it takes somebody who insists."""


@frozen
class Begun:
    """What became of a certificate that was to be renewed: the jobs that do it, or why there are none."""

    certificate: ManagedCertificate
    jobs: tuple[Job, ...] = ()
    problem: CertctlError | None = None


def renew(
    ports: Ports, caller: Principal, certificate_id: str, *, force: bool = False, reason: str = ""
) -> tuple[Job, ...]:
    """Issue or renew now, whatever the schedule says.

    A renewal that the schedule has begun, or that waits to try again after a failure, becomes the caller's: it goes on
    without waiting. One that somebody asked for and that is going on stands in the way, unless `force` starts it over.
    So does a certificate that was issued too often within a day.

    Raises `NotFound` for what the caller cannot see, `Conflict` for what stands in the way and when no agent could make
    the key; `IllegalTransition` for a revoked or archived certificate.
    """
    now = ports.clock.now()
    with ports.work() as work:
        held = scope.lock(work, caller, certificate_id)
        (begun,) = begin_many(ports, work, caller, (held,), now, force=force, reason=reason)
        if begun.problem is not None:
            raise begun.problem
    return begun.jobs


def begin_many(
    ports: Ports,
    work: Work,
    caller: Actor,
    certificates: Sequence[ManagedCertificate],
    now: datetime,
    *,
    force: bool = False,
    reason: str = "",
) -> tuple[Begun, ...]:
    """As `renew`, for many, in the open transaction: a constant number of statements, and an outcome for each in the
    order given. What cannot be renewed is not touched and keeps no other from it. The caller holds the certificates
    (`work.certificates.lock_many`) and has seen to it that they may be seen."""
    seen = _look(ports, work, certificates, now)
    outcome = _Outcome()
    begun = tuple(_ask(outcome, seen, caller, certificate, now, force, reason) for certificate in certificates)
    outcome.write(work, now)
    return begun


# --- what decides, and what follows -----------------------------------------------------------------------------------


@frozen
class _Circumstances:
    """What decides about a batch of certificates, read in one statement for each kind of thing."""

    policies: Mapping[str, RenewalPolicy]
    targets: Mapping[str, ConfiguredTarget]
    open_jobs: Mapping[CertificateId, Sequence[Job]]
    issued_lately: Mapping[CertificateId, int]
    consent: Consent

    def policy(self, certificate: ManagedCertificate) -> RenewalPolicy:
        return self.policies[certificate.renewal_policy_id]

    def holders(self, certificate: ManagedCertificate) -> tuple[AgentId, ...]:
        return holders_among(self.targets, certificate)

    def issuing(self, certificate: ManagedCertificate) -> tuple[Job, ...]:
        return tuple(job for job in self.open_jobs.get(certificate.id, ()) if job.type in ISSUING)

    def issued_too_often(self, certificate: ManagedCertificate) -> int:
        """How often it was issued lately if that is too often, else 0."""
        issued = self.issued_lately.get(certificate.id, 0)
        return issued if issued >= BREAKER_LIMIT * max(len(self.holders(certificate)), 1) else 0


def _look(ports: Ports, work: Work, certificates: Sequence[ManagedCertificate], now: datetime) -> _Circumstances:
    ids = [certificate.id for certificate in certificates]
    return _Circumstances(
        policies=work.renewal_policies.many({certificate.renewal_policy_id for certificate in certificates}),
        targets=work.targets.many({target for certificate in certificates for target in certificate.target_ids}),
        open_jobs=work.jobs.open_of_many(ids),
        issued_lately=work.attempts.issued_since_many(ids, now - BREAKER_WINDOW),
        consent=Consent.read(ports, work, certificates, consent.profiles_of(work, certificates)),
    )


@define
class _Outcome:
    """What is to be written about a batch, sent together."""

    certificates: list[ManagedCertificate] = field(factory=list)
    opened: list[Job] = field(factory=list)
    changed: list[Job] = field(factory=list)
    asked: list[Asked] = field(factory=list)
    events: list[AuditEvent] = field(factory=list)
    notices: list[Notice] = field(factory=list)

    def note(
        self, actor: Actor, now: datetime, action: str, certificate: ManagedCertificate, **details: object
    ) -> None:
        self.events.append(audit.event(actor, now, action, "certificate", certificate.id, **details))

    def write(self, work: Work, now: datetime, at: Callable[[], Mapping[CertificateId, datetime]] = dict) -> None:
        """Jobs that end go first: they give up the places of those that begin. `at` is asked last of all for when the
        jobs of certificates begin that do not begin at once: what it takes is held until the transaction ends."""
        work.jobs.save_many(self.changed)
        consent.withdraw(work, self.changed, now)
        work.certificates.save_many(self.certificates)
        work.audit.add(*self.events)
        notifications.owe(work, now, *self.notices)
        times = at()
        work.jobs.add_many([evolve(job, scheduled_at=times.get(job.certificate_id, now)) for job in self.opened])
        consent.write(work, self.asked)


# --- on demand --------------------------------------------------------------------------------------------------------


def _ask(
    outcome: _Outcome,
    seen: _Circumstances,
    caller: Actor,
    certificate: ManagedCertificate,
    now: datetime,
    force: bool,
    reason: str,
) -> Begun:
    try:
        _must_be_renewable(seen, certificate, force)
    except CertctlError as problem:
        return Begun(certificate, problem=problem)
    outcome.note(
        caller,
        now,
        "renewal_triggered",
        certificate,
        common_name=certificate.common_name,
        force=force,
        reason=reason,
    )
    if certificate.status is CertificateStatus.RENEWAL_IN_PROGRESS and not force:
        return Begun(certificate, _hurry(outcome, seen.issuing(certificate), now))
    if issued := seen.issued_too_often(certificate):
        outcome.note(caller, now, "renewal_breaker_overridden", certificate, issued=issued, reason=reason)
    return _begin(outcome, seen, caller, certificate, now)


def _must_be_renewable(seen: _Circumstances, certificate: ManagedCertificate, force: bool) -> None:
    if certificate.status is CertificateStatus.RENEWAL_IN_PROGRESS and not force:
        _must_be_joinable(seen, certificate)
        return
    if certificate.status is not CertificateStatus.RENEWAL_IN_PROGRESS:
        CERTIFICATE.next(certificate.status, CertificateEvent.RENEW)
    if is_renewed_by_device(certificate):
        raise Conflict(
            f"cannot renew {certificate.id}: its key is on the device that enrolled for it",
            hint=f"The device renews it by {certificate.source.value} re-enrolment.",
        )
    if not seen.holders(certificate):
        raise Conflict(
            f"cannot renew {certificate.id}: it has no target, so there is no agent to make its key",
            hint="Give the certificate at least one enabled target (target_ids), then renew again.",
        )
    if not force and (issued := seen.issued_too_often(certificate)):
        raise Conflict(
            f"cannot renew {certificate.id}: {issued} certificates were issued for it within a day",
            hint="Find out what asks for so many; renew with force, and a reason, to go on.",
        )


def _must_be_joinable(seen: _Circumstances, certificate: ManagedCertificate) -> None:
    under_way = seen.issuing(certificate)
    waits = any(job.status is JobStatus.FAILED for job in under_way)
    if not waits and any(job.requested_by != SYSTEM.name for job in under_way):
        raise Conflict(
            f"a renewal of {certificate.id} is already in progress",
            hint="Wait for its job, or renew with force to start over.",
        )


def _hurry(outcome: _Outcome, under_way: Iterable[Job], now: datetime) -> tuple[Job, ...]:
    """The jobs of a renewal under way, those that wait for their time or to try again trying now."""
    jobs = tuple(_hurried(job, now) for job in under_way)
    outcome.changed += [job for job, before in zip(jobs, under_way, strict=True) if job is not before]
    return jobs


def _hurried(job: Job, now: datetime) -> Job:
    if job.status is JobStatus.FAILED:
        return job_life.retry(job, now)
    is_waiting = job.status is JobStatus.AWAITING_CSR and job.scheduled_at > now
    return evolve(job, scheduled_at=now, updated_at=now) if is_waiting else job


def _begin(
    outcome: _Outcome,
    seen: _Circumstances,
    actor: Actor,
    certificate: ManagedCertificate,
    now: datetime,
) -> Begun:
    """A new round: what was under way is over, each key holder gets a job."""
    outcome.changed += [
        job_life.cancel(job, now, f"replaced by a new renewal of {actor.name}") for job in seen.issuing(certificate)
    ]
    if certificate.status is CertificateStatus.RENEWAL_IN_PROGRESS:
        certificate = life.step(certificate, CertificateEvent.ABANDON, now)
    policy = seen.policy(certificate)
    jobs = tuple(_job(certificate, policy, holder, actor, now) for holder in seen.holders(certificate))
    if seen.consent.is_needed(certificate):
        asked = [seen.consent.ask(certificate, job, actor, now) for job in jobs]
        outcome.asked += asked
        jobs = tuple(each.job for each in asked)
    for job in jobs:
        outcome.note(actor, now, "renewal_job_created", certificate, job_id=job.id, agent_id=job.agent_id)
    begun = life.step(certificate, CertificateEvent.RENEW, now, renew_at=None)
    outcome.opened += jobs
    outcome.certificates.append(begun)
    return Begun(begun, jobs)


def _job(certificate: ManagedCertificate, policy: RenewalPolicy, holder: AgentId, actor: Actor, now: datetime) -> Job:
    return Job(
        id=JobId(mint("job", now)),
        type=JobType.ISSUANCE if certificate.expires_at is None else JobType.RENEWAL,
        certificate_id=certificate.id,
        agent_id=holder,
        status=JobStatus.AWAITING_CSR,
        max_attempts=max(1, policy.max_retries),
        requested_by=actor.name,
        scheduled_at=now,
        created_at=now,
        updated_at=now,
    )


# --- by itself --------------------------------------------------------------------------------------------------------


def sweep(ports: Ports, pace: int = PACE) -> int:
    """Look at every certificate whose time has come. `pace` is how many renewals a minute are begun with one issuer.
    Returns how many were looked at. Several may sweep at once: none waits for what another holds."""
    done = 0
    while True:
        now = ports.clock.now()
        with ports.work() as work:
            due = work.certificates.due_for_renewal(now, BATCH)
            if due:
                _consider_all(ports, work, due, now, timedelta(minutes=1) / pace)
        done += len(due)
        if len(due) < BATCH:
            return done


def _consider_all(ports: Ports, work: Work, due: Sequence[ManagedCertificate], now: datetime, pause: timedelta) -> None:
    outcome = _Outcome()
    due = _told(work, outcome, due, now)
    seen = _look(ports, work, due, now)
    ready = [certificate for certificate in due if _is_ready(outcome, seen, certificate, now)]
    for certificate in ready:
        _begin(outcome, seen, SYSTEM, certificate, now)
    outcome.write(work, now, lambda: _places(work, seen, ready, now, pause))


def _told(
    work: Work, outcome: _Outcome, due: Sequence[ManagedCertificate], now: datetime
) -> Sequence[ManagedCertificate]:
    """The certificates after their owners were told what is due: renewal and alert are often due together, and are then
    one change."""
    ending = [each for each in due if each.next_alert_at is not None and each.next_alert_at <= now]
    told = alerts.tell(work, ending, now)
    outcome.events += told.events
    moved = {certificate.id: certificate for certificate in told.certificates}
    return [moved.get(certificate.id, certificate) for certificate in due]


def _is_ready(outcome: _Outcome, seen: _Circumstances, certificate: ManagedCertificate, now: datetime) -> bool:
    """Whether a renewal is to be begun. What keeps it from that, and what becomes of it instead, goes to `outcome`."""
    policy = seen.policy(certificate)
    if not CERTIFICATE.allows(certificate.status, CertificateEvent.RENEW):
        outcome.certificates.append(evolve(certificate, renew_at=None, updated_at=now))
    elif not policy.auto_renew:
        # Its policy may change: then it is given new times.
        why = f"its renewal policy {policy.name} does not renew by itself"
        outcome.certificates.append(_expiring(evolve(certificate, renew_at=None), now, why))
    elif is_renewed_by_device(certificate):
        why = f"its device renews it by {certificate.source.value}; nobody else has its key"
        outcome.certificates.append(_expiring(evolve(certificate, renew_at=None), now, why))
    elif not seen.holders(certificate):
        # Its targets may be enabled, or moved to another agent, without it being touched.
        why = "it has no enabled target, so there is no agent to make its key"
        outcome.certificates.append(_expiring(evolve(certificate, renew_at=now + LOOK_AGAIN), now, why))
    elif issued := seen.issued_too_often(certificate):
        _hold_back(outcome, certificate, now, issued)
    else:
        return True
    return False


def _places(
    work: Work, seen: _Circumstances, ready: Sequence[ManagedCertificate], now: datetime, pause: timedelta
) -> Mapping[CertificateId, datetime]:
    """When those of these renewals begin that wait. After an outage, or when a policy changed, thousands are due at
    once; the agents are asked for their CSRs one after the other, at the pace that was set for each issuer. Nobody
    waits beyond the floor of its lead time, and what is beyond it, has expired or was never issued does not wait."""
    floors = {each.id: policy_of_renewal.floor(seen.policy(each), each) or now for each in ready}
    waiting = [each for each in ready if floors[each.id] > now]
    turns = dict(work.pace.take(Counter(each.issuer_id for each in waiting), pause, now))
    times: dict[CertificateId, datetime] = {}
    for each in waiting:
        times[each.id] = min(turns[each.issuer_id], floors[each.id])
        turns[each.issuer_id] += pause
    return times


def _expiring(certificate: ManagedCertificate, now: datetime, why: str) -> ManagedCertificate:
    """Nobody renews it by itself: it shows as Expiring, and says why."""
    if certificate.status is CertificateStatus.ACTIVE:
        return life.step(certificate, CertificateEvent.APPROACH_EXPIRY, now, why)
    return evolve(certificate, status_reason=why) if certificate.status is CertificateStatus.EXPIRING else certificate


def _hold_back(outcome: _Outcome, certificate: ManagedCertificate, now: datetime, issued: int) -> None:
    reason = f"renewal paused for a day: {issued} certificates were issued within a day; renew with force to go on"
    paused = evolve(certificate, renew_at=now + BREAKER_WINDOW, status_reason=reason, updated_at=now)
    outcome.certificates.append(paused)
    outcome.note(SYSTEM, now, "renewal_breaker_opened", certificate, issued=issued)
    outcome.notices.append(notices.renewal_paused(paused, issued))


def expire(ports: Ports) -> int:
    """Certificates past their end are Expired. Returns how many."""
    done = 0
    while True:
        now = ports.clock.now()
        with ports.work() as work:
            due = work.certificates.due_for_expiry(now, BATCH)
            brief = _short_lived(work, due)
            work.certificates.save_many(
                [life.step(each, CertificateEvent.LAPSE, now, each.status_reason) for each in due]
            )
            work.audit.add(*(_expired(each, each.profile_id in brief, now) for each in due))
        done += len(due)
        if len(due) < BATCH:
            return done


def _short_lived(work: Work, certificates: Iterable[ManagedCertificate]) -> Mapping[str | None, CertificateProfile]:
    """The profiles among theirs that permit lives of minutes, by id."""
    profiles = work.profiles.many({each.profile_id for each in certificates if each.profile_id is not None})
    return {profile.id: profile for profile in profiles.values() if profile.allow_short_lived}


def _expired(certificate: ManagedCertificate, is_short_lived: bool, now: datetime) -> AuditEvent:
    return audit.event(
        SYSTEM,
        now,
        "short_lived_cert_expired" if is_short_lived else "certificate_expired",
        "certificate",
        certificate.id,
        profile_id=certificate.profile_id,
        expired_at=certificate.expires_at.isoformat() if certificate.expires_at else "",
    )
