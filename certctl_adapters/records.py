"""What every store does alike with records: the text of an event's details, and API calls seen as audit events."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from certctl_core.ids import AuditEventId, mint
from certctl_core.models.access import ActorType
from certctl_core.models.records import AuditEvent
from certctl_core.ports.store import ApiCall

RESOURCE_TYPE = "api"


def read_json(text: str) -> Mapping[str, Any]:
    read: dict[str, Any] = json.loads(text)
    return read


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
            "latency_ms": call.took // timedelta(milliseconds=1),
            "body_hash": call.body_hash,
        },
        request_id=call.request_id,
        timestamp=call.at,
    )
