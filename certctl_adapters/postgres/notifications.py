"""Notifications."""

from datetime import datetime
from typing import Final, LiteralString

from certctl_adapters.kinds import NOTIFICATIONS
from certctl_adapters.postgres import totals
from certctl_adapters.postgres.listing import Listing
from certctl_adapters.postgres.table import OF_CERTIFICATE, PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.models.records import Notification
from certctl_core.ports.store import Notifications

_NOTIFICATION: Final = shape_of(NOTIFICATIONS)
_LISTING: Final = Listing(
    _NOTIFICATION,
    totals.NOTIFICATIONS,
    ordered=frozenset((name, "created_at") for name in ("status", "type", "certificate_id")),
)


class PostgresNotifications(PostgresTable[Notification], Notifications):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _NOTIFICATION, _LISTING)

    def purge(self, created_before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM notification_events WHERE id = ANY (ARRAY(
                SELECT id FROM notification_events WHERE created_at < %s
                ORDER BY created_at, id LIMIT %s FOR UPDATE SKIP LOCKED
            ))
            """,
            [created_before, limit],
        )

    def _extra(self, name: str) -> LiteralString:
        return OF_CERTIFICATE[name]
