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

A CA that is at hand (`Issuers.at_hand`) answers out of this process, and what it answers is a function of its order.
Then all of this is one transaction, with issue:1 and issue:2 inside it: a crash at one of them leaves a job that still
waits for its CSR, and a certificate that nobody has seen.

While another CA is called nothing is held, so the world may move on. Whatever the CA signed is put on record: if the
lease lapsed meanwhile the answer completes the job, whoever has it now; if the job was cancelled the version goes
nowhere, and is revoked when its certificate was.

Any number of CSRs go through together: those of one request with one claim, the calls one after the other, and one
record; those of several agents that come at the same time with one claim and one record too, while each calls its CA by
itself. What is refused is refused alone; the points between the steps are the same, and a crash at one of them leaves
each job as it would be left alone.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final

from attrs import evolve, frozen
from cryptography import x509

from certctl_core.errors import (
    CertctlError,
    Conflict,
    Duplicate,
    Forbidden,
    Invalid,
    NotConfigured,
    NotFound,
    Refused,
    UpstreamRejected,
    UpstreamUnavailable,
)
from certctl_core.ids import AgentId, CertificateId, IssuerId, JobId
from certctl_core.models.access import SYSTEM, Principal
from certctl_core.models.certificates import (
    AttemptStatus,
    CertificateVersion,
    IssuanceAttempt,
    ManagedCertificate,
)
from certctl_core.models.jobs import Job, JobStatus
from certctl_core.pki import keys, names, paths, reading
from certctl_core.pki.plan import LeafPlan
from certctl_core.policy import profile as profile_policy
from certctl_core.ports import Ports
from certctl_core.ports.issuer import Issued, Issuer, IssueRequest, Ordered, Polls
from certctl_core.ports.store import Work
from certctl_core.usecases import access, audit, compliance, consent, jobs, orders, recording, scope
from certctl_core.usecases.consent import Consent
from certctl_core.usecases.orders import Order, OrderedByEnrolment, OrderedByJob, Proof, Rules
from certctl_core.usecases.recording import Answer, Outcome

STALE: Final = 1 / 3
"""An attempt that has waited for its CA for this share of its life is given up: what came of it could be due for
renewal at once, or be over."""

SHARE_OF_LEASE: Final = 1 / 3
"""For how much of their lease the calls of a batch go on. Orders that a slow CA has not been asked by then are left to
the workers: their answers would come when somebody else has taken them up."""

BATCH: Final = 50


@frozen(kw_only=True)
class SubmitCsr:
    """An agent's answer to an AwaitingCSR job, which is named by its certificate, by itself or by both."""

    agent_id: AgentId
    csr: x509.CertificateSigningRequest
    certificate_id: CertificateId | None = None
    job_id: JobId | None = None


@frozen
class Submitted:
    """`version` is None while the CA has not answered yet."""

    job: Job
    version: CertificateVersion | None


def submit_csr(ports: Ports, caller: Principal, asked: SubmitCsr) -> Submitted:
    """Take the CSR and have it signed. Submitting the same CSR again is answered with what became of it.

    Raises `Refused` when the CSR is not exactly what was ordered or the profile does not permit it, `Conflict` when no
    job waits for it, `Gone` for a retired agent, and what the CA raises.
    """
    access.must_act_for(caller, asked.agent_id)
    claimed = ports.together.ask("claims", partial(_claimed_apart, ports), _Csr(caller, asked))
    submitted = _submitted(carry_out(ports, claimed)) if isinstance(claimed, Order) else claimed
    if isinstance(submitted, CertctlError):
        raise submitted
    return submitted


def submit_csrs(
    ports: Ports, caller: Principal, agent_id: AgentId, asked: Sequence[SubmitCsr | CertctlError]
) -> Sequence[Submitted | CertctlError]:
    """As `submit_csr` for each, in a constant number of statements. What `submit_csr` would raise about one of them is
    its outcome and touches no other. An item that could not even be read comes, and goes, as its error."""
    access.must_act_for(caller, agent_id)
    readable = [_Csr(caller, one) for one in asked if isinstance(one, SubmitCsr)]
    claimed = [one or _twice() for one in _claimed(ports, readable)] if readable else []
    begun = [one for one in claimed if isinstance(one, Order)]
    done: Mapping[JobId, Outcome] = {}
    if begun:
        ports.tripwire("issue:1")
        done = {outcome.job.id: outcome for outcome in _carry_out(ports, begun)}
        ports.tripwire("record:1")
    settled = iter([_submitted(done[one.job.id]) if isinstance(one, Order) else one for one in claimed])
    return [next(settled) if isinstance(one, SubmitCsr) else one for one in asked]


