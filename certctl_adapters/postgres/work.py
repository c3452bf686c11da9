"""The unit of work on PostgreSQL: a connection of a pool, and one READ COMMITTED transaction on it.

Works in threads and, when gevent has patched the standard library before psycopg is imported, in greenlets.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

from attrs import frozen
from psycopg import Connection, Error, OperationalError
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from certctl_adapters import kinds
from certctl_adapters.kinds import TransactionAborted
from certctl_adapters.postgres.access import PostgresAgents, PostgresApiKeys, PostgresJoinTokens, PostgresSessions
from certctl_adapters.postgres.approvals import PostgresApprovals
from certctl_adapters.postgres.authorities import PostgresAuthorities
from certctl_adapters.postgres.bulk import PostgresBulkOperations
from certctl_adapters.postgres.certificates import (
    PostgresAttempts,
    PostgresCertificates,
    PostgresDeployments,
    PostgresTargets,
    PostgresVersions,
)
from certctl_adapters.postgres.crls import PostgresCrls
from certctl_adapters.postgres.delegates import PostgresDelegates
from certctl_adapters.postgres.enrolments import PostgresEnrolments, PostgresEnrolmentSecrets
from certctl_adapters.postgres.jobs import PostgresJobs
from certctl_adapters.postgres.notifications import PostgresNotifications
from certctl_adapters.postgres.observed import PostgresDiscovered, PostgresEndpoints, PostgresProbes, PostgresScans
from certctl_adapters.postgres.policies import (
    PostgresAgentGroups,
    PostgresPolicyReviews,
    PostgresPolicyRules,
    PostgresViolations,
)
from certctl_adapters.postgres.presented import PostgresPresented
from certctl_adapters.postgres.quotas import PostgresQuotas
from certctl_adapters.postgres.records import PostgresApiCalls, PostgresAuditTrail, PostgresLoops
from certctl_adapters.postgres.revocations import PostgresRevocations
from certctl_adapters.postgres.schedule import PostgresAlerts, PostgresPace, PostgresReschedulings
from certctl_adapters.postgres.seals import PostgresSeals
from certctl_adapters.postgres.standings import PostgresStandings
from certctl_adapters.postgres.table import PostgresTable, shape_of
from certctl_adapters.postgres.tallies import PostgresTallies
from certctl_adapters.postgres.transaction import Row, Transaction, our_errors
from certctl_core.errors import UpstreamUnavailable
from certctl_core.ports.store import Work

Pool = ConnectionPool[Connection[Row]]

_ISSUER: Final = shape_of(kinds.ISSUERS)
_TEAM: Final = shape_of(kinds.TEAMS)
_OWNER: Final = shape_of(kinds.OWNERS)
_PROFILE: Final = shape_of(kinds.PROFILES)
_RENEWAL_POLICY: Final = shape_of(kinds.RENEWAL_POLICIES)
_SCAN_TARGET: Final = shape_of(kinds.SCAN_TARGETS)


@frozen(kw_only=True)
class Patience:
    """How long the database may take: for a connection, for a statement, for somebody else's lock, and how long a
    transaction may stand idle, which is a bug or a hung process that must not hold its locks for ever."""

    connection: timedelta = timedelta(seconds=5)
    statement: timedelta = timedelta(seconds=30)
    lock: timedelta = timedelta(seconds=10)
    idle: timedelta = timedelta(seconds=60)


def open_pool(url: str, *, name: str = "certctl", size: int = 10, patience: Patience | None = None) -> Pool:
    """A pool of at most `size` connections, filled as they are needed. Close it in the process that opened it.

    Never blocks and never fails: a database that is not there is reported by the work that needs it.
    """
    patience = patience or Patience()

    def configure(connection: Connection[Row]) -> None:
        # By statement and not by the start-up packet's options, which connection poolers refuse.
        connection.execute(
            """
            SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),
                   set_config('idle_in_transaction_session_timeout', %s, false), set_config('TimeZone', 'UTC', false)
            """,
            [_milliseconds(patience.statement), _milliseconds(patience.lock), _milliseconds(patience.idle)],
        )

    return ConnectionPool(
        url,
        min_size=1,
        max_size=size,
        open=True,
        name=name,
        timeout=patience.connection.total_seconds(),
        # The pause between attempts doubles; given up soon, they begin anew with the next request instead of leaving
        # a database that is back unused for minutes.
        reconnect_timeout=2,
        configure=configure,
        kwargs={"autocommit": True, "application_name": name, "connect_timeout": 5},
    )


class PostgresWork:
    """What `Ports.work` wants: each call is one transaction on one connection of the pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __call__(self) -> AbstractContextManager[Work]:
        """Raises `UpstreamUnavailable` when there is no database to be had."""
        return self._work()

    @contextmanager
    def _work(self) -> Iterator[Work]:
        connection = self._begin()
        transaction = Transaction(connection)
        try:
            yield _PostgresWork(transaction)  # type: ignore[abstract]  # what is abstract is answered by __getattr__
            if connection.info.transaction_status is TransactionStatus.INERROR:
                raise TransactionAborted
            with our_errors():
                connection.commit()
        except BaseException:
            # A connection that cannot roll back is broken, and thrown away by the pool.
            with contextlib.suppress(Error):
                connection.rollback()
            raise
        finally:
            transaction.close()
            self._pool.putconn(connection)

    def _begin(self) -> Connection[Row]:
        """A connection with a transaction begun.

        After a restart of the database every connection in the pool is dead and finds out only now. They are thrown
        away one after the other, so that no request pays for it with an error.
        """
        for _ in range(self._pool.max_size + 1):
            connection = self._connection()
            try:
                connection.execute(b"BEGIN ISOLATION LEVEL READ COMMITTED")
            except OperationalError:
                self._pool.putconn(connection)
            else:
                return connection
        raise UpstreamUnavailable("the database closes its connections", hint="Is it starting or shutting down?")

    def _connection(self) -> Connection[Row]:
        try:
            return self._pool.getconn()
        except (PoolTimeout, PoolClosed, TooManyRequests) as error:
            raise UpstreamUnavailable(
                f"no connection to the database: {error}", hint="It is tried again with every request."
            ) from error


