"""Agents: joining with a single-use token, heartbeats, retirement."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from attrs import evolve, frozen

from certctl_core.errors import CertctlError, Conflict, Forbidden, Gone, InUse, Invalid, NotAuthenticated, NotFound
from certctl_core.ids import AgentId, JoinTokenId, TeamId, mint
from certctl_core.lifecycle import agent as life
from certctl_core.lifecycle import job as job_life
from certctl_core.models.access import Actor, Principal, Role, SystemActor
from certctl_core.models.agents import SENTINEL_AGENTS, Agent, AgentCounts, JoinToken
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.jobs import OPEN_JOB, Job, JobStatus
from certctl_core.policy import membership
from certctl_core.ports import Ports
from certctl_core.ports.store import Activity, Is, Page, Query, Where, Work
from certctl_core.usecases import access, audit, compliance, consent, jobs, scope

MAX_TOKEN_LIFE: Final = timedelta(days=7)
_BATCH: Final = 500
_EVER: Final = datetime.min.replace(tzinfo=UTC)


@frozen(kw_only=True)
class RegisterAgent:
    name: str
    hostname: str
    os: str = ""
    architecture: str = ""
    ip_address: str = ""
    version: str = ""
    team_ids: tuple[TeamId, ...] | None = None


@frozen(kw_only=True)
class UpdateAgent:
    """What to change; None leaves a field as it is. What an agent says of itself is not for others to change."""

    team_ids: tuple[TeamId, ...] | None = None


@frozen(kw_only=True)
class Heartbeat:
    """What an agent says of itself. Empty fields leave what is known; `sent_at` is the agent's own clock."""

    hostname: str = ""
    os: str = ""
    architecture: str = ""
    ip_address: str = ""
    version: str = ""
    sent_at: datetime | None = None


@frozen
class Registered:
    """A new agent and its key, which is shown once."""

    agent: Agent
    api_key: str


@frozen
class IssuedToken:
    """A new join token, which is shown once."""

    record: JoinToken
    token: str


@frozen
class Retired:
    """How a retirement went. `already`: it had happened before. `cascade`: targets and jobs went with it."""

    agent: Agent
    already: bool
    cascade: bool
    counts: AgentCounts


def issue_join_token(
    ports: Ports,
    caller: Actor,
    agent_name: str = "",
    ttl: timedelta = timedelta(hours=1),
    team_ids: tuple[TeamId, ...] | None = None,
) -> IssuedToken:
    """A token with which one agent may join, once, within `ttl` (at most a week). The agent is limited to `team_ids`,
    which are those of the caller's key when they are not given."""
    if not timedelta(0) < ttl <= MAX_TOKEN_LIFE:
        raise Invalid.field("ttl_seconds", f"must be between 1 and {int(MAX_TOKEN_LIFE.total_seconds())}")
    teams = scope.own_teams(caller, team_ids)
    now = ports.clock.now()
    token = access.secret_text(access.TOKEN_PREFIX)
    record = JoinToken(
        id=JoinTokenId(mint("join", now)),
        token_hash=access.digest(token),
        agent_name=agent_name,
        team_ids=teams,
        created_by=caller.name,
        created_at=now,
        expires_at=now + ttl,
    )
    with ports.work() as work:
        scope.must_exist(work, teams)
        work.join_tokens.add(record)
        audit.record(work, caller, now, "join_token_created", "join_token", record.id, agent_name=agent_name)
    return IssuedToken(record, token)


def join(ports: Ports, token: str, asked: RegisterAgent, request_id: str = "") -> Registered:
    """Exchange a token for an agent and its key. A token that fails to make an agent is not used up. Who asks is known
    by the token alone; `request_id` is of the request that brought it."""
    now = ports.clock.now()
    with ports.work() as work:
        record = work.join_tokens.lock_by_hash(access.digest(token))
        if record is None or record.used_at is not None or record.expires_at <= now:
            raise NotAuthenticated(
                "the join token is unknown, used or expired",
                hint="Ask an operator for a new one: certctl-server token.",
            )
        named = evolve(asked, name=record.agent_name or asked.name, team_ids=record.team_ids)
        registered = _add(work, SystemActor(f"join-token {record.id}", request_id), now, named)
        work.join_tokens.save(evolve(record, used_at=now, used_by=registered.agent.id))
    return registered


def register(ports: Ports, caller: Principal, asked: RegisterAgent) -> Registered:
    """An operator registers an agent by hand and passes its id and key on."""
    owned = evolve(asked, team_ids=scope.own_teams(caller, asked.team_ids))
    with ports.work() as work:
        return _add(work, caller, ports.clock.now(), owned)


