"""The folder of the embedded database: what is in it, whose it is, and the way to its socket.

    cluster/             PostgreSQL's data, 0700, its own logs in cluster/log/
    cluster.new/         a cluster that was never finished; thrown away and begun anew
    run/                 the Unix socket, 0700
    password             the application's, 0600
    superuser-password   for maintenance, 0600; the application never uses it
    start.log            what PostgreSQL said while it started
    changing.lock        held while a program looks, makes, starts or stops
    running.lock         held by PostgreSQL's processes as long as one of them lives (see postmaster.py)
    users.lock           held, shared, by each program that uses the database

Started by root, the folder is root's and only `cluster/` and `run/` belong to the user that PostgreSQL runs as. When
the folder belongs to an ordinary user and root lends a hand, everything stays that user's, and root writes through no
link in it.
"""

import hashlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from attrs import frozen

from certctl_adapters.postgres.binaries import Account, account_for
from certctl_adapters.postgres.postmaster import give_to_owner_of
from certctl_core.errors import NotConfigured

_SOCKET_PATH_LIMIT: Final = 103  # of sockaddr_un.sun_path: 107 bytes on Linux, 103 on macOS
_MISREAD_BY_LIBPQ: Final = frozenset(",'\\")


@frozen
class Home:
    """`path` is absolute."""

    path: Path

    @property
    def cluster(self) -> Path:
        return self.path / "cluster"

    @property
    def draft(self) -> Path:
        return self.path / "cluster.new"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def start_log(self) -> Path:
        return self.path / "start.log"

    @property
    def changing(self) -> Path:
        return self.path / "changing.lock"

    @property
    def running(self) -> Path:
        return self.path / "running.lock"

    @property
    def users(self) -> Path:
        return self.path / "users.lock"

    def account(self) -> Account | None:
        """Whom PostgreSQL runs as; `None` for ourselves."""
        return account_for(self.cluster, self.path)

    def prepare(self) -> None:
        """Make the folder, or close it to others. Raises `NotConfigured` when it belongs to somebody else."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = self.path.stat().st_uid
        if owner == os.geteuid():
            account = self.account()
            if account:
                os.chown(self.path, -1, account.gid)
            self.path.chmod(0o710 if account else 0o700)
        elif os.geteuid() != 0:
            raise NotConfigured(
                f"{self.path} belongs to user id {owner}, this program runs as {os.geteuid()}.",
                hint="Run it as that user or as root, or choose another CERTCTL_DATA_DIR.",
            )

    def make(self, folder: Path, account: Account | None) -> None:
        """One of the folders that PostgreSQL writes to."""
        folder.mkdir(exist_ok=True, mode=0o700)
        if account:
            os.chown(folder, account.uid, account.gid, follow_symlinks=False)

    def open_to_write(self, path: Path) -> int:
        """A descriptor of an emptied file, 0600."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        give_to_owner_of(self.path, descriptor)
        return descriptor

    def make_secret(self, name: str) -> str:
        """A new random password in the file `name`, on disk before this returns."""
        value = secrets.token_urlsafe(32)
        with os.fdopen(self.open_to_write(self.path / name), "w", encoding="ascii") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        return value

    def secret(self, name: str) -> str:
        """Raises `NotConfigured` when the file is gone."""
        path = self.path / name
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise NotConfigured(
                f"The password of the embedded database is gone: {path} does not exist.",
                hint="Put it back from a backup of the folder it was in.",
            ) from None

    def settle_names(self) -> None:
        """Make sure that files made or renamed are still there after a power failure."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def socket_folder(self, port: int) -> Path:
        """`run/`, or a link to it when its path is too long for a socket's address (or libpq would misread it)."""
        socket = f"{self.run}/.s.PGSQL.{port}"
        if len(os.fsencode(socket)) <= _SOCKET_PATH_LIMIT and not _MISREAD_BY_LIBPQ & set(socket):
            return self.run
        private = _private_folder()
        link = private / hashlib.sha256(os.fsencode(self.run)).hexdigest()[:16]
        if not link.is_symlink() or link.readlink() != self.run:
            for other in private.iterdir():
                if not other.exists():
                    other.unlink(missing_ok=True)  # to a database that has been deleted
            draft = link.with_name(f"{link.name}.{secrets.token_hex(4)}")
            draft.symlink_to(self.run)
            draft.replace(link)
        return link


def _private_folder() -> Path:
    """A short folder that nobody else can enter or replace."""
    user = os.geteuid()
    runtime = Path("/run/user", str(user)) if user else Path("/run")
    place = runtime if os.access(runtime, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    folder = place / f"certctl-{user}"
    folder.mkdir(exist_ok=True, mode=0o700)
    found = folder.lstat()
    if found.st_uid != user or found.st_mode & 0o077 or folder.is_symlink():
        raise NotConfigured(
            f"{folder} is not a folder that only this user can enter.",
            hint="Remove it, or choose a CERTCTL_DATA_DIR with a shorter path so that it is not needed.",
        )
    return folder
