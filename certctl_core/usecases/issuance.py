"""The one issuing door: every certificate certctl signs or orders passes here.

Theory of operation, with the numbered points at which a crash must lose and double nothing:

    claim    transaction: CSR checked against the order, profile judged on what will be signed, attempt written with
             its serial number and validity, job Running under a lease
    issue:1  the attempt exists, the CA has not been called
    call     no transaction: the CA signs or takes the order
    issue:2  the CA has answered, we have recorded nothing
    check    what came back is what was planned
    record   transaction: version, attempt Issued, job Completed, certificate Active, deployment jobs, audit
    record:1 everything is recorded, the agent has not heard of it

A crash at issue:1 or issue:2 leaves a job whose lease lapses; the job processor takes it up again with the same attempt
and so asks for the same serial number with the same validity. A crash at record:1 leaves an agent that submits its CSR
again and is told that its certificate is there. A database that is in the way of recording is a crash at issue:2: it
says nothing about the attempt.

While the CA is called nothing is held, so the world may move on. Whatever the CA signed is put on record: if the lease
lapsed meanwhile the answer completes the job, whoever has it now; if the job was cancelled the version goes nowhere,
and is revoked when its certificate was.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from attrs import evolve, frozen
from cryptography import x509

from certctl_core.errors import (
    CertctlError,
    Conflict,
    Duplicate,
    Invalid,
    NotConfigured,
    Refused,
    UpstreamRejected,
    UpstreamUnavailable,
)
from certctl_core.ids import AgentId, AttemptId, CertificateId, JobId, VersionId, mint
from certctl_core.lifecycle import agent as agent_life
from certctl_core.lifecycle import certificate as life
from certctl_core.lifecycle import job as job_life
from certctl_core.lifecycle.certificate import CERTIFICATE, CertificateEvent
from certctl_core.models.access import SYSTEM, Principal
from certctl_core.models.catalog import CertificateProfile, ConfiguredIssuer
from certctl_core.models.certificates import (
    AttemptStatus,
    CertificateStatus,
    CertificateVersion,
    IssuanceAttempt,
    ManagedCertificate,
)
from certctl_core.models.jobs import ISSUING, Job, JobStatus
from certctl_core.pki import csr as csr_reading
from certctl_core.pki import keys, names, reading, serials
from certctl_core.pki.plan import LeafPlan
from certctl_core.policy import profile as profile_policy
from certctl_core.policy import renewal as renewal_policy
from certctl_core.ports import Ports
from certctl_core.ports.issuer import Issued, IssueRequest, Ordered, Polls
from certctl_core.ports.store import Work
from certctl_core.usecases import access, audit, deployment, jobs, revocation
from certctl_core.usecases.renewal import key_holders

POLL_PAUSE: Final = timedelta(seconds=30)
SHORTEST_POLL_PAUSE: Final = timedelta(seconds=5)
LONGEST_POLL_PAUSE: Final = timedelta(days=1)
ORDER_PATIENCE: Final = timedelta(days=7)
"""How long a CA may take to fill an order before it is given up and another one placed."""

STALE: Final = 1 / 3
"""An attempt that has waited for its CA for this share of its life is given up: what came of it could be due for
renewal at once, or be over."""

BATCH: Final = 50


@frozen(kw_only=True)
class SubmitCsr:
    """An agent's answer to an AwaitingCSR job."""

    agent_id: AgentId
    certificate_id: CertificateId
    csr: x509.CertificateSigningRequest
    job_id: JobId | None = None


@frozen
class Submitted:
    """`version` is None while the CA has not answered yet."""

    job: Job
    version: CertificateVersion | None


@frozen
class OrderedByJob:
    """Proof of authorisation: this agent was asked for exactly this CSR by an open job of this certificate."""

    job: Job
    agent_id: AgentId


def submit_csr(ports: Ports, caller: Principal, asked: SubmitCsr) -> Submitted:
    """Take the CSR and have it signed. Submitting the same CSR again is answered with what became of it.

    Raises `Refused` when the CSR is not exactly what was ordered or the profile does not permit it, `Conflict` when no
    job waits for it, `Gone` for a retired agent, and what the CA raises.
    """
    access.must_act_for(caller, asked.agent_id)
    claimed = _claim(ports, caller, asked)
    if isinstance(claimed, Submitted):
        return claimed
    ports.tripwire("issue:1")
    error = finish(ports, claimed.id)
    if isinstance(error, (Refused, UpstreamRejected)):
        raise error
    with ports.work() as work:
        job = work.jobs.get(claimed.id)
        version = work.versions.get(job.version_id) if job.version_id else None
    ports.tripwire("record:1")
    return Submitted(job, version)


