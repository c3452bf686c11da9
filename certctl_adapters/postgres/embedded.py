"""The PostgreSQL that certctl brings along: made, started, found again, mended and stopped.

What is in the folder given to `EmbeddedPostgres`:

    cluster/             PostgreSQL's data, 0700, its own logs in cluster/log/
    cluster.new/         a cluster that was never finished; thrown away and begun anew
    run/                 the Unix socket
    password             the application's, 0600
    superuser-password   for maintenance, 0600; the application never uses it
    start.log            what PostgreSQL said while it started
    changing.lock        held while a program looks, makes, starts or stops
    running.lock         held by PostgreSQL's processes as long as one of them lives (see postmaster.py)
    users.lock           held, shared, by each program that uses the database

**Who can get in.** There is no TCP. The socket is in a folder that only its owner (and root) can enter, and even so
every connection proves a random password (SCRAM): a mistake with the permissions alone opens nothing. The application
is not a superuser, so SQL that should not have run cannot run programs or read files.

**Root.** PostgreSQL does not run as root; it becomes another user (`binaries.account_for`). That user need not be able
to reach the folder: the process begins life with the cluster as its working directory and is told that its data is in
/proc/self/cwd and its socket in ../run. So data under /root works, and nobody's permissions are widened.

**Who stops it.** It lives in a session of its own, so that Ctrl-C reaches the server, which drains, and not the
database under it. It survives its starter; the next program that needs it adopts it. The last user that calls `leave`
stops it.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from psycopg.pq import PGconn, Ping

from certctl_adapters.postgres import postmaster
from certctl_adapters.postgres.binaries import ENVIRONMENT, Account, Binaries, account_for, binaries
from certctl_adapters.postgres.dsn import Dsn
from certctl_core.errors import Conflict, NotConfigured, UpstreamUnavailable

SETTINGS: Final[Mapping[str, str]] = {
    "cluster_name": "certctl",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "huge_pages": "off",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",  # a week of logs, each day's over the one of a week ago
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_file_mode": "0600",
    "log_line_prefix": "%m [%p] ",
}
"""Given on the command line at every start, so that a new release's settings reach old clusters. Everything else is
PostgreSQL's default, fsync, full_page_writes and data checksums (on) above all."""

_DATABASE: Final = "certctl"
_ROLE: Final = "certctl"
_SUPERUSER: Final = "postgres"
_PORT: Final = 5432
_OLDEST: Final = 14
_BUILTIN_LOCALE_SINCE: Final = 17
_SOCKET_PATH_LIMIT: Final = 103  # of sockaddr_un.sun_path: 107 on Linux, 103 on macOS
_TICK: Final = 0.01
_ORPHANS_MAY_TAKE: Final = 2.0


