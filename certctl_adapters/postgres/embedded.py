"""The PostgreSQL that certctl brings along: made, started, found again, mended and stopped.

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
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final

from psycopg.pq import PGconn, Ping

from certctl_adapters.postgres import postmaster
from certctl_adapters.postgres.binaries import binaries
from certctl_adapters.postgres.dsn import Dsn
from certctl_adapters.postgres.home import Home
from certctl_adapters.postgres.programs import DATABASE, PASSWORDS, ROLE, SUPERUSER, Programs
from certctl_core.errors import NotConfigured, UpstreamUnavailable

SETTINGS: Final[Mapping[str, str]] = {
    "cluster_name": "certctl",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "huge_pages": "off",
    # A checkpoint makes the log hold every page whole that is changed after it, so that in bulk work ten of them a
    # minute make three times as much log.
    "max_wal_size": "2GB",
    "jit": "off",
    # What disks without a moving head want: a page here costs hardly more than the next one.
    "random_page_cost": "1.1",
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
PostgreSQL's default, fsync and full_page_writes (on) above all."""

_PORT: Final = 5432
_TICK: Final = 0.01
_ORPHANS_MAY_TAKE: Final = 1.0
_LAST_WORDS: Final = 5.0

_children: Final[set["subprocess.Popen[bytes]"]] = set()
"""Databases that this process started. They may outlive the object that did, and whoever looks next reaps them."""


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
        self._home = Home(data_dir.absolute())
        self._bin_dir = bin_dir
        self._port = port or _PORT
        self._settings = {**SETTINGS, **(settings or {})}
        self._patience = patience.total_seconds()
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
        try:
            self._home.prepare()
            with self._changing():
                if not self._settle():
                    self._start()
                self._use()
                return self._dsn(ROLE, DATABASE)
        except OSError as error:
            raise NotConfigured(
                f"The embedded database cannot be kept in {self._home.path}: {error}",
                hint="Choose a CERTCTL_DATA_DIR that this user can write to, on a disk with space.",
            ) from error

    def superuser(self, database: str = DATABASE) -> Dsn:
        """How to log in for maintenance."""
        return self._dsn(SUPERUSER, database)

    def is_running(self) -> bool:
        """Whether its first process lives; without that one it is of no use, whatever else is left."""
        if not self._home.path.is_dir():
            return False
        with self._changing():
            return self._is_alive() and self._first() is not None

    def leave(self) -> bool:
        """Stop the database unless another program still uses it. Returns whether it was stopped."""
        if self._using is None:
            return False
        with self._changing():
            # Giving up our share is not atomic with asking for all of it; `changing.lock` makes it so.
            last = postmaster.try_lock(self._using)
            self._use_no_more()
            if last:
                self._end(timedelta(seconds=30))
            return last

    def stop(self, grace: timedelta = timedelta(seconds=30)) -> None:
        """Stop the database whoever uses it: fast, and after `grace` at once (the next start then recovers)."""
        if self._home.path.is_dir():
            with self._changing():
                self._use_no_more()
                self._end(grace)

    # ------------------------------------------------------------------------------------------- one at a time

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with postmaster.lock_file(self._home.changing) as descriptor:
            deadline = time.monotonic() + self._patience
            while not postmaster.try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise self._failure("has been started or stopped by another program for too long")
                time.sleep(_TICK)
            yield

    def _use(self) -> None:
        if self._using is None:
            self._using = postmaster.open_lock(self._home.users)
            postmaster.try_lock(self._using, shared=True)

    def _use_no_more(self) -> None:
        if self._using is not None:
            os.close(self._using)
            self._using = None

    # ------------------------------------------------------------------------------------------------ is it alive?

    def _is_alive(self) -> bool:
        for child in tuple(_children):
            if child.poll() is not None:
                _children.discard(child)
        return postmaster.is_locked(self._home.running) or self._first() is not None

    def _first(self) -> postmaster.PidFile | None:
        """The living first process, whoever started it."""
        found = postmaster.read_pid_file(self._home.cluster)
        return found if found and postmaster.works_in(found.pid, self._home.cluster) else None

    def _answers(self) -> bool:
        first = self._first()
        if first is None or first.status != "ready":
            return False
        folder = self._home.socket_folder(first.port)
        where = f"host='{folder}' port={first.port} dbname=postgres connect_timeout=5"
        return PGconn.ping(where.encode()) == Ping.OK

    def _settle(self) -> bool:
        """Wait until the database answers (true), or until nothing of it lives (false)."""
        began = seen = time.monotonic()
        while self._is_alive():
            if self._answers():
                return True
            if self._first():
                seen = time.monotonic()
            elif time.monotonic() - seen > _ORPHANS_MAY_TAKE:
                # Without a first process nobody supervises these, and they keep a new one from starting.
                self._signal_orphans(signal.SIGKILL)
            if time.monotonic() - began > self._patience:
                raise self._failure("runs and does not answer")
            time.sleep(_TICK)
        return False

    def _signal_orphans(self, number: signal.Signals) -> None:
        for folder in (self._home.cluster, self._home.draft):
            for pid in postmaster.workers_in(folder):
                postmaster.send(pid, number)

    # ---------------------------------------------------------------------------------------------------- starting

    def _start(self) -> None:
        account = self._home.account()
        found = binaries(self._bin_dir, account)
        with postmaster.lock_file(self._home.running) as running:
            if not postmaster.try_lock(running):
                raise self._failure("was started by other means at this moment")
            programs = Programs(self._home, found, account, running)
            programs.check_release()
            if not self._home.cluster.exists():
                programs.create_cluster(durably=self._settings.get("fsync") != "off")
            self._remove_stale()
            process = programs.start(self._port, self._settings)
            _children.add(process)
        deadline = time.monotonic() + self._patience
        while not self._answers():
            if process.poll() is not None:
                raise self._failure("ended while starting")
            if time.monotonic() > deadline:
                raise self._failure("did not come up in time")
            time.sleep(_TICK)

    def _remove_stale(self) -> None:
        """Nothing lives: what says otherwise is left from a kill -9, and its process ids may be anybody's by now."""
        (self._home.cluster / postmaster.PID_FILE).unlink(missing_ok=True)
        for left in self._home.run.glob(".s.PGSQL.*"):
            left.unlink(missing_ok=True)

    def _failure(self, what: str) -> UpstreamUnavailable:
        log = self._home.start_log
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-2000:] if log.exists() else ""
        return UpstreamUnavailable(
            f"The database in {self._home.path} {what}. {said}".strip(),
            hint=f"Its log is in {self._home.cluster / 'log'}.",
        )

    # ---------------------------------------------------------------------------------------------------- stopping

    def _end(self, grace: timedelta) -> None:
        """Fast, then immediate, then by force. Returns when no process is left."""
        steps = (
            (signal.SIGINT, grace.total_seconds()),
            (signal.SIGQUIT, _LAST_WORDS),
            (signal.SIGKILL, _LAST_WORDS),
        )
        for number, wait in steps:
            first = self._first()
            if first:
                postmaster.send(first.pid, number)
            elif number is not signal.SIGINT:
                self._signal_orphans(number)
            if self._is_gone_within(wait if first else _ORPHANS_MAY_TAKE):
                return
        raise self._failure("cannot be stopped")

    def _is_gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_TICK)
        return True

    # -------------------------------------------------------------------------------------------------- logging in

    def _dsn(self, role: str, database: str) -> Dsn:
        found = postmaster.read_pid_file(self._home.cluster)
        port = found.port if found else self._port
        return Dsn(str(self._home.socket_folder(port)), port, database, role, self._home.secret(PASSWORDS[role]))
