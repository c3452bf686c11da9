"""Agent groups and who is in them."""

from typing import Any

import pytest

from certctl_core.errors import InUse, Invalid, NotFound
from certctl_core.ids import AgentGroupId, PolicyRuleId
from certctl_core.models.agents import SENTINEL_AGENTS, Agent, AgentGroup, MembershipType
from certctl_core.models.policies import PolicyType
from certctl_core.ports.store import Query
from certctl_core.usecases import agent_groups, agents, policies
from tests.core.usecases.world import ADMIN, World, as_agent

GROUP = AgentGroupId("ag-1")


def group(world: World, **fields: Any) -> AgentGroup:
    return agent_groups.create(world.ports, ADMIN, agent_groups.CreateGroup(id=GROUP, name="edge", **fields))


def change(world: World, **fields: Any) -> AgentGroup:
    return agent_groups.update(world.ports, ADMIN, GROUP, agent_groups.UpdateGroup(**fields))


def fleet(world: World) -> list[Agent]:
    found = []
    for number in range(6):
        agent = world.agent(f"web-{number}")
        beat = agents.Heartbeat(
            os="linux" if number % 2 else "windows", version=f"1.{number}", ip_address=f"10.0.{number}.1"
        )
        found.append(agents.heartbeat(world.ports, as_agent(agent), agent.id, beat))
    return found


def names(world: World, limit: int | None = None, offset: int = 0) -> tuple[list[str], int]:
    found = agent_groups.members(world.ports, ADMIN, GROUP, limit, offset)
    return [agent.name for agent in found.items], found.total


def test_members_are_those_that_meet_the_criteria(world: World) -> None:
    fleet(world)
    group(world, match_os="linux", match_version=">=1.2")
    assert names(world) == (["web-3", "web-5"], 2)
    change(world, match_version="")
    assert names(world) == (["web-1", "web-3", "web-5"], 3)
    change(world, match_ip_cidr="10.0.4.0/23")
    assert names(world) == (["web-5"], 1)


def test_a_page_of_members_knows_how_many_there_are(world: World) -> None:
    fleet(world)
    group(world)
    assert names(world, 4, 0) == (["web-0", "web-1", "web-2", "web-3"], 6)
    assert names(world, 4, 4) == (["web-4", "web-5"], 6)
    assert names(world, 4, 8) == ([], 6)
    assert agent_groups.members(world.ports, ADMIN, GROUP, 4, 0).more
    assert not agent_groups.members(world.ports, ADMIN, GROUP, 4, 4).more


def test_agents_are_put_in_and_out_by_hand_and_left_to_the_criteria_again(world: World) -> None:
    web = fleet(world)
    group(world, match_os="linux")
    agent_groups.put_member(world.ports, ADMIN, GROUP, web[0].id, MembershipType.INCLUDE)
    agent_groups.put_member(world.ports, ADMIN, GROUP, web[1].id, MembershipType.INCLUDE)
    agent_groups.put_member(world.ports, ADMIN, GROUP, web[1].id, MembershipType.EXCLUDE)
    assert names(world) == (["web-0", "web-3", "web-5"], 3)
    assert [(one.agent_id, one.membership_type) for one in agent_groups.memberships(world.ports, ADMIN, GROUP)] == [
        (web[0].id, MembershipType.INCLUDE),
        (web[1].id, MembershipType.EXCLUDE),
    ]
    change(world, enabled=False)
    assert names(world) == ([], 0)
    change(world, enabled=True)
    for agent in web[:2]:
        agent_groups.remove_member(world.ports, ADMIN, GROUP, agent.id)
    assert names(world) == (["web-1", "web-3", "web-5"], 3)
    assert [action for action in world.actions() if "member" in action] == [
        *["put_agent_group_member"] * 3,
        *["remove_agent_group_member"] * 2,
    ]


def test_retired_agents_and_the_control_plane_are_in_no_group(world: World) -> None:
    web = fleet(world)
    group(world)
    agent_groups.put_member(world.ports, ADMIN, GROUP, web[0].id, MembershipType.INCLUDE)
    agents.retire(world.ports, ADMIN, web[0].id)
    assert names(world)[1] == 5
    with pytest.raises(Invalid, match="part of the control plane"):
        agent_groups.put_member(world.ports, ADMIN, GROUP, SENTINEL_AGENTS[0], MembershipType.INCLUDE)


def test_nobody_is_put_into_nothing(world: World) -> None:
    (agent, *_) = fleet(world)
    for group_id, agent_id in ((GROUP, agent.id), (GROUP, "nobody")):
        with pytest.raises(NotFound):
            agent_groups.put_member(world.ports, ADMIN, group_id, agent_id, MembershipType.INCLUDE)
    group(world)
    with pytest.raises(NotFound, match="nobody"):
        agent_groups.put_member(world.ports, ADMIN, GROUP, "nobody", MembershipType.INCLUDE)
    with pytest.raises(NotFound):
        agent_groups.remove_member(world.ports, ADMIN, GROUP, agent.id)
    with pytest.raises(NotFound):
        agent_groups.memberships(world.ports, ADMIN, "nothing")
    with pytest.raises(NotFound):
        agent_groups.members(world.ports, ADMIN, "nothing")


def test_what_is_wrong_with_a_group_is_named(world: World) -> None:
    with pytest.raises(Invalid) as refused:
        group(world, match_ip_cidr="10.0.0.1/8", match_version="~1")
    assert [problem.field for problem in refused.value.fields] == ["match_ip_cidr", "match_version"]
    group(world)
    with pytest.raises(Invalid, match="match_version"):
        change(world, match_version="1.x")


def test_a_group_that_rules_are_about_stays(world: World) -> None:
    group(world)
    asked = policies.CreateRule(
        id=PolicyRuleId("pr-1"), name="edge only", type=PolicyType.ALLOWED_ISSUERS, agent_group_ids=(GROUP,)
    )
    policies.create(world.ports, ADMIN, asked)
    with pytest.raises(InUse, match="1 policy rule"):
        agent_groups.delete(world.ports, ADMIN, GROUP)
    policies.delete(world.ports, ADMIN, "pr-1")
    agent_groups.delete(world.ports, ADMIN, GROUP)
    assert agent_groups.page(world.ports, ADMIN, Query()).total == 0
    assert world.actions()[-1] == "delete_agent_group"


def test_everything_done_to_groups_is_audited(world: World) -> None:
    group(world)
    change(world, description="the edge of it")
    agent_groups.delete(world.ports, ADMIN, GROUP)
    assert world.actions()[-3:] == ["create_agent_group", "update_agent_group", "delete_agent_group"]
