"""Enrolment: a device asks for a certificate by a protocol of its own, EST or SCEP, and goes through the one door.

The key is on the device, so the CSR is the order: what it names, as far as profile and policy permit, is what is
issued. A first enrolment makes a managed certificate for this key; a renewal makes a new version of the one that the
device shows. Nobody but the device can renew it: when it should have and has not, its owner is told.

Theory of operation. A device repeats its request until it is answered, and so does whatever is between it and us.
Within a label the transaction is what tells a repetition from another request: SCEP has a name for it, for EST it is
made from the key. Claiming, in one transaction, writes the enrolment, the certificate, its job and the attempt; the
unique key of (protocol, label, transaction) lets one of two that arrive together through, and the other finds what
became of the first. From there on the points at which a crash must lose and double nothing are those of the issuing
door (`issuance`): the enrolment is answered as pending, a worker finishes the job, and the device, asking again, is
given the certificate.

What has ended is remembered for an hour. Then the same transaction is a new request: a new version for the same key.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import Final

from attrs import evolve, frozen
from cryptography import x509

from certctl_core.errors import (
    CertctlError,
    Conflict,
    Duplicate,
    Invalid,
    NotFound,
    QuotaExceeded,
    Refused,
    UpstreamRejected,
)
from certctl_core.ids import (
    CertificateId,
    EnrolmentId,
    EnrolmentSecretId,
    IssuerId,
    JobId,
    OwnerId,
    ProfileId,
    RenewalPolicyId,
    TeamId,
    mint,
)
from certctl_core.lifecycle import certificate as life
from certctl_core.lifecycle.certificate import CERTIFICATE, CertificateEvent
from certctl_core.models.access import SYSTEM, SystemActor
from certctl_core.models.certificates import CertificateStatus, CertificateVersion, ManagedCertificate
from certctl_core.models.enrolment import Enrolment, EnrolmentProtocol
from certctl_core.models.jobs import ISSUING, OPEN_JOB, Job, JobStatus, JobType
from certctl_core.models.records import AuditEvent
from certctl_core.pki import csr as csr_reading
from certctl_core.pki import keys, reading
from certctl_core.policy import enrolling
from certctl_core.ports import Ports
from certctl_core.ports.store import Query, Where, Work
from certctl_core.usecases import audit, compliance, consent, enrolment_secrets, issuance, orders
from certctl_core.usecases.consent import Consent
from certctl_core.usecases.orders import Order, OrderedByEnrolment, Rules

LONGEST_CLIENT: Final = 200
MOST_ATTEMPTS: Final = 3
DAY: Final = timedelta(days=1)


class Deed(Enum):
    """What a device asks for, as the audit trail says it."""

    EST_ENROLS = "est_simple_enroll"
    EST_RENEWS = "est_simple_reenroll"
    EST_WANTS_KEY = "est_server_keygen"
    SCEP_ENROLS = "scep_pkcsreq"
    SCEP_RENEWS = "scep_renewalreq"


@frozen(kw_only=True)
class Client:
    """Who asks, as its protocol has authenticated it. `name` is for the audit trail: a subject, a secret's id. With a
    secret of the database `secret_id` is set: whether it is good for this request is for claiming to say."""

    protocol: EnrolmentProtocol
    name: str
    method: str
    request_id: str = ""
    secret_id: EnrolmentSecretId | None = None

    @property
    def actor(self) -> SystemActor:
        return SystemActor(f"{self.protocol.value.lower()}-client", self.request_id)

    @property
    def shown(self) -> str:
        return self.name[:LONGEST_CLIENT]


@frozen(kw_only=True)
class Belonging:
    """Whose the certificates of a label are."""

    owner_id: OwnerId
    team_id: TeamId
    renewal_policy_id: RenewalPolicyId
    environment: str = ""


@frozen(kw_only=True)
class Enrol:
    """One request. `csr` was read with `csr.read`: its key is sound, and in the sender's hands. `renews` is what
    `renewable` found for the certificate that the device shows. `per_day` is how often something of these names may be
    asked for within a day, 0 for any number."""

    protocol: EnrolmentProtocol
    label: str
    transaction: str
    issuer_id: IssuerId
    profile_id: ProfileId | None
    belongs: Belonging
    csr: x509.CertificateSigningRequest
    deed: Deed
    renews: CertificateVersion | None = None
    per_day: int = 0


@frozen
class Enrolled:
    """What became of it. While it is pending `version` is None, and `retry_after` says when to ask again."""

    certificate: ManagedCertificate
    job: Job
    version: CertificateVersion | None = None
    retry_after: timedelta | None = None


def transaction_of(csr: x509.CertificateSigningRequest) -> str:
    """The name of a transaction in a protocol that has none: the digest of the key."""
    return keys.digest(csr)


def enrol(ports: Ports, client: Client, asked: Enrol) -> Enrolled:
    """Have the CSR signed, or say what became of it before.

    Raises `Refused` for what profile, policy or the certificate being renewed do not permit and for what was refused
    before, `Conflict` for a transaction of another key and while another request for the same certificate is under
    way, `NotAuthenticated` for a secret that is used up, `Invalid`, and what the CA raises when it says no.
    """
    wanted = csr_reading.wanted_names(asked.csr)
    request = _Request(client, asked, wanted, keys.digest(asked.csr))
    first = ports.together.ask("enrolments", partial(_claim_first, ports), request) if request.is_plain else None
    claimed = first or _claim_alone(ports, request)
    if isinstance(claimed, CertctlError):
        raise claimed
    return claimed if isinstance(claimed, Enrolled) else _carry_out(ports, claimed)


def poll(ports: Ports, client: Client, protocol: EnrolmentProtocol, label: str, transaction: str) -> Enrolled:
    """What became of an earlier request; one that has been approved meanwhile goes on. Raises `NotFound` when there is
    none, and as `enrol`."""
    try:
        claimed = _claim_known(ports, client, protocol, label, transaction)
    except Duplicate:
        claimed = _claim_known(ports, client, protocol, label, transaction)
    return claimed if isinstance(claimed, Enrolled) else _carry_out(ports, claimed)


def _claim_known(
    ports: Ports, client: Client, protocol: EnrolmentProtocol, label: str, transaction: str
) -> Order | Enrolled:
    now = ports.clock.now()
    with ports.work() as work:
        known = _known(work, protocol, label, transaction)
        if known is None:
            raise NotFound.of("enrolment", transaction[:100])
        return _go_on(ports, work, client, known, now)


def renewable(ports: Ports, shown: x509.Certificate) -> CertificateVersion | None:
    """The version that a certificate is, if certctl issued it for a device and it is still good: neither revoked nor
    over, nor is what it is a version of."""
    now = ports.clock.now()
    with ports.work() as work:
        version = work.versions.with_fingerprint(reading.fingerprint(shown))
        if version is None or not version.not_before <= now < version.not_after:
            return None
        is_revoked = work.revocations.find(version.issuer_id, version.serial_number) is not None
        return None if is_revoked else version


def _carry_out(ports: Ports, order: Order) -> Enrolled:
    """A CA that does not answer is no failure of the device: the job goes on by itself."""
    outcome = issuance.carry_out(ports, order)
    if isinstance(outcome.error, (Refused, UpstreamRejected)):
        raise outcome.error
    if outcome.version is not None:
        return Enrolled(order.certificate, outcome.job, outcome.version)
    return _pending(order.certificate, outcome.job, ports.clock.now())


# --- claim ------------------------------------------------------------------------------------------------------------


@frozen
class _Request:
    """Who asks for what, the names in the CSR, and the digest of its key."""

    client: Client
    asked: Enrol
    wanted: tuple[str, tuple[str, ...]]
    key_sha256: str

    @property
    def is_plain(self) -> bool:
        """Whether it may be a first request that nothing stands in the way of."""
        return self.asked.renews is None and not self.asked.per_day


@frozen
class _Known:
    """An earlier request of this transaction: its certificate and its job, held, and what was issued."""

    enrolment: Enrolment
    certificate: ManagedCertificate
    job: Job


def _claim_alone(ports: Ports, request: _Request) -> Order | Enrolled:
    try:
        return _claim(ports, request)
    except Duplicate:  # The same arrived twice, and the other was faster; or the key has a certificate already.
        return _claim(ports, request, is_there=True)


def _claim(ports: Ports, request: _Request, *, is_there: bool = False) -> Order | Enrolled:
    now = ports.clock.now()
    client, asked, wanted = request.client, request.asked, request.wanted
    with ports.work() as work:
        known = _known(work, asked.protocol, asked.label, asked.transaction)
        if known is not None and known.enrolment.key_sha256 != request.key_sha256:
            raise Conflict("this transaction is another key's", hint="Begin another transaction.")
        if client.secret_id is not None:
            enrolment_secrets.use(work, client.secret_id, asked.transaction, wanted, now)
        if known is not None and not _is_forgotten(known.job, now) and not _was_answered(known.job, asked):
            return _go_on(ports, work, client, known, now)
        if asked.per_day:
            _use_quota(work, asked, wanted, now)
        certificate = _certificate(work, request, known, now, is_there=is_there)
        return _begin(ports, work, request, certificate, known, now)


def _known(work: Work, protocol: EnrolmentProtocol, label: str, transaction: str) -> _Known | None:
    found = work.enrolments.of_transaction(protocol, label, transaction)
    if found is None:
        return None
    certificate = work.certificates.lock(found.certificate_id)
    # Before it was ours, somebody else may have begun the transaction anew.
    enrolment = work.enrolments.of_transaction(protocol, label, transaction)
    if enrolment is None or enrolment.certificate_id != certificate.id:
        raise Duplicate("the transaction was begun anew meanwhile")
    return _Known(enrolment, certificate, work.jobs.lock(enrolment.job_id))


def _use_quota(work: Work, asked: Enrol, wanted: tuple[str, tuple[str, ...]], now: datetime) -> None:
    """Raises `QuotaExceeded`. Devices are told apart by their names: many may show the same password."""
    device = wanted[0] or wanted[1][0]
    again = work.quotas.take(f"{asked.protocol.value} {asked.label}", device.lower(), asked.per_day, DAY, now)
    if again is not None:
        seconds = max(1, math.ceil((again - now).total_seconds()))
        raise QuotaExceeded(
            f"{device} may enrol {asked.per_day} times within a day, and has",
            retry_after=seconds,
            hint=f"The next time is possible in {seconds} seconds.",
        )


def _was_answered(job: Job, asked: Enrol) -> bool:
    """Whether the device has what this transaction gave it: it is what it shows, and wants to have renewed."""
    return asked.renews is not None and asked.renews.id == job.version_id


def _is_forgotten(job: Job, now: datetime) -> bool:
    is_over = job.status not in OPEN_JOB and job.next_attempt_at is None
    return is_over and now - (job.completed_at or job.updated_at) > enrolling.REMEMBERED


def _go_on(ports: Ports, work: Work, client: Client, known: _Known, now: datetime) -> Order | Enrolled:
    """What became of an earlier request, or its order, if it has been approved and nobody has begun it."""
    job, certificate = known.job, known.certificate
    match job.status:
        case JobStatus.COMPLETED if job.version_id is not None:
            if certificate.status in (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED):
                raise Refused(f"the certificate of this key is {certificate.status.value}")
            return Enrolled(certificate, job, work.versions.get(job.version_id))
        case JobStatus.CANCELLED:
            raise Refused(f"the request was turned down: {job.last_error}")
        case JobStatus.FAILED if job.next_attempt_at is None:
            raise Refused(f"the request has failed: {job.last_error}")
        case JobStatus.AWAITING_CSR:
            return _resume(ports, work, client, known, now)
        case _:
            return _pending(certificate, job, now)


def _pending(certificate: ManagedCertificate, job: Job, now: datetime) -> Enrolled:
    match job.status:
        case JobStatus.FAILED:
            at = job.next_attempt_at
        case JobStatus.PENDING:
            at = job.scheduled_at
        case JobStatus.RUNNING:
            at = now
        case _:
            at = None
    return Enrolled(certificate, job, None, enrolling.look_again(at, now))


def _resume(ports: Ports, work: Work, client: Client, known: _Known, now: datetime) -> Order | Enrolled:
    """A job whose CSR has been known from the beginning, and that was approved or is to be tried again."""
    rules = Rules.read(work, [known.certificate])
    allowed = Consent.read(ports, work, [known.certificate], rules.profiles, [known.job], rules.issuers)
    if not allowed.covers(known.certificate, known.job):
        asked = allowed.ask_again(known.certificate, known.job, now)
        job = work.jobs.save(asked.job)
        consent.write(work, [asked])
        if not asked.is_given:
            return _pending(known.certificate, job, now)
        known = evolve(known, job=job)
    proof = OrderedByEnrolment(known.job, known.enrolment)
    order = orders.begin(ports, rules, known.certificate, known.enrolment.csr, proof, now)
    compliance.permit(work, order.certificate, order.plan, now)
    (written,) = orders.write(work, [order])
    work.audit.add(
        audit.event(client.actor, now, "csr_submitted", "certificate", order.certificate.id, job_id=order.job.id)
    )
    return written


# --- claim together ---------------------------------------------------------------------------------------------------


def _claim_first(ports: Ports, requests: Sequence[_Request]) -> Sequence[Order | CertctlError | None]:
    """What became of plain requests: an order, or why there is none. None goes alone, and keeps the others waiting for
    nothing: repetitions, single-use secrets and approvals do, and all when the database takes exception to one."""
    try:
        with ports.work() as work:
            outcomes = _claim_plain(ports, work, dict(enumerate(requests)), ports.clock.now())
    except (Duplicate, Invalid):
        outcomes = {}
    return [outcomes.get(index) for index in range(len(requests))]


def _claim_plain(
    ports: Ports, work: Work, requests: Mapping[int, _Request], now: datetime
) -> Mapping[int, Order | CertctlError]:
    fresh = _with_good_secrets(work, _fresh(work, requests), now)
    made = {index: _new(request, now) for index, request in fresh.items() if isinstance(request, _Request)}
    rules = Rules.read(work, made.values())
    allowed = Consent.read(ports, work, made.values(), rules.profiles, (), rules.issuers)
    made = {index: one for index, one in made.items() if not allowed.is_needed(one)}
    outcomes: dict[int, Order | CertctlError] = {
        index: one for index, one in fresh.items() if isinstance(one, CertctlError)
    }
    if not made:
        return outcomes
    judged, refused = compliance.admit_many(work, list(made.values()), now)
    admitted = {one.id: one for one in judged.certificates}
    begun: dict[int, tuple[Order, Enrolment]] = {}
    for index, certificate in made.items():
        if certificate.id in refused:
            outcomes[index] = refused[certificate.id]
            continue
        request = requests[index]
        job = _job(request.client, certificate, now)
        enrolment = _enrolment(request, certificate, job, now)
        try:
            proof = OrderedByEnrolment(job, enrolment)
            begun[index] = (
                orders.begin(ports, rules, admitted[certificate.id], request.asked.csr, proof, now),
                enrolment,
            )
        except CertctlError as problem:
            outcomes[index] = problem
    forbidden = compliance.refusals(work, [(order.certificate, order.plan) for order, _ in begun.values()], now)
    outcomes |= {
        index: forbidden[order.certificate.id]
        for index, (order, _) in begun.items()
        if order.certificate.id in forbidden
    }
    good = {index: each for index, each in begun.items() if index not in outcomes}
    written = orders.open_new(work, [order for order, _ in good.values()])
    work.enrolments.add_many([enrolment for _, enrolment in good.values()])
    for index, order in zip(good, written, strict=True):
        outcomes[index] = order
    kept = {order.certificate.id for order in written}
    work.audit.add(
        *(
            _event(
                requests[index].client,
                requests[index].asked,
                order.certificate,
                order.job,
                now,
                serial=order.attempt.serial_number,
            )
            for index, (order, _) in good.items()
        )
    )
    compliance.record(
        work, SYSTEM, evolve(judged, certificates=tuple(one for one in judged.certificates if one.id in kept))
    )
    return outcomes


def _fresh(work: Work, requests: Mapping[int, _Request]) -> Mapping[int, _Request]:
    """Those whose transactions nobody has begun, and that no other of them is about."""
    places: dict[tuple[EnrolmentProtocol, str], dict[str, int]] = {}
    for index, request in requests.items():
        asked = request.asked
        places.setdefault((asked.protocol, asked.label), {}).setdefault(asked.transaction, index)
    first: set[int] = set()
    for (protocol, label), transactions in places.items():
        known = work.enrolments.known(protocol, label, transactions)
        first |= {index for transaction, index in transactions.items() if transaction not in known}
    return {index: request for index, request in requests.items() if index in first}


def _with_good_secrets(
    work: Work, requests: Mapping[int, _Request], now: datetime
) -> Mapping[int, _Request | CertctlError]:
    """Those that need no secret, or have a shared one; and why shared ones are not good for what is asked."""
    wanted = {one.client.secret_id for one in requests.values() if one.client.secret_id is not None}
    found = work.enrolment_secrets.many(wanted) if wanted else {}
    left: dict[int, _Request | CertctlError] = {}
    used: dict[EnrolmentSecretId, None] = {}
    for index, request in requests.items():
        if request.client.secret_id is None:
            left[index] = request
            continue
        secret = found.get(request.client.secret_id)
        if secret is None or secret.single_use:
            continue
        try:
            enrolment_secrets.must_be_usable(secret, request.wanted, now)
        except CertctlError as problem:
            left[index] = problem
        else:
            left[index] = request
            used[secret.id] = None
    for identity in used:
        work.enrolment_secrets.used(identity, now)
    return left


# --- what is to be issued ---------------------------------------------------------------------------------------------


def _certificate(
    work: Work, request: _Request, known: _Known | None, now: datetime, *, is_there: bool
) -> ManagedCertificate:
    """The managed certificate that gets a version, in renewal: a new one, or the one that is renewed, held."""
    asked, wanted = request.asked, request.wanted
    if asked.renews is not None:
        return _renewed(work, asked, asked.renews, now)
    if is_there and known is None and (mine := _of_this_key(work, request)):
        return _in_renewal(work, asked, mine, now)
    if known is not None and known.certificate.status is not CertificateStatus.ARCHIVED:
        if known.certificate.status is CertificateStatus.REVOKED:
            raise Refused("this key is that of a certificate that was revoked", hint="Make another key.")
        if (known.certificate.common_name, set(known.certificate.sans)) == (wanted[0], set(wanted[1])):
            return _in_renewal(work, asked, known.certificate, now)
    return _new(request, now)


def _of_this_key(work: Work, request: _Request) -> ManagedCertificate | None:
    """The certificate that a device has for this key and these names, held, when it asks in another transaction."""
    asked, wanted = request.asked, request.wanted
    name = enrolling.called(asked.protocol, *wanted, request.key_sha256)
    for found in work.certificates.page(Query((Where("name", name),), limit=10, count=False)).items:
        latest = work.versions.latest(found.id)
        is_here = (found.source, found.enrolment_label) == (asked.protocol.source, asked.label)
        if is_here and latest is not None and keys.same_key(latest.certificate, asked.csr):
            held = work.certificates.lock(found.id)
            if held.status not in (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED):
                return held if set(held.sans) == set(wanted[1]) else None
    return None


def _new(request: _Request, now: datetime) -> ManagedCertificate:
    client, asked = request.client, request.asked
    common_name, sans = request.wanted
    belongs = asked.belongs
    return life.step(
        ManagedCertificate(
            id=CertificateId(mint("cert", now)),
            name=enrolling.called(asked.protocol, common_name, sans, request.key_sha256),
            common_name=common_name,
            sans=sans,
            environment=belongs.environment,
            owner_id=belongs.owner_id,
            team_id=belongs.team_id,
            issuer_id=asked.issuer_id,
            renewal_policy_id=belongs.renewal_policy_id,
            profile_id=asked.profile_id,
            source=asked.protocol.source,
            enrolment_label=asked.label,
            ordered_by=f"{client.actor.name} {client.shown}",
            created_at=now,
            updated_at=now,
        ),
        CertificateEvent.RENEW,
        now,
    )


def _renewed(work: Work, asked: Enrol, shown: CertificateVersion, now: datetime) -> ManagedCertificate:
    certificate = work.certificates.lock(shown.certificate_id)
    if (certificate.source, certificate.enrolment_label) != (asked.protocol.source, asked.label):
        raise Refused(
            "the certificate being renewed was not enrolled here",
            hint="Renew where the certificate was enrolled, or enrol anew.",
        )
    if work.revocations.find(shown.issuer_id, shown.serial_number) is not None:
        raise Refused("the certificate being renewed is revoked")
    csr_reading.check_renews(asked.csr, shown.certificate, shown.csr)
    return _in_renewal(work, asked, certificate, now)


def _in_renewal(work: Work, asked: Enrol, certificate: ManagedCertificate, now: datetime) -> ManagedCertificate:
    """The certificate as it is to be issued next: by the rules of its label as they are now."""
    if any(job.type in ISSUING for job in work.jobs.open_of(certificate.id)):
        raise Conflict(
            f"another request for certificate {certificate.id} is under way", hint="Ask again when that has ended."
        )
    if not CERTIFICATE.allows(certificate.status, CertificateEvent.RENEW):
        raise Refused(f"the certificate being renewed is {certificate.status.value}", hint="Enrol anew.")
    return life.step(
        certificate,
        CertificateEvent.RENEW,
        now,
        renew_at=None,
        issuer_id=asked.issuer_id,
        profile_id=asked.profile_id,
    )


# --- begin ------------------------------------------------------------------------------------------------------------


def _begin(
    ports: Ports,
    work: Work,
    request: _Request,
    certificate: ManagedCertificate,
    known: _Known | None,
    now: datetime,
) -> Order | Enrolled:
    """Write it down: enrolment, certificate, job and attempt, or the approval that it has to wait for."""
    client, asked = request.client, request.asked
    is_new = certificate.generation == 0
    judged = compliance.admit(work, certificate, now)
    certificate = judged.certificate
    rules = Rules.read(work, [certificate])
    job = _job(client, certificate, now)
    enrolment = _enrolment(request, certificate, job, now)
    allowed = Consent.read(ports, work, [certificate], rules.profiles, (), rules.issuers)
    if not allowed.covers(certificate, job):
        consented = allowed.ask(certificate, job, client.actor, now)
        job = consented.job
        if not consented.is_given:
            _must_be_issuable(ports, rules, certificate, asked, enrolment, job, now)
            certificate = _kept(work, certificate, is_new=is_new)
            work.jobs.add(job)
            consent.write(work, [consented])
            _remember(work, enrolment, known)
            work.audit.add(_event(client, asked, certificate, job, now))
            compliance.record(work, client.actor, judged)
            return _pending(certificate, job, now)
    order = orders.begin(ports, rules, certificate, asked.csr, OrderedByEnrolment(job, enrolment), now)
    compliance.permit(work, order.certificate, order.plan, now)
    if is_new:
        (order,) = orders.open_new(work, [order])
    else:
        work.jobs.add(job)
        (order,) = orders.write(work, [order])
    _remember(work, enrolment, known)
    work.audit.add(_event(client, asked, certificate, job, now, serial=order.attempt.serial_number))
    compliance.record(work, client.actor, judged)
    return order


def _must_be_issuable(
    ports: Ports,
    rules: Rules,
    certificate: ManagedCertificate,
    asked: Enrol,
    enrolment: Enrolment,
    job: Job,
    now: datetime,
) -> None:
    """Nobody is asked to approve what would be refused afterwards. Raises `Refused`."""
    unparked = evolve(job, status=JobStatus.PENDING)
    orders.begin(ports, rules, certificate, asked.csr, OrderedByEnrolment(unparked, enrolment), now)


def _kept(work: Work, certificate: ManagedCertificate, *, is_new: bool) -> ManagedCertificate:
    if not is_new:
        return work.certificates.save(certificate)
    work.certificates.add(certificate)
    return certificate


def _job(client: Client, certificate: ManagedCertificate, now: datetime) -> Job:
    return Job(
        id=JobId(mint("job", now)),
        type=JobType.ISSUANCE if certificate.expires_at is None else JobType.RENEWAL,
        certificate_id=certificate.id,
        status=JobStatus.PENDING,
        max_attempts=MOST_ATTEMPTS,
        requested_by=f"{client.actor.name} {client.shown}",
        scheduled_at=now,
        created_at=now,
        updated_at=now,
    )


def _enrolment(request: _Request, certificate: ManagedCertificate, job: Job, now: datetime) -> Enrolment:
    asked = request.asked
    return Enrolment(
        id=EnrolmentId(mint("enrolment", now)),
        protocol=asked.protocol,
        label=asked.label,
        transaction=asked.transaction,
        key_sha256=request.key_sha256,
        csr=asked.csr,
        certificate_id=certificate.id,
        job_id=job.id,
        client=request.client.shown,
        created_at=now,
        updated_at=now,
    )


def _remember(work: Work, enrolment: Enrolment, known: _Known | None) -> None:
    """In the place of an earlier one of the same transaction."""
    if known is None:
        work.enrolments.add(enrolment)
    else:
        before = known.enrolment
        work.enrolments.save(evolve(enrolment, id=before.id, created_at=before.created_at, revision=before.revision))


def _event(
    client: Client, asked: Enrol, certificate: ManagedCertificate, job: Job, now: datetime, **more: str
) -> AuditEvent:
    secret = {"secret_id": client.secret_id} if client.secret_id is not None else {}
    return audit.event(
        client.actor,
        now,
        asked.deed.value,
        "certificate",
        certificate.id,
        protocol=asked.protocol.value,
        label=asked.label,
        transaction_id=asked.transaction,
        client=client.shown,
        method=client.method,
        common_name=certificate.common_name,
        sans=list(certificate.sans),
        issuer_id=certificate.issuer_id,
        profile_id=certificate.profile_id,
        job_id=job.id,
        **secret,
        **more,
    )
