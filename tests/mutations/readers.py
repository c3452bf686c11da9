"""The readers of foreign bytes, each with valid inputs to grow mutations from.

A reader is called as the product calls it, and asked for everything that the product asks of what it read, so that
nothing is left to raise later. The table is what is tested; whoever writes a reader adds a row.
"""

import base64
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cache
from threading import Event
from typing import Any, Final

import attrs
from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12
from cryptography.x509 import ocsp as library_ocsp

from certctl_adapters import est_client
from certctl_core.errors import CertctlError, Invalid, Refused, TooLarge, Unreadable
from certctl_core.ids import ProfileId
from certctl_core.models.catalog import CertificateProfile, KeyAlgorithmRule
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import (
    asn1,
    bundle,
    ca,
    cms,
    crl,
    csr,
    est,
    est_answers,
    jws,
    keys,
    ocsp,
    paths,
    reading,
    scep,
    signing,
    uploads,
)
from certctl_core.pki.cms.structures import DATA, SIGNED_DATA, algorithm_identifier, content_info, issuer_and_serial
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import CrlPlan, RevokedEntry
from certctl_core.pki.scep import MessageType
from certctl_core.policy import intune
from tests import devices, plans
from tests.core.pki.cms import messages
from tests.mutations import der

PASSWORD: Final = "secret"


def storable(thing: Any) -> None:
    """Raises `ValueError` for a text that a database or JSON has no place for."""
    if isinstance(thing, str):
        thing.encode()
    elif isinstance(thing, Mapping):
        for name, one in thing.items():
            storable(name)
            storable(one)
    elif isinstance(thing, list | tuple | set | frozenset):
        for one in thing:
            storable(one)
    elif attrs.has(type(thing)):
        storable(attrs.asdict(thing, recurse=False))


@frozen
class Reader:
    """`read` is given bytes of any kind; `seeds` are good ones in DER, and `as_given` makes of mutated DER what it is
    given. `errors` are what it may raise, `seconds` the CPU time it may take."""

    read: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    as_given: Callable[[bytes], bytes] = field(default=bytes)
    errors: tuple[type[CertctlError], ...] = (TooLarge, Unreadable)
    seconds: float = 1.0
    is_for_the_night: bool = False
    """It is slow, or much like another."""


# CSRs


def _read_csr(data: bytes) -> object:
    request = csr.read(data)
    storable(csr.facts(request))
    return request


def _read_csr_leniently(data: bytes) -> object:
    request = csr.read_leniently(data, with_sha1=True)
    storable(csr.facts(request))
    return request


def _compare_csr(data: bytes) -> object:
    """What use cases do with a CSR that was read."""
    request = csr.read(data)
    for compare in (
        lambda: csr.check_matches(request, "a.example.com", ["b.example.com"]),
        lambda: csr.wanted_names(request),
        lambda: csr.check_enrols(request, "a.example.com", ["b.example.com"], ("serverAuth",)),
        lambda: csr.check_renews(request, _chain()[0], None),
    ):
        with suppress(Invalid, Refused):
            storable(compare())
    return request


def _signed_again(data: bytes) -> bytes:
    """A CSR whose signature is right whatever was done to the rest, so that readers come to look at it."""
    parts = [one for one in der.places(data) if one.parent == 0]
    if len(parts) != 3 or der.places(data)[0].end != len(data):
        return data
    info = data[parts[0].start : parts[0].end]
    signature = plans.key().sign(info, ec.ECDSA(hashes.SHA256()))
    return asn1.sequence(info, signing.algorithm_identifier(plans.key()), asn1.bit_string(signature))


def _csrs_to_sign() -> Sequence[bytes]:
    return [one for one in _csrs() if keys.same_key(x509.load_der_x509_csr(one), plans.key())]


