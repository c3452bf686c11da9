"""EST (RFC 7030): who asks is told from what the connection and the request show, and what is asked is enrolled.

A label is one set of rules under one path: which issuer and profile, whose the certificates are, and how a device may
show who it is:

    mtls     its TLS certificate is of a CA that the label trusts, and is for clients (RFC 7030 section 3.3.2)
    basic    HTTP Basic with the label's password or an enrolment secret (section 3.2.3)
    none     not at all

Renewing is different: whoever shows a certificate that the label enrolled, and that is still good, may renew it and
nothing else (section 4.2.2). That such a certificate was issued here does not make it good for enrolling: one device
would be able to ask for the names of another.

TLS has proved that the device has the certificate's key, and the CSR proves that it has the new one. That both are one
device's is proved where the CSR repeats what is unique about the TLS session (section 3.5), `tls-unique`, which TLS 1.2
has. TLS 1.3 has `tls-exporter` instead (RFC 9266), which Python's TLS does not give out.
"""

import base64
import binascii
from datetime import datetime
from enum import Enum
from hmac import compare_digest
from typing import Final

from attrs import field, frozen
from cryptography import x509

from certctl_core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotAuthenticated,
    NotConfigured,
    NotFound,
    Refused,
    UpstreamUnavailable,
)
from certctl_core.ids import IssuerId, ProfileId
from certctl_core.models.access import Actor
from certctl_core.models.catalog import CertificateProfile, ConfiguredIssuer
from certctl_core.models.certificates import CertificateVersion
from certctl_core.models.delegates import Purpose
from certctl_core.models.enrolment import EnrolmentProtocol
from certctl_core.pki import cms, keys, paths, reading, serials
from certctl_core.pki import csr as csr_reading
from certctl_core.pki import est as wire
from certctl_core.pki.keys import KeyFacts, KeyKind
from certctl_core.policy.shared_secret import SharedSecret
from certctl_core.ports import Ports
from certctl_core.ports.issuer import HasAuthorities, ShowsChain
from certctl_core.usecases import audit, delegates, enrolment, enrolment_secrets, jobs
from certctl_core.usecases.enrolment import Belonging, Client, Deed, Enrol, Enrolled

LONGEST_PASSWORD: Final = 1024
_MADE: Final = {
    KeyKind.ECDSA_P256: KeyFacts("ECDSA", 256),
    KeyKind.ECDSA_P384: KeyFacts("ECDSA", 384),
    KeyKind.RSA_2048: KeyFacts("RSA", 2048),
    KeyKind.RSA_3072: KeyFacts("RSA", 3072),
    KeyKind.RSA_4096: KeyFacts("RSA", 4096),
    KeyKind.ED25519: KeyFacts("Ed25519", 256),
    KeyKind.ML_DSA_44: KeyFacts("ML-DSA-44", 10496),
    KeyKind.ML_DSA_65: KeyFacts("ML-DSA-65", 15616),
}
"""The kinds of key that can be made, smallest first."""


class Method(Enum):
    """How a device may show who it is."""

    MTLS = "mtls"
    BASIC = "basic"
    NONE = "none"


@frozen(kw_only=True)
class Label:
    """The rules of one path. `password` is one that any number of devices know. `trusted` are the CAs whose
    certificates enrol. `per_day` is how often one device may enrol within a day, 0 for any number."""

    name: str
    issuer_id: IssuerId
    profile_id: ProfileId | None
    belongs: Belonging
    methods: frozenset[Method]
    password: SharedSecret | None = field(default=None, repr=False)
    trusted: tuple[x509.Certificate, ...] = ()
    is_bound: bool = False
    makes_keys: bool = False
    per_day: int = 0


@frozen(kw_only=True)
class Shown:
    """What a request shows of who sent it. `certificate` is the TLS client's, whose key the handshake proved;
    `authorization` the HTTP header; `tls_unique` None where the session has none."""

    certificate: x509.Certificate | None = None
    authorization: str = field(default="", repr=False)
    tls_unique: bytes | None = None
    request_id: str = ""


# --- who asks ---------------------------------------------------------------------------------------------------------


def authenticate(ports: Ports, label: Label, shown: Shown) -> Client:
    """Who enrols. Raises `NotAuthenticated`, whose words tell the device what would do."""
    if shown.certificate is not None and (client := _by_certificate(ports, label, shown.certificate, shown)):
        return client
    if Method.BASIC in label.methods and shown.authorization:
        return _by_password(ports, label, shown)
    if Method.NONE in label.methods:
        return _client("anyone", Method.NONE, shown)
    raise NotAuthenticated("this label wants to know who enrols", hint=_wanted(label))


def _wanted(label: Label) -> str:
    ways = []
    if Method.BASIC in label.methods:
        ways.append("HTTP Basic with an enrolment secret as the password")
    if Method.MTLS in label.methods and label.trusted:
        ways.append("a TLS client certificate of a CA that the label trusts")
    return f"Show {' or '.join(ways)}." if ways else "The label lets nobody enrol; certificates can be renewed."


