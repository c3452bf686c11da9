"""Signed messages: what is read is what was signed, and nothing else is believed."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid, Refused, TooLarge, Unreadable
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import asn1, cms, crl, keys
from certctl_core.pki.cms.structures import (
    DATA,
    ENVELOPED_DATA,
    MAX_MESSAGE_BYTES,
    SIGNED_DATA,
    algorithm_identifier,
    content_info,
    issuer_and_serial,
)
from certctl_core.pki.plan import CrlPlan, RevokedEntry
from tests import plans, strangers
from tests.core.pki.cms import messages
from tests.core.pki.cms.messages import ATTRIBUTE, VALUE

LEGACY = cms.MODERN.also(cms.Digest.SHA1)
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"


@pytest.mark.parametrize("digest", cms.Digest, ids=lambda digest: digest.name)
@pytest.mark.parametrize("kind", ["RSA", "P-256", "P-384"])
def test_what_was_signed_is_read(kind: str, digest: cms.Digest) -> None:
    signer = messages.signer(kind)
    extra = strangers.authority()
    message = cms.sign(b"content", signer, {ATTRIBUTE: VALUE}, digest=digest, certificates=[extra])
    found = cms.read_signed(message, LEGACY)
    assert found.content == b"content"
    assert found.attributes[ATTRIBUTE] == (VALUE,)
    assert found.signer == signer.certificate
    assert set(found.certificates) == {signer.certificate, extra}
    assert found.digest is digest


def test_a_message_may_have_no_content() -> None:
    assert cms.read_signed(cms.sign(None, messages.signer())).content is None
    assert cms.read_signed(cms.sign(b"", messages.signer())).content == b""


def test_messages_of_the_library_are_read() -> None:
    signer = messages.signer()
    builder = pkcs7.PKCS7SignatureBuilder().set_data(b"content")
    builder = builder.add_signer(signer.certificate, messages.rsa_key(), hashes.SHA256())
    assert cms.read_signed(builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary])).content == b"content"


def test_sha1_is_refused_unless_it_is_accepted() -> None:
    message = cms.sign(b"content", messages.signer(), digest=cms.Digest.SHA1)
    with pytest.raises(Refused, match="SHA1"):
        cms.read_signed(message)
    assert cms.read_signed(message, LEGACY).content == b"content"


# Made by hand


def _attribute(oid: str, *values: bytes) -> bytes:
    return asn1.sequence(asn1.object_identifier(oid), asn1.set_of(*values))


def _usual(content: bytes = b"content") -> list[bytes]:
    return [
        _attribute(CONTENT_TYPE, asn1.object_identifier(DATA)),
        _attribute(MESSAGE_DIGEST, asn1.octets(cms.Digest.SHA256.of(content))),
        _attribute(ATTRIBUTE, VALUE),
    ]


def _message(
    attributes: list[bytes] | None,
    *,
    certificates: tuple[x509.Certificate, ...] | None = None,
    identifier: bytes | None = None,
    algorithm: bytes = algorithm_identifier("1.2.840.113549.1.1.11"),
    copies: int = 1,
    kind: str = SIGNED_DATA,
) -> bytes:
    """A message whose signature fits its attributes as they are given, whatever they are."""
    given = b"".join(attributes) if attributes is not None else b"content"
    signed = asn1.tlv(asn1.SET, given) if attributes is not None else given
    info = asn1.sequence(
        asn1.integer(1),
        identifier or issuer_and_serial(messages.certificate()),
        algorithm_identifier(cms.Digest.SHA256.oid, b""),
        asn1.tlv(0xA0, given) if attributes is not None else b"",
        algorithm,
        asn1.octets(messages.rsa_key().sign(signed, padding.PKCS1v15(), hashes.SHA256())),
    )
    sent = (messages.certificate(),) if certificates is None else certificates
    content = asn1.sequence(
        asn1.integer(1),
        asn1.set_of(algorithm_identifier(cms.Digest.SHA256.oid, b"")),
        asn1.sequence(asn1.object_identifier(DATA), asn1.tlv(0xA0, asn1.octets(b"content"))),
        asn1.tlv(0xA0, b"".join(one.public_bytes(Encoding.DER) for one in sent)),
        asn1.tlv(asn1.SET, info * copies),
    )
    return content_info(kind, content)


def test_attributes_are_verified_in_the_order_they_came_in() -> None:
    ordered = sorted(_usual())
    assert cms.read_signed(_message(ordered)).content == b"content"
    assert cms.read_signed(_message(ordered[::-1])).attributes[ATTRIBUTE] == (VALUE,)
    swapped = _message(ordered).replace(b"".join(ordered), b"".join(ordered[::-1]))
    with pytest.raises(Unreadable, match="does not verify"):
        cms.read_signed(swapped)


def test_a_signer_may_be_named_by_its_key_identifier() -> None:
    named = messages.certificate("client", x509.SubjectKeyIdentifier(b"k" * 20))
    found = cms.read_signed(_message(_usual(), certificates=(named,), identifier=asn1.tlv(0x80, b"k" * 20)))
    assert found.signer == named
    with pytest.raises(Unreadable):
        cms.read_signed(_message(_usual(), certificates=(named,), identifier=asn1.tlv(0x80, b"l" * 20)))


FORGED = {
    "no attributes": _message(None),
    "no digest": _message([_usual()[0], _usual()[2]]),
    "no content type": _message(_usual()[1:]),
    "the digest of another content": _message(_usual(b"other")),
    "two digests": _message([*_usual()[:1], _attribute(MESSAGE_DIGEST, asn1.octets(b"a"), asn1.octets(b"b"))]),
    "an attribute twice": _message([*_usual(), _attribute(ATTRIBUTE, b"\x13\x0217")]),
    "the type of another content": _message(
        [_attribute(CONTENT_TYPE, asn1.object_identifier(ENVELOPED_DATA)), *_usual()[1:]]
    ),
    "no certificate": _message(_usual(), certificates=()),
    "another's certificate": _message(_usual(), certificates=(strangers.certificate("other"),)),
    "too many certificates": _message(_usual(), certificates=(messages.certificate(),) * 11),
    "the signer's certificate twice": _message(_usual(), certificates=(messages.certificate(),) * 2),
    "no signature": _message(_usual(), copies=0),
    "two signatures": _message(_usual(), copies=2),
    "another content type": _message(_usual(), kind=DATA),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_message_that_is_not_signed_as_it_must_be_is_unreadable(case: str) -> None:
    assert cms.read_signed(_message(_usual())).content == b"content"
    with pytest.raises(Unreadable):
        cms.read_signed(FORGED[case])


@pytest.mark.parametrize(
    "oid",
    [
        "1.2.840.113549.1.1.4",  # md5WithRSA
        "1.2.840.113549.1.1.13",  # sha512WithRSA, where the digest is SHA-256
        "1.2.840.10045.4.3.2",  # ecdsaWithSHA256, where the key is RSA
        "1.3.6.1.5.5.7.6.2",  # "no signature" (RFC 5272)
    ],
)
def test_an_algorithm_that_does_not_belong_there_is_refused(oid: str) -> None:
    with pytest.raises(Refused):
        cms.read_signed(_message(_usual(), algorithm=algorithm_identifier(oid)))


def test_a_weak_key_signs_nothing() -> None:
    weak = plans.weak_rsa()
    certificate = strangers.certificate("weak", public_key=weak.public_key())
    with pytest.raises(Refused, match="1024"):
        cms.read_signed(cms.sign(b"content", cms.Signer(certificate, weak)))


def test_a_signer_has_the_key_of_its_certificate_and_one_that_signs() -> None:
    with pytest.raises(Invalid):
        cms.Signer(messages.certificate(), messages.rsa_key("other"))
    edwards = keys.generate(keys.KeyKind.ED25519)
    with pytest.raises(Invalid):
        cms.Signer(strangers.certificate("a", public_key=edwards.public_key()), edwards)


@given(st.data())
def test_a_changed_message_is_believed_only_where_nothing_changed(data: st.DataObject) -> None:
    message = cms.sign(b"content", messages.signer("P-256"), {ATTRIBUTE: VALUE})
    with plans.only_typed_errors():
        found = cms.read_signed(data.draw(plans.mutations(message)))
        assert (found.content, found.attributes[ATTRIBUTE]) == (b"content", (VALUE,))


def test_a_message_over_the_cap_is_not_read() -> None:
    with pytest.raises(TooLarge):
        cms.read_signed(bytes(MAX_MESSAGE_BYTES + 1))


# Degenerate


def test_the_library_reads_certificates_that_are_handed_over() -> None:
    several = [messages.certificate(), strangers.certificate("a" * 60), strangers.authority()]
    assert set(pkcs7.load_der_pkcs7_certificates(cms.degenerate(several))) == set(several)
    assert cms.degenerate(several) == cms.degenerate([*several[::-1], several[0]])
    assert cms.degenerate(several) == pkcs7.serialize_certificates(several, Encoding.DER)


def test_a_crl_is_handed_over_as_it_is() -> None:
    entry = RevokedEntry("1", plans.NOW, RevocationReason.KEY_COMPROMISE)
    der = crl.sign_crl(plans.authority(), CrlPlan(1, plans.NOW, plans.NOW.replace(year=2027), crl.entries((entry,))))
    assert cms.degenerate(crls=[der]).count(der) == 1
    assert cms.degenerate(crls=[der]) == cms.degenerate(crls=[x509.load_der_x509_crl(der)])


def test_what_is_not_signed_is_no_signed_message() -> None:
    with pytest.raises(Unreadable):
        cms.read_signed(cms.degenerate([messages.certificate()]))
