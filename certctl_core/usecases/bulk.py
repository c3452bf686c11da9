"""Bulk operations: one wish about every certificate that meets some criteria.

Theory of operation, with the numbered points at which a crash must lose and double nothing:

    ask      transaction: what the criteria match now is written down in batches, beside the operation, its initiating
             audit event and the caller as it was
    bulk:1   everything is there, nothing is done
    batch    transaction: the operation is locked, its next batch of certificates is locked, read and acted on, each
             with its own audit event; totals, failures and the operation's place move on
    bulk:2   the batch is done, and the place says so
    end      the last batch, in its transaction, completes the operation and forgets the batches

What was matched when it was asked for is what is acted on, whatever meets the criteria later. The lock on the operation
makes its batches follow one another, whoever works on it; the lease is a courtesy on top of it, so that two do not
stand in each other's way. Whoever asks works on the operation for a moment, and is given the whole result if that was
enough. Otherwise, or if the process dies, the loop goes on from the operation's place.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from attrs import evolve, field, frozen

from certctl_core.errors import Forbidden, Invalid, NotFound
from certctl_core.ids import (
    AgentId,
    BulkOperationId,
    CertificateId,
    IssuerId,
    OwnerId,
    ProfileId,
    TeamId,
    mint,
)
from certctl_core.lifecycle import bulk as life
from certctl_core.models.access import Actor, Principal, Role
from certctl_core.models.bulk import BulkAction, BulkFailure, BulkOperation
from certctl_core.models.certificates import CertificateStatus
from certctl_core.ports import Ports
from certctl_core.ports.store import Is, Page, Query, Where, Work
from certctl_core.usecases import audit, bulk_batches, reassignment, scope
from certctl_core.usecases.bulk_batches import BATCH, LEASE, Progress

PATIENCE: Final = timedelta(seconds=2)
"""How long whoever asks works on the operation before the loop has it."""

MOST_IDS_TOLD: Final = 100
"""So many ids are told as criteria; of more, how many they were."""

PURGED_AT_ONCE: Final = 100

_INITIATED: Final = {
    BulkAction.REVOKE: "bulk_revocation_initiated",
    BulkAction.RENEW: "bulk_renewal_initiated",
    BulkAction.REASSIGN: "bulk_reassignment_initiated",
}


@frozen(kw_only=True)
class Criteria:
    """Which certificates: those that meet everything that is given."""

    certificate_ids: tuple[CertificateId, ...] = ()
    status: CertificateStatus | None = None
    environment: str | None = None
    owner_id: OwnerId | None = None
    team_id: TeamId | None = None
    issuer_id: IssuerId | None = None
    profile_id: ProfileId | None = None
    agent_id: AgentId | None = None
    expires_before: datetime | None = None

    def where(self) -> tuple[Where, ...]:
        names = ("status", "environment", "owner_id", "team_id", "issuer_id", "profile_id", "agent_id")
        given = [Where(name, value) for name in names if (value := getattr(self, name)) is not None]
        given += [Where("id", self.certificate_ids, Is.ONE_OF)] if self.certificate_ids else []
        given += [Where("expires_at", self.expires_before, Is.BEFORE)] if self.expires_before else []
        return tuple(given)

    def told(self) -> dict[str, Any]:
        """As JSON values. Of many ids only their number is told (`certificate_ids_total`)."""
        names = ("environment", "owner_id", "team_id", "issuer_id", "profile_id", "agent_id")
        told: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) is not None}
        told |= {"status": self.status.value} if self.status else {}
        told |= {"expires_before": self.expires_before.isoformat()} if self.expires_before else {}
        if len(self.certificate_ids) > MOST_IDS_TOLD:
            return told | {"certificate_ids_total": len(self.certificate_ids)}
        return told | ({"certificate_ids": list(self.certificate_ids)} if self.certificate_ids else {})


@frozen(kw_only=True)
class StartBulk:
    """What is to happen to which certificates. `reason` of a revocation is the name of one (RFC 5280 section 5.3.1),
    `force` is about renewals, a new owner and team about reassignments."""

    action: BulkAction
    criteria: Criteria = field(factory=Criteria)
    reason: str = ""
    force: bool = False
    new_owner_id: OwnerId | None = None
    new_team_id: TeamId | None = None


def start(ports: Ports, caller: Principal, asked: StartBulk, patience: timedelta = PATIENCE) -> Progress:
    """Begin, and work on it for as long as `patience`. What it has come to by then is returned: `Completed`, or
    `Running`, which it ceases to be by itself.

    Raises `Invalid` without any criterion, and for an owner or team that the caller cannot see. Whatever goes wrong
    after that is told per certificate, or tried again.
    """
    operation = _write_down(ports, caller, asked)
    ports.tripwire("bulk:1")
    return bulk_batches.work_on(ports, operation, patience)


def _write_down(ports: Ports, caller: Principal, asked: StartBulk) -> BulkOperation:
    conditions = asked.criteria.where()
    if not conditions:
        raise Invalid(
            "no criterion is given, and all certificates are not meant",
            hint="Name certificate_ids, or what the certificates have in common, such as issuer_id or status.",
        )
    now = ports.clock.now()
    operation = BulkOperation(
        id=BulkOperationId(mint("bulk", now)),
        action=asked.action,
        criteria=asked.criteria.told(),
        reason=asked.reason,
        force=asked.force,
        new_owner_id=asked.new_owner_id,
        new_team_id=asked.new_team_id,
        requested_by=caller.name,
        requested_by_key=caller.key_id,
        role=caller.role,
        team_ids=tuple(sorted(caller.scope.team_ids)),
        environments=tuple(sorted(caller.scope.environments)),
        request_id=caller.request_id,
        created_at=now,
        updated_at=now,
    )
    with ports.work() as work:
        if asked.new_owner_id is not None:
            reassignment.must_reach(work, caller, asked.new_owner_id, asked.new_team_id)
        work.bulk_operations.add(operation)
        matched = work.bulk_operations.match(operation.id, (*conditions, *scope.certificates(caller)), BATCH)
        operation = evolve(operation, total_matched=matched, lease_until=now + LEASE)
        operation = work.bulk_operations.save(operation if matched else life.complete(operation, now))
        _record_begin(work, caller, operation)
    return operation


def _record_begin(work: Work, caller: Actor, operation: BulkOperation) -> None:
    wished = {"new_owner_id": operation.new_owner_id, "new_team_id": operation.new_team_id}
    audit.record(
        work,
        caller,
        operation.created_at,
        _INITIATED[operation.action],
        "certificate",
        "bulk",
        operation_id=operation.id,
        criteria=dict(operation.criteria),
        reason=operation.reason,
        total_matched=operation.total_matched,
        **{name: value for name, value in wished.items() if value is not None},
        **({"force": True} if operation.force else {}),
    )


# --- looking and stopping ---------------------------------------------------------------------------------------------


def page(ports: Ports, caller: Principal, query: Query) -> Page[BulkOperation]:
    """Those that reach no further than the caller does."""
    with ports.work() as work:
        return work.bulk_operations.page(evolve(query, where=(*query.where, *scope.covered(caller))))


def get(ports: Ports, caller: Principal, operation_id: str) -> BulkOperation:
    """Raises `NotFound`, also for one that reaches further than the caller does."""
    with ports.work() as work:
        return _must_see(caller, work.bulk_operations.get(operation_id))


def failures(
    ports: Ports,
    caller: Principal,
    operation_id: str,
    limit: int,
    offset: int = 0,
    after: tuple[str, str] | None = None,
) -> Page[BulkFailure]:
    """What could not be done so far, by certificate, `after` one of them or from an offset on. Raises as `get`."""
    with ports.work() as work:
        operation = _must_see(caller, work.bulk_operations.get(operation_id))
        return work.bulk_operations.failures(operation.id, limit, offset, after)


def cancel(ports: Ports, caller: Principal, operation_id: str) -> BulkOperation:
    """Nothing more of it is done; what is done stays done. Raises as `get`, `Forbidden` for a revocation that the
    caller could not have asked for, and `IllegalTransition` when it has ended."""
    now = ports.clock.now()
    with ports.work() as work:
        operation = _must_see(caller, work.bulk_operations.lock(operation_id))
        if operation.action is BulkAction.REVOKE and caller.role is not Role.ADMIN:
            raise Forbidden("a bulk revocation is stopped by those who may ask for one, and they are administrators")
        cancelled = work.bulk_operations.save(life.cancel(operation, now))
        work.bulk_operations.forget_batches(operation.id)
        audit.record(
            work,
            caller,
            now,
            "bulk_operation_cancelled",
            "bulk_operation",
            operation.id,
            bulk_action=operation.action.value,
            total_matched=operation.total_matched,
            total_done=operation.total_done,
        )
    return cancelled


def _must_see(caller: Principal, operation: BulkOperation) -> BulkOperation:
    if not caller.scope.covers(operation.requester.scope):
        raise NotFound.of("bulk operation", operation.id)
    return operation


def forget(ports: Ports, retention: timedelta) -> int:
    """Remove operations that ended longer ago than `retention`. Returns how many."""
    removed = 0
    while True:
        with ports.work() as work:
            batch = work.bulk_operations.purge(ports.clock.now() - retention, PURGED_AT_ONCE)
        removed += batch
        if batch < PURGED_AT_ONCE:
            return removed
