"""Policy rules, and the violations that are found of them."""

from typing import Any, Final

from certctl_core.usecases import policies, violations
from certctl_web.access import PEOPLE
from certctl_web.media.paging import PagedResponse, paged
from certctl_web.media.policies import (
    CreatePolicy,
    PolicyRule,
    PolicyViolation,
    RuleViolationList,
    UpdatePolicy,
    ViolationList,
)
from certctl_web.operation import Call, Operation, Row
from certctl_web.operations.catalog import Kind, rows

RULES: Final[Kind[Any]] = Kind(
    noun="policy",
    path="policies",
    sent=PolicyRule,
    created=CreatePolicy,
    updated=UpdatePolicy,
    create=policies.create,
    update=policies.update,
    delete=policies.delete,
    get=policies.get,
    page=policies.page,
)


def page_of_rule(call: Call[RuleViolationList], _: None) -> PagedResponse[PolicyViolation]:
    found = violations.page_of_rule(call.ports, call.caller, call.path["id"], call.query.wish())
    return paged(call.query, found, PolicyViolation.of)


def page(call: Call[ViolationList], _: None) -> PagedResponse[PolicyViolation]:
    return paged(call.query, violations.page(call.ports, call.caller, call.query.wish()), PolicyViolation.of)


ROWS: Final[tuple[Row, ...]] = (
    *rows(RULES),
    Operation(
        name="list_policy_violations",
        method="GET",
        path="/api/v1/policies/{id}/violations",
        summary="List the violations of one policy, those that are open unless asked otherwise",
        who=PEOPLE,
        run=page_of_rule,
        query=RuleViolationList,
        answer=PagedResponse[PolicyViolation],
    ),
    Operation(
        name="list_violations",
        method="GET",
        path="/api/v1/policy-violations",
        summary="List the violations of all policies, those that are open unless asked otherwise",
        who=PEOPLE,
        run=page,
        query=ViolationList,
        answer=PagedResponse[PolicyViolation],
    ),
)
