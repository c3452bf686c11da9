"""Envelopes open for whom they are for, and for nobody else, whose questions are all answered alike."""

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Refused, TooLarge, Unreadable
from certctl_core.pki import asn1, cms
from certctl_core.pki.cms.structures import (
    DATA,
    ENVELOPED_DATA,
    MAX_MESSAGE_BYTES,
    algorithm_identifier,
    content_info,
    issuer_and_serial,
)
from tests import plans, strangers
from tests.core.pki.cms import messages

EVERYTHING = cms.MODERN.also(*cms.Cipher)
RSA = algorithm_identifier("1.2.840.113549.1.1.1")
OAEP = "1.2.840.113549.1.1.7"
MGF1 = "1.2.840.113549.1.1.8"


@pytest.mark.parametrize("cipher", cms.Cipher, ids=lambda cipher: cipher.name)
@given(content=st.binary(max_size=100))
def test_what_was_put_in_comes_out(cipher: cms.Cipher, content: bytes) -> None:
    envelope = cms.envelop(content, messages.certificate(), cipher)
    assert cms.open_envelope(envelope, [messages.recipient()], EVERYTHING) == cms.Opened(content, cipher)


def test_the_library_and_we_open_each_others_envelopes() -> None:
    mine = messages.recipient()
    ours = cms.envelop(b"content", mine.certificate)
    assert pkcs7.pkcs7_decrypt_der(ours, mine.certificate, mine.private_key, []) == b"content"
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(b"content").add_recipient(mine.certificate)
    theirs = builder.set_content_encryption_algorithm(algorithms.AES128).encrypt(
        Encoding.DER, [pkcs7.PKCS7Options.Binary]
    )
    assert cms.open_envelope(theirs, [mine]).content == b"content"


@pytest.mark.parametrize("cipher", [cms.Cipher.DES, cms.Cipher.TRIPLE_DES], ids=lambda cipher: cipher.name)
def test_old_ciphers_are_refused_unless_they_are_accepted(cipher: cms.Cipher) -> None:
    envelope = cms.envelop(b"content", messages.certificate(), cipher)
    with pytest.raises(Refused, match=cipher.name):
        cms.open_envelope(envelope, [messages.recipient()])
    other = {cms.Cipher.DES, cms.Cipher.TRIPLE_DES} - {cipher}
    with pytest.raises(Refused, match=cipher.name):
        cms.open_envelope(envelope, [messages.recipient()], cms.MODERN.also(*other))


def test_it_is_opened_by_the_one_it_is_for() -> None:
    envelope = cms.envelop(b"content", messages.certificate())
    both = [messages.recipient("other"), messages.recipient()]
    assert cms.open_envelope(envelope, both).content == b"content"
    with pytest.raises(Unreadable, match="somebody else"):
        cms.open_envelope(envelope, both[:1])
    with pytest.raises(Unreadable, match="somebody else"):
        cms.open_envelope(envelope, [])


def _usage(*, key_encipherment: bool) -> x509.KeyUsage:
    others: dict[str, Any] = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
         "encipher_only", "decipher_only"),
        False,
    )  # fmt: skip
    return x509.KeyUsage(digital_signature=True, key_encipherment=key_encipherment, **others)


def test_nothing_is_enciphered_for_a_key_that_may_not_or_can_not() -> None:
    assert cms.envelop(b"content", messages.certificate("client", _usage(key_encipherment=True)))
    with pytest.raises(Refused, match="keyEncipherment"):
        cms.envelop(b"content", messages.certificate("client", _usage(key_encipherment=False)))
    with pytest.raises(Refused, match="ECDSA"):
        cms.envelop(b"content", strangers.certificate("elliptic"))


# Made by hand


def _encrypted(key: bytes, padded: bytes = b"content" + b"\x09" * 9) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).encryptor()
    return encryptor.update(padded) + encryptor.finalize()


def _envelope(
    encrypted_key: bytes,
    *,
    scheme: bytes = RSA,
    identifier: bytes | None = None,
    content: bytes = asn1.tlv(0x80, _encrypted(bytes(16))),
    vector: bytes = bytes(16),
    recipients: int = 1,
) -> bytes:
    named = identifier or issuer_and_serial(messages.certificate())
    info = asn1.sequence(asn1.integer(0), named, scheme, asn1.octets(encrypted_key))
    cipher = algorithm_identifier(cms.Cipher.AES_128.oid, asn1.octets(vector))
    encrypted = asn1.sequence(asn1.object_identifier(DATA), cipher, content)
    return content_info(
        ENVELOPED_DATA, asn1.sequence(asn1.integer(0), asn1.tlv(asn1.SET, info * recipients), encrypted)
    )


def _transported(key: bytes = bytes(16), scheme: padding.AsymmetricPadding | None = None) -> bytes:
    return messages.rsa_key().public_key().encrypt(key, scheme or padding.PKCS1v15())


def test_content_may_come_in_pieces() -> None:
    whole = _encrypted(bytes(16), b"x" * 16 + b"content" + b"\x09" * 9)
    pieces = asn1.tlv(0xA0, asn1.octets(whole[:5]) + asn1.octets(whole[5:]))
    opened = cms.open_envelope(_envelope(_transported(), content=pieces), [messages.recipient()])
    assert opened.content == b"x" * 16 + b"content"


