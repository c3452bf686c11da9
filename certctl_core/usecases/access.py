"""API keys, join tokens and dashboard sessions: made here, shown once, kept as SHA-256.

A key is 256 random bits, so a plain hash is as strong as the key; a slow password hash would only slow every request.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from attrs import evolve, frozen

from certctl_core.errors import CertctlError, Conflict, Forbidden, Gone, Invalid, NotAuthenticated, NotFound
from certctl_core.ids import AgentId, ApiKeyId, TeamId, mint
from certctl_core.lifecycle import agent as agent_life
from certctl_core.models.access import EVERYTHING, Actor, ApiKey, Principal, Role, Scope, Session
from certctl_core.models.agents import Agent
from certctl_core.ports import Ports
from certctl_core.ports.store import Page, Query, Work
from certctl_core.usecases import audit, scope

KEY_PREFIX: Final = "cck_"
TOKEN_PREFIX: Final = "cjt_"  # noqa: S105 - what every token begins with is no secret
SESSION_LIFE: Final = timedelta(hours=12)
_USE_NOTED_EVERY: Final = timedelta(minutes=1)
_MOST_LIMITS: Final = 100
NEVER: Final = datetime(1, 1, 1, tzinfo=UTC)
"""An expiry that takes the expiry away."""


@frozen
class NewKey:
    """A key just made. `plain` is shown to its owner once and kept nowhere."""

    record: ApiKey
    plain: str


def secret_text(prefix: str) -> str:
    """A fresh secret: the prefix lets scanners and people recognise it, the rest is 256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """The form in which a key, token or cookie is stored and looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add_key(
    work: Work,
    actor: Actor,
    at: datetime,
    name: str,
    role: Role,
    *,
    agent_id: AgentId | None = None,
    expires_at: datetime | None = None,
    limits: Scope = EVERYTHING,
) -> NewKey:
    """Make a key inside an open transaction."""
    plain = secret_text(KEY_PREFIX)
    record = ApiKey(
        id=ApiKeyId(mint("key", at)),
        name=name,
        key_hash=digest(plain),
        role=role,
        agent_id=agent_id,
        team_ids=tuple(sorted(limits.team_ids)),
        environments=tuple(sorted(limits.environments)),
        created_by=actor.name,
        created_at=at,
        expires_at=expires_at,
    )
    work.api_keys.add(record)
    audit.record(work, actor, at, "api_key_created", "api_key", record.id, name=name, role=role.value, **_told(record))
    return NewKey(record, plain)


def create_key(
    ports: Ports,
    caller: Actor,
    name: str,
    role: Role,
    *,
    expires_at: datetime | None = None,
    team_ids: Iterable[TeamId] | None = None,
    environments: Iterable[str] | None = None,
) -> NewKey:
    """A key for a person or a program. Agents get theirs by joining.

    Limits that are not given are those of the caller's own key. Raises `Invalid` for teams that do not exist and for
    limits beyond the caller's own: nobody makes a key that reaches further.
    """
    now = ports.clock.now()
    if not name.strip():
        raise Invalid.field("name", "must not be empty")
    if role is Role.AGENT:
        raise Invalid.field("role", "agent keys are made by joining", hint="Issue a join token instead.")
    if expires_at is not None and expires_at <= now:
        raise Invalid.field("expires_at", "must lie in the future")
    limits = Scope(
        caller.scope.team_ids if team_ids is None else frozenset(team_ids),
        caller.scope.environments if environments is None else frozenset(environments),
    )
    _must_be_covered(caller, limits)
    with ports.work() as work:
        return add_key(work, caller, now, name.strip(), role, expires_at=expires_at, limits=limits)


def _must_be_covered(caller: Actor, limits: Scope) -> None:
    """Raises `Invalid` naming the limits that go beyond those of the caller."""
    for field, mine, asked in (
        ("team_ids", caller.scope.team_ids, limits.team_ids),
        ("environments", caller.scope.environments, limits.environments),
    ):
        if len(asked) > _MOST_LIMITS:
            raise Invalid.field(field, f"must be {_MOST_LIMITS} at most")
        if mine and not (asked and mine.issuperset(asked)):
            within = ", ".join(sorted(mine))
            raise Invalid.field(field, f"must be within reach of your own key: {within}")


def ensure_first_key(ports: Ports, actor: Actor) -> NewKey | None:
    """The admin key of a first start, or None when there are keys. The caller holds the start-up lock."""
    now = ports.clock.now()
    with ports.work() as work:
        return None if work.api_keys.any() else add_key(work, actor, now, "admin", Role.ADMIN)


def authenticate(ports: Ports, presented: str, request_id: str = "") -> Principal:
    """Who presents this key. Raises as `key_of`."""
    return principal_of(key_of(ports, presented), request_id)


def key_of(ports: Ports, presented: str) -> ApiKey:
    """The key that is presented, its use noted. Raises `NotAuthenticated` for one that is unknown, expired or revoked,
    and `Gone` for that of a retired agent."""
    key = ports.together.ask("keys", partial(_keys_of, ports), digest(presented))
    if isinstance(key, CertctlError):
        raise key
    return key


def _keys_of(ports: Ports, hashes: Sequence[str]) -> Sequence[ApiKey | CertctlError]:
    now = ports.clock.now()
    with ports.work() as work:
        found = work.api_keys.by_hashes(hashes)
        outcomes = [_usable(work, found.get(key_hash), key_hash, now) for key_hash in hashes]
        live = {key.id: key for key in outcomes if isinstance(key, ApiKey)}
        idle = [key.id for key in live.values() if not key.last_used_at or key.last_used_at <= now - _USE_NOTED_EVERY]
        if idle:
            work.api_keys.used(idle, now)
    return outcomes


def _usable(work: Work, key: ApiKey | None, key_hash: str, now: datetime) -> ApiKey | CertctlError:
    usable = key is not None and hmac.compare_digest(key.key_hash, key_hash) and is_live(key, now)
    if key is not None and key.agent_id is not None and key.revoked_at is not None:
        # Retiring an agent revokes its key; whoever still holds it is told to stop rather than to try another.
        try:
            agent_life.must_be_active(work.agents.get(key.agent_id))
        except Gone as gone:
            return gone
    if key is None or not usable:
        return NotAuthenticated("Invalid API key", hint="Check the key, or ask an administrator for a new one.")
    return key


def key_changes(ports: Ports) -> int:
    """How often a key has been changed or removed: see `ApiKeys.changes`."""
    with ports.work() as work:
        return work.api_keys.changes()


def principal_of(key: ApiKey, request_id: str = "") -> Principal:
    """The caller a key stands for. An agent is known by its id, since its work is bound to it."""
    return Principal(key.agent_id or key.name, key.role, key.agent_id, request_id, key.scope, key.id)


def must_be_able_to_act(caller: Principal) -> None:
    """Agents act as themselves. Operators and administrators may run an agent by hand with their own key, unless it is
    limited: an agent's work is whatever certificates its targets have. Raises `Forbidden`."""
    if caller.role not in (Role.AGENT, Role.OPERATOR, Role.ADMIN):
        raise Forbidden(f"a key with role {caller.role.value} cannot act as an agent")
    scope.must_reach_everything(caller)


