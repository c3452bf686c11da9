"""Carrying out bulk operations, a batch of certificates at a time. How it all hangs together is said in `bulk`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from attrs import evolve, field, frozen

from certctl_core.errors import CertctlError, IllegalTransition, NotFound
from certctl_core.ids import BulkOperationId, CertificateId, JobId
from certctl_core.lifecycle import bulk as life
from certctl_core.models.bulk import BulkAction, BulkFailure, BulkOperation, BulkStatus
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate, RevocationReason
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import reassignment, renewal, revocation, scope

BATCH: Final = 250
"""Certificates in a transaction: a tenth of a second or two, which is how long others wait for one of them."""

LEASE: Final = timedelta(seconds=15)
"""How long nobody else takes up an operation after a batch of it."""

BUDGET: Final = timedelta(seconds=10)
AT_ONCE: Final = 50


class Fate(Enum):
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@frozen
class Outcome:
    """What became of one certificate. `error` says why it failed."""

    certificate_id: CertificateId
    fate: Fate
    error: str = ""
    job_ids: tuple[JobId, ...] = ()


@frozen
class Progress:
    """An operation as it is now, and what became of the certificates that had their turn meanwhile."""

    operation: BulkOperation
    outcomes: tuple[Outcome, ...] = field(default=(), repr=False)


def work_on(ports: Ports, operation: BulkOperation, patience: timedelta) -> Progress:
    """Work on an operation whose lease the caller holds, for about as long as `patience` and one batch at least. What
    is left then is the loop's, and so is one that cannot be worked on now."""
    until = ports.clock.now() + patience
    outcomes: list[Outcome] = []
    while operation.status is BulkStatus.RUNNING:
        try:
            operation, became = _carry_out_next(ports, operation.id)
        except CertctlError:
            return Progress(_let_go(ports, operation), tuple(outcomes))
        outcomes += became
        ports.tripwire("bulk:2")
        if operation.status is BulkStatus.RUNNING and ports.clock.now() >= until:
            return Progress(_let_go(ports, operation), tuple(outcomes))
    return Progress(operation, tuple(outcomes))


def _let_go(ports: Ports, operation: BulkOperation) -> BulkOperation:
    """Leave the operation to whoever comes first; if that cannot be written, its lease lapses."""
    with suppress(CertctlError), ports.work() as work:
        held = work.bulk_operations.lock(operation.id)
        return work.bulk_operations.save(evolve(held, lease_until=None))
    return operation


def carry_on(ports: Ports, budget: timedelta = BUDGET) -> int:
    """Work on the operations that nobody works on, a batch of each in turn, for about as long as `budget`. Returns how
    many certificates had their turn. An operation that cannot be worked on keeps no other from it; what was wrong with
    the first is raised in the end."""
    until = ports.clock.now() + budget
    running = list(_claim(ports))
    problems: list[Exception] = []
    done = 0
    while running and ports.clock.now() < until:
        for operation_id in tuple(running):
            try:
                operation, became = _carry_out_next(ports, operation_id)
            except Exception as problem:  # noqa: BLE001 - whatever is wrong with one, the others go on
                problems.append(problem)
                running.remove(operation_id)
                continue
            done += len(became)
            ports.tripwire("bulk:2")
            if operation.status is not BulkStatus.RUNNING:
                running.remove(operation_id)
    _release(ports, running)
    if problems:
        raise problems[0]
    return done


def _claim(ports: Ports) -> Sequence[BulkOperationId]:
    now = ports.clock.now()
    with ports.work() as work:
        due = work.bulk_operations.due(now, AT_ONCE)
        work.bulk_operations.save_many([evolve(operation, lease_until=now + LEASE) for operation in due])
    return [operation.id for operation in due]


def _release(ports: Ports, operation_ids: Sequence[BulkOperationId]) -> None:
    if not operation_ids:
        return
    with ports.work() as work:
        held = work.bulk_operations.lock_many(operation_ids)
        work.bulk_operations.save_many([evolve(operation, lease_until=None) for operation in held.values()])


# --- one batch --------------------------------------------------------------------------------------------------------


