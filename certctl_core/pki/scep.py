"""SCEP messages (RFC 8894): requests read, answers made.

A message is CMS in CMS: what is asked, in an envelope for the CA or its registration authority (RA), and around that a
signature of the client with what names the message in its signed attributes. An answer is the same the other way
round; one that has nothing to hand over has no envelope.

A request goes through three gates. `receive` says what it claims to be: from here on it can be answered. `verified`
has its signature checked. `content` has its envelope opened; what is in it has to make sense as what the message type
says, and that it does not is answered as if it had not opened: whoever asks must not learn which (see
`cms.enveloped`).
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from enum import Enum
from typing import Final

from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.hazmat import asn1 as typed
from cryptography.x509.oid import AttributeOID

from certctl_core.errors import Invalid, Unreadable
from certctl_core.pki import asn1, cms, csr, serials
from certctl_core.pki.cms import Accepted, Cipher, Digest, Recipient, Signer
from certctl_core.pki.cms.structures import IssuerAndSerial, whole
from certctl_core.pki.untrusted import capped, parsing

MAX_REQUEST_BYTES: Final = 65536
NONCE_BYTES: Final = 16
MAX_TRANSACTION: Final = 255
MAX_TEXT: Final = 200

_MESSAGE_TYPE: Final = "2.16.840.1.113733.1.9.2"
_PKI_STATUS: Final = "2.16.840.1.113733.1.9.3"
_FAIL_INFO: Final = "2.16.840.1.113733.1.9.4"
_SENDER_NONCE: Final = "2.16.840.1.113733.1.9.5"
_RECIPIENT_NONCE: Final = "2.16.840.1.113733.1.9.6"
_TRANSACTION_ID: Final = "2.16.840.1.113733.1.9.7"
_FAIL_INFO_TEXT: Final = "1.3.6.1.5.5.7.24.1"
_SIGNING_TIME: Final = "1.2.840.113549.1.9.5"

_TRANSACTION: Final = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]+")
_DIGITS: Final = re.compile(r"\d{1,3}")
_UTF8_STRING: Final = 0x0C
_WHAT: Final = "the SCEP message"


class MessageType(Enum):
    """Section 3.2.1.2."""

    CERT_REP = "3"
    RENEWAL_REQ = "17"
    PKCS_REQ = "19"
    CERT_POLL = "20"
    GET_CERT = "21"
    GET_CRL = "22"


class PkiStatus(Enum):
    """Section 3.2.1.3."""

    SUCCESS = "0"
    FAILURE = "2"
    PENDING = "3"


class FailInfo(Enum):
    """Section 3.2.1.4."""

    BAD_ALG = "0"
    BAD_MESSAGE_CHECK = "1"
    BAD_REQUEST = "2"
    BAD_TIME = "3"
    BAD_CERT_ID = "4"


@frozen
class IssuerAndSubject:
    """What a CertPoll names (section 3.3.3)."""

    issuer: x509.Name
    subject: x509.Name


@frozen
class Named:
    """Which certificate a GetCert or GetCRL names (sections 3.3.4 and 3.3.5)."""

    issuer: x509.Name
    serial_number: str


Content = x509.CertificateSigningRequest | IssuerAndSubject | Named


@frozen(kw_only=True)
class Request:
    """A request, whose signature has been verified when there is a `signer`. `kind` is None for a message type that
    clients do not send or nobody knows."""

    kind: MessageType | None
    transaction_id: str
    sender_nonce: bytes
    signing_time: datetime | None
    signer: x509.Certificate | None = None
    digest: Digest = Digest.SHA256
    _message: cms.Unverified = field(repr=False)

    def verified(self, accepted: Accepted) -> "Request":
        """The request with its signer. Raises `Unreadable` (badMessageCheck) and `Refused` (badAlg)."""
        signed = self._message.verify(accepted)
        # SHA-1 is taken from clients that know no better, and given to nobody: those verify SHA-256 all the same.
        digest = Digest.SHA256 if signed.digest is Digest.SHA1 else signed.digest
        return evolve(self, signer=signed.signer, digest=digest)

    def content(self, recipients: Sequence[Recipient], accepted: Accepted) -> tuple[Content, Cipher]:
        """What is asked, and the cipher that the client knows. Raises `Unreadable` (badMessageCheck), in the same words
        whatever is wrong, and `Refused` (badAlg) for an algorithm or a key that is not accepted."""
        if self.kind is None or self.signer is None:
            raise Unreadable(f"{_WHAT} is of no known type, or not verified")
        opened = cms.open_envelope(self._message.content or b"", recipients, accepted)
        try:
            return read_content(self.kind, opened.content, accepted), opened.cipher
        except Invalid:
            raise Unreadable(cms.CLOSED) from None


_REQUESTS: Final = frozenset(MessageType) - {MessageType.CERT_REP}


def receive(data: bytes) -> Request:
    """A request that can be answered, whoever wrote it.

    Raises `TooLarge`, and `Unreadable` for what is no SCEP message or lacks what every message has.
    """
    message = cms.parse_signed(capped(data, _WHAT, MAX_REQUEST_BYTES))
    with parsing(_WHAT):
        kind = _printable(message.attributes, _MESSAGE_TYPE, "messageType", _DIGITS)
        transaction_id = _printable(message.attributes, _TRANSACTION_ID, "transactionID", _TRANSACTION)
        nonce = typed.decode_der(bytes, _value(message.attributes, _SENDER_NONCE, "senderNonce"))
        if len(nonce) != NONCE_BYTES:
            raise Unreadable(f"{_WHAT} has a senderNonce of {len(nonce)} octets instead of {NONCE_BYTES}")
        return Request(
            kind=next((one for one in _REQUESTS if one.value == kind), None),
            transaction_id=transaction_id,
            sender_nonce=nonce,
            signing_time=_signing_time(message.attributes),
            message=message,
        )


def challenge_of(request: x509.CertificateSigningRequest) -> str:
    """The challengePassword of a CSR (RFC 2985 section 5.4.1); empty when there is none. Raises `Unreadable`."""
    with parsing("the challengePassword"), suppress(x509.AttributeNotFound):
        return request.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value.decode("utf-8")
    return ""


def _value(attributes: Mapping[str, tuple[bytes, ...]], oid: str, name: str) -> bytes:
    values = attributes.get(oid, ())
    if len(values) != 1:
        raise Unreadable(f"{_WHAT} has {len(values)} values of {name} among its signed attributes, not one")
    return values[0]


def _printable(attributes: Mapping[str, tuple[bytes, ...]], oid: str, name: str, form: re.Pattern[str]) -> str:
    """A PrintableString; some clients write UTF8String."""
    value = _value(attributes, oid, name)
    text = typed.decode_der(str, value) if value[0] == _UTF8_STRING else _as_printable(value)
    if len(text) > MAX_TRANSACTION or not form.fullmatch(text):
        raise Unreadable(f"{_WHAT} has a {name} that is none")
    return text


def _as_printable(value: bytes) -> str:
    return typed.decode_der(typed.PrintableString, value).as_str()


def _signing_time(attributes: Mapping[str, tuple[bytes, ...]]) -> datetime | None:
    """RFC 5652 section 11.3. Few clients say it."""
    if _SIGNING_TIME not in attributes:
        return None
    value = _value(attributes, _SIGNING_TIME, "signingTime")
    if value[0] == 0x17:
        return typed.decode_der(typed.UTCTime, value).as_datetime()
    return typed.decode_der(typed.GeneralizedTime, value).as_datetime()


# What is in the envelopes


def read_content(kind: MessageType, der: bytes, accepted: Accepted) -> Content:
    """What a message of this type asks for. Raises `TooLarge`, `Invalid` and `Refused`."""
    return _CONTENTS[kind](der, accepted)


@typed.sequence
class _IssuerAndSubject:
    issuer: typed.TLV
    subject: typed.TLV


def _csr(der: bytes, accepted: Accepted) -> x509.CertificateSigningRequest:
    return csr.read_leniently(der, with_sha1=Digest.SHA1 in accepted.digests)


def _issuer_and_subject(der: bytes, _: Accepted) -> IssuerAndSubject:
    with parsing("the CertPoll"):
        found = typed.decode_der(_IssuerAndSubject, der)
        return IssuerAndSubject(_name(found.issuer), _name(found.subject))


def _named(der: bytes, _: Accepted) -> Named:
    with parsing("the IssuerAndSerialNumber"):
        found = typed.decode_der(IssuerAndSerial, der)
        return Named(_name(found.issuer), serials.canonical(found.serial_number))


def _name(value: typed.TLV) -> x509.Name:
    return x509.Name.from_bytes(whole(value))


_CONTENTS: Final[dict[MessageType, Callable[[bytes, Accepted], Content]]] = {
    MessageType.PKCS_REQ: _csr,
    MessageType.RENEWAL_REQ: _csr,
    MessageType.CERT_POLL: _issuer_and_subject,
    MessageType.GET_CERT: _named,
    MessageType.GET_CRL: _named,
}


# Answers (section 3.3.2)


def granted(
    request: Request,
    authority: Signer,
    cipher: Cipher,
    *,
    certificates: Sequence[x509.Certificate] = (),
    crls: Sequence[bytes] = (),
) -> bytes:
    """A CertRep with what was asked for, enciphered for the signer of the request. Raises as
    `cms.must_be_recipient`."""
    if request.signer is None:
        raise Invalid("nothing is handed over to a client that has not been verified")
    envelope = cms.envelop(cms.degenerate(certificates, crls), request.signer, cipher)
    return _answer(request, authority, envelope, {_PKI_STATUS: asn1.printable(PkiStatus.SUCCESS.value)})


def pending(request: Request, authority: Signer) -> bytes:
    """A CertRep that says: ask again, with CertPoll."""
    return _answer(request, authority, None, {_PKI_STATUS: asn1.printable(PkiStatus.PENDING.value)})


def failed(request: Request, authority: Signer, info: FailInfo, text: str = "") -> bytes:
    """A CertRep that says why not, in a word and, where there is more to say, in a sentence."""
    attributes = {
        _PKI_STATUS: asn1.printable(PkiStatus.FAILURE.value),
        _FAIL_INFO: asn1.printable(info.value),
    }
    if text:
        attributes[_FAIL_INFO_TEXT] = asn1.tlv(_UTF8_STRING, text[:MAX_TEXT].encode("utf-8", "replace"))
    return _answer(request, authority, None, attributes)


def _answer(request: Request, authority: Signer, envelope: bytes | None, attributes: Mapping[str, bytes]) -> bytes:
    named = {
        _MESSAGE_TYPE: asn1.printable(MessageType.CERT_REP.value),
        _TRANSACTION_ID: asn1.printable(request.transaction_id),
        _SENDER_NONCE: asn1.octets(secrets.token_bytes(NONCE_BYTES)),
        _RECIPIENT_NONCE: asn1.octets(request.sender_nonce),
    }
    return cms.sign(envelope, authority, {**named, **attributes}, digest=request.digest)
