"""Notifications: look, mark as read, have sent again."""

from functools import partial
from typing import Final

from certctl_core.usecases import notifications
from certctl_web.access import OPERATORS, PEOPLE
from certctl_web.media.notifications import NotificationEvent, NotificationList
from certctl_web.media.paging import PagedResponse, paged
from certctl_web.media.records import StatusResponse
from certctl_web.operation import Call, Operation, Row

_PATH: Final = "/api/v1/notifications"
_ONE: Final = f"{_PATH}/{{id}}"


def page(call: Call[NotificationList], _: None) -> PagedResponse[NotificationEvent]:
    found = notifications.page(call.ports, call.caller, call.query.wish())
    return paged(call.query, found, partial(NotificationEvent.of, senders=call.ports.senders))


def get(call: Call[None], _: None) -> NotificationEvent:
    found = notifications.get(call.ports, call.caller, call.path["id"])
    return NotificationEvent.of(found, call.ports.senders)


def read(call: Call[None], _: None) -> StatusResponse:
    notifications.read(call.ports, call.caller, call.path["id"])
    return StatusResponse(status="marked_as_read")


def requeue(call: Call[None], _: None) -> StatusResponse:
    notifications.requeue(call.ports, call.caller, call.path["id"])
    return StatusResponse(status="requeued")


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_notifications",
        method="GET",
        path=_PATH,
        summary="List messages to owners, newest first; status=dead are those that could not be sent",
        who=PEOPLE,
        run=page,
        query=NotificationList,
        answer=PagedResponse[NotificationEvent],
    ),
    Operation(
        name="get_notification",
        method="GET",
        path=_ONE,
        summary="Show one message and what became of it",
        who=PEOPLE,
        run=get,
        answer=NotificationEvent,
    ),
    Operation(
        name="mark_notification_read",
        method="POST",
        path=f"{_ONE}/read",
        summary="Mark a message as read; it is not sent any more",
        who=OPERATORS,
        run=read,
        answer=StatusResponse,
    ),
    Operation(
        name="requeue_notification",
        method="POST",
        path=f"{_ONE}/requeue",
        summary="Have a message sent as if that had never been tried",
        who=OPERATORS,
        run=requeue,
        answer=StatusResponse,
    ),
)
