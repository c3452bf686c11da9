"""Certificates read: from bytes, into facts, and back into the plan they could have been made from."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID

from certctl_core.errors import TooLarge, Unreadable
from certctl_core.models.certificates import KeyUsageBit
from certctl_core.pki import keys, names, serials, usages
from certctl_core.pki.keys import KeyFacts
from certctl_core.pki.plan import LeafPlan
from certctl_core.pki.untrusted import capped, is_pem, parsing

MAX_CERTIFICATE_BYTES: Final = 65536
MAX_BUNDLE_BYTES: Final = 1024 * 1024
MAX_BUNDLE_COUNT: Final = 500

_NO_REVOCATION: Final = x509.ObjectIdentifier("2.5.29.56")

E = TypeVar("E", bound=x509.ExtensionType)


@frozen(kw_only=True)
class CertificateFacts:
    """What a certificate says. Names are text (see `names.text_of`), `ekus` short names or dotted OIDs."""

    serial_number: str
    fingerprint_sha256: str
    subject: str
    issuer: str
    common_name: str
    sans: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    key: KeyFacts
    is_ca: bool
    path_length: int | None
    key_usage: frozenset[KeyUsageBit]
    ekus: tuple[str, ...]
    must_staple: bool
    subject_key_identifier: bytes | None
    authority_key_identifier: bytes | None
    crl_urls: tuple[str, ...]
    ocsp_urls: tuple[str, ...]
    ca_issuers_urls: tuple[str, ...]


def certificate(data: bytes | str) -> x509.Certificate:
    """One certificate in DER, or the first of a PEM text. Raises `TooLarge` and `Unreadable`."""
    raw = capped(data, "the certificate", MAX_CERTIFICATE_BYTES)
    with parsing("the certificate"):
        found = x509.load_pem_x509_certificate(raw) if is_pem(raw) else x509.load_der_x509_certificate(raw)
        look_at_all_of(found)
        return found


def look_at_all_of(certificate: x509.Certificate) -> None:
    """Parts are parsed when they are asked for. Asks now, so that nothing raises later. To be called in `parsing`."""
    _ = certificate.subject, certificate.issuer, certificate.extensions


def certificates(data: bytes | str, *, limit: int = MAX_BUNDLE_COUNT) -> tuple[x509.Certificate, ...]:
    """All certificates of a PEM text in their order, or the one of DER. Raises `TooLarge` and `Unreadable`, also when
    there is none."""
    raw = capped(data, "the bundle", MAX_BUNDLE_BYTES)
    if not is_pem(raw):
        return (certificate(raw),)
    if raw.count(b"-----BEGIN ") > limit:
        raise TooLarge(f"the bundle has more than {limit} entries")
    with parsing("the bundle"):
        return tuple(x509.load_pem_x509_certificates(raw))


def fingerprint(of: x509.Certificate) -> str:
    """SHA-256 of the DER in lower-case hex."""
    return of.fingerprint(hashes.SHA256()).hex()


def facts(of: x509.Certificate) -> CertificateFacts:
    """Raises `Unreadable` when a part that is asked for is malformed."""
    with parsing("the certificate"):
        found = _extensions(of)
        constraints = _find(found, x509.BasicConstraints)
        subject_identifier = _find(found, x509.SubjectKeyIdentifier)
        authority_identifier = _find(found, x509.AuthorityKeyIdentifier)
        return CertificateFacts(
            serial_number=_serial_number(of),
            fingerprint_sha256=fingerprint(of),
            subject=of.subject.rfc4514_string(),
            issuer=of.issuer.rfc4514_string(),
            common_name=names.common_name_of(of.subject),
            sans=tuple(names.text_of(name) for name in _find(found, x509.SubjectAlternativeName) or ()),
            not_before=of.not_valid_before_utc,
            not_after=of.not_valid_after_utc,
            key=keys.describe(of.public_key()),
            is_ca=constraints is not None and constraints.ca,
            path_length=None if constraints is None else constraints.path_length,
            key_usage=_key_usage(_find(found, x509.KeyUsage)),
            ekus=_ekus(found),
            must_staple=_must_staple(found),
            subject_key_identifier=None if subject_identifier is None else subject_identifier.digest,
            authority_key_identifier=None if authority_identifier is None else authority_identifier.key_identifier,
            crl_urls=_crl_urls(found),
            ocsp_urls=_access_urls(found, AuthorityInformationAccessOID.OCSP),
            ca_issuers_urls=_access_urls(found, AuthorityInformationAccessOID.CA_ISSUERS),
        )


def general_names(of: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    """The SANs. Raises `Unreadable`."""
    with parsing("the certificate"):
        return tuple(_find(_extensions(of), x509.SubjectAlternativeName) or ())


def plan_of(of: x509.Certificate) -> LeafPlan:
    """The plan whose certificate this could be, so that what a CA returns can be judged as what was asked of it was.

    `plan_of(sign_leaf(authority, plan)) == plan` (with the plan's public key compared apart). Raises `Unreadable`.
    """
    with parsing("the certificate"):
        found = _extensions(of)
        return LeafPlan(
            common_name=names.common_name_of(of.subject),
            sans=tuple(_find(found, x509.SubjectAlternativeName) or ()),
            public_key=of.public_key(),
            serial_number=_serial_number(of),
            not_before=of.not_valid_before_utc,
            not_after=of.not_valid_after_utc,
            ekus=_ekus(found),
            must_staple=_must_staple(found),
            crl_urls=_crl_urls(found),
            ocsp_urls=_access_urls(found, AuthorityInformationAccessOID.OCSP),
            ca_issuers_urls=_access_urls(found, AuthorityInformationAccessOID.CA_ISSUERS),
            is_short_lived=says_no_revocation(of),
        )


def says_no_revocation(of: x509.Certificate) -> bool:
    """Whether the certificate says that nobody will ever tell of its revocation (noRevAvail, RFC 9608)."""
    with parsing("the certificate"):
        return any(extension.oid == _NO_REVOCATION for extension in of.extensions)


def key_identifier_of(certificate: x509.Certificate) -> bytes:
    """The certificate's own subjectKeyIdentifier, computed when it has none."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return keys.key_identifier(certificate.public_key())


def names_issuer(child: x509.Certificate, parent: x509.Certificate) -> bool:
    """Whether `child` says that `parent` issued it. A name that cannot be read is nobody's."""
    try:
        with parsing("the certificate"):
            return child.issuer == parent.subject
    except Unreadable:
        return False


def authority_of(certificate: x509.Certificate) -> str:
    """The key identifier of the CA that signed it, in hexadecimal, as its authorityKeyIdentifier says; empty when it
    says nothing."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    return (found or b"").hex()


def is_issued_by(child: x509.Certificate, parent: x509.Certificate) -> bool:
    """Whether `parent`'s name and key are those that signed `child`. Nothing is said of validity or constraints."""
    try:
        with parsing("the certificate"):
            child.verify_directly_issued_by(parent)
    except (Unreadable, InvalidSignature):
        return False
    return True


def chain_above(leaf: x509.Certificate, pool: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """The certificates of `pool` that lead from `leaf` upwards, nearest first, ending at a self-signed one or where
    the pool has no issuer. Order and duplicates in the pool do not matter."""
    chain: list[x509.Certificate] = []
    below = leaf
    left = [one for one in pool if one != leaf]
    while not names_issuer(below, below):
        above = next((one for one in left if names_issuer(below, one) and is_issued_by(below, one)), None)
        if above is None:
            break
        chain.append(above)
        left = [one for one in left if one != above]
        below = above
    return tuple(chain)


Found = Mapping[type[x509.ExtensionType], x509.ExtensionType]


def _extensions(of: x509.Certificate) -> Found:
    """The extensions by their kind. No kind comes twice: the library refuses that."""
    return {type(extension.value): extension.value for extension in of.extensions}


def _find(found: Found, kind: type[E]) -> E | None:
    value = found.get(kind)
    return value if isinstance(value, kind) else None


def _serial_number(of: x509.Certificate) -> str:
    if of.serial_number <= 0:
        raise Unreadable("the certificate has a serial number that is not positive")
    return serials.canonical(of.serial_number)


def _ekus(found: Found) -> tuple[str, ...]:
    return tuple(usages.name_of(oid) for oid in _find(found, x509.ExtendedKeyUsage) or ())


def _must_staple(found: Found) -> bool:
    features = _find(found, x509.TLSFeature)
    return features is not None and x509.TLSFeatureType.status_request in features


def _key_usage(usage: x509.KeyUsage | None) -> frozenset[KeyUsageBit]:
    if usage is None:
        return frozenset()
    said = {
        KeyUsageBit.DIGITAL_SIGNATURE: usage.digital_signature,
        KeyUsageBit.CONTENT_COMMITMENT: usage.content_commitment,
        KeyUsageBit.KEY_ENCIPHERMENT: usage.key_encipherment,
        KeyUsageBit.KEY_AGREEMENT: usage.key_agreement,
    }
    return frozenset(bit for bit, there in said.items() if there)


def _crl_urls(found: Found) -> tuple[str, ...]:
    return tuple(
        name.value
        for point in _find(found, x509.CRLDistributionPoints) or ()
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    )


def _access_urls(found: Found, method: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(
        one.access_location.value
        for one in _find(found, x509.AuthorityInformationAccess) or ()
        if one.access_method == method and isinstance(one.access_location, x509.UniformResourceIdentifier)
    )