def _carry_out_next(ports: Ports, operation_id: BulkOperationId) -> tuple[BulkOperation, tuple[Outcome, ...]]:
    """The next batch of an operation, in one transaction; nothing of one that has ended."""
    now = ports.clock.now()
    with ports.work() as work:
        operation = work.bulk_operations.lock(operation_id)
        if operation.status is not BulkStatus.RUNNING:
            return operation, ()
        wanted = work.bulk_operations.batch(operation.id, operation.next_batch)
        there = work.certificates.lock_many(wanted)
        # It may have left the caller's reach since it was matched.
        seen = [certificate for certificate in there.values() if scope.sees(operation.requester, certificate)]
        became = {one.certificate_id: one for one in _ACTIONS[operation.action](ports, work, operation, seen, now)}
        outcomes = tuple(became.get(identity) or _missing(identity) for identity in wanted)
        failed = [BulkFailure(one.certificate_id, one.error) for one in outcomes if one.fate is Fate.FAILED]
        work.bulk_operations.add_failures(operation.id, failed)
        moved = _moved_on(operation, outcomes, now)
        if moved.status is not BulkStatus.RUNNING:
            work.bulk_operations.forget_batches(operation.id)
        return work.bulk_operations.save(moved), outcomes


def _missing(identity: CertificateId) -> Outcome:
    return Outcome(identity, Fate.FAILED, NotFound.of("certificate", identity).message)


def _moved_on(operation: BulkOperation, outcomes: Sequence[Outcome], now: datetime) -> BulkOperation:
    count = {fate: sum(1 for one in outcomes if one.fate is fate) for fate in Fate}
    moved = evolve(
        operation,
        next_batch=operation.next_batch + 1,
        total_done=operation.total_done + count[Fate.DONE],
        total_skipped=operation.total_skipped + count[Fate.SKIPPED],
        total_failed=operation.total_failed + count[Fate.FAILED],
        lease_until=now + LEASE,
        updated_at=now,
    )
    return moved if moved.total_seen < moved.total_matched else life.complete(moved, now)


# --- what is done to it -----------------------------------------------------------------------------------------------


def _revoke(
    _ports: Ports, work: Work, operation: BulkOperation, certificates: Sequence[ManagedCertificate], now: datetime
) -> Iterable[Outcome]:
    reason = RevocationReason(operation.reason)
    for one in revocation.revoke_many(work, operation.requester, certificates, reason, now):
        yield _outcome(one.certificate, one.problem, skipped=isinstance(one.problem, IllegalTransition))


def _renew(
    ports: Ports, work: Work, operation: BulkOperation, certificates: Sequence[ManagedCertificate], now: datetime
) -> Iterable[Outcome]:
    """What is revoked or archived has nothing to renew, and what is being renewed needs no other renewal."""
    begun = renewal.begin_many(
        ports, work, operation.requester, certificates, now, force=operation.force, reason=operation.reason
    )
    for one in begun:
        under_way = one.certificate.status is CertificateStatus.RENEWAL_IN_PROGRESS and not operation.force
        pointless = one.problem is not None and (under_way or isinstance(one.problem, IllegalTransition))
        outcome = _outcome(one.certificate, one.problem, skipped=pointless)
        yield evolve(outcome, job_ids=tuple(job.id for job in one.jobs))


def _reassign(
    _ports: Ports, work: Work, operation: BulkOperation, certificates: Sequence[ManagedCertificate], now: datetime
) -> Iterable[Outcome]:
    """What belongs to them already, or is archived, stays as it is."""
    if operation.new_owner_id is None:
        raise AssertionError(f"bulk operation {operation.id} reassigns to nobody")
    reassigned = reassignment.reassign_many(
        work, operation.requester, certificates, operation.new_owner_id, operation.new_team_id, now
    )
    for one in reassigned:
        archived = one.certificate.status is CertificateStatus.ARCHIVED
        pointless = not one.is_changed and (one.problem is None or archived)
        yield _outcome(one.certificate, one.problem, skipped=pointless)


def _outcome(certificate: ManagedCertificate, problem: CertctlError | None, *, skipped: bool) -> Outcome:
    if skipped:
        return Outcome(certificate.id, Fate.SKIPPED)
    return Outcome(certificate.id, Fate.FAILED, str(problem)) if problem else Outcome(certificate.id, Fate.DONE)


Action = Callable[[Ports, Work, BulkOperation, Sequence[ManagedCertificate], datetime], Iterable[Outcome]]

_ACTIONS: Final[Mapping[BulkAction, Action]] = {
    BulkAction.REVOKE: _revoke,
    BulkAction.RENEW: _renew,
    BulkAction.REASSIGN: _reassign,
}
