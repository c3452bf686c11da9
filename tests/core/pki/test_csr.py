"""CSRs prove possession, and equal the order or are refused with every difference."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import CertctlError, Refused, TooLarge, Unreadable
from certctl_core.pki import asn1, csr, keys, names
from certctl_core.pki.keys import KeyFacts, KeyKind
from tests import plans

SANS = ("b.example.com", "192.0.2.1", "2001:db8::1", "alice@example.com", "spiffe://example.com/a")


def _der(request: x509.CertificateSigningRequest) -> bytes:
    return request.public_bytes(Encoding.DER)


def _custom(
    *sans: x509.GeneralName, subject: list[tuple[x509.ObjectIdentifier, str]] | None = None, **more: Any
) -> Any:
    """A CSR for a.example.com as somebody else might make it."""
    attributes = subject if subject is not None else [(NameOID.COMMON_NAME, "a.example.com")]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    for extension in more.get("extensions", ()):
        builder = builder.add_extension(extension, critical=False)
    if "challenge" in more:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, more["challenge"])
    return csr.read(_der(builder.sign(plans.key(), hashes.SHA256())))


@pytest.mark.parametrize("kind", plans.QUICK_KINDS)
def test_a_built_csr_is_read_in_pem_and_der_and_matches_its_order(kind: KeyKind) -> None:
    built = csr.build(plans.key(kind), "a.example.com", SANS)
    for form in (_der(built), built.public_bytes(Encoding.PEM), built.public_bytes(Encoding.PEM).decode()):
        csr.check_matches(csr.read(form), "a.example.com", SANS)
    found = csr.facts(built)
    assert found.common_name == "a.example.com"
    assert names.same_names(found.sans, names.names_of("a.example.com", SANS))
    assert found.key == keys.describe(plans.key(kind).public_key())


@pytest.mark.parametrize("kind", plans.DETERMINISTIC_KINDS)
def test_building_a_csr_again_gives_the_same_bytes(kind: KeyKind) -> None:
    assert _der(csr.build(plans.key(kind), "a.example.com", SANS)) == _der(
        csr.build(plans.key(kind), "a.example.com", SANS)
    )


def test_names_are_compared_without_regard_to_case_and_order() -> None:
    request = csr.build(plans.key(), "A.Example.Com", ["C.example.com", "b.example.com"])
    csr.check_matches(request, "a.example.com", ["b.example.com", "c.example.com"])


def test_the_common_name_need_not_be_repeated_among_the_sans() -> None:
    csr.check_matches(_custom(), "a.example.com", [])
    csr.check_matches(_custom(x509.DNSName("b.example.com")), "a.example.com", ["b.example.com"])


def test_a_long_common_name_is_in_the_sans_alone() -> None:
    long = "a" * 60 + ".example.com"
    built = csr.read(_der(csr.build(plans.key(), long, [])))
    assert built.subject.rdns == []
    csr.check_matches(built, long, [])
    with pytest.raises(Refused, match="missing"):
        csr.check_matches(_custom(subject=[]), long, [])


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "spiffe://example.com/a", "https://me@example.com/"])
def test_an_address_or_uri_that_comes_as_another_kind_of_name_is_known(text: str) -> None:
    """As agents of the established kind write them."""
    written = x509.RFC822Name(text) if "@" in text else x509.DNSName(text)
    csr.check_matches(_custom(written), "a.example.com", [text])
    with pytest.raises(Refused, match="was not ordered"):
        csr.check_matches(_custom(written), "a.example.com", [])


DIFFERENCES: dict[str, tuple[Callable[[], x509.CertificateSigningRequest], str]] = {
    "another common name": (lambda: _custom(subject=[(NameOID.COMMON_NAME, "evil.example")]), "common name"),
    "no common name": (lambda: _custom(subject=[]), "common name"),
    "two common names": (
        lambda: _custom(subject=[(NameOID.COMMON_NAME, "evil.example"), (NameOID.COMMON_NAME, "a.example.com")]),
        "more than one",
    ),
    "an organisation": (
        lambda: _custom(subject=[(NameOID.COMMON_NAME, "a.example.com"), (NameOID.ORGANIZATION_NAME, "Evil")]),
        "the subject has O",
    ),
    "one more DNS name": (lambda: _custom(x509.DNSName("evil.example")), "DNS name evil.example was not ordered"),
    "a wildcard": (lambda: _custom(x509.DNSName("*.example.com")), "was not ordered"),
    "an IP address": (lambda: _custom(x509.IPAddress(ip_address("192.0.2.9"))), "IP address 192.0.2.9"),
    "an e-mail address": (lambda: _custom(x509.RFC822Name("evil@example.com")), "e-mail address evil@example.com"),
    "a URI": (lambda: _custom(x509.UniformResourceIdentifier("spiffe://evil/a")), "URI spiffe://evil/a"),
    "a user principal name": (
        lambda: _custom(x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x04evil")),
        "otherName:1.3.6.1.4.1.311.20.2.3",
    ),
    "a directory name": (lambda: _custom(x509.DirectoryName(names.subject("evil"))), "dirName:CN=evil"),
    "the common name as a name of another kind": (
        lambda: _custom(x509.UniformResourceIdentifier("a.example.com")),
        "URI a.example.com",
    ),
    "a request to be a CA": (
        lambda: _custom(extensions=[x509.BasicConstraints(ca=True, path_length=None)]),
        "BasicConstraints",
    ),
    "another usage": (
        lambda: _custom(extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])]),
        "ExtendedKeyUsage",
    ),
    "an unknown extension": (
        lambda: _custom(extensions=[x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0")]),
        "1.2.3.4",
    ),
    "a challenge password": (lambda: _custom(challenge=b"secret"), "challengePassword"),
}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_a_csr_for_anything_else_is_refused_with_the_difference(case: str) -> None:
    make, words = DIFFERENCES[case]
    with pytest.raises(Refused) as caught:
        csr.check_matches(make(), "a.example.com", [])
    assert any(words in reason for reason in caught.value.reasons)


@pytest.mark.parametrize("left_out", range(len(SANS)))
def test_a_missing_name_of_any_kind_is_refused(left_out: int) -> None:
    fewer = [san for index, san in enumerate(SANS) if index != left_out]
    with pytest.raises(Refused, match="is missing"):
        csr.check_matches(csr.build(plans.key(), "a.example.com", fewer), "a.example.com", SANS)


def test_every_difference_is_listed() -> None:
    wrong = _custom(x509.DNSName("evil.example"), extensions=[x509.BasicConstraints(ca=True, path_length=None)])
    with pytest.raises(Refused) as caught:
        csr.check_matches(wrong, "other.example.com", ["b.example.com"])
    assert len(caught.value.reasons) == 4


def test_a_csr_of_another_key_proves_nothing() -> None:
    signed = _der(csr.build(plans.key(), "a.example.com", []))
    theirs, ours = (keys.spki(plans.key(name=name)) for name in ("leaf", "other"))
    assert signed.count(theirs) == 1
    with pytest.raises(Unreadable, match="signature"):
        csr.read(signed.replace(theirs, ours))


def test_a_csr_signed_with_sha_1_proves_nothing() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(names.subject("a.example.com"))
    der = bytearray(_der(builder.sign(plans.key(KeyKind.RSA_2048), hashes.SHA256())))
    # The AlgorithmIdentifier alone is made to say sha1WithRSAEncryption.
    at = der.rindex(bytes.fromhex("2a864886f70d01010b"))
    der[at + 8] = 0x05
    with pytest.raises(Unreadable):
        csr.read(bytes(der))


@pytest.mark.parametrize("weak", [plans.weak_rsa(), ec.generate_private_key(ec.SECP192R1())], ids=["RSA", "ECDSA"])
def test_a_csr_with_a_weak_key_is_refused(weak: Any) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(names.subject("a.example.com"))
    with pytest.raises(Refused, match="too weak"):
        csr.read(_der(builder.sign(weak, hashes.SHA256())))


def test_what_is_no_single_csr_is_not_read() -> None:
    pem = csr.build(plans.key(), "a.example.com", []).public_bytes(Encoding.PEM)
    for wrong in (b"", "", b"0", "hello", "ü", pem + pem, pem[:-40], _der(_custom()) + b"\0"):
        with pytest.raises(Unreadable):
            csr.read(wrong)
    with pytest.raises(TooLarge):
        csr.read(b"0" * (csr.MAX_CSR_BYTES + 1))


VALID = _der(csr.build(plans.key(), "a.example.com", SANS))


@given(plans.mutations(VALID))
def test_broken_csrs_give_typed_errors(broken: bytes) -> None:
    with plans.only_typed_errors():
        request = csr.read(broken)
        csr.check_matches(request, "a.example.com", SANS)


@given(st.binary(max_size=200))
def test_any_bytes_give_typed_errors(noise: bytes) -> None:
    with pytest.raises(CertctlError):
        csr.read(noise)


def test_facts_of_a_csr_without_names_are_empty() -> None:
    assert csr.facts(_custom(subject=[])) == csr.CsrFacts("", (), KeyFacts("ECDSA", 256))


# As some devices write them


def _of_a_device(*, sort: bool, algorithm: hashes.HashAlgorithm | None = None, key: str = "device") -> bytes:
    """A CSR with two attributes, in the order of DER or in the other, signed as it is."""
    private_key = plans.key(KeyKind.RSA_2048, key)
    assert isinstance(private_key, rsa.RSAPrivateKey)
    challenge = asn1.sequence(
        asn1.object_identifier("1.2.840.113549.1.9.7"), asn1.set_of(asn1.tlv(0x0C, b"open sesame"))
    )
    san = x509.SubjectAlternativeName([x509.DNSName("a.example.com")]).public_bytes()
    extension = asn1.sequence(asn1.object_identifier("2.5.29.17"), asn1.octets(san))
    extensions = asn1.sequence(asn1.object_identifier("1.2.840.113549.1.9.14"), asn1.set_of(asn1.sequence(extension)))
    attributes = sorted((challenge, extensions), reverse=not sort)
    info = asn1.sequence(
        asn1.integer(0),
        names.subject("a.example.com").public_bytes(),
        keys.spki(private_key),
        asn1.tlv(0xA0, b"".join(attributes)),
    )
    chosen = algorithm or hashes.SHA256()
    oid = {"sha1": "1.2.840.113549.1.1.5", "sha256": "1.2.840.113549.1.1.11"}[chosen.name]
    signature = private_key.sign(info, padding.PKCS1v15(), chosen)
    return asn1.sequence(info, asn1.sequence(asn1.object_identifier(oid), asn1.NULL), asn1.bit_string(signature))


def test_attributes_may_come_in_any_order_where_that_is_permitted() -> None:
    ordered, other = _of_a_device(sort=True), _of_a_device(sort=False)
    assert csr.read_leniently(ordered) == csr.read(ordered)
    with pytest.raises(Unreadable):
        csr.read(other)
    found = csr.read_leniently(other)
    assert csr.facts(found) == csr.facts(csr.read(ordered))
    assert found.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value == b"open sesame"


def test_a_device_proves_that_it_has_the_key_in_whatever_order_its_attributes_are() -> None:
    other = _of_a_device(sort=False)
    for wrong in (other.replace(b"sesame", b"Sesame"), other[:-1] + bytes((other[-1] ^ 1,))):
        with pytest.raises(Unreadable, match="does not verify"):
            csr.read_leniently(wrong)


@pytest.mark.parametrize("sort", [True, False])
def test_a_signature_with_sha1_is_accepted_where_that_is_permitted(sort: bool) -> None:
    old = _of_a_device(sort=sort, algorithm=hashes.SHA1())  # noqa: S303
    with pytest.raises(Unreadable, match="does not verify"):
        csr.read_leniently(old)
    assert csr.facts(csr.read_leniently(old, with_sha1=True)).common_name == "a.example.com"
    with pytest.raises(Unreadable, match="does not verify"):
        csr.read_leniently(old[:-1] + bytes((old[-1] ^ 1,)), with_sha1=True)


@given(st.data())
def test_a_changed_request_of_a_device_is_a_typed_error_or_what_it_was(data: st.DataObject) -> None:
    original = _of_a_device(sort=False)
    with plans.only_typed_errors():
        found = csr.read_leniently(data.draw(plans.mutations(original)), with_sha1=data.draw(st.booleans()))
        assert csr.facts(found) == csr.facts(csr.read_leniently(original))
