"""Approvals: look at what waits for somebody's agreement, approve it, reject it."""

from typing import Final

from certctl_core.errors import Conflict
from certctl_core.usecases import approvals
from certctl_web.access import OPERATORS, PEOPLE
from certctl_web.media.approvals import ApprovalList, ApprovalRequest, Decide, Decided
from certctl_web.media.paging import PagedResponse, paged
from certctl_web.operation import Call, Operation, Row

_PATH: Final = "/api/v1/approvals"
_ONE: Final = f"{_PATH}/{{id}}"


def page(call: Call[ApprovalList], _: None) -> PagedResponse[ApprovalRequest]:
    return paged(call.query, approvals.page(call.ports, call.caller, call.query.wish()), ApprovalRequest.of)


def get(call: Call[None], _: None) -> ApprovalRequest:
    return ApprovalRequest.of(approvals.get(call.ports, call.caller, call.path["id"]))


def approve(call: Call[None], asked: Decide) -> Decided:
    return Decided.of(approvals.approve(call.ports, call.caller, call.path["id"], asked.note))


def reject(call: Call[None], asked: Decide) -> Decided:
    return Decided.of(approvals.reject(call.ports, call.caller, call.path["id"], asked.note))


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_approvals",
        method="GET",
        path=_PATH,
        summary="List approval requests, newest first",
        who=PEOPLE,
        run=page,
        query=ApprovalList,
        answer=PagedResponse[ApprovalRequest],
    ),
    Operation(
        name="get_approval",
        method="GET",
        path=_ONE,
        summary="Show one approval request and what it pins",
        who=PEOPLE,
        run=get,
        answer=ApprovalRequest,
    ),
    Operation(
        name="approve_request",
        method="POST",
        path=f"{_ONE}/approve",
        summary="Let a certificate be issued exactly as requested; somebody else than its requester has to",
        who=OPERATORS,
        run=approve,
        body=Decide,
        answer=Decided,
        errors=(Conflict,),
    ),
    Operation(
        name="reject_request",
        method="POST",
        path=f"{_ONE}/reject",
        summary="Refuse to have a certificate issued as requested",
        who=OPERATORS,
        run=reject,
        body=Decide,
        answer=Decided,
        errors=(Conflict,),
    ),
)
