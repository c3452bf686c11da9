"""Agent groups on the wire."""

from datetime import datetime
from typing import ClassVar, Self

import attrs
from attrs import frozen

from certctl_core.models import agents as facts
from certctl_core.models.agents import MembershipType
from certctl_core.ports.store import Page
from certctl_core.usecases import agent_groups as usecases
from certctl_web.media.agents import Agent
from certctl_web.media.bounds import Identity, Name, Prose, Word
from certctl_web.media.paging import PagedResponse, PageNumber, PerPage
from certctl_web.media.reading import Accepts, fields_of


@frozen(kw_only=True)
class AgentGroup:
    """Agents that are alike. Each criterion that is not empty has to hold: operating system, architecture, a network
    such as 10.1.0.0/16, a version such as 1.4.2 or >=1.2,<2. A group that is not enabled has no members."""

    id: str
    name: str
    description: str
    match_os: str
    match_architecture: str
    match_ip_cidr: str
    match_version: str
    enabled: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.AgentGroup) -> Self:
        return cls(**{a.name: getattr(fact, a.name) for a in attrs.fields(cls)})


@frozen(kw_only=True)
class CreateAgentGroup(Accepts):
    id: Identity | None = None
    name: Name
    description: Prose = ""
    match_os: Word = ""
    match_architecture: Word = ""
    match_ip_cidr: Word = ""
    match_version: Word = ""
    enabled: bool = True

    blank: ClassVar = frozenset({"id"})

    def wish(self) -> usecases.CreateGroup:
        return usecases.CreateGroup(**attrs.asdict(self, recurse=False))


@frozen(kw_only=True)
class UpdateAgentGroup(Accepts):
    """What is given is changed; an empty text takes a criterion away."""

    name: Name | None = None
    description: Prose | None = None
    match_os: Word | None = None
    match_architecture: Word | None = None
    match_ip_cidr: Word | None = None
    match_version: Word | None = None
    enabled: bool | None = None

    def wish(self) -> usecases.UpdateGroup:
        return usecases.UpdateGroup(**attrs.asdict(self, recurse=False))


UpdateAgentGroup.ignored = fields_of(AgentGroup) - fields_of(UpdateAgentGroup)


@frozen(kw_only=True)
class Members:
    """Without `per_page` all of them."""

    page: PageNumber = 1
    per_page: PerPage | None = None

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.per_page if self.per_page else 0

    def answer(self, found: Page[facts.Agent]) -> PagedResponse[Agent]:
        return PagedResponse(
            data=tuple(Agent.of(agent) for agent in found.items),
            total=found.total,
            page=self.page if self.per_page else 1,
            per_page=self.per_page or found.total,
        )


@frozen(kw_only=True)
class AgentGroupMembership:
    """What was decided by hand about one agent: it is in the group, or it is not, whatever the criteria say."""

    agent_group_id: str
    agent_id: str
    membership_type: MembershipType
    created_at: datetime

    @classmethod
    def of(cls, fact: facts.AgentGroupMembership) -> Self:
        return cls(**{a.name: getattr(fact, a.name) for a in attrs.fields(cls)})


@frozen(kw_only=True)
class PutMember(Accepts):
    membership_type: MembershipType = MembershipType.INCLUDE

    blank: ClassVar = frozenset({"membership_type"})
    ignored: ClassVar = fields_of(AgentGroupMembership, but=("membership_type",))


@frozen(kw_only=True)
class Memberships:
    data: tuple[AgentGroupMembership, ...]
    total: int