def _csrs() -> Sequence[bytes]:
    sans = ["b.example.com", "192.0.2.1", "alice@example.com", "spiffe://example.com/a"]
    made = [csr.build(plans.key(kind), "a.example.com", sans) for kind in plans.QUICK_KINDS]
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.example.com")])
    asking = (
        x509.CertificateSigningRequestBuilder(name)
        .add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, b"secret")
        .add_extension(x509.KeyUsage(True, False, True, False, False, False, False, False, False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(plans.key(), hashes.SHA256())
    )
    return [one.public_bytes(Encoding.DER) for one in (*made, asking)]


# Certificates


def _read_certificate(data: bytes) -> object:
    one = reading.certificate(data)
    storable(reading.facts(one))
    reading.general_names(one)
    reading.plan_of(one)
    reading.chain_above(one, _chain())
    paths.judge(one, _chain(), _chain(), plans.NOW, eku="serverAuth")
    paths.judge(_chain()[0], [one], [one])
    return one


@cache
def _chain() -> tuple[x509.Certificate, ...]:
    return plans.authority().chain


@cache
def _certificates() -> Sequence[bytes]:
    authority = plans.authority()
    signed = [
        ca.sign_leaf(authority, plans.plan(public_key=plans.key(kind).public_key())) for kind in plans.QUICK_KINDS
    ]
    signed += [ca.sign_leaf(authority, plans.plan(ekus=("emailProtection",), common_name=""))]
    below = ca.create_intermediate(authority, "Sub-CA", KeyKind.ECDSA_P256, plans.NOW, timedelta(days=90))
    return [one.public_bytes(Encoding.DER) for one in (*signed, below.certificate, authority.certificate)]


def _read_pem(data: bytes) -> object:
    found = bundle.from_pem(data)
    bundle.leaf_and_chain(found)
    return bundle.first_block(data)


def _read_upload(data: bytes) -> object:
    upload = uploads.read(data.decode("latin-1"))
    storable(upload.facts)
    storable(upload.common_name)
    return upload


def _in_pem(der: bytes) -> bytes:
    """Behind it the chain, so that there is something to build."""
    return _armoured("CERTIFICATE", der) + bundle.to_pem(*_chain()).encode()


def _armoured(label: str, der: bytes) -> bytes:
    """PEM (RFC 7468)."""
    text = base64.encodebytes(der)
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), text, label.encode())


# CRLs


def _read_crl(data: bytes) -> object:
    found = crl.read(data)
    crl.number_of(found)
    crl.entry_of(found, "2")
    crl.is_signed_by(found, plans.authority().certificate)
    return found


def _crls() -> Sequence[bytes]:
    entries = [RevokedEntry(f"{number + 2:x}", plans.NOW, reason) for number, reason in enumerate(RevocationReason)]
    entries.append(RevokedEntry("ff", plans.NOW, RevocationReason.KEY_COMPROMISE, invalid_since=plans.NOW))
    addresses = ("http://pki.example.com/crl/1",)
    plan = CrlPlan(9, plans.NOW, plans.NOW + timedelta(days=1), crl.entries(entries), addresses=addresses)
    delta = evolve(plan, base=7, entries=[crl.entry(evolve(entries[0], is_removed=True))])
    planned = evolve(plan, entries=(), addresses=()), evolve(plan, delta_addresses=addresses), delta
    return [crl.sign_crl(plans.authority(), one) for one in planned]


# OCSP requests


def _read_ocsp(data: bytes) -> object:
    request = ocsp.read_request(data)
    for question in request.questions:
        _RESPONDER.answers_for(question)
        storable(question.serial_number)
    return request


_RESPONDER = ocsp.Responder(plans.authority().certificate, plans.authority().certificate, plans.authority().private_key)


def _ocsp_requests() -> Sequence[bytes]:
    authority = plans.authority().certificate
    leaf = x509.load_der_x509_certificate(_certificates()[0])
    made = []
    for algorithm in (hashes.SHA1(), hashes.SHA256(), hashes.SHA512()):  # noqa: S303
        builder = library_ocsp.OCSPRequestBuilder().add_certificate(leaf, authority, algorithm)
        made += [builder.build(), builder.add_extension(x509.OCSPNonce(bytes(32)), critical=False).build()]
    return [one.public_bytes(Encoding.DER) for one in made]


