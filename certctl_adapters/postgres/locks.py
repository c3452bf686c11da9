"""Locks that a whole installation shares: PostgreSQL advisory locks, each held by a session of its own.

A lock goes when its session does, so a process that is killed leaves none behind. A connection pooler between us and
the database must therefore not work by transaction.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from attrs import field, frozen

from certctl_core.errors import UpstreamUnavailable


@frozen
class SharedLocks:
    """Locks by name in the database at `url`."""

    url: str = field(repr=False)

    @contextmanager
    def try_hold(self, name: str) -> Iterator[bool]:
        """Whether the lock was free; it is then held until the block ends. Never waits for another holder.

        Raises `UpstreamUnavailable` when the database does not answer.
        """
        with self._session(name) as session:
            (held,) = session.execute("SELECT pg_try_advisory_lock(%s)", [_number(name)]).fetchone() or (False,)
            yield bool(held)

    @contextmanager
    def hold(self, name: str, patience: timedelta) -> Iterator[None]:
        """Wait for the lock and hold it until the block ends. Raises `UpstreamUnavailable` after `patience`."""
        with self._session(name) as session:
            session.execute(
                "SELECT set_config('lock_timeout', %s, false)", [f"{patience // timedelta(milliseconds=1)}ms"]
            )
            try:
                session.execute("SELECT pg_advisory_lock(%s)", [_number(name)])
            except psycopg.errors.LockNotAvailable as error:
                raise UpstreamUnavailable(
                    f"another process has been holding the lock {name!r} for {patience}",
                    hint=f"Look for it in pg_stat_activity: its application_name is 'certctl {name}'.",
                ) from error
            yield

    @contextmanager
    def _session(self, name: str) -> Iterator[psycopg.Connection[Any]]:
        try:
            session = psycopg.connect(
                self.url, autocommit=True, connect_timeout=10, application_name=f"certctl {name}"[:63]
            )
        except psycopg.OperationalError as error:
            raise UpstreamUnavailable(f"the database cannot be reached: {str(error).strip()}") from error
        with session:
            yield session


def _number(name: str) -> int:
    """The 64 bits that PostgreSQL knows the lock by."""
    return int.from_bytes(hashlib.sha256(f"certctl/{name}".encode()).digest()[:8], signed=True)
