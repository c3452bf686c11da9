"""Agent groups: make, change, remove, look, and who is in them.

A rule can be about the certificates of a group's agents. So whatever changes who is in a group leads to a review.
"""

from typing import Any

from attrs import asdict, evolve, frozen

from certctl_core.errors import Forbidden, Invalid
from certctl_core.ids import AgentGroupId, AgentId, mint
from certctl_core.models.access import Actor
from certctl_core.models.agents import SENTINEL_AGENTS, Agent, AgentGroup, AgentGroupMembership, MembershipType
from certctl_core.policy import membership
from certctl_core.ports import Ports
from certctl_core.ports.store import Page, Query
from certctl_core.usecases import audit, compliance, scope
from certctl_core.usecases.soundness import must_be_sound

RESOURCE = "agent_group"


@frozen(kw_only=True)
class CreateGroup:
    name: str
    id: AgentGroupId | None = None
    description: str = ""
    match_os: str = ""
    match_architecture: str = ""
    match_ip_cidr: str = ""
    match_version: str = ""
    enabled: bool = True


@frozen(kw_only=True)
class UpdateGroup:
    """What to change; None leaves a field as it is, an empty text takes a criterion away."""

    name: str | None = None
    description: str | None = None
    match_os: str | None = None
    match_architecture: str | None = None
    match_ip_cidr: str | None = None
    match_version: str | None = None
    enabled: bool | None = None


def create(ports: Ports, caller: Actor, asked: CreateGroup) -> AgentGroup:
    """Raises `Invalid` naming each field that is wrong."""
    _must_be_unlimited(caller)
    now = ports.clock.now()
    wanted = asdict(asked, recurse=False) | {"id": asked.id or AgentGroupId(mint("ag", now))}
    group = AgentGroup(**wanted, created_at=now, updated_at=now)
    must_be_sound("agent group", group.id, group.name, membership.problems(group))
    with ports.work() as work:
        work.agent_groups.add(group)
        audit.record(work, caller, now, "create_agent_group", RESOURCE, group.id, name=group.name)
    return group


def update(ports: Ports, caller: Actor, group_id: str, asked: UpdateGroup) -> AgentGroup:
    """Raises as `create`, and `StaleWrite` when somebody else changes the group at the same time."""
    _must_be_unlimited(caller)
    now = ports.clock.now()
    with ports.work() as work:
        before = work.agent_groups.get(group_id)
    given: dict[str, Any] = {name: value for name, value in asdict(asked).items() if value is not None}
    after = evolve(before, **given, updated_at=now)
    must_be_sound("agent group", after.id, after.name, membership.problems(after))
    with ports.work() as work:
        saved = work.agent_groups.save(after)
        about = [rule.id for rule in work.policy_rules.in_force() if saved.id in rule.agent_group_ids]
        compliance.rules_changed(work, about, now)
        changed = {name: value for name, value in given.items() if value != getattr(before, name)}
        audit.record(work, caller, now, "update_agent_group", RESOURCE, saved.id, changed=changed)
    return saved


def delete(ports: Ports, caller: Actor, group_id: str) -> None:
    """Raises `InUse` while policy rules are about it: without it they would be about everything."""
    _must_be_unlimited(caller)
    with ports.work() as work:
        work.agent_groups.remove(group_id)
        audit.record(work, caller, ports.clock.now(), "delete_agent_group", RESOURCE, group_id)


def get(ports: Ports, _caller: Actor, group_id: str) -> AgentGroup:
    """Groups are everybody's."""
    with ports.work() as work:
        return work.agent_groups.get(group_id)


def page(ports: Ports, _caller: Actor, query: Query) -> Page[AgentGroup]:
    with ports.work() as work:
        return work.agent_groups.page(query)


def members(ports: Ports, caller: Actor, group_id: str, limit: int | None = None, offset: int = 0) -> Page[Agent]:
    """The agents in a group that the caller sees, in order of registration; all of them without a limit. Of each agent
    no more is read than what tells whether it belongs, but for those on the page."""
    with ports.work() as work:
        group = work.agent_groups.get(group_id)
        decided = {one.agent_id: one.membership_type for one in work.agent_groups.memberships(group.id)}
        found = [
            agent.id
            for agent in work.agents.traits(scope.limited(caller))
            if membership.is_member(group, agent, decided.get(agent.id))
        ]
        end = len(found) if limit is None else offset + limit
        items = tuple(work.agents.many(found[offset:end]).values())
    return Page(items, len(found), more=end < len(found))


def memberships(ports: Ports, caller: Actor, group_id: str) -> tuple[AgentGroupMembership, ...]:
    """What was decided by hand about a group, and agents that the caller sees. Raises `NotFound`."""
    with ports.work() as work:
        found = work.agent_groups.memberships(work.agent_groups.get(group_id).id)
        if caller.scope.is_everything:
            return tuple(found)
        agents = work.agents.many({one.agent_id for one in found})
    return tuple(one for one in found if one.agent_id in agents and scope.reaches(caller, agents[one.agent_id]))


def put_member(
    ports: Ports, caller: Actor, group_id: str, agent_id: str, decision: MembershipType
) -> AgentGroupMembership:
    """Put an agent into a group, or out of it, whatever the criteria say. Raises `NotFound` for either of them, and
    `Invalid` for an agent that is a part of the control plane: those are in no group."""
    _must_be_unlimited(caller)
    if agent_id in SENTINEL_AGENTS:
        raise Invalid.field("agent_id", f"{agent_id} is a part of the control plane, which is in no group")
    now = ports.clock.now()
    decided = AgentGroupMembership(
        agent_group_id=AgentGroupId(group_id), agent_id=AgentId(agent_id), membership_type=decision, created_at=now
    )
    with ports.work() as work:
        work.agent_groups.get(group_id)
        work.agents.get(agent_id)
        work.agent_groups.put_membership(decided)
        compliance.agents_changed(work, [decided.agent_id], now)
        audit.record(
            work,
            caller,
            now,
            "put_agent_group_member",
            RESOURCE,
            group_id,
            agent_id=agent_id,
            membership_type=decision.value,
        )
    return decided


def remove_member(ports: Ports, caller: Actor, group_id: str, agent_id: str) -> None:
    """Leave it to the criteria again. Raises `NotFound` when nothing was decided by hand."""
    _must_be_unlimited(caller)
    now = ports.clock.now()
    with ports.work() as work:
        work.agent_groups.remove_membership(AgentGroupId(group_id), AgentId(agent_id))
        compliance.agents_changed(work, [AgentId(agent_id)], now)
        audit.record(work, caller, now, "remove_agent_group_member", RESOURCE, group_id, agent_id=agent_id)


def _must_be_unlimited(caller: Actor) -> None:
    """Agents belong to no team, and groups decide whom rules are about. Raises `Forbidden` for a limited key."""
    if not caller.scope.is_everything:
        raise Forbidden(
            "this key is limited to teams or environments, and agent groups are about all",
            hint="Use a key without limits.",
        )
