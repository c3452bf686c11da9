"""The Local CA keeps the contract with every kind of key, as a root and as a sub-CA."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certctl_adapters import settings
from certctl_adapters.authorities import Held
from certctl_adapters.issuers import local
from certctl_adapters.issuers.local import LocalIssuer, LocalSettings
from certctl_adapters.secretbox import PassphraseBox
from certctl_core.errors import Invalid, NotConfigured, TooLarge
from certctl_core.pki import bundle, ca, keys, reading
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.ports.signer import SealedKeys
from tests import plans
from tests.contract.issuers.contract import (
    CertifiesDelegatesContract,
    HasAuthoritiesContract,
    IssuerContract,
    ShowsChainContract,
    SignsCrlsContract,
    issued,
    request,
)

BOX = PassphraseBox("correct horse battery staple")


class LocalContract(
    IssuerContract,
    ShowsChainContract,
    HasAuthoritiesContract,
    SignsCrlsContract,
    CertifiesDelegatesContract,
):
    """What `class LocalIssuer(Issuer, ShowsChain, SignsCrls, CertifiesDelegates)` says."""


class TestLocalRoot(LocalContract):
    """A root of its own."""

    @pytest.fixture(params=plans.DETERMINISTIC_KINDS, ids=lambda kind: str(kind.value))
    def issuer(self, request: pytest.FixtureRequest) -> LocalIssuer:
        return LocalIssuer(LocalSettings(), plans.authority(request.param))


class TestLocalRootWithHedgedSignatures(
    ShowsChainContract, HasAuthoritiesContract, SignsCrlsContract, CertifiesDelegatesContract
):
    """ML-DSA, whose signatures differ: the same order gives a certificate that says the same."""

    @pytest.fixture(params=[KeyKind.ML_DSA_44, KeyKind.ML_DSA_65], ids=lambda kind: str(kind.value))
    def issuer(self, request: pytest.FixtureRequest) -> LocalIssuer:
        return LocalIssuer(LocalSettings(), plans.authority(request.param))

    def test_the_same_order_again_says_the_same(self, issuer: LocalIssuer) -> None:
        asked = request()
        first, second = (issued(issuer, asked).certificate for _ in range(2))
        assert first.tbs_certificate_bytes == second.tbs_certificate_bytes


@pytest.fixture(scope="module")
def sub_ca() -> Authority:
    return ca.create_intermediate(plans.authority(), "Sub CA", KeyKind.ECDSA_P256, plans.NOW, timedelta(days=30))


def _files(folder: Path, authority: Authority, form: PrivateFormat = PrivateFormat.PKCS8) -> LocalSettings:
    certificate, key = folder / "ca.pem", folder / "ca.key"
    certificate.write_text(bundle.to_pem(*authority.chain))
    key.write_bytes(authority.private_key.private_bytes(Encoding.PEM, form, NoEncryption()))
    return LocalSettings(ca_cert_path=str(certificate), ca_key_path=str(key))


def _no_root() -> tuple[Held, ...]:
    raise AssertionError("a sub-CA needs no root of its own")


def _connect(chosen: LocalSettings) -> LocalIssuer:
    return local.connect(chosen, lambda make: () if make is None else _no_root(), plans.NOW)


class TestLocalSubCa(LocalContract):
    """A CA certificate and key in files."""

    @pytest.fixture
    def issuer(self, sub_ca: Authority, tmp_path: Path) -> LocalIssuer:
        return _connect(_files(tmp_path, sub_ca))


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("kind", [KeyKind.ECDSA_P384, KeyKind.RSA_2048])
def test_a_sub_ca_key_is_read_in_every_pem_form(tmp_path: Path, form: PrivateFormat, kind: KeyKind) -> None:
    connected = _connect(_files(tmp_path, plans.authority(kind), form))
    assert connected.authority.certificate == plans.authority(kind).certificate


def test_a_leaf_of_a_sub_ca_comes_with_the_sub_ca_and_without_the_root(tmp_path: Path, sub_ca: Authority) -> None:
    connected = _connect(_files(tmp_path, sub_ca))
    assert issued(connected, request()).chain == (sub_ca.certificate,)
    assert tuple(connected.chain()) == sub_ca.chain


def test_a_leaf_ends_with_its_ca_at_the_latest(tmp_path: Path, sub_ca: Authority) -> None:
    leaf = issued(_connect(_files(tmp_path, sub_ca)), request()).certificate
    assert leaf.not_valid_after_utc == sub_ca.certificate.not_valid_after_utc


def test_a_leaf_begins_with_its_ca_at_the_earliest(tmp_path: Path, sub_ca: Authority) -> None:
    leaf = issued(_connect(_files(tmp_path, sub_ca)), request()).certificate
    assert leaf.not_valid_before_utc == sub_ca.certificate.not_valid_before_utc == plans.NOW


def test_crl_addresses_of_the_settings_win() -> None:
    urls = ("http://crl.example.com/our.crl",)
    issuer = LocalIssuer(LocalSettings(crl_distribution_point_urls=urls), plans.authority())
    assert reading.facts(issued(issuer, request()).certificate).crl_urls == urls


def test_files_that_are_no_ca_are_named_with_the_reason(tmp_path: Path, sub_ca: Authority) -> None:
    good = _files(tmp_path, sub_ca)
    certificate, key = Path(good.ca_cert_path), Path(good.ca_key_path)
    leaf = ca.sign_leaf(sub_ca, plans.plan(not_after=plans.NOW + timedelta(days=1)))
    cases = [
        (bundle.to_pem(leaf), keys.to_pem(plans.key()), "not a CA certificate"),
        (bundle.to_pem(*sub_ca.chain), keys.to_pem(plans.key()), "private key"),
        (bundle.to_pem(*sub_ca.chain), "no key", "not PEM"),
        ("no certificate", keys.to_pem(sub_ca.private_key), "cannot be read"),
        (bundle.to_pem(sub_ca.certificate, plans.authority(KeyKind.ED25519).certificate), None, "was not issued by"),
    ]
    for certificate_text, key_text, words in cases:
        certificate.write_text(certificate_text)
        key.write_text(key_text or keys.to_pem(sub_ca.private_key))
        with pytest.raises(NotConfigured, match=words):
            _connect(good)


@pytest.mark.parametrize("weak", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP192R1())])  # noqa: S505
def test_a_weak_sub_ca_key_is_not_used(
    tmp_path: Path, sub_ca: Authority, weak: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    chosen = _files(tmp_path, sub_ca)
    Path(chosen.ca_key_path).write_text(keys.to_pem(weak))
    with pytest.raises(NotConfigured, match="too weak"):
        _connect(chosen)


def test_files_that_are_missing_or_endless_are_named(tmp_path: Path, sub_ca: Authority) -> None:
    chosen = _files(tmp_path, sub_ca)
    Path(chosen.ca_key_path).write_bytes(bytes(keys.MAX_KEY_BYTES + 1))
    with pytest.raises(TooLarge, match="ca_key_path"):
        _connect(chosen)
    Path(chosen.ca_cert_path).unlink()
    with pytest.raises(NotConfigured, match="ca_cert_path"):
        _connect(chosen)


def test_an_expired_ca_does_not_connect(tmp_path: Path) -> None:
    past = ca.create_root("Past", KeyKind.ECDSA_P256, plans.NOW - timedelta(days=2), timedelta(days=1))
    with pytest.raises(NotConfigured, match="valid from"):
        _connect(_files(tmp_path, past))


def test_a_root_is_made_as_the_settings_say() -> None:
    chosen = LocalSettings(ca_common_name="Example Root", ca_key_algorithm=KeyKind.ECDSA_P384)
    kept, root = local.make_root(chosen, plans.NOW.replace(microsecond=5), SealedKeys(BOX))
    assert keys.same_key(SealedKeys(BOX).open(kept), root.certificate)
    known = reading.facts(root.certificate)
    assert known.common_name == "Example Root"
    assert known.key.size == 384
    assert known.not_before == plans.NOW - local.BACKDATE
    assert known.not_after - known.not_before == timedelta(days=3650)


def test_the_settings_have_the_defaults_of_the_contract() -> None:
    assert settings.write(settings.read(LocalSettings, {})) == {
        "ca_common_name": "CertCtl Local CA",
        "validity_days": 90,
        "ca_key_algorithm": "ECDSA-P256",
        "make_root": True,
        "ca_key_driver_id": "sealed",
        "ca_cert_path": "",
        "ca_key_path": "",
        "crl_distribution_point_urls": [],
    }


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"validity_days": 0}, "validity_days"),
        ({"validity_days": 3651}, "validity_days"),
        ({"ca_common_name": " "}, "ca_common_name"),
        ({"ca_common_name": "a" * 65}, "ca_common_name"),
        ({"ca_key_algorithm": "DSA"}, "ca_key_algorithm"),
        ({"ca_cert_path": "relative.pem", "ca_key_path": "/ca.key"}, "ca_cert_path"),
        ({"ca_cert_path": "/ca.pem"}, "ca_key_path"),
        ({"ca_key_path": "/ca.key"}, "ca_cert_path"),
        ({"crl_distribution_point_urls": ["ldap://x"]}, "crl_distribution_point_urls"),
    ],
)
def test_wrong_settings_are_named(given: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        settings.read(LocalSettings, given)
    assert [problem.field for problem in caught.value.fields] == [field]
