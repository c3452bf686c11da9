"""PostgreSQL for tests: a pytest plugin.

`database_url` is a fresh, fully migrated database of the test's own. It is a copy of a template that is migrated once
(copying costs a few hundredths of a second), on a server that is started once: the embedded PostgreSQL, in memory
where the machine has room, or the one that CERTCTL_TEST_DATABASE_URL names, whose user must be allowed to create
databases.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
import pytest
from attrs import frozen
from psycopg import sql

from certctl_adapters.postgres import migrate
from certctl_adapters.postgres.embedded import EmbeddedPostgres

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
"""For data that nobody will miss."""

_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder made in it is nobody else's
_ROOM = 2**30
_numbers = itertools.count(1)


@frozen
class DatabaseServer:
    """`admin` may create databases, `owner` is the role they belong to; both are postgresql:// URLs.

    `how` is what to add to CREATE DATABASE.
    """

    admin: str
    owner: str
    how: LiteralString = ""

    def create(self, template: str = "template0") -> str:
        """A new database; returns its URL. The name is unique among processes."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        owner = urlsplit(self.owner)
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        if owner.username:
            statement += sql.SQL(" OWNER {}").format(sql.Identifier(unquote(owner.username)))
        self._run(statement + sql.SQL(self.how))
        return urlunsplit(owner._replace(path=f"/{name}"))

    def drop(self, url: str) -> None:
        """Whoever is still connected to it."""
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database_name(url))))

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(statement)


def database_name(url: str) -> str:
    """`test_1_2` of `postgresql://.../test_1_2?...`."""
    return urlsplit(url).path.removeprefix("/")


@pytest.fixture(scope="session")
def database_server() -> Iterator[DatabaseServer]:
    """The server that the tests of this process share."""
    if external := os.environ.get("CERTCTL_TEST_DATABASE_URL"):
        yield DatabaseServer(admin=external, owner=external)
        return
    place = _place()
    _remove_left_behind(place)
    home = Path(tempfile.mkdtemp(prefix=f"certctl-test-{os.getpid()}-", dir=place))
    postgres = EmbeddedPostgres(home / "postgres", settings=FAST)
    try:
        owner = postgres.ensure_running()
        yield DatabaseServer(postgres.superuser("postgres").url, owner.url, how=" STRATEGY FILE_COPY")
    finally:
        postgres.stop()
        shutil.rmtree(home)


def _place() -> Path:
    """Not pytest's own temporary folder, which is kept for days: a database has 40 MB."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
        return _MEMORY
    return Path(tempfile.gettempdir())


def _remove_left_behind(place: Path) -> None:
    """Stop and delete the servers of test runs that were killed."""
    for home in place.glob("certctl-test-*-*"):
        try:
            os.kill(int(home.name.split("-")[2]), 0)
        except ProcessLookupError:
            with contextlib.suppress(OSError):  # another run may be at it, too
                EmbeddedPostgres(home / "postgres").stop()
                shutil.rmtree(home)
        except PermissionError:
            continue  # another user's


@pytest.fixture(scope="session")
def database_template(database_server: DatabaseServer) -> Iterator[str]:
    """The name of a migrated database to copy. Nobody may be connected to it."""
    url = database_server.create()
    try:
        migrate.migrate(url)
        yield database_name(url)
    finally:
        database_server.drop(url)


@pytest.fixture
def database_url(database_server: DatabaseServer, database_template: str) -> Iterator[str]:
    """The postgresql:// URL of a migrated database that is this test's alone."""
    url = database_server.create(database_template)
    yield url
    database_server.drop(url)


@pytest.fixture
def empty_database_url(database_server: DatabaseServer) -> Iterator[str]:
    """The postgresql:// URL of a database with nothing in it."""
    url = database_server.create()
    yield url
    database_server.drop(url)
