"""The embedded PostgreSQL: found, started, shared, killed, mended and stopped, by root and by ordinary users."""

import multiprocessing
import os
import pickle
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from certctl_adapters.postgres import binaries, embedded, postmaster
from certctl_adapters.postgres.dsn import Dsn
from certctl_adapters.postgres.embedded import EmbeddedPostgres
from certctl_core.errors import CertctlError, Conflict, NotConfigured, UpstreamUnavailable
from tests.databases import FAST

pytestmark = pytest.mark.integration

T = TypeVar("T")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
with_proc = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    """A folder for a database that is not there yet; whatever runs in it is stopped afterwards."""
    path = tmp_path / "postgres"
    yield path
    EmbeddedPostgres(path).stop(timedelta(seconds=5))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database that was made and stopped."""
    path = tmp_path_factory.mktemp("made") / "postgres"
    EmbeddedPostgres(path).ensure_running()
    EmbeddedPostgres(path).stop()
    return path


@pytest.fixture
def home(made: Path) -> Iterator[Path]:
    """The same folder for every test, because making one takes the better part of a second."""
    yield made
    EmbeddedPostgres(made).stop(timedelta(seconds=5))


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def start(home: Path, **more: Any) -> EmbeddedPostgres:
    """A running database that need not survive a power failure."""
    postgres = EmbeddedPostgres(home, settings=FAST, **more)
    postgres.ensure_running()
    return postgres


def ask(dsn: Dsn, query: str) -> Any:
    """The first column of the first row."""
    with psycopg.connect(dsn.url) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
        return row and row[0]


def pid_of(home: Path) -> int:
    found = postmaster.read_pid_file(home / "cluster")
    assert found
    return found.pid


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait, boundedly, for another process to get somewhere."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


def spawn(function: Callable[..., object], *arguments: object) -> Any:
    """A Python process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    return process


def become(user: str, function: Callable[[], T]) -> T:
    """What the function returns when `user` runs it.

    Forked, because that user may not be able to read our Python: whatever the function imports must have been imported.
    """
    entry = pwd.getpwnam(user)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        outcome: object = None
        try:
            os.setgroups([])
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            outcome = function()
        except BaseException as error:  # noqa: BLE001 - handed to the parent
            outcome = error
        finally:
            os.write(writing, pickle.dumps(outcome))
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        result = pickle.loads(pipe.read())  # noqa: S301 - from our own child
    os.waitpid(child, 0)
    if isinstance(result, BaseException):
        raise result
    return result  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------------ at first


def test_the_first_start_makes_a_database_that_the_application_owns(fresh: Path) -> None:
    dsn = EmbeddedPostgres(fresh).ensure_running()  # as in production, durable

    with psycopg.connect(dsn.url) as connection:

        def setting(name: str) -> str:
            return str(connection.execute("SELECT current_setting(%s)", [name]).fetchone()[0])  # type: ignore[index]

        assert [setting(name) for name in ("fsync", "full_page_writes", "data_checksums")] == ["on"] * 3
        assert setting("listen_addresses") == ""
        assert setting("timezone") == "UTC"
        assert setting("server_encoding") == "UTF8"
        connection.execute("CREATE TABLE t (a int)")
        connection.execute("CREATE EXTENSION pg_trgm")  # trusted: the owner of a database may
        rights = "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(rights).fetchone() == (False, False, False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("COPY t FROM PROGRAM 'true'")


def test_asking_again_changes_nothing(home: Path) -> None:
    postgres = start(home)
    first, pid = postgres.ensure_running(), pid_of(home)
    assert postgres.ensure_running() == first
    assert EmbeddedPostgres(home).ensure_running() == first
    assert pid_of(home) == pid
    assert postgres.is_running()


def test_a_login_does_not_print_its_password(home: Path) -> None:
    dsn = start(home).ensure_running()
    assert dsn.password not in repr(dsn)
    assert dsn.password in dsn.url


def test_the_database_is_in_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it(home: Path) -> None:
    start(home)
    assert os.getsid(pid_of(home)) == pid_of(home)


