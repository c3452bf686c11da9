"""OCSP (RFC 6960): requests read, responses signed.

A response answers every CertID of its request, hashed as the request hashed it, and repeats the request's nonce (RFC
9654). It is assembled by hand: the library's builder makes one of a single CertID only, has no room for extensions of
single responses, and takes longer than the signature does. What the two make is read alike (tests compare them).

    OCSPResponse       SEQUENCE { ENUMERATED successful, [0] SEQUENCE { id-pkix-ocsp-basic, OCTET STRING basic } }
    basic              SEQUENCE { data, AlgorithmIdentifier, BIT STRING, [0] SEQUENCE OF Certificate }
    data               SEQUENCE { [2] KeyHash, producedAt, SEQUENCE OF single, [1] Extensions }
    single             SEQUENCE { CertID, certStatus, thisUpdate, [0] nextUpdate, [1] Extensions }
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp

from certctl_core.errors import Invalid, Refused, Unreadable
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import asn1, keys, serials, signing
from certctl_core.pki.keys import PrivateKey
from certctl_core.pki.plan import OcspAnswer, OcspQuestion, OcspRequest
from certctl_core.pki.untrusted import capped, parsing

MAX_REQUEST_BYTES: Final = 16384
MAX_NONCE_BYTES: Final = 128
MAX_QUESTIONS: Final = 16
"""CertIDs in one request. Clients send one (RFC 5019 section 2.1.1)."""


class Unsuccessful(Enum):
    """Answers that carry no status and no signature (RFC 6960 section 4.2.1, OCSPResponseStatus)."""

    MALFORMED_REQUEST = ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    INTERNAL_ERROR = ocsp.OCSPResponseStatus.INTERNAL_ERROR
    TRY_LATER = ocsp.OCSPResponseStatus.TRY_LATER
    UNAUTHORIZED = ocsp.OCSPResponseStatus.UNAUTHORIZED


@frozen
class _Hash:
    """A hash that CertIDs are made with, and its AlgorithmIdentifier in DER."""

    digest: Callable[[bytes], Any]
    identifier: bytes


# Clients hash the issuer with SHA-1 (RFC 5019) or SHA-256 (RFC 9654); the hash names the issuer and secures nothing.
_HASHES: Final[dict[str, _Hash]] = {
    "sha1": _Hash(lambda data: hashlib.sha1(data, usedforsecurity=False), bytes.fromhex("300906052b0e03021a0500")),
    "sha256": _Hash(hashlib.sha256, bytes.fromhex("300d06096086480165030402010500")),
    "sha384": _Hash(hashlib.sha384, bytes.fromhex("300d06096086480165030402020500")),
    "sha512": _Hash(hashlib.sha512, bytes.fromhex("300d06096086480165030402030500")),
}
_BASIC: Final = bytes.fromhex("06092b0601050507300101")
_NONCE: Final = bytes.fromhex("06092b0601050507300102")
_ARCHIVE_CUTOFF: Final = bytes.fromhex("06092b0601050507300106")
_SUCCESSFUL: Final = b"\x0a\x01\x00"
_GOOD: Final = b"\x80\x00"
_UNKNOWN: Final = b"\x82\x00"
_REASONS: Final = {
    reason: asn1.tlv(0xA0, asn1.tlv(asn1.ENUMERATED, bytes((reason.code,)))) if reason.code else b""
    for reason in RevocationReason
}
"""revocationReason; that there is no particular one is not said."""


# --- Requests -----------------------------------------------------------------------------------------------------


def read_request(der: bytes) -> OcspRequest:
    """What a request asks. A signature on it is not looked at: whoever asks may know.

    Raises `TooLarge`, and `Unreadable` for what deserves `MALFORMED_REQUEST`: bytes that are no request, more than
    `MAX_QUESTIONS` CertIDs, a nonce of 0 or more than 128 octets (RFC 9654 section 2.1), an unknown critical extension,
    a hash that nobody uses.
    """
    data = capped(der, "the OCSP request", MAX_REQUEST_BYTES)
    with parsing("the OCSP request"):
        try:
            request = ocsp.load_der_ocsp_request(data)
        except NotImplementedError:  # the library knows one CertID
            found = [ocsp.load_der_ocsp_request(one) for one in _one_by_one(data)]
            return OcspRequest(tuple(map(_question, found)), _nonce(found[0]))
        return OcspRequest((_question(request),), _nonce(request))


def _question(request: ocsp.OCSPRequest) -> OcspQuestion:
    number = request.serial_number
    if number <= 0:
        raise Unreadable("the OCSP request asks about a serial number that is not positive")
    name = request.hash_algorithm.name
    if name not in _HASHES:
        raise Unreadable(f"the OCSP request hashes with {name}, which is not supported")
    return OcspQuestion(f"{number:x}", request.issuer_name_hash, request.issuer_key_hash, name)


def _nonce(request: ocsp.OCSPRequest) -> bytes | None:
    nonce: bytes | None = None
    for extension in request.extensions:
        if isinstance(extension.value, x509.OCSPNonce):
            nonce = extension.value.nonce
            if not 1 <= len(nonce) <= MAX_NONCE_BYTES:
                raise Unreadable(f"the OCSP request has a nonce of {len(nonce)} octets")
        elif extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise Unreadable(f"the OCSP request has an unknown critical extension {extension.oid.dotted_string}")
    return nonce


def _one_by_one(request: bytes) -> Iterator[bytes]:
    """A request about several CertIDs as requests about one each. Raises `Unreadable`."""
    (outer, *rest) = _children(request)
    if rest or outer[0] != asn1.SEQUENCE:
        raise Unreadable("the OCSP request is not one SEQUENCE")
    to_be_signed = next(_children(_content(outer)))
    parts = list(_children(_content(to_be_signed)))
    lists = [number for number, part in enumerate(parts) if part[0] == asn1.SEQUENCE]
    if len(lists) != 1:
        raise Unreadable("the OCSP request has no list of requests")
    entries = list(_children(_content(parts[lists[0]])))
    if not 1 <= len(entries) <= MAX_QUESTIONS:
        raise Unreadable(f"the OCSP request is about {len(entries)} certificates; 1 to {MAX_QUESTIONS} are answered")
    for entry in entries:
        parts[lists[0]] = asn1.sequence(entry)
        yield asn1.sequence(asn1.sequence(*parts))


def _children(content: bytes) -> Iterator[bytes]:
    """The encoded values that follow one another in `content`."""
    at = 0
    while at < len(content):
        end = at + _size(content[at : at + 6])
        if end > len(content):
            raise Unreadable("the OCSP request ends within a value")
        yield content[at:end]
        at = end


def _content(value: bytes) -> bytes:
    return value[_header(value) :]


def _size(head: bytes) -> int:
    """The length of a value by its first octets, header included."""
    header = _header(head)
    length = head[1] if header == 2 else int.from_bytes(head[2:header], "big")
    return header + length


def _header(head: bytes) -> int:
    if len(head) < 2 or head[1] > 0x84 or head[1] == 0x80:
        raise Unreadable("the OCSP request has a value without a definite length")
    size = 2 if head[1] < 0x80 else 2 + (head[1] & 0x7F)
    if len(head) < size:
        raise Unreadable("the OCSP request ends within a header")
    return size


def request_about(issuer: x509.Certificate, serial_number: str, hash_name: str = "sha1") -> OcspRequest:
    """The question whether `issuer` revoked `serial_number`, hashed with SHA-1 unless told otherwise: the one hash
    that every client of RFC 5019 knows. Raises `Invalid` for what is no serial number."""
    name_hash, key_hash = issuer_hashes(issuer, hash_name)
    return OcspRequest((OcspQuestion(serials.canonical(serial_number), name_hash, key_hash, hash_name),))


def issuer_hashes(issuer: x509.Certificate, hash_name: str) -> tuple[bytes, bytes]:
    """issuerNameHash and issuerKeyHash of what this CA issued."""
    digest = _HASHES[hash_name].digest
    name = issuer.subject.public_bytes()
    return digest(name).digest(), digest(keys.subject_public_key(issuer.public_key())).digest()


HASH_NAMES: Final = tuple(_HASHES)
"""The hashes that CertIDs may be made with."""


# --- Responses ----------------------------------------------------------------------------------------------------


@frozen(eq=False)
class Responder:
    """Who answers for `issuer`: a delegate, or the CA itself when `certificate` is the CA's."""

    issuer: x509.Certificate
    certificate: x509.Certificate
    private_key: PrivateKey = field(repr=False)
    _identity: bytes = field(init=False, repr=False)
    _algorithm: bytes = field(init=False, repr=False)
    _certificates: bytes = field(init=False, repr=False)
    _issuers: dict[tuple[str, bytes, bytes], bytes] = field(init=False, repr=False)

    @_identity.default
    def _name_by_key(self) -> bytes:
        """ResponderID byKey: SHA-1 of the key, whatever the CertID is hashed with (RFC 6960 section 4.2.1)."""
        key_hash = hashlib.sha1(keys.subject_public_key(self.certificate.public_key()), usedforsecurity=False).digest()
        return asn1.tlv(0xA2, asn1.octets(key_hash))

    @_algorithm.default
    def _identify_algorithm(self) -> bytes:
        return signing.algorithm_identifier(self.private_key)

    @_certificates.default
    def _send_along(self) -> bytes:
        """A client that has the CA's certificate has everything it needs to verify the CA's own signature."""
        if self.certificate == self.issuer:
            return b""
        return asn1.tlv(0xA0, asn1.sequence(self.certificate.public_bytes(serialization.Encoding.DER)))

    @_issuers.default
    def _begin_ids(self) -> dict[tuple[str, bytes, bytes], bytes]:
        """What CertIDs of the issuer's certificates begin with, by the name of the hash and the two hashes."""
        ids = {}
        for name, known in _HASHES.items():
            hashed = issuer_hashes(self.issuer, name)
            ids[name, *hashed] = known.identifier + b"".join(map(asn1.octets, hashed))
        return ids

    def answers_for(self, question: OcspQuestion) -> bool:
        """Whether the question is about a certificate of this issuer: both hashes must be the issuer's."""
        return question.issuer in self._issuers

    def respond(self, request: OcspRequest, answers: Sequence[OcspAnswer], produced_at: datetime) -> bytes:
        """A successful response in DER, with an answer to each question.

        Raises `Refused` when a question is about another issuer's certificate: this one must not speak of it.
        """
        return b"".join(self.respond_in_parts(request, answers, produced_at))

    def respond_in_parts(
        self, request: OcspRequest, answers: Sequence[OcspAnswer], produced_at: datetime
    ) -> tuple[bytes, bytes]:
        """As `respond`, in two parts to be sent one after the other, the second being the same object for all."""
        singles = asn1.sequence(*map(self._single, request.questions, answers))
        data = asn1.sequence(self._identity, asn1.generalized_time(produced_at), singles, _said_once(request.nonce))
        signature = asn1.bit_string(signing.sign(self.private_key, data))
        signed, last = data + self._algorithm + signature, self._certificates
        for tag, before in ((asn1.SEQUENCE, b""), (asn1.OCTET_STRING, _BASIC), (asn1.SEQUENCE, b"")):
            signed = before + asn1.header(tag, len(signed) + len(last)) + signed
        signed = _SUCCESSFUL + asn1.header(0xA0, len(signed) + len(last)) + signed
        return asn1.header(asn1.SEQUENCE, len(signed) + len(last)) + signed, last

    def _single(self, question: OcspQuestion, answer: OcspAnswer) -> bytes:
        issuer = self._issuers.get(question.issuer)
        if issuer is None:
            reason = "the question is about a certificate of another issuer"
            raise Refused(f"no OCSP response is signed: {reason}", reasons=[reason])
        if answer.next_update <= answer.this_update:
            raise Invalid.field("next_update", "is not after this_update")
        return asn1.sequence(
            asn1.sequence(issuer, asn1.integer(int(question.serial_number, 16))),
            _status(answer),
            asn1.generalized_time(answer.this_update),
            asn1.tlv(0xA0, asn1.generalized_time(answer.next_update)),
            _ending(answer.archive_cutoff),
        )


def _status(answer: OcspAnswer) -> bytes:
    if answer.revoked_at is not None:
        reason = b"" if answer.reason is None else _REASONS[answer.reason]
        return asn1.tlv(0xA1, asn1.generalized_time(answer.revoked_at) + reason)
    return _GOOD if answer.known else _UNKNOWN


def _ending(archive_cutoff: datetime | None) -> bytes:
    """The extensions of a single response."""
    if archive_cutoff is None:
        return b""
    return asn1.tlv(0xA1, asn1.sequence(_extension(_ARCHIVE_CUTOFF, asn1.generalized_time(archive_cutoff))))


def _said_once(nonce: bytes | None) -> bytes:
    """The extensions of the response."""
    if nonce is None:
        return b""
    return asn1.tlv(0xA1, asn1.sequence(_extension(_NONCE, asn1.octets(nonce))))


def _extension(oid: bytes, value: bytes) -> bytes:
    return asn1.sequence(oid, asn1.octets(value))


@lru_cache(maxsize=8)
def unsuccessful(status: Unsuccessful) -> bytes:
    """An answer without a status, in DER. It is not signed."""
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status.value).public_bytes(serialization.Encoding.DER)
