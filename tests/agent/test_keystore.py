"""Private keys on disk: private, complete, and never overwritten before their successor is certified."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certctl_agent.keystore import KeyStore, KeyStoreUnsafe
from certctl_core.errors import NotFound
from certctl_core.pki import keys
from tests.authority import Authority


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "keys"


@pytest.fixture
def store(folder: Path) -> KeyStore:
    return KeyStore(folder)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_folder_is_made_private(store: KeyStore, folder: Path) -> None:
    assert mode(folder) == 0o700


def test_a_folder_that_others_can_enter_is_closed(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    KeyStore(folder)
    assert mode(folder) == 0o700


def test_a_link_to_a_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyStoreUnsafe, match="not a folder of its own"):
        KeyStore(folder)


def test_a_file_in_the_place_of_the_folder_is_refused(folder: Path) -> None:
    folder.parent.mkdir()
    folder.touch()
    with pytest.raises(KeyStoreUnsafe, match="cannot use"):
        KeyStore(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving folders away needs root")
def test_a_folder_of_somebody_else_is_refused(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.chown(folder, 65534, -1)
    with pytest.raises(KeyStoreUnsafe, match="another user"):
        KeyStore(folder)


def test_a_job_finds_its_own_key_again(store: KeyStore, folder: Path) -> None:
    first = store.for_job("mc-1", "job-1")
    assert keys.same_key(first, KeyStore(folder).for_job("mc-1", "job-1"))
    assert not keys.same_key(first, store.for_job("mc-1", "job-2"))
    assert not keys.same_key(first, store.for_job("mc-2", "job-1"))


def test_keys_are_p256_in_private_files(store: KeyStore, folder: Path) -> None:
    private_key = store.for_job("mc-1", "job-1")
    assert isinstance(private_key, ec.EllipticCurvePrivateKey)
    assert isinstance(private_key.curve, ec.SECP256R1)
    path = folder / "pending" / "mc-1" / "job-1.key"
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert path.read_text().startswith("-----BEGIN EC PRIVATE KEY-----")


def test_the_key_in_use_stays_until_its_successor_is_certified(
    store: KeyStore, folder: Path, authority: Authority
) -> None:
    current = folder / "mc-1.key"
    old = authority.certify(store.for_job("mc-1", "job-1").public_key(), "a.test")
    store.promote("mc-1", store.of("mc-1", old))
    before = current.read_bytes()
    new = authority.certify(store.for_job("mc-1", "job-2").public_key(), "a.test")
    assert current.read_bytes() == before
    held = store.of("mc-1", new)
    assert held.pending
    assert current.read_bytes() == before
    store.promote("mc-1", held)
    assert current.read_bytes() != before
    assert mode(current) == 0o600
    assert keys.same_key(store.of("mc-1", new).private_key, new)
    assert not store.of("mc-1", new).pending


def test_promoting_again_changes_nothing(store: KeyStore, folder: Path, authority: Authority) -> None:
    certificate = authority.certify(store.for_job("mc-1", "job-1").public_key(), "a.test")
    store.promote("mc-1", store.of("mc-1", certificate))
    before = (folder / "mc-1.key").stat()
    store.promote("mc-1", store.of("mc-1", certificate))
    assert (folder / "mc-1.key").stat() == before


def test_keys_of_older_jobs_go_and_those_of_newer_ones_stay(
    store: KeyStore, folder: Path, authority: Authority
) -> None:
    pending = folder / "pending" / "mc-1"
    made = {job: store.for_job("mc-1", job) for job in ("job-1", "job-2", "job-3")}
    for age, job in enumerate(("job-3", "job-2", "job-1")):
        os.utime(pending / f"{job}.key", (1_000_000 - age, 1_000_000 - age))
    certificate = authority.certify(made["job-2"].public_key(), "a.test")
    store.promote("mc-1", store.of("mc-1", certificate))
    assert [path.name for path in pending.iterdir()] == ["job-3.key"]


def test_a_certificate_of_a_foreign_key_is_not_found(store: KeyStore, authority: Authority) -> None:
    store.for_job("mc-1", "job-1")
    with pytest.raises(NotFound, match="no key of this certificate"):
        store.of("mc-1", authority.leaf("a.test").certificate)
    with pytest.raises(NotFound):
        store.of("mc-unknown", authority.leaf("a.test").certificate)


@pytest.mark.parametrize("identity", ["../x", "a/b", "", ".hidden", "a\0b", "x" * 200, "-flag", "a\n"])
def test_ids_that_could_name_another_file_are_refused(store: KeyStore, identity: str) -> None:
    with pytest.raises(KeyStoreUnsafe, match="cannot name a file"):
        store.for_job(identity, "job-1")
    with pytest.raises(KeyStoreUnsafe, match="cannot name a file"):
        store.for_job("mc-1", identity)


def test_a_key_that_others_can_read_is_not_used(store: KeyStore, folder: Path) -> None:
    store.for_job("mc-1", "job-1")
    (folder / "pending" / "mc-1" / "job-1.key").chmod(0o644)
    with pytest.raises(KeyStoreUnsafe, match="can be read by others"):
        store.for_job("mc-1", "job-1")


def test_a_damaged_pending_key_is_replaced(store: KeyStore, folder: Path) -> None:
    store.for_job("mc-1", "job-1")
    (folder / "pending" / "mc-1" / "job-1.key").write_text("")
    fresh = store.for_job("mc-1", "job-1")
    assert keys.same_key(fresh, store.for_job("mc-1", "job-1"))


def test_a_key_half_written_by_a_crash_is_in_nobodys_way(store: KeyStore, folder: Path) -> None:
    store.for_job("mc-1", "job-0")
    (folder / "pending" / "mc-1" / "job-1.new").write_text("-----BEGIN EC")
    private_key = store.for_job("mc-1", "job-1")
    assert keys.same_key(private_key, store.for_job("mc-1", "job-1"))


def test_keys_are_in_no_repr(store: KeyStore, authority: Authority) -> None:
    certificate = authority.certify(store.for_job("mc-1", "job-1").public_key(), "a.test")
    assert "BEGIN" not in repr(store.of("mc-1", certificate))
