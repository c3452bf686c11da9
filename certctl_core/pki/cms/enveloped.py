"""EnvelopedData (RFC 5652 section 6): content encrypted with a fresh key, and that key with the recipient's RSA key.

Whoever can send us envelopes can ask whether they open, so that must tell nothing of why one does not. A key that does
not come out is replaced by a random one (RFC 3218 section 2.3.2), and everything that goes wrong from then on is the
same error. The padding of the content is checked like that too; who acts on the content has to treat one that makes no
sense as if it had not opened.
"""

import secrets
from collections.abc import Sequence
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat import asn1 as typed
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher as Keyed
from cryptography.hazmat.primitives.ciphers import modes
from cryptography.hazmat.primitives.padding import PKCS7

from certctl_core.errors import Refused, Unreadable
from certctl_core.pki import asn1, keys
from certctl_core.pki.cms.algorithms import MODERN, Accepted, Cipher, Digest
from certctl_core.pki.cms.structures import (
    DATA,
    ENVELOPED_DATA,
    EncryptedContent,
    EnvelopedData,
    KeyTransport,
    OaepParameters,
    algorithm,
    algorithm_identifier,
    content_info,
    elements,
    issuer_and_serial,
    message,
    names,
    parse,
)
from certctl_core.pki.untrusted import parsing

MAX_RECIPIENTS: Final = 10

_RSA: Final = "1.2.840.113549.1.1.1"
_RSA_OAEP: Final = "1.2.840.113549.1.1.7"
_MGF1: Final = "1.2.840.113549.1.1.8"
_P_SPECIFIED: Final = "1.2.840.113549.1.1.9"
_WHAT: Final = "the envelope"

CLOSED: Final = f"{_WHAT} does not open"
"""All that is said of an envelope that was for us, whatever is wrong with what is in it."""


@frozen
class Recipient:
    """Who opens envelopes: a certificate with an RSA key, and that key."""

    certificate: x509.Certificate
    private_key: rsa.RSAPrivateKey = field(repr=False, eq=False)


@frozen
class Opened:
    """What was in an envelope, and how it was closed."""

    content: bytes = field(repr=False)
    cipher: Cipher


# Closing


def envelop(
    content: bytes, recipient: x509.Certificate, cipher: Cipher = Cipher.AES_256, content_type: str = DATA
) -> bytes:
    """`content`, for the holder of this certificate's RSA key to open, in DER (RSA PKCS #1 v1.5 key transport, which
    every client knows).

    Raises as `must_be_recipient`.
    """
    key, vector = secrets.token_bytes(cipher.key_size), secrets.token_bytes(cipher.block_size)
    encrypted_key = must_be_recipient(recipient).encrypt(key, padding.PKCS1v15())
    padder = PKCS7(8 * cipher.block_size).padder()
    encryptor = Keyed(cipher.keyed(key), modes.CBC(vector)).encryptor()
    encrypted = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    transport = asn1.sequence(
        asn1.integer(0), issuer_and_serial(recipient), algorithm_identifier(_RSA), asn1.octets(encrypted_key)
    )
    encrypted_content = asn1.sequence(
        asn1.object_identifier(content_type),
        algorithm_identifier(cipher.oid, asn1.octets(vector)),
        asn1.tlv(0x80, encrypted),
    )
    return content_info(ENVELOPED_DATA, asn1.sequence(asn1.integer(0), asn1.set_of(transport), encrypted_content))


def must_be_recipient(recipient: x509.Certificate) -> rsa.RSAPublicKey:
    """The key that envelopes for this certificate are closed with.

    Raises `Refused` for a certificate with another kind of key or a weak one, or whose keyUsage forbids encipherment.
    """
    with parsing("the recipient's certificate"):
        public_key = recipient.public_key()
        keys.require_sound(public_key)
        reasons = []
        if not isinstance(public_key, rsa.RSAPublicKey):
            reasons.append(f"its key is {keys.describe(public_key)}, and only RSA keys can be enciphered to")
        if not _may_encipher(recipient):
            reasons.append("its keyUsage lacks keyEncipherment")
    if reasons or not isinstance(public_key, rsa.RSAPublicKey):
        raise Refused(f"nothing is enciphered for this certificate: {'; '.join(reasons)}", reasons=reasons)
    return public_key


