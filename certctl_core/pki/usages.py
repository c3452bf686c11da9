"""Extended key usages by short name, and the key usage that goes with them (RFC 5280 sections 4.2.1.3 and 4.2.1.12)."""

from collections.abc import Iterable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from certctl_core.errors import Invalid
from certctl_core.models.certificates import KeyUsageBit

EKUS: Final = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timeStamping": ExtendedKeyUsageOID.TIME_STAMPING,
}
_NAMES: Final = {oid: name for name, oid in EKUS.items()}


def oid_of(name: str) -> x509.ObjectIdentifier:
    """The OID of a short name. Raises `Invalid` for a name that is not in `EKUS`."""
    try:
        return EKUS[name]
    except KeyError:
        raise Invalid.field("ekus", f"{name!r} is none of {', '.join(EKUS)}") from None


def name_of(oid: x509.ObjectIdentifier) -> str:
    """The short name, or the dotted OID of a usage that has none here."""
    return _NAMES.get(oid, oid.dotted_string)


def key_usage(public_key: CertificatePublicKeyTypes, ekus: Iterable[str]) -> frozenset[KeyUsageBit]:
    """The bits a leaf needs for these usages and no more.

    Every leaf signs (digitalSignature). RSA keys may also be sent a secret: by TLS 1.2 clients with RSA key exchange
    and by senders of encrypted mail (keyEncipherment). Mail wants contentCommitment for its signatures, and with an
    elliptic curve key senders agree on a secret (keyAgreement, RFC 8551 section 2.3). Ed25519 and ML-DSA only sign.
    """
    wanted = set(ekus)
    bits = {KeyUsageBit.DIGITAL_SIGNATURE}
    if isinstance(public_key, rsa.RSAPublicKey) and wanted & {"serverAuth", "emailProtection"}:
        bits.add(KeyUsageBit.KEY_ENCIPHERMENT)
    if "emailProtection" in wanted:
        bits.add(KeyUsageBit.CONTENT_COMMITMENT)
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            bits.add(KeyUsageBit.KEY_AGREEMENT)
    return frozenset(bits)


def extension(bits: frozenset[KeyUsageBit]) -> x509.KeyUsage:
    """The keyUsage extension of a leaf."""
    return x509.KeyUsage(
        digital_signature=KeyUsageBit.DIGITAL_SIGNATURE in bits,
        content_commitment=KeyUsageBit.CONTENT_COMMITMENT in bits,
        key_encipherment=KeyUsageBit.KEY_ENCIPHERMENT in bits,
        data_encipherment=False,
        key_agreement=KeyUsageBit.KEY_AGREEMENT in bits,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
