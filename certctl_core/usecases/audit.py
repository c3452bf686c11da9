"""The audit trail: who did what to which object. An event is in, or the change did not happen."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from certctl_core.ids import AuditEventId, mint
from certctl_core.models.access import Actor
from certctl_core.models.records import AuditEvent
from certctl_core.ports import Ports
from certctl_core.ports.store import ApiCall, Page, Query, Where, Work
from certctl_core.usecases import scope


def record(
    work: Work, actor: Actor, at: datetime, action: str, resource_type: str, resource_id: str, **details: Any
) -> None:
    """Add an event to the open transaction. `details` are JSON values and never secrets."""
    work.audit.add(event(actor, at, action, resource_type, resource_id, **details))


def event(actor: Actor, at: datetime, action: str, resource_type: str, resource_id: str, **details: Any) -> AuditEvent:
    """An event to be added with others: `work.audit.add(*events)` sends them together."""
    return AuditEvent(
        id=AuditEventId(mint("audit", at)),
        actor=actor.name,
        actor_type=actor.actor_type,
        action=action,
        resource_type=resource_type,
        resource_id=resource_id,
        details=details,
        request_id=actor.request_id,
        timestamp=at,
    )


def get(ports: Ports, caller: Actor, event_id: str) -> AuditEvent:
    """Raises `NotFound`, and `Forbidden` for a caller whose key is limited: the trail belongs to no team."""
    scope.must_reach_everything(caller)
    with ports.work() as work:
        return work.audit.get(event_id)


def page(ports: Ports, caller: Actor, query: Query) -> Page[AuditEvent]:
    """The trail, or, when the query asks for `resource_type` `api`, the recorded API calls in the same shape. Raises
    `Forbidden` as `get`."""
    scope.must_reach_everything(caller)
    with ports.work() as work:
        if Where("resource_type", "api") in query.where:
            return work.calls.page(query)
        return work.audit.page(query)


def about_certificate(ports: Ports, caller: Actor, certificate_id: str, limit: int) -> Page[AuditEvent]:
    """What happened to a certificate last, newest first. Raises `NotFound` when it is out of the caller's reach."""
    mine = (Where("resource_type", "certificate"), Where("resource_id", certificate_id))
    with ports.work() as work:
        scope.get(work, caller, certificate_id)
        return work.audit.page(Query(mine, sort="timestamp", descending=True, limit=limit, count=False))


def record_calls(ports: Ports, calls: Sequence[ApiCall]) -> None:
    """Write a batch of API calls. Raises `Invalid` when one of them cannot be kept; then none is."""
    with ports.work() as work:
        work.calls.add(calls)


def forget_calls(ports: Ports, retention: timedelta) -> None:
    """Drop the record of API calls that are older than `retention`, and make room for the next month's."""
    now = ports.clock.now()
    with ports.work() as work:
        work.calls.keep_since(now - retention, now)
