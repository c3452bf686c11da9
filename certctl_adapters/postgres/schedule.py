"""Alerts, reschedulings and the pace of issuers."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ids import IssuerId, RenewalPolicyId
from certctl_core.models.catalog import Rescheduling
from certctl_core.models.records import ExpirationAlert
from certctl_core.ports.store import Alerts, Pace, Reschedulings


class PostgresAlerts(Alerts):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add_new(self, alerts: Iterable[ExpirationAlert]) -> Sequence[ExpirationAlert]:
        wanted = {(alert.certificate_id, alert.expires_at, alert.threshold_days): alert for alert in alerts}
        if not wanted:
            return []
        # In the order of the key, so that two who tell of the same do not wait in a circle.
        rows = self._transaction.rows(
            b"""
            INSERT INTO expiration_alerts (certificate_id, expires_at, threshold_days, told_at)
            SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::integer[], %s::timestamptz[]) AS new (c, e, d, t)
            ORDER BY e, c, d
            ON CONFLICT DO NOTHING RETURNING certificate_id, expires_at, threshold_days
            """,
            [
                [alert.certificate_id for alert in wanted.values()],
                [alert.expires_at for alert in wanted.values()],
                [alert.threshold_days for alert in wanted.values()],
                [alert.told_at for alert in wanted.values()],
            ],
        )
        new = set(rows)
        return [alert for key, alert in wanted.items() if key in new]

    def forget(self, expired_before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM expiration_alerts WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM expiration_alerts WHERE expires_at < %s
                ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED
            ))
            """,
            [expired_before, limit],
        )


class PostgresReschedulings(Reschedulings):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def ask(self, policy_id: RenewalPolicyId, at: datetime) -> None:
        # One that has begun keeps its place in the queue, so that what changes all the time is not put off for ever.
        self._transaction.change(
            b"""
            INSERT INTO reschedulings (policy_id, requested_at) VALUES (%s, %s)
            ON CONFLICT (policy_id) DO UPDATE SET after_id = ''
            """,
            [policy_id, at],
        )

    def claim(self) -> Rescheduling | None:
        row = self._transaction.row(
            b"""
            SELECT policy_id, after_id, requested_at FROM reschedulings
            ORDER BY requested_at, policy_id LIMIT 1 FOR UPDATE SKIP LOCKED
            """
        )
        if row is None:
            return None
        policy_id, after, requested_at = row
        return Rescheduling(policy_id=policy_id, after=after, requested_at=requested_at.astimezone(UTC))

    def advance(self, rescheduling: Rescheduling) -> None:
        self._transaction.change(
            b"UPDATE reschedulings SET after_id = %s WHERE policy_id = %s",
            [rescheduling.after, rescheduling.policy_id],
        )

    def finish(self, rescheduling: Rescheduling) -> None:
        self._transaction.change(b"DELETE FROM reschedulings WHERE policy_id = %s", [rescheduling.policy_id])


class PostgresPace(Pace):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def take(self, wanted: Mapping[IssuerId, int], pause: timedelta, now: datetime) -> Mapping[IssuerId, datetime]:
        if not wanted:
            return {}
        issuers = sorted(wanted)
        rows = self._transaction.rows(
            b"""
            INSERT INTO issuer_pace AS p (issuer_id, next_at)
            SELECT issuer, %(now)s::timestamptz + time FROM unnest(%(issuers)s::text[], %(times)s::interval[])
                AS new (issuer, time) ORDER BY issuer
            ON CONFLICT (issuer_id) DO UPDATE
            SET next_at = greatest(p.next_at, %(now)s) + (excluded.next_at - %(now)s::timestamptz)
            RETURNING issuer_id, next_at
            """,
            {"issuers": issuers, "times": [wanted[issuer] * pause for issuer in issuers], "now": now},
        )
        return {issuer: next_at.astimezone(UTC) - wanted[issuer] * pause for issuer, next_at in rows}
