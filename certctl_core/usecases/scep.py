"""SCEP (RFC 8894): devices enrol, renew, and fetch certificates and CRLs.

Theory of operation. A message passes three gates, each of which may end it with an answer of its own: it can be
answered (`pki.scep.receive`), its signature verifies, its envelope opens (`pki.scep`). Up to here nothing is stored and
nothing is told that depends on what is inside. Then it is acted on.

A first enrolment shows a challenge (`scep_challenges`), and is signed with the key that it asks a certificate for. A
renewal is signed with the certificate that it renews: one that was issued here, that has neither ended nor been
revoked. From there on it is the one issuing door for devices (`enrolment`): a transaction that is repeated with the
same key is answered with what became of it, with another one it is refused.

A message may be repeated for as long as a device that was not answered repeats it; after that it is a replay, and so
is a nonce that comes with another message. Nonces are remembered for longer than the signing time of a message may be
off.

    scep:1   the challenge and the nonce are used up, nothing is enrolled: repeating the message goes on from there
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from attrs import frozen
from cryptography import x509

from certctl_core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotAuthenticated,
    NotFound,
    QuotaExceeded,
    Refused,
    TooMany,
    Unreadable,
    UpstreamRejected,
    UpstreamUnavailable,
)
from certctl_core.models.authorities import AuthorityState
from certctl_core.models.certificates import CertificateVersion
from certctl_core.models.delegates import Purpose
from certctl_core.models.enrolment import Enrolment, EnrolmentProtocol
from certctl_core.pki import cms, keys, names, paths, reading, scep
from certctl_core.pki import csr as csr_reading
from certctl_core.pki.cms import Cipher
from certctl_core.pki.scep import FailInfo, IssuerAndSubject, MessageType, Named
from certctl_core.policy import enrolling, intune
from certctl_core.policy.intune import Verdict
from certctl_core.ports import Ports
from certctl_core.ports.issuer import SignsMessages
from certctl_core.ports.store import Work
from certctl_core.usecases import crls, delegates, enrolment, scep_challenges
from certctl_core.usecases.enrolment import Client, Deed, Enrol, Enrolled
from certctl_core.usecases.scep_challenges import Admitted, TurnedAway
from certctl_core.usecases.scep_doors import Door, Doors, Standing

REPEATABLE: Final = enrolling.REMEMBERED
REMEMBERED: Final = timedelta(days=7)
BATCH: Final = 1000
NONCES: Final = "scep nonce "
MAX_CLIENT: Final = 200
MAX_CRL: Final = 1 << 20
"""A longer CRL is not put into a message, which is held whole several times while it is made."""


@frozen
class Answered:
    """A message for the client. `outcome` is the word of the counters, `why` what the operator should know of it."""

    message: bytes
    outcome: str
    request: scep.Request
    why: str = ""


def must_be_trusted(ports: Ports, door: Door, shown: x509.Certificate | None) -> None:
    """Raises `NotAuthenticated` unless a client has shown a certificate in TLS that leads to what the door trusts, and
    `NotFound` for a door that has no use for one."""
    if door.client_authorities is None:
        raise NotFound("this SCEP service is at /scep", hint="Clients need not show a certificate in TLS there.")
    trusted, now = door.client_authorities(), ports.clock.now()
    if shown is None or reading.facts(shown).is_ca or not paths.judge(shown, trusted, trusted, now, eku="clientAuth"):
        raise NotAuthenticated(
            "a TLS client certificate that is trusted here is needed",
            hint="It is from a CA of the door's trust bundle, valid now, and for clients.",
        )
    with ports.work() as work:
        ours = work.versions.with_fingerprint(reading.fingerprint(shown))
        if ours is not None and work.revocations.find(ours.issuer_id, ours.serial_number) is not None:
            raise NotAuthenticated("the TLS client certificate is revoked")


# --- GetCACaps, GetCACert, GetNextCACert ------------------------------------------------------------------------------


def capabilities(ports: Ports, doors: Doors, door: Door) -> Sequence[str]:
    """What the door can do (section 3.5.2)."""
    found = ["AES", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-256", "SHA-512"]
    if doors.standing(ports, door).announces:
        found.append("GetNextCACert")
    if Cipher.TRIPLE_DES in door.accepted.ciphers:
        found.append("DES3")
    if cms.Digest.SHA1 in door.accepted.digests:
        found.append("SHA-1")
    return found


def authorities(ports: Ports, doors: Doors, door: Door) -> Sequence[x509.Certificate]:
    """The RA and the chain of the CA (section 4.2)."""
    standing = doors.standing(ports, door)
    return tuple(dict.fromkeys((standing.signer.certificate, *standing.chain)))


def next_authorities(ports: Ports, doors: Doors, door: Door) -> bytes:
    """The chain of the CA that will follow the present one, and its RA, in a message that the present CA has signed
    (section 4.7): a CA that is active and has never signed new leafs, the newest of them. Raises `NotFound` while there
    is none, or nobody who could tell."""
    issuer = doors.standing(ports, door).issuer
    with ports.work() as work:
        coming = [
            one
            for one in work.authorities.of_issuer(issuer.id)
            if one.state is AuthorityState.ACTIVE and one.signs_from is None and one.chain
        ]
    connected = ports.issuers.connect(issuer)
    if not coming or not isinstance(connected, SignsMessages):
        raise NotFound("the CA of this service is not about to be followed by another one")
    chain = [reading.certificate(one) for one in coming[-1].chain]
    identifier = reading.key_identifier_of(chain[0]).hex()
    if door.own_ra is None:
        chain.append(delegates.current(ports, issuer, Purpose.RA, door.label, authority=identifier).certificate)
    return connected.sign_message(cms.degenerate(chain))


# --- PKIOperation -----------------------------------------------------------------------------------------------------


@frozen
class _Asked:
    """A message that passed all gates, at its door."""

    ports: Ports
    door: Door
    standing: Standing
    request: scep.Request
    signer: x509.Certificate
    content: scep.Content
    cipher: Cipher
    digest: bytes
    request_id: str

    @property
    def now(self) -> datetime:
        return self.ports.clock.now()

    def granted(self, certificates: Sequence[x509.Certificate] = (), crls: Sequence[bytes] = ()) -> bytes:
        return scep.granted(self.request, self.standing.signer, self.cipher, certificates=certificates, crls=crls)


def operate(ports: Ports, doors: Doors, door: Door, data: bytes, request_id: str = "") -> Answered:
    """The answer to a message.

    Raises `TooLarge` and `Unreadable` for what cannot be answered in SCEP, `NotConfigured` when nobody can speak for
    the CA, and `UpstreamUnavailable` when there is nobody to ask.
    """
    request = scep.receive(data)
    standing = doors.standing(ports, door)
    try:
        request = request.verified(door.accepted)
        if request.kind is None:
            return _failed(standing, request, FailInfo.BAD_REQUEST, "the message type is not known")
        signer = _recipient(request)
        content, cipher = request.content(standing.recipients, door.accepted)
    except Unreadable as error:
        return _failed(standing, request, FailInfo.BAD_MESSAGE_CHECK, error.message)
    except Refused as error:
        return _failed(standing, request, FailInfo.BAD_ALG, error.message)
    if request.signing_time is not None and abs(request.signing_time - ports.clock.now()) > door.tolerance:
        return _failed(standing, request, FailInfo.BAD_TIME, "the signing time is not of now")
    digest = hashlib.sha256(data).digest()
    asked = _Asked(ports, door, standing, request, signer, content, cipher, digest, request_id)
    return _acted_on(asked)


def _recipient(request: scep.Request) -> x509.Certificate:
    """The signer, when it can be answered to. Raises `Refused`."""
    if request.signer is None:
        raise Refused("the message was not verified")
    cms.must_be_recipient(request.signer)
    return request.signer


def _acted_on(asked: _Asked) -> Answered:
    try:
        match asked.request.kind:
            case MessageType.PKCS_REQ | MessageType.RENEWAL_REQ:
                return _enrol(asked)
            case MessageType.CERT_POLL:
                return _poll(asked)
            case MessageType.GET_CERT:
                return _get_cert(asked)
            case _:
                return _get_crl(asked)
    except NotFound as error:
        return _failed(asked.standing, asked.request, FailInfo.BAD_CERT_ID, error.message)
    except _FINAL as error:
        return _failed(asked.standing, asked.request, FailInfo.BAD_REQUEST, error.message)


_FINAL: Final = (Invalid, NotAuthenticated, Forbidden, Conflict, Refused, TooMany, UpstreamRejected)


def _failed(standing: Standing, request: scep.Request, info: FailInfo, text: str, why: str = "") -> Answered:
    return Answered(scep.failed(request, standing.signer, info, text), info.name.lower(), request, why or text)


# --- PKCSReq and RenewalReq -------------------------------------------------------------------------------------------


def _enrol(asked: _Asked) -> Answered:
    csr = asked.content
    if not isinstance(csr, x509.CertificateSigningRequest):
        raise Unreadable(cms.CLOSED)
    renewed = _renewed(asked, csr)
    admitted = _admitted(asked, csr) if renewed is None else Admitted(_holder(asked))
    if isinstance(admitted, TurnedAway):
        _count(asked, admitted.verdict)
        text = "the challenge is not accepted"
        return _failed(asked.standing, asked.request, FailInfo.BAD_REQUEST, text, admitted.why)
    _use_up(asked, csr, admitted)
    asked.ports.tripwire("scep:1")
    wish = Enrol(
        protocol=EnrolmentProtocol.SCEP,
        label=asked.door.label,
        transaction=asked.request.transaction_id,
        issuer_id=asked.door.issuer_id,
        profile_id=asked.door.profile_id,
        belongs=asked.door.belongs,
        csr=csr,
        deed=Deed.SCEP_ENROLS if renewed is None else Deed.SCEP_RENEWS,
        renews=renewed,
    )
    return _enrolled(asked, csr, enrolment.enrol(asked.ports, admitted.client, wish))


def _renewed(asked: _Asked, csr: x509.CertificateSigningRequest) -> CertificateVersion | None:
    """What a message is to renew. Clients that are older than RenewalReq send a PKCSReq that is signed with the
    certificate that they have: without a challenge, or for another key. Raises `Refused` for a RenewalReq that is
    signed with anything else."""
    is_renewal = asked.request.kind is MessageType.RENEWAL_REQ
    if not is_renewal and scep.challenge_of(csr) and keys.same_key(csr, asked.signer):
        return None
    found = enrolment.renewable(asked.ports, asked.signer)
    if found is None and is_renewal:
        raise Refused("the message is not signed with a certificate that can be renewed here")
    return found


def _admitted(asked: _Asked, csr: x509.CertificateSigningRequest) -> Admitted | TurnedAway:
    """Whoever enrols a first time signs with the key that it wants a certificate for (section 2.3). Raises `Refused`
    for another key."""
    if not keys.same_key(csr, asked.signer):
        raise Refused("the message is not signed with the key that a certificate is asked for")
    return scep_challenges.judge(asked.ports, asked.door, csr, asked.request_id)


def _holder(asked: _Asked) -> Client:
    """The holder of a certificate of ours, by its subject."""
    name = names.common_name_of(asked.signer.subject) or asked.signer.subject.rfc4514_string()
    return Client(
        protocol=EnrolmentProtocol.SCEP, name=name[:MAX_CLIENT], method="certificate", request_id=asked.request_id
    )


@frozen
class _Use:
    """What a message uses up: its nonce, and the challenge of a connector if it has one, for this transaction."""

    door: Door
    nonce: bytes
    digest: bytes
    challenge: intune.Challenge | None
    transaction: bytes


def _use_up(asked: _Asked, csr: x509.CertificateSigningRequest, admitted: Admitted) -> None:
    """Remember nonce and challenge, both or neither. Raises `Refused` for a replay, and `QuotaExceeded`."""
    transaction = scep_challenges.transaction_of(asked.request, csr)
    use = _Use(asked.door, asked.request.sender_nonce, asked.digest, admitted.signed, transaction)
    problem = asked.ports.together.ask("scep messages", partial(_used_up, asked.ports), use)
    if admitted.signed is not None:
        _count(asked, _VERDICTS.get(type(problem), Verdict.GOOD))
    if problem is not None:
        raise problem


_VERDICTS: Final[dict[type[object], Verdict]] = {
    Refused: Verdict.REPLAYED,
    QuotaExceeded: Verdict.RATE_LIMITED,
}


def _used_up(ports: Ports, uses: Sequence[_Use]) -> Sequence[Refused | QuotaExceeded | None]:
    """What is wrong with each. Of several, one with which something is wrong has nothing remembered of any: they are
    then asked for alone."""
    now = ports.clock.now()
    try:
        with ports.work() as work:
            # In one order everywhere, so that two transactions with the same nonces do not wait in a circle.
            for use in sorted(uses, key=lambda one: one.nonce):
                _must_be_fresh(work, use, now)
                if use.challenge is not None:
                    scep_challenges.use(work, use.door, use.challenge, use.transaction, now)
    except (Refused, QuotaExceeded) as problem:
        if len(uses) > 1:
            raise
        return [problem]
    return [None] * len(uses)


def _must_be_fresh(work: Work, use: _Use, now: datetime) -> None:
    first = work.presented.present(NONCES + use.door.label, use.nonce, use.digest, now, now + REMEMBERED)
    if first.used_for != use.digest:
        raise Refused("the nonce has been used in another message")
    if now - first.at > REPEATABLE:
        raise Refused("the message is a replay of an old one")


def _count(asked: _Asked, verdict: Verdict | None) -> None:
    if verdict is not None:
        asked.ports.meter.challenged(asked.door.label, verdict.value)


def _enrolled(asked: _Asked, csr: x509.CertificateSigningRequest, enrolled: Enrolled) -> Answered:
    """What became of it, when it is what this CSR asks for: a transaction is that of one request (section 3.2.1.1)."""
    if not _is_for(csr, enrolled):
        raise Refused("this transaction is that of a request for other names")
    return _became(asked, enrolled)


def _is_for(csr: x509.CertificateSigningRequest, enrolled: Enrolled) -> bool:
    common_name, sans = csr_reading.wanted_names(csr)
    certificate = enrolled.certificate
    wanted = names.names_of(common_name, sans, is_enrolled=True)
    given = names.names_of(certificate.common_name, certificate.sans, is_enrolled=True)
    is_called_so = common_name.casefold() == certificate.common_name.casefold()
    return is_called_so and names.same_names(wanted, given)


def _became(asked: _Asked, enrolled: Enrolled) -> Answered:
    if enrolled.version is None:
        message = scep.pending(asked.request, asked.standing.signer)
        return Answered(message, "pending", asked.request)
    return Answered(asked.granted([enrolled.version.certificate]), "issued", asked.request)


# --- CertPoll, GetCert, GetCRL ----------------------------------------------------------------------------------------


def _poll(asked: _Asked) -> Answered:
    """What became of an earlier request, for whoever made it."""
    transaction = asked.request.transaction_id
    with asked.ports.work() as work:
        found = work.enrolments.of_transaction(EnrolmentProtocol.SCEP, asked.door.label, transaction)
    unknown = NotFound.of("transaction", transaction)
    if found is None or not isinstance(asked.content, IssuerAndSubject):
        raise unknown
    if asked.content.subject != found.csr.subject or not _made(asked, found):
        raise unknown
    became = enrolment.poll(asked.ports, _holder(asked), EnrolmentProtocol.SCEP, asked.door.label, transaction)
    return _became(asked, became)


def _made(asked: _Asked, found: Enrolment) -> bool:
    """Whether the signer made this request: with the key that it was for, or with the certificate that it renews."""
    if keys.same_key(found.csr, asked.signer):
        return True
    shown = enrolment.renewable(asked.ports, asked.signer)
    return shown is not None and shown.certificate_id == found.certificate_id


def _get_cert(asked: _Asked) -> Answered:
    """A certificate, for holders of certificates of ours."""
    wanted = asked.content
    if not isinstance(wanted, Named):
        raise Unreadable(cms.CLOSED)
    with asked.ports.work() as work:
        found = work.versions.with_serial(asked.door.issuer_id, wanted.serial_number)
    if found is None or found.certificate.issuer != wanted.issuer:
        raise NotFound("there is no such certificate")
    is_own = keys.same_key(found.certificate, asked.signer)
    if not is_own and enrolment.renewable(asked.ports, asked.signer) is None:
        raise Refused("certificates are shown to those who have one from here")
    return Answered(asked.granted([found.certificate]), "shown", asked.request)


def _get_crl(asked: _Asked) -> Answered:
    """The CRL of the CA that is named. Anybody may have it."""
    wanted = asked.content
    if not isinstance(wanted, Named) or asked.standing.chain[0].subject != wanted.issuer:
        raise NotFound("there is no CA of this name here")
    stored = crls.of_certificate(asked.ports, asked.door.issuer_id, wanted.serial_number)
    if stored is None:
        raise UpstreamUnavailable("the CRL is being made", hint="Try again in a moment.")
    if stored.size > MAX_CRL:
        raise Refused(f"the CRL has {stored.size} octets", hint="Fetch it where the certificates say.")
    der = b"".join(crls.content(asked.ports, stored))
    return Answered(asked.granted(crls=[der]), "shown", asked.request)


# --- housekeeping -----------------------------------------------------------------------------------------------------


def forget(ports: Ports) -> int:
    """Forget nonces and challenges whose time is over. Returns how many."""
    done = 0
    while True:
        with ports.work() as work:
            removed = work.presented.forget(ports.clock.now(), BATCH)
        done += removed
        if removed < BATCH:
            return done