# PKCS #12


def _read_pkcs12(data: bytes) -> object:
    private_key, certificate, others = bundle.from_pkcs12(data, PASSWORD)
    for one in (certificate, *others):
        if one is not None:
            storable(reading.facts(one))
    return private_key


def _pkcs12s() -> Sequence[bytes]:
    """Of every scheme, with as little hashing as can be, because most of the time would go there."""
    chain, private_key = plans.authority().chain, plans.key()
    leaf = x509.load_der_x509_certificate(_certificates()[1])
    few = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(1)
    modern = few.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).hmac_hash(hashes.SHA256())
    legacy = few.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC).hmac_hash(hashes.SHA1())  # noqa: S303
    schemes = modern.build(b"secret"), legacy.build(b"secret"), serialization.NoEncryption()
    return [
        *(pkcs12.serialize_key_and_certificates(b"site", private_key, leaf, chain, one) for one in schemes),
        pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(chain[0], b"root")], schemes[0]),
    ]


# Keys


def _read_key(data: bytes) -> object:
    private_key = keys.from_pem(data)
    return keys.describe(private_key.public_key())


def _keys() -> Sequence[bytes]:
    return [keys.to_der(plans.key(kind)) for kind in plans.QUICK_KINDS]


# CMS


def _read_signed(data: bytes) -> object:
    return cms.read_signed(data, _ALL)


def _read_envelope(data: bytes) -> object:
    return cms.open_envelope(data, [messages.recipient()], _ALL)


_ALL: Final = cms.MODERN.also(*cms.Cipher, *cms.Digest)


def _signed() -> Sequence[bytes]:
    attributes = {messages.ATTRIBUTE: messages.VALUE}
    made = [cms.sign(b"content", messages.signer(kind), attributes) for kind in ("RSA", "P-256")]
    return [*made, cms.sign(None, messages.signer(), {}, certificates=_chain()), messages.to_ber(made[0])]


def _envelopes() -> Sequence[bytes]:
    made = [cms.envelop(b"content" * 20, messages.certificate(), cipher) for cipher in cms.Cipher]
    return [*made, messages.to_ber(made[0])]


_AND_REFUSED: Final = (TooLarge, Unreadable, Refused)

# SCEP


_RA: Final = cms.Recipient(devices.registration_authority(), devices.rsa_key("RA"))


def _read_scep(data: bytes) -> object:
    """A message as a server reads it (RFC 8894 section 3.2), the envelope within too."""
    request = scep.receive(data)
    storable(request.transaction_id)
    request = request.verified(_ALL)
    assert request.signer
    storable([request.signer.subject.rfc4514_string(), request.signer.issuer.rfc4514_string()])
    return request.content([_RA], _ALL)


def _scep_messages() -> Sequence[bytes]:
    device, ra = devices.Device(), _RA.certificate
    csrs = device.pkcs_req(ra, "secret"), device.renewal_req(ra)
    return [*csrs, device.cert_poll(ra, ra.subject), device.get_cert(ra, ra), messages.to_ber(csrs[0])]


def _read_scep_content(data: bytes) -> object:
    """What was enciphered, of every kind of message: a client can put anything there."""
    found: list[object] = []
    for kind in (MessageType.PKCS_REQ, MessageType.CERT_POLL, MessageType.GET_CERT):
        with suppress(Invalid, Refused):
            found.append(scep.read_content(kind, data, _ALL))
    if not found:
        raise Unreadable("nothing that SCEP has")
    for one in found:
        if isinstance(one, x509.CertificateSigningRequest):
            storable((csr.facts(one), scep.challenge_of(one)))
    return found


def _scep_contents() -> Sequence[bytes]:
    issuer = _chain()[0]
    both = asn1.sequence(issuer.subject.public_bytes(), issuer.issuer.public_bytes())
    return [both, issuer_and_serial(issuer), devices.Device().csr("secret").public_bytes(Encoding.DER)]


