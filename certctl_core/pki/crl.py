"""Certificate revocation lists (RFC 5280 section 5): signed from a plan, and read.

The list is assembled by hand, because its cost must stay in proportion to its entries; the library's builder makes an
object for each. What the two make is the same, byte for byte (tests compare them). Entries are encoded when something
is revoked, and joined when a list is made.

What a CRL contains beside its entries, in this order:

| extension                | critical | content                                                                  |
|--------------------------|----------|--------------------------------------------------------------------------|
| authorityKeyId           | no       | the issuer's subjectKeyIdentifier                                        |
| cRLNumber                | no       | complete ones and deltas of an issuer share the sequence (section 5.2.3) |
| deltaCRLIndicator        | yes      | in a delta: the number of the complete CRL that it adds to               |
| issuingDistributionPoint | yes      | in a part: the URLs that the leafs have in their distribution point      |
| freshestCRL              | no       | in a complete one that has deltas: where they are                        |

An entry has a reasonCode unless that would say "unspecified" (section 5.3.1), which is said by saying nothing, and an
invalidityDate when one is known.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Final

from cryptography import x509

from certctl_core.errors import FieldProblem, Invalid, Unreadable
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import asn1, serials, signing
from certctl_core.pki.ca import Authority
from certctl_core.pki.plan import CrlPlan, RevokedEntry
from certctl_core.pki.untrusted import capped, is_pem, parsing

MAX_CRL_BYTES: Final = 128 * 1024 * 1024

FLAGS: Final = {reason: x509.ReasonFlags[reason.name.lower()] for reason in RevocationReason}
"""Our reasons and the library's, whose values spell `cACompromise` as RFC 5280 does."""

_VERSION_2: Final = asn1.integer(1)
_OID_REASON: Final = bytes.fromhex("0603551d15")
_OID_INVALIDITY_DATE: Final = bytes.fromhex("0603551d18")
_OIDS: Final = {
    x509.AuthorityKeyIdentifier.oid: bytes.fromhex("0603551d23"),
    x509.CRLNumber.oid: bytes.fromhex("0603551d14"),
    x509.DeltaCRLIndicator.oid: bytes.fromhex("0603551d1b"),
    x509.IssuingDistributionPoint.oid: bytes.fromhex("0603551d1c"),
    x509.FreshestCRL.oid: bytes.fromhex("0603551d2e"),
}
_REMOVE_FROM_CRL: Final = 8


def sign_crl(authority: Authority, plan: CrlPlan) -> bytes:
    """The CRL in DER. The same plan gives the same bytes (but see `ca` on ML-DSA).

    Raises `Invalid` for a plan that no CRL can be made of, or when the CA's keyUsage lacks cRLSign.
    """
    _check(authority, plan)
    algorithm = signing.algorithm_identifier(authority.private_key)
    listed = sum(map(len, plan.entries))
    before = [
        _VERSION_2,
        algorithm,
        authority.name,
        asn1.time(plan.this_update),
        asn1.time(plan.next_update),
        # Section 5.1.2.6: absent, not empty, when nothing is revoked.
        asn1.header(asn1.SEQUENCE, listed) if listed else b"",
    ]
    after = asn1.tlv(0xA0, asn1.sequence(*_extensions(authority, plan)))
    # A list of a million entries is held once as the plan has it and once as what is returned, and not a third time.
    length = sum(map(len, before)) + listed + len(after)
    to_be_signed = (asn1.header(asn1.SEQUENCE, length), *before, *plan.entries, after)
    signature = asn1.bit_string(signing.sign_parts(authority.private_key, to_be_signed))
    whole = sum(map(len, to_be_signed)) + len(algorithm) + len(signature)
    return b"".join((asn1.header(asn1.SEQUENCE, whole), *to_be_signed, algorithm, signature))


def _check(authority: Authority, plan: CrlPlan) -> None:
    problems: list[FieldProblem] = []
    if not 0 <= plan.number < 2**159:
        problems.append(FieldProblem("number", "must be 0 or more and fit into 20 octets (RFC 5280 section 5.2.3)"))
    for label, at in (("this_update", plan.this_update), ("next_update", plan.next_update)):
        if at.tzinfo is None:
            problems.append(FieldProblem(label, "is not aware UTC"))
    if plan.base is not None and not 0 <= plan.base < plan.number:
        problems.append(FieldProblem("base", "must be a lower number (RFC 5280 section 5.2.4)"))
    if plan.base is not None and plan.delta_addresses:
        problems.append(FieldProblem("delta_addresses", "a delta has no deltas (RFC 5280 section 5.2.6)"))
    if not problems and plan.next_update <= plan.this_update:
        problems.append(FieldProblem("next_update", "is not after this_update"))
    if not _may_sign_crls(authority.certificate):
        problems.append(FieldProblem("authority", "its keyUsage lacks cRLSign"))
    if problems:
        words = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
        raise Invalid(f"not a CRL that can be signed: {words}", fields=problems)