def _claim(ports: Ports, caller: Principal, asked: SubmitCsr) -> Job | Submitted:
    now = ports.clock.now()
    with ports.work() as work:
        agent_life.must_be_active(work.agents.get(asked.agent_id))
        certificate = work.certificates.lock(asked.certificate_id)
        job = work.jobs.lock_issuing(certificate.id, asked.agent_id)
        if known := _already_submitted(work, job, asked):
            return known
        if job is None or job.status is not JobStatus.AWAITING_CSR or asked.job_id not in (None, job.id):
            raise Conflict(
                f"no job of certificate {certificate.id} waits for a CSR of agent {asked.agent_id}",
                hint="Renew the certificate to open one; the agent is told at its next poll for work.",
            )
        audit.record(
            work,
            caller,
            now,
            "csr_submitted",
            "certificate",
            certificate.id,
            job_id=job.id,
            agent_id=asked.agent_id,
            keygen_mode="agent",
        )
        return _begin_attempt(ports, work, certificate, job, asked.csr, OrderedByJob(job, asked.agent_id), now)


def _already_submitted(work: Work, job: Job | None, asked: SubmitCsr) -> Submitted | None:
    """What became of a CSR for this key, if one was submitted before: the answer to it may have been lost.

    CSRs are compared by key. A CSR made again for the same order differs in nothing but its random signature.
    """
    key = asked.csr.public_key()
    if job is not None:
        if job.attempt_id is None or job.status is JobStatus.AWAITING_CSR:
            return None
        attempt = work.attempts.get(job.attempt_id)
        return Submitted(job, None) if keys.same_key(attempt.csr.public_key(), key) else None
    version = work.versions.latest(asked.certificate_id, asked.agent_id)
    if version is None or version.job_id is None or not keys.same_key(version.certificate.public_key(), key):
        return None
    return Submitted(work.jobs.get(version.job_id), version)


def _begin_attempt(
    ports: Ports,
    work: Work,
    certificate: ManagedCertificate,
    job: Job,
    csr: x509.CertificateSigningRequest,
    proof: OrderedByJob,
    now: datetime,
) -> Job:
    """Write the attempt down, judged, before any CA is called. The caller holds certificate and job."""
    csr_reading.check_matches(csr, certificate.common_name, certificate.sans)
    issuer = _enabled(work.issuers.get(certificate.issuer_id))
    profile = _profile(work, certificate)
    not_before, not_after = profile_policy.validity(profile, _default_life(issuer), now)
    attempt = IssuanceAttempt(
        id=AttemptId(mint("attempt", now)),
        certificate_id=certificate.id,
        generation=certificate.generation + 1,
        job_id=proof.job.id,
        agent_id=proof.agent_id,
        issuer_id=issuer.id,
        csr=csr,
        serial_number=serials.new_serial(),
        not_before=not_before,
        not_after=not_after,
        created_at=now,
    )
    profile_policy.enforce(profile, _plan(ports, attempt, certificate, profile))
    work.attempts.add(attempt)
    work.certificates.save(evolve(certificate, generation=attempt.generation, updated_at=now))
    held = job if job.status is JobStatus.RUNNING else job_life.claim(job, now, ports.lease)
    return work.jobs.save(evolve(held, attempt_id=attempt.id))


def process_due(ports: Ports, limit: int = BATCH) -> int:
    """Take up issuing jobs that have a CSR and nobody working on them. Returns how many were taken up."""
    for job_id in (taken := claim_due(ports, limit)):
        finish(ports, job_id)
    return len(taken)


def claim_due(ports: Ports, limit: int = BATCH) -> tuple[JobId, ...]:
    """Claim due issuing jobs for this worker; each must then be given to `finish`."""
    with ports.work() as work:
        return tuple(job.id for job in work.jobs.claim_issuing(ports.clock.now(), ports.lease, limit))


@frozen
class _Order:
    """Everything needed to call the CA, read in one transaction. `job` is as this worker holds it."""

    job: Job
    attempt: IssuanceAttempt
    issuer: ConfiguredIssuer
    profile: CertificateProfile | None
    plan: LeafPlan


