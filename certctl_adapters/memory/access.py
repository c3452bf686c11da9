"""Agents and credentials in memory."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import evolve, fields_dict

from certctl_adapters.kinds import AGENTS, API_KEYS, CERTIFICATES, JOBS, JOIN_TOKENS, SESSIONS, TARGETS
from certctl_adapters.memory.table import MemoryTable, by
from certctl_adapters.memory.transaction import Transaction
from certctl_core.ids import AgentId, ApiKeyId
from certctl_core.models.access import ApiKey, Role, Session
from certctl_core.models.agents import SENTINEL_AGENTS, Agent, AgentCounts, AgentStatus, AgentTraits, JoinToken
from certctl_core.models.certificates import CertificateStatus
from certctl_core.models.jobs import OPEN_JOB
from certctl_core.ports.store import Activity, Agents, ApiKeys, JoinTokens, Sessions, Where

_HEARD = (
    "status",
    "last_heartbeat_at",
    "hostname",
    "os",
    "architecture",
    "ip_address",
    "version",
    "clock_offset",
)
_USE_PRECISION = timedelta(minutes=1)
_ACTIVITY = "agent_activity"
_KEY_CHANGES = "api_key_changes"


class MemoryAgents(MemoryTable[Agent], Agents):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, AGENTS)

    def due_for_offline(self, heard_before: datetime, limit: int) -> Sequence[Agent]:
        def is_quiet(agent: Agent) -> bool:
            is_watched = agent.status is not AgentStatus.OFFLINE and agent.retired_at is None
            return is_watched and agent.last_heartbeat_at is not None and agent.last_heartbeat_at < heard_before

        return self.select(is_quiet, by("last_heartbeat_at", "id"), limit)

    def heard(self, *agents: Agent) -> None:
        for agent in agents:
            stored = self.find(agent.id)
            if stored is not None and stored.retired_at is None:
                changes = {name: getattr(agent, name) for name in _HEARD}
                self._transaction.replace(AGENTS, evolve(stored, **changes))

    def counts(self, agent_id: AgentId) -> AgentCounts:
        rows = self._transaction.rows
        targets = {t.id for t in rows(TARGETS.table).values() if t.agent_id == agent_id and t.retired_at is None}
        living = (c for c in rows(CERTIFICATES.table).values() if c.status is not CertificateStatus.ARCHIVED)
        jobs = (job for job in rows(JOBS.table).values() if job.agent_id == agent_id and job.status in OPEN_JOB)
        return AgentCounts(
            active_targets=len(targets),
            active_certificates=sum(1 for certificate in living if targets.intersection(certificate.target_ids)),
            pending_jobs=sum(1 for _ in jobs),
        )

    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[str, int]:
        counted = (a for a in self.having(where) if a.retired_at is None and a.id not in SENTINEL_AGENTS)
        found = Counter(agent.status for agent in counted)
        return {status.value: found[status] for status in AgentStatus}

    def traits(self, where: Sequence[Where] = ()) -> Sequence[AgentTraits]:
        having = (a for a in self.having(where) if a.retired_at is None and a.id not in SENTINEL_AGENTS)
        present = sorted(having, key=by("registered_at", "id"))
        return [AgentTraits(**{name: getattr(agent, name) for name in fields_dict(AgentTraits)}) for agent in present]

    def add_activity(self, heard: Sequence[Activity]) -> None:
        for new in heard:
            if self.find(new.agent_id) is None:
                continue
            key = (new.agent_id, new.hour)
            known = self._transaction.rows(_ACTIVITY).get(key) or Activity(*key)
            sums = {name: getattr(known, name) + getattr(new, name) for name in ("heartbeats", "polls")}
            self._transaction.set(_ACTIVITY, key, evolve(known, **sums))

    def activity(self, agent_id: AgentId, since: datetime) -> Sequence[Activity]:
        rows = self._transaction.rows(_ACTIVITY)
        return [one for (agent, hour), one in sorted(rows.items()) if agent == agent_id and hour >= since]

    def forget_activity(self, before: datetime) -> None:
        for key in [key for key in self._transaction.rows(_ACTIVITY) if key[1] < before]:
            self._transaction.unset(_ACTIVITY, key)


class MemoryJoinTokens(MemoryTable[JoinToken], JoinTokens):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, JOIN_TOKENS)

    def lock_by_hash(self, token_hash: str) -> JoinToken | None:
        found = self.select(lambda token: token.token_hash == token_hash, by("id"))
        return found[0] if found else None


class MemoryApiKeys(MemoryTable[ApiKey], ApiKeys):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, API_KEYS)

    def by_hashes(self, key_hashes: Iterable[str]) -> Mapping[str, ApiKey]:
        wanted = frozenset(key_hashes)
        return {key.key_hash: key for key in self.select(lambda key: key.key_hash in wanted, by("id"))}

    def used(self, key_ids: Sequence[ApiKeyId], at: datetime) -> None:
        for key in self.many(key_ids).values():
            if key.last_used_at is None or key.last_used_at <= at - _USE_PRECISION:
                self._transaction.replace(API_KEYS, evolve(key, last_used_at=at))

    def revoke_of_agent(self, agent_id: AgentId, at: datetime) -> None:
        for key in self.select(lambda key: key.agent_id == agent_id and key.revoked_at is None, by("id")):
            self.save(evolve(key, revoked_at=at))

    def any(self) -> bool:
        return any(key.role is not Role.AGENT for key in self._rows.values())

    def changes(self) -> int:
        return int(self._transaction.rows(_KEY_CHANGES).get(_KEY_CHANGES, 0))

    def save(self, fact: ApiKey) -> ApiKey:
        self._transaction.set(_KEY_CHANGES, _KEY_CHANGES, self.changes() + 1)
        return super().save(fact)

    def remove(self, identity: str) -> None:
        self._transaction.set(_KEY_CHANGES, _KEY_CHANGES, self.changes() + 1)
        super().remove(identity)


class MemorySessions(Sessions):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, session: Session) -> None:
        self._transaction.insert(SESSIONS, session)

    def find(self, id_hash: str, now: datetime) -> tuple[Session, ApiKey] | None:
        session: Session | None = self._transaction.rows(SESSIONS.table).get(id_hash)
        if session is None or session.expires_at <= now:
            return None
        key: ApiKey = self._transaction.rows(API_KEYS.table)[session.api_key_id]
        is_live = key.revoked_at is None and (key.expires_at is None or key.expires_at > now)
        return (session, key) if is_live else None

    def remove(self, id_hash: str) -> None:
        self._transaction.unset(SESSIONS.table, id_hash)

    def purge(self, now: datetime) -> int:
        rows = self._transaction.rows(SESSIONS.table)
        ended = [key for key, session in rows.items() if session.expires_at <= now]
        for key in ended:
            self.remove(key)
        return len(ended)
