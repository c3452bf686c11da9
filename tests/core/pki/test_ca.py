"""What a CA signs: the right bytes, the same bytes again, and nothing that must not be signed."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid, Refused
from certctl_core.models.certificates import KeyUsageBit as Bit
from certctl_core.pki import ca, crl, keys, names, paths, reading, serials, signing, usages
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import CrlPlan, LeafPlan
from tests import plans


def _extension(certificate: x509.Certificate, kind: type[Any]) -> x509.Extension[Any]:
    return certificate.extensions.get_extension_for_class(kind)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize("kind", plans.QUICK_KINDS)
def test_a_leaf_says_what_its_plan_says(kind: KeyKind) -> None:
    plan = plans.plan()
    leaf = ca.sign_leaf(plans.authority(kind), plan)
    assert reading.plan_of(leaf) == plan
    assert reading.is_issued_by(leaf, plans.authority(kind).certificate)


@pytest.mark.parametrize("kind", plans.DETERMINISTIC_KINDS)
def test_signing_a_plan_again_gives_the_same_bytes(kind: KeyKind) -> None:
    assert _der(ca.sign_leaf(plans.authority(kind), plans.plan())) == _der(
        ca.sign_leaf(plans.authority(kind), plans.plan())
    )


@pytest.mark.parametrize("kind", [KeyKind.ML_DSA_44, KeyKind.ML_DSA_65])
def test_ml_dsa_signs_the_same_bytes_with_another_signature(kind: KeyKind) -> None:
    first, second = (ca.sign_leaf(plans.authority(kind), plans.plan()) for _ in range(2))
    assert first.tbs_certificate_bytes == second.tbs_certificate_bytes
    assert first.signature != second.signature


LEAF_DIGEST = "7d3308ea96b647abef3d3cddeb4d194f8c4e4ec0a8836a7588b598d0f248ba42"
"""SHA-256 of a leaf that was checked octet by octet. It changes together with the table in `certctl_core.pki.ca`."""


def _fixed_authority() -> Authority:
    """A root with nothing random in it."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    root = (
        x509.CertificateBuilder()
        .subject_name(names.subject("root.example"))
        .issuer_name(names.subject("root.example"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(plans.NOW)
        .not_valid_after(plans.NOW + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier(keys.key_identifier(key.public_key())), critical=False)
        .sign(key, None)
    )
    return Authority((root,), key)


def test_the_bytes_of_a_leaf_never_change() -> None:
    leaf_key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64))).public_key()
    leaf = ca.sign_leaf(_fixed_authority(), plans.plan(public_key=leaf_key))
    assert hashlib.sha256(_der(leaf)).hexdigest() == LEAF_DIGEST


def test_a_leaf_has_its_extensions_in_a_fixed_order_with_the_right_criticality() -> None:
    leaf = ca.sign_leaf(plans.authority(), plans.plan())
    assert [(type(one.value), one.critical) for one in leaf.extensions] == [
        (x509.AuthorityKeyIdentifier, False),
        (x509.SubjectKeyIdentifier, False),
        (x509.BasicConstraints, True),
        (x509.KeyUsage, True),
        (x509.ExtendedKeyUsage, False),
        (x509.SubjectAlternativeName, False),
        (x509.CRLDistributionPoints, False),
        (x509.AuthorityInformationAccess, False),
        (x509.TLSFeature, False),
    ]


def test_a_plain_leaf_has_no_extension_without_content() -> None:
    plain = plans.plan(must_staple=False, crl_urls=(), ocsp_urls=(), ca_issuers_urls=())
    leaf = ca.sign_leaf(plans.authority(), plain)
    assert {type(one.value) for one in leaf.extensions} == {
        x509.AuthorityKeyIdentifier,
        x509.SubjectKeyIdentifier,
        x509.BasicConstraints,
        x509.KeyUsage,
        x509.ExtendedKeyUsage,
        x509.SubjectAlternativeName,
    }