def _with_attributes(data: bytes) -> bytes:
    """A message with these signed attributes, whose signature is right whatever they are."""
    signer = messages.signer("P-256")
    info = asn1.sequence(
        asn1.integer(1),
        issuer_and_serial(signer.certificate),
        algorithm_identifier(cms.Digest.SHA256.oid, b""),
        b"\xa0" + data[1:],
        algorithm_identifier(cms.Digest.SHA256.with_ecdsa, b""),
        asn1.octets(signing.sign(signer.private_key, b"\x31" + data[1:])),
    )
    content = asn1.sequence(
        asn1.integer(1),
        asn1.set_of(algorithm_identifier(cms.Digest.SHA256.oid, b"")),
        asn1.sequence(asn1.object_identifier(DATA), asn1.tlv(0xA0, asn1.octets(b"content"))),
        asn1.tlv(0xA0, signer.certificate.public_bytes(Encoding.DER)),
        asn1.tlv(asn1.SET, info),
    )
    return content_info(SIGNED_DATA, content)


def _attributes() -> Sequence[bytes]:
    values = {
        "1.2.840.113549.1.9.3": asn1.object_identifier(DATA),
        "1.2.840.113549.1.9.4": asn1.octets(cms.Digest.SHA256.of(b"content")),
        devices.SIGNING_TIME: asn1.time(plans.NOW),
        devices.MESSAGE_TYPE: asn1.printable("19"),
        devices.TRANSACTION_ID: asn1.printable("transaction-1"),
        devices.SENDER_NONCE: asn1.octets(bytes(16)),
    }
    made = (asn1.sequence(asn1.object_identifier(oid), asn1.set_of(value)) for oid, value in values.items())
    return [asn1.set_of(*made)]


def _read_attributes(data: bytes) -> object:
    request = scep.receive(data).verified(_ALL)
    storable((request.transaction_id, request.signing_time))
    return request


# Tokens (RFC 7515)


def _read_token(data: bytes) -> object:
    claims = jws.claims(data.decode("latin-1"), [plans.key().public_key()])
    return intune.read(claims)


def _tokens() -> Sequence[bytes]:
    return [_signed_token(one) for one in _claims()]


def _claims() -> Sequence[bytes]:
    claims = {
        "iss": "connector", "sub": "device-guid", "aud": "https://scep.example.com", "iat": 1795000000,
        "exp": 1795003600, "nonce": "n0nce", "device_name": "device-1.example.com",
        "san_dns": ["device-1.example.com"], "san_rfc822": ["alice@example.com"], "san_upn": [],
    }  # fmt: skip
    return [json.dumps(claims).encode()]


def _signed_token(claims: bytes) -> bytes:
    """A token that the connector signed, whatever it claims."""
    header = base64.urlsafe_b64encode(b'{"alg":"ES256"}').rstrip(b"=")
    signed = header + b"." + base64.urlsafe_b64encode(claims).rstrip(b"=")
    r, s = decode_dss_signature(plans.key().sign(signed, ec.ECDSA(hashes.SHA256())))
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")


# What a client of EST is answered


def _read_issued(data: bytes) -> object:
    found = est_answers.read_certificates(data)
    storable([one.subject.rfc4514_string() for one in found])
    return found


def _issued() -> Sequence[bytes]:
    leaf = x509.load_der_x509_certificate(_certificates()[0])
    return [cms.degenerate([leaf]), cms.degenerate([leaf, *_chain()])]


def _read_wanted(data: bytes) -> object:
    found = est_answers.read_wanted(data)
    storable([(one.name, one.about) for one in found])
    return found


def _wanted() -> Sequence[bytes]:
    profile = CertificateProfile(
        id=ProfileId("p"),
        name="p",
        allowed_key_algorithms=(KeyAlgorithmRule("ECDSA", 384),),
        allowed_ekus=("serverAuth", "clientAuth"),
        created_at=plans.NOW,
        updated_at=plans.NOW,
    )
    found = (est.wanted_attributes(profile, is_bound=is_bound) for is_bound in (False, True))
    return [der for der in found if der is not None]


