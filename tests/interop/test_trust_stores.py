"""Trust stores in PKCS #12 are read by OpenSSL and by Java."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve, frozen
from cryptography.hazmat.primitives import hashes

from certctl_core.pki import bundle, ca, keys
from certctl_core.pki.keys import KeyKind
from tests import plans
from tests.interop.peers import peer

pytestmark = pytest.mark.interop

NOW = datetime.now(UTC).replace(microsecond=0)


@frozen
class Store:
    """A file with a leaf and the two CAs above it, whose names differ in case alone."""

    folder: Path
    password: str
    fingerprints: tuple[str, ...]


@pytest.fixture(params=["s3cret", "pässwörd", ""], ids=["a password", "an umlaut", "open"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    root = ca.create_root("Interop CA", KeyKind.ECDSA_P256, NOW - timedelta(hours=1), timedelta(days=3650))
    issuing = ca.create_intermediate(
        root, "INTEROP CA", KeyKind.ECDSA_P256, NOW - timedelta(hours=1), timedelta(days=365)
    )
    leaf = ca.sign_leaf(
        issuing,
        evolve(
            plans.plan(),
            public_key=keys.generate(KeyKind.ECDSA_P256).public_key(),
            not_before=NOW - timedelta(minutes=5),
            not_after=NOW + timedelta(days=30),
        ),
    )
    everything = (leaf, issuing.certificate, root.certificate)
    (tmp_path / "store.p12").write_bytes(bundle.to_trust_store(everything, request.param))
    prints = tuple(one.fingerprint(hashes.SHA256()).hex(":").upper() for one in everything)
    return Store(tmp_path, request.param, prints)


def test_openssl_finds_every_certificate_and_no_key(store: Store) -> None:
    openssl = peer("openssl")
    read = ("pkcs12", "-in", "store.p12", "-passin", f"pass:{store.password}", "-noenc")
    said = openssl.run(*read, folder=store.folder)
    assert said.count("BEGIN CERTIFICATE") == len(store.fingerprints)
    assert "PRIVATE KEY" not in said
    if store.password:
        wrong = ("pkcs12", "-in", "store.p12", "-passin", "pass:wrong", "-noout")
        openssl.run(*wrong, folder=store.folder, fails=True)


def test_java_trusts_every_certificate(store: Store) -> None:
    keytool = peer("keytool")
    listing: tuple[str, ...] = ("-list", "-v", "-keystore", "store.p12")
    if store.password:
        listing += ("-storepass", store.password)
    if not store.password.isascii():
        assert "not ASCII" in keytool.run(*listing, folder=store.folder, fails=True)
        return
    said = keytool.run(*listing, folder=store.folder, given=b"\n")
    assert said.count("trustedCertEntry") == len(store.fingerprints)
    assert [found for found in store.fingerprints if found not in said] == []
