"""API calls seen as audit events, for every store alike."""

from certctl_core.ids import AuditEventId, mint
from certctl_core.models.access import ActorType
from certctl_core.models.records import AuditEvent
from certctl_core.ports.store import ApiCall

RESOURCE_TYPE = "api"


def as_audit_event(call: ApiCall, identity: str | None = None) -> AuditEvent:
    """The call as `GET /audit` shows it; a fresh id unless it has one."""
    return AuditEvent(
        id=AuditEventId(identity or mint("call", call.at)),
        actor=call.actor,
        actor_type=ActorType.USER,
        action=f"api_{call.method.lower()}",
        resource_type=RESOURCE_TYPE,
        resource_id=call.path,
        details={
            "method": call.method,
            "path": call.path,
            "status": call.status,
            "took_ms": round(call.took.total_seconds() * 1000),
            "body_hash": call.body_hash,
        },
        request_id=call.request_id,
        timestamp=call.at,
    )
