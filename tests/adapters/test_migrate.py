"""Migrations: each once, whole, in order, never changed, whoever starts at the same time."""

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from certctl_adapters.postgres import migrate
from certctl_core.errors import Conflict, NotConfigured, UpstreamRejected, UpstreamUnavailable

pytestmark = pytest.mark.integration

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Writes migrations `name="SQL"` and returns their folder."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            (tmp_path / f"{name.removeprefix('m')}.sql").write_text(text)
        return tmp_path

    return write


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_migrations_run_once_in_order_and_are_remembered(empty_database_url: str, folder: Folder) -> None:
    sql = folder(m0001_start="CREATE TABLE t (a int); INSERT INTO t VALUES (1);", m0002_more="UPDATE t SET a = a + 1;")

    assert [each.version for each in migrate.migrate(empty_database_url, sql)] == [1, 2]
    assert migrate.migrate(empty_database_url, sql) == ()

    assert rows(empty_database_url, "SELECT a FROM t") == [(2,)]
    history = rows(empty_database_url, "SELECT version, name, length(checksum), took < '10 s' FROM schema_migrations")
    assert history == [(1, "start", 64, True), (2, "more", 64, True)]


def test_the_status_tells_what_was_run_and_what_was_not(empty_database_url: str, folder: Folder) -> None:
    sql = folder(m0001_start="SELECT 1")
    assert [state.applied_at for state in migrate.status(empty_database_url, sql)] == [None]
    migrate.migrate(empty_database_url, sql)
    folder(m0002_more="SELECT 2")

    first, second = migrate.status(empty_database_url, sql)

    assert first.applied_at is not None
    assert first.applied_at.utcoffset() == timedelta()
    assert first.took is not None
    assert (second.version, second.name, second.applied_at) == (2, "more", None)
    assert rows(empty_database_url, "SELECT count(*) FROM schema_migrations") == [(1,)], "asking changes nothing"


def test_a_failed_migration_leaves_no_trace_and_those_before_it_stay(empty_database_url: str, folder: Folder) -> None:
    sql = folder(m0001_start="CREATE TABLE t (a int)", m0002_bad="CREATE TABLE u (a int); SELECT 1 / 0;")

    with pytest.raises(UpstreamRejected, match=r"0002_bad\.sql failed.*division by zero"):
        migrate.migrate(empty_database_url, sql)
    assert rows(empty_database_url, "SELECT to_regclass('t')::text, to_regclass('u')::text") == [("t", None)]

    folder(m0002_bad="CREATE TABLE u (a int)")
    assert [each.version for each in migrate.migrate(empty_database_url, sql)] == [2]


def test_a_migration_that_was_edited_after_it_was_run_is_refused(empty_database_url: str, folder: Folder) -> None:
    sql = folder(m0001_start="SELECT 1")
    migrate.migrate(empty_database_url, sql)
    folder(m0001_start="SELECT 2", m0002_more="CREATE TABLE t (a int)")

    for ask in (migrate.migrate, migrate.status):
        with pytest.raises(Conflict, match=r"0001_start\.sql is not what was run"):
            ask(empty_database_url, sql)
    assert rows(empty_database_url, "SELECT to_regclass('t')::text") == [(None,)]


def test_line_endings_are_not_an_edit(empty_database_url: str, folder: Folder) -> None:
    sql = folder(m0001_start="SELECT 1;\nSELECT 2;\n")
    migrate.migrate(empty_database_url, sql)
    (sql / "0001_start.sql").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
    assert migrate.migrate(empty_database_url, sql) == ()


def test_a_database_of_a_newer_release_is_refused(empty_database_url: str, folder: Folder) -> None:
    sql = folder(m0001_start="SELECT 1", m0002_more="SELECT 2")
    migrate.migrate(empty_database_url, sql)
    (sql / "0002_more.sql").unlink()
    with pytest.raises(Conflict, match=r"at migration 2 \(more\); this release of certctl knows only 1"):
        migrate.migrate(empty_database_url, sql)


def test_an_old_server_is_refused(empty_database_url: str, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "OLDEST_SERVER", 999)
    with pytest.raises(NotConfigured, match="needs 999 or newer"):
        migrate.migrate(empty_database_url, folder(m0001_start="SELECT 1"))


def test_a_server_that_is_not_there_is_named_as_the_cause(tmp_path: Path, folder: Folder) -> None:
    with pytest.raises(UpstreamUnavailable, match="cannot be reached"):
        migrate.migrate(f"postgresql:///?host={tmp_path}", folder(m0001_start="SELECT 1"))


@pytest.mark.parametrize("names", [[], ["m0002_start"], ["m0001_a", "m0001_b"], ["m0001_a", "m0003_c"]])
def test_a_numbering_with_holes_or_doubles_is_refused(folder: Folder, names: list[str]) -> None:
    with pytest.raises(NotConfigured, match="not numbered"):
        migrate.migrations(folder(**dict.fromkeys(names, "SELECT 1")))


def test_a_file_with_another_name_is_refused(folder: Folder) -> None:
    with pytest.raises(NotConfigured, match="not named like a migration"):
        migrate.migrations(folder(m1_start="SELECT 1"))


def _migrate_when_told(url: str, folder: Path, gate: object, results: object) -> None:
    gate.wait()  # type: ignore[attr-defined]
    results.put(len(migrate.migrate(url, folder)))  # type: ignore[attr-defined]


def test_processes_that_start_together_run_each_migration_once(empty_database_url: str, folder: Folder) -> None:
    sql = folder(
        m0001_start="CREATE TABLE t (a int); SELECT pg_sleep(0.05);",
        **{f"m{number:04}_step": "INSERT INTO t SELECT count(*) FROM t" for number in range(2, 8)},
    )
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(6), context.Queue()
    processes = [
        context.Process(target=_migrate_when_told, args=(empty_database_url, sql, gate, results)) for _ in range(6)
    ]
    for process in processes:
        process.start()
    counts = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0] * 6
    assert counts == [0, 0, 0, 0, 0, 7]
    assert rows(empty_database_url, "SELECT a FROM t ORDER BY a") == [(number,) for number in range(6)]


def test_whoever_waits_too_long_for_its_turn_is_told_why(empty_database_url: str, folder: Folder) -> None:
    with psycopg.connect(empty_database_url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [migrate._LOCK])
        with pytest.raises(UpstreamUnavailable, match="Another program has been migrating"):
            migrate.migrate(empty_database_url, folder(m0001_start="SELECT 1"), patience=timedelta(milliseconds=50))


def test_a_killed_program_leaves_no_lock_behind(empty_database_url: str, folder: Folder) -> None:
    other = psycopg.connect(empty_database_url, autocommit=True)
    other.execute("SELECT pg_advisory_lock(%s)", [migrate._LOCK])
    with psycopg.connect(empty_database_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [other.info.backend_pid])
    other.close()

    assert len(migrate.migrate(empty_database_url, folder(m0001_start="SELECT 1"))) == 1
