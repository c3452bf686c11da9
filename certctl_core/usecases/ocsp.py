"""OCSP from our own records (RFC 6960): who answers for an issuer, how serial numbers stand, and what has changed.

Every CA of an issuer has a responder of its own, a delegate that it has certified (RFC 6960 section 4.2.2.2); clients
verify an answer with the CA that they ask about and nothing else. `respond` reads everything from the store; a process
that answers thousands a second keeps what the other functions give (`certctl_web.ocsp`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import field, frozen
from cryptography import x509

from certctl_core.errors import CertctlError, NotConfigured, Refused
from certctl_core.ids import AuthorityId, IssuerId
from certctl_core.models.delegates import Purpose
from certctl_core.models.standings import Standing, StatusChanges
from certctl_core.pki import ocsp, reading
from certctl_core.pki.plan import OcspAnswer, OcspQuestion, OcspRequest
from certctl_core.policy import standing
from certctl_core.ports import Ports
from certctl_core.ports.issuer import AuthorityFacts, CertifiesDelegates
from certctl_core.ports.store import Query
from certctl_core.usecases import delegates

LIFE: Final = timedelta(hours=1)
"""From the time of an answer to its nextUpdate."""

CHANGES_KEPT: Final = timedelta(days=1)
MOST_ISSUERS: Final = 1000


@frozen
class Responding:
    """Who answers for one CA of an issuer: the CA's key identifier (hexadecimal), the responder, and its end. `cas` are
    the CAs that this one has certified, itself included when it is a root."""

    authority: str
    responder: ocsp.Responder
    not_after: datetime
    cas: Mapping[str, Standing] = field(factory=dict)

    def answer(self, serial_number: str, found: Standing | None, now: datetime) -> OcspAnswer:
        """What is to be said of a serial number that stands like this."""
        until = min(now + LIFE, self.not_after)
        found = found or self.cas.get(serial_number)
        return standing.answer(found, self.authority, self.responder.issuer, now, until)


def responders(ports: Ports, issuer_id: str) -> tuple[Responding, ...]:
    """One for each CA of the issuer that signs anything, that which signs new leafs first; delegates are made where
    there are none. Raises `NotFound`, and `NotConfigured` for an issuer whose CA answers OCSP itself."""
    with ports.work() as work:
        configured = work.issuers.get(issuer_id)
    certifier = ports.issuers.connect(configured)
    if not isinstance(certifier, CertifiesDelegates):
        raise NotConfigured(f"issuer {issuer_id} runs its own OCSP responder", hint="See the AIA of its certificates.")
    authorities = certifier.authorities()
    with ports.work() as work:
        below = {one.id: work.authorities.children(AuthorityId(one.id)) for one in authorities}
    links = [link for one in authorities for link in one.links]
    found = []
    for authority in authorities:
        identity = authority.key_identifier.hex()
        delegate = delegates.current(ports, configured, Purpose.OCSP, authority=identity)
        responder = ocsp.Responder(authority.certificate, delegate.certificate, delegate.private_key)
        certified = [*links, *(reading.certificate(one.chain[0]) for one in below[authority.id] if one.chain)]
        cas = _cas(authority, certified)
        found.append(Responding(identity, responder, delegate.certificate.not_valid_after_utc, cas))
    return tuple(found)


def _cas(authority: AuthorityFacts, certificates: Sequence[x509.Certificate]) -> Mapping[str, Standing]:
    """Of these, and of its own, what the CA has certified."""
    identity = authority.key_identifier.hex()
    certified = [
        one for one in (*certificates, authority.certificate) if reading.is_issued_by(one, authority.certificate)
    ]
    stand = [Standing(f"{one.serial_number:x}", identity, one.not_valid_after_utc) for one in certified]
    return {one.serial_number: one for one in stand}


def signing_certificate(found: tuple[Responding, ...]) -> x509.Certificate:
    """The CA that a serial number without a CertID is asked about: that which signs new leafs."""
    return found[0].responder.issuer


def responding(found: tuple[Responding, ...], request: OcspRequest) -> Responding:
    """Whoever answers this request. Raises `Refused` when it is about certificates of a CA that is not the issuer's,
    or of several CAs: then nobody may answer all of it (`unauthorized`, RFC 6960 section 2.3)."""
    for one in found:
        if all(map(one.responder.answers_for, request.questions)):
            return one
    reason = "the request is about certificates of another issuer, or of several"
    raise Refused(f"no OCSP response is signed: {reason}", reasons=[reason])


def respond(ports: Ports, issuer_id: str, request: OcspRequest) -> bytes:
    """A signed response (DER). Only serial numbers that this issuer's CA has given are good; any other is unknown, also
    that of a foreign certificate which was imported under this issuer. Raises as `responders` and `responding`."""
    chosen = responding(responders(ports, issuer_id), request)
    now = ports.clock.now()
    stand = standings(ports, issuer_id, {question.serial_number for question in request.questions})
    numbers = [question.serial_number for question in request.questions]
    answers = [chosen.answer(number, stand.get(number), now) for number in numbers]
    return chosen.responder.respond(request, answers, now)


def question_about(found: tuple[Responding, ...], serial_number: str) -> OcspQuestion:
    """The question about a serial number alone. Raises `Invalid` for what is none."""
    return ocsp.request_about(signing_certificate(found), serial_number).questions[0]


def standings(ports: Ports, issuer_id: str, serial_numbers: Collection[str]) -> Mapping[str, Standing]:
    """How these stand with the issuer's CAs; those that they never gave are left out."""
    with ports.work() as work:
        return work.standings.of(IssuerId(issuer_id), serial_numbers)


def unexpired(ports: Ports, issuer_id: str) -> Iterator[Standing]:
    """Every serial number of the issuer that has not expired, as if none were revoked. Read as they are wanted, in one
    transaction that lasts until the last one."""
    with ports.work() as work:
        yield from work.standings.unexpired(IssuerId(issuer_id), ports.clock.now())


def revoked(ports: Ports, issuer_id: str) -> Iterator[Standing]:
    """As `unexpired`, those that are revoked, without the CAs that gave them."""
    with ports.work() as work:
        yield from work.standings.revoked(IssuerId(issuer_id), ports.clock.now())


def issuers(ports: Ports) -> tuple[IssuerId, ...]:
    """Those for which we answer."""
    with ports.work() as work:
        configured = work.issuers.page(Query(limit=MOST_ISSUERS, count=False)).items
    answering = []
    for one in configured:
        try:
            if isinstance(ports.issuers.connect(one), CertifiesDelegates):
                answering.append(one.id)
        except CertctlError:
            continue  # one that cannot be connected keeps no other from being answered for
    return tuple(answering)


def position(ports: Ports) -> int:
    """From where on changes are to be asked for by who reads standings after this."""
    with ports.work() as work:
        return work.standings.position()


def changes(ports: Ports, since: int) -> StatusChanges:
    """What has been revoked or released since that position."""
    with ports.work() as work:
        return work.standings.changes(since)


def forget_changes(ports: Ports) -> int:
    """Remove notes of changes that everybody has read by now, or else begins anew."""
    with ports.work() as work:
        return work.standings.forget(ports.clock.now() - CHANGES_KEPT, 10_000)
