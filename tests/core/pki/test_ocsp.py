"""OCSP requests are read strictly; responses say what the records say and nothing about other issuers."""

from datetime import datetime, timedelta
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
from certctl_core.models.delegates import Purpose
from certctl_core.pki import asn1, ca, delegate, ocsp
from certctl_core.pki.crl import FLAGS
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.ocsp import Responder, Unsuccessful
from certctl_core.pki.plan import OcspAnswer, OcspRequest
from tests import plans

LEAF = ca.sign_leaf(plans.authority(), plans.plan())
SERIAL = plans.plan().serial_number
GOOD = OcspAnswer(known=True, this_update=plans.NOW, next_update=plans.NOW + timedelta(hours=1))
HASHES = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}  # noqa: S303


def _request(algorithm: hashes.HashAlgorithm | None = None, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
    builder = library.OCSPRequestBuilder().add_certificate(
        LEAF, plans.authority().certificate, algorithm or hashes.SHA256()
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.build().public_bytes(Encoding.DER)


def _several(*requests: bytes) -> bytes:
    """One request of the CertIDs of several, with the extensions of the last."""
    inner = [next(ocsp._children(ocsp._content(one))) for one in requests]
    parts = [list(ocsp._children(ocsp._content(one))) for one in inner]
    entries = b"".join(ocsp._content(one[0]) for one in parts)
    return asn1.sequence(asn1.sequence(asn1.sequence(entries), *parts[-1][1:]))


def of_ca(kind: KeyKind = KeyKind.ECDSA_P256) -> Responder:
    authority = plans.authority(kind)
    return Responder(authority.certificate, authority.certificate, authority.private_key)


def of_delegate(kind: KeyKind = KeyKind.ECDSA_P256) -> Responder:
    authority = plans.authority(kind)
    private_key = plans.key(delegate.key_kind(authority.certificate, Purpose.OCSP), "delegate")
    certified = delegate.certify(authority, plans.delegate(Purpose.OCSP, public_key=private_key.public_key()))
    return Responder(authority.certificate, certified, private_key)


def respond(
    request: OcspRequest, answer: OcspAnswer = GOOD, responder: Responder | None = None
) -> library.OCSPResponse:
    made = (responder or of_ca()).respond(request, [answer] * len(request.questions), plans.NOW)
    return library.load_der_ocsp_response(made)


@pytest.mark.parametrize("name", HASHES)
def test_a_request_is_about_its_issuer_and_serial_number(name: str) -> None:
    request = ocsp.read_request(_request(HASHES[name]))
    assert [question.serial_number for question in request.questions] == [SERIAL]
    assert request.nonce is None
    assert of_ca().answers_for(request.questions[0])
    assert not of_ca(KeyKind.ED25519).answers_for(request.questions[0])
    assert request == ocsp.request_about(plans.authority().certificate, SERIAL, name)


@pytest.mark.parametrize("kind", plans.QUICK_KINDS, ids=lambda kind: str(kind.value))
def test_a_response_of_the_ca_itself_names_it_by_key(kind: KeyKind) -> None:
    responder = of_ca(kind)
    request = ocsp.request_about(responder.issuer, SERIAL)
    response = respond(request, responder=responder)
    assert response.response_status is library.OCSPResponseStatus.SUCCESSFUL
    assert response.certificate_status is library.OCSPCertStatus.GOOD
    assert response.responder_key_hash == request.questions[0].issuer_key_hash
    assert response.responder_name is None
    assert response.certificates == []
    assert response.produced_at_utc == plans.NOW
    assert response.this_update_utc == plans.NOW
    assert response.next_update_utc == plans.NOW + timedelta(hours=1)
    _verify(responder.certificate.public_key(), response)


@pytest.mark.parametrize("kind", plans.QUICK_KINDS, ids=lambda kind: str(kind.value))
def test_a_delegate_sends_its_certificate_along(kind: KeyKind) -> None:
    responder = of_delegate(kind)
    response = respond(ocsp.request_about(responder.issuer, SERIAL), responder=responder)
    assert response.certificates == [responder.certificate]
    assert response.responder_key_hash == ocsp.issuer_hashes(responder.certificate, "sha1")[1]
    assert response.issuer_key_hash == ocsp.issuer_hashes(responder.issuer, "sha1")[1]
    _verify(responder.certificate.public_key(), response)


@pytest.mark.parametrize("reason", [None, *RevocationReason])
@pytest.mark.parametrize("name", HASHES)
def test_what_is_assembled_by_hand_is_what_the_library_makes(name: str, reason: RevocationReason | None) -> None:
    """But for the signature, and the time, which the library takes from its own clock."""
    responder, algorithm = of_delegate(), HASHES[name]
    revoked_at = plans.NOW - timedelta(days=3) if reason else None
    is_told = reason not in (None, RevocationReason.UNSPECIFIED)
    name_hash, key_hash = ocsp.issuer_hashes(responder.issuer, name)
    theirs = (
        library.OCSPResponseBuilder()
        .add_response_by_hash(
            name_hash,
            key_hash,
            int(SERIAL, 16),
            algorithm,
            library.OCSPCertStatus.REVOKED if reason else library.OCSPCertStatus.GOOD,
            plans.NOW,
            plans.NOW + timedelta(hours=1),
            revoked_at,
            FLAGS[reason] if reason and is_told else None,
        )
        .responder_id(library.OCSPResponderEncoding.HASH, responder.certificate)
        .certificates([responder.certificate])
        .add_extension(x509.OCSPNonce(b"nonce"), critical=False)
        .sign(responder.private_key, hashes.SHA256())  # type: ignore[arg-type]
    )
    answer = evolve(GOOD, revoked_at=revoked_at, reason=reason)
    request = evolve(ocsp.request_about(responder.issuer, SERIAL, name), nonce=b"nonce")
    ours = library.load_der_ocsp_response(responder.respond(request, [answer], theirs.produced_at_utc))
    assert ours.tbs_response_bytes == theirs.tbs_response_bytes


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


@pytest.mark.parametrize("name", HASHES)
def test_a_response_repeats_the_hashes_of_the_question(name: str) -> None:
    request = ocsp.read_request(_request(HASHES[name]))
    response = respond(request)
    assert response.hash_algorithm.name == name
    assert response.issuer_key_hash == request.questions[0].issuer_key_hash
    assert response.issuer_name_hash == request.questions[0].issuer_name_hash
    assert f"{response.serial_number:x}" == SERIAL


@pytest.mark.parametrize("length", [1, 16, 32, 128])
def test_a_nonce_is_repeated(length: int) -> None:
    nonce = bytes(range(length))
    request = ocsp.read_request(_request(None, (x509.OCSPNonce(nonce), False)))
    assert request.nonce == nonce
    assert respond(request).extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce


def test_without_a_nonce_the_response_has_none() -> None:
    assert list(respond(ocsp.read_request(_request())).extensions) == []


@pytest.mark.parametrize("length", [0, 129, 1000])
def test_a_nonce_of_another_length_is_malformed(length: int) -> None:
    with pytest.raises(Unreadable, match="nonce"):
        ocsp.read_request(_request(None, (x509.OCSPNonce(bytes(length)), False)))


def test_an_unknown_critical_extension_is_malformed_and_another_is_ignored() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert ocsp.read_request(_request(None, (unknown, False))).questions[0].serial_number == SERIAL
    with pytest.raises(Unreadable, match="critical"):
        ocsp.read_request(_request(None, (unknown, True)))


@pytest.mark.parametrize("reason", RevocationReason)
def test_a_revoked_certificate_is_revoked_with_its_reason(reason: RevocationReason) -> None:
    revoked_at = plans.NOW - timedelta(days=3, microseconds=-17)
    answer = evolve(GOOD, revoked_at=revoked_at, reason=reason)
    response = respond(ocsp.request_about(plans.authority().certificate, SERIAL), answer)
    assert response.certificate_status is library.OCSPCertStatus.REVOKED
    assert response.revocation_time_utc == plans.NOW - timedelta(days=3)
    assert response.revocation_reason == (None if reason is RevocationReason.UNSPECIFIED else FLAGS[reason])


def test_what_was_never_issued_is_unknown() -> None:
    response = respond(ocsp.request_about(plans.authority().certificate, "abc"), evolve(GOOD, known=False))
    assert response.certificate_status is library.OCSPCertStatus.UNKNOWN


def test_an_expired_certificate_says_how_long_records_are_kept() -> None:
    cutoff = datetime(2050, 1, 2, 3, 4, 5, tzinfo=plans.NOW.tzinfo)
    response = respond(ocsp.request_about(plans.authority().certificate, SERIAL), evolve(GOOD, archive_cutoff=cutoff))
    (extension,) = response.single_extensions
    assert extension.oid.dotted_string == "1.3.6.1.5.5.7.48.1.6"
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    assert extension.value.value == b"\x18\x0f20500102030405Z"


def test_no_response_is_signed_about_another_issuers_certificate() -> None:
    with pytest.raises(Refused, match="another issuer"):
        respond(ocsp.request_about(plans.authority(KeyKind.ED25519).certificate, SERIAL))
    question = ocsp.read_request(_request()).questions[0]
    same_name = evolve(question, issuer_key_hash=bytes(32))
    with pytest.raises(Refused):
        respond(OcspRequest((same_name,)))
    with pytest.raises(Refused):
        respond(OcspRequest((question, same_name)))


def test_an_answer_that_ends_before_it_begins_is_refused() -> None:
    request = ocsp.request_about(plans.authority().certificate, SERIAL)
    with pytest.raises(Invalid):
        respond(request, OcspAnswer(True, plans.NOW, plans.NOW))


@pytest.mark.parametrize("status", Unsuccessful)
def test_an_unsuccessful_answer_says_only_its_status(status: Unsuccessful) -> None:
    der = ocsp.unsuccessful(status)
    assert library.load_der_ocsp_response(der).response_status is status.value
    assert der == bytes((0x30, 3, 0x0A, 1, status.value.value))


def test_several_questions_are_answered_in_their_order() -> None:
    nonce = (x509.OCSPNonce(b"nonce"), False)
    asked = ocsp.read_request(_several(*(_request(HASHES[name], nonce) for name in HASHES)))
    assert [question.hash_name for question in asked.questions] == list(HASHES)
    assert {question.serial_number for question in asked.questions} == {SERIAL}
    assert asked.nonce == b"nonce"
    answers = [GOOD, evolve(GOOD, revoked_at=plans.NOW), evolve(GOOD, known=False), GOOD]
    der = of_delegate().respond(asked, answers, plans.NOW)
    statuses = [one.certificate_status for one in library.load_der_ocsp_response(der).responses]
    good, revoked, unknown = (getattr(library.OCSPCertStatus, name) for name in ("GOOD", "REVOKED", "UNKNOWN"))
    assert statuses == [good, revoked, unknown, good]


def test_more_questions_than_anybody_has_are_malformed() -> None:
    most = _several(*[_request()] * ocsp.MAX_QUESTIONS)
    assert len(ocsp.read_request(most).questions) == ocsp.MAX_QUESTIONS
    with pytest.raises(Unreadable, match="17 certificates"):
        ocsp.read_request(_several(*[_request()] * (ocsp.MAX_QUESTIONS + 1)))
    with pytest.raises(Unreadable):
        ocsp.read_request(asn1.sequence(asn1.sequence(asn1.sequence())))


def test_a_hash_that_nobody_needs_is_not_supported() -> None:
    with pytest.raises(Unreadable, match="sha224"):
        ocsp.read_request(_request(hashes.SHA224()))
    question = ocsp.read_request(_request()).questions[0]
    assert not of_ca().answers_for(evolve(question, hash_name="sha224"))


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
TWO = _several(WITH_NONCE, WITH_NONCE)


@given(plans.mutations(WITH_NONCE) | plans.mutations(TWO))
def test_broken_requests_give_typed_errors(broken: bytes) -> None:
    with plans.only_typed_errors():
        request = ocsp.read_request(broken)
        of_ca().answers_for(request.questions[0])


@given(st.binary(max_size=300))
def test_any_bytes_give_typed_errors(noise: bytes) -> None:
    with pytest.raises(CertctlError):
        ocsp.read_request(noise)