def test_a_recipient_may_be_named_by_its_key_identifier() -> None:
    named = messages.certificate("client", x509.SubjectKeyIdentifier(b"k" * 20))
    envelope = _envelope(_transported(), identifier=asn1.tlv(0x80, b"k" * 20))
    assert cms.open_envelope(envelope, [cms.Recipient(named, messages.rsa_key())]).content == b"content"


def _oaep(*parts: bytes) -> bytes:
    return algorithm_identifier(OAEP, asn1.sequence(*parts))


_SHA256 = algorithm_identifier(cms.Digest.SHA256.oid)
OAEPS = {
    "defaults": (_oaep(), padding.OAEP(padding.MGF1(SHA1()), SHA1(), None)),  # noqa: S303
    "SHA-256": (
        _oaep(asn1.tlv(0xA0, _SHA256), asn1.tlv(0xA1, algorithm_identifier(MGF1, _SHA256))),
        padding.OAEP(padding.MGF1(SHA256()), SHA256(), None),
    ),
}


@pytest.mark.parametrize("case", OAEPS)
def test_oaep_opens(case: str) -> None:
    scheme, how = OAEPS[case]
    envelope = _envelope(_transported(scheme=how), scheme=scheme)
    assert cms.open_envelope(envelope, [messages.recipient()]).content == b"content"


SCHEMES = {
    "another transport": algorithm_identifier("1.2.840.113549.1.1.10"),
    "an OAEP label": _oaep(asn1.tlv(0xA2, algorithm_identifier("1.2.840.113549.1.1.9", asn1.octets(b"label")))),
    "another mask": _oaep(asn1.tlv(0xA1, algorithm_identifier("1.2.3", _SHA256))),
    "an unknown hash": _oaep(asn1.tlv(0xA0, algorithm_identifier("1.2.3"))),
}


@pytest.mark.parametrize("case", SCHEMES)
def test_a_key_transport_that_is_not_accepted_is_refused(case: str) -> None:
    with pytest.raises(Refused):
        cms.open_envelope(_envelope(_transported(), scheme=SCHEMES[case]), [messages.recipient()])


CLOSED = {
    "a key that does not come out": _envelope(b"\1" * 256),
    "a key enciphered for another": _envelope(
        messages.rsa_key("other").public_key().encrypt(bytes(16), padding.PKCS1v15())
    ),
    "a key number over the modulus": _envelope(b"\xff" * 256),
    "a key of the wrong size": _envelope(_transported(bytes(24))),
    "an empty key": _envelope(b""),
    "another padding": _envelope(_transported(scheme=OAEPS["defaults"][1])),
    "a content that is not padded": _envelope(
        _transported(), content=asn1.tlv(0x80, _encrypted(bytes(16), b"content" + b"\x09" * 8 + b"\x0a"))
    ),
    "padding of nothing": _envelope(_transported(), content=asn1.tlv(0x80, _encrypted(bytes(16), bytes(16)))),
    "a content changed": _envelope(_transported(), content=asn1.tlv(0x80, b"\1" + _encrypted(bytes(16))[1:])),
}


@pytest.mark.parametrize("case", CLOSED)
def test_every_reason_not_to_open_is_the_same_answer(case: str) -> None:
    """With a random key the padding is right once in 256 times, and then what comes out is noise."""
    with pytest.raises(Unreadable) as caught:
        _open_until_it_does_not(CLOSED[case])
    assert (caught.value.message, caught.value.hint) == ("the envelope does not open", "")
    assert caught.value.__suppress_context__


def _open_until_it_does_not(envelope: bytes) -> None:
    while True:
        assert cms.open_envelope(envelope, [messages.recipient()]).content != b"content"


MALFORMED = {
    "an initialisation vector that is too short": _envelope(_transported(), vector=bytes(15)),
    "content that is no blocks": _envelope(_transported(), content=asn1.tlv(0x80, bytes(15))),
    "no content": _envelope(_transported(), content=b""),
    "empty content": _envelope(_transported(), content=asn1.tlv(0x80, b"")),
    "content of another kind": _envelope(_transported(), content=asn1.integer(1)),
    "no recipients": _envelope(_transported(), recipients=0),
    "too many recipients": _envelope(_transported(), recipients=11),
    "bytes": b"\x30\x80",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_envelope_is_unreadable(case: str) -> None:
    with pytest.raises(Unreadable):
        cms.open_envelope(MALFORMED[case], [messages.recipient()])


@given(st.data())
def test_any_change_is_a_typed_error_or_harmless(data: st.DataObject) -> None:
    with plans.only_typed_errors():
        cms.open_envelope(data.draw(plans.mutations(_envelope(_transported()))), [messages.recipient()])


def test_an_envelope_over_the_cap_is_not_opened() -> None:
    with pytest.raises(TooLarge):
        cms.open_envelope(bytes(MAX_MESSAGE_BYTES + 1), [messages.recipient()])


def test_what_is_shown_of_it_is_not_what_is_in_it() -> None:
    assert "content" not in repr(cms.Opened(b"content", cms.Cipher.AES_128))
    assert "key" not in repr(messages.recipient())
