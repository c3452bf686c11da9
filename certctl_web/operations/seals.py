"""What shows that the audit trail is unchanged."""

from typing import Final

from certctl_core.errors import Conflict, NotFound
from certctl_core.usecases import sealing
from certctl_web.access import AUDITORS
from certctl_web.media.paging import PagedResponse, paged
from certctl_web.media.seals import (
    AuditCheckpoint,
    AuditConsistency,
    AuditProof,
    AuditSeal,
    CheckpointList,
    ConsistencyQuery,
    ProofQuery,
)
from certctl_web.operation import Call, Operation, Row


def page(call: Call[CheckpointList], _: None) -> PagedResponse[AuditCheckpoint]:
    return paged(call.query, sealing.page(call.ports, call.caller, call.query.wish()), AuditCheckpoint.of)


def latest(call: Call[None], _: None) -> AuditSeal:
    return AuditSeal.of(sealing.latest(call.ports, call.caller))


def prove(call: Call[ProofQuery], _: None) -> AuditProof:
    return AuditProof.of(sealing.prove(call.ports, call.caller, call.path["id"], call.query.checkpoint))


def compare(call: Call[ConsistencyQuery], _: None) -> AuditConsistency:
    return AuditConsistency.of(sealing.compare(call.ports, call.caller, call.query.first, call.query.second))


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_audit_checkpoints",
        method="GET",
        path="/api/v1/audit/checkpoints",
        summary="List the signed checkpoints of the audit trail, newest first",
        who=AUDITORS,
        run=page,
        query=CheckpointList,
        answer=PagedResponse[AuditCheckpoint],
    ),
    Operation(
        name="get_latest_audit_checkpoint",
        method="GET",
        path="/api/v1/audit/checkpoints/latest",
        summary="Show the newest checkpoint, the public key to verify it by, and how much is not sealed yet",
        who=AUDITORS,
        run=latest,
        answer=AuditSeal,
    ),
    Operation(
        name="prove_audit_event",
        method="GET",
        path="/api/v1/audit/{id}/proof",
        summary="Prove that an event is among those of a checkpoint",
        who=AUDITORS,
        run=prove,
        query=ProofQuery,
        answer=AuditProof,
        errors=(Conflict,),
    ),
    Operation(
        name="prove_audit_consistency",
        method="GET",
        path="/api/v1/audit/consistency",
        summary="Prove that the events of one checkpoint are the first ones of another",
        who=AUDITORS,
        run=compare,
        query=ConsistencyQuery,
        answer=AuditConsistency,
        errors=(NotFound, Conflict),
    ),
)
