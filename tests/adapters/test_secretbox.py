"""Sealed values open again, only with their key, and only if nobody touched them; key files are private."""

import concurrent.futures
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from hypothesis import given, settings
from hypothesis import strategies as st

from certctl_adapters import secretbox
from certctl_adapters.secretbox import PassphraseBox, key_file
from certctl_core.errors import NotConfigured, Unreadable

PASSPHRASE = "correct horse battery staple"
FIXED_SALT = b"certctl-config-encryption-v1"


def stretched(passphrase: str, salt: bytes) -> bytes:
    """The key, by another implementation than the one under test."""
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, 100_000, dklen=32)


def encrypted(key: bytes, nonce: bytes, plain: bytes) -> bytes:
    encryptor = Cipher(AES(key), GCM(nonce)).encryptor()
    return encryptor.update(plain) + encryptor.finalize() + encryptor.tag


def decrypted(key: bytes, nonce: bytes, body: bytes) -> bytes:
    decryptor = Cipher(AES(key), GCM(nonce, body[-16:])).decryptor()
    return decryptor.update(body[:-16]) + decryptor.finalize()


@pytest.fixture
def box() -> PassphraseBox:
    return PassphraseBox(PASSPHRASE)


def test_a_value_sealed_elsewhere_opens(box: PassphraseBox) -> None:
    salt, nonce = bytes(range(16)), bytes(range(100, 112))
    sealed = b"\x02" + salt + nonce + encrypted(stretched(PASSPHRASE, salt), nonce, b"the secret")
    assert box.open(sealed) == b"the secret"


def test_a_value_sealed_here_opens_elsewhere(box: PassphraseBox) -> None:
    sealed = box.seal(b"the secret")
    assert sealed[:1] == b"\x02"
    assert len(sealed) == 1 + 16 + 12 + len(b"the secret") + 16
    assert decrypted(stretched(PASSPHRASE, sealed[1:17]), sealed[17:29], sealed[29:]) == b"the secret"


@pytest.mark.parametrize("first", [0x00, 0x02, 0xFF])
@pytest.mark.parametrize("plain", [b"", b"the secret", b"x" * 100])
def test_an_older_value_opens_whatever_its_nonce_begins_with(box: PassphraseBox, first: int, plain: bytes) -> None:
    nonce = bytes([first, *range(11)])
    assert box.open(nonce + encrypted(stretched(PASSPHRASE, FIXED_SALT), nonce, plain)) == plain


@given(plain=st.binary(max_size=200))
@settings(max_examples=20)
def test_what_was_sealed_opens(plain: bytes) -> None:
    box = PassphraseBox(PASSPHRASE)
    assert box.open(box.seal(plain)) == plain


def test_the_same_value_never_looks_the_same_twice(box: PassphraseBox) -> None:
    first, second = box.seal(b"same"), box.seal(b"same")
    assert first[1:17] != second[1:17]
    assert first[29:] != second[29:]


def test_another_passphrase_does_not_open_it(box: PassphraseBox) -> None:
    with pytest.raises(Unreadable, match="another encryption key"):
        PassphraseBox(PASSPHRASE + "!").open(box.seal(b"the secret"))


def test_a_single_changed_bit_anywhere_is_noticed(box: PassphraseBox) -> None:
    sealed = box.seal(b"s")
    # The nonce, the text and the tag; a changed salt is another key and the test above.
    for index in [0, *range(17, len(sealed))]:
        damaged = bytearray(sealed)
        damaged[index] ^= 1
        with pytest.raises(Unreadable):
            box.open(bytes(damaged))


@given(garbage=st.binary(max_size=80))
@settings(max_examples=50)
def test_bytes_that_are_no_sealed_value_are_unreadable(garbage: bytes) -> None:
    with pytest.raises(Unreadable):
        GARBAGE_BOX.open(garbage)


GARBAGE_BOX = PassphraseBox(PASSPHRASE)


def test_a_value_opened_again_costs_no_second_derivation(box: PassphraseBox, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = box.seal(b"the secret")
    monkeypatch.setattr(secretbox, "PBKDF2HMAC", lambda **_: pytest.fail("derived again"))
    assert [box.open(sealed) for _ in range(3)] == [b"the secret"] * 3


def test_the_keys_kept_are_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secretbox, "_ROUNDS", 1)
    box = PassphraseBox(PASSPHRASE, keys_kept=3)
    sealed = [box.seal(bytes([number])) for number in range(3)]
    box.open(sealed[0])  # used again: now the youngest
    box.seal(b"another")
    assert len(box._keys) == 3
    assert sealed[0][1:17] in box._keys
    assert sealed[1][1:17] not in box._keys
    assert [box.open(each) for each in sealed] == [b"\0", b"\1", b"\2"]
    assert len(box._keys) == 3


def test_threads_may_share_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secretbox, "_ROUNDS", 10)
    box = PassphraseBox(PASSPHRASE, keys_kept=4)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        values = [str(number).encode() for number in range(200)]
        assert list(pool.map(lambda value: box.open(box.seal(value)), values)) == values


def test_a_short_passphrase_is_refused_with_the_way_to_a_better_one() -> None:
    with pytest.raises(NotConfigured, match="has 5 characters") as refused:
        PassphraseBox("short")
    assert "openssl rand" in refused.value.hint


def test_a_box_does_not_print_its_passphrase(box: PassphraseBox) -> None:
    assert PASSPHRASE not in repr(box)


def test_the_helpers_of_these_tests_notice_damage() -> None:
    key, nonce = bytes(32), bytes(12)
    body = bytearray(encrypted(key, nonce, b"x"))
    body[0] ^= 1
    with pytest.raises(InvalidTag):
        decrypted(key, nonce, bytes(body))


# ------------------------------------------------------------------------------------------------------ key files


def test_the_first_start_makes_a_private_key_and_later_ones_find_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "encryption.key"
    made = key_file(path)
    assert len(made) == 43, "256 random bits"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_file(path) == made
    assert [each.name for each in path.parent.iterdir()] == ["encryption.key"]
    assert PassphraseBox(made).open(PassphraseBox(key_file(path)).seal(b"x")) == b"x"


def test_a_key_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "encryption.key"
    path.write_text("a passphrase with spaces\n")
    path.chmod(0o400)
    assert key_file(path) == "a passphrase with spaces"


def test_programs_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "encryption.key"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: key_file(path), range(32)))) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["encryption.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "encryption.key"
    key_file(path)
    path.chmod(mode)
    with pytest.raises(NotConfigured, match=f"mode {mode:04o}") as refused:
        key_file(path)
    assert f"chmod 600 {path}" in refused.value.hint


def test_an_empty_key_file_is_not_filled(tmp_path: Path) -> None:
    path = tmp_path / "encryption.key"
    path.touch(0o600)
    with pytest.raises(NotConfigured, match="is empty"):
        key_file(path)
    assert path.read_bytes() == b""


def _link(path: Path) -> None:
    path.with_name("elsewhere").write_text("a key that somebody else chose")
    path.with_name("elsewhere").chmod(0o600)
    path.symlink_to(path.with_name("elsewhere"))


def _pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("make", [_link, _pipe, lambda path: path.mkdir(0o700)], ids=["link", "pipe", "folder"])
def test_what_is_not_an_ordinary_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "encryption.key"
    make(path)
    with pytest.raises(NotConfigured, match="not a regular file"):
        key_file(path)


def test_a_key_that_cannot_be_made_is_said_in_our_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotConfigured, match="cannot be made or read: Not a directory"):
        key_file(tmp_path / "file" / "encryption.key")
