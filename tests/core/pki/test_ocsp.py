"""OCSP requests are read strictly; responses say what the records say and nothing about other issuers."""

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as library
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import CertctlError, Invalid, Refused, TooLarge, Unreadable
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import asn1, ca, ocsp
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.ocsp import Unsuccessful
from certctl_core.pki.plan import OcspAnswer, OcspQuestion
from tests import plans

LEAF = ca.sign_leaf(plans.authority(), plans.plan())
SERIAL = plans.plan().serial_number
RFC_5280_NAMES = {RevocationReason.CA_COMPROMISE: "cACompromise"}
GOOD = OcspAnswer(known=True, this_update=plans.NOW, next_update=plans.NOW + timedelta(hours=1))


def _request(algorithm: hashes.HashAlgorithm | None = None, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
    builder = library.OCSPRequestBuilder().add_certificate(
        LEAF, plans.authority().certificate, algorithm or hashes.SHA256()
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.build().public_bytes(Encoding.DER)


def _response(der: bytes) -> library.OCSPResponse:
    return library.load_der_ocsp_response(der)


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])  # noqa: S303
def test_a_request_is_about_its_issuer_and_serial_number(algorithm: hashes.HashAlgorithm) -> None:
    question = ocsp.read_request(_request(algorithm))
    assert question.serial_number == SERIAL
    assert question.nonce is None
    assert ocsp.question_matches(plans.authority(), question)
    assert ocsp.question_matches(plans.authority().certificate, question)
    assert not ocsp.question_matches(plans.authority(KeyKind.ED25519), question)
    assert question == ocsp.question_about(plans.authority().certificate, SERIAL, algorithm)


@pytest.mark.parametrize("kind", plans.QUICK_KINDS)
def test_a_response_is_signed_by_the_ca_and_names_it_by_key(kind: KeyKind) -> None:
    authority = plans.authority(kind)
    question = ocsp.question_about(authority.certificate, SERIAL)
    response = _response(ocsp.sign_response(authority, question, GOOD))
    assert response.response_status is library.OCSPResponseStatus.SUCCESSFUL
    assert response.certificate_status is library.OCSPCertStatus.GOOD
    assert response.responder_key_hash == question.issuer_key_hash
    assert response.responder_name is None
    assert response.certificates == []
    assert response.this_update_utc == plans.NOW
    assert response.next_update_utc == plans.NOW + timedelta(hours=1)
    _verify(authority.certificate.public_key(), response)


def _verify(public_key: Any, response: library.OCSPResponse) -> None:
    """Raises when the signature is not the key's."""
    signed, algorithm = response.tbs_response_bytes, response.signature_hash_algorithm
    if isinstance(public_key, rsa.RSAPublicKey):
        assert algorithm is not None
        public_key.verify(response.signature, signed, padding.PKCS1v15(), algorithm)
    elif isinstance(public_key, ec.EllipticCurvePublicKey):
        assert algorithm is not None
        public_key.verify(response.signature, signed, ec.ECDSA(algorithm))
    else:
        public_key.verify(response.signature, signed)


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256()])  # noqa: S303
def test_a_response_repeats_the_hashes_of_the_question(algorithm: hashes.HashAlgorithm) -> None:
    question = ocsp.read_request(_request(algorithm))
    response = _response(ocsp.sign_response(plans.authority(), question, GOOD))
    assert response.hash_algorithm.name == algorithm.name
    assert response.issuer_key_hash == question.issuer_key_hash
    assert response.issuer_name_hash == question.issuer_name_hash
    assert f"{response.serial_number:x}" == SERIAL


@pytest.mark.parametrize("length", [1, 16, 32, 128])
def test_a_nonce_is_repeated(length: int) -> None:
    nonce = bytes(range(length))
    question = ocsp.read_request(_request(None, (x509.OCSPNonce(nonce), False)))
    assert question.nonce == nonce
    response = _response(ocsp.sign_response(plans.authority(), question, GOOD))
    assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce


def test_without_a_nonce_the_response_has_none() -> None:
    response = _response(ocsp.sign_response(plans.authority(), ocsp.read_request(_request()), GOOD))
    assert list(response.extensions) == []


@pytest.mark.parametrize("length", [0, 129, 1000])
def test_a_nonce_of_another_length_is_malformed(length: int) -> None:
    with pytest.raises(Unreadable, match="nonce"):
        ocsp.read_request(_request(None, (x509.OCSPNonce(bytes(length)), False)))


def test_an_unknown_critical_extension_is_malformed_and_another_is_ignored() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert ocsp.read_request(_request(None, (unknown, False))).serial_number == SERIAL
    with pytest.raises(Unreadable, match="critical"):
        ocsp.read_request(_request(None, (unknown, True)))


