"""Delegates in memory."""

from collections.abc import Sequence
from datetime import datetime

from attrs import evolve

from certctl_adapters.kinds import DELEGATES
from certctl_adapters.memory.table import MemoryTable, by, is_due
from certctl_adapters.memory.transaction import Transaction
from certctl_core.ids import DelegateId, IssuerId
from certctl_core.models.delegates import Delegate, Purpose
from certctl_core.ports.store import Delegates


def _family(delegate: Delegate) -> tuple[IssuerId, str, Purpose, str]:
    return delegate.issuer_id, delegate.authority, delegate.purpose, delegate.label


class MemoryDelegates(Delegates):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = MemoryTable(transaction, DELEGATES)

    def newest(self, issuer_id: IssuerId, authority: str, purpose: Purpose, label: str = "") -> Delegate | None:
        wanted = (issuer_id, authority, purpose, label)
        found = self._table.select(lambda one: _family(one) == wanted, by("generation"))
        return found[-1] if found else None

    def unexpired(self, issuer_id: IssuerId, now: datetime) -> Sequence[Delegate]:
        found = self._table.select(
            lambda one: one.issuer_id == issuer_id and one.not_after > now, by("created_at", "id")
        )
        return tuple(reversed(found))

    def lock_or_add(self, delegate: Delegate) -> Delegate:
        wanted = _family(delegate)
        family = self._table.select(lambda one: _family(one) == wanted, by("generation"))
        for one in family:
            if one.generation == delegate.generation:
                return one
        self._table.add(delegate)
        for one in family:
            if one.generation < delegate.generation:
                self.set_renewal(one.id, None)
        return delegate

    def due_for_renewal(self, now: datetime, limit: int) -> Sequence[Delegate]:
        return self._table.select(lambda one: is_due(one.renew_at, now), by("renew_at", "id"))[:limit]

    def set_renewal(self, identity: DelegateId, renew_at: datetime | None) -> None:
        self._transaction.replace(DELEGATES, evolve(self._table.get(identity), renew_at=renew_at))

    def forget(self, ended_before: datetime, limit: int) -> int:
        ended = self._table.select(lambda one: one.not_after < ended_before, by("not_after", "id"))[:limit]
        for one in ended:
            self._table.remove(one.id)
        return len(ended)
