"""Agents and credentials."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg import sql

from certctl_adapters.kinds import AGENTS, API_KEYS, JOIN_TOKENS, SESSIONS
from certctl_adapters.postgres.codecs import as_json
from certctl_adapters.postgres.table import PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ids import AgentId, ApiKeyId
from certctl_core.models.access import ApiKey, Session
from certctl_core.models.agents import SENTINEL_AGENTS, Agent, AgentCounts, AgentStatus, AgentTraits, JoinToken
from certctl_core.ports.store import Activity, Agents, ApiKeys, JoinTokens, Sessions, Where

_AGENT: Final = shape_of(AGENTS)
_JOIN_TOKEN: Final = shape_of(JOIN_TOKENS)
_API_KEY: Final = shape_of(API_KEYS)
_SESSION: Final = shape_of(SESSIONS)

_TRAITS: Final = ("id", "os", "architecture", "ip_address", "version")
_USE_PRECISION: Final = timedelta(minutes=1)


class PostgresAgents(PostgresTable[Agent], Agents):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _AGENT)

    def due_for_offline(self, heard_before: datetime, limit: int) -> Sequence[Agent]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.status <> 'Offline' AND t.retired_at IS NULL AND t.last_heartbeat_at < %(before)s
            ORDER BY t.last_heartbeat_at, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            before=heard_before,
            limit=limit,
        )

    def heard(self, *agents: Agent) -> None:
        # What was read before an agent was retired must not bring it back. Nobody waits for the disk: a crash of the
        # database may lose the last heartbeats, whole, and the next ones say the same again. The rows are taken in
        # order, so that two who write the same ones do not wait for each other in a circle.
        self._transaction.change(
            b"""
            WITH held AS MATERIALIZED (
                SELECT id FROM agents WHERE id = ANY(%(ids)s) AND retired_at IS NULL ORDER BY id FOR NO KEY UPDATE
            )
            UPDATE agents AS t SET
                status = new.status, last_heartbeat_at = new.last_heartbeat_at, hostname = new.hostname, os = new.os,
                architecture = new.architecture, ip_address = new.ip_address, version = new.version,
                clock_offset = new.clock_offset
            FROM held JOIN json_populate_recordset(NULL::agents, %(rows)s::json) AS new ON new.id = held.id,
                (SELECT set_config('synchronous_commit', 'off', true)) AS unhurried
            WHERE t.id = held.id
            """,
            {"ids": [agent.id for agent in agents], "rows": as_json([_AGENT.dump(agent) for agent in agents])},
            AGENTS,
        )

    def counts(self, agent_id: AgentId) -> AgentCounts:
        row = self._transaction.row(
            b"""
            SELECT
                (SELECT count(*) FROM deployment_targets WHERE agent_id = %(id)s AND retired_at IS NULL),
                (SELECT count(DISTINCT c.id) FROM deployment_targets AS d
                 JOIN certificate_target_mappings AS m ON m.target_id = d.id
                 JOIN managed_certificates AS c ON c.id = m.certificate_id
                 WHERE d.agent_id = %(id)s AND d.retired_at IS NULL AND c.status <> 'Archived'),
                (SELECT count(*) FROM jobs WHERE agent_id = %(id)s
                 AND status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running'))
            """,
            {"id": agent_id},
        )
        targets, certificates, jobs = row or (0, 0, 0)
        return AgentCounts(active_targets=targets, active_certificates=certificates, pending_jobs=jobs)

    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[str, int]:
        present, parameters = self._present(where)
        statement = sql.SQL("SELECT t.status, count(*) FROM agents AS t WHERE {} GROUP BY t.status").format(present)
        counted = self._transaction.counts(statement, parameters)
        return {status.value: counted.get(status.value, 0) for status in AgentStatus}

    def traits(self, where: Sequence[Where] = ()) -> Sequence[AgentTraits]:
        present, parameters = self._present(where)
        statement = sql.SQL(
            "SELECT t.id, t.os, t.architecture, t.ip_address, t.version FROM agents AS t WHERE {} ORDER BY {}"
        ).format(present, sql.SQL("t.registered_at, t.id"))
        rows = self._transaction.rows(statement, parameters)
        return [AgentTraits(**dict(zip(_TRAITS, row, strict=True))) for row in rows]

    def _present(self, where: Sequence[Where]) -> tuple[sql.Composable, list[Any]]:
        """The condition of agents that are not retired nor a part of the control plane, and its parameters."""
        conditions, parameters = self._conditions(where)
        present = sql.SQL("t.retired_at IS NULL AND t.id <> ALL (%s)")
        return sql.SQL(" AND ").join([present, *conditions]), [list(SENTINEL_AGENTS), *parameters]

    def add_activity(self, heard: Sequence[Activity]) -> None:
        # In order, so that two processes that count the same agents do not wait for each other in a circle.
        self._transaction.change(
            b"""
            INSERT INTO agent_activity AS known (agent_id, hour, heartbeats, polls)
            SELECT new.* FROM unnest(%s::text[], %s::timestamptz[], %s::int[], %s::int[])
                AS new (agent_id, hour, heartbeats, polls)
            WHERE EXISTS (SELECT FROM agents WHERE id = new.agent_id)
            ORDER BY new.agent_id, new.hour
            ON CONFLICT (agent_id, hour) DO UPDATE SET
                heartbeats = known.heartbeats + excluded.heartbeats, polls = known.polls + excluded.polls
            """,
            [
                [one.agent_id for one in heard],
                [one.hour for one in heard],
                [one.heartbeats for one in heard],
                [one.polls for one in heard],
            ],
        )

    def activity(self, agent_id: AgentId, since: datetime) -> Sequence[Activity]:
        rows = self._transaction.rows(
            b"""
            SELECT agent_id, hour, heartbeats, polls FROM agent_activity WHERE agent_id = %s AND hour >= %s
            ORDER BY hour
            """,
            [agent_id, since],
        )
        return [Activity(AgentId(agent), hour.astimezone(UTC), beats, polls) for agent, hour, beats, polls in rows]

    def forget_activity(self, before: datetime) -> None:
        self._transaction.change(b"DELETE FROM agent_activity WHERE hour < %s", [before])


class PostgresJoinTokens(PostgresTable[JoinToken], JoinTokens):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _JOIN_TOKEN)

    def lock_by_hash(self, token_hash: str) -> JoinToken | None:
        return self.one("SELECT {columns} FROM {table} AS t WHERE t.token_hash = %(hash)s FOR UPDATE", hash=token_hash)


class PostgresApiKeys(PostgresTable[ApiKey], ApiKeys):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _API_KEY)

    def by_hashes(self, key_hashes: Iterable[str]) -> Mapping[str, ApiKey]:
        wanted = sorted(set(key_hashes))
        found = self.select("SELECT {columns} FROM {table} AS t WHERE t.key_hash = ANY(%(hashes)s)", hashes=wanted)
        return {key.key_hash: key for key in found}

    def used(self, key_ids: Sequence[ApiKeyId], at: datetime) -> None:
        # Many requests carry the same key at once: none waits for another to note the same minute.
        self._transaction.change(
            b"""
            UPDATE api_keys SET last_used_at = %(at)s WHERE id = ANY(ARRAY(
                SELECT id FROM api_keys
                WHERE id = ANY(%(ids)s) AND (last_used_at IS NULL OR last_used_at <= %(before)s)
                FOR NO KEY UPDATE SKIP LOCKED
            ))
            """,
            {"ids": list(key_ids), "at": at, "before": at - _USE_PRECISION},
        )

    def revoke_of_agent(self, agent_id: AgentId, at: datetime) -> None:
        self._transaction.change(
            b"""
            UPDATE api_keys SET revoked_at = %(at)s, revision = revision + 1
            WHERE agent_id = %(agent)s AND revoked_at IS NULL
            """,
            {"agent": agent_id, "at": at},
        )

    def changes(self) -> int:
        row = self._transaction.row(b"SELECT changes FROM api_key_changes")
        return int(row[0]) if row else 0

    def any(self) -> bool:
        row = self._transaction.row(b"SELECT EXISTS (SELECT FROM api_keys WHERE role <> 'agent')")
        return bool(row and row[0])


class PostgresSessions(Sessions):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _SESSION)
        self._keys = PostgresTable(transaction, _API_KEY)

    def add(self, session: Session) -> None:
        self._table.add(session)

    def find(self, id_hash: str, now: datetime) -> tuple[Session, ApiKey] | None:
        session = self._table.one(
            "SELECT {columns} FROM {table} AS t WHERE t.id_hash = %(hash)s AND t.expires_at > %(now)s",
            hash=id_hash,
            now=now,
        )
        if session is None:
            return None
        key = self._keys.one(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.id = %(id)s AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > %(now)s)
            """,
            id=session.api_key_id,
            now=now,
        )
        return None if key is None else (session, key)

    def remove(self, id_hash: str) -> None:
        self._transaction.change(b"DELETE FROM sessions WHERE id_hash = %s", [id_hash])

    def purge(self, now: datetime) -> int:
        return self._transaction.change(b"DELETE FROM sessions WHERE expires_at <= %s", [now])
