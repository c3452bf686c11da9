"""Approval requests in memory."""

from certctl_adapters.kinds import APPROVALS, CERTIFICATES
from certctl_adapters.memory.table import MemoryTable
from certctl_adapters.memory.transaction import Transaction
from certctl_core.models.approvals import ApprovalRequest
from certctl_core.ports.store import Approvals


class MemoryApprovals(MemoryTable[ApprovalRequest], Approvals):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, APPROVALS)

    def _extra(self, fact: ApprovalRequest, name: str) -> object:
        return getattr(self._transaction.rows(CERTIFICATES.table)[fact.certificate_id], name)
