"""Certificate signing requests (RFC 2986): made, read as proof of possession, and compared with what was ordered."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Annotated, Final

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1 as typed
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import AttributeOID, ExtensionOID, NameOID

from certctl_core.errors import Invalid, Refused, Unreadable
from certctl_core.pki import asn1, keys, names, signing, usages
from certctl_core.pki.keys import KeyFacts, PrivateKey
from certctl_core.pki.untrusted import capped, is_pem, parsing

MAX_CSR_BYTES: Final = 65536


@frozen
class CsrFacts:
    """What a CSR asks for."""

    common_name: str
    sans: tuple[x509.GeneralName, ...]
    key: KeyFacts


def read(pem_or_der: bytes | str) -> x509.CertificateSigningRequest:
    """One CSR with a sound key and a signature that verifies, which proves that the sender holds the private key.

    Raises `TooLarge`, `Unreadable`, and `Refused` for a weak key.
    """
    data = capped(pem_or_der, "the CSR", MAX_CSR_BYTES)
    with parsing("the CSR"):
        if is_pem(data):
            if data.count(b"-----BEGIN ") != 1:
                raise Unreadable("the CSR is not alone in its PEM text")
            csr = x509.load_pem_x509_csr(data)
        else:
            csr = x509.load_der_x509_csr(data)
        _look_at_all_of(csr)
        if not csr.is_signature_valid:
            raise Unreadable(_UNSIGNED, hint=_HOW_TO_SIGN)
    return csr


def read_leniently(der: bytes, *, with_sha1: bool = False) -> x509.CertificateSigningRequest:
    """As `read`, for a CSR in DER whose attributes may be in another order than DER has them in, which some clients
    write, and whose signature may use SHA-1 if that is said. What is returned has them in order; the signature of such
    a CSR was verified over what was sent, and does not verify over that."""
    try:
        return read(der)
    except Unreadable:
        return _read_in_any_order(capped(der, "the CSR", MAX_CSR_BYTES), with_sha1=with_sha1)


def _read_in_any_order(data: bytes, *, with_sha1: bool) -> x509.CertificateSigningRequest:
    with parsing("the CSR"):
        sent = typed.decode_der(_Csr, data)
        info = typed.decode_der(_CsrInfo, _whole(sent.info))
        ordered = sorted(map(_whole, info.attributes or ()))
        head = b"".join((asn1.integer(info.version), _whole(info.subject), _whole(info.key)))
        mended = asn1.sequence(head, asn1.tlv(0xA0, b"".join(ordered)))
        csr = x509.load_der_x509_csr(
            asn1.sequence(mended, _whole(sent.algorithm), asn1.bit_string(sent.signature.as_bytes()))
        )
        _look_at_all_of(csr)
        _must_be_signed(csr, _whole(sent.info), with_sha1=with_sha1)
    return csr


@typed.sequence
class _Csr:
    info: typed.TLV
    algorithm: typed.TLV
    signature: typed.BitString


@typed.sequence
class _CsrInfo:
    version: int
    subject: typed.TLV
    key: typed.TLV
    attributes: Annotated[list[typed.TLV] | None, typed.Implicit(0)]


def _whole(value: typed.TLV) -> bytes:
    if len(value.tag_bytes) != 1:
        raise Unreadable("the CSR has a tag of more than one octet")
    return asn1.tlv(value.tag_bytes[0], bytes(value.data))


def _must_be_signed(csr: x509.CertificateSigningRequest, info: bytes, *, with_sha1: bool) -> None:
    """Raises `Unreadable` unless its key signed `info`."""
    key, algorithm, how = csr.public_key(), csr.signature_hash_algorithm, csr.signature_algorithm_parameters
    is_sound = isinstance(algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512)
    try:
        if algorithm is not None and (is_sound or (with_sha1 and isinstance(algorithm, hashes.SHA1))):
            if isinstance(key, rsa.RSAPublicKey) and isinstance(how, padding.PKCS1v15 | padding.PSS):
                return key.verify(csr.signature, info, how, algorithm)
            if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(how, ec.ECDSA):
                return key.verify(csr.signature, info, how)
    except InvalidSignature:
        pass
    raise Unreadable(_UNSIGNED, hint=_HOW_TO_SIGN)


_UNSIGNED: Final = "the signature of the CSR does not verify"
_HOW_TO_SIGN: Final = "It must be made with the private key of the CSR and a hash of the SHA-2 family."


def _look_at_all_of(csr: x509.CertificateSigningRequest) -> None:
    """Parts are parsed when they are asked for; ask now, so that nothing raises later."""
    names.common_name_of(csr.subject)
    _sans(csr.extensions)
    tuple(csr.attributes)
    keys.require_sound(csr.public_key())


def build(
    private_key: PrivateKey, common_name: str, sans: Sequence[str], *, is_enrolled: bool = False
) -> x509.CertificateSigningRequest:
    """A CSR for exactly these names, the common name among the SANs; `is_enrolled` as in `names.names_of`. Raises
    `Invalid`."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(names.subject(common_name))
    wanted = names.names_of(common_name, sans, is_enrolled=is_enrolled)
    if wanted:
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted), critical=False)
    return builder.sign(
        private_key, signing.hash_for(private_key), ecdsa_deterministic=signing.deterministic(private_key)
    )


