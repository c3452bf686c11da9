"""The life of a notification: sent, or failed and retried, or dead after too many tries; read when somebody saw it."""

from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from attrs import evolve

from certctl_core.lifecycle.machine import Machine, from_each
from certctl_core.models.records import Notification
from certctl_core.models.records import NotificationStatus as S

MAX_TRIES: Final = 5


class NotificationEvent(Enum):
    SEND = "send"
    FAIL = "fail"
    GIVE_UP = "give up"
    READ = "read"
    REQUEUE = "requeue"


NOTIFICATION: Machine[S, NotificationEvent] = Machine(
    "notification",
    {
        **from_each((S.PENDING, S.FAILED), NotificationEvent.SEND, S.SENT),
        **from_each((S.PENDING, S.FAILED), NotificationEvent.FAIL, S.FAILED),
        **from_each((S.PENDING, S.FAILED), NotificationEvent.GIVE_UP, S.DEAD),
        **from_each(tuple(S), NotificationEvent.READ, S.READ),
        **from_each(tuple(S), NotificationEvent.REQUEUE, S.PENDING),
    },
)


def sent(notification: Notification, at: datetime) -> Notification:
    status = NOTIFICATION.next(notification.status, NotificationEvent.SEND)
    return evolve(notification, status=status, sent_at=at, next_retry_at=None, last_error="")


def failed(notification: Notification, at: datetime, error: str) -> Notification:
    """Count the failure and schedule the next try: 2, 4, 8, 16 minutes, at most an hour; the fifth failure is final."""
    tries = notification.retry_count + 1
    if tries >= MAX_TRIES:
        status = NOTIFICATION.next(notification.status, NotificationEvent.GIVE_UP)
        return evolve(notification, status=status, retry_count=tries, next_retry_at=None, last_error=error)
    wait = min(timedelta(minutes=2**tries), timedelta(hours=1))
    status = NOTIFICATION.next(notification.status, NotificationEvent.FAIL)
    return evolve(notification, status=status, retry_count=tries, next_retry_at=at + wait, last_error=error)


def read(notification: Notification) -> Notification:
    return evolve(notification, status=NOTIFICATION.next(notification.status, NotificationEvent.READ))


def requeue(notification: Notification) -> Notification:
    """It is owed as if it had never been tried."""
    status = NOTIFICATION.next(notification.status, NotificationEvent.REQUEUE)
    return evolve(notification, status=status, retry_count=0, next_retry_at=None, last_error="", sent_at=None)
