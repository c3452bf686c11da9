"""The life of a bulk operation. It ends by itself with its last certificate, or is stopped; what is done stays done."""

from datetime import datetime
from enum import Enum

from attrs import evolve

from certctl_core.lifecycle.machine import Machine
from certctl_core.models.bulk import BulkOperation
from certctl_core.models.bulk import BulkStatus as S


class BulkEvent(Enum):
    COMPLETE = "complete"
    CANCEL = "cancel"


BULK_OPERATION: Machine[S, BulkEvent] = Machine(
    "bulk operation",
    {
        (S.RUNNING, BulkEvent.COMPLETE): S.COMPLETED,
        (S.RUNNING, BulkEvent.CANCEL): S.CANCELLED,
    },
)


def complete(operation: BulkOperation, at: datetime) -> BulkOperation:
    """Every certificate has had its turn."""
    return _end(operation, BulkEvent.COMPLETE, at)


def cancel(operation: BulkOperation, at: datetime) -> BulkOperation:
    """Raises `IllegalTransition` when it has ended."""
    return _end(operation, BulkEvent.CANCEL, at)


def _end(operation: BulkOperation, event: BulkEvent, at: datetime) -> BulkOperation:
    return evolve(
        operation,
        status=BULK_OPERATION.next(operation.status, event),
        lease_until=None,
        updated_at=at,
        completed_at=at,
    )
