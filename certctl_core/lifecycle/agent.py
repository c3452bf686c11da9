"""The life of an agent: Online while it is heard, Offline when it is not, retired once and for all."""

from datetime import datetime
from enum import Enum

from attrs import evolve

from certctl_core.errors import Forbidden, Gone
from certctl_core.lifecycle.machine import Machine, from_each
from certctl_core.models.agents import SENTINEL_AGENTS, Agent
from certctl_core.models.agents import AgentStatus as S


class AgentEvent(Enum):
    HEAR = "hear from"
    MISS = "miss"
    DEGRADE = "mark as degraded"


AGENT: Machine[S, AgentEvent] = Machine(
    "agent",
    {
        **from_each((S.ONLINE, S.OFFLINE, S.DEGRADED), AgentEvent.HEAR, S.ONLINE),
        **from_each((S.ONLINE, S.DEGRADED), AgentEvent.MISS, S.OFFLINE),
        (S.ONLINE, AgentEvent.DEGRADE): S.DEGRADED,
    },
)


def must_be_active(agent: Agent) -> None:
    """Raises `Gone` for a retired agent: it is told to stop and not to come back."""
    if agent.retired_at is not None:
        raise Gone(
            f"agent {agent.id} was retired on {agent.retired_at:%Y-%m-%d}",
            hint="Stop the agent; to use the host again, join it as a new agent.",
        )


def hear(agent: Agent, at: datetime) -> Agent:
    """The agent has been heard from. Raises `Gone` when it is retired."""
    must_be_active(agent)
    return evolve(agent, status=AGENT.next(agent.status, AgentEvent.HEAR), last_heartbeat_at=at)


def miss(agent: Agent) -> Agent:
    return evolve(agent, status=AGENT.next(agent.status, AgentEvent.MISS))


def retire(agent: Agent, at: datetime, reason: str) -> Agent:
    """Soft retirement. Raises `Forbidden` for a sentinel and `Gone` when it has happened already."""
    if agent.id in SENTINEL_AGENTS:
        raise Forbidden(f"agent {agent.id} is a part of the control plane and cannot be retired")
    must_be_active(agent)
    return evolve(agent, status=S.OFFLINE, retired_at=at, retired_reason=reason)
