"""PKCSReq and RenewalReq (RFC 8894 section 3.3.1): who may have what signed, and each message once."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from attrs import frozen
from cryptography import x509

from certctl_core.errors import QuotaExceeded, Refused, Unreadable
from certctl_core.models.certificates import CertificateVersion
from certctl_core.models.enrolment import EnrolmentProtocol
from certctl_core.pki import cms, keys, names, scep
from certctl_core.pki import csr as csr_reading
from certctl_core.pki.scep import FailInfo, MessageType
from certctl_core.policy import enrolling, intune
from certctl_core.policy.intune import Verdict
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import enrolment, scep_challenges
from certctl_core.usecases.enrolment import Deed, Enrol, Enrolled
from certctl_core.usecases.scep_asked import Answered, Asked, became, failed, holder
from certctl_core.usecases.scep_challenges import Admitted, TurnedAway
from certctl_core.usecases.scep_doors import Door

REPEATABLE: Final = enrolling.REMEMBERED
REMEMBERED: Final = timedelta(days=7)
NONCES: Final = "scep nonce "


def enrol(asked: Asked) -> Answered:
    csr = asked.content
    if not isinstance(csr, x509.CertificateSigningRequest):
        raise Unreadable(cms.CLOSED)
    renewed = _renewed(asked, csr)
    admitted = _admitted(asked, csr) if renewed is None else Admitted(holder(asked))
    if isinstance(admitted, TurnedAway):
        _count(asked, admitted.verdict)
        text = "the challenge is not accepted"
        return failed(asked.standing, asked.request, FailInfo.BAD_REQUEST, text, admitted.why)
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


def _renewed(asked: Asked, csr: x509.CertificateSigningRequest) -> CertificateVersion | None:
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


def _admitted(asked: Asked, csr: x509.CertificateSigningRequest) -> Admitted | TurnedAway:
    """Whoever enrols a first time signs with the key that it wants a certificate for (section 2.3). Raises `Refused`
    for another key."""
    if not keys.same_key(csr, asked.signer):
        raise Refused("the message is not signed with the key that a certificate is asked for")
    return scep_challenges.judge(asked.ports, asked.door, csr, asked.request_id)


@frozen
class _Use:
    """What a message uses up: its nonce, and the challenge of a connector if it has one, for this transaction."""

    door: Door
    nonce: bytes
    digest: bytes
    challenge: intune.Challenge | None
    transaction: bytes


def _use_up(asked: Asked, csr: x509.CertificateSigningRequest, admitted: Admitted) -> None:
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


def _count(asked: Asked, verdict: Verdict | None) -> None:
    if verdict is not None:
        asked.ports.meter.challenged(asked.door.label, verdict.value)


def _enrolled(asked: Asked, csr: x509.CertificateSigningRequest, enrolled: Enrolled) -> Answered:
    """What became of it, when it is what this CSR asks for: a transaction is that of one request (section 3.2.1.1)."""
    if not _is_for(csr, enrolled):
        raise Refused("this transaction is that of a request for other names")
    return became(asked, enrolled)


def _is_for(csr: x509.CertificateSigningRequest, enrolled: Enrolled) -> bool:
    common_name, sans = csr_reading.wanted_names(csr)
    certificate = enrolled.certificate
    wanted = names.names_of(common_name, sans, is_enrolled=True)
    given = names.names_of(certificate.common_name, certificate.sans, is_enrolled=True)
    is_called_so = common_name.casefold() == certificate.common_name.casefold()
    return is_called_so and names.same_names(wanted, given)