@pytest.mark.parametrize("reason", RevocationReason)
def test_a_revoked_certificate_is_revoked_with_its_reason(reason: RevocationReason) -> None:
    revoked_at = plans.NOW - timedelta(days=3, microseconds=-17)
    answer = OcspAnswer(True, GOOD.this_update, GOOD.next_update, revoked_at, reason)
    question = ocsp.question_about(plans.authority().certificate, SERIAL)
    response = _response(ocsp.sign_response(plans.authority(), question, answer))
    assert response.certificate_status is library.OCSPCertStatus.REVOKED
    assert response.revocation_time_utc == plans.NOW - timedelta(days=3)
    expected = (
        None if reason is RevocationReason.UNSPECIFIED else x509.ReasonFlags(RFC_5280_NAMES.get(reason, reason.value))
    )
    assert response.revocation_reason == expected


def test_what_was_never_issued_is_unknown() -> None:
    question = ocsp.question_about(plans.authority().certificate, "abc")
    answer = OcspAnswer(False, GOOD.this_update, GOOD.next_update)
    response = _response(ocsp.sign_response(plans.authority(), question, answer))
    assert response.certificate_status is library.OCSPCertStatus.UNKNOWN


def test_no_response_is_signed_about_another_issuers_certificate() -> None:
    question = ocsp.question_about(plans.authority(KeyKind.ED25519).certificate, SERIAL)
    with pytest.raises(Refused, match="another issuer"):
        ocsp.sign_response(plans.authority(), question, GOOD)
    same_name = OcspQuestion(SERIAL, ocsp.read_request(_request()).issuer_name_hash, bytes(32), hashes.SHA256())
    with pytest.raises(Refused):
        ocsp.sign_response(plans.authority(), same_name, GOOD)


def test_an_answer_that_ends_before_it_begins_is_refused() -> None:
    question = ocsp.question_about(plans.authority().certificate, SERIAL)
    with pytest.raises(Invalid):
        ocsp.sign_response(plans.authority(), question, OcspAnswer(True, plans.NOW, plans.NOW))


@pytest.mark.parametrize("status", Unsuccessful)
def test_an_unsuccessful_answer_says_only_its_status(status: Unsuccessful) -> None:
    der = ocsp.unsuccessful(status)
    assert _response(der).response_status is status.value
    assert der == bytes((0x30, 3, 0x0A, 1, status.value.value))


def _two_questions() -> bytes:
    """A request with the same CertID twice."""
    single = _request()
    inner = single[2:] if single[1] < 0x80 else single[3:]
    list_at = 2 if inner[1] < 0x80 else 3
    request_list = inner[list_at:]
    entry = request_list[2:] if request_list[1] < 0x80 else request_list[3:]
    return asn1.sequence(asn1.sequence(asn1.sequence(entry, entry)))


def test_two_questions_at_once_are_malformed() -> None:
    with pytest.raises(Unreadable):
        ocsp.read_request(_two_questions())


def test_a_hash_that_nobody_needs_is_not_supported() -> None:
    with pytest.raises(Unreadable, match="sha224"):
        ocsp.read_request(_request(hashes.SHA224()))
    question = ocsp.question_about(plans.authority().certificate, SERIAL)
    assert not ocsp.question_matches(plans.authority(), evolve(question, hash_algorithm=hashes.SHA224()))


def test_what_is_no_request_is_malformed() -> None:
    for wrong in (b"", b"0", b"\x30\x00", _request() + b"\0", LEAF.public_bytes(Encoding.DER)):
        with pytest.raises(Unreadable):
            ocsp.read_request(wrong)
    with pytest.raises(TooLarge):
        ocsp.read_request(bytes(ocsp.MAX_REQUEST_BYTES + 1))


@pytest.mark.parametrize("octets", ["00", "ff", "80"])
def test_a_question_about_a_serial_number_that_none_has_is_malformed(octets: str) -> None:
    """RFC 5280 section 4.1.2.2: serial numbers are positive."""
    request = library.OCSPRequestBuilder().add_certificate_by_hash(bytes(32), bytes(32), 1, hashes.SHA256()).build()
    der = request.public_bytes(Encoding.DER)
    assert der.endswith(b"\x02\x01\x01")
    with pytest.raises(Unreadable, match="not positive"):
        ocsp.read_request(der[:-1] + bytes.fromhex(octets))


WITH_NONCE = _request(hashes.SHA1(), (x509.OCSPNonce(bytes(32)), False))  # noqa: S303


@given(plans.mutations(WITH_NONCE))
def test_broken_requests_give_typed_errors(broken: bytes) -> None:
    with plans.only_typed_errors():
        ocsp.question_matches(plans.authority(), ocsp.read_request(broken))


@given(st.binary(max_size=300))
def test_any_bytes_give_typed_errors(noise: bytes) -> None:
    with pytest.raises(CertctlError):
        ocsp.read_request(noise)
