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
from typing import Final

from cryptography import x509

from certctl_core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotAuthenticated,
    NotFound,
    Refused,
    TooMany,
    Unreadable,
    UpstreamRejected,
)
from certctl_core.models.delegates import Purpose
from certctl_core.pki import cms, paths, reading, scep
from certctl_core.pki.cms import Cipher
from certctl_core.pki.scep import FailInfo, MessageType
from certctl_core.ports import Ports
from certctl_core.ports.issuer import HasAuthorities, SignsMessages
from certctl_core.usecases import delegates, scep_enrolling, scep_lookups
from certctl_core.usecases.scep_asked import Answered, Asked, failed
from certctl_core.usecases.scep_doors import Door, Doors

BATCH: Final = 1000


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
    (section 4.7): a CA that is there to sign new leafs and has never done so, the newest of them. Raises `NotFound`
    while there is none, or nobody who could tell."""
    standing = doors.standing(ports, door)
    with ports.work() as work:
        issuer = work.issuers.get(standing.issuer.id)
    connected = ports.issuers.connect(issuer)
    found = connected.authorities() if isinstance(connected, HasAuthorities) else ()
    coming = next((one for one in found if one.is_next), None)
    if coming is None or not isinstance(connected, SignsMessages):
        raise NotFound("the CA of this service is not about to be followed by another one")
    chain = list(coming.chain)
    identifier = coming.key_identifier.hex()
    if door.own_ra is None:
        chain.append(delegates.current(ports, issuer, Purpose.RA, door.label, authority=identifier).certificate)
    return connected.sign_message(cms.degenerate(chain))


# --- PKIOperation -----------------------------------------------------------------------------------------------------


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
            return failed(standing, request, FailInfo.BAD_REQUEST, "the message type is not known")
        signer = _recipient(request)
        content, cipher = request.content(standing.recipients, door.accepted)
    except Unreadable as error:
        return failed(standing, request, FailInfo.BAD_MESSAGE_CHECK, error.message)
    except Refused as error:
        return failed(standing, request, FailInfo.BAD_ALG, error.message)
    if request.signing_time is not None and abs(request.signing_time - ports.clock.now()) > door.tolerance:
        return failed(standing, request, FailInfo.BAD_TIME, "the signing time is not of now")
    digest = hashlib.sha256(data).digest()
    asked = Asked(ports, door, standing, request, signer, content, cipher, digest, request_id)
    return _acted_on(asked)


def _recipient(request: scep.Request) -> x509.Certificate:
    """The signer, when it can be answered to. Raises `Refused`."""
    if request.signer is None:
        raise Refused("the message was not verified")
    cms.must_be_recipient(request.signer)
    return request.signer


def _acted_on(asked: Asked) -> Answered:
    try:
        match asked.request.kind:
            case MessageType.PKCS_REQ | MessageType.RENEWAL_REQ:
                return scep_enrolling.enrol(asked)
            case MessageType.CERT_POLL:
                return scep_lookups.poll(asked)
            case MessageType.GET_CERT:
                return scep_lookups.get_cert(asked)
            case _:
                return scep_lookups.get_crl(asked)
    except NotFound as error:
        return failed(asked.standing, asked.request, FailInfo.BAD_CERT_ID, error.message)
    except _FINAL as error:
        return failed(asked.standing, asked.request, FailInfo.BAD_REQUEST, error.message)


_FINAL: Final = (Invalid, NotAuthenticated, Forbidden, Conflict, Refused, TooMany, UpstreamRejected)


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
