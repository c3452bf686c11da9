"""Quotas in memory."""

from datetime import datetime, timedelta

from certctl_adapters.memory.transaction import Transaction
from certctl_core.ports.store import Quotas

_QUOTAS = "quotas"


class MemoryQuotas(Quotas):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def take(self, what: str, whose: str, most: int, within: timedelta, now: datetime) -> datetime | None:
        known: list[datetime] = self._transaction.rows(_QUOTAS).get((what, whose), [])
        used = [at for at in known if at > now - within]
        if len(used) >= most:
            return sorted(used)[-most] + within
        self._transaction.set(_QUOTAS, (what, whose), [*used, now])
        return None

    def forget(self, before: datetime) -> int:
        rows = self._transaction.rows(_QUOTAS)
        old = [key for key, used in rows.items() if max(used) < before]
        for key in old:
            self._transaction.unset(_QUOTAS, key)
        return len(old)
