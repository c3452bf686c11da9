"""The server as processes: killed, restarted, and several of it at one database."""

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from certctl_adapters.postgres.embedded import EmbeddedPostgres

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
KEY = re.compile(r"Administrator's API key:\s+(cck_\S+)")


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def children_of(pid: int) -> list[int]:
    """All descendants of a process."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *children_of(int(child))]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


class Running:
    """A `certctl-server` with a folder of its own and these CERTCTL_ variables alone."""

    def __init__(self, folder: Path, command: str | None = None, **variables: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.port = folder, free_port()
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        given = {"DATA_DIR": str(folder / "data"), "SERVER_PORT": str(self.port), **variables}
        environment.update({f"CERTCTL_{name}": value for name, value in given.items()})
        self.began = time.monotonic()
        with (folder / "out").open("ab") as out, (folder / "err").open("ab") as err:
            words = [sys.executable, "-m", "certctl_web", *([command] if command else [])]
            self.process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=out, stderr=err)

    def wait_until_ready(self) -> float:
        """Seconds from its start until it says it is ready."""
        until(self._is_ready, f"a server that is ready; it said:\n{(self.folder / 'err').read_text()[-4000:]}")
        return time.monotonic() - self.began

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, (self.folder / "err").read_text()[-4000:]
        try:
            return self.get("/ready")[0] == 200
        except (OSError, FileNotFoundError):
            return False

    def get(self, path: str, key: str = "") -> tuple[int, bytes]:
        trust = ssl.create_default_context(cafile=str(self.folder / "data" / "tls" / "ca.pem"))
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        request = urllib.request.Request(f"https://localhost:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10, context=trust) as answer:  # noqa: S310 - https, above
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    @property
    def keys(self) -> list[str]:
        """Admin keys that were ever printed here."""
        return KEY.findall((self.folder / "out").read_text())

    @property
    def processes(self) -> list[int]:
        return [self.process.pid, *children_of(self.process.pid)]

    def kill(self) -> None:
        """kill -9 of everything, the database's first process included."""
        pids = self.processes
        with contextlib.suppress(FileNotFoundError):
            pids.append(int((self.folder / "data/postgres/cluster/postmaster.pid").read_text().split()[0]))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder for one server with an embedded database, which is not left running."""
    yield tmp_path / "home"
    EmbeddedPostgres(tmp_path / "home" / "data" / "postgres").stop()


@contextlib.contextmanager
def running(folder: Path, command: str | None = None, **variables: str) -> Iterator[Running]:
    server = Running(folder, command, **variables)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def test_killed_with_its_database_it_starts_again_as_what_it_was(home: Path) -> None:
    with running(home) as first:
        first.wait_until_ready()
        (key,) = first.keys
        assert first.get("/api/v1/auth/check", key)[0] == 200
        assert all(resident_megabytes(pid) < 200 for pid in first.processes)
        authority = (home / "data/tls/ca.pem").read_bytes()
        everything = first.processes
        first.kill()
        until(lambda: not any(alive(pid) for pid in everything), "the end of every process")
    with running(home) as second:
        second.wait_until_ready()
        assert second.get("/api/v1/auth/check", key)[0] == 200
        assert second.keys == [key]
        assert (home / "data/tls/ca.pem").read_bytes() == authority
        assert second.stop() == 0
    assert not EmbeddedPostgres(home / "data" / "postgres").is_running()
    assert key not in (home / "err").read_text()


def test_parts_that_die_one_by_one_come_back(home: Path) -> None:
    with running(home, WEB_WORKERS="1", SCHEDULER_JOB_PROCESSOR_INTERVAL="1s") as server:
        server.wait_until_ready()
        (key,) = server.keys
        for pid in children_of(server.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(server._is_ready, "the web process again")
        database = int((home / "data/postgres/cluster/postmaster.pid").read_text().split()[0])
        os.kill(database, signal.SIGKILL)
        until(lambda: not alive(database), "the end of the database")
        until(server._is_ready, "the database again")

        def runs() -> int:
            found = re.search(rb'"name":"job_processor".*?"runs":(\d+)', server.get("/api/v1/loops", key)[1])
            return int(found[1]) if found else 0

        before = runs()
        until(lambda: runs() > before, "a run of a loop after it all")
        assert server.stop() == 0


def test_a_killed_supervisor_leaves_only_the_database_which_is_found_again(home: Path) -> None:
    with running(home) as first:
        first.wait_until_ready()
        children = children_of(first.process.pid)
        postgres = int((home / "data/postgres/cluster/postmaster.pid").read_text().split()[0])
        first.process.kill()
        first.process.wait(PATIENCE)
        until(
            lambda: not any(alive(pid) for pid in children if pid not in _family(postgres)), "the end of its children"
        )
    with running(home) as second:
        second.wait_until_ready()
        assert second.stop() == 0
    assert not EmbeddedPostgres(home / "data" / "postgres").is_running()


def _family(pid: int) -> list[int]:
    return [pid, *children_of(pid)]


def test_replicas_that_start_together_make_everything_once(empty_database_url: str, tmp_path: Path) -> None:
    """Two web servers and three workers, at once, on a database that nobody has seen yet."""
    variables = {
        "DATABASE_URL": empty_database_url,
        "CONFIG_ENCRYPTION_KEY": "a key for tests and nothing else",
        "WEB_WORKERS": "1",
        "DATABASE_MAX_CONNS": "8",
        "SCHEDULER_JOB_PROCESSOR_INTERVAL": "1s",
    }
    with contextlib.ExitStack() as stack:
        webs = [stack.enter_context(running(tmp_path / f"web{n}", "web", **variables)) for n in range(2)]
        workers = [stack.enter_context(running(tmp_path / f"worker{n}", "worker", **variables)) for n in range(3)]
        for web in webs:
            web.wait_until_ready()
        keys = [key for each in (*webs, *workers) for key in each.keys]
        assert len(keys) == 1
        assert all(web.get("/api/v1/auth/check", keys[0])[0] == 200 for web in webs)
        assert len({(web.folder / "data/tls/ca.pem").read_bytes() for web in webs}) == 1
        with psycopg.connect(empty_database_url, autocommit=True) as database:

            def one(statement: str) -> int:
                row = database.execute(statement.encode()).fetchone()
                assert row is not None
                return int(row[0])

            assert one("SELECT count(*) FROM api_keys") == 1
            assert one("SELECT count(*) FROM issuers") == 1
            until(
                lambda: one("SELECT runs FROM scheduler_loops WHERE name = 'job_processor'") >= 3,
                "three runs of a loop",
            )
            # A loop that is due every second cannot have run oftener than that, however many workers look after it.
            elapsed = time.monotonic() - min(each.began for each in workers)
            assert one("SELECT max(runs) FROM scheduler_loops") <= elapsed + 1
            assert one("SELECT count(*) FROM scheduler_loops WHERE runs = 0") == 0
        assert [each.stop() for each in (*webs, *workers)] == [0] * 5