def _submitted(outcome: Outcome) -> Submitted | CertctlError:
    """A CA that does not answer is no failure of whoever asked: the job goes on by itself."""
    if isinstance(outcome.error, (Refused, UpstreamRejected)):
        return outcome.error
    return Submitted(outcome.job, outcome.version)


# --- claim ------------------------------------------------------------------------------------------------------------


@frozen
class _Csr:
    """A CSR and who hands it in."""

    caller: Principal
    asked: SubmitCsr


Claimed = Order | Submitted | CertctlError


def _twice() -> Conflict:
    return Conflict("the certificate is in this request twice", hint="Each agent has one key of it: send one CSR.")


def _claimed_apart(ports: Ports, csrs: Sequence[_Csr]) -> Sequence[Claimed]:
    """As `_claimed`, for CSRs that know nothing of each other: those for the same certificate one after the other."""
    return [
        outcome or _claimed(ports, [one])[0] or _twice()
        for one, outcome in zip(csrs, _claimed(ports, csrs), strict=True)
    ]


def _claimed(ports: Ports, csrs: Sequence[_Csr], *, at_hand: bool = True) -> Sequence[Claimed | None]:
    """All in one transaction, but None for a certificate that is among them already; one by one when the database takes
    exception to one of them, and that one without the CA, so that it can be told which of the two was wrong. CAs that
    are at hand have been asked."""
    try:
        return _claim(ports, csrs, at_hand=at_hand)
    except (Duplicate, Invalid) as error:
        if len(csrs) > 1:
            return [outcome for one in csrs for outcome in _claimed(ports, [one])]
        return _claimed(ports, csrs, at_hand=False) if at_hand else [error]


def _claim(ports: Ports, csrs: Sequence[_Csr], *, at_hand: bool) -> Sequence[Claimed | None]:
    now = ports.clock.now()
    signed: Mapping[JobId, Submitted] = {}
    with ports.work() as work:
        named = _certificates(work, csrs)
        holders = {about: one.asked.agent_id for about, one in zip(named, csrs, strict=True) if isinstance(about, str)}
        waiting = _Waiting.read(work, holders)
        waiting = evolve(waiting, jobs=_under_consent(ports, work, waiting, now))
        made = [
            _claim_one(ports, waiting, about, one, now) if isinstance(about, str) else about
            for about, one in zip(named, csrs, strict=True)
        ]
        outcomes = _permitted(work, waiting, made, now)
        begun = [outcome for outcome in outcomes if isinstance(outcome, Order)]
        if not begun:
            return outcomes
        work.audit.add(
            *(
                audit.event(
                    one.caller,
                    now,
                    "csr_submitted",
                    "certificate",
                    outcome.certificate.id,
                    job_id=outcome.job.id,
                    agent_id=one.asked.agent_id,
                    keygen_mode="agent",
                )
                for one, outcome in zip(csrs, outcomes, strict=True)
                if isinstance(outcome, Order)
            )
        )
        if at_hand:
            signed = _signed_at_hand(ports, work, begun, now)
        written = {order.job.id: order for order in orders.write(work, [o for o in begun if o.job.id not in signed])}
    if signed:
        ports.tripwire("record:1")
    done: Mapping[JobId, Claimed] = {**written, **signed}
    return [done[outcome.job.id] if isinstance(outcome, Order) else outcome for outcome in outcomes]


def _signed_at_hand(ports: Ports, work: Work, begun: Sequence[Order], now: datetime) -> Mapping[JobId, Submitted]:
    """Those that were signed and recorded together with their order. Whatever else comes of asking is found out again
    in the usual way, in which it is written down."""
    configured = {order.issuer.id: order.issuer for order in begun}
    able = {each.id: issuer for each in configured.values() if (issuer := ports.issuers.at_hand(each)) is not None}
    ready = [order for order in begun if order.issuer.id in able]
    if not ready:
        return {}
    ports.tripwire("issue:1")
    good: list[Answer] = []
    for order in ready:
        began = ports.clock.now()
        with suppress(Exception):
            answer = _checked(_asked(ports, able, order), now)
            if answer.version is not None:
                good.append(answer)
                ports.meter.issued(order.issuer.type, _outcome(answer), ports.clock.now() - began)
    ports.tripwire("issue:2")
    outcomes = recording.record_with_order(work, good, now) if good else ()
    return {outcome.job.id: Submitted(outcome.job, outcome.version) for outcome in outcomes}