def _by_certificate(ports: Ports, label: Label, certificate: x509.Certificate, shown: Shown) -> Client | None:
    if Method.MTLS not in label.methods or not label.trusted or reading.facts(certificate).is_ca:
        return None
    now = ports.clock.now()
    if not paths.judge(certificate, label.trusted, label.trusted, now, eku="clientAuth"):
        return None
    if _is_revoked(ports, certificate):
        raise NotAuthenticated("the TLS client certificate is revoked")
    return _client(_described(certificate), Method.MTLS, shown)


def _is_revoked(ports: Ports, certificate: x509.Certificate) -> bool:
    """Of certificates that certctl issued, it knows; about others it is told nothing."""
    with ports.work() as work:
        version = work.versions.with_fingerprint(reading.fingerprint(certificate))
        return version is not None and work.revocations.find(version.issuer_id, version.serial_number) is not None


def _by_password(ports: Ports, label: Label, shown: Shown) -> Client:
    user, password = _basic(shown.authorization)
    who = f" as {user}" if user else ""
    if label.password is not None and label.password.is_it(password):
        return _client(f"the password of the label{who}", Method.BASIC, shown)
    secret = enrolment_secrets.present(ports, EnrolmentProtocol.EST, label.name, password)
    return Client(
        protocol=EnrolmentProtocol.EST,
        name=f"{secret.id}{who}",
        method=Method.BASIC.value,
        request_id=shown.request_id,
        secret_id=secret.id,
    )


