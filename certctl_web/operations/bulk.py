"""Operations on many certificates: revoke, renew, reassign; and how far they have got."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from certctl_core.errors import Forbidden, IllegalTransition
from certctl_core.models.bulk import BulkStatus
from certctl_core.usecases import bulk
from certctl_core.usecases.bulk_batches import Progress
from certctl_web.access import ADMINS, OPERATORS, PEOPLE
from certctl_web.media.bulk import (
    BulkError,
    BulkOperation,
    BulkOperationList,
    BulkReassign,
    BulkReassignmentResult,
    BulkRenew,
    BulkRenewalResult,
    BulkRevocationResult,
    BulkRevoke,
)
from certctl_web.media.paging import PagedResponse, Paging, paged
from certctl_web.operation import Answer, Call, Operation, Row

R = TypeVar("R")

_CERTIFICATES: Final = "/api/v1/certificates"
_PATH: Final = "/api/v1/bulk-operations"
_ONE: Final = f"{_PATH}/{{id}}"
_GOES_ON: Final[Mapping[int, str]] = {202: "It goes on; look at operation_id."}


def revoke(call: Call[None], asked: BulkRevoke) -> Answer[BulkRevocationResult]:
    made = bulk.start(call.ports, call.caller, asked.wish())
    return _answer(made, BulkRevocationResult.of(made))


def renew(call: Call[None], asked: BulkRenew) -> Answer[BulkRenewalResult]:
    made = bulk.start(call.ports, call.caller, asked.wish())
    return _answer(made, BulkRenewalResult.of(made))


def reassign(call: Call[None], asked: BulkReassign) -> Answer[BulkReassignmentResult]:
    made = bulk.start(call.ports, call.caller, asked.wish())
    return _answer(made, BulkReassignmentResult.of(made))


def _answer(made: Progress, result: R) -> Answer[R]:
    if made.operation.status is BulkStatus.COMPLETED:
        return Answer(content=result)
    return Answer(content=result, status=202, headers={"Location": f"{_PATH}/{made.operation.id}"})


def page(call: Call[BulkOperationList], _: None) -> PagedResponse[BulkOperation]:
    return paged(call.query, bulk.page(call.ports, call.caller, call.query.wish()), BulkOperation.of)


def get(call: Call[None], _: None) -> BulkOperation:
    return BulkOperation.of(bulk.get(call.ports, call.caller, call.path["id"]))


def failures(call: Call[Paging], _: None) -> PagedResponse[BulkError]:
    asked = call.query
    place = asked.after("certificate_id", str)
    found = bulk.failures(call.ports, call.caller, call.path["id"], asked.per_page, asked.offset, place)
    return paged(call.query, found, BulkError.of)


def cancel(call: Call[None], _: None) -> BulkOperation:
    return BulkOperation.of(bulk.cancel(call.ports, call.caller, call.path["id"]))


def _bulk(name: str, summary: str, **rest: Any) -> Row:
    return Operation(
        name=f"bulk_{name}_certificates",
        method="POST",
        path=f"{_CERTIFICATES}/bulk-{name}",
        summary=summary,
        also=_GOES_ON,
        **rest,
    )


ROWS: Final[tuple[Row, ...]] = (
    _bulk(
        "revoke",
        "Revoke every certificate that meets the criteria",
        who=ADMINS,
        run=revoke,
        body=BulkRevoke,
        answer=BulkRevocationResult,
    ),
    _bulk(
        "renew",
        "Renew every certificate that meets the criteria",
        who=OPERATORS,
        run=renew,
        body=BulkRenew,
        answer=BulkRenewalResult,
    ),
    _bulk(
        "reassign",
        "Give every certificate that meets the criteria to another owner",
        who=OPERATORS,
        run=reassign,
        body=BulkReassign,
        answer=BulkReassignmentResult,
    ),
    Operation(
        name="list_bulk_operations",
        method="GET",
        path=_PATH,
        summary="List operations on many certificates, newest first",
        who=PEOPLE,
        run=page,
        query=BulkOperationList,
        answer=PagedResponse[BulkOperation],
    ),
    Operation(
        name="get_bulk_operation",
        method="GET",
        path=_ONE,
        summary="Show how far an operation on many certificates has got",
        who=PEOPLE,
        run=get,
        answer=BulkOperation,
    ),
    Operation(
        name="list_bulk_operation_failures",
        method="GET",
        path=f"{_ONE}/failures",
        summary="List the certificates to which it could not be done, and why not",
        who=PEOPLE,
        run=failures,
        query=Paging,
        answer=PagedResponse[BulkError],
    ),
    Operation(
        name="cancel_bulk_operation",
        method="POST",
        path=f"{_ONE}/cancel",
        summary="Stop an operation on many certificates; what is done stays done",
        who=OPERATORS,
        run=cancel,
        answer=BulkOperation,
        errors=(IllegalTransition, Forbidden),
    ),
)
