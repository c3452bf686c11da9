"""Secrets at rest: AES-256-GCM under a key stretched from the operator's passphrase.

    sealed value (v2)   0x02 || salt(16) || nonce(12) || ciphertext and tag(16)
    older value (v1)            nonce(12) || ciphertext and tag(16), the salt being a constant; only ever read

The key is PBKDF2-HMAC-SHA256 of the passphrase, 100,000 rounds (NIST SP 800-132; AES-GCM: NIST SP 800-38D). Every v2
value has a salt of its own, so **every value costs 10 to 30 ms of processor time to open for the first time** and every
seal as much. The keys of the last few hundred values opened or sealed are kept, so that what is used over and over (the
CA's key, an issuer's password) pays once a process. A list must not open what it lists: show the plain columns and open
one value when it is needed.
"""

import contextlib
import os
import secrets
import stat
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from certctl_core.errors import NotConfigured, Unreadable
from certctl_core.ports.world import SecretBox

_MAGIC: Final = b"\x02"
_SALT: Final = 16
_NONCE: Final = 12
_TAG: Final = 16
_ROUNDS: Final = 100_000
_FIXED_SALT: Final = b"certctl-config-encryption-v1"
_KEYS_KEPT: Final = 512
_SHORTEST_PASSPHRASE: Final = 16
_LONGEST_PASSPHRASE: Final = 4096


class PassphraseBox(SecretBox):
    """Seals and opens with one passphrase. Threads may share it.

    Raises `NotConfigured` when the passphrase is too short to protect anything.
    """

    def __init__(self, passphrase: str, *, keys_kept: int = _KEYS_KEPT) -> None:
        if len(passphrase) < _SHORTEST_PASSPHRASE:
            raise NotConfigured(
                f"The encryption key has {len(passphrase)} characters; at least {_SHORTEST_PASSPHRASE} are needed.",
                hint="Make one with: openssl rand -base64 32",
            )
        self._passphrase = passphrase.encode()
        self._keys: OrderedDict[bytes, bytes] = OrderedDict()
        self._keys_kept = keys_kept
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "PassphraseBox(...)"

    def seal(self, plain: bytes) -> bytes:
        salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
        return _MAGIC + salt + nonce + AESGCM(self._key(salt)).encrypt(nonce, plain, None)

    def open(self, sealed: bytes) -> bytes:
        if sealed[:1] == _MAGIC and len(sealed) >= 1 + _SALT + _NONCE + _TAG:
            plain = self._decrypt(salt=sealed[1 : 1 + _SALT], body=sealed[1 + _SALT :])
            if plain is not None:
                return plain
        # A v1 value begins with a random nonce, and so with the magic byte one time in 256.
        if len(sealed) >= _NONCE + _TAG:
            plain = self._decrypt(salt=_FIXED_SALT, body=sealed)
            if plain is not None:
                return plain
        raise Unreadable(
            "A sealed value cannot be opened: it is damaged, or it was sealed with another encryption key.",
            hint="Start with the CERTCTL_CONFIG_ENCRYPTION_KEY (or the key file) that this database was filled with.",
        )

    def _decrypt(self, *, salt: bytes, body: bytes) -> bytes | None:
        try:
            return AESGCM(self._key(salt)).decrypt(body[:_NONCE], body[_NONCE:], None)
        except InvalidTag:
            return None

    def _key(self, salt: bytes) -> bytes:
        with self._lock:
            if salt in self._keys:
                self._keys.move_to_end(salt)
                return self._keys[salt]
        # Outside the lock: two threads may both derive, neither waits for the other.
        key = PBKDF2HMAC(algorithm=SHA256(), length=32, salt=salt, iterations=_ROUNDS).derive(self._passphrase)
        with self._lock:
            self._keys[salt] = key
            while len(self._keys) > self._keys_kept:
                self._keys.popitem(last=False)
        return key


def key_file(path: Path) -> str:
    """The passphrase kept in `path`; the first caller makes one of 256 random bits.

    Any number of programs may start at once: the file appears complete, or not at all. Raises `NotConfigured` when it
    cannot be read or made, is empty, belongs to somebody else, or may be read by others than its owner.
    """
    try:
        try:
            return _read_key(path)
        except FileNotFoundError:
            _make_key(path)
            return _read_key(path)
    except OSError as error:
        raise NotConfigured(
            f"The key file {path} cannot be made or read: {error.strerror}.",
            hint="May this user write to its folder? A key can also be given in CERTCTL_CONFIG_ENCRYPTION_KEY.",
        ) from error


def _read_key(path: Path) -> str:
    # Not waiting for a pipe, and not following a link: whoever can put one here could choose our key.
    if path.is_symlink():
        raise _not_ordinary(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _not_ordinary(path)
        _check_private(path, found)
        passphrase = os.read(descriptor, _LONGEST_PASSPHRASE).decode(errors="replace").strip()
    finally:
        os.close(descriptor)
    if not passphrase:
        raise NotConfigured(
            f"The key file {path} is empty.",
            hint="Put the key back from a backup; if the database holds no sealed value yet, delete the file.",
        )
    return passphrase


def _not_ordinary(path: Path) -> NotConfigured:
    return NotConfigured(f"The key file {path} is not a regular file.", hint="Put the key itself there, not a link.")


def _check_private(path: Path, found: os.stat_result) -> None:
    if found.st_mode & 0o077:
        raise NotConfigured(
            f"The key file {path} is open to other users (mode {stat.S_IMODE(found.st_mode):04o}).",
            hint=f"Run: chmod 600 {path}. If others could have read it, treat what it sealed as known to them.",
        )
    if found.st_uid != os.geteuid() != 0:
        raise NotConfigured(
            f"The key file {path} belongs to user id {found.st_uid}, not to this program's {os.geteuid()}.",
            hint=f"Run: chown {os.geteuid()} {path}",
        )


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            # Unlike a rename, a link never replaces: whoever comes second reads the first one's key.
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