def test_the_superuser_is_for_maintenance(home: Path) -> None:
    postgres = start(home)
    assert ask(postgres.superuser(), "SELECT usesuper FROM pg_user WHERE usename = current_user") is True
    assert postgres.superuser("postgres").database == "postgres"


# ---------------------------------------------------------------------------------------------------- who gets in


def test_nobody_gets_in_without_the_password(home: Path) -> None:
    postgres = start(home)
    for dsn in (postgres.ensure_running(), postgres.superuser()):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=dsn.host, port=dsn.port, dbname=dsn.database, user=dsn.user, password="guess")


def test_passwords_folder_and_cluster_are_closed_to_others(home: Path) -> None:
    start(home)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [home, *home.iterdir()]}
    assert modes["password"] == modes["superuser-password"] == 0o600
    assert modes["cluster"] == modes["run"] == 0o700
    assert modes[home.name] & 0o027 == 0


@as_root
def test_another_user_does_not_even_reach_the_socket() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        home = Path(folder, "postgres")
        dsn = start(home).ensure_running()
        try:

            def connect() -> bool:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(f"{dsn.host}/.s.PGSQL.{dsn.port}")
                return True

            assert connect()
            with pytest.raises(PermissionError):
                become("daemon", connect)
        finally:
            EmbeddedPostgres(home).stop()


def test_a_lost_password_is_named(home: Path) -> None:
    postgres = start(home)
    (home / "password").rename(home / "elsewhere")
    with pytest.raises(NotConfigured, match="password of the embedded database is gone"):
        postgres.ensure_running()
    (home / "elsewhere").rename(home / "password")


# ------------------------------------------------------------------------------------------------------- stopping


def test_stopping_with_clients_connected_leaves_nothing_running(home: Path) -> None:
    postgres = start(home)
    client = psycopg.connect(postgres.ensure_running().url)
    pid = pid_of(home)

    postgres.stop()

    assert not postgres.is_running()
    assert not postmaster.works_in(pid, home / "cluster")
    assert not list((home / "run").glob(".s.*"))
    client.close()
    postgres.stop()  # and again: nothing to do
    assert ask(postgres.ensure_running(), "SELECT 1") == 1


def test_stopping_what_never_was_does_nothing(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "nothing")
    postgres.stop()
    assert not postgres.is_running()
    assert not postgres.leave()
    assert not list(tmp_path.iterdir())


def test_the_last_user_that_leaves_stops_it(fresh: Path) -> None:
    first, second = start(fresh), start(fresh)
    assert not first.leave()
    assert ask(second.ensure_running(), "SELECT 1") == 1
    assert second.leave()
    assert not second.is_running()
    assert not second.leave(), "it is gone already"


def test_a_user_that_was_killed_is_not_waited_for(fresh: Path) -> None:
    process = spawn(_start_and_stay, fresh)
    until(lambda: EmbeddedPostgres(fresh).is_running() and postmaster.is_locked(fresh / "users.lock"))
    with EmbeddedPostgres(fresh) as dsn:
        assert ask(dsn, "SELECT 1") == 1
        process.kill()
        process.join()
    assert not EmbeddedPostgres(fresh).is_running()