def must_act_for(caller: Principal, agent_id: str) -> None:
    """Raises `Forbidden` for whoever may not act as this agent."""
    must_be_able_to_act(caller)
    if caller.role is Role.AGENT and caller.agent_id != agent_id:
        raise Forbidden(f"this key belongs to agent {caller.agent_id} and cannot act as {agent_id}")


def unfit(agents: Mapping[str, Agent], agent_id: str) -> CertctlError | None:
    """Why this agent, if it is not among `agents` or retired, is to be given nothing."""
    if agent_id not in agents:
        return NotFound.of("agent", agent_id)
    try:
        agent_life.must_be_active(agents[agent_id])
    except Gone as gone:
        return gone
    return None


@frozen(kw_only=True)
class UpdateKey:
    """What to change; None leaves a field as it is. `NEVER` takes the expiry away."""

    name: str | None = None
    expires_at: datetime | None = None
    team_ids: tuple[TeamId, ...] | None = None
    environments: tuple[str, ...] | None = None


def update_key(ports: Ports, caller: Actor, key_id: str, asked: UpdateKey) -> ApiKey:
    """Change what is given; it counts from the next request on, for sessions that are open too. Raises `Invalid` as
    `create_key`, and `Conflict` for a key that is revoked or an agent's, which goes as far as its agent."""
    now = ports.clock.now()
    if asked.name is not None and not asked.name.strip():
        raise Invalid.field("name", "must not be empty")
    if asked.expires_at is not None and asked.expires_at != NEVER and asked.expires_at <= now:
        raise Invalid.field("expires_at", "must lie in the future", hint="To end a key now, revoke it.")
    with ports.work() as work:
        before = _covered(caller, work.api_keys.lock_unchanged(key_id))
        if before.revoked_at is not None or before.role is Role.AGENT:
            why = "revoked" if before.revoked_at is not None else "an agent's"
            raise Conflict(f"key {before.id} cannot be changed: it is {why}", hint="Make another key.")
        wanted = evolve(
            before,
            name=before.name if asked.name is None else asked.name.strip(),
            expires_at=_expiry(before, asked),
            team_ids=before.team_ids if asked.team_ids is None else tuple(sorted(set(asked.team_ids))),
            environments=before.environments if asked.environments is None else tuple(sorted(set(asked.environments))),
        )
        _must_be_covered(caller, wanted.scope)
        after = work.api_keys.save(wanted)
        audit.record(work, caller, now, "api_key_updated", "api_key", after.id, name=after.name, **_told(after))
    return after