def _may_encipher(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
    except x509.ExtensionNotFound:
        return True


# Opening


def open_envelope(data: bytes, recipients: Sequence[Recipient], accepted: Accepted = MODERN) -> Opened:
    """What is in an envelope for one of these recipients.

    Raises `TooLarge`; `Unreadable` for what is no envelope, is for somebody else or does not open, whatever the reason;
    `Refused` for an algorithm that is not accepted.
    """
    envelope = message(data, ENVELOPED_DATA, EnvelopedData, _WHAT)
    with parsing(_WHAT):
        oid, parameters = algorithm(envelope.encrypted.algorithm)
        cipher = accepted.cipher(oid)
        vector = typed.decode_der(bytes, parameters)
        encrypted = _in_pieces(envelope.encrypted)
        if len(vector) != cipher.block_size or not encrypted or len(encrypted) % cipher.block_size:
            raise Unreadable(f"{_WHAT} has a content that is not made of the cipher's blocks")
        transport, recipient = _addressed(elements(envelope.recipients), recipients)
        scheme = _scheme(*algorithm(transport.algorithm), accepted)
    key = _key(recipient, transport.encrypted_key, scheme, cipher)
    decryptor = Keyed(cipher.keyed(key), modes.CBC(vector)).decryptor()
    unpadder = PKCS7(8 * cipher.block_size).unpadder()
    padded = decryptor.update(encrypted) + decryptor.finalize()
    try:
        return Opened(unpadder.update(padded) + unpadder.finalize(), cipher)
    except ValueError:
        raise Unreadable(CLOSED) from None


def _in_pieces(encrypted: EncryptedContent) -> bytes:
    """The octets of `[0] IMPLICIT OCTET STRING`, whose pieces BER allows and some senders make."""
    if encrypted.content.tag_bytes == b"\x80":
        return bytes(encrypted.content.data)
    pieces = elements(encrypted.content, 0xA0)
    return b"".join(parse(piece, bytes) for piece in pieces)


def _addressed(infos: list[typed.TLV], recipients: Sequence[Recipient]) -> tuple[KeyTransport, Recipient]:
    """The first key that was enciphered for one of us. Other kinds of RecipientInfo have tags of their own."""
    if len(infos) > MAX_RECIPIENTS:
        raise Unreadable(f"{_WHAT} has more than {MAX_RECIPIENTS} recipients")
    for info in infos:
        if info.tag_bytes != b"\x30":
            continue
        transport = parse(info, KeyTransport)
        for recipient in recipients:
            if names(transport.recipient, recipient.certificate):
                return transport, recipient
    raise Unreadable(f"{_WHAT} is for somebody else", hint="Ask for the CA's certificates again (GetCACert).")


def _scheme(oid: str, parameters: bytes, accepted: Accepted) -> padding.AsymmetricPadding:
    if oid == _RSA:
        return padding.PKCS1v15()
    if oid != _RSA_OAEP:
        raise Refused(f"the key transport {oid} is not accepted", reasons=[f"key transport {oid}"])
    oaep = typed.decode_der(OaepParameters, parameters if parameters != asn1.NULL else asn1.sequence())
    if oaep.label is not None and algorithm(oaep.label) != (_P_SPECIFIED, asn1.octets(b"")):
        raise Refused("an OAEP label is not accepted", reasons=["OAEP label"])
    return padding.OAEP(padding.MGF1(_mask_hash(oaep.mask, accepted)), _hash(oaep.digest, accepted), None)


def _hash(parts: list[typed.TLV] | None, accepted: Accepted) -> hashes.HashAlgorithm:
    """SHA-1 is the default of OAEP, where no attack on collisions matters (RFC 8017 appendix B.1)."""
    oid = Digest.SHA1.oid if parts is None else algorithm(parts)[0]
    return accepted.also(Digest.SHA1).digest(oid).algorithm


def _mask_hash(parts: list[typed.TLV] | None, accepted: Accepted) -> hashes.HashAlgorithm:
    if parts is None:
        return _hash(None, accepted)
    if len(parts) != 2 or algorithm(parts)[0] != _MGF1:
        raise Refused("another mask than MGF1 is not accepted", reasons=["OAEP mask"])
    return _hash(elements(parts[1], asn1.SEQUENCE), accepted)


def _key(recipient: Recipient, encrypted: bytes, scheme: padding.AsymmetricPadding, cipher: Cipher) -> bytes:
    """The content's key, or a random one in its place."""
    instead = secrets.token_bytes(cipher.key_size)
    try:
        key = recipient.private_key.decrypt(encrypted, scheme)
    except ValueError:
        return instead
    return key if len(key) == cipher.key_size else instead