@with_proc
def test_what_does_not_react_is_ended_by_force(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_LAST_WORDS", 0.3)
    postgres = start(home)
    os.kill(pid_of(home), signal.SIGSTOP)
    postgres.stop(grace=timedelta(seconds=0.3))
    assert not postgres.is_running()
    assert ask(postgres.ensure_running(), "SELECT 1") == 1


# ------------------------------------------------------------------------------------------------- shared and adopted


def _start_and_stay(home: Path) -> None:  # pragma: no cover - another process
    start(home)
    signal.pause()


def _start_and_go(home: Path) -> None:  # pragma: no cover - another process
    start(home)
    os._exit(0)


def test_the_database_survives_its_starter_and_is_adopted(home: Path) -> None:
    process = spawn(_start_and_go, home)
    process.join(60)
    pid = pid_of(home)

    postgres = start(home)

    assert pid_of(home) == pid
    assert ask(postgres.ensure_running(), "SELECT 1") == 1
    postgres.stop()
    assert not postmaster.works_in(pid, home / "cluster")


def _start_when_told(home: Path, gate: Any, results: Any) -> None:  # pragma: no cover - another process
    gate.wait()
    dsn = EmbeddedPostgres(home, settings=FAST).ensure_running()
    results.put((pid_of(home), dsn.password, ask(dsn, "SELECT 1")))
    gate.wait()


def test_programs_that_start_together_share_one_database(fresh: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(5), context.Queue()
    processes = [spawn(_start_when_told, fresh, gate, results) for _ in range(5)]
    seen = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 5
    assert len(seen) == 1


def test_threads_that_start_together_share_one_database(fresh: Path) -> None:
    seen = set()
    threads = [threading.Thread(target=lambda: seen.add(start(fresh).ensure_running().url)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1


# ----------------------------------------------------------------------------------------------------- after a kill


def everything_of(home: Path) -> list[int]:
    return postmaster.workers_in(home / "cluster")


def kill_first(home: Path) -> None:
    os.kill(pid_of(home), signal.SIGKILL)


def kill_all(home: Path) -> None:
    for pid in everything_of(home):
        postmaster.send(pid, signal.SIGKILL)


@with_proc
@pytest.mark.parametrize("kill", [kill_first, kill_all])
def test_every_acknowledged_row_is_there_after_kill_9(home: Path, kill: Callable[[Path], None]) -> None:
    postgres = EmbeddedPostgres(home)  # durable: this is about recovery
    dsn = postgres.ensure_running()
    ask(dsn, "DROP TABLE IF EXISTS t")
    ask(dsn, "CREATE TABLE t (a int)")
    acknowledged: list[int] = []

    def write() -> None:
        with psycopg.connect(dsn.url, autocommit=True) as connection:
            for number in range(1_000_000):
                try:
                    connection.execute("INSERT INTO t VALUES (%s)", [number])
                except psycopg.OperationalError:
                    return
                acknowledged.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: len(acknowledged) > 50)
    pid = pid_of(home)
    kill(home)
    writer.join(20)

    assert postgres.ensure_running() == dsn

    assert pid_of(home) != pid
    with psycopg.connect(dsn.url) as connection:
        stored = {row[0] for row in connection.execute("SELECT a FROM t")}
    assert set(acknowledged) <= stored
    assert len(stored) <= len(acknowledged) + 1, "only the row in flight may be there unacknowledged"


@with_proc
def test_a_killed_first_process_that_nobody_reaped_counts_as_dead(home: Path) -> None:
    starter = spawn(_start_and_stay, home)
    until(lambda: EmbeddedPostgres(home).is_running())
    pid = pid_of(home)
    kill_first(home)
    until(lambda: not everything_of(home))
    assert Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z", "it is a zombie of its starter's"

    assert ask(start(home).ensure_running(), "SELECT 1") == 1

    assert pid_of(home) != pid
    starter.kill()
    starter.join()


@with_proc
def test_a_stale_pid_that_now_is_somebody_else_is_not_believed_and_not_signalled(home: Path) -> None:
    postgres = start(home)
    kill_all(home)
    until(lambda: not postgres.is_running())
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        for left in (home / "cluster" / "postmaster.pid", home / "run" / ".s.PGSQL.5432.lock"):
            lines = left.read_text().splitlines()
            left.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")

        postgres.stop()
        assert ask(postgres.ensure_running(), "SELECT 1") == 1

        assert bystander.poll() is None
        bystander.kill()


@with_proc
def test_a_backend_that_outlives_its_first_process_does_not_stop_the_restart(home: Path) -> None:
    postgres = start(home)
    dsn = postgres.ensure_running()
    connection = psycopg.connect(dsn.url, autocommit=True)
    backend = connection.info.backend_pid

    def work() -> None:
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT count(md5(a::text)) FROM generate_series(1, 10000000000) AS a")

    busy = threading.Thread(target=work)
    busy.start()
    until(lambda: ask(dsn, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ~ 'md5'") == 2)

    kill_first(home)
    assert ask(postgres.ensure_running(), "SELECT 1") == 1

    assert not postmaster.works_in(backend, home / "cluster")
    busy.join(20)
    connection.close()


@with_proc
def test_a_half_made_cluster_is_thrown_away(fresh: Path) -> None:
    starter = spawn(_start_and_stay, fresh)
    until((fresh / "cluster.new" / "PG_VERSION").exists)
    starter.kill()
    starter.join()
    assert not (fresh / "cluster").exists()

    assert ask(start(fresh).ensure_running(), "SELECT 1") == 1

    assert not (fresh / "cluster.new").exists()


# -------------------------------------------------------------------------------------------------- awkward folders


@pytest.mark.parametrize("name", ["x" * 120, "a folder, with 'odd' \"signs\" \\ % ä"])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    home = tmp_path / name / "postgres"
    postgres = start(home)
    dsn = postgres.ensure_running()
    try:
        assert len(os.fsencode(dsn.host)) < 90
        assert ask(dsn, "SELECT 1") == 1
        Path(dsn.host).unlink()  # cleaners of temporary folders do that
        dangling = Path(dsn.host).with_name("of-a-deleted-database")
        dangling.symlink_to(tmp_path / "nowhere")
        assert postgres.ensure_running() == dsn
        assert ask(dsn, "SELECT 1") == 1
        assert not dangling.is_symlink()
    finally:
        postgres.stop()
        Path(dsn.host).unlink()


def test_a_relative_path_means_the_same_after_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    postgres = start(Path("postgres"))
    monkeypatch.chdir("/")
    assert ask(postgres.ensure_running(), "SELECT 1") == 1
    postgres.stop()


def test_a_cluster_of_another_release_is_refused_with_the_way_on(home: Path) -> None:
    start(home).stop()
    (home / "cluster" / "PG_VERSION").write_text("13\n")
    with pytest.raises(Conflict, match=r"made by PostgreSQL 13") as refused:
        EmbeddedPostgres(home).ensure_running()
    assert "pg_dump" in refused.value.hint
    (home / "cluster" / "PG_VERSION").write_text(f"{binaries.binaries(None, None).major}\n")


def test_what_postgres_says_is_in_the_error(fresh: Path) -> None:
    with pytest.raises(UpstreamUnavailable, match="invalid value for parameter"):
        EmbeddedPostgres(fresh, settings={**FAST, "shared_buffers": "a lot"}).ensure_running()
    assert not EmbeddedPostgres(fresh).is_running()


def test_a_folder_that_cannot_be_made_is_said_in_our_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotConfigured, match="cannot be kept in"):
        EmbeddedPostgres(tmp_path / "file" / "postgres").ensure_running()


# --------------------------------------------------------------------------------------------------------- programs


def test_a_folder_without_the_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="does not contain postgres and initdb"):
        EmbeddedPostgres(tmp_path / "postgres", bin_dir=tmp_path).ensure_running()


def test_programs_that_do_not_run_are_refused(tmp_path: Path) -> None:
    for name in ("postgres", "initdb"):
        (tmp_path / name).write_text("not a program")
    with pytest.raises(NotConfigured, match="do not run"):
        binaries.binaries(tmp_path, None)


def test_programs_that_are_too_old_are_refused(tmp_path: Path) -> None:
    for name in ("postgres", "initdb"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 13.4'\n")
        (tmp_path / name).chmod(0o755)
    tmp_path.chmod(0o755)
    found = binaries.binaries(tmp_path, None)
    assert (found.release, found.major) == ("13.4", 13)
    if os.geteuid() != 0:
        with pytest.raises(NotConfigured, match="needs 14 or newer"):
            EmbeddedPostgres(tmp_path / "postgres-home", bin_dir=tmp_path).ensure_running()


SYSTEM = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.mark.skipif(not SYSTEM, reason="the machine has no PostgreSQL of its own")
def test_the_machines_own_postgres_will_do(public: Path) -> None:
    release = SYSTEM[-1].parent.name
    postgres = start(public / "postgres", bin_dir=SYSTEM[-1])
    try:
        assert ask(postgres.ensure_running(), "SHOW server_version").split(".")[0] == release
        kill_all(public / "postgres")
        assert ask(postgres.ensure_running(), "SELECT 1") == 1
    finally:
        postgres.stop()
    if release != "18":
        with pytest.raises(Conflict, match=f"made by PostgreSQL {release}"):
            EmbeddedPostgres(public / "postgres").ensure_running()


# ------------------------------------------------------------------------------------------- root and ordinary users


@as_root
def test_root_runs_it_as_somebody_else_in_a_folder_that_one_cannot_reach(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    home = tmp_path / "postgres"
    postgres = start(home)
    try:
        uid = Path(f"/proc/{pid_of(home)}").stat().st_uid
        assert uid != 0
        assert (home / "cluster").stat().st_uid == uid
        assert home.stat().st_uid == 0
        assert (home / "password").stat().st_uid == 0
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700, "what is above is left alone"
        kill_all(home)
        assert ask(postgres.ensure_running(), "SELECT 1") == 1
    finally:
        postgres.stop()


@as_root
def test_an_ordinary_user_runs_it_as_itself(public: Path) -> None:
    start(public / "rehearsal").stop()  # so that everything is imported
    owner = pwd.getpwnam("nobody")
    place = public / "data"
    place.mkdir()
    os.chown(place, owner.pw_uid, owner.pw_gid)
    home = place / "postgres"
    try:
        assert become("nobody", lambda: ask(start(home).ensure_running(), "SELECT 1")) == 1
        assert Path(f"/proc/{pid_of(home)}").stat().st_uid == owner.pw_uid
        assert {path.stat().st_uid for path in [home, *home.iterdir()]} == {owner.pw_uid}

        # Root lends a hand: the data stays theirs.
        postgres = start(home)
        assert ask(postgres.ensure_running(), "SELECT 1") == 1
        postgres.stop()
        assert ask(postgres.ensure_running(), "SELECT 1") == 1
        assert Path(f"/proc/{pid_of(home)}").stat().st_uid == owner.pw_uid
        assert {path.stat().st_uid for path in [home, *home.iterdir()]} == {owner.pw_uid}
        postgres.stop()
        assert become("nobody", lambda: ask(start(home).ensure_running(), "SELECT 1")) == 1
    finally:
        EmbeddedPostgres(home).stop()


@as_root
def test_somebody_elses_database_is_refused_by_name(public: Path) -> None:
    home = public / "postgres"
    home.mkdir()
    with pytest.raises(NotConfigured, match="belongs to user id 0"):
        become("nobody", lambda: start(home).is_running())


@as_root
def test_programs_that_the_other_user_cannot_read_are_copied_once(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_CACHE", public / "cache")
    prefix = binaries.binaries(None, None).folder.parent
    hidden = tmp_path / "site" / prefix.parent.name
    shutil.copytree(prefix, hidden / prefix.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    shutil.copytree(prefix.parent.with_name(f"{prefix.parent.name}.libs"), hidden.with_name(f"{hidden.name}.libs"))
    tmp_path.chmod(0o700)
    home = tmp_path / "postgres"
    postgres = start(home, bin_dir=hidden / prefix.name / "bin")
    try:
        assert ask(postgres.ensure_running(), "SELECT 1") == 1
        running = Path(f"/proc/{pid_of(home)}/exe").readlink()
        assert running.is_relative_to(public / "cache")
        assert running.stat().st_uid == 0
        made = running.stat().st_ctime_ns
        postgres.stop()
        postgres.ensure_running()
        assert Path(f"/proc/{pid_of(home)}/exe").stat().st_ctime_ns == made
        assert len(list((public / "cache").iterdir())) == 1
    finally:
        postgres.stop()


@as_root
def test_a_copy_that_somebody_else_could_have_made_is_not_run(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = binaries.binaries(None, None).folder
    copy = binaries._copy(folder, public)
    assert copy
    planted = copy.parents[2]
    os.chown(planted, pwd.getpwnam("nobody").pw_uid, -1)
    assert binaries._copy(folder, public) is None
    os.chown(planted, 0, -1)
    planted.chmod(0o777)
    assert binaries._copy(folder, public) is None


@as_root
def test_root_on_a_machine_without_a_fitting_user_is_told_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "ACCOUNTS", ("no-such-user",))
    with pytest.raises(NotConfigured, match="none of the users") as refused:
        EmbeddedPostgres(tmp_path / "postgres").ensure_running()
    assert "useradd" in refused.value.hint
    assert isinstance(refused.value, CertctlError)
