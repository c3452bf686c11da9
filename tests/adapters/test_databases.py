"""The databases that tests get: migrated, apart from one another, and gone afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from certctl_adapters.postgres import migrate
from certctl_adapters.postgres.embedded import EmbeddedPostgres
from tests.databases import FAST, DatabaseServer, _remove_left_behind, database_name

pytestmark = pytest.mark.integration


def test_a_test_finds_every_migration_run(database_url: str) -> None:
    states = migrate.status(database_url)
    assert states
    assert all(state.applied_at for state in states)


@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_test_writes_no_other_test_sees(database_url: str, turn: int) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)
        connection.execute("CREATE TABLE only_here (a int)")


def test_a_database_is_gone_even_while_somebody_is_connected(database_server: DatabaseServer) -> None:
    url = database_server.create()
    connection = psycopg.connect(url)
    database_server.drop(url)
    connection.close()
    with pytest.raises(psycopg.OperationalError, match=f'"{database_name(url)}" does not exist'):
        psycopg.connect(url)


def test_the_server_of_a_killed_run_is_stopped_and_deleted(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    homes = [tmp_path / f"certctl-test-{pid}-x" for pid in (gone.pid, os.getpid())]
    for home in homes:
        home.mkdir()
    left = EmbeddedPostgres(homes[0] / "postgres", settings=FAST)
    left.ensure_running()

    _remove_left_behind(tmp_path)

    assert not left.is_running()
    assert [home.exists() for home in homes] == [False, True]
