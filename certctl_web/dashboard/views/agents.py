"""The agents, and when each was last heard."""

from certctl_core.models.agents import SENTINEL_AGENTS
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import agents
from certctl_web.dashboard import listing
from certctl_web.dashboard.guard import Asked, Desk, Shown


def all_of_them(desk: Desk, asked: Asked) -> Shown:
    """Those that are not retired. The control plane's own parts send no heartbeats and are left out."""
    listed = listing.turn(
        lambda query: agents.page(desk.ports, asked.visit.principal, query),
        Query((Where("retired_at", None),), sort="name"),
        asked.fields,
        "/agents",
        lambda agent: (agent.name, agent.id),
        by_time=False,
    )
    present = [agent for agent in listed.items if agent.id not in SENTINEL_AGENTS]
    return Shown("agents.html", {"listed": listed, "agents": present, "total": listed.total - len(SENTINEL_AGENTS)})