def _expiry(key: ApiKey, asked: UpdateKey) -> datetime | None:
    if asked.expires_at is None:
        return key.expires_at
    return None if asked.expires_at == NEVER else asked.expires_at


def _told(key: ApiKey) -> dict[str, object]:
    """What the audit trail tells of a key's reach."""
    return {
        "team_ids": list(key.team_ids),
        "environments": list(key.environments),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
    }


def revoke_key(ports: Ports, caller: Actor, key_id: str) -> None:
    """From now on the key opens nothing; sessions that were opened with it end."""
    now = ports.clock.now()
    with ports.work() as work:
        key = _covered(caller, work.api_keys.lock(key_id))
        if key.revoked_at is None:
            work.api_keys.save(evolve(key, revoked_at=now))
            audit.record(work, caller, now, "api_key_revoked", "api_key", key.id, name=key.name)


def _covered(caller: Actor, key: ApiKey) -> ApiKey:
    """The key, when it reaches no further than the caller. Raises `NotFound`."""
    if not caller.scope.covers(key.scope):
        raise NotFound.of("API key", key.id)
    return key


def page_keys(ports: Ports, caller: Actor, query: Query) -> Page[ApiKey]:
    """Keys that reach no further than the caller."""
    with ports.work() as work:
        return work.api_keys.page(evolve(query, where=(*query.where, *scope.covered(caller))))


@frozen
class LoggedIn:
    """A dashboard session; `cookie` is shown to the browser once."""

    session: Session
    cookie: str
    key: ApiKey


def log_in(ports: Ports, presented: str) -> LoggedIn:
    """Open a dashboard session with an API key. Raises `NotAuthenticated`; agent keys cannot log in."""
    now = ports.clock.now()
    with ports.work() as work:
        key = work.api_keys.by_hashes([digest(presented)]).get(digest(presented))
        if key is None or not is_live(key, now) or key.role is Role.AGENT:
            raise NotAuthenticated("That API key is not valid here")
        cookie = secrets.token_urlsafe(32)
        expires_at = min(filter(None, (now + SESSION_LIFE, key.expires_at)))
        session = Session(
            id_hash=digest(cookie),
            api_key_id=key.id,
            csrf_token=secrets.token_urlsafe(32),
            created_at=now,
            expires_at=expires_at,
        )
        work.sessions.add(session)
        audit.record(work, principal_of(key), now, "session_opened", "api_key", key.id)
    return LoggedIn(session, cookie, key)


def session(ports: Ports, cookie: str) -> tuple[Session, ApiKey] | None:
    """The open session of a cookie, if there is one."""
    with ports.work() as work:
        return work.sessions.find(digest(cookie), ports.clock.now())


def log_out(ports: Ports, cookie: str) -> None:
    with ports.work() as work:
        work.sessions.remove(digest(cookie))


def purge_sessions(ports: Ports) -> int:
    """Forget sessions that have ended. Returns how many."""
    with ports.work() as work:
        return work.sessions.purge(ports.clock.now())


def is_live(key: ApiKey, now: datetime) -> bool:
    """Whether the key opens anything now."""
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)
