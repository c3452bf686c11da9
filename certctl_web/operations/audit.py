"""The audit trail."""

from typing import Final

from certctl_core.usecases import audit, audit_export
from certctl_web.access import AUDITORS
from certctl_web.media.audit import AuditEvent, AuditExport, AuditList, ExportFormat, file_name, written
from certctl_web.media.paging import PagedResponse, paged
from certctl_web.operation import Answer, Call, Operation, Row


def page(call: Call[AuditList], _: None) -> PagedResponse[AuditEvent]:
    return paged(call.query, audit.page(call.ports, call.caller, call.query.wish()), AuditEvent.of)


def get(call: Call[None], _: None) -> AuditEvent:
    return AuditEvent.of(audit.get(call.ports, call.caller, call.path["id"]))


def export(call: Call[AuditExport], _: None) -> Answer[None]:
    asked = call.query
    with_proofs = asked.format is ExportFormat.JSON_LINES
    taken = audit_export.export(call.ports, call.caller, asked.where(), with_proofs=with_proofs)
    return Answer(
        stream=written(taken, asked),
        media_type=asked.format.media_type,
        headers={"Content-Disposition": f'attachment; filename="{file_name(taken, asked)}"'},
    )


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
    Operation(
        name="export_audit_events",
        method="GET",
        path="/api/v1/audit/export",
        summary="Export the audit trail, whole or a part of it",
        who=AUDITORS,
        run=export,
        query=AuditExport,
        tool="",
        media_type=ExportFormat.JSON_LINES.media_type,
        media_types=(ExportFormat.CSV.media_type,),
    ),
)
