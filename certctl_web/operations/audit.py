"""The audit trail."""

from typing import Final

from certctl_core.usecases import audit
from certctl_web.access import AUDITORS
from certctl_web.media.paging import PagedResponse, paged
from certctl_web.media.records import AuditEvent, AuditList
from certctl_web.operation import Call, Operation, Row


def page(call: Call[AuditList], _: None) -> PagedResponse[AuditEvent]:
    return paged(call.query, audit.page(call.ports, call.query.wish()), AuditEvent.of)


def get(call: Call[None], _: None) -> AuditEvent:
    return AuditEvent.of(audit.get(call.ports, call.path["id"]))


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_audit_events",
        method="GET",
        path="/api/v1/audit",
        summary="List what happened, newest first",
        who=AUDITORS,
        run=page,
        query=AuditList,
        answer=PagedResponse[AuditEvent],
    ),
    Operation(
        name="get_audit_event",
        method="GET",
        path="/api/v1/audit/{id}",
        summary="Show one event",
        who=AUDITORS,
        run=get,
        answer=AuditEvent,
    ),
)
