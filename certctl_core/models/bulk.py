"""Bulk operations: one wish about many certificates, carried out batch by batch."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from attrs import field, frozen

from certctl_core.ids import ApiKeyId, BulkOperationId, CertificateId, OwnerId, TeamId
from certctl_core.models.access import Principal, Role, Scope


class BulkAction(Enum):
    REVOKE = "revoke"
    RENEW = "renew"
    REASSIGN = "reassign"


class BulkStatus(Enum):
    RUNNING = "Running"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"


@frozen(kw_only=True)
class BulkOperation:
    """What is to happen to the certificates that met `criteria` when it was asked for, and how far that has got.

    `next_batch` is its durable place: batches before it are done. Each certificate ends in exactly one of `total_done`,
    `total_skipped` (there was nothing to do) and `total_failed`. `lease_until` says until when the process that works
    on it is to be left alone with it. The caller is kept as it was (`requester`), so that what is done later is done in
    its name and no further than it reaches.
    """

    id: BulkOperationId
    action: BulkAction
    status: BulkStatus = BulkStatus.RUNNING
    criteria: Mapping[str, Any] = field(factory=dict)
    reason: str = ""
    force: bool = False
    new_owner_id: OwnerId | None = None
    new_team_id: TeamId | None = None
    requested_by: str
    requested_by_key: ApiKeyId | None = None
    role: Role
    team_ids: tuple[TeamId, ...] = ()
    environments: tuple[str, ...] = ()
    request_id: str = ""
    next_batch: int = 0
    total_matched: int = 0
    total_done: int = 0
    total_skipped: int = 0
    total_failed: int = 0
    lease_until: datetime | None = None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None
    revision: int = 1

    @property
    def requester(self) -> Principal:
        scope = Scope(frozenset(self.team_ids), frozenset(self.environments))
        return Principal(
            self.requested_by, self.role, request_id=self.request_id, scope=scope, key_id=self.requested_by_key
        )

    @property
    def total_seen(self) -> int:
        """How many of the matched certificates have had their turn."""
        return self.total_done + self.total_skipped + self.total_failed


@frozen
class BulkFailure:
    """A certificate to which it could not be done, and why not."""

    certificate_id: CertificateId
    error: str