def facts(csr: x509.CertificateSigningRequest) -> CsrFacts:
    """Names and key. Raises `Unreadable` for a CSR that `read` has not seen and that is malformed."""
    with parsing("the CSR"):
        return CsrFacts(names.common_name_of(csr.subject), _sans(csr.extensions), keys.describe(csr.public_key()))


def _sans(extensions: x509.Extensions) -> tuple[x509.GeneralName, ...]:
    try:
        return tuple(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()


# Comparing with the order


def check_matches(csr: x509.CertificateSigningRequest, common_name: str, sans: Sequence[str]) -> None:
    """Raises `Refused` listing every difference between the CSR and the order.

    The subject is the common name and nothing else; the SANs are those ordered, of every type, none missing and none
    more, except that the common name may be repeated among them and that an IP address or a URI may come as a DNS name;
    no other extension and no other attribute is asked for. What is not compared here can not be smuggled in either:
    certificates are made from plans, never from CSRs.
    """
    extensions = csr.extensions
    reasons = (
        *_subject_differences(csr.subject, common_name),
        *_san_differences(_sans(extensions), common_name, sans),
        *_extras(extensions, csr.attributes),
    )
    if reasons:
        raise Refused(
            f"the CSR is not what was ordered: {'; '.join(reasons)}",
            reasons=reasons,
            hint="Make the CSR from the certificate's present common name and SANs.",
        )


# Enrolling: the CSR is the order


def wanted_names(csr: x509.CertificateSigningRequest) -> tuple[str, tuple[str, ...]]:
    """The common name and the SANs, as texts, that a device asks for. Of the subject only the common name is used.

    Raises `Invalid` for names that no certificate should have, and `Refused` for kinds of names that certctl does not
    issue and for a CSR that names nothing.
    """
    common = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(common) > 1:
        raise Refused("the subject of the CSR has more than one common name")
    common_name = names.common_name_of(csr.subject)
    sans = tuple(_text_of(name) for name in _sans(csr.extensions))
    if not common_name and not sans:
        raise Refused("the CSR names nothing", hint="Give its subject a common name, or ask for SANs.")
    if common_name and not names.is_name(common_name):
        names.must_call_a_device(common_name)
    names.general_names(sans)
    return common_name, sans


def _text_of(name: x509.GeneralName) -> str:
    meant = _as_meant(name)
    text = names.text_of(meant)
    try:
        if names.canonical(names.general_name(text)) == names.canonical(meant):
            return text
    except Invalid as problem:
        raise Refused(f"the CSR asks for a name that certctl does not issue: {problem.message}") from problem
    raise Refused(f"the CSR asks for the name {text[:80]}, of a kind that certctl does not issue")


def check_enrols(
    csr: x509.CertificateSigningRequest, common_name: str, sans: Sequence[str], ekus: Sequence[str]
) -> None:
    """Raises `Refused` listing why a device's CSR does not fit what is to be issued for it.

    Unlike an agent, a device makes its CSR before it knows anything: the rest of the subject, key usages and
    attributes such as challengePassword are its wishes, and are passed over. It must not ask for other names, to be a
    CA, for extended key usages that it would not get, or for another subject by changeSubjectName (RFC 7030 4.2.2).
    """
    reasons = [*_enrolled_name_differences(csr, common_name, sans), *_excesses(csr, ekus)]
    if reasons:
        raise Refused(f"the CSR cannot be enrolled: {'; '.join(reasons)}", reasons=reasons)


def _enrolled_name_differences(
    csr: x509.CertificateSigningRequest, common_name: str, sans: Sequence[str]
) -> Iterable[str]:
    got = names.common_name_of(csr.subject)
    if got != common_name:
        yield f"the common name is {got!r} and the certificate's is {common_name!r}"
    required = {names.canonical(name) for name in names.general_names(sans)}
    permitted = {names.canonical(name) for name in names.names_of(common_name, sans, is_enrolled=True)}
    asked = {names.canonical(_as_meant(name)) for name in _sans(csr.extensions)}
    for name in sorted(required - asked):
        yield f"the SAN {name} is missing"
    for name in sorted(asked - permitted):
        yield f"the SAN {name} is not one of the certificate's"


def _excesses(csr: x509.CertificateSigningRequest, ekus: Sequence[str]) -> Iterable[str]:
    for extension in csr.extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            yield "it asks for a CA certificate"
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            for usage in extension.value:
                if (name := usages.name_of(usage)) not in ekus:
                    yield f"it asks for the extended key usage {name}, which its profile does not give"
    if any(attribute.oid == _CHANGE_SUBJECT_NAME for attribute in csr.attributes):
        yield "it asks for another subject (changeSubjectName), which takes a new enrolment"


def check_renews(
    csr: x509.CertificateSigningRequest, renewed: x509.Certificate, earlier: x509.CertificateSigningRequest | None
) -> None:
    """Raises `Refused` unless subject and SANs are those of the certificate being renewed (RFC 7030 4.2.2), or of the
    CSR that it was made from: of that subject, a certificate has the common name only."""
    shown = (renewed, earlier) if earlier is not None else (renewed,)
    is_subject = any(csr.subject == one.subject for one in shown)
    if is_subject and any(names.same_names(_meant_sans(csr), _meant_sans(one)) for one in shown):
        return
    raise Refused(
        "the CSR asks for another subject or other SANs than the certificate being renewed has",
        hint="Renewing keeps the names; for other names enrol anew.",
    )


def _meant_sans(named: x509.CertificateSigningRequest | x509.Certificate) -> Sequence[x509.GeneralName]:
    return [_as_meant(name) for name in _sans(named.extensions)]


def _subject_differences(subject: x509.Name, common_name: str) -> Iterable[str]:
    common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    got = names.common_name_of(subject)
    for attribute in subject:
        if attribute.oid != NameOID.COMMON_NAME:
            yield f"the subject has {attribute.rfc4514_attribute_name}, which was not ordered"
    if len(common) > 1:
        yield "the subject has more than one common name"
    # A name that X.509 has no room for in the subject may be left out there.
    may_be_absent = len(common_name) > names.MAX_COMMON_NAME
    if got.lower() != common_name.lower() and not (may_be_absent and not common):
        yield f"the common name is {got!r} and {common_name!r} was ordered"


def _san_differences(found: tuple[x509.GeneralName, ...], common_name: str, sans: Sequence[str]) -> Iterable[str]:
    required = {names.canonical(name) for name in names.general_names(sans)}
    permitted = {names.canonical(name) for name in names.names_of(common_name, sans)}
    asked = {names.canonical(_as_meant(name)) for name in found}
    for name in sorted(required - asked):
        yield f"the SAN {name} is missing"
    for name in sorted(asked - permitted):
        yield f"the SAN {name} was not ordered"
    if not asked and len(common_name) > names.MAX_COMMON_NAME:
        yield f"the SAN {common_name} is missing"


def _as_meant(name: x509.GeneralName) -> x509.GeneralName:
    """Agents of the established kind know DNS names and e-mail addresses only, and write IP addresses and URIs as one
    of these. Their texts can be nothing else: no DNS name ends in a number or has `://` in it."""
    if isinstance(name, x509.DNSName | x509.RFC822Name):
        with suppress(Invalid):
            meant = names.general_name(name.value)
            if isinstance(meant, x509.IPAddress | x509.UniformResourceIdentifier):
                return meant
    return name


def _extras(extensions: x509.Extensions, attributes: x509.Attributes) -> Iterable[str]:
    for extension in extensions:
        if extension.oid != ExtensionOID.SUBJECT_ALTERNATIVE_NAME:
            kind = type(extension.value).__name__
            yield f"the extension {kind} ({extension.oid.dotted_string}) was not ordered"
    for attribute in attributes:
        if attribute.oid != _EXTENSION_REQUEST:
            yield f"the attribute {_ATTRIBUTES.get(attribute.oid, attribute.oid.dotted_string)} was not ordered"


_CHANGE_SUBJECT_NAME: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.7.36")
_EXTENSION_REQUEST: Final = x509.ObjectIdentifier("1.2.840.113549.1.9.14")
_ATTRIBUTES: Final = {
    AttributeOID.CHALLENGE_PASSWORD: "challengePassword",
    AttributeOID.UNSTRUCTURED_NAME: "unstructuredName",
}
