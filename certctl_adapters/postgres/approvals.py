"""Approval requests."""

from typing import Final, LiteralString

from certctl_adapters.kinds import APPROVALS
from certctl_adapters.postgres.table import OF_CERTIFICATE, PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.models.approvals import ApprovalRequest
from certctl_core.ports.store import Approvals

_REQUEST: Final = shape_of(APPROVALS)


class PostgresApprovals(PostgresTable[ApprovalRequest], Approvals):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _REQUEST)

    def _extra(self, name: str) -> LiteralString:
        return OF_CERTIFICATE[name]
