"""OCSP (RFC 6960): requests read, responses signed by the CA itself.

A response answers one CertID, hashed as the request hashed it, and repeats the request's nonce (RFC 9654). The
responder is named by its key hash; no certificate is sent along, because the client has the CA's. `producedAt` is
the library's clock: it is the one time here that no caller gives.
"""

import hashlib
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from certctl_core.errors import Invalid, Refused, Unreadable
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import keys, serials, signing
from certctl_core.pki.ca import Authority
from certctl_core.pki.crl import FLAGS
from certctl_core.pki.plan import OcspAnswer, OcspQuestion
from certctl_core.pki.untrusted import capped, parsing

MAX_REQUEST_BYTES: Final = 16384
MAX_NONCE_BYTES: Final = 128


class Unsuccessful(Enum):
    """Answers that carry no status and no signature (RFC 6960 section 4.2.1, OCSPResponseStatus)."""

    MALFORMED_REQUEST = ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    INTERNAL_ERROR = ocsp.OCSPResponseStatus.INTERNAL_ERROR
    TRY_LATER = ocsp.OCSPResponseStatus.TRY_LATER
    UNAUTHORIZED = ocsp.OCSPResponseStatus.UNAUTHORIZED


# Clients hash the issuer with SHA-1 (RFC 5019) or SHA-256 (RFC 9654); the hash names the issuer and secures nothing.
_HASHES: Final[dict[type[hashes.HashAlgorithm], Callable[[bytes], Any]]] = {
    hashes.SHA1: lambda data: hashlib.sha1(data, usedforsecurity=False),
    hashes.SHA256: hashlib.sha256,
    hashes.SHA384: hashlib.sha384,
    hashes.SHA512: hashlib.sha512,
}


def read_request(der: bytes) -> OcspQuestion:
    """The one question of a request. A signature on it is not looked at.

    Raises `TooLarge`, and `Unreadable` for what deserves `MALFORMED_REQUEST`: bytes that are no request, more than one
    CertID, a serial number that no certificate has (RFC 5280 section 4.1.2.2), a nonce of 0 or more than 128 octets
    (RFC 9654 section 2.1), an unknown critical extension.
    """
    data = capped(der, "the OCSP request", MAX_REQUEST_BYTES)
    with parsing("the OCSP request"):
        request = ocsp.load_der_ocsp_request(data)
        nonce = _nonce(request)
        algorithm = request.hash_algorithm
        if type(algorithm) not in _HASHES:
            raise Unreadable(f"the OCSP request hashes with {algorithm.name}, which is not supported")
        if request.serial_number <= 0:
            raise Unreadable("the OCSP request asks about a serial number that is not positive")
        return OcspQuestion(
            serial_number=serials.canonical(request.serial_number),
            issuer_name_hash=request.issuer_name_hash,
            issuer_key_hash=request.issuer_key_hash,
            hash_algorithm=algorithm,
            nonce=nonce,
        )


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


def question_about(
    issuer: x509.Certificate, serial_number: str, algorithm: hashes.HashAlgorithm | None = None
) -> OcspQuestion:
    """The question whether `issuer` revoked `serial_number`, hashed with SHA-1 unless told otherwise: the one hash
    that every client of RFC 5019 knows."""
    chosen = algorithm or hashes.SHA1()  # noqa: S303
    name_hash, key_hash = _issuer_hashes(issuer, chosen)
    return OcspQuestion(serials.canonical(serial_number), name_hash, key_hash, chosen)


def question_matches(issuer: Authority | x509.Certificate, question: OcspQuestion) -> bool:
    """Whether the question is about a certificate of this issuer: both hashes must be the issuer's."""
    certificate = issuer.certificate if isinstance(issuer, Authority) else issuer
    if type(question.hash_algorithm) not in _HASHES:
        return False
    expected = _issuer_hashes(certificate, question.hash_algorithm)
    return expected == (question.issuer_name_hash, question.issuer_key_hash)


def _issuer_hashes(issuer: x509.Certificate, algorithm: hashes.HashAlgorithm) -> tuple[bytes, bytes]:
    digest = _HASHES[type(algorithm)]
    name = issuer.subject.public_bytes()
    return digest(name).digest(), digest(keys.subject_public_key(issuer.public_key())).digest()


def sign_response(authority: Authority, question: OcspQuestion, answer: OcspAnswer) -> bytes:
    """A successful response in DER.

    Raises `Refused` when the question is about another issuer's certificate: this one must not speak of it.
    """
    if not question_matches(authority, question):
        reason = "the question is about a certificate of another issuer"
        raise Refused(f"no OCSP response is signed: {reason}", reasons=[reason])
    status, reason_flag = _status(answer)
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response_by_hash(
            issuer_name_hash=question.issuer_name_hash,
            issuer_key_hash=question.issuer_key_hash,
            serial_number=serials.to_int(question.serial_number),
            algorithm=question.hash_algorithm,
            cert_status=status,
            this_update=answer.this_update.replace(microsecond=0),
            next_update=answer.next_update.replace(microsecond=0),
            revocation_time=None if answer.revoked_at is None else answer.revoked_at.replace(microsecond=0),
            revocation_reason=reason_flag,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, authority.certificate)
    )
    if question.nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(question.nonce), critical=False)
    private_key = authority.private_key
    return builder.sign(private_key, signing.hash_for(private_key)).public_bytes(serialization.Encoding.DER)


def _status(answer: OcspAnswer) -> tuple[ocsp.OCSPCertStatus, x509.ReasonFlags | None]:
    if answer.next_update <= answer.this_update:
        raise Invalid.field("next_update", "is not after this_update")
    if answer.revoked_at is not None:
        if answer.reason is None or answer.reason is RevocationReason.UNSPECIFIED:
            return ocsp.OCSPCertStatus.REVOKED, None
        return ocsp.OCSPCertStatus.REVOKED, FLAGS[answer.reason]
    return (ocsp.OCSPCertStatus.GOOD if answer.known else ocsp.OCSPCertStatus.UNKNOWN), None


def unsuccessful(status: Unsuccessful) -> bytes:
    """An answer without a status, in DER. It is not signed."""
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status.value).public_bytes(serialization.Encoding.DER)