def _add(work: Work, actor: Actor, now: datetime, asked: RegisterAgent) -> Registered:
    for name in ("name", "hostname"):
        value = getattr(asked, name)
        if not value.strip():
            raise Invalid.field(name, "must not be empty")
        if len(value) > (128 if name == "name" else 255):
            raise Invalid.field(name, "is too long")
    agent = Agent(
        id=AgentId(mint("agent", now)),
        name=asked.name,
        hostname=asked.hostname,
        os=asked.os,
        architecture=asked.architecture,
        ip_address=asked.ip_address,
        version=asked.version,
        team_ids=asked.team_ids or (),
        registered_at=now,
        last_heartbeat_at=now,
    )
    work.agents.add(agent)
    audit.record(work, actor, now, "agent_registered", "agent", agent.id, name=agent.name, hostname=agent.hostname)
    key = access.add_key(work, actor, now, f"agent {agent.id}", Role.AGENT, agent_id=agent.id)
    return Registered(agent, key.plain)


def get(ports: Ports, caller: Actor, agent_id: str) -> Agent:
    with ports.work() as work:
        agent = work.agents.get(agent_id)
        if not scope.reaches(caller, agent):
            raise NotFound.of("agent", agent_id)
        return agent


def page(ports: Ports, caller: Actor, query: Query) -> Page[Agent]:
    with ports.work() as work:
        return work.agents.page(evolve(query, where=(*query.where, *scope.limited(caller))))


def update(ports: Ports, caller: Actor, agent_id: str, asked: UpdateAgent) -> Agent:
    """Say whose hosts an agent serves. Targets that are there already stay whose they are. Raises `Conflict` for a
    retired agent and `Forbidden` for the parts of the control plane, which are everybody's."""
    if agent_id in SENTINEL_AGENTS:
        raise Forbidden(f"agent {agent_id} is a part of the control plane and cannot be changed")
    now = ports.clock.now()
    with ports.work() as work:
        before = work.agents.lock_unchanged(agent_id)
        scope.must_change(caller, "agent", before)
        teams = before.team_ids if asked.team_ids is None else scope.own_teams(caller, asked.team_ids)
        if before.retired_at is not None:
            raise Conflict(f"agent {before.id} was retired on {before.retired_at:%Y-%m-%d}")
        after = work.agents.save(evolve(before, team_ids=teams))
        audit.record(work, caller, now, "agent_updated", "agent", after.id, name=after.name, team_ids=list(teams))
    return after


def heartbeat(ports: Ports, caller: Principal, agent_id: AgentId, asked: Heartbeat) -> Agent:
    """Raises `Gone` for a retired agent. Times are the server's; the agent's clock is only measured."""
    access.must_act_for(caller, agent_id)
    heard = ports.together.ask("heartbeats", partial(_hear, ports), (agent_id, asked))
    if isinstance(heard, CertctlError):
        raise heard
    return heard


def _hear(ports: Ports, said: Sequence[tuple[AgentId, Heartbeat]]) -> Sequence[Agent | CertctlError]:
    now = ports.clock.now()
    with ports.work() as work:
        before = work.agents.many([agent_id for agent_id, _ in said])
        after = dict(before)
        outcomes = [_heard(after, agent_id, asked, now) for agent_id, asked in said]
        heard = [agent for identity, agent in after.items() if agent is not before[identity]]
        work.agents.heard(*heard)
        if others := [each.id for each in heard if _is_another(before[each.id], each)]:
            compliance.agents_changed(work, others, now)
    return outcomes


def _heard(agents: dict[str, Agent], agent_id: AgentId, asked: Heartbeat, now: datetime) -> Agent | CertctlError:
    """Puts the agent as it is now into its place."""
    if agent_id not in agents:
        return NotFound.of("agent", agent_id)
    try:
        known = life.hear(agents[agent_id], now)
    except Gone as gone:
        return gone
    heard = agents[agent_id] = evolve(
        known,
        hostname=asked.hostname or known.hostname,
        os=asked.os or known.os,
        architecture=asked.architecture or known.architecture,
        ip_address=asked.ip_address or known.ip_address,
        version=asked.version or known.version,
        clock_offset=asked.sent_at - now if asked.sent_at else known.clock_offset,
    )
    return heard


def _is_another(before: Agent, after: Agent) -> bool:
    """Whether what groups look at has changed."""
    return membership.traits_of(before) != membership.traits_of(after)


def add_activity(ports: Ports, heard: Sequence[Activity]) -> None:
    """Add to the counts of heartbeats and polls."""
    if heard:
        with ports.work() as work:
            work.agents.add_activity(heard)


def forget_activity(ports: Ports, retention: timedelta) -> None:
    """Drop the counts of hours longer ago than `retention`."""
    with ports.work() as work:
        work.agents.forget_activity(ports.clock.now() - retention)


def mark_offline(ports: Ports, silence: timedelta) -> int:
    """Agents that have not been heard for `silence` are Offline. Returns how many became so."""
    now = ports.clock.now()
    done = 0
    while True:
        with ports.work() as work:
            quiet = work.agents.due_for_offline(now - silence, _BATCH)
            work.agents.heard(*map(life.miss, quiet))
        done += len(quiet)
        if len(quiet) < _BATCH:
            return done


