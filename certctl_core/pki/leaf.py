"""The to-be-signed part of an end-entity certificate (RFC 5280 section 4.1), assembled by hand.

Certificates are issued by the thousand, and the library's builder takes six times as long as the signature does. What
the two make is the same, byte for byte (tests compare them): each extension is still encoded by the library, and those
that are alike in all certificates of an issuer and profile are encoded once.

What a leaf contains, in this order:

| extension        | critical              | content                                                                  |
|------------------|-----------------------|--------------------------------------------------------------------------|
| authorityKeyId   | no                    | the issuer's subjectKeyIdentifier                                        |
| subjectKeyId     | no                    | RFC 7093 method 1: leftmost 160 bits of SHA-256 of the public key        |
| basicConstraints | yes                   | cA FALSE: said, so that no verifier has to conclude it                   |
| keyUsage         | yes                   | `usages.key_usage`                                                       |
| extKeyUsage      | for timeStamping only | the plan's usages (RFC 3161 2.3 asks for critical)                       |
| subjectAltName   | if subject is empty   | the plan's names                                                         |
| cRLDistribution  | no                    | one DistributionPoint, its URLs being ways to the same CRL               |
| authorityInfo    | no                    | OCSP responders, then where the issuer's certificate is                  |
| tlsFeature       | no                    | status_request when the plan says must-staple (RFC 7633)                 |
| noRevAvail       | no                    | when the plan is short-lived (RFC 9608)                                  |
"""

from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ObjectIdentifier

from certctl_core.models.certificates import KeyUsageBit
from certctl_core.pki import asn1, keys, names, serials, usages
from certctl_core.pki.plan import LeafPlan

_VERSION_3: Final = asn1.tlv(0xA0, asn1.integer(2))
_OIDS: Final[dict[ObjectIdentifier, bytes]] = {
    x509.AuthorityKeyIdentifier.oid: bytes.fromhex("0603551d23"),
    x509.SubjectKeyIdentifier.oid: bytes.fromhex("0603551d0e"),
    x509.BasicConstraints.oid: bytes.fromhex("0603551d13"),
    x509.KeyUsage.oid: bytes.fromhex("0603551d0f"),
    x509.ExtendedKeyUsage.oid: bytes.fromhex("0603551d25"),
    x509.SubjectAlternativeName.oid: bytes.fromhex("0603551d11"),
    x509.CRLDistributionPoints.oid: bytes.fromhex("0603551d1f"),
    x509.AuthorityInformationAccess.oid: bytes.fromhex("06082b06010505070101"),
    x509.TLSFeature.oid: bytes.fromhex("06082b06010505070118"),
}
_NO_REVOCATION: Final = bytes.fromhex("30090603551d3804020500")
"""The noRevAvail extension (RFC 9608 section 2), whose value is NULL."""


def to_be_signed(plan: LeafPlan, issuer: bytes, issuer_identifier: bytes, algorithm: bytes) -> bytes:
    """DER of what is signed. `issuer` and `algorithm` are DER themselves; the plan has been checked."""
    subject = names.subject(plan.common_name)
    parts = [
        _authority_key(issuer_identifier),
        _extension(x509.SubjectKeyIdentifier(keys.key_identifier(plan.public_key))),
        _usage(usages.key_usage(plan.public_key, plan.ekus), plan.ekus),
    ]
    if plan.sans:
        parts.append(_extension(x509.SubjectAlternativeName(plan.sans), critical=not subject.rdns))
    parts.append(_where_to_look(plan.crl_urls, plan.ocsp_urls, plan.ca_issuers_urls, plan.must_staple))
    if plan.is_short_lived:
        parts.append(_NO_REVOCATION)
    return asn1.sequence(
        _VERSION_3,
        asn1.integer(serials.to_int(plan.serial_number)),
        algorithm,
        issuer,
        asn1.sequence(asn1.time(plan.not_before), asn1.time(plan.not_after)),
        subject.public_bytes(),
        keys.spki(plan.public_key),
        asn1.tlv(0xA3, asn1.sequence(*parts)),
    )


def _extension(value: x509.ExtensionType, *, critical: bool = False) -> bytes:
    said = asn1.TRUE if critical else b""
    return asn1.sequence(_OIDS[value.oid], said, asn1.tlv(asn1.OCTET_STRING, value.public_bytes()))


@lru_cache(maxsize=64)
def _authority_key(issuer_identifier: bytes) -> bytes:
    return _extension(x509.AuthorityKeyIdentifier(issuer_identifier, None, None))


@lru_cache(maxsize=64)
def _usage(bits: frozenset[KeyUsageBit], ekus: tuple[str, ...]) -> bytes:
    parts = [
        _extension(x509.BasicConstraints(ca=False, path_length=None), critical=True),
        _extension(usages.extension(bits), critical=True),
    ]
    if ekus:
        extended = x509.ExtendedKeyUsage([usages.oid_of(name) for name in ekus])
        parts.append(_extension(extended, critical="timeStamping" in ekus))
    return b"".join(parts)


@lru_cache(maxsize=64)
def _where_to_look(
    crl_urls: tuple[str, ...], ocsp_urls: tuple[str, ...], ca_issuers_urls: tuple[str, ...], must_staple: bool
) -> bytes:
    """Where the certificate's status and its issuer are to be found."""
    parts: list[bytes] = []
    if crl_urls:
        urls = [x509.UniformResourceIdentifier(url) for url in crl_urls]
        parts.append(_extension(x509.CRLDistributionPoints([x509.DistributionPoint(urls, None, None, None)])))
    access = [(AuthorityInformationAccessOID.OCSP, url) for url in ocsp_urls]
    access += [(AuthorityInformationAccessOID.CA_ISSUERS, url) for url in ca_issuers_urls]
    if access:
        described = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in access]
        parts.append(_extension(x509.AuthorityInformationAccess(described)))
    if must_staple:
        parts.append(_extension(x509.TLSFeature([x509.TLSFeatureType.status_request])))
    return b"".join(parts)
