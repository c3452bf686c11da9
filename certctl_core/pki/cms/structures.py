"""The types of CMS (RFC 5652) as the library's ASN.1 reads them.

The library reads DER and nothing else, so sets have to be in order. Senders often do not sort them, and the order of
signed attributes must stay as it came, because it was signed. An implicit tag hides whether a set or a sequence is
meant, so sets with one are declared as sequences here; sets without are taken as any value and parsed by `elements`.
"""

from typing import Annotated, Final, TypeVar

from cryptography import x509
from cryptography.hazmat import asn1 as typed

from certctl_core.errors import Unreadable
from certctl_core.pki import asn1
from certctl_core.pki.cms import ber
from certctl_core.pki.untrusted import capped, parsing

T = TypeVar("T")

DATA: Final = "1.2.840.113549.1.7.1"
SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
ENVELOPED_DATA: Final = "1.2.840.113549.1.7.3"

MAX_MESSAGE_BYTES: Final = 262144


@typed.sequence
class ContentInfo:
    """Section 3."""

    content_type: x509.ObjectIdentifier
    content: Annotated[typed.TLV, typed.Explicit(0)]


@typed.sequence
class EncapsulatedContent:
    """Section 5.2."""

    content_type: x509.ObjectIdentifier
    content: Annotated[bytes | None, typed.Explicit(0)]


@typed.sequence
class SignedData:
    """Section 5.1."""

    version: int
    digest_algorithms: typed.TLV
    encapsulated: EncapsulatedContent
    certificates: Annotated[list[typed.TLV] | None, typed.Implicit(0)]
    crls: Annotated[list[typed.TLV] | None, typed.Implicit(1)]
    signer_infos: typed.TLV


@typed.sequence
class Attribute:
    """Section 5.3."""

    kind: x509.ObjectIdentifier
    values: typed.TLV


@typed.sequence
class SignerInfo:
    """Section 5.3. An AlgorithmIdentifier is its OID and, mostly, parameters."""

    version: int
    signer: typed.TLV
    digest_algorithm: list[typed.TLV]
    signed_attributes: Annotated[list[typed.TLV] | None, typed.Implicit(0)]
    signature_algorithm: list[typed.TLV]
    signature: bytes
    unsigned_attributes: Annotated[list[typed.TLV] | None, typed.Implicit(1)]


@typed.sequence
class IssuerAndSerial:
    """Section 10.2.4."""

    issuer: typed.TLV
    serial_number: int


@typed.sequence
class EncryptedContent:
    """Section 6.1. The content is optional there and required here; it may come in pieces."""

    content_type: x509.ObjectIdentifier
    algorithm: list[typed.TLV]
    content: typed.TLV


@typed.sequence
class EnvelopedData:
    """Section 6.1."""

    version: int
    originator: Annotated[list[typed.TLV] | None, typed.Implicit(0)]
    recipients: typed.TLV
    encrypted: EncryptedContent
    unprotected: Annotated[list[typed.TLV] | None, typed.Implicit(1)]


@typed.sequence
class KeyTransport:
    """Section 6.2.1."""

    version: int
    recipient: typed.TLV
    algorithm: list[typed.TLV]
    encrypted_key: bytes


@typed.sequence
class PssParameters:
    """RFC 4055 section 3.1. What is left out means SHA-1 and a salt of 20 octets."""

    digest: Annotated[list[typed.TLV] | None, typed.Explicit(0)]
    mask: Annotated[list[typed.TLV] | None, typed.Explicit(1)]
    salt_length: Annotated[int, typed.Explicit(2), typed.Default(20)]
    trailer: Annotated[int, typed.Explicit(3), typed.Default(1)]


@typed.sequence
class OaepParameters:
    """RFC 4055 section 4.1."""

    digest: Annotated[list[typed.TLV] | None, typed.Explicit(0)]
    mask: Annotated[list[typed.TLV] | None, typed.Explicit(1)]
    label: Annotated[list[typed.TLV] | None, typed.Explicit(2)]


@typed.sequence
class _Elements:
    all: list[typed.TLV]


def message(data: bytes, kind: str, read: type[T], what: str) -> T:
    """The content of a ContentInfo that must be of this kind. Raises `TooLarge` and `Unreadable`."""
    raw = capped(data, what, MAX_MESSAGE_BYTES)
    try:
        return _message(raw, kind, read, what)
    except Unreadable:
        # DER has one form of each value: what the reader of BER leaves unchanged is not better for another try.
        der = ber.to_der(raw)
        if der == raw:
            raise
        return _message(der, kind, read, what)


def _message(der: bytes, kind: str, read: type[T], what: str) -> T:
    with parsing(what):
        outer = typed.decode_der(ContentInfo, der)
        if outer.content_type.dotted_string != kind:
            raise Unreadable(f"{what} is of the content type {outer.content_type.dotted_string}")
        return parse(outer.content, read)


def parse(value: typed.TLV, read: type[T]) -> T:
    """The value as this type. Raises what the library raises."""
    found: T = value.parse(read)
    return found


def elements(value: typed.TLV, tag: int = asn1.SET) -> list[typed.TLV]:
    """What is in a set, in the order it has there. Raises what the library raises."""
    if value.tag_bytes != bytes((tag,)):
        raise Unreadable(f"there is a value with the tag {value.tag_bytes.hex()} in the place of {tag:#04x}")
    content = asn1.tlv(asn1.SEQUENCE, bytes(value.data))
    return typed.decode_der(_Elements, asn1.tlv(asn1.SEQUENCE, content)).all


def whole(value: typed.TLV) -> bytes:
    """The value with its tag and length, which DER leaves no choice about."""
    if len(value.tag_bytes) != 1:
        raise Unreadable("there is a value with a tag of more than one octet")
    return asn1.tlv(value.tag_bytes[0], bytes(value.data))


def algorithm(parts: list[typed.TLV]) -> tuple[str, bytes]:
    """OID and parameters of an AlgorithmIdentifier; no parameters are as good as NULL. Raises `Unreadable`."""
    if not 1 <= len(parts) <= 2:
        raise Unreadable("an AlgorithmIdentifier has neither one part nor two")
    oid = parse(parts[0], x509.ObjectIdentifier).dotted_string
    return oid, whole(parts[1]) if len(parts) == 2 else asn1.NULL


def algorithm_identifier(oid: str, parameters: bytes = asn1.NULL) -> bytes:
    """DER of an AlgorithmIdentifier; empty parameters are left out."""
    return asn1.sequence(asn1.object_identifier(oid), parameters)


def content_info(kind: str, content: bytes) -> bytes:
    """DER of a ContentInfo."""
    return asn1.sequence(asn1.object_identifier(kind), asn1.tlv(0xA0, content))


def content_of(data: bytes) -> bytes:
    """The content of a ContentInfo in DER, as it stands inside of another message. Raises `Unreadable`."""
    with parsing("the message"):
        return whole(typed.decode_der(ContentInfo, data).content)


def issuer_and_serial(certificate: x509.Certificate) -> bytes:
    """DER of a certificate's IssuerAndSerialNumber."""
    return asn1.sequence(certificate.issuer.public_bytes(), asn1.integer(certificate.serial_number))


def names(value: typed.TLV, certificate: x509.Certificate) -> bool:
    """Whether a SignerIdentifier or RecipientIdentifier (sections 5.3, 6.2.1) is this certificate's."""
    if value.tag_bytes == b"\x80":
        return bytes(value.data) == _key_identifier(certificate)
    return whole(value) == issuer_and_serial(certificate)


def _key_identifier(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None