def finish(ports: Ports, job_id: JobId) -> CertctlError | None:
    """Carry a claimed issuing job to its end: call the CA, check the answer, record it, or record why not.

    Returns what went wrong, which the job then says too. Raises `Conflict` and `UpstreamUnavailable` when the database
    did not let it record an answer; the job is then done again from its attempt when its lease has lapsed.
    """
    order = None
    try:
        order = _open_order(ports, job_id)
        if order is None:
            return None
        answer = _call(ports, order)
        ports.tripwire("issue:2")
        if isinstance(answer, Issued):
            _check(answer, order, ports.clock.now())
    except UpstreamUnavailable as error:
        _record_failure(ports, job_id, order, error, attempt_over=False)
        return error
    except (UpstreamRejected, NotConfigured, Invalid, Refused) as error:
        _record_failure(ports, job_id, order, error, attempt_over=True)
        return error
    if isinstance(answer, Ordered):
        return _record_ordered(ports, job_id, order, answer)
    try:
        _record(ports, job_id, order, answer)
    except Duplicate:
        rejected = UpstreamRejected("the CA returned a certificate that is on record already")
        _record_failure(ports, job_id, order, rejected, attempt_over=True)
        return rejected
    return None


def _open_order(ports: Ports, job_id: JobId) -> _Order | None:
    """The order of a running job. An attempt that ended badly, or waited too long, is followed by a new one with the
    same CSR. Raises `Refused` when nothing may be ordered for this CSR any more."""
    now = ports.clock.now()
    with ports.work() as work:
        held = jobs.lock(work, job_id)
        job, certificate = held.job, held.certificate
        if job.status is not JobStatus.RUNNING or job.attempt_id is None:
            return None
        jobs.must_not_be_hopeless(job)
        attempt = work.attempts.get(job.attempt_id)
        if attempt.agent_id is not None and (attempt.status is AttemptStatus.FAILED or _is_stale(attempt, now)):
            if attempt.status is not AttemptStatus.FAILED:
                given_up = evolve(attempt, status=AttemptStatus.FAILED, error="waited too long", finished_at=now)
                work.attempts.save(given_up)
            proof = OrderedByJob(job, attempt.agent_id)
            job = _begin_attempt(ports, work, certificate, job, attempt.csr, proof, now)
            attempt = work.attempts.get(job.attempt_id or attempt.id)
        issuer = _enabled(work.issuers.get(attempt.issuer_id))
        profile = _profile(work, certificate)
        plan = _plan(ports, attempt, certificate, profile)
        # The certificate, its profile and its issuer may have changed since the attempt was written.
        csr_reading.check_matches(attempt.csr, certificate.common_name, certificate.sans)
        profile_policy.enforce(profile, plan)
    return _Order(job, attempt, issuer, profile, plan)


def _is_stale(attempt: IssuanceAttempt, now: datetime) -> bool:
    is_unanswered = attempt.status is AttemptStatus.REQUESTED
    return is_unanswered and now - attempt.created_at > (attempt.not_after - attempt.created_at) * STALE


def _call(ports: Ports, order: _Order) -> Issued | Ordered:
    issuer = ports.issuers.connect(order.issuer)
    if order.attempt.upstream_order_id and isinstance(issuer, Polls):
        return issuer.poll(order.attempt.upstream_order_id)
    return issuer.issue(IssueRequest(order.attempt.id, order.attempt.csr, order.plan))


def _check(answer: Issued, order: _Order, now: datetime) -> None:
    """What a CA returns is checked before it is believed: key, names, dates, profile, chain. Raises `Refused`."""
    seen = reading.plan_of(answer.certificate)
    wanted = order.plan
    reasons = list(profile_policy.judge(order.profile, seen))
    if not keys.same_key(answer.certificate.public_key(), wanted.public_key):
        reasons.append("the certificate is for another key than the CSR's")
    if seen.common_name != wanted.common_name or not names.same_names(seen.sans, wanted.sans):
        reasons.append("the certificate is for other names than those ordered")
    if seen.not_after <= now:
        reasons.append("the certificate has already expired")
    if not all(reading.is_issued_by(child, parent) for child, parent in pairwise((answer.certificate, *answer.chain))):
        reasons.append("the certificates above it are not its chain")
    if reasons:
        raise Refused("the CA returned a certificate that was not ordered", reasons=reasons)


