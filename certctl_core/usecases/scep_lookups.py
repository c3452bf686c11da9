"""CertPoll, GetCert and GetCRL (RFC 8894 sections 3.3.3 to 3.3.5): what there is, for who may know."""

from typing import Final

from certctl_core.errors import NotFound, Refused, Unreadable, UpstreamUnavailable
from certctl_core.models.enrolment import Enrolment, EnrolmentProtocol
from certctl_core.pki import cms, keys
from certctl_core.pki.scep import IssuerAndSubject, Named
from certctl_core.usecases import crls, enrolment
from certctl_core.usecases.scep_asked import Answered, Asked, became, holder

MAX_CRL: Final = 1 << 20
"""A longer CRL is not put into a message, which is held whole several times while it is made."""


def poll(asked: Asked) -> Answered:
    """What became of an earlier request, for whoever made it."""
    transaction = asked.request.transaction_id
    with asked.ports.work() as work:
        found = work.enrolments.of_transaction(EnrolmentProtocol.SCEP, asked.door.label, transaction)
    unknown = NotFound.of("transaction", transaction)
    if found is None or not isinstance(asked.content, IssuerAndSubject):
        raise unknown
    if asked.content.subject != found.csr.subject or not _made(asked, found):
        raise unknown
    enrolled = enrolment.poll(asked.ports, holder(asked), EnrolmentProtocol.SCEP, asked.door.label, transaction)
    return became(asked, enrolled)


def _made(asked: Asked, found: Enrolment) -> bool:
    """Whether the signer made this request: with the key that it was for, or with the certificate that it renews."""
    if keys.same_key(found.csr, asked.signer):
        return True
    shown = enrolment.renewable(asked.ports, asked.signer)
    return shown is not None and shown.certificate_id == found.certificate_id


def get_cert(asked: Asked) -> Answered:
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


def get_crl(asked: Asked) -> Answered:
    """The CRL that the certificate which is named is on, or would be. Anybody may have it."""
    wanted = asked.content
    if not isinstance(wanted, Named):
        raise Unreadable(cms.CLOSED)
    with asked.ports.work() as work:
        known = work.versions.with_serial(asked.door.issuer_id, wanted.serial_number)
    issuer = known.certificate.issuer if known is not None else asked.standing.chain[0].subject
    if issuer != wanted.issuer:
        raise NotFound("there is no CA of this name here")
    stored = crls.of_certificate(asked.ports, asked.door.issuer_id, wanted.serial_number)
    if stored is None:
        raise UpstreamUnavailable("the CRL is being made", hint="Try again in a moment.")
    if stored.size > MAX_CRL:
        raise Refused(f"the CRL has {stored.size} octets", hint="Fetch it where the certificates say.")
    der = b"".join(crls.content(asked.ports, stored))
    return Answered(asked.granted(crls=[der]), "shown", asked.request)