def _under_consent(ports: Ports, work: Work, waiting: "_Waiting", now: datetime) -> Mapping[CertificateId, Job]:
    """The open jobs. Those that would issue what nobody has approved wait for that from now on."""
    rules = waiting.rules
    certificates, open_jobs = waiting.certificates.values(), waiting.jobs.values()
    known = Consent.read(ports, work, certificates, rules.profiles, open_jobs, rules.issuers)
    asked = [
        known.ask_again(waiting.certificates[identity], job, now)
        for identity, job in waiting.jobs.items()
        if job.status is JobStatus.AWAITING_CSR and not known.covers(waiting.certificates[identity], job)
    ]
    changed = work.jobs.save_many([each.job for each in asked])
    consent.write(work, asked)
    return {**waiting.jobs, **{job.certificate_id: job for job in changed}}


def _certificates(work: Work, csrs: Sequence[_Csr]) -> Sequence[CertificateId | CertctlError | None]:
    """Which certificate each CSR is for, or why its agent may hand in none, which is raised when all are of one agent.
    None for one that is named again: it has one key."""
    asking = {one.asked.agent_id for one in csrs}
    agents = work.agents.many(asking)
    if len(asking) == 1 and (unfit := access.unfit(agents, *asking)):
        raise unfit
    found = work.jobs.many({one.asked.job_id for one in csrs if one.asked.job_id and one.asked.certificate_id is None})
    named: set[CertificateId] = set()
    outcomes: list[CertificateId | CertctlError | None] = []
    for one in csrs:
        identity = access.unfit(agents, one.asked.agent_id) or _certificate(found, one.asked)
        outcomes.append(None if identity in named else identity)
        if isinstance(identity, str):
            named.add(identity)
    return outcomes


def _certificate(found: Mapping[str, Job], asked: SubmitCsr) -> CertificateId | CertctlError:
    return asked.certificate_id or _certificate_of_job(found, asked.agent_id, asked.job_id)


def _certificate_of_job(
    found: Mapping[str, Job], agent_id: AgentId, job_id: JobId | None
) -> CertificateId | CertctlError:
    if job_id is None:
        return Invalid.field("certificate_id", "is required unless job_id is given")
    if job_id not in found:
        return NotFound.of("job", job_id)
    if found[job_id].agent_id != agent_id:
        return Forbidden(f"job {job_id} belongs to another agent")
    return found[job_id].certificate_id


@frozen
class _Waiting:
    """What CSRs meet: the certificates and their open jobs, held, and what became of earlier CSRs."""

    certificates: Mapping[str, ManagedCertificate]
    jobs: Mapping[CertificateId, Job]
    attempts: Mapping[str, IssuanceAttempt]
    newest: Mapping[CertificateId, CertificateVersion]
    finished: Mapping[str, Job]
    rules: Rules

    @classmethod
    def read(cls, work: Work, holders: Mapping[CertificateId, AgentId]) -> "_Waiting":
        certificates = work.certificates.lock_many(holders)
        there = {identity: agent_id for identity, agent_id in holders.items() if identity in certificates}
        waiting = work.jobs.lock_issuing(there) if there else {}
        idle = {identity: agent_id for identity, agent_id in there.items() if identity not in waiting}
        newest = work.versions.latest_many(idle) if idle else {}
        return cls(
            certificates,
            waiting,
            work.attempts.many({job.attempt_id for job in waiting.values() if job.attempt_id}),
            newest,
            work.jobs.many({version.job_id for version in newest.values() if version.job_id}),
            Rules.read(work, certificates.values()),
        )


def _claim_one(
    ports: Ports, waiting: _Waiting, certificate_id: CertificateId, csr: _Csr, now: datetime
) -> Order | Submitted | CertctlError:
    certificate, asked = waiting.certificates.get(certificate_id), csr.asked
    if certificate is None or not scope.sees(csr.caller, certificate):
        return NotFound.of("certificate", certificate_id)
    job = waiting.jobs.get(certificate.id)
    if known := _already_submitted(waiting, certificate.id, job, asked):
        return known
    if job is not None and job.status is JobStatus.AWAITING_APPROVAL:
        return Conflict(
            f"job {job.id} of certificate {certificate.id} waits for approval",
            hint="The agent is told at a poll for work when it has been approved.",
        )
    if job is None or job.status is not JobStatus.AWAITING_CSR or asked.job_id not in (None, job.id):
        return Conflict(
            f"no job of certificate {certificate.id} waits for a CSR of agent {asked.agent_id}",
            hint="Renew the certificate to open one; the agent is told at its next poll for work.",
        )
    try:
        return orders.begin(ports, waiting.rules, certificate, asked.csr, OrderedByJob(job, asked.agent_id), now)
    except CertctlError as refused:
        return refused


