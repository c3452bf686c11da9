"""Who asks: principals, roles, API keys and dashboard sessions."""

from collections.abc import Collection
from datetime import datetime
from enum import Enum

from attrs import field, frozen

from certctl_core.ids import AgentId, ApiKeyId, TeamId


class Role(Enum):
    """What a key may do. `AGENT` keys act only as their own agent."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"
    AUDITOR = "auditor"
    AGENT = "agent"


class ActorType(Enum):
    USER = "User"
    SYSTEM = "System"
    AGENT = "Agent"


@frozen
class Scope:
    """What a key reaches: objects of these teams, in these environments. An empty set does not limit."""

    team_ids: frozenset[TeamId] = frozenset()
    environments: frozenset[str] = frozenset()

    @property
    def is_everything(self) -> bool:
        return not self.team_ids and not self.environments

    def holds(self, team_id: TeamId | None, environment: str) -> bool:
        """Whether something of this team in this environment is within reach."""
        in_team = not self.team_ids or team_id in self.team_ids
        return in_team and (not self.environments or environment in self.environments)

    def is_open_to(self, team_ids: Collection[TeamId]) -> bool:
        """Whether something that is limited to these teams may be seen and used. What is limited to none is
        everybody's."""
        return not self.team_ids or not team_ids or not self.team_ids.isdisjoint(team_ids)

    def owns(self, team_ids: Collection[TeamId]) -> bool:
        """Whether something that is limited to these teams may be changed: nobody else must feel it. What is limited to
        teams is in no environment, so that other environments would feel it too."""
        if self.is_everything:
            return True
        return bool(team_ids) and not self.environments and self.team_ids.issuperset(team_ids)

    def covers(self, other: "Scope") -> bool:
        """Whether everything within reach of the other is within reach of this one."""
        pairs = ((self.team_ids, other.team_ids), (self.environments, other.environments))
        return all(not mine or (theirs and mine.issuperset(theirs)) for mine, theirs in pairs)


EVERYTHING = Scope()


@frozen
class Principal:
    """An authenticated caller. `name` is what the audit trail records; `agent_id` is set for agent keys only, `key_id`
    for keys of the database."""

    name: str
    role: Role
    agent_id: AgentId | None = None
    request_id: str = ""
    scope: Scope = EVERYTHING
    key_id: ApiKeyId | None = None

    @property
    def identity(self) -> str:
        """What tells the caller from all others: the key, since two may have one name. Keys of the environment have no
        id, and different names."""
        return self.key_id or f"given {self.name}"

    @property
    def actor_type(self) -> ActorType:
        return ActorType.AGENT if self.role is Role.AGENT else ActorType.USER


@frozen
class SystemActor:
    """certctl itself: a loop, a job, the bootstrap. It reaches everything."""

    name: str = "system"
    request_id: str = ""
    scope: Scope = EVERYTHING
    key_id: None = None

    @property
    def actor_type(self) -> ActorType:
        return ActorType.SYSTEM


Actor = Principal | SystemActor
SYSTEM = SystemActor()


@frozen(kw_only=True)
class ApiKey:
    """A bearer key. Only its SHA-256 is kept: the key is 256 random bits, so a fast hash gives nothing away.

    `team_ids` and `environments` limit what it reaches; an empty tuple does not limit.
    """

    id: ApiKeyId
    name: str
    key_hash: str = field(repr=False)
    role: Role
    agent_id: AgentId | None = None
    team_ids: tuple[TeamId, ...] = ()
    environments: tuple[str, ...] = ()
    created_by: str = ""
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    revision: int = 1

    @property
    def scope(self) -> Scope:
        return Scope(frozenset(self.team_ids), frozenset(self.environments))


@frozen(kw_only=True)
class Session:
    """A dashboard login. The cookie's value is kept hashed; logging out or revoking the key ends it."""

    id_hash: str = field(repr=False)
    api_key_id: ApiKeyId
    csrf_token: str = field(repr=False)
    created_at: datetime
    expires_at: datetime