def _may_sign_crls(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def entries(revoked: Iterable[RevokedEntry]) -> Sequence[bytes]:
    """DER of each entry. Raises `Invalid` for a serial number that comes twice, and as `entry`."""
    seen: set[str] = set()
    found = []
    for one in revoked:
        if one.serial_number in seen:
            raise Invalid(f"the serial number {one.serial_number} is on the list twice")
        seen.add(one.serial_number)
        found.append(entry(one))
    return found


def entry(revoked: RevokedEntry) -> bytes:
    """DER of an entry. Raises `Invalid` for a serial number that is none, or a time without zone."""
    if revoked.invalid_since is None and not revoked.is_removed:
        extensions = _reason_alone(revoked.reason)
    else:
        code = _REMOVE_FROM_CRL if revoked.is_removed else revoked.reason.code
        extensions = asn1.sequence(_reason_extension(code), _invalidity_date(revoked.invalid_since))
    number = asn1.integer(serials.to_int(revoked.serial_number))
    return asn1.sequence(number, asn1.time(revoked.revoked_at), extensions)


@cache
def _reason_alone(reason: RevocationReason) -> bytes:
    return asn1.sequence(_reason_extension(reason.code)) if reason.code else b""


def _reason_extension(code: int) -> bytes:
    if code == RevocationReason.UNSPECIFIED.code:
        return b""
    value = asn1.tlv(asn1.ENUMERATED, bytes((code,)))
    return asn1.sequence(_OID_REASON, asn1.tlv(asn1.OCTET_STRING, value))


def _invalidity_date(at: datetime | None) -> bytes:
    if at is None:
        return b""
    return asn1.sequence(_OID_INVALIDITY_DATE, asn1.tlv(asn1.OCTET_STRING, asn1.generalized_time(at)))


def _extensions(authority: Authority, plan: CrlPlan) -> Iterator[bytes]:
    yield _extension(x509.AuthorityKeyIdentifier(authority.key_identifier, None, None))
    yield _extension(x509.CRLNumber(plan.number))
    if plan.base is not None:
        yield _extension(x509.DeltaCRLIndicator(plan.base), critical=True)
    if plan.addresses:
        yield _extension(_scope(plan.addresses), critical=True)
    if plan.delta_addresses:
        yield _extension(x509.FreshestCRL([x509.DistributionPoint(_urls(plan.delta_addresses), None, None, None)]))


def _extension(value: x509.ExtensionType, *, critical: bool = False) -> bytes:
    said = asn1.TRUE if critical else b""
    return asn1.sequence(_OIDS[value.oid], said, asn1.tlv(asn1.OCTET_STRING, value.public_bytes()))


def _scope(addresses: Iterable[str]) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=_urls(addresses),
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )


def _urls(addresses: Iterable[str]) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(address) for address in addresses]


# Reading


def read(der_or_pem: bytes | str) -> x509.CertificateRevocationList:
    """A CRL. Raises `TooLarge` and `Unreadable`. Nothing is said of its signature: see `is_signed_by`."""
    raw = capped(der_or_pem, "the CRL", MAX_CRL_BYTES)
    with parsing("the CRL"):
        crl = x509.load_pem_x509_crl(raw) if is_pem(raw) else x509.load_der_x509_crl(raw)
        _ = crl.last_update_utc, crl.next_update_utc, crl.extensions
        return crl


def is_signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Whether name and signature are the issuer's."""
    with parsing("the CRL"):
        return crl.issuer == issuer.subject and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]


def number_of(crl: x509.CertificateRevocationList) -> int | None:
    """The cRLNumber, when there is one."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def entry_of(crl: x509.CertificateRevocationList, serial_number: str) -> RevokedEntry | None:
    """What the CRL says of a serial number, None when it is not on the list."""
    with parsing("the CRL"):
        found = crl.get_revoked_certificate_by_serial_number(serials.to_int(serial_number))
        if found is None:
            return None
        said = found.extensions
        flag = _flag(said)
        return RevokedEntry(
            serials.canonical(serial_number),
            found.revocation_date_utc,
            _reason(flag),
            _invalid_since(said),
            is_removed=flag is x509.ReasonFlags.remove_from_crl,
        )


def _invalid_since(extensions: x509.Extensions) -> datetime | None:
    try:
        return extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date_utc
    except x509.ExtensionNotFound:
        return None


def _flag(extensions: x509.Extensions) -> x509.ReasonFlags:
    try:
        return extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return x509.ReasonFlags.unspecified


def _reason(flag: x509.ReasonFlags) -> RevocationReason:
    """Only what was on hold is ever removed."""
    if flag is x509.ReasonFlags.remove_from_crl:
        return RevocationReason.CERTIFICATE_HOLD
    try:
        return next(reason for reason, its_flag in FLAGS.items() if its_flag is flag)
    except StopIteration:
        raise Unreadable("the CRL has an entry with a reason that certctl does not use") from None
