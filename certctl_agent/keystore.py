"""The private keys of this machine.

    <folder>/<certificate>.key                    the key in use
    <folder>/pending/<certificate>/<job>.key      made for a job, its certificate not here yet

A new key lies beside the old one until its certificate has arrived; only then is it renamed over it. The same job
always finds its own key again, and so sends the same CSR after a crash. The folder is ours alone (0700), the files are
0600 from their first byte and are complete or not there.

Keys are in memory only while a job needs them, and in no log. Python cannot wipe an immutable object, so nothing is
promised about memory after use; OpenSSL clears its own copies.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certctl_core.errors import CertctlError, NotFound, Unreadable
from certctl_core.ids import CLIENT_ID
from certctl_core.pki import keys
from certctl_core.pki.keys import KeyKind, PrivateKey

_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600
_SUFFIX: Final = ".key"


class KeyStoreUnsafe(CertctlError):
    """The key folder or a file in it cannot be trusted with private keys."""


@frozen
class HeldKey:
    """A key on disk. `pending` keys are promoted when their certificate is there."""

    private_key: PrivateKey
    path: Path
    pending: bool


class KeyStore:
    """The keys below one folder."""

    def __init__(self, folder: Path) -> None:
        """Make the folder where it is missing. Raises `KeyStoreUnsafe` unless it is a real folder of ours, 0700."""
        self._folder = folder
        _make_private(folder)
        self._pending = folder / "pending"
        _make_private(self._pending)

    @property
    def journals(self) -> Path:
        """A folder for the journals of file installations: as private as the keys."""
        return self._folder / "journal"

    def for_job(self, certificate_id: str, job_id: str) -> PrivateKey:
        """The key that this job asks to have certified: made now, or the one made when it was asked before."""
        folder = self._pending / _safe(certificate_id)
        _make_private(folder)
        path = folder / f"{_safe(job_id)}{_SUFFIX}"
        # A file that holds no key is of no use to anybody; a fresh one is.
        with suppress(FileNotFoundError, Unreadable):
            return _read(path)
        private_key = keys.generate(KeyKind.ECDSA_P256)
        _write(path, private_key)
        return private_key

    def of(self, certificate_id: str, certificate: x509.Certificate) -> HeldKey:
        """The key of this certificate. Raises `NotFound` when it is not on this machine."""
        current = self._current(certificate_id)
        candidates = [(current, False)] if current.exists() else []
        candidates += [(path, True) for path in self._pending_of(certificate_id)]
        for path, pending in candidates:
            private_key = _read(path)
            if keys.same_key(private_key, certificate):
                return HeldKey(private_key, path, pending)
        raise NotFound(
            f"no key of this certificate in {self._folder}",
            hint="It was certified for a key of another machine, or the key folder was emptied; renew it.",
        )

    def promote(self, certificate_id: str, held: HeldKey) -> None:
        """Make it the key in use, because its certificate is here. Keys of older jobs are of no use any more."""
        if not held.pending:
            return
        made = held.path.stat().st_mtime_ns
        outlived = [path for path in self._pending_of(certificate_id) if path.stat().st_mtime_ns < made]
        held.path.rename(self._current(certificate_id))
        _sync_folder(self._folder)
        for path in outlived:
            path.unlink(missing_ok=True)

    def _current(self, certificate_id: str) -> Path:
        return self._folder / f"{_safe(certificate_id)}{_SUFFIX}"

    def _pending_of(self, certificate_id: str) -> list[Path]:
        return sorted((self._pending / _safe(certificate_id)).glob(f"*{_SUFFIX}"))


def _safe(identity: str) -> str:
    """The id as a file name. Ids come from the control plane, and none of them may name another folder."""
    if CLIENT_ID.fullmatch(identity) is None:
        raise KeyStoreUnsafe(f"{identity[:80]!r} cannot name a file")
    return identity


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise KeyStoreUnsafe(f"{folder} is not a folder of its own", hint="A symbolic link to one will not do.")
        if found.st_uid != os.geteuid():
            raise KeyStoreUnsafe(f"{folder} belongs to another user", hint="Run the agent as its owner, or move it.")
        if stat.S_IMODE(found.st_mode) != _PRIVATE_FOLDER:
            folder.chmod(_PRIVATE_FOLDER)
    except OSError as problem:
        raise KeyStoreUnsafe(f"cannot use {folder}: {problem.strerror}") from problem


def _read(path: Path) -> PrivateKey:
    """Raises `KeyStoreUnsafe` when the file is not ours alone, `Unreadable` when it holds no key."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise KeyStoreUnsafe(
                f"{path} can be read by others", hint="Renew the certificate and set the file to 0600."
            )
        return keys.from_pem(file.read(keys.MAX_KEY_BYTES + 1))


def _write(path: Path, private_key: PrivateKey) -> None:
    """Complete and durable, or not there: written under another name and renamed."""
    beside = path.with_suffix(".new")
    with suppress(FileNotFoundError):
        beside.unlink()
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE_FILE)
    with os.fdopen(handle, "wb") as file:
        # SEC1, the form of the established key folder (RFC 5915).
        file.write(private_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        file.flush()
        os.fsync(handle)
    beside.rename(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
