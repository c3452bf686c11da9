"""Certificates and keys in files: PEM chains (RFC 7468) and PKCS #12 (RFC 7292)."""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from certctl_core.errors import Invalid, Unreadable
from certctl_core.pki import keys, names, reading, rounds
from certctl_core.pki.keys import PrivateKey
from certctl_core.pki.untrusted import capped, parsing

MAX_PKCS12_BYTES: Final = 1024 * 1024
_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----")


def to_pem(*certificates: x509.Certificate) -> str:
    """The certificates in PEM, in the order given: leaf first is what TLS servers want (RFC 8446 section 4.4.2)."""
    return "".join(one.public_bytes(Encoding.PEM).decode("ascii") for one in certificates)


def csr_to_pem(request: x509.CertificateSigningRequest) -> str:
    return request.public_bytes(Encoding.PEM).decode("ascii")


def first_block(pem: bytes | str) -> bytes:
    """What is in the first certificate block of a PEM text, unparsed. Raises `TooLarge` and `Unreadable`."""
    found = _BLOCK.search(capped(pem, "the certificate", 2 * reading.MAX_CERTIFICATE_BYTES))
    try:
        return base64.b64decode(b"".join(found[1].split()) if found else b"!", validate=True)
    except binascii.Error:
        raise Unreadable("there is no certificate in PEM") from None


def from_pem(pem: bytes | str) -> tuple[x509.Certificate, ...]:
    """All certificates of a PEM text. Raises `TooLarge` and `Unreadable`."""
    return reading.certificates(pem)


def leaf_and_chain(
    certificates: Sequence[x509.Certificate],
) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """The leaf and the chain above it in order, from certificates in any order.

    The leaf is the one that none of the others was issued by. Raises `Unreadable` unless there is exactly one.
    """
    distinct = tuple(dict.fromkeys(certificates))
    leafs = [
        one
        for one in distinct
        if not any(
            reading.names_issuer(other, one) and reading.is_issued_by(other, one) for other in distinct if other != one
        )
    ]
    if len(leafs) != 1:
        raise Unreadable(f"the bundle has {len(leafs)} leaf certificates, not one")
    return leafs[0], reading.chain_above(leafs[0], distinct)


def to_pkcs12(
    name: str,
    certificate: x509.Certificate,
    chain: Iterable[x509.Certificate] = (),
    private_key: PrivateKey | None = None,
    password: str = "",
) -> bytes:
    """PKCS #12 with AES-256 and PBES2 when there is a password, open otherwise. Raises `Invalid` when the key is not
    the certificate's."""
    if private_key is not None and not keys.same_key(private_key, certificate):
        raise Invalid("the private key is not that of the certificate")
    if isinstance(private_key, mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey):
        raise Invalid("PKCS #12 files with ML-DSA keys are not written", hint="Use PEM.")
    secret = password.encode()
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    )
    return pkcs12.serialize_key_and_certificates(name.encode(), private_key, certificate, list(chain), encryption)


def to_trust_store(certificates: Sequence[x509.Certificate], password: str = "") -> bytes:
    """PKCS #12 with certificates alone, each marked as trusted, which is what Java takes into account. Encrypted with
    AES-256 and PBES2 when there is a password, which Java wants to be ASCII; open otherwise."""
    secret = password.encode()
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    )
    named = zip(certificates, _aliases(certificates), strict=True)
    entries = [pkcs12.PKCS12Certificate(certificate, alias.encode()) for certificate, alias in named]
    return pkcs12.serialize_java_truststore(entries, encryption)


def _aliases(certificates: Iterable[x509.Certificate]) -> Iterable[str]:
    """A name for each, by which a key store tells them apart whatever the case."""
    seen: set[str] = set()
    for number, certificate in enumerate(certificates, 1):
        name = names.common_name_of(certificate.subject) or f"certificate {number}"
        alias = name if name.casefold() not in seen else f"{name} {number}"
        seen.add(alias.casefold())
        yield alias


def from_pkcs12(
    data: bytes, password: str = ""
) -> tuple[PrivateKey | None, x509.Certificate | None, tuple[x509.Certificate, ...]]:
    """Key, its certificate, and the other certificates. Raises `TooLarge` and `Unreadable`, also for a wrong password,
    and `Refused` for a weak key."""
    raw = capped(data, "the PKCS #12 file", MAX_PKCS12_BYTES)
    rounds.require_few(raw, "the PKCS #12 file")
    with parsing("the PKCS #12 file"):
        loaded = pkcs12.load_pkcs12(raw, password.encode() or None)
        private_key = None if loaded.key is None else keys.supported(loaded.key)
        certificate = None if loaded.cert is None else loaded.cert.certificate
        return private_key, certificate, tuple(one.certificate for one in loaded.additional_certs)
