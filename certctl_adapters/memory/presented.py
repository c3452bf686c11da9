"""What was presented, in memory."""

from datetime import datetime

from certctl_adapters.memory.transaction import Transaction
from certctl_core.ports.store import Presentation, Presented

_PRESENTED = "presented"


class MemoryPresented(Presented):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def present(self, realm: str, value: bytes, used_for: bytes, now: datetime, until: datetime) -> Presentation:
        known: tuple[Presentation, datetime] | None = self._transaction.rows(_PRESENTED).get((realm, value))
        if known is not None:
            return known[0]
        mine = Presentation(used_for, now)
        self._transaction.set(_PRESENTED, (realm, value), (mine, until))
        return mine

    def count(self, realm: str) -> int:
        return sum(1 for other, _ in self._transaction.rows(_PRESENTED) if other == realm)

    def forget(self, now: datetime, limit: int) -> int:
        rows = self._transaction.rows(_PRESENTED)
        over = sorted((until, key) for key, (_, until) in rows.items() if until <= now)[:limit]
        for _, key in over:
            self._transaction.unset(_PRESENTED, key)
        return len(over)
