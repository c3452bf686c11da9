"""SignedData (RFC 5652 section 5): one signature over signed attributes, and none at all where certificates are handed
over (section 5.2, "degenerate").

What is verified is the attributes as they were received, with the tag of a set (section 5.4), and not what they would
be when encoded again. Algorithms and their parameters come from the message; which are accepted does not.
"""

from collections.abc import Iterable, Mapping, Sequence
from hmac import compare_digest
from typing import Final, TypeVar

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1 as typed
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.errors import Invalid, Refused, Unreadable
from certctl_core.pki import asn1, keys, reading
from certctl_core.pki.cms.algorithms import MODERN, Accepted, Digest
from certctl_core.pki.cms.structures import (
    DATA,
    SIGNED_DATA,
    Attribute,
    PssParameters,
    SignedData,
    SignerInfo,
    algorithm,
    algorithm_identifier,
    content_info,
    elements,
    issuer_and_serial,
    message,
    names,
    parse,
    whole,
)
from certctl_core.pki.keys import PrivateKey
from certctl_core.pki.untrusted import parsing

MAX_CERTIFICATES: Final = 10

_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
_RSA: Final = "1.2.840.113549.1.1.1"
_RSA_PSS: Final = "1.2.840.113549.1.1.10"
_MGF1: Final = "1.2.840.113549.1.1.8"
_WHAT: Final = "the signed message"

T = TypeVar("T")

Padding = padding.PKCS1v15 | padding.PSS


@frozen(kw_only=True)
class Signed:
    """What was signed, and by whom. `content` is None where there was none. `attributes` are the signed ones: the DER
    of their values, by OID. Nothing is said of the signer's certificate but that its key made the signature."""

    content: bytes | None
    attributes: Mapping[str, tuple[bytes, ...]]
    signer: x509.Certificate
    certificates: tuple[x509.Certificate, ...]
    digest: Digest


