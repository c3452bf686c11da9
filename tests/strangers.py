"""Certificates that certctl did not make, of any shape: what an import meets."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@cache
def key(name: str = "key") -> ec.EllipticCurvePrivateKey:
    """The same for the same name."""
    return ec.generate_private_key(ec.SECP256R1())


def name(*common_names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text) for text in common_names])


def dns(*names: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(text) for text in names])


def certificate(
    subject: str | x509.Name,
    *extensions: x509.ExtensionType,
    issuer: str = "Stranger CA",
    serial: int | None = None,
    begins: datetime = datetime(2026, 10, 1, tzinfo=UTC),
    life: timedelta = 90 * DAY,
    public_key: CertificatePublicKeyTypes | None = None,
    signed_by: CertificateIssuerPrivateKeyTypes | None = None,
) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        name(issuer),
        name(subject) if isinstance(subject, str) else subject,
        public_key or key().public_key(),
        serial or x509.random_serial_number(),
        begins,
        begins + life,
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.PrecertPoison))
    return builder.sign(signed_by or key(issuer), hashes.SHA256())


def authority(subject: str = "Stranger CA", issuer: str = "Stranger Root") -> x509.Certificate:
    """The certificate of a CA; `certificate` signs with its key."""
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    return certificate(subject, constraints, issuer=issuer, public_key=key(subject).public_key(), life=3650 * DAY)


def pem(*certificates: x509.Certificate) -> str:
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def fleet(count: int, issuer: str = "Stranger CA") -> Sequence[str]:
    """Certificates in PEM of sites numbered from 0."""
    names = [f"site-{n}.example.org" for n in range(count)]
    return [pem(certificate(one, dns(one), issuer=issuer)) for one in names]
