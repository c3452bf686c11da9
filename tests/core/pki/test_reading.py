"""Certificates are read with caps, described, put in order, and carried in files."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid, Refused, TooLarge, Unreadable
from certctl_core.models.certificates import KeyUsageBit
from certctl_core.pki import bundle, ca, keys, names, paths, reading, signing
from certctl_core.pki.keys import KeyFacts, KeyKind
from tests import plans

ROOT = plans.authority()
MIDDLE = ca.create_intermediate(ROOT, "Issuing CA", KeyKind.ECDSA_P256, plans.NOW, timedelta(days=99))
LEAF = ca.sign_leaf(MIDDLE, plans.plan())
DER = LEAF.public_bytes(Encoding.DER)
CHAIN = (MIDDLE.certificate, ROOT.certificate)


def test_a_certificate_is_described() -> None:
    found = reading.facts(LEAF)
    assert found.serial_number == plans.plan().serial_number
    assert found.common_name == "a.example.com"
    assert found.subject == "CN=a.example.com"
    assert found.issuer == "CN=Issuing CA"
    assert found.sans == ("a.example.com", "b.example.com", "192.0.2.1", "2001:db8::1", "spiffe://example.com/a")
    assert (found.not_before, found.not_after) == (plans.plan().not_before, plans.plan().not_after)
    assert found.key == KeyFacts("ECDSA", 256)
    assert found.key_usage == {KeyUsageBit.DIGITAL_SIGNATURE}
    assert found.ekus == ("serverAuth", "clientAuth")
    assert found.must_staple
    assert not found.is_ca
    assert found.path_length is None
    assert found.crl_urls == plans.plan().crl_urls
    assert found.ocsp_urls == plans.plan().ocsp_urls
    assert found.ca_issuers_urls == plans.plan().ca_issuers_urls
    assert found.authority_key_identifier == reading.facts(MIDDLE.certificate).subject_key_identifier
    assert found.fingerprint_sha256 == reading.fingerprint(LEAF)
    assert len(found.fingerprint_sha256) == 64


def test_a_ca_certificate_is_described() -> None:
    found = reading.facts(MIDDLE.certificate)
    assert found.is_ca
    assert found.path_length == 0
    assert found.sans == ()
    assert found.ekus == ()
    assert not found.must_staple


def _foreign(**changes: Any) -> x509.Certificate:
    """A certificate as other CAs make them: without most extensions."""
    key = changes.get("key", plans.key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(changes.get("subject", names.subject("foreign.example")))
        .issuer_name(names.subject("foreign.example"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(plans.NOW)
        .not_valid_after(plans.NOW + timedelta(days=1))
    )
    for extension in changes.get("extensions", ()):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(plans.key(), signing.hash_for(plans.key()))


def test_a_certificate_without_extensions_is_described() -> None:
    found = reading.facts(_foreign())
    assert found.subject_key_identifier is None
    assert found.authority_key_identifier is None
    assert found.key_usage == frozenset()


def test_unknown_usages_and_weak_keys_of_others_are_described_not_refused() -> None:
    strange = x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.4")
    found = reading.facts(
        _foreign(
            key=plans.weak_rsa(),
            extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING, strange])],
        )
    )
    assert found.ekus == (ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string, strange.dotted_string)
    assert found.key == KeyFacts("RSA", 1024)


def test_bundles_are_read_in_order_in_every_form() -> None:
    pem = bundle.to_pem(LEAF, *CHAIN)
    assert reading.certificates(pem) == (LEAF, *CHAIN)
    assert bundle.from_pem(pem.encode()) == (LEAF, *CHAIN)
    assert reading.certificates(DER) == (LEAF,)
    assert reading.certificate(DER) == reading.certificate(pem) == LEAF


def test_a_key_between_certificates_is_passed_over() -> None:
    mixed = bundle.to_pem(LEAF) + keys.to_pem(plans.key()) + bundle.to_pem(*CHAIN)
    assert reading.certificates(mixed) == (LEAF, *CHAIN)


def test_bundles_over_the_caps_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(TooLarge):
        reading.certificates(bundle.to_pem(LEAF) * 4, limit=3)
    with pytest.raises(TooLarge):
        reading.certificates(b"-----BEGIN CERTIFICATE-----" + bytes(reading.MAX_BUNDLE_BYTES))
    with pytest.raises(TooLarge):
        reading.certificate(bytes(reading.MAX_CERTIFICATE_BYTES + 1))


def test_what_is_no_certificate_is_not_read() -> None:
    for wrong in (b"", "", b"0", "hello", DER + b"\0", keys.to_pem(plans.key()), "-----BEGIN CERTIFICATE-----"):
        with pytest.raises(Unreadable):
            reading.certificate(wrong)
        with pytest.raises(Unreadable):
            reading.certificates(wrong)


@given(plans.mutations(DER))
def test_broken_certificates_give_typed_errors(broken: bytes) -> None:
    with plans.only_typed_errors():
        found = reading.certificate(broken)
        reading.plan_of(found)
        paths.chain_problems((found, *CHAIN))
        reading.is_issued_by(found, MIDDLE.certificate)


@given(st.permutations([LEAF, *CHAIN]))
def test_leaf_and_chain_are_found_in_any_order(shuffled: list[x509.Certificate]) -> None:
    assert bundle.leaf_and_chain([*shuffled, shuffled[0]]) == (LEAF, CHAIN)


def test_a_bundle_with_two_leafs_or_none_is_refused() -> None:
    other = ca.sign_leaf(MIDDLE, plans.plan(serial_number="2"))
    for wrong in ([LEAF, other, *CHAIN], []):
        with pytest.raises(Unreadable, match="leaf"):
            bundle.leaf_and_chain(wrong)


def test_a_chain_stops_where_its_issuer_is_missing() -> None:
    assert reading.chain_above(LEAF, [ROOT.certificate]) == ()
    assert reading.chain_above(LEAF, [MIDDLE.certificate]) == (MIDDLE.certificate,)


def test_a_chain_in_order_has_no_problems_and_one_out_of_order_has() -> None:
    assert paths.chain_problems((LEAF, *CHAIN)) == ()
    assert paths.chain_problems((LEAF,)) == ()
    assert len(paths.chain_problems((LEAF, *CHAIN[::-1]))) >= 2
    assert any("no CA" in one for one in paths.chain_problems((LEAF, LEAF)))
    assert any("ended before" in one for one in _ended_before())


def _ended_before() -> tuple[str, ...]:
    past = ca.create_root("Past", KeyKind.ECDSA_P256, plans.NOW - timedelta(days=9), timedelta(days=1))
    leaf = ca.sign_leaf(
        past, plans.plan(not_before=plans.NOW - timedelta(days=9), not_after=plans.NOW - timedelta(days=8))
    )
    late = ca.sign_leaf(MIDDLE, plans.plan())
    assert paths.chain_problems((leaf, *past.chain)) == ()
    return paths.chain_problems((late, *past.chain))


def test_a_certificate_with_an_issuer_that_cannot_be_read_was_issued_by_nobody() -> None:
    """The library parses names when they are asked for."""
    whole = LEAF.issuer.public_bytes()
    # A BIT STRING where a text must be.
    nonsense = whole.replace(b"\x0c\x0aIssuing CA", b"\x03\x0aIssuing CA")
    broken = x509.load_der_x509_certificate(DER.replace(whole, nonsense, 1))
    assert not reading.names_issuer(broken, broken)
    assert reading.chain_above(broken, CHAIN) == ()
    assert not paths.judge(broken, CHAIN, [ROOT.certificate])
    assert not paths.judge(LEAF, [broken], [broken])
    with pytest.raises(Unreadable, match="leaf certificates"):
        bundle.leaf_and_chain([broken, LEAF])


@pytest.mark.parametrize("kind", plans.DETERMINISTIC_KINDS)
@pytest.mark.parametrize("password", ["", "pässword"])
def test_a_pkcs12_file_gives_back_what_went_in(kind: KeyKind, password: str) -> None:
    leaf = ca.sign_leaf(MIDDLE, plans.plan(public_key=plans.key(kind).public_key()))
    data = bundle.to_pkcs12("site", leaf, CHAIN, plans.key(kind), password)
    private_key, certificate, chain = bundle.from_pkcs12(data, password)
    assert private_key is not None
    assert keys.same_key(private_key, plans.key(kind))
    assert certificate == leaf
    assert set(chain) == set(CHAIN)


def test_a_pkcs12_file_without_a_key_holds_the_certificates() -> None:
    private_key, certificate, chain = bundle.from_pkcs12(bundle.to_pkcs12("site", LEAF, CHAIN, None, "x"), "x")
    assert private_key is None
    assert {certificate, *chain} - {None} == {LEAF, *CHAIN}


def test_a_pkcs12_file_is_not_made_of_a_stray_key() -> None:
    with pytest.raises(Invalid, match="not that of"):
        bundle.to_pkcs12("site", LEAF, CHAIN, plans.key(name="other"))
    ml_dsa = plans.key(KeyKind.ML_DSA_44)
    leaf = ca.sign_leaf(MIDDLE, plans.plan(public_key=ml_dsa.public_key()))
    with pytest.raises(Invalid, match="ML-DSA"):
        bundle.to_pkcs12("site", leaf, CHAIN, ml_dsa)


def test_a_pkcs12_file_with_a_wrong_password_is_not_read() -> None:
    data = bundle.to_pkcs12("site", LEAF, CHAIN, plans.key(), "right")
    for wrong in ("wrong", ""):
        with pytest.raises(Unreadable):
            bundle.from_pkcs12(data, wrong)
    with pytest.raises(TooLarge):
        bundle.from_pkcs12(bytes(bundle.MAX_PKCS12_BYTES + 1))


def test_a_pkcs12_file_with_a_weak_key_is_refused() -> None:
    weak = ec.generate_private_key(ec.SECP192R1())
    data = pkcs12.serialize_key_and_certificates(b"x", weak, None, [LEAF], NoEncryption())
    with pytest.raises(Refused, match="too weak"):
        bundle.from_pkcs12(data)