def _basic(authorization: str) -> tuple[str, str]:
    """User, without what a terminal would obey, and password (RFC 7617). Raises `NotAuthenticated`."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        if scheme.lower() != "basic" or len(encoded) > 2 * LONGEST_PASSWORD:
            raise ValueError
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise NotAuthenticated("the Authorization header is not that of HTTP Basic") from None
    if not colon:
        raise NotAuthenticated("the Authorization header has no password")
    return "".join(one for one in user if one.isprintable())[:64], password


def _client(name: str, method: Method, shown: Shown) -> Client:
    return Client(protocol=EnrolmentProtocol.EST, name=name, method=method.value, request_id=shown.request_id)


def _described(certificate: x509.Certificate) -> str:
    subject = certificate.subject.rfc4514_string()[:120] or "without a subject"
    return f"certificate {serials.canonical(certificate.serial_number)} {subject}"


def note_reload(ports: Ports, caller: Actor, label: Label) -> datetime:
    """The CAs that a label trusts were read anew: on record from now on. Returns when."""
    now = ports.clock.now()
    with ports.work() as work:
        audit.record(
            work,
            caller,
            now,
            "est_trust_anchor_reloaded",
            "est_label",
            label.name or "default",
            trusted=[reading.fingerprint(one) for one in label.trusted],
        )
    return now


# --- what is asked ----------------------------------------------------------------------------------------------------


def ca_certificates(ports: Ports, label: Label) -> tuple[x509.Certificate, ...]:
    """Every certificate that what the label's issuer signed is verified with: of each CA it has, those above, and
    the links between an old root and a new one (RFC 7030 section 4.1.3).
    Raises `NotConfigured` for an issuer that shows none."""
    with ports.work() as work:
        configured = work.issuers.get(label.issuer_id)
    issuer = ports.issuers.connect(configured)
    if isinstance(issuer, HasAuthorities):
        found = issuer.authorities()
        return tuple(dict.fromkeys(one for each in found for one in (*each.chain, *each.links)))
    if isinstance(issuer, ShowsChain):
        return tuple(issuer.chain())
    raise NotConfigured(f"issuer {label.issuer_id} shows no certificate", hint="Give devices its CA by other means.")


def csr_attributes(ports: Ports, label: Label) -> bytes | None:
    """What a CSR should have, in DER; None when there is nothing to say."""
    return wire.wanted_attributes(_profile(ports, label), is_bound=label.is_bound)


def enrol(ports: Ports, label: Label, shown: Shown, body: bytes) -> Enrolled:
    """A first certificate. Raises `NotAuthenticated`, and as `enrolment.enrol`."""
    csr = _read_unless_empty(body)
    client = authenticate(ports, label, shown)
    csr = csr or wire.read_request(body)
    _must_be_bound(label, shown, csr)
    return enrolment.enrol(ports, client, _wish(label, csr, enrolment.transaction_of(csr), Deed.EST_ENROLS))


def _read_unless_empty(body: bytes) -> x509.CertificateSigningRequest | None:
    """What is malformed is refused before anybody looks into the database for who sent it. Some clients send nothing
    at first, to be told how they have to authenticate themselves."""
    return wire.read_request(body) if body.strip() else None


def renew(ports: Ports, label: Label, shown: Shown, body: bytes) -> Enrolled:
    """A new version of the certificate that the TLS client shows. Raises `NotAuthenticated` when it shows none that can
    be renewed, `Refused` when the names differ, and as `enrolment.enrol`."""
    csr = _read_unless_empty(body)
    version = _shown_version(ports, label, shown)
    csr = csr or wire.read_request(body)
    _must_be_bound(label, shown, csr)
    # The same key may be certified again and again: what is renewed belongs to the name of the transaction.
    transaction = f"{enrolment.transaction_of(csr)} renews {version.fingerprint_sha256}"
    client = _client(_described(version.certificate), Method.MTLS, shown)
    return enrolment.enrol(ports, client, _wish(label, csr, transaction, Deed.EST_RENEWS, version))


def _shown_version(ports: Ports, label: Label, shown: Shown) -> CertificateVersion:
    if Method.MTLS not in label.methods:
        raise Forbidden(
            "this label renews nothing", hint="Renewing takes TLS client certificates: add mtls to its modes."
        )
    version = None if shown.certificate is None else enrolment.renewable(ports, shown.certificate)
    if version is None:
        raise NotAuthenticated(
            "to renew a certificate, show it",
            hint="Use the certificate that is to be renewed, as long as it is valid, as the TLS client's. "
            "A proxy that ends TLS takes it away.",
        )
    return version


def make_key(ports: Ports, label: Label, shown: Shown, body: bytes) -> wire.Parts:
    """A key and its certificate, the key enveloped for the holder of the TLS client's certificate and kept nowhere.

    Of the CSR only the names count; its signature has to be right all the same. Raises `NotConfigured` where the label
    makes no keys, `NotAuthenticated`, `Refused` for a client whose certificate nothing can be enciphered for,
    `UpstreamUnavailable` where the certificate is not there at once: a key that waits would have to be kept.
    """
    if not label.makes_keys:
        raise NotFound("this label makes no keys", hint="Make the key on the device.")
    client, recipient = _who_gets_a_key(ports, label, shown)
    csr = wire.read_request(body)
    _must_be_bound(label, shown, csr)
    configured, profile = _issuer(ports, label), _profile(ports, label)
    if profile is not None and profile.requires_approval:
        raise Refused(
            "nobody can approve a key that is made while the device waits", hint="Make the key on the device."
        )
    cms.must_be_recipient(recipient)
    private_key = keys.generate(_kind(profile))
    maker = delegates.current(ports, configured, Purpose.RA, f"EST {label.name}".strip())
    common_name, sans = csr_reading.wanted_names(csr)
    ours = csr_reading.build(private_key, common_name, sans, is_enrolled=True)
    sealed = wire.sealed_key(
        private_key, wire.KeyMaker(cms.Signer(maker.certificate, maker.private_key), maker.chain[:-1]), recipient
    )
    wish = _wish(label, ours, enrolment.transaction_of(ours), Deed.EST_WANTS_KEY)
    enrolled = enrolment.enrol(ports, client, wish)
    if enrolled.version is None:
        jobs.cancel(ports, client.actor, enrolled.job.id)
        raise UpstreamUnavailable("the CA takes too long for a key to wait for it", retry_after=60)
    return wire.key_and_certificate(sealed, enrolled.version.certificate)


def _who_gets_a_key(ports: Ports, label: Label, shown: Shown) -> tuple[Client, x509.Certificate]:
    if shown.certificate is None:
        raise NotAuthenticated(
            "a key is made only for a device that shows a TLS client certificate",
            hint="The key is enciphered for the holder of that certificate.",
        )
    return authenticate(ports, label, shown), shown.certificate


def _kind(profile: CertificateProfile | None) -> KeyKind:
    """The first kind of key that the profile permits."""
    for rule in profile.allowed_key_algorithms if profile else ():
        for kind, made in _MADE.items():
            if made.algorithm == rule.algorithm and made.size >= rule.min_size:
                return kind
    return KeyKind.ECDSA_P256


def _wish(
    label: Label,
    csr: x509.CertificateSigningRequest,
    transaction: str,
    deed: Deed,
    renews: CertificateVersion | None = None,
) -> Enrol:
    return Enrol(
        protocol=EnrolmentProtocol.EST,
        label=label.name,
        transaction=transaction,
        issuer_id=label.issuer_id,
        profile_id=label.profile_id,
        belongs=label.belongs,
        csr=csr,
        deed=deed,
        renews=renews,
        per_day=label.per_day,
    )


def _issuer(ports: Ports, label: Label) -> ConfiguredIssuer:
    with ports.work() as work:
        return work.issuers.get(label.issuer_id)


def _profile(ports: Ports, label: Label) -> CertificateProfile | None:
    if label.profile_id is None:
        return None
    with ports.work() as work:
        return work.profiles.get(label.profile_id)


def _must_be_bound(label: Label, shown: Shown, csr: x509.CertificateSigningRequest) -> None:
    """RFC 7030 section 3.5: what the CSR says of its TLS session is true, and is there where it has to be."""
    said = wire.challenge_password(csr)
    if shown.tls_unique is None:
        if label.is_bound:
            raise Refused(
                "this label wants requests bound to their TLS session, which needs TLS 1.2 (tls-unique)",
                hint="Of TLS 1.3's tls-exporter (RFC 9266) this server's TLS library tells nothing.",
            )
        return
    if said is None:
        if label.is_bound:
            raise Invalid("the CSR lacks the challengePassword that binds it to its TLS session (RFC 7030 3.5)")
        return
    if not compare_digest(said, base64.b64encode(shown.tls_unique)):
        raise Conflict("the CSR was made for another TLS session (RFC 7030 section 3.5)")
