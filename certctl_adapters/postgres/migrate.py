"""Bringing a database's schema to what this release needs.

A migration is a file `NNNN_name.sql`, run once, whole, in one transaction, and never edited afterwards: what was run is
remembered in `schema_migrations` with its SHA-256. Programs that start together take turns by an advisory lock of their
session, so a connection pooler in between must not work by transaction. A statement that PostgreSQL does not allow in a
transaction (`CREATE INDEX CONCURRENTLY`) cannot be a migration.
"""

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
from attrs import field, frozen
from psycopg.rows import class_row

from certctl_core.errors import Conflict, NotConfigured, UpstreamRejected, UpstreamUnavailable

OLDEST_SERVER: Final = 14

_LOCK: Final = 0x6365727463746C  # "certctl" in ASCII
_FILE: Final = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")
_PACKAGED: Final = Path(__file__).parent / "sql"
_CHECKOUT: Final = Path(__file__).parents[2] / "sql"
_HISTORY: Final = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version    integer PRIMARY KEY,
        name       text NOT NULL,
        checksum   text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        took       interval NOT NULL
    )
"""


@frozen
class Migration:
    """One file. `checksum` is the SHA-256 of its text in lower-case hex, whatever the line endings."""

    version: int
    name: str
    sql: str = field(repr=False)
    checksum: str

    @property
    def file(self) -> str:
        return f"{self.version:04}_{self.name}.sql"


@frozen
class Applied:
    """One row of the history."""

    version: int
    name: str
    checksum: str
    applied_at: datetime
    took: timedelta


@frozen
class State:
    """One migration and, once it was run, when and how long it took."""

    version: int
    name: str
    applied_at: datetime | None = None
    took: timedelta | None = None


def migrations(folder: Path | None = None) -> tuple[Migration, ...]:
    """All migrations of `folder`, or of this release, oldest first. Raises `NotConfigured` when they are not whole."""
    folder = folder or (_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT)
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise NotConfigured(
                f"{path} is not named like a migration.", hint="Names are NNNN_what_it_does.sql, in lower case."
            )
        sql = path.read_text(encoding="utf-8")  # universal newlines: a checkout on Windows has the same checksum
        checksum = hashlib.sha256(sql.encode()).hexdigest()
        found.append(Migration(int(match["version"]), match["name"], sql, checksum))
    if [each.version for each in found] != list(range(1, len(found) + 1)) or not found:
        raise NotConfigured(
            f"The migrations in {folder} are not numbered 0001, 0002 and so on, each once.",
            hint="Is the installation complete? Two branches that each added one need one of them renumbered.",
        )
    return tuple(found)


def migrate(
    url: str, folder: Path | None = None, *, patience: timedelta = timedelta(minutes=10)
) -> tuple[Migration, ...]:
    """Run what has not been run and return it. Safe to call from any number of programs at once.

    Raises `UpstreamUnavailable` (no connection, or another program has been migrating for longer than `patience`),
    `UpstreamRejected` (a migration failed: it left no trace, those before it stay), `NotConfigured` (the server is too
    old) or `Conflict` (the history does not fit this release).
    """
    ours = migrations(folder)
    with _connection(url) as connection, _turn(connection, patience):
        connection.execute(_HISTORY)
        done = _history(connection)
        _compare(ours, done)
        todo = ours[len(done) :]
        for migration in todo:
            _run(connection, migration)
        return todo


def status(url: str, folder: Path | None = None) -> tuple[State, ...]:
    """Every migration of this release and whether it was run. Changes nothing; raises as `migrate` does."""
    ours = migrations(folder)
    with _connection(url) as connection:
        (known,) = connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone() or (False,)
        done = _history(connection) if known else []
        _compare(ours, done)
    states = [State(each.version, each.name, each.applied_at, each.took) for each in done]
    return (*states, *(State(each.version, each.name) for each in ours[len(done) :]))


@contextlib.contextmanager
def _connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=10, application_name="certctl migrate")
    except psycopg.OperationalError as error:
        raise UpstreamUnavailable(
            f"The database cannot be reached: {str(error).strip()}", hint="Is CERTCTL_DATABASE_URL right?"
        ) from error
    with connection:
        major = connection.info.server_version // 10_000
        if major < OLDEST_SERVER:
            raise NotConfigured(
                f"The database server is PostgreSQL {major}; certctl needs {OLDEST_SERVER} or newer.",
                hint="Upgrade it, or leave CERTCTL_DATABASE_URL empty to use the database that comes with certctl.",
            )
        yield connection


@contextlib.contextmanager
def _turn(connection: psycopg.Connection[Any], patience: timedelta) -> Iterator[None]:
    """Hold the lock of those who migrate. It goes with the connection, so a killed program leaves none behind."""
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{int(patience.total_seconds() * 1000)}ms"])
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    except psycopg.errors.LockNotAvailable as error:
        raise UpstreamUnavailable(
            f"Another program has been migrating this database for {patience}.",
            hint="Look for it in pg_stat_activity: its application_name is 'certctl migrate'.",
        ) from error
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _history(connection: psycopg.Connection[Any]) -> Sequence[Applied]:
    with connection.cursor(row_factory=class_row(Applied)) as cursor:
        columns = "SELECT version, name, checksum, applied_at, took FROM schema_migrations ORDER BY version"
        return cursor.execute(columns).fetchall()


def _compare(ours: Sequence[Migration], done: Sequence[Applied]) -> None:
    """What was run must be the beginning of what we have."""
    if len(done) > len(ours):
        raise Conflict(
            f"The database is at migration {done[-1].version} ({done[-1].name}); this release of certctl knows only "
            f"{len(ours)}. A newer release has used it.",
            hint="Start that release again, or restore the backup that was made before the upgrade.",
        )
    for mine, theirs in zip(ours, done, strict=False):
        if (mine.version, mine.checksum) != (theirs.version, theirs.checksum):
            raise Conflict(
                f"Migration {mine.file} is not what was run on this database on {theirs.applied_at:%Y-%m-%d} as "
                f"{theirs.version:04}_{theirs.name}.sql.",
                hint="Put the file back as it was in the release and make the change in a new migration.",
            )


def _run(connection: psycopg.Connection[Any], migration: Migration) -> None:
    began = time.monotonic()
    try:
        with connection.transaction():
            connection.execute(migration.sql.encode())
            connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum, took) VALUES (%s, %s, %s, %s)",
                [migration.version, migration.name, migration.checksum, timedelta(seconds=time.monotonic() - began)],
            )
    except psycopg.OperationalError as error:
        raise UpstreamUnavailable(
            f"Migration {migration.file} was interrupted: {str(error).strip()}",
            hint="It left no trace; start again.",
        ) from error
    except psycopg.Error as error:
        raise UpstreamRejected(
            f"Migration {migration.file} failed and left no trace: {str(error).strip()}",
            hint="The migrations before it stay. Mend the cause and start again.",
        ) from error
