"""The audit trail."""

from certctl_core.ports.store import Query, Where
from certctl_core.usecases import audit, naming
from certctl_web.dashboard import listing
from certctl_web.dashboard.guard import Asked, Desk, Shown

_FILTERS = {"actor": "actor", "action": "action", "resource": "resource_id"}


def all_of_it(desk: Desk, asked: Asked) -> Shown:
    conditions = tuple(Where(field, asked.text(name)) for name, field in _FILTERS.items() if asked.text(name))
    listed = listing.turn(
        lambda query: audit.page(desk.ports, asked.visit.principal, query),
        Query(conditions, sort="timestamp", descending=True, count=False),
        asked.fields,
        "/audit",
        lambda event: (event.timestamp, event.id),
        by_time=True,
    )
    return Shown(
        "audit.html",
        {
            "listed": listed,
            "actors": naming.of_actors(desk.ports, asked.visit.principal, listed.items),
            **{name: asked.text(name) for name in _FILTERS},
            "filtered": bool(conditions),
        },
    )