_REPOSITORIES: Final[Mapping[str, Callable[[Transaction], Any]]] = {
    "certificates": PostgresCertificates,
    "versions": PostgresVersions,
    "attempts": PostgresAttempts,
    "revocations": PostgresRevocations,
    "standings": PostgresStandings,
    "deployments": PostgresDeployments,
    "jobs": PostgresJobs,
    "agents": PostgresAgents,
    "join_tokens": PostgresJoinTokens,
    "issuers": partial(PostgresTable, shape=_ISSUER),
    "targets": PostgresTargets,
    "teams": partial(PostgresTable, shape=_TEAM),
    "owners": partial(PostgresTable, shape=_OWNER),
    "profiles": partial(PostgresTable, shape=_PROFILE),
    "renewal_policies": partial(PostgresTable, shape=_RENEWAL_POLICY),
    "notifications": PostgresNotifications,
    "alerts": PostgresAlerts,
    "reschedulings": PostgresReschedulings,
    "pace": PostgresPace,
    "agent_groups": PostgresAgentGroups,
    "policy_rules": PostgresPolicyRules,
    "violations": PostgresViolations,
    "policy_reviews": PostgresPolicyReviews,
    "approvals": PostgresApprovals,
    "enrolments": PostgresEnrolments,
    "enrolment_secrets": PostgresEnrolmentSecrets,
    "bulk_operations": PostgresBulkOperations,
    "quotas": PostgresQuotas,
    "presented": PostgresPresented,
    "api_keys": PostgresApiKeys,
    "sessions": PostgresSessions,
    "authorities": PostgresAuthorities,
    "delegates": PostgresDelegates,
    "crls": PostgresCrls,
    "scans": PostgresScans,
    "discovered": PostgresDiscovered,
    "scan_targets": partial(PostgresTable, shape=_SCAN_TARGET),
    "endpoints": PostgresEndpoints,
    "probes": PostgresProbes,
    "audit": PostgresAuditTrail,
    "seals": PostgresSeals,
    "loops": PostgresLoops,
    "calls": PostgresApiCalls,
    "tallies": PostgresTallies,
}


class _PostgresWork(Work):
    """One transaction. Its repositories are made when they are first asked for: most transactions need few of them."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def __getattr__(self, name: str) -> Any:
        if name not in _REPOSITORIES:
            raise AttributeError(name)
        made = self.__dict__[name] = _REPOSITORIES[name](self._transaction)
        return made


def _milliseconds(duration: timedelta) -> str:
    return str(duration // timedelta(milliseconds=1))
