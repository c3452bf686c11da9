"""Notifications in memory."""

from datetime import datetime

from certctl_adapters.kinds import CERTIFICATES, NOTIFICATIONS
from certctl_adapters.memory.table import MemoryTable, by
from certctl_adapters.memory.transaction import Transaction
from certctl_core.models.records import Notification
from certctl_core.ports.store import Notifications


class MemoryNotifications(MemoryTable[Notification], Notifications):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, NOTIFICATIONS)

    def purge(self, created_before: datetime, limit: int) -> int:
        old = self.select(lambda told: told.created_at < created_before, by("created_at", "id"), limit)
        for told in old:
            self.remove(told.id)
        return len(old)

    def _extra(self, fact: Notification, name: str) -> object:
        certificate = self._transaction.rows(CERTIFICATES.table).get(fact.certificate_id)
        return None if certificate is None else getattr(certificate, name)
