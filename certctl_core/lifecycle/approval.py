"""The life of an approval request: decided once, by somebody else, or expired; an approval that its certificate has
outgrown expires as well."""

from datetime import datetime
from enum import Enum

from attrs import evolve

from certctl_core.lifecycle.machine import Machine, from_each
from certctl_core.models.approvals import ApprovalRequest
from certctl_core.models.approvals import ApprovalState as S


class ApprovalEvent(Enum):
    APPROVE = "approve"
    REJECT = "reject"
    EXPIRE = "expire"


APPROVAL: Machine[S, ApprovalEvent] = Machine(
    "request for approval",
    {
        (S.PENDING, ApprovalEvent.APPROVE): S.APPROVED,
        (S.PENDING, ApprovalEvent.REJECT): S.REJECTED,
        **from_each((S.PENDING, S.APPROVED), ApprovalEvent.EXPIRE, S.EXPIRED),
    },
)


def approve(request: ApprovalRequest, by: str, at: datetime, note: str = "") -> ApprovalRequest:
    """Raises `IllegalTransition` for one that is decided or expired."""
    return _decided(request, ApprovalEvent.APPROVE, by, at, note)


def reject(request: ApprovalRequest, by: str, at: datetime, note: str = "") -> ApprovalRequest:
    """As `approve`."""
    return _decided(request, ApprovalEvent.REJECT, by, at, note)


def expire(request: ApprovalRequest, at: datetime, reason: str) -> ApprovalRequest:
    """It is not to be relied on any more. Who decided, if somebody did, stays known."""
    return evolve(
        request, state=APPROVAL.next(request.state, ApprovalEvent.EXPIRE), closed_reason=reason, updated_at=at
    )


def _decided(request: ApprovalRequest, event: ApprovalEvent, by: str, at: datetime, note: str) -> ApprovalRequest:
    return evolve(
        request,
        state=APPROVAL.next(request.state, event),
        decided_by=by,
        decided_at=at,
        decision_note=note,
        updated_at=at,
    )
