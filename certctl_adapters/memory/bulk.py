"""Bulk operations, their batches and failures, in memory."""

from collections.abc import Sequence
from datetime import datetime

from certctl_adapters.kinds import BULK_OPERATIONS
from certctl_adapters.memory.certificates import MemoryCertificates
from certctl_adapters.memory.table import MemoryTable, by
from certctl_adapters.memory.transaction import Transaction
from certctl_core.ids import CertificateId
from certctl_core.models.bulk import BulkFailure, BulkOperation, BulkStatus
from certctl_core.ports.store import BulkOperations, Page, Query, Where, page_of

_BATCHES = "bulk_operation_batches"
_FAILURES = "bulk_operation_failures"


class MemoryBulkOperations(MemoryTable[BulkOperation], BulkOperations):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, BULK_OPERATIONS)
        self._certificates = MemoryCertificates(transaction)

    def remove(self, identity: str) -> None:
        super().remove(identity)
        self.forget_batches(identity)
        for key in [key for key in self._transaction.rows(_FAILURES) if key[0] == identity]:
            self._transaction.unset(_FAILURES, key)

    def match(self, operation_id: str, where: Sequence[Where], size: int) -> int:
        everything = Query(tuple(where), sort="id", limit=1 << 62, count=False)
        found = [certificate.id for certificate in self._certificates.page(everything).items]
        for number, start in enumerate(range(0, len(found), size)):
            self._transaction.set(_BATCHES, (operation_id, number), tuple(found[start : start + size]))
        return len(found)

    def batch(self, operation_id: str, number: int) -> Sequence[CertificateId]:
        found: Sequence[CertificateId] = self._transaction.rows(_BATCHES).get((operation_id, number), ())
        return found

    def forget_batches(self, operation_id: str) -> None:
        for key in [key for key in self._transaction.rows(_BATCHES) if key[0] == operation_id]:
            self._transaction.unset(_BATCHES, key)

    def add_failures(self, operation_id: str, failures: Sequence[BulkFailure]) -> None:
        for failure in failures:
            self._transaction.set(_FAILURES, (operation_id, failure.certificate_id), failure)

    def failures(
        self, operation_id: str, limit: int, offset: int = 0, after: tuple[str, str] | None = None
    ) -> Page[BulkFailure]:
        rows = self._transaction.rows(_FAILURES)
        of_it = [rows[key] for key in sorted(rows) if key[0] == operation_id]
        left = [failure for failure in of_it if after is None or failure.certificate_id > after[1]][offset:]
        return page_of(left[:limit], len(of_it), len(left) > limit, "certificate_id", "certificate_id")

    def due(self, now: datetime, limit: int) -> Sequence[BulkOperation]:
        def is_due(operation: BulkOperation) -> bool:
            is_free = operation.lease_until is None or operation.lease_until <= now
            return operation.status is BulkStatus.RUNNING and is_free

        return self.select(is_due, by("created_at", "id"), limit)

    def purge(self, completed_before: datetime, limit: int) -> int:
        def is_old(operation: BulkOperation) -> bool:
            return operation.completed_at is not None and operation.completed_at < completed_before

        old = self.select(is_old, by("completed_at", "id"), limit)
        for operation in old:
            self.remove(operation.id)
        return len(old)
