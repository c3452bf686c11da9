"""Notifications on the wire."""

from collections.abc import Collection
from datetime import datetime
from typing import Self

from attrs import frozen

from certctl_core.models import records as facts
from certctl_core.models.records import Channel, NotificationStatus, NotificationType
from certctl_core.ports.store import Query, Where
from certctl_web.media.paging import Paging


@frozen(kw_only=True)
class NotificationEvent:
    """A message owed to somebody. `error` says why it has not been sent, `last_error` what the last attempt failed
    with; `next_retry_at` is when it is tried again by itself."""

    id: str
    type: NotificationType
    certificate_id: str | None = None
    channel: Channel
    recipient: str
    message: str
    sent_at: datetime | None = None
    status: NotificationStatus
    error: str | None = None
    retry_count: int
    next_retry_at: datetime | None = None
    last_error: str | None = None
    created_at: datetime

    @classmethod
    def of(cls, fact: facts.Notification, senders: Collection[str]) -> Self:
        """`senders` are the channels over which something is set up to send."""
        return cls(
            id=fact.id,
            type=fact.type,
            certificate_id=fact.certificate_id,
            channel=Channel(fact.channel),
            recipient=fact.recipient,
            message=fact.message,
            sent_at=fact.sent_at,
            status=fact.status,
            error=_why_unsent(fact, senders) or None,
            retry_count=fact.retry_count,
            next_retry_at=fact.next_retry_at,
            last_error=fact.last_error or None,
            created_at=fact.created_at,
        )


def _why_unsent(fact: facts.Notification, senders: Collection[str]) -> str:
    if fact.status is NotificationStatus.PENDING and fact.channel not in senders:
        return f"nothing is set up to send over {fact.channel}: it waits until something is"
    is_unsent = fact.status in (NotificationStatus.PENDING, NotificationStatus.FAILED, NotificationStatus.DEAD)
    return fact.last_error if is_unsent else ""


@frozen(kw_only=True)
class NotificationList(Paging):
    """Newest first."""

    status: NotificationStatus | None = None
    type: NotificationType | None = None
    channel: Channel | None = None
    certificate_id: str | None = None

    def wish(self) -> Query:
        given = {
            "status": self.status,
            "type": self.type,
            "channel": self.channel and self.channel.value,
            "certificate_id": self.certificate_id,
        }
        where = (Where(name, value) for name, value in given.items() if value is not None)
        return self.ask(*where, descending=True)