def _record(ports: Ports, job_id: JobId, order: _Order, answer: Issued) -> None:
    now = ports.clock.now()
    with ports.work() as work:
        held = jobs.lock(work, job_id)
        attempt = work.attempts.lock(order.attempt.id)
        if attempt.status is AttemptStatus.ISSUED:
            return  # Our lease had lapsed, and somebody else has recorded it meanwhile.
        version = _version(attempt, answer, now)
        work.versions.add(version)
        work.attempts.save(evolve(attempt, status=AttemptStatus.ISSUED, error="", finished_at=now))
        if held.job.attempt_id != attempt.id or held.job.status is JobStatus.CANCELLED or _is_over(held.certificate):
            _put_on_record(work, held, version, now)
            return
        job = work.jobs.save(evolve(job_life.complete(held.job, now), version_id=version.id))
        certificate = _renewed(work, held.certificate, now)
        audit.record(
            work,
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
        deployment.open_jobs(work, SYSTEM, certificate, version, now)


def _is_over(certificate: ManagedCertificate) -> bool:
    return certificate.status in (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED)


def _put_on_record(work: Work, held: jobs.Locked, version: CertificateVersion, now: datetime) -> None:
    """Nobody waits for this version any more. It exists all the same: it can be found, and revoked."""
    certificate = held.certificate
    if certificate.status is CertificateStatus.REVOKED and certificate.revocation_reason is not None:
        revocation.enter(work, SYSTEM, version, certificate.revocation_reason, now)
    audit.record(
        work,
        SYSTEM,
        now,
        "unwanted_certificate_recorded",
        "certificate",
        certificate.id,
        job_id=held.job.id,
        serial=version.serial_number,
        fingerprint=version.fingerprint_sha256,
        certificate_status=certificate.status.value,
    )


def _version(attempt: IssuanceAttempt, answer: Issued, now: datetime) -> CertificateVersion:
    facts = reading.facts(answer.certificate)
    return CertificateVersion(
        id=VersionId(mint("certver", now)),
        certificate_id=attempt.certificate_id,
        generation=attempt.generation,
        attempt_id=attempt.id,
        job_id=attempt.job_id,
        agent_id=attempt.agent_id,
        issuer_id=attempt.issuer_id,
        serial_number=facts.serial_number,
        not_before=facts.not_before,
        not_after=facts.not_after,
        fingerprint_sha256=facts.fingerprint_sha256,
        certificate=answer.certificate,
        chain=answer.chain,
        csr=attempt.csr,
        key_algorithm=facts.key.algorithm,
        key_size=facts.key.size,
        created_at=now,
    )


def _renewed(work: Work, certificate: ManagedCertificate, now: datetime) -> ManagedCertificate:
    """The certificate with a new version recorded. It stays in renewal while another key holder's job is open."""
    holders = key_holders(work, certificate)
    latest = work.versions.latest_per_holder(certificate.id)
    newest = [version for version in latest if version.agent_id in holders] or latest
    first_to_end = min(newest, key=lambda version: version.not_after)
    policy = work.renewal_policies.get(certificate.renewal_policy_id)
    renewed = evolve(
        certificate,
        expires_at=first_to_end.not_after,
        renew_at=renewal_policy.renew_at(policy, first_to_end.not_before, first_to_end.not_after, certificate.id),
        last_renewal_at=now,
        updated_at=now,
    )
    if any(job.type in ISSUING for job in work.jobs.open_of(certificate.id)):
        return work.certificates.save(renewed)
    reason = _left_out(work, certificate, holders)
    if reason and CERTIFICATE.allows(renewed.status, CertificateEvent.ABANDON):
        failed = life.step(renewed, CertificateEvent.ABANDON, now, reason)
        return work.certificates.save(renewal_policy.after_failure(failed, policy, now))
    return work.certificates.save(life.step(renewed, CertificateEvent.ISSUE, now))


def _left_out(work: Work, certificate: ManagedCertificate, holders: Iterable[AgentId]) -> str:
    """Which key holder's job of this round gave up, and why; nothing when each has its version."""
    for holder in holders:
        last = jobs.last_issuing(work, certificate.id, holder)
        if last is not None and last.status in (JobStatus.FAILED, JobStatus.CANCELLED):
            return f"agent {holder} got no certificate: {last.last_error}"
    return ""


def _record_ordered(ports: Ports, job_id: JobId, order: _Order, answer: Ordered) -> CertctlError | None:
    """The CA will answer later: remember its order, and look again under a new claim. Returns why not, if it has been
    looking for too long."""
    now = ports.clock.now()
    if now - order.attempt.created_at > ORDER_PATIENCE:
        late = UpstreamRejected(f"the CA has not filled order {answer.order_id} within {ORDER_PATIENCE.days} days")
        _record_failure(ports, job_id, order, late, attempt_over=True)
        return late
    with ports.work() as work:
        held = jobs.lock(work, job_id)
        attempt = work.attempts.lock(order.attempt.id)
        if attempt.status in (AttemptStatus.REQUESTED, AttemptStatus.ORDERED):
            work.attempts.save(evolve(attempt, status=AttemptStatus.ORDERED, upstream_order_id=answer.order_id))
        if not _still_held(held.job, order):
            return None
        wanted = answer.look_again_at or now + POLL_PAUSE
        look_again_at = min(max(wanted, now + SHORTEST_POLL_PAUSE), now + LONGEST_POLL_PAUSE)
        waiting = evolve(job_life.release(held.job, now), scheduled_at=look_again_at, attempts=held.job.attempts - 1)
        work.jobs.save(waiting)
    return None


def _still_held(job: Job, order: _Order) -> bool:
    """Whether the job is still under the claim that the order was opened under."""
    return job.status is JobStatus.RUNNING and job.started_at == order.job.started_at


def _record_failure(
    ports: Ports, job_id: JobId, order: _Order | None, error: CertctlError, *, attempt_over: bool
) -> None:
    """`order` is None when none could be opened."""
    now = ports.clock.now()
    with ports.work() as work:
        held = jobs.lock(work, job_id)
        if held.job.status is not JobStatus.RUNNING or not (order is None or _still_held(held.job, order)):
            return
        if attempt_over and held.job.attempt_id is not None:
            attempt = work.attempts.lock(held.job.attempt_id)
            work.attempts.save(evolve(attempt, status=AttemptStatus.FAILED, error=str(error), finished_at=now))
        # What the profile refuses today it refuses again in a minute: only a change by an operator helps.
        jobs.fail(work, SYSTEM, held, now, _text(error), final=isinstance(error, Refused))


def _text(error: CertctlError) -> str:
    reasons = getattr(error, "reasons", ())
    return "; ".join((error.message, *reasons))


def _plan(
    ports: Ports,
    attempt: IssuanceAttempt,
    certificate: ManagedCertificate,
    profile: CertificateProfile | None,
) -> LeafPlan:
    """Everything the certificate will say. The same attempt always gives the same plan."""
    here = f"{ports.public_url}/.well-known/pki" if ports.public_url else ""
    return LeafPlan(
        common_name=certificate.common_name,
        sans=names.names_of(certificate.common_name, certificate.sans),
        public_key=attempt.csr.public_key(),
        serial_number=attempt.serial_number,
        not_before=attempt.not_before,
        not_after=attempt.not_after,
        ekus=profile.allowed_ekus if profile else ("serverAuth", "clientAuth"),
        must_staple=bool(profile and profile.must_staple),
        crl_urls=(f"{here}/crl/{attempt.issuer_id}",) if here else (),
        ocsp_urls=(f"{here}/ocsp/{attempt.issuer_id}",) if here else (),
        ca_issuers_urls=(f"{here}/ca/{attempt.issuer_id}",) if here else (),
    )


def _enabled(issuer: ConfiguredIssuer) -> ConfiguredIssuer:
    if not issuer.enabled:
        raise Refused(f"issuer {issuer.id} is disabled", hint="Enable it, or point the certificate at another issuer.")
    return issuer


def _profile(work: Work, certificate: ManagedCertificate) -> CertificateProfile | None:
    if certificate.profile_id is None:
        return None
    profile = work.profiles.get(certificate.profile_id)
    if not profile.enabled:
        raise Refused(f"profile {profile.id} is disabled", hint="Enable it, or point the certificate at another one.")
    return profile


def _default_life(issuer: ConfiguredIssuer) -> timedelta:
    days = issuer.config.get("validity_days") or 90
    return timedelta(days=int(days))
