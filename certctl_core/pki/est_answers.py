"""What a client of EST is answered (RFC 7030, as RFC 8951 clarifies it), read.

The answers of a server are hostile until they are read: they are capped, and readers raise `TooLarge` and `Unreadable`
only.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat import asn1 as typed
from cryptography.hazmat.primitives.serialization import pkcs7

from certctl_core.errors import Unreadable
from certctl_core.pki import asn1, cms, keys, reading
from certctl_core.pki.cms.structures import elements, parse, whole
from certctl_core.pki.keys import PrivateKey
from certctl_core.pki.untrusted import capped, parsing

MAX_ANSWER_BYTES: Final = 1 << 20
_MOST_ATTRIBUTES: Final = 100
_DEEPEST: Final = 8
"""Levels of an attribute: an extension request has six."""
_OBJECT_IDENTIFIER: Final = 0x06
_OCTETS: Final = 0x04
_NAMES: Final = {
    "1.2.840.113549.1.9.7": "challengePassword",
    "1.2.840.113549.1.9.14": "extensionRequest",
    "1.2.840.113549.1.1.1": "RSA",
    "1.2.840.10045.2.1": "EC",
    "1.2.840.10045.3.1.7": "P-256",
    "1.3.132.0.34": "P-384",
    "1.3.132.0.35": "P-521",
    "1.3.101.112": "Ed25519",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.5.29.37": "extendedKeyUsage",
    "1.3.6.1.5.5.7.3.1": "serverAuth",
    "1.3.6.1.5.5.7.3.2": "clientAuth",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
}
"""Of what servers ask for."""


@frozen
class Wanted:
    """One thing that a CSR should have: its name or its OID, and what is said about it."""

    name: str
    about: tuple[str, ...] = ()


@frozen
class SealedKey:
    """A key that the server made, enciphered for the holder of a certificate (CMS EnvelopedData in DER), and what it
    was certified by."""

    envelope: bytes = field(repr=False)
    certificates: tuple[x509.Certificate, ...]


def read_certificates(body: bytes) -> tuple[x509.Certificate, ...]:
    """Those of a certs-only answer (RFC 7030 section 4.1.3), in its order; at least one."""
    der = _decoded(body)
    with parsing("the answer"):
        found = tuple(pkcs7.load_der_pkcs7_certificates(der))
        for one in found:
            reading.look_at_all_of(one)
    if not found:
        raise Unreadable("the answer holds no certificate")
    return found


def read_wanted(body: bytes) -> tuple[Wanted, ...]:
    """What a CSR should have (CsrAttrs, RFC 7030 section 4.5.2)."""
    with parsing("the attributes"):
        whole_list = typed.decode_der(typed.TLV, _decoded(body))
        return tuple(map(_wanted, elements(whole_list, asn1.SEQUENCE)[:_MOST_ATTRIBUTES]))


def _wanted(value: typed.TLV) -> Wanted:
    first, *rest = _identifiers([value], _DEEPEST)
    return Wanted(first, tuple(rest))


def _identifiers(values: Sequence[typed.TLV], depth: int) -> Iterator[str]:
    """The names of everything that is named in there, in its order."""
    if depth == 0:
        raise Unreadable("the attributes are nested too deeply")
    for value in values:
        tag = value.tag_bytes[0]
        if tag == _OBJECT_IDENTIFIER:
            oid = parse(value, x509.ObjectIdentifier).dotted_string
            yield _NAMES.get(oid, oid)
        elif tag in (asn1.SEQUENCE, asn1.SET):
            yield from _identifiers(elements(value, tag), depth - 1)
        elif tag == _OCTETS:
            yield from _identifiers([typed.decode_der(typed.TLV, bytes(value.data))], depth - 1)


def read_sealed_key(key: bytes, certificates: bytes) -> SealedKey:
    """The two parts of an answer of serverkeygen (RFC 7030 section 4.4.2): the enciphered key, and certs-only."""
    return SealedKey(_decoded(key), read_certificates(certificates))


def open_key(sealed: SealedKey, recipient: cms.Recipient) -> PrivateKey:
    """The key itself, which has to be that of its certificate. Raises `Refused` as well, for a signature that does not
    verify and for algorithms that are not accepted."""
    content = cms.open_envelope(sealed.envelope, [recipient]).content
    # What an envelope holds of a message is its content, without its type (RFC 5652 section 6.1).
    signed = cms.read_signed(_as_message(content))
    if signed.content is None:
        raise Unreadable("the envelope holds no key")
    with parsing("the key"):
        (package,) = elements(typed.decode_der(typed.TLV, signed.content), asn1.SEQUENCE)
        made = keys.from_der(whole(package))
    if not keys.same_key(made, sealed.certificates[0]):
        raise Unreadable("the key that came is not that of the certificate that came with it")
    return made


def _as_message(content: bytes) -> bytes:
    return asn1.sequence(asn1.object_identifier(cms.SIGNED_DATA), asn1.tlv(0xA0, content))


def _decoded(body: bytes) -> bytes:
    """Base64 with or without line breaks; DER from servers that do not encode it."""
    data = capped(body, "the answer", MAX_ANSWER_BYTES)
    if data[:1] == b"\x30":
        return data
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        raise Unreadable("the answer is no base64") from None
