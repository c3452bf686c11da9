"""Agent groups and who is in them."""

from typing import Any, Final

from certctl_core.usecases import agent_groups
from certctl_web.access import OPERATORS, PEOPLE
from certctl_web.media.agent_groups import (
    AgentGroup,
    AgentGroupMembership,
    CreateAgentGroup,
    Members,
    Memberships,
    PutMember,
    UpdateAgentGroup,
)
from certctl_web.media.agents import Agent
from certctl_web.media.paging import PagedResponse
from certctl_web.operation import Call, Operation, Row
from certctl_web.operations.catalog import Kind, rows

_ONE: Final = "/api/v1/agent-groups/{id}"

GROUPS: Final[Kind[Any]] = Kind(
    noun="agent_group",
    path="agent-groups",
    sent=AgentGroup,
    created=CreateAgentGroup,
    updated=UpdateAgentGroup,
    create=agent_groups.create,
    update=agent_groups.update,
    delete=agent_groups.delete,
    get=agent_groups.get,
    page=agent_groups.page,
)


def members(call: Call[Members], _: None) -> PagedResponse[Agent]:
    asked = call.query
    return asked.answer(agent_groups.members(call.ports, call.caller, call.path["id"], asked.per_page, asked.offset))


def memberships(call: Call[None], _: None) -> Memberships:
    found = agent_groups.memberships(call.ports, call.caller, call.path["id"])
    return Memberships(data=tuple(AgentGroupMembership.of(one) for one in found), total=len(found))


def put_member(call: Call[None], asked: PutMember) -> AgentGroupMembership:
    group, agent = call.path["id"], call.path["agent_id"]
    return AgentGroupMembership.of(
        agent_groups.put_member(call.ports, call.caller, group, agent, asked.membership_type)
    )


def remove_member(call: Call[None], _: None) -> None:
    agent_groups.remove_member(call.ports, call.caller, call.path["id"], call.path["agent_id"])


ROWS: Final[tuple[Row, ...]] = (
    *rows(GROUPS),
    Operation(
        name="list_agent_group_members",
        method="GET",
        path=f"{_ONE}/members",
        summary="List the agents in a group, all of them unless per_page is given",
        who=PEOPLE,
        run=members,
        query=Members,
        answer=PagedResponse[Agent],
    ),
    Operation(
        name="list_agent_group_memberships",
        method="GET",
        path=f"{_ONE}/memberships",
        summary="List what was decided by hand about the agents of a group",
        who=PEOPLE,
        run=memberships,
        answer=Memberships,
    ),
    Operation(
        name="put_agent_group_member",
        method="PUT",
        path=f"{_ONE}/members/{{agent_id}}",
        summary="Put an agent into a group, or out of it, whatever the criteria say",
        who=OPERATORS,
        run=put_member,
        body=PutMember,
        answer=AgentGroupMembership,
    ),
    Operation(
        name="remove_agent_group_member",
        method="DELETE",
        path=f"{_ONE}/members/{{agent_id}}",
        summary="Leave it to the criteria again whether an agent is in a group",
        who=OPERATORS,
        run=remove_member,
        status=204,
    ),
)
