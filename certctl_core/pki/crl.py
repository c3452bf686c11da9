"""Certificate revocation lists (RFC 5280 section 5): signed from a plan, and read.

The list is assembled by hand, because its cost must stay in proportion to its entries; the library's builder makes an
object for each. What the two make is the same, byte for byte (tests compare them). A CRL is a v2 list with
authorityKeyIdentifier and cRLNumber. An entry has a reasonCode unless that would say "unspecified" (section 5.3.1),
which is said by saying nothing.
"""

from collections.abc import Iterable, Iterator
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
_OID_AUTHORITY_KEY: Final = bytes.fromhex("0603551d23")
_OID_NUMBER: Final = bytes.fromhex("0603551d14")


def sign_crl(authority: Authority, plan: CrlPlan) -> bytes:
    """The CRL in DER. The same plan gives the same bytes (but see `ca` on ML-DSA).

    Raises `Invalid` for a plan that no CRL can be made of, or when the CA's keyUsage lacks cRLSign.
    """
    _check(authority, plan)
    algorithm = signing.algorithm_identifier(authority.private_key)
    entries = b"".join(_entries(plan.entries))
    to_be_signed = asn1.sequence(
        _VERSION_2,
        algorithm,
        authority.name,
        asn1.time(plan.this_update),
        asn1.time(plan.next_update),
        # Section 5.1.2.6: absent, not empty, when nothing is revoked.
        asn1.tlv(asn1.SEQUENCE, entries) if entries else b"",
        asn1.tlv(0xA0, _extensions(authority, plan.number)),
    )
    signature = signing.sign(authority.private_key, to_be_signed)
    return asn1.sequence(to_be_signed, algorithm, asn1.bit_string(signature))


def _check(authority: Authority, plan: CrlPlan) -> None:
    problems: list[FieldProblem] = []
    if not 0 <= plan.number < 2**159:
        problems.append(FieldProblem("number", "must be 0 or more and fit into 20 octets (RFC 5280 section 5.2.3)"))
    for label, at in (("this_update", plan.this_update), ("next_update", plan.next_update)):
        if at.tzinfo is None:
            problems.append(FieldProblem(label, "is not aware UTC"))
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


def _entries(entries: Iterable[RevokedEntry]) -> Iterator[bytes]:
    """DER of each entry. Raises `Invalid` for a serial number that comes twice."""
    seen: set[int] = set()
    extensions = {reason: _reason_extension(reason) for reason in RevocationReason}
    for entry in entries:
        number = serials.to_int(entry.serial_number)
        if number in seen:
            raise Invalid(f"the serial number {entry.serial_number} is on the list twice")
        seen.add(number)
        content = asn1.integer(number) + asn1.time(entry.revoked_at) + extensions[entry.reason]
        yield asn1.tlv(asn1.SEQUENCE, content)


@cache
def _reason_extension(reason: RevocationReason) -> bytes:
    if reason is RevocationReason.UNSPECIFIED:
        return b""
    code = asn1.tlv(asn1.ENUMERATED, bytes((reason.code,)))
    return asn1.sequence(asn1.sequence(_OID_REASON, asn1.tlv(asn1.OCTET_STRING, code)))


def _extensions(authority: Authority, number: int) -> bytes:
    identifier = x509.AuthorityKeyIdentifier(authority.key_identifier, None, None).public_bytes()
    return asn1.sequence(
        asn1.sequence(_OID_AUTHORITY_KEY, asn1.tlv(asn1.OCTET_STRING, identifier)),
        asn1.sequence(_OID_NUMBER, asn1.tlv(asn1.OCTET_STRING, asn1.integer(number))),
    )


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
        return RevokedEntry(serials.canonical(serial_number), found.revocation_date_utc, _reason(found.extensions))


def _reason(extensions: x509.Extensions) -> RevocationReason:
    try:
        flag = extensions.get_extension_for_class(x509.CRLReason).value.reason
        return next(reason for reason, its_flag in FLAGS.items() if its_flag is flag)
    except StopIteration:
        raise Unreadable("the CRL has an entry with a reason that certctl does not use") from None
    except x509.ExtensionNotFound:
        return RevocationReason.UNSPECIFIED