def _permitted(
    work: Work, waiting: _Waiting, outcomes: Sequence[Claimed | None], now: datetime
) -> Sequence[Claimed | None]:
    """What is left of the orders when policy has judged them. A job whose order is refused is over: it was not the CSR
    that was wrong, and another one would not help."""
    refused = compliance.refusals(work, [(o.certificate, o.plan) for o in outcomes if isinstance(o, Order)], now)
    for identity, error in refused.items():
        held = jobs.Locked(waiting.certificates[identity], waiting.jobs[identity])
        jobs.fail(work, SYSTEM, held, now, error.message, final=True)
    return [refused.get(o.certificate.id, o) if isinstance(o, Order) else o for o in outcomes]


def _already_submitted(
    waiting: _Waiting, certificate_id: CertificateId, job: Job | None, asked: SubmitCsr
) -> Submitted | None:
    """What became of a CSR for this key, if one was submitted before: the answer to it may have been lost.

    CSRs are compared by key. A CSR made again for the same order differs in nothing but its random signature.
    """
    key = asked.csr.public_key()
    if job is not None:
        if job.attempt_id is None or job.status is JobStatus.AWAITING_CSR:
            return None
        attempt = waiting.attempts[job.attempt_id]
        return Submitted(job, None) if keys.same_key(attempt.csr.public_key(), key) else None
    version = waiting.newest.get(certificate_id)
    if version is None or version.job_id is None or not keys.same_key(version.certificate.public_key(), key):
        return None
    return Submitted(waiting.finished[version.job_id], version)


# --- take up again ----------------------------------------------------------------------------------------------------


def carry_out(ports: Ports, order: Order) -> Outcome:
    """Call the CA for an order that has just been put on record, check its answer and record it."""
    ports.tripwire("issue:1")
    outcome = _finished(ports, order)
    ports.tripwire("record:1")
    return outcome


def process_due(ports: Ports, limit: int = BATCH) -> int:
    """Take up issuing jobs that have a CSR and nobody working on them. Returns how many were taken up."""
    for job_id in (taken := claim_due(ports, limit)):
        finish(ports, job_id)
    return len(taken)


def claim_due(ports: Ports, limit: int = BATCH) -> tuple[JobId, ...]:
    """Claim due issuing jobs for this worker; each must then be given to `finish`."""
    with ports.work() as work:
        return tuple(job.id for job in work.jobs.claim_issuing(ports.clock.now(), ports.lease, limit))


def finish(ports: Ports, job_id: JobId) -> CertctlError | None:
    """Carry a claimed issuing job to its end: call the CA, check the answer, record it, or record why not.

    Returns what went wrong, which the job then says too. Raises `Conflict` and `UpstreamUnavailable` when the database
    did not let it record an answer; the job is then done again from its attempt when its lease has lapsed.
    """
    try:
        order = _open_order(ports, job_id)
    except (UpstreamUnavailable, UpstreamRejected, NotConfigured, Invalid, Refused) as error:
        return recording.record_failure(ports, job_id, None, error).error
    if order is None:
        return None
    return _finished(ports, order).error


def _open_order(ports: Ports, job_id: JobId) -> Order | None:
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
        rules = Rules.read(work, [certificate], attempt.issuer_id)
        known = Consent.read(ports, work, [certificate], rules.profiles, [job], rules.issuers)
        if not known.covers(certificate, job):
            job = _ask_again(work, known, certificate, job, attempt, now)
            if job.status is not JobStatus.RUNNING:
                return None
        is_over = attempt.status is AttemptStatus.FAILED
        proof = _proof(work, job, attempt)
        if proof is None or not (is_over or _is_stale(attempt, now)):
            order = orders.again(ports, rules, certificate, job, attempt)
            compliance.permit(work, certificate, order.plan, now)
            return order
        if not is_over:
            given_up = evolve(attempt, status=AttemptStatus.FAILED, error="waited too long", finished_at=now)
            work.attempts.save(given_up)
        begun = orders.begin(ports, rules, certificate, attempt.csr, proof, now)
        compliance.permit(work, certificate, begun.plan, now)
        (order,) = orders.write(work, [begun])
    return order


def _proof(work: Work, job: Job, attempt: IssuanceAttempt) -> Proof | None:
    """Whose CSR this is; None when nobody can be told to have asked for it."""
    if attempt.agent_id is not None:
        return OrderedByJob(job, attempt.agent_id)
    enrolment = work.enrolments.of_job(job.id)
    return None if enrolment is None else OrderedByEnrolment(job, enrolment)