def _read_made(data: bytes) -> object:
    media_type, _, body = data.partition(b"\n")
    return est_answers.open_key(est_client.read_sealed_key(media_type.decode("latin-1"), body), _RA)


@cache
def _made() -> Sequence[bytes]:
    """Keys, signed for as the server does."""
    signer = cms.Signer(_RA.certificate, _RA.private_key)
    packages = (asn1.sequence(keys.to_der(plans.key(kind))) for kind in plans.QUICK_KINDS)
    return [cms.content_of(cms.sign(package, signer, content_type=DATA)) for package in packages]


def _in_parts(signed: bytes) -> bytes:
    """In an envelope that opens, beside a certificate."""
    envelope = cms.envelop(signed, _RA.certificate, content_type=SIGNED_DATA)
    parts = est.key_and_certificate(envelope, x509.load_der_x509_certificate(_certificates()[0]))
    return parts.media_type.encode() + b"\n" + parts.body


READERS: Final[Mapping[str, Reader]] = {
    "CSR": Reader(_read_csr, _csrs, errors=_AND_REFUSED),
    "CSR in PEM": Reader(
        _read_csr, _csrs, lambda der: _armoured("CERTIFICATE REQUEST", der), _AND_REFUSED, is_for_the_night=True
    ),
    "CSR signed again": Reader(_compare_csr, _csrs_to_sign, _signed_again, _AND_REFUSED),
    "CSR leniently": Reader(_read_csr_leniently, _csrs_to_sign, _signed_again, _AND_REFUSED),
    "certificate": Reader(_read_certificate, _certificates),
    "PEM bundle": Reader(_read_pem, _certificates, _in_pem, is_for_the_night=True),
    "upload": Reader(_read_upload, _certificates, _in_pem, _AND_REFUSED),
    "CRL": Reader(_read_crl, _crls),
    "OCSP request": Reader(_read_ocsp, _ocsp_requests),
    "CMS SignedData": Reader(_read_signed, _signed, errors=_AND_REFUSED),
    "CMS EnvelopedData": Reader(_read_envelope, _envelopes, errors=_AND_REFUSED),
    "SCEP message": Reader(_read_scep, _scep_messages, errors=_AND_REFUSED),
    "SCEP content": Reader(_read_scep_content, _scep_contents),
    "SCEP attributes signed again": Reader(_read_attributes, _attributes, _with_attributes, _AND_REFUSED),
    "EST request": Reader(
        est.read_request, _csrs, lambda der: b"\n" + base64.encodebytes(der), _AND_REFUSED, is_for_the_night=True
    ),
    "EST certificates": Reader(_read_issued, _issued, base64.encodebytes, is_for_the_night=True),
    "EST attributes": Reader(_read_wanted, _wanted, is_for_the_night=True),
    "EST key": Reader(_read_made, _made, _in_parts, (*_AND_REFUSED, Invalid), is_for_the_night=True),
    "token": Reader(_read_token, _tokens, errors=(*_AND_REFUSED, Invalid)),
    "token signed again": Reader(_read_token, _claims, _signed_token, (*_AND_REFUSED, Invalid)),
    "PKCS #12": Reader(_read_pkcs12, _pkcs12s, errors=_AND_REFUSED, seconds=4.0),
    "private key": Reader(
        _read_key, _keys, lambda der: _armoured("PRIVATE KEY", der), (*_AND_REFUSED, Invalid), is_for_the_night=True
    ),
}


# What a reader must never do, for the tests of how that is noticed


def _swell(data: bytes) -> object:
    return (b"x" * (80 << 20)).count(b"y")


MISBEHAVING: Final[Mapping[str, Reader]] = {
    "raise": Reader(lambda data: 1 // 0 if data == b"x" else 0, lambda: [b""]),
    "hang": Reader(lambda data: Event().wait() if data == b"x" else 0, lambda: [b""]),
    "end": Reader(lambda data: os._exit(3) if data == b"x" else 0, lambda: [b""]),
    "swell": Reader(lambda data: _swell(data) if data == b"x" else 0, lambda: [b""]),
}
