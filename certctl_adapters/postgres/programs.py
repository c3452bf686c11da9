"""Running PostgreSQL's programs on the folder of an embedded database, and making its cluster with them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from certctl_adapters.postgres.binaries import ENVIRONMENT, Account, Binaries
from certctl_adapters.postgres.home import Home
from certctl_core.errors import Conflict, NotConfigured, UpstreamUnavailable

DATABASE: Final = "certctl"
ROLE: Final = "certctl"
SUPERUSER: Final = "postgres"
PASSWORDS: Final = {ROLE: "password", SUPERUSER: "superuser-password"}
"""The files they are in."""

_OLDEST: Final = 14
_BUILTIN_LOCALE_SINCE: Final = 17
_STAYS_WHERE_IT_IS_SINCE: Final = 16
"""Older programs change to the folder they are in to find out where that is, and cannot come back."""


@frozen
class Programs:
    """`initdb` and `postgres`, run as `account` on `home`. Their processes inherit `running`, the lock they live by."""

    home: Home
    binaries: Binaries
    account: Account | None
    running: int

    def check_release(self) -> None:
        """Raises `NotConfigured` (too old for certctl) or `Conflict` (not the release that the data is of)."""
        ours = self.binaries
        if ours.major < _OLDEST:
            raise NotConfigured(
                f"{ours.folder} is PostgreSQL {ours.release}; certctl needs {_OLDEST} or newer.",
                hint="Leave CERTCTL_POSTGRES_BIN empty to use the one that comes with certctl.",
            )
        if not self.home.cluster.exists():
            return
        found = (self.home.cluster / "PG_VERSION").read_text(encoding="ascii", errors="replace").strip()[:8]
        if found != str(ours.major):
            raise Conflict(
                f"The database in {self.home.path} was made by PostgreSQL {found}, and these programs are "
                f"PostgreSQL {ours.release} ({ours.folder}).",
                hint=f"Name the folder of PostgreSQL {found}'s programs in CERTCTL_POSTGRES_BIN to go on with it. To "
                f"move to {ours.major}: do that, save the database {DATABASE} with pg_dump, stop, move "
                f"{self.home.cluster} away, start without the setting, and load what was saved.",
            )

    def create_cluster(self, *, durably: bool = True) -> None:
        """A whole cluster, with role and database, or none: made beside its place and put there by a rename."""
        shutil.rmtree(self.home.draft, ignore_errors=True)
        self.home.make(self.home.draft, self.account)
        password, superuser_password = (self.home.make_secret(PASSWORDS[role]) for role in (ROLE, SUPERUSER))
        locale = ["--locale=C"]
        if self.binaries.major >= _BUILTIN_LOCALE_SINCE:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        access = [f"--username={SUPERUSER}", "--pwfile=/dev/stdin", "--auth=scram-sha-256"]
        self._run(
            "initdb", *access, "--encoding=UTF8", *locale, "--data-checksums", "--no-sync", given=superuser_password
        )
        # Each line is one statement. The password consists of characters that need no quoting.
        sql = f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'\nCREATE DATABASE {DATABASE} OWNER {ROLE}"
        self._run("postgres", "--single", "-F", "-c", "exit_on_error=on", given=sql, then=["postgres"])
        if durably:
            self._run("initdb", "--sync-only")
        self.home.draft.rename(self.home.cluster)
        self.home.settle_names()

    def start(self, port: int, settings: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """The first process of the database, on its way up; what it says is in `start.log`."""
        self.home.make(self.home.run, self.account)
        command = [str(self.binaries.folder / "postgres"), "-D", self._seen(self.home.cluster)]
        command += ["-k", "../run", "-p", str(port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        log = self.home.open_to_write(self.home.start_log)
        try:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._surroundings(self.home.cluster)
            )
        finally:
            os.close(log)

    def _run(self, program: str, *arguments: str, given: str = "", then: list[str] | None = None) -> None:
        """Run to the end on the unfinished cluster. What is `given` comes through a file without a name."""
        command = [str(self.binaries.folder / program), *arguments, "-D", self._seen(self.home.draft), *(then or [])]
        with tempfile.TemporaryFile() as entered:
            entered.write(f"{given}\n".encode())
            entered.seek(0)
            if self.account:
                os.fchown(entered.fileno(), self.account.uid, self.account.gid)  # /dev/stdin is opened anew, by them
            done = subprocess.run(
                command, stdin=entered, capture_output=True, check=False, **self._surroundings(self.home.draft)
            )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise UpstreamUnavailable(
                f"{program} could not make a database in {self.home.path}: {said[-2000:]}",
                hint="Is there space, may this user write there, and has the user an entry in /etc/passwd?",
            )

    def _seen(self, folder: Path) -> str:
        """The folder as its process names it: another user may be unable to walk there, but already stands in it."""
        here = Path("/proc/self/cwd")
        stands = self.account and self.binaries.major >= _STAYS_WHERE_IT_IS_SINCE and here.exists()
        return str(here if stands else folder)

    def _surroundings(self, folder: Path) -> dict[str, Any]:
        """Arguments of `subprocess`: whose process, where, with our lock and nothing else of ours."""
        return {
            "cwd": folder,
            "env": ENVIRONMENT,
            "pass_fds": [self.running],
            "start_new_session": True,
            "umask": 0o077,
            **(self.account.as_process() if self.account else {}),
        }