def _ask_again(
    work: Work, known: Consent, certificate: ManagedCertificate, job: Job, attempt: IssuanceAttempt, now: datetime
) -> Job:
    """Have the job wait for an approval of what it would issue now. The CA is not asked for the rest any more."""
    asked = known.ask_again(certificate, job, now)
    if not asked.is_given and attempt.status is not AttemptStatus.FAILED:
        work.attempts.save(evolve(attempt, status=AttemptStatus.FAILED, error=consent.OUTGROWN, finished_at=now))
    job = work.jobs.save(asked.job)
    consent.write(work, [asked])
    return job


def _is_stale(attempt: IssuanceAttempt, now: datetime) -> bool:
    is_unanswered = attempt.status is AttemptStatus.REQUESTED
    return is_unanswered and now - attempt.created_at > (attempt.not_after - attempt.created_at) * STALE


# --- call and check ---------------------------------------------------------------------------------------------------


def _carry_out(ports: Ports, begun: Sequence[Order]) -> Sequence[Outcome]:
    """Call the CAs, check what they answer and record it. An accident with one order is raised when the others are on
    record; its job is done again when its lease has lapsed."""
    answers: list[Answer] = []
    accident: Exception | None = None
    issuers: dict[IssuerId, Issuer] = {}
    until = ports.clock.now() + ports.lease * SHARE_OF_LEASE
    for order in begun:
        if answers and ports.clock.now() >= until:
            answers.append(Answer(order, None))
            continue
        try:
            answers.append(_answer(ports, issuers, order))
        except Exception as problem:  # noqa: BLE001 - a CA's answer is hostile until it is checked
            accident = problem
    if answers:
        ports.tripwire("issue:2")
    outcomes = recording.record(ports, [_checked(answer, ports.clock.now()) for answer in answers])
    if accident is not None:
        raise accident
    return outcomes


def _finished(ports: Ports, order: Order) -> Outcome:
    """As `_carry_out` for one. A certificate is recorded together with others that come at the same time."""
    answer = _answer(ports, {}, order)
    ports.tripwire("issue:2")
    answer = _checked(answer, ports.clock.now())
    if answer.version is None:
        (outcome,) = recording.record(ports, [answer])
        return outcome
    return ports.together.ask("records", partial(recording.record, ports), answer)


def _answer(ports: Ports, issuers: dict[IssuerId, Issuer], order: Order) -> Answer:
    began = ports.clock.now()
    answer = _asked(ports, issuers, order)
    ports.meter.issued(order.issuer.type, _outcome(answer), ports.clock.now() - began)
    return answer


def _outcome(answer: Answer) -> str:
    match answer.given:
        case Issued():
            return "issued"
        case Ordered():
            return "pending"
        case _:
            return "failed"


def _asked(ports: Ports, issuers: dict[IssuerId, Issuer], order: Order) -> Answer:
    try:
        issuer = issuers.get(order.issuer.id) or ports.issuers.connect(order.issuer)
        issuers[order.issuer.id] = issuer
        if order.attempt.upstream_order_id and isinstance(issuer, Polls):
            return Answer(order, issuer.poll(order.attempt.upstream_order_id))
        return Answer(
            order, issuer.issue(IssueRequest(order.attempt.id, order.attempt.csr, order.plan, order.attempt.created_at))
        )
    except (UpstreamUnavailable, UpstreamRejected, NotConfigured, Invalid, Refused) as error:
        return Answer(order, error)


def _checked(answer: Answer, now: datetime) -> Answer:
    """What a CA returns is checked before it is believed: key, names, dates, profile, chain."""
    if not isinstance(answer.given, Issued):
        return answer
    try:
        seen = reading.plan_of(answer.given.certificate)
        _check(answer.given, seen, answer.order, now)
    except (Invalid, Refused) as error:
        return Answer(answer.order, error)
    return evolve(answer, version=recording.version_of(answer.order, answer.given, seen, now))


def _check(given: Issued, seen: LeafPlan, order: Order, now: datetime) -> None:
    """`seen` is the plan that the certificate could have been made from. Raises `Refused`."""
    wanted = order.plan
    reasons = list(profile_policy.judge(order.profile, seen))
    if not keys.same_key(seen.public_key, wanted.public_key):
        reasons.append("the certificate is for another key than the CSR's")
    if seen.common_name != wanted.common_name or not names.same_names(seen.sans, wanted.sans):
        reasons.append("the certificate is for other names than those ordered")
    if seen.not_after <= now:
        reasons.append("the certificate has already expired")
    if problems := paths.chain_problems((given.certificate, *given.chain)):
        reasons.append(f"the certificates above it are not its chain: {'; '.join(problems)}")
    if reasons:
        raise Refused("the CA returned a certificate that was not ordered", reasons=reasons)
