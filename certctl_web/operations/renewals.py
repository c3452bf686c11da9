"""Renewals that should have happened."""

from typing import Final

from certctl_core.usecases import watchdog
from certctl_web.access import PEOPLE
from certctl_web.media.paging import PagedResponse, Paging, paged
from certctl_web.media.renewals import OverdueRenewal
from certctl_web.operation import Call, Operation, Row


def overdue(call: Call[Paging], _: None) -> PagedResponse[OverdueRenewal]:
    found = watchdog.page(call.ports, call.caller, call.query.ask(sort="overdue_at"))
    return paged(call.query, found, OverdueRenewal.of)


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_overdue_renewals",
        method="GET",
        path="/api/v1/stats/overdue-renewals",
        summary="List certificates that should have been renewed by now and have not been, the longest overdue first",
        who=PEOPLE,
        run=overdue,
        query=Paging,
        answer=PagedResponse[OverdueRenewal],
    ),
)