def test_key_identifiers_are_the_leftmost_160_bits_of_sha_256() -> None:
    authority = plans.authority()
    leaf = ca.sign_leaf(authority, plans.plan())
    public_key = leaf.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    expected = hashlib.sha256(_uncompressed_point(public_key)).digest()[:20]
    assert _extension(leaf, x509.SubjectKeyIdentifier).value.digest == expected
    issuer = _extension(leaf, x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier == _extension(authority.certificate, x509.SubjectKeyIdentifier).value.digest
    assert issuer.authority_cert_issuer is None


def _uncompressed_point(key: ec.EllipticCurvePublicKey) -> bytes:
    numbers = key.public_numbers()
    return b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def test_a_foreign_issuers_key_identifier_is_taken_as_it_is() -> None:
    key = plans.key(KeyKind.ECDSA_P384, "foreign")
    own = b"an identifier of its own"
    certificate = _ca_certificate(key, x509.SubjectKeyIdentifier(own))
    leaf = ca.sign_leaf(Authority((certificate,), key), plans.plan())
    assert _extension(leaf, x509.AuthorityKeyIdentifier).value.key_identifier == own
    assert leaf.issuer.public_bytes() == certificate.subject.public_bytes()


OLD_NAME = x509.Name(
    [
        x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DE"),
        x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Müller", x509.name._ASN1Type.BMPString),
        x509.NameAttribute(x509.NameOID.COMMON_NAME, "Old CA", x509.name._ASN1Type.PrintableString),
    ]
)
"""In older string types, which must be repeated exactly."""


def _ca_certificate(
    key: Any, *more: x509.ExtensionType, is_ca: bool | None = True, subject: x509.Name = OLD_NAME
) -> x509.Certificate:
    """A CA certificate as somebody else made it. `is_ca` None: without basicConstraints."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(plans.NOW - timedelta(days=400))
        .not_valid_after(plans.NOW + timedelta(days=400))
    )
    if is_ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, signing.hash_for(key))


def test_an_issuer_without_a_key_identifier_is_pointed_to_by_the_one_it_should_have() -> None:
    key = plans.key(name="bare")
    bare = Authority((_ca_certificate(key),), key)
    leaf = ca.sign_leaf(bare, plans.plan())
    assert _extension(leaf, x509.AuthorityKeyIdentifier).value.key_identifier == keys.key_identifier(key.public_key())
    listed = crl.read(crl.sign_crl(bare, CrlPlan(1, plans.NOW, plans.NOW + timedelta(days=1), [])))
    assert crl.is_signed_by(listed, bare.certificate)


@pytest.mark.parametrize(
    ("kind", "ekus", "bits"),
    [
        (KeyKind.RSA_2048, ("serverAuth",), {Bit.DIGITAL_SIGNATURE, Bit.KEY_ENCIPHERMENT}),
        (KeyKind.RSA_2048, ("clientAuth",), {Bit.DIGITAL_SIGNATURE}),
        (KeyKind.RSA_2048, ("codeSigning",), {Bit.DIGITAL_SIGNATURE}),
        (
            KeyKind.RSA_2048,
            ("emailProtection",),
            {Bit.DIGITAL_SIGNATURE, Bit.KEY_ENCIPHERMENT, Bit.CONTENT_COMMITMENT},
        ),
        (KeyKind.ECDSA_P256, ("serverAuth", "clientAuth"), {Bit.DIGITAL_SIGNATURE}),
        (
            KeyKind.ECDSA_P256,
            ("emailProtection",),
            {Bit.DIGITAL_SIGNATURE, Bit.CONTENT_COMMITMENT, Bit.KEY_AGREEMENT},
        ),
        (KeyKind.ED25519, ("serverAuth",), {Bit.DIGITAL_SIGNATURE}),
        (KeyKind.ED25519, ("emailProtection",), {Bit.DIGITAL_SIGNATURE, Bit.CONTENT_COMMITMENT}),
        (KeyKind.ML_DSA_44, ("serverAuth",), {Bit.DIGITAL_SIGNATURE}),
        (KeyKind.ECDSA_P384, ("timeStamping",), {Bit.DIGITAL_SIGNATURE}),
    ],
)
def test_key_usage_follows_usages_and_key(kind: KeyKind, ekus: tuple[str, ...], bits: set[Bit]) -> None:
    plan = plans.plan(
        public_key=plans.key(kind).public_key(),
        ekus=ekus,
        common_name="alice@example.com",
        sans=names.names_of("alice@example.com", []),
        must_staple=False,
    )
    leaf = ca.sign_leaf(plans.authority(), plan)
    assert reading.facts(leaf).key_usage == bits
    assert _extension(leaf, x509.KeyUsage).critical
    usage = _extension(leaf, x509.KeyUsage).value
    assert not any((usage.key_cert_sign, usage.crl_sign, usage.data_encipherment))


def test_time_stamping_is_a_critical_usage_of_its_own() -> None:
    leaf = ca.sign_leaf(plans.authority(), plans.plan(ekus=("timeStamping",)))
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    assert usage.critical
    assert list(usage.value) == [ExtendedKeyUsageOID.TIME_STAMPING]


@pytest.mark.parametrize("common_name", ["", "a" * 60 + ".example.com"])
def test_the_sans_are_critical_exactly_when_the_subject_is_empty(common_name: str) -> None:
    sans = names.names_of(common_name, ["a.example.com"])
    leaf = ca.sign_leaf(plans.authority(), plans.plan(common_name=common_name, sans=sans))
    assert leaf.subject.rdns == []
    assert _extension(leaf, x509.SubjectAlternativeName).critical


def test_several_crl_addresses_are_ways_to_one_crl() -> None:
    urls = ("http://one.example/crl", "http://two.example/crl")
    leaf = ca.sign_leaf(plans.authority(), plans.plan(crl_urls=urls))
    points = list(_extension(leaf, x509.CRLDistributionPoints).value)
    assert len(points) == 1
    assert [name.value for name in points[0].full_name or ()] == list(urls)
    assert points[0].crl_issuer is None
    assert points[0].reasons is None


def test_responders_are_listed_before_issuers() -> None:
    leaf = ca.sign_leaf(plans.authority(), plans.plan())
    access = list(_extension(leaf, x509.AuthorityInformationAccess).value)
    assert [one.access_method for one in access] == [
        AuthorityInformationAccessOID.OCSP,
        AuthorityInformationAccessOID.CA_ISSUERS,
    ]


@pytest.mark.parametrize(
    ("end", "tag"), [(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), 0x17), (datetime(2050, 1, 1, tzinfo=UTC), 0x18)]
)
def test_times_are_utc_time_until_2049_and_generalized_time_after(end: datetime, tag: int) -> None:
    authority = ca.create_root("Long-lived", KeyKind.ECDSA_P256, plans.NOW, timedelta(days=365 * 40))
    leaf = ca.sign_leaf(authority, plans.plan(not_after=end))
    written = f"{end:%y%m%d%H%M%SZ}" if tag == 0x17 else f"{end:%Y%m%d%H%M%SZ}"
    assert bytes((tag, len(written))) + written.encode() in leaf.tbs_certificate_bytes


@pytest.mark.parametrize("kind", [KeyKind.RSA_2048, KeyKind.ECDSA_P256, KeyKind.ECDSA_P384])
@pytest.mark.parametrize("leaf_kind", [KeyKind.RSA_2048, KeyKind.ECDSA_P256])
def test_a_web_pki_verifier_believes_a_leaf_through_an_intermediate(kind: KeyKind, leaf_kind: KeyKind) -> None:
    root = plans.authority(kind)
    middle = ca.create_intermediate(
        root, "CertCtl Issuing CA", KeyKind.ECDSA_P256, plans.NOW - timedelta(hours=1), timedelta(days=9999)
    )
    assert middle.certificate.not_valid_after_utc == root.certificate.not_valid_after_utc
    leaf = ca.sign_leaf(middle, plans.plan(public_key=plans.key(leaf_kind).public_key()))
    policy = PolicyBuilder().store(Store([root.certificate])).time(plans.NOW)
    for name in _hosts(leaf):
        chain = policy.build_server_verifier(name).verify(leaf, [middle.certificate])
        assert chain == [leaf, middle.certificate, root.certificate]
    assert policy.build_client_verifier().verify(leaf, [middle.certificate]).chain[0] == leaf


def _hosts(leaf: x509.Certificate) -> list[x509.DNSName | x509.IPAddress]:
    found = _extension(leaf, x509.SubjectAlternativeName).value
    return [name for name in found if isinstance(name, x509.DNSName | x509.IPAddress)]


@pytest.mark.parametrize("kind", plans.QUICK_KINDS)
def test_a_root_is_a_ca_that_may_sign_certificates_crls_and_ocsp_answers(kind: KeyKind) -> None:
    root = plans.authority(kind).certificate
    usage = _extension(root, x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert usage.value.digital_signature
    constraints = _extension(root, x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca
    assert root.serial_number.bit_length() <= 159
    identifier = _extension(root, x509.SubjectKeyIdentifier).value.digest
    assert _extension(root, x509.AuthorityKeyIdentifier).value.key_identifier == identifier
    assert reading.is_issued_by(root, root)


def test_an_intermediate_keeps_to_the_path_length_above_it() -> None:
    def below(parent: Authority, path_length: int | None) -> Authority:
        name = f"Below {len(parent.chain)}"
        return ca.create_intermediate(
            parent, name, KeyKind.ED25519, plans.NOW, timedelta(days=1), path_length=path_length
        )

    first = below(plans.authority(), 1)
    second = below(first, 0)
    assert [paths.room_below(one.chain) for one in (first, second, plans.authority())] == [1, 0, None]
    for parent, path_length in ((first, None), (first, 1), (second, 0)):
        with pytest.raises(Refused, match="in a path"):
            below(parent, path_length)


@pytest.mark.parametrize("name", ["", "  ", "a" * 65])
def test_a_root_needs_a_name_x509_has_room_for(name: str) -> None:
    with pytest.raises(Invalid):
        ca.create_root(name, KeyKind.ED25519, plans.NOW, timedelta(days=1))


def test_a_root_must_end_after_it_begins() -> None:
    for lifetime in (timedelta(0), timedelta(days=-1), timedelta(days=365 * 9000)):
        with pytest.raises(Invalid):
            ca.create_root("Root", KeyKind.ED25519, plans.NOW, lifetime)


PROBLEMS: dict[str, dict[str, Any]] = {
    "serial_number": {"serial_number": "0A"},
    "serial_number over 20 octets": {"serial_number": serials.canonical(2**159)},
    "serial_number that is none": {"serial_number": "none"},
    "serial_number zero": {"serial_number": "0"},
    "not_after": {"not_after": plans.NOW - timedelta(days=1)},
    "not_before": {"not_before": plans.NOW.replace(microsecond=1)},
    "not_before before 1950": {"not_before": datetime(1949, 12, 31, tzinfo=UTC)},
    "not_after naive": {"not_after": (plans.NOW + timedelta(days=1)).replace(tzinfo=None)},
    "ekus": {"ekus": ("serverAuth", "anyExtendedKeyUsage")},
    "ekus twice": {"ekus": ("serverAuth", "serverAuth")},
    "ekus mixed with timeStamping": {"ekus": ("timeStamping", "serverAuth")},
    "sans": {"sans": (x509.DNSName("a.example.com"), x509.DNSName("A.example.com"))},
    "sans empty for a server": {"sans": ()},
    "sans without a name at all": {"sans": (), "common_name": "", "ekus": ("clientAuth",)},
    "sans[1]": {"sans": (x509.DNSName("a.example.com"), x509.DNSName("evil.example\0.com"))},
    "sans[1] of an unknown kind": {
        "sans": (x509.DNSName("a.example.com"), x509.RegisteredID(usages.EKUS["serverAuth"]))
    },
    "sans[1] of a wrong kind": {"sans": (x509.DNSName("a.example.com"), x509.DNSName("192.0.2.1"))},
    "common_name": {"common_name": "c.example.com"},
    "common_name that is none": {"common_name": "not a name"},
    "crl_urls": {"crl_urls": ("ldap://x.example/crl",)},
    "ocsp_urls": {"ocsp_urls": ("http://",)},
    "ca_issuers_urls": {"ca_issuers_urls": ("http://x.example/ü",)},
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_a_plan_no_certificate_can_follow_is_refused_by_field(case: str) -> None:
    with pytest.raises(Invalid) as caught:
        ca.sign_leaf(plans.authority(), plans.plan(**PROBLEMS[case]))
    assert case.split(" ", maxsplit=1)[0] in {problem.field for problem in caught.value.fields}


def test_a_leaf_may_end_with_its_issuer_and_no_second_later() -> None:
    end = plans.authority().certificate.not_valid_after_utc
    assert ca.sign_leaf(plans.authority(), plans.plan(not_after=end)).not_valid_after_utc == end
    with pytest.raises(Refused, match="after its issuer"):
        ca.sign_leaf(plans.authority(), plans.plan(not_after=end + timedelta(seconds=1)))


def test_a_weak_key_or_the_cas_own_is_not_certified() -> None:
    for key in (plans.weak_rsa(), ec.generate_private_key(ec.SECP192R1())):
        with pytest.raises(Refused, match="too weak"):
            ca.sign_leaf(plans.authority(), plans.plan(public_key=key.public_key()))
    with pytest.raises(Refused, match="own"):
        ca.sign_leaf(plans.authority(), plans.plan(public_key=plans.authority().private_key.public_key()))


def test_an_authority_needs_a_ca_certificate_its_key_and_an_unbroken_chain() -> None:
    good = plans.authority()
    other = plans.authority(KeyKind.ED25519)
    key = plans.key(name="no-ca")
    no_signing = usages.extension(frozenset({Bit.DIGITAL_SIGNATURE}))
    wrong: list[tuple[Callable[[], Authority], str]] = [
        (lambda: Authority((), good.private_key), "0 certificates"),
        (lambda: Authority(good.chain, other.private_key), "private key"),
        (lambda: Authority((*good.chain, *other.chain), good.private_key), "was not issued by"),
        (lambda: Authority((_ca_certificate(key, is_ca=False),), key), "not a CA"),
        (lambda: Authority((_ca_certificate(key, is_ca=None),), key), "not a CA"),
        (lambda: Authority((_ca_certificate(key, subject=x509.Name([])),), key), "subject is empty"),
        (lambda: Authority((_ca_certificate(key, no_signing),), key), "keyCertSign"),
        (lambda: Authority((ca.sign_leaf(good, plans.plan()),), plans.key()), "not a CA"),
    ]
    for make, words in wrong:
        with pytest.raises(Invalid, match=words):
            make()


def test_an_expired_authority_says_so() -> None:
    authority = plans.authority()
    authority.require_valid(plans.NOW)
    for at in (plans.NOW - timedelta(days=2), plans.NOW + timedelta(days=3650)):
        with pytest.raises(Invalid, match="valid from"):
            authority.require_valid(at)


def test_the_private_key_of_an_authority_is_not_shown() -> None:
    assert "private" not in repr(plans.authority())


NAMES = st.lists(
    st.sampled_from(
        [
            "a.example.com",
            "*.example.com",
            "192.0.2.7",
            "2001:db8::7",
            "x@example.com",
            "https://example.com/x",
            "_s.example",
        ]
    ),
    min_size=1,
    unique=True,
)


@given(
    sans=NAMES,
    serial=st.integers(1, serials.MAX_OURS),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
    seconds=st.integers(1, 10**8),
    ekus=st.lists(st.sampled_from(["serverAuth", "clientAuth", "codeSigning", "emailProtection"]), unique=True),
    must_staple=st.booleans(),
    with_name=st.booleans(),
)
def test_any_sane_plan_is_signed_and_reads_back(
    sans: list[str], serial: int, start: datetime, seconds: int, ekus: list[str], must_staple: bool, with_name: bool
) -> None:
    begins = start.replace(microsecond=0, tzinfo=UTC)
    general = names.general_names(sans)
    usable = [text for text in sans if "://" not in text]
    plan = LeafPlan(
        common_name=usable[0] if usable and with_name else "",
        sans=general,
        public_key=plans.key().public_key(),
        serial_number=serials.canonical(serial),
        not_before=begins,
        not_after=min(begins + timedelta(seconds=seconds), plans.authority().certificate.not_valid_after_utc),
        ekus=tuple(ekus),
        must_staple=must_staple,
    )
    assert reading.plan_of(ca.sign_leaf(plans.authority(), plan)) == plan


@given(st.text(max_size=80), st.lists(st.text(max_size=40), max_size=3), st.text(max_size=50), st.text(max_size=30))
def test_any_texts_in_a_plan_are_signed_or_refused(name: str, ekus: list[str], serial: str, url: str) -> None:
    with plans.only_typed_errors():
        ca.sign_leaf(
            plans.authority(),
            plans.plan(common_name=name, ekus=tuple(ekus), serial_number=serial, crl_urls=(url,)),
        )
