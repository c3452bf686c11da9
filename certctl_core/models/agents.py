"""Agents and the tokens they join with."""

from datetime import datetime, timedelta
from enum import Enum

from attrs import frozen

from certctl_core.ids import AgentGroupId, AgentId, JoinTokenId, TeamId


class AgentStatus(Enum):
    ONLINE = "Online"
    OFFLINE = "Offline"
    DEGRADED = "Degraded"


SENTINEL_AGENTS = ("server-scanner", "cloud-aws-sm", "cloud-azure-kv", "cloud-gcp-sm")
"""Agents that are parts of the control plane itself. They cannot be retired or joined."""


@frozen(kw_only=True)
class Agent:
    """A process beside the servers that holds their private keys. `clock_offset` is the agent's clock minus ours.

    `team_ids` are the teams whose hosts it serves; none: everybody's.
    """

    id: AgentId
    name: str
    hostname: str
    status: AgentStatus = AgentStatus.ONLINE
    os: str = ""
    architecture: str = ""
    ip_address: str = ""
    version: str = ""
    team_ids: tuple[TeamId, ...] = ()
    clock_offset: timedelta | None = None
    last_heartbeat_at: datetime | None = None
    registered_at: datetime
    retired_at: datetime | None = None
    retired_reason: str = ""
    revision: int = 1


@frozen(kw_only=True)
class AgentCounts:
    """What still depends on an agent that somebody wants to retire."""

    active_targets: int = 0
    active_certificates: int = 0
    pending_jobs: int = 0

    @property
    def any(self) -> bool:
        return bool(self.active_targets or self.active_certificates or self.pending_jobs)


@frozen(kw_only=True)
class JoinToken:
    """Lets exactly one agent join, once, before `expires_at`. Only the token's SHA-256 is kept. The agent is limited to
    `team_ids`."""

    id: JoinTokenId
    token_hash: str
    agent_name: str = ""
    team_ids: tuple[TeamId, ...] = ()
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    used_by: AgentId | None = None
    revision: int = 1


@frozen(kw_only=True)
class AgentTraits:
    """What an agent group looks at to tell whether an agent belongs to it."""

    id: AgentId
    os: str = ""
    architecture: str = ""
    ip_address: str = ""
    version: str = ""


@frozen(kw_only=True)
class AgentGroup:
    """Agents that are alike. Every criterion that is not empty has to hold; who is in it is judged in
    `policy.membership`."""

    id: AgentGroupId
    name: str
    description: str = ""
    match_os: str = ""
    match_architecture: str = ""
    match_ip_cidr: str = ""
    match_version: str = ""
    enabled: bool = True
    created_at: datetime
    updated_at: datetime
    revision: int = 1


class MembershipType(Enum):
    """Whether somebody put an agent into a group, or out of it, whatever the criteria say."""

    INCLUDE = "include"
    EXCLUDE = "exclude"


@frozen(kw_only=True)
class AgentGroupMembership:
    """What somebody decided by hand about one agent and one group."""

    agent_group_id: AgentGroupId
    agent_id: AgentId
    membership_type: MembershipType = MembershipType.INCLUDE
    created_at: datetime