class EmbeddedPostgres:
    """A PostgreSQL in `data_dir`, shared by every program that names the same folder.

    `bin_dir` is a folder with `postgres` and `initdb`; without it those of an installed package are used. `port` only
    names the socket. `settings` are added to `SETTINGS`. `patience` bounds every wait for the database to come up,
    crash recovery included.
    """

    def __init__(
        self,
        data_dir: Path,
        bin_dir: Path | None = None,
        port: int | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        patience: timedelta = timedelta(minutes=2),
    ) -> None:
        self._home = Path(os.path.abspath(data_dir))  # noqa: PTH100 - resolve() would follow links
        self._bin_dir = bin_dir
        self._port = port or _PORT
        self._settings = {**SETTINGS, **(settings or {})}
        self._patience = patience.total_seconds()
        self._process: subprocess.Popen[bytes] | None = None
        self._using: int | None = None

    def __enter__(self) -> Dsn:
        return self.ensure_running()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    # ------------------------------------------------------------------------------------------- what others call

    def ensure_running(self) -> Dsn:
        """Make, start or mend the database as needed, and say how to log in.

        Idempotent; any number of programs may ask at once. Raises `NotConfigured` (programs or passwords missing,
        folder of somebody else), `Conflict` (data of another PostgreSQL release) or `UpstreamUnavailable` with
        PostgreSQL's words (it does not start).
        """
        self._prepare_folder()
        with self._changing():
            if not self._settle():
                self._create_and_start()
            self._use()
            return self._dsn(_ROLE, _DATABASE)

    def superuser(self, database: str = _DATABASE) -> Dsn:
        """How to log in for maintenance. The database must be running."""
        return self._dsn(_SUPERUSER, database)

    def is_running(self) -> bool:
        """Whether any process of the database lives."""
        if not self._home.is_dir():
            return False
        with self._changing():
            return self._is_alive()

    def leave(self) -> bool:
        """Stop the database unless another program still uses it. Returns whether it was stopped."""
        if self._using is None:
            return False
        with self._changing():
            # Giving up our share is not atomic with asking for all of it; `changing.lock` makes it so.
            last = postmaster.try_lock(self._using)
            os.close(self._using)
            self._using = None
            if last:
                self._end(timedelta(seconds=30))
            return last

    def stop(self, grace: timedelta = timedelta(seconds=30)) -> None:
        """Stop the database whoever uses it: fast, and after `grace` at once (the next start then recovers)."""
        if self._home.is_dir():
            with self._changing():
                self._end(grace)

    # ------------------------------------------------------------------------------------------------- the folder

    @property
    def _cluster(self) -> Path:
        return self._home / "cluster"

    @property
    def _draft(self) -> Path:
        return self._home / "cluster.new"

    @property
    def _run(self) -> Path:
        return self._home / "run"

    def _account(self) -> Account | None:
        return account_for(self._cluster, self._home)

    def _prepare_folder(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = self._home.stat().st_uid
        if owner == os.geteuid():
            account = self._account()
            if account:
                os.chown(self._home, -1, account.gid)
            self._home.chmod(0o710 if account else 0o700)
        elif os.geteuid() != 0:
            raise NotConfigured(
                f"{self._home} belongs to user id {owner}, this program runs as {os.geteuid()}.",
                hint="Run it as that user or as root, or choose another CERTCTL_DATA_DIR.",
            )

    def _make_folder(self, path: Path, account: Account | None) -> None:
        path.mkdir(exist_ok=True, mode=0o700)
        if account:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with postmaster.lock_file(self._home / "changing.lock") as descriptor:
            deadline = time.monotonic() + self._patience
            while not postmaster.try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise UpstreamUnavailable(
                        f"Another program has been starting or stopping the database in {self._home} for "
                        f"{self._patience:.0f} s.",
                        hint=f"See {self._home / 'start.log'} for what it waits for.",
                    )
                time.sleep(_TICK)
            yield

    def _use(self) -> None:
        if self._using is None:
            self._using = postmaster.open_lock(self._home / "users.lock")
            postmaster.try_lock(self._using, shared=True)

    # ------------------------------------------------------------------------------------------------ is it alive?

    def _is_alive(self) -> bool:
        if self._process is not None:
            self._process.poll()  # a zombie of ours holds nothing, but reap it
        return postmaster.is_locked(self._home / "running.lock") or self._postmaster() is not None

    def _postmaster(self) -> postmaster.PidFile | None:
        """The living first process, whoever started it."""
        found = postmaster.read_pid_file(self._cluster)
        return found if found and postmaster.works_in(found.pid, self._cluster) else None

    def _answers(self, port: int) -> bool:
        where = f"host='{self._socket_folder(port)}' port={port} dbname=postgres connect_timeout=5"
        return PGconn.ping(where.encode()) == Ping.OK

    def _settle(self) -> bool:
        """Wait until the database answers (true), or until nothing of it lives (false)."""
        deadline = time.monotonic() + self._patience
        orphaned_since = time.monotonic()
        while self._is_alive():
            first = self._postmaster()
            if first and first.status == "ready" and self._answers(first.port):
                return True
            if first:
                orphaned_since = time.monotonic()
            elif time.monotonic() - orphaned_since > _ORPHANS_MAY_TAKE:
                # Without a first process nobody supervises these, and they keep a new one from starting.
                self._signal_orphans(signal.SIGKILL)
            if time.monotonic() > deadline:
                raise self._did_not_start("is running and does not answer")
            time.sleep(_TICK)
        return False

    def _signal_orphans(self, number: signal.Signals) -> None:
        for folder in (self._cluster, self._draft):
            for pid in postmaster.workers_in(folder):
                postmaster.send(pid, number)

    # ------------------------------------------------------------------------------------------------------ making

    def _create_and_start(self) -> None:
        account = self._account()
        programs = binaries(self._bin_dir, account, self._home / "program")
        self._check_release(programs)
        with postmaster.lock_file(self._home / "running.lock") as running:
            if not postmaster.try_lock(running):
                raise self._did_not_start("was started by another program at the same moment")
            if not self._cluster.exists():
                self._create(programs, account, running)
            self._start(programs, account, running)

    def _check_release(self, programs: Binaries) -> None:
        if programs.major < _OLDEST:
            raise NotConfigured(
                f"{programs.folder} is PostgreSQL {programs.release}; certctl needs {_OLDEST} or newer.",
                hint="Leave CERTCTL_POSTGRES_BIN empty to use the one that comes with certctl.",
            )
        if not self._cluster.exists():
            return
        found = (self._cluster / "PG_VERSION").read_text(encoding="ascii", errors="replace").strip()[:8]
        if found != str(programs.major):
            raise Conflict(
                f"The database in {self._home} was made by PostgreSQL {found}, and these programs are "
                f"PostgreSQL {programs.release} ({programs.folder}).",
                hint=f"Name a folder with PostgreSQL {found} in CERTCTL_POSTGRES_BIN and start; or carry the "
                f"data over: with those, pg_dump the database {_DATABASE}; move {self._cluster} away; start without "
                "the setting; restore the dump.",
            )

    def _create(self, programs: Binaries, account: Account | None, running: int) -> None:
        """A whole cluster, with role and database, or none: made beside its place and put there by a rename."""
        shutil.rmtree(self._draft, ignore_errors=True)
        self._make_folder(self._draft, account)
        password, superuser_password = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._write_secret("password", password)
        self._write_secret("superuser-password", superuser_password)
        locale = ["--locale=C"]
        if programs.major >= _BUILTIN_LOCALE_SINCE:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb: list[str | Path] = [programs.folder / "initdb", f"--pgdata={self._seen(self._draft, account)}"]
        how = [f"--username={_SUPERUSER}", "--auth=scram-sha-256", "--pwfile=/dev/stdin", "--encoding=UTF8", *locale]
        self._run_once([*initdb, *how, "--data-checksums", "--no-sync"], superuser_password, account, running)
        single: list[str | Path] = [programs.folder / "postgres", "--single", "-F", "-c", "exit_on_error=on"]
        sql = f"CREATE ROLE {_ROLE} LOGIN PASSWORD '{password}'\nCREATE DATABASE {_DATABASE} OWNER {_ROLE}\n"
        self._run_once([*single, "-D", self._seen(self._draft, account), "postgres"], sql, account, running)
        if self._settings.get("fsync") != "off":
            self._run_once([*initdb, "--sync-only"], "", account, running)
        self._draft.rename(self._cluster)
        folder = os.open(self._home, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _seen(self, folder: Path, account: Account | None) -> str:
        """The folder as its process names it: by its working directory where it may be unable to walk there."""
        return "/proc/self/cwd" if account and Path("/proc/self/cwd").exists() else str(folder)

    def _run_once(self, command: list[str | Path], entered: str, account: Account | None, running: int) -> None:
        with tempfile.TemporaryFile() as given:
            given.write(f"{entered}\n".encode())
            given.seek(0)
            if account:
                os.fchown(given.fileno(), account.uid, account.gid)  # /dev/stdin is opened anew, by that user
            done = subprocess.run(
                command, stdin=given, capture_output=True, check=False, **self._child(self._draft, account, running)
            )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise UpstreamUnavailable(
                f"{Path(command[0]).name} could not make a database in {self._home}: {said[-2000:]}",
                hint="Is there space, and may this user write there?",
            )

    def _child(self, folder: Path, account: Account | None, running: int) -> dict[str, Any]:
        """How every process of the database is started: its folder, its user, our lock, and nothing else of ours."""
        return {
            "cwd": folder,
            "env": ENVIRONMENT,
            "pass_fds": [running],
            "start_new_session": True,
            "umask": 0o077,
            **(account.as_process() if account else {}),
        }

    # ---------------------------------------------------------------------------------------------------- starting

    def _start(self, programs: Binaries, account: Account | None, running: int) -> None:
        self._make_folder(self._run, account)
        self._remove_stale()
        command: list[str | Path] = [programs.folder / "postgres", "-D", self._seen(self._cluster, account)]
        command += ["-k", "../run", "-p", str(self._port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with (self._home / "start.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._child(self._cluster, account, running),
            )
        deadline = time.monotonic() + self._patience
        while True:
            if self._process.poll() is not None:
                raise self._did_not_start("ended while starting")
            first = self._postmaster()
            if first and first.status == "ready" and self._answers(first.port):
                return
            if time.monotonic() > deadline:
                raise self._did_not_start("did not come up in time")
            time.sleep(_TICK)

    def _remove_stale(self) -> None:
        """Nothing lives: what says otherwise is left from a kill -9, and its process ids may be anybody's by now."""
        (self._cluster / postmaster.PID_FILE).unlink(missing_ok=True)
        for left in self._run.glob(".s.PGSQL.*"):
            left.unlink(missing_ok=True)

    def _did_not_start(self, what: str) -> UpstreamUnavailable:
        log = self._home / "start.log"
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-2000:] if log.exists() else ""
        return UpstreamUnavailable(
            f"The database in {self._home} {what}. {said}".strip(),
            hint=f"Its log is in {self._cluster / 'log'}.",
        )

    # ---------------------------------------------------------------------------------------------------- stopping

    def _end(self, grace: timedelta) -> None:
        """Fast, then immediate, then by force. Returns when no process is left."""
        steps = ((signal.SIGINT, grace.total_seconds()), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
        for number, wait in steps:
            first = self._postmaster()
            if first:
                postmaster.send(first.pid, number)
            elif number is not signal.SIGINT:
                self._signal_orphans(number)
            if self._is_gone_within(wait if first else _ORPHANS_MAY_TAKE):
                return
        raise self._did_not_start("cannot be stopped")

    def _is_gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_TICK)
        if self._process is not None:
            self._process.wait()
            self._process = None
        return True

    # -------------------------------------------------------------------------------------------------- logging in

    def _dsn(self, role: str, database: str) -> Dsn:
        found = postmaster.read_pid_file(self._cluster)
        port = found.port if found else self._port
        name = "password" if role == _ROLE else "superuser-password"
        return Dsn(str(self._socket_folder(port)), port, database, role, self._read_secret(name))

    def _socket_folder(self, port: int) -> Path:
        """`run/`, or a link to it when its path is too long for a socket's address (or libpq would misread it)."""
        socket = f"{self._run}/.s.PGSQL.{port}"
        if len(os.fsencode(socket)) <= _SOCKET_PATH_LIMIT and not set(socket) & set(",'\\"):
            return self._run
        private = _private_folder()
        link = private / hashlib.sha256(os.fsencode(self._run)).hexdigest()[:16]
        if not link.is_symlink() or link.readlink() != self._run:
            draft = link.with_name(f"{link.name}.{secrets.token_hex(4)}")
            draft.symlink_to(self._run)
            draft.replace(link)
        return link

    def _write_secret(self, name: str, value: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self._home / name, flags, 0o600), "w", encoding="ascii") as file:
            postmaster.give_to_owner_of(self._home, file.fileno())
            file.write(value)
            file.flush()
            os.fsync(file.fileno())

    def _read_secret(self, name: str) -> str:
        path = self._home / name
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise NotConfigured(
                f"The password of the embedded database is gone: {path} does not exist.",
                hint="Put it back from a backup of the folder it was in.",
            ) from None


def _private_folder() -> Path:
    """A short folder that nobody else can enter or replace."""
    user = os.geteuid()
    runtime = Path(f"/run/user/{user}") if user else Path("/run")
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
