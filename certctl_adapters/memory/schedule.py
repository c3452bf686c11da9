"""Alerts, reschedulings and the pace of issuers, in memory."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import evolve

from certctl_adapters.kinds import ISSUERS
from certctl_adapters.memory.table import by
from certctl_adapters.memory.transaction import Transaction
from certctl_core.errors import Invalid
from certctl_core.ids import IssuerId, RenewalPolicyId
from certctl_core.models.catalog import Rescheduling
from certctl_core.models.records import ExpirationAlert
from certctl_core.ports.store import Alerts, Pace, Reschedulings

_ALERTS = "expiration_alerts"
_RESCHEDULINGS = "reschedulings"
_PACE = "issuer_pace"


class MemoryAlerts(Alerts):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add_new(self, alerts: Iterable[ExpirationAlert]) -> Sequence[ExpirationAlert]:
        return [alert for alert in alerts if self._is_new(alert)]

    def forget(self, expired_before: datetime, limit: int) -> int:
        rows = self._transaction.rows(_ALERTS)
        old = sorted(key for key in rows if key[0] < expired_before)[:limit]
        for key in old:
            self._transaction.unset(_ALERTS, key)
        return len(old)

    def _is_new(self, alert: ExpirationAlert) -> bool:
        key = (alert.expires_at, alert.certificate_id, alert.threshold_days)
        if key in self._transaction.rows(_ALERTS):
            return False
        self._transaction.set(_ALERTS, key, alert)
        return True


class MemoryReschedulings(Reschedulings):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def ask(self, policy_id: RenewalPolicyId, at: datetime) -> None:
        known: Rescheduling | None = self._transaction.rows(_RESCHEDULINGS).get(policy_id)
        self.advance(evolve(known, after="") if known else Rescheduling(policy_id=policy_id, requested_at=at))

    def claim(self) -> Rescheduling | None:
        waiting = self._transaction.rows(_RESCHEDULINGS).values()
        return min(waiting, key=by("requested_at", "policy_id"), default=None)

    def advance(self, rescheduling: Rescheduling) -> None:
        self._transaction.set(_RESCHEDULINGS, rescheduling.policy_id, rescheduling)

    def finish(self, rescheduling: Rescheduling) -> None:
        self._transaction.unset(_RESCHEDULINGS, rescheduling.policy_id)


class MemoryPace(Pace):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def take(self, wanted: Mapping[IssuerId, int], pause: timedelta, now: datetime) -> Mapping[IssuerId, datetime]:
        return {issuer_id: self._take(issuer_id, places * pause, now) for issuer_id, places in wanted.items()}

    def _take(self, issuer_id: IssuerId, time: timedelta, now: datetime) -> datetime:
        if issuer_id not in self._transaction.rows(ISSUERS.table):
            raise self._transaction.refuse(Invalid.field("issuer_id", f"refers to {issuer_id!r}, which does not exist"))
        first: datetime = max(self._transaction.rows(_PACE).get(issuer_id, now), now)
        self._transaction.set(_PACE, issuer_id, first + time)
        return first