def retire(ports: Ports, caller: Principal, agent_id: AgentId, *, force: bool = False, reason: str = "") -> Retired:
    """Retire an agent for good. Raises `InUse` with the counts while anything depends on it, unless forced; a forced
    retirement needs a reason and takes the agent's targets and open jobs with it, in the same transaction."""
    if agent_id in SENTINEL_AGENTS:
        raise Forbidden(f"agent {agent_id} is a part of the control plane and cannot be retired")
    if force and not reason.strip():
        raise Invalid.field("reason", "a forced retirement needs a reason")
    now = ports.clock.now()
    with ports.work() as work:
        agent = work.agents.get(agent_id)
        scope.must_change(caller, "agent", agent)
        if agent.retired_at is None:
            _counts(work, agent, force=force)
            certificates = _lock_certificates_with_jobs(work, agent.id)
            agent = work.agents.lock(agent_id)
        if agent.retired_at is not None:
            return Retired(agent, already=True, cascade=False, counts=AgentCounts())
        counts = _counts(work, agent, force=force)
        retired = work.agents.save(life.retire(agent, now, reason))
        work.api_keys.revoke_of_agent(agent.id, now)
        audit.record(work, caller, now, "agent_retired", "agent", agent.id, reason=reason)
        _retire_targets(work, agent, now, reason)
        compliance.agents_changed(work, [agent.id], now)
        for certificate in certificates:
            _end_jobs(work, certificate, agent, now, reason)
        if counts.any:
            audit.record(
                work,
                caller,
                now,
                "agent_retirement_cascaded",
                "agent",
                agent.id,
                reason=reason,
                targets=counts.active_targets,
                jobs=counts.pending_jobs,
            )
    # Renewals that were under way may have opened jobs meanwhile. Their certificates are not to be waited for while the
    # agent is locked, since who holds one may be waiting for the agent.
    with ports.work() as work:
        for certificate in _lock_certificates_with_jobs(work, agent.id):
            _end_jobs(work, certificate, agent, now, reason)
    return Retired(retired, already=False, cascade=counts.any, counts=counts)


def _counts(work: Work, agent: Agent, *, force: bool) -> AgentCounts:
    """What depends on the agent. Raises `InUse` when something does, unless forced."""
    counts = work.agents.counts(agent.id)
    if counts.any and not force:
        raise InUse(
            f"agent {agent.id} still has {counts.active_targets} targets, "
            f"{counts.active_certificates} certificates and {counts.pending_jobs} jobs",
            counts={
                "active_targets": counts.active_targets,
                "active_certificates": counts.active_certificates,
                "pending_jobs": counts.pending_jobs,
            },
            hint="Move them to another agent, or retire with force=true and a reason.",
        )
    return counts


def _lock_certificates_with_jobs(work: Work, agent_id: AgentId) -> list[ManagedCertificate]:
    """Certificates of which the agent has jobs that are open or will try again. They are locked before any of their
    jobs, as everywhere, and in the order of their ids, so that two retirements do not wait for one another."""
    mine = Where("agent_id", agent_id)
    wanted = (
        (mine, Where("status", OPEN_JOB, Is.ONE_OF)),
        (mine, Where("status", JobStatus.FAILED), Where("next_attempt_at", _EVER, Is.AFTER)),
    )
    identities = {job.certificate_id for where in wanted for job in _all_jobs(work, where)}
    return [work.certificates.lock(identity) for identity in sorted(identities)]


def _all_jobs(work: Work, where: tuple[Where, ...]) -> Iterator[Job]:
    query: Query | None = Query(where, limit=_BATCH, count=False)
    while query is not None:
        page = work.jobs.page(query)
        yield from page.items
        query = evolve(query, after=(page.items[-1].created_at, page.items[-1].id)) if page.more else None


def _retire_targets(work: Work, agent: Agent, now: datetime, reason: str) -> None:
    mine = Where("agent_id", agent.id)
    while targets := work.targets.page(Query((mine, Where("retired_at", None)), limit=_BATCH, count=False)).items:
        for target in targets:
            work.targets.save(evolve(target, retired_at=now, retired_reason=reason, enabled=False, updated_at=now))


def _end_jobs(work: Work, certificate: ManagedCertificate, agent: Agent, now: datetime, reason: str) -> None:
    """Cancel the agent's jobs of a certificate that the caller holds, which is Failed if nobody else renews it."""
    why = f"agent {agent.id} was retired: {reason}"
    mine = [job for job in work.jobs.open_of(certificate.id) if job.agent_id == agent.id]
    consent.withdraw(work, work.jobs.save_many([job_life.cancel(job, now, why) for job in mine]), now)
    jobs.abandon_if_idle(work, certificate, now, why)
