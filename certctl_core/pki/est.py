"""The bytes of EST (RFC 7030, as RFC 8951 clarifies and RFC 9908 extends it): requests, answers, attributes.

Bodies are base64, which is sent in one line: RFC 8951 section 3 allows it, and some clients read nothing else. What
clients send is taken with line breaks or without, as PEM, and as DER.
"""

import base64
import binascii
import secrets
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.x509.oid import AttributeOID

from certctl_core.errors import Unreadable
from certctl_core.models.catalog import CertificateProfile, KeyAlgorithmRule
from certctl_core.pki import asn1, cms, csr, keys, usages
from certctl_core.pki.keys import PrivateKey
from certctl_core.pki.untrusted import capped, is_pem, parsing

CERTS_ONLY: Final = "application/pkcs7-mime; smime-type=certs-only"
SERVER_KEY: Final = "application/pkcs7-mime; smime-type=server-generated-key"
CSR_ATTRIBUTES: Final = "application/csrattrs"
REQUEST: Final = "application/pkcs10"

_CHALLENGE_PASSWORD: Final = AttributeOID.CHALLENGE_PASSWORD.dotted_string
_EXTENSION_REQUEST: Final = "1.2.840.113549.1.9.14"
_EXTENDED_KEY_USAGE: Final = "2.5.29.37"
_RSA: Final = "1.2.840.113549.1.1.1"
_EC: Final = "1.2.840.10045.2.1"
_ED25519: Final = "1.3.101.112"
_ML_DSA: Final = {"ML-DSA-44": "2.16.840.1.101.3.4.3.17", "ML-DSA-65": "2.16.840.1.101.3.4.3.18"}
_KEY_PACKAGE: Final = "2.16.840.1.101.2.1.2.78.5"
_CURVES: Final = ((256, "1.2.840.10045.3.1.7"), (384, "1.3.132.0.34"), (521, "1.3.132.0.35"))


def read_request(body: bytes) -> x509.CertificateSigningRequest:
    """The CSR of a request, with a sound key and a signature that verifies. Raises as `csr.read`."""
    data = capped(body, "the request", 2 * csr.MAX_CSR_BYTES)
    if is_pem(data) or data[:1] == b"\x30":
        return csr.read(data)
    try:
        return csr.read(base64.b64decode(b"".join(data.split()), validate=True))
    except binascii.Error:
        raise Unreadable("the request is neither base64 nor PEM nor DER") from None


def transfer_encoded(der: bytes) -> bytes:
    """Base64 in one line, as the Content-Transfer-Encoding of the answers says."""
    return base64.b64encode(der)


def certificates(found: Sequence[x509.Certificate]) -> bytes:
    """A certs-only CMC Simple PKI Response (RFC 7030 sections 4.1.3 and 4.2.3), base64."""
    return transfer_encoded(cms.degenerate(found))


def challenge_password(request: x509.CertificateSigningRequest) -> bytes | None:
    """What links the request to a TLS session (RFC 7030 section 3.5), if it says anything."""
    with parsing("the CSR"):
        try:
            return bytes(request.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value)
        except x509.AttributeNotFound:
            return None


# What a CSR should have (RFC 7030 section 4.5.2)


def wanted_attributes(profile: CertificateProfile | None, *, is_bound: bool) -> bytes | None:
    """CsrAttrs in DER: the kind of key that the profile names first, its extended key usages, and challengePassword
    where requests have to be bound to their TLS session. None when there is nothing to say."""
    wanted = [asn1.object_identifier(_CHALLENGE_PASSWORD)] if is_bound else []
    if profile is not None:
        wanted += _keys_wanted(profile.allowed_key_algorithms)
        wanted += [_attribute(_EXTENSION_REQUEST, asn1.sequence(_extended_key_usage(profile.allowed_ekus)))]
    return asn1.sequence(*wanted) if wanted else None


def _keys_wanted(rules: Sequence[KeyAlgorithmRule]) -> Iterator[bytes]:
    """One kind of key: of several, a client could not tell whether it needs each or one of them."""
    match rules[0] if rules else None:
        case KeyAlgorithmRule("ECDSA", size):
            curve = next((oid for bits, oid in _CURVES if bits >= size), _CURVES[-1][1])
            yield _attribute(_EC, asn1.object_identifier(curve))
        case KeyAlgorithmRule("RSA", size):
            yield _attribute(_RSA, asn1.integer(size or 2048))
        case KeyAlgorithmRule("Ed25519", _):
            yield asn1.object_identifier(_ED25519)
        case KeyAlgorithmRule(name, _) if name in _ML_DSA:
            yield asn1.object_identifier(_ML_DSA[name])
        case _:
            return


def _attribute(oid: str, *values: bytes) -> bytes:
    return asn1.sequence(asn1.object_identifier(oid), asn1.set_of(*values))


def _extended_key_usage(ekus: Sequence[str]) -> bytes:
    value = x509.ExtendedKeyUsage([usages.oid_of(name) for name in ekus]).public_bytes()
    return asn1.sequence(asn1.object_identifier(_EXTENDED_KEY_USAGE), asn1.octets(value))


# Keys made by the server (RFC 7030 section 4.4)


@frozen
class KeyMaker:
    """Who vouches for a key that the server made: a certificate and its key."""

    signer: cms.Signer
    above: tuple[x509.Certificate, ...] = ()


def sealed_key(private_key: PrivateKey, maker: KeyMaker, recipient: x509.Certificate) -> bytes:
    """The key for the holder of a certificate (RSA): an EnvelopedData around a SignedData around an
    AsymmetricKeyPackage of one key (RFC 5958 section 2), in DER. Raises `Refused` as `cms.envelop`."""
    package = asn1.sequence(keys.to_der(private_key))
    signed = cms.sign(package, maker.signer, certificates=maker.above, content_type=_KEY_PACKAGE)
    # What is encrypted is the content alone: the envelope names its type (RFC 5652 section 6.1).
    return cms.envelop(cms.content_of(signed), recipient, content_type=cms.SIGNED_DATA)


@frozen
class Parts:
    """A `multipart/mixed` answer and the type that names its boundary."""

    media_type: str
    body: bytes


def key_and_certificate(key: bytes, certificate: x509.Certificate) -> Parts:
    """The answer of serverkeygen: the enveloped key first, then the certificate (RFC 7030 section 4.4.2)."""
    boundary = f"certctl-{secrets.token_hex(12)}"
    parts = (
        (SERVER_KEY, transfer_encoded(key)),
        (CERTS_ONLY, transfer_encoded(cms.degenerate([certificate]))),
    )
    lines = b"".join(
        b"--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n"
        % (boundary.encode(), kind.encode(), body)
        for kind, body in parts
    )
    return Parts(f'multipart/mixed; boundary="{boundary}"', lines + b"--%s--\r\n" % boundary.encode())