@frozen
class Signer:
    """Who signs. Making one raises `Invalid` when the key is not the certificate's, or is neither RSA nor ECDSA."""

    certificate: x509.Certificate
    private_key: PrivateKey = field(repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.private_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise Invalid("messages are signed with RSA and ECDSA keys only")
        if not keys.same_key(self.certificate, self.private_key):
            raise Invalid("the private key is not that of the certificate")


# Reading


@frozen(kw_only=True)
class Unverified:
    """What a message says, which anybody may have written. `verify` tells."""

    content: bytes | None
    attributes: Mapping[str, tuple[bytes, ...]]
    certificates: tuple[x509.Certificate, ...]
    _content_type: str
    _info: SignerInfo = field(repr=False)

    def verify(self, accepted: Accepted = MODERN) -> Signed:
        """Raises `Unreadable` when the one signature does not verify with the key of a certificate in the message, and
        `Refused` for an algorithm that is not accepted and for a weak key."""
        info = self._info
        with parsing(_WHAT):
            digest = accepted.digest(algorithm(info.digest_algorithm)[0])
            signer = _only([one for one in self.certificates if names(info.signer, one)], "certificate of the signer")
            _digests_must_agree(self.attributes, self._content_type, self.content or b"", digest)
            received = asn1.tlv(asn1.SET, b"".join(whole(one) for one in info.signed_attributes or ()))
            _verify(signer, info, digest, received)
            reading.look_at_all_of(signer)
        return Signed(
            content=self.content,
            attributes=self.attributes,
            signer=signer,
            certificates=self.certificates,
            digest=digest,
        )


def parse_signed(data: bytes) -> Unverified:
    """A message with one signature, which nothing is said of yet. Raises `TooLarge` and `Unreadable`."""
    outer = message(data, SIGNED_DATA, SignedData, _WHAT)
    with parsing(_WHAT):
        info = parse(_only(elements(outer.signer_infos), "signature"), SignerInfo)
        return Unverified(
            content=outer.encapsulated.content,
            attributes=dict(_attributes(info.signed_attributes or ())),
            certificates=tuple(_certificates(outer.certificates or ())),
            content_type=outer.encapsulated.content_type.dotted_string,
            info=info,
        )


def read_signed(data: bytes, accepted: Accepted = MODERN) -> Signed:
    """The content of a message whose one signature verifies. Raises as `parse_signed` and `Unverified.verify`."""
    return parse_signed(data).verify(accepted)


def _only(found: Sequence[T], what: str) -> T:
    if len(found) != 1:
        raise Unreadable(f"{_WHAT} has {len(found)} of what there must be one: the {what}")
    return found[0]


def _certificates(found: Sequence[typed.TLV]) -> Iterable[x509.Certificate]:
    """Those in X.509; other kinds (section 10.2.2) are passed over."""
    if len(found) > MAX_CERTIFICATES:
        raise Unreadable(f"{_WHAT} has more than {MAX_CERTIFICATES} certificates")
    return (x509.load_der_x509_certificate(whole(one)) for one in found if one.tag_bytes == b"\x30")


def _attributes(found: Sequence[typed.TLV]) -> Iterable[tuple[str, tuple[bytes, ...]]]:
    seen: set[str] = set()
    for one in found:
        attribute = parse(one, Attribute)
        oid = attribute.kind.dotted_string
        if oid in seen:
            raise Unreadable(f"{_WHAT} has the signed attribute {oid} twice")
        seen.add(oid)
        yield oid, tuple(whole(value) for value in elements(attribute.values))


def _digests_must_agree(attributes: Mapping[str, tuple[bytes, ...]], kind: str, content: bytes, digest: Digest) -> None:
    """Section 11.1 and 11.2: both attributes are there, with one value each."""
    if attributes.get(_CONTENT_TYPE) != (asn1.object_identifier(kind),):
        raise Unreadable(f"{_WHAT} does not sign the type of its content")
    expected = asn1.octets(digest.of(content))
    given = attributes.get(_MESSAGE_DIGEST, ())
    if len(given) != 1 or not compare_digest(given[0], expected):
        raise Unreadable(f"{_WHAT} has another content than was signed")


def _verify(signer: x509.Certificate, info: SignerInfo, digest: Digest, signed: bytes) -> None:
    public_key = signer.public_key()
    keys.require_sound(public_key)
    oid, parameters = algorithm(info.signature_algorithm)
    try:
        if isinstance(public_key, rsa.RSAPublicKey):
            public_key.verify(info.signature, signed, _rsa_padding(oid, parameters, digest), digest.algorithm)
        elif isinstance(public_key, ec.EllipticCurvePublicKey) and oid == digest.with_ecdsa:
            public_key.verify(info.signature, signed, ec.ECDSA(digest.algorithm))
        else:
            raise _refused(oid)
    except InvalidSignature:
        raise Unreadable(f"the signature of {_WHAT} does not verify") from None


def _rsa_padding(oid: str, parameters: bytes, digest: Digest) -> Padding:
    if oid in (_RSA, digest.with_rsa):
        return padding.PKCS1v15()
    if oid != _RSA_PSS:
        raise _refused(oid)
    pss = typed.decode_der(PssParameters, parameters if parameters != asn1.NULL else asn1.sequence())
    # RFC 4056 section 3: the digest algorithm is that of the parameters; and the mask has the same here.
    if pss.trailer != 1 or _hash_of(pss.digest) != digest.oid or _mask_hash_of(pss.mask) != digest.oid:
        raise _refused(f"{oid} with these parameters")
    if not 0 <= pss.salt_length <= 64:
        raise Unreadable(f"{_WHAT} has a salt of {pss.salt_length} octets")
    return padding.PSS(padding.MGF1(digest.algorithm), pss.salt_length)


def _hash_of(parts: list[typed.TLV] | None) -> str:
    return Digest.SHA1.oid if parts is None else algorithm(parts)[0]


def _mask_hash_of(parts: list[typed.TLV] | None) -> str:
    if parts is None:
        return Digest.SHA1.oid
    if len(parts) != 2 or algorithm(parts)[0] != _MGF1:
        raise _refused("another mask than MGF1")
    return algorithm(elements(parts[1], asn1.SEQUENCE))[0]


def _refused(oid: str) -> Refused:
    return Refused(f"the signature algorithm {oid} is not accepted", reasons=[f"signature algorithm {oid}"])


# Writing


def sign(
    content: bytes | None,
    signer: Signer,
    attributes: Mapping[str, bytes] | None = None,
    *,
    digest: Digest = Digest.SHA256,
    certificates: Sequence[x509.Certificate] = (),
    content_type: str = DATA,
) -> bytes:
    """A message in DER with the signer's certificate and `certificates` in it. `attributes` are the DER of one value
    each, by OID, beside those that every message has; `content` of None is left out, and signed as empty."""
    signed = {
        _CONTENT_TYPE: asn1.object_identifier(content_type),
        _MESSAGE_DIGEST: asn1.octets(digest.of(content or b"")),
        **(attributes or {}),
    }
    encoded = asn1.set_of(
        *(asn1.sequence(asn1.object_identifier(oid), asn1.set_of(value)) for oid, value in signed.items())
    )
    signature_algorithm, signature = _signature(signer.private_key, encoded, digest)
    info = asn1.sequence(
        asn1.integer(1),
        issuer_and_serial(signer.certificate),
        algorithm_identifier(digest.oid, b""),
        b"\xa0" + encoded[1:],
        signature_algorithm,
        asn1.octets(signature),
    )
    encapsulated = asn1.sequence(
        asn1.object_identifier(content_type), b"" if content is None else asn1.tlv(0xA0, asn1.octets(content))
    )
    return _signed_data(
        asn1.set_of(algorithm_identifier(digest.oid, b"")),
        encapsulated,
        (signer.certificate, *certificates),
        (),
        asn1.set_of(info),
        version=1 if content_type == DATA else 3,
    )


def _signature(private_key: PrivateKey, data: bytes, digest: Digest) -> tuple[bytes, bytes]:
    if isinstance(private_key, rsa.RSAPrivateKey):
        # RFC 3370 section 3.2: rsaEncryption is what every verifier knows.
        return algorithm_identifier(_RSA), private_key.sign(data, padding.PKCS1v15(), digest.algorithm)
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        chosen = ec.ECDSA(digest.algorithm, deterministic_signing=True)
        return algorithm_identifier(digest.with_ecdsa, b""), private_key.sign(data, chosen)
    raise Invalid("messages are signed with RSA and ECDSA keys only")


def degenerate(
    certificates: Sequence[x509.Certificate] = (), crls: Sequence[x509.CertificateRevocationList | bytes] = ()
) -> bytes:
    """Certificates and CRLs (DER, or read) without content and signature, in DER: the "certs-only" message."""
    lists = tuple(one if isinstance(one, bytes) else one.public_bytes(Encoding.DER) for one in crls)
    return _signed_data(asn1.set_of(), asn1.sequence(asn1.object_identifier(DATA)), certificates, lists, asn1.set_of())


def _signed_data(
    digests: bytes,
    encapsulated: bytes,
    certificates: Sequence[x509.Certificate],
    crls: Sequence[bytes],
    signer_infos: bytes,
    version: int = 1,
) -> bytes:
    encoded = {one.public_bytes(Encoding.DER) for one in certificates}
    content = asn1.sequence(
        asn1.integer(version),
        digests,
        encapsulated,
        b"\xa0" + asn1.set_of(*encoded)[1:] if encoded else b"",
        b"\xa1" + asn1.set_of(*crls)[1:] if crls else b"",
        signer_infos,
    )
    return content_info(SIGNED_DATA, content)
