"""SCEP messages are read as they were meant, and are answered so that a client reads them."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid, Refused, TooLarge, Unreadable
from certctl_core.pki import asn1, cms, keys, scep, serials
from certctl_core.pki.scep import FailInfo, MessageType
from tests import devices, plans, strangers
from tests.devices import Device

RA_KEY = devices.rsa_key("RA")
RA = strangers.certificate("RA", public_key=RA_KEY.public_key())
SIGNER = cms.Signer(RA, RA_KEY)
RECIPIENTS = [cms.Recipient(RA, RA_KEY)]


def _received(message: bytes) -> scep.Request:
    return scep.receive(message).verified(cms.MODERN)


def _content(message: bytes) -> scep.Content:
    return _received(message).content(RECIPIENTS, cms.MODERN)[0]


def test_a_request_says_who_asks_and_what_for() -> None:
    device = Device(sans=("device-1.example.com", "alias.example.com"))
    request = _received(device.pkcs_req(RA, "secret", nonce=b"n" * 16))
    assert request.kind is MessageType.PKCS_REQ
    assert request.transaction_id == device.transaction_id
    assert request.sender_nonce == b"n" * 16
    assert request.signing_time is None
    assert request.signer == device.own_certificate
    asked, cipher = request.content(RECIPIENTS, cms.MODERN)
    assert isinstance(asked, x509.CertificateSigningRequest)
    assert keys.same_key(asked, device.key)
    assert scep.challenge_of(asked) == "secret"
    assert cipher is cms.Cipher.AES_128


def test_a_csr_without_challenge_has_none() -> None:
    assert scep.challenge_of(Device().csr()) == ""


def test_what_is_polled_and_fetched_is_named() -> None:
    device, issuer = Device(), strangers.name("Some CA")
    assert _content(device.cert_poll(RA, issuer)) == scep.IssuerAndSubject(issuer, device.own_certificate.subject)
    number = serials.canonical(RA.serial_number)
    assert _content(device.get_cert(RA, RA)) == scep.Named(RA.issuer, number)
    assert _content(device.get_crl(RA, RA)) == scep.Named(RA.issuer, number)
    assert isinstance(_content(device.renewal_req(RA)), x509.CertificateSigningRequest)


@pytest.mark.parametrize("number", range(120))
def test_only_what_clients_send_is_a_message_type(number: int) -> None:
    message = Device().message(str(number), b"", RA)
    known = {"17": "RENEWAL_REQ", "19": "PKCS_REQ", "20": "CERT_POLL", "21": "GET_CERT", "22": "GET_CRL"}
    request = _received(message)
    assert (request.kind.name if request.kind else None) == known.get(str(number))
    with pytest.raises(Unreadable):
        request.content(RECIPIENTS, cms.MODERN)


def test_the_signing_time_is_read_in_both_its_forms() -> None:
    at = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
    for encoded in (asn1.time(at), b"\x18\x0f20261126120000Z"):
        message = Device().pkcs_req(RA, attributes={devices.SIGNING_TIME: encoded})
        assert _received(message).signing_time == at


MISSING_OR_WRONG: Mapping[str, Mapping[str, bytes | None]] = {
    "no message type": {devices.MESSAGE_TYPE: None},
    "no transaction": {devices.TRANSACTION_ID: None},
    "no nonce": {devices.SENDER_NONCE: None},
    "a short nonce": {devices.SENDER_NONCE: asn1.octets(bytes(15))},
    "a long nonce": {devices.SENDER_NONCE: asn1.octets(bytes(17))},
    "a nonce of another type": {devices.SENDER_NONCE: asn1.printable("n" * 16)},
    "a message type in words": {devices.MESSAGE_TYPE: asn1.printable("PKCSReq")},
    "a message type that is a number": {devices.MESSAGE_TYPE: asn1.integer(19)},
    "an empty transaction": {devices.TRANSACTION_ID: asn1.printable("")},
    "a long transaction": {devices.TRANSACTION_ID: asn1.printable("a" * 256)},
    "a transaction with control characters": {devices.TRANSACTION_ID: asn1.tlv(0x0C, b"a\nb")},
    "a signing time that is none": {devices.SIGNING_TIME: asn1.integer(1)},
}


@pytest.mark.parametrize("case", MISSING_OR_WRONG)
def test_a_message_that_cannot_be_answered_is_unreadable(case: str) -> None:
    with pytest.raises(Unreadable):
        scep.receive(Device().pkcs_req(RA, attributes=MISSING_OR_WRONG[case]))


def test_a_transaction_may_be_written_in_utf8() -> None:
    message = Device().pkcs_req(RA, attributes={devices.TRANSACTION_ID: asn1.tlv(0x0C, b"abc-1")})
    assert scep.receive(message).transaction_id == "abc-1"


def test_a_message_over_the_cap_is_not_read() -> None:
    with pytest.raises(TooLarge):
        scep.receive(bytes(scep.MAX_REQUEST_BYTES + 1))


def test_a_message_that_was_changed_can_be_answered_but_is_not_believed() -> None:
    message = Device().pkcs_req(RA, nonce=b"n" * 16)
    request = scep.receive(message.replace(b"n" * 16, b"m" * 16))
    assert request.sender_nonce == b"m" * 16
    with pytest.raises(Unreadable, match="does not verify"):
        request.verified(cms.MODERN)
    with pytest.raises(Unreadable):
        request.content(RECIPIENTS, cms.MODERN)
    with pytest.raises(Invalid):
        scep.granted(request, SIGNER, cms.Cipher.AES_256)


def test_old_algorithms_are_refused_unless_accepted() -> None:
    weak_hash = Device(digest=cms.Digest.SHA1).pkcs_req(RA)
    with pytest.raises(Refused):
        _received(weak_hash)
    assert scep.receive(weak_hash).verified(devices.EVERYTHING).digest is cms.Digest.SHA256
    weak_cipher = _received(Device(cipher=cms.Cipher.DES).pkcs_req(RA))
    with pytest.raises(Refused):
        weak_cipher.content(RECIPIENTS, cms.MODERN)
    assert weak_cipher.content(RECIPIENTS, devices.EVERYTHING)[1] is cms.Cipher.DES


NONSENSE = {
    "nothing": b"",
    "noise": bytes(range(40)),
    "a CSR that was changed": Device().csr().public_bytes(Encoding.DER)[:-1] + b"\0",
    "something behind the CSR": Device().csr().public_bytes(Encoding.DER) + b"\0",
    "a serial number that is none": asn1.sequence(RA.issuer.public_bytes(), asn1.integer(0)),
}


@pytest.mark.parametrize("case", NONSENSE)
@pytest.mark.parametrize("kind", ["17", "19", "20", "21", "22"])
def test_what_makes_no_sense_is_as_what_does_not_open(case: str, kind: str) -> None:
    request = _received(Device().message(kind, NONSENSE[case], RA))
    with pytest.raises(Unreadable) as caught:
        request.content(RECIPIENTS, cms.MODERN)
    assert (caught.value.message, caught.value.hint) == (cms.CLOSED, "")
    assert caught.value.__suppress_context__


# Answers


def test_a_client_reads_what_it_is_granted() -> None:
    device, given = Device(), strangers.certificate("given")
    request = _received(device.pkcs_req(RA, nonce=b"n" * 16))
    said = device.read(scep.granted(request, SIGNER, cms.Cipher.AES_256, certificates=[given]))
    assert (said.status, said.certificates, said.signer) == ("0", (given,), RA)
    assert (said.transaction_id, said.recipient_nonce) == (device.transaction_id, b"n" * 16)
    assert len(said.sender_nonce) == scep.NONCE_BYTES
    assert said.sender_nonce != said.recipient_nonce


def test_an_answer_is_for_the_signer_alone() -> None:
    request = _received(Device().pkcs_req(RA))
    answer = scep.granted(request, SIGNER, cms.Cipher.AES_256, certificates=[RA])
    with pytest.raises(Unreadable):
        Device(key=devices.rsa_key("other")).read(answer)


def test_a_client_is_told_to_ask_again() -> None:
    device = Device()
    said = device.read(scep.pending(_received(device.pkcs_req(RA)), SIGNER))
    assert (said.status, said.fail_info) == ("3", "")


@pytest.mark.parametrize("info", FailInfo, ids=lambda info: info.name)
def test_a_client_is_told_why_not(info: FailInfo) -> None:
    device = Device()
    said = device.read(scep.failed(scep.receive(device.pkcs_req(RA)), SIGNER, info, "für nichts " * 40))
    assert (said.status, said.fail_info) == ("2", info.value)
    assert said.text.startswith("für nichts")
    assert len(said.text) == scep.MAX_TEXT


def test_nothing_can_be_granted_to_a_key_that_cannot_decipher() -> None:
    key = strangers.key("elliptic")
    elliptic = Device(certificate=strangers.certificate("e", public_key=key.public_key()), signing_key=key)
    request = _received(elliptic.pkcs_req(RA))
    with pytest.raises(Refused, match="ECDSA"):
        scep.granted(request, SIGNER, cms.Cipher.AES_256, certificates=[RA])


@given(st.data())
def test_a_changed_message_is_a_typed_error_or_what_it_was(data: st.DataObject) -> None:
    device = Device()
    message = device.pkcs_req(RA, "secret")
    with plans.only_typed_errors():
        request = _received(data.draw(plans.mutations(message)))
        asked = request.content(RECIPIENTS, cms.MODERN)[0]
        assert isinstance(asked, x509.CertificateSigningRequest)
        assert keys.same_key(asked, device.key)
        assert asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == device.common_name


def test_a_signer_whose_name_cannot_be_read_is_not_believed() -> None:
    """A client signs its own certificate, and can write anything there: here a BIT STRING where a text must be."""
    device = Device()
    message, certificate = device.pkcs_req(RA), device.own_certificate.public_bytes(Encoding.DER)
    before, text, after = certificate.rpartition(b"\x0c\x14device-1.example.com")
    assert message.count(certificate) == 1
    request = scep.receive(message.replace(certificate, before + b"\x03" + text[1:] + after))
    with pytest.raises(Unreadable, match="UNIQUE_IDENTIFIER"):
        request.verified(cms.MODERN)
