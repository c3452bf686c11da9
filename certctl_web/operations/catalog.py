"""Issuers, targets, teams, owners, profiles and renewal policies: the same five operations for each kind."""

from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from attrs import frozen

from certctl_core.errors import Duplicate, InUse, NotConfigured, StaleWrite, UpstreamUnavailable
from certctl_core.models.access import Principal
from certctl_core.ports import Ports
from certctl_core.ports.store import Page, Query
from certctl_core.usecases import catalog
from certctl_web.access import OPERATORS, PEOPLE
from certctl_web.media import catalog as wire
from certctl_web.media.paging import PagedResponse, Paging, paged
from certctl_web.media.records import StatusResponse
from certctl_web.operation import Call, Operation, Row

F = TypeVar("F")


class Wishes(Protocol):
    """A body that knows what it asks of the use case."""

    def wish(self) -> Any: ...


@frozen(kw_only=True)
class Kind(Generic[F]):
    """One kind of object: its names, its classes on the wire, and its use cases."""

    noun: str
    path: str
    sent: type[Any]
    created: type[Wishes]
    updated: type[Wishes]
    create: Callable[[Ports, Principal, Any], F]
    update: Callable[[Ports, Principal, str, Any], F]
    delete: Callable[[Ports, Principal, str], None]
    get: Callable[[Ports, Principal, str], F]
    page: Callable[[Ports, Principal, Query], Page[F]]


def rows(kind: Kind[Any]) -> tuple[Row, ...]:
    """List, create, get, update, delete."""
    path, noun = f"/api/v1/{kind.path}", kind.noun
    one, plural, words = f"{path}/{{id}}", kind.path.replace("-", "_"), noun.replace("_", " ")
    article = "an" if noun[0] in "aeiou" else "a"

    def page(call: Call[Paging], _: None) -> PagedResponse[Any]:
        return paged(call.query, kind.page(call.ports, call.caller, call.query.ask()), kind.sent.of)

    def create(call: Call[None], asked: Wishes) -> Any:
        return kind.sent.of(kind.create(call.ports, call.caller, asked.wish()))

    def get(call: Call[None], _: None) -> Any:
        return kind.sent.of(kind.get(call.ports, call.caller, call.path["id"]))

    def update(call: Call[None], asked: Wishes) -> Any:
        return kind.sent.of(kind.update(call.ports, call.caller, call.path["id"], asked.wish()))

    def delete(call: Call[None], _: None) -> None:
        kind.delete(call.ports, call.caller, call.path["id"])

    return (
        Operation(
            name=f"list_{plural}",
            method="GET",
            path=path,
            summary=f"List {plural.replace('_', ' ')}",
            who=PEOPLE,
            run=page,
            query=Paging,
            answer=PagedResponse[kind.sent],  # type: ignore[name-defined]
        ),
        Operation(
            name=f"create_{noun}",
            method="POST",
            path=path,
            summary=f"Create {article} {words}",
            who=OPERATORS,
            run=create,
            body=kind.created,
            answer=kind.sent,
            status=201,
            errors=(Duplicate, NotConfigured),
        ),
        Operation(
            name=f"get_{noun}",
            method="GET",
            path=one,
            summary=f"Show one {words}",
            who=PEOPLE,
            run=get,
            answer=kind.sent,
        ),
        Operation(
            name=f"update_{noun}",
            method="PUT",
            path=one,
            summary=f"Change {article} {words}; what is not given stays",
            who=OPERATORS,
            run=update,
            body=kind.updated,
            answer=kind.sent,
            errors=(Duplicate, StaleWrite, NotConfigured),
        ),
        Operation(
            name=f"delete_{noun}",
            method="DELETE",
            path=one,
            summary=f"Delete {article} {words} that nothing refers to",
            who=OPERATORS,
            run=delete,
            status=204,
            errors=(InUse,),
        ),
    )


def try_issuer(call: Call[None], _: None) -> StatusResponse:
    answered, said = catalog.test_issuer(call.ports, call.caller, call.path["id"])
    if not answered:
        raise UpstreamUnavailable(f"issuer {call.path['id']} cannot be used: {said}")
    return StatusResponse(status="connection_successful")


def try_target(call: Call[None], _: None) -> StatusResponse:
    reachable, said = catalog.test_target(call.ports, call.caller, call.path["id"])
    return StatusResponse(status="success" if reachable else "failed", message=said or "the target's agent is online")


KINDS: Final[tuple[Kind[Any], ...]] = (
    Kind(
        noun="issuer",
        path="issuers",
        sent=wire.Issuer,
        created=wire.CreateIssuer,
        updated=wire.UpdateIssuer,
        create=catalog.create_issuer,
        update=catalog.update_issuer,
        delete=catalog.delete_issuer,
        get=catalog.get_issuer,
        page=catalog.page_issuer,
    ),
    Kind(
        noun="target",
        path="targets",
        sent=wire.DeploymentTarget,
        created=wire.CreateTarget,
        updated=wire.UpdateTarget,
        create=catalog.create_target,
        update=catalog.update_target,
        delete=catalog.delete_target,
        get=catalog.get_target,
        page=catalog.page_target,
    ),
    Kind(
        noun="team",
        path="teams",
        sent=wire.Team,
        created=wire.CreateTeam,
        updated=wire.UpdateTeam,
        create=catalog.create_team,
        update=catalog.update_team,
        delete=catalog.delete_team,
        get=catalog.get_team,
        page=catalog.page_team,
    ),
    Kind(
        noun="owner",
        path="owners",
        sent=wire.Owner,
        created=wire.CreateOwner,
        updated=wire.UpdateOwner,
        create=catalog.create_owner,
        update=catalog.update_owner,
        delete=catalog.delete_owner,
        get=catalog.get_owner,
        page=catalog.page_owner,
    ),
    Kind(
        noun="profile",
        path="profiles",
        sent=wire.CertificateProfile,
        created=wire.CreateProfile,
        updated=wire.UpdateProfile,
        create=catalog.create_profile,
        update=catalog.update_profile,
        delete=catalog.delete_profile,
        get=catalog.get_profile,
        page=catalog.page_profile,
    ),
    Kind(
        noun="renewal_policy",
        path="renewal-policies",
        sent=wire.RenewalPolicy,
        created=wire.CreateRenewalPolicy,
        updated=wire.UpdateRenewalPolicy,
        create=catalog.create_renewal_policy,
        update=catalog.update_renewal_policy,
        delete=catalog.delete_renewal_policy,
        get=catalog.get_renewal_policy,
        page=catalog.page_renewal_policy,
    ),
)

ROWS: Final[tuple[Row, ...]] = (
    *(row for kind in KINDS for row in rows(kind)),
    Operation(
        name="test_issuer",
        method="POST",
        path="/api/v1/issuers/{id}/test",
        summary="Connect to an issuer with its stored settings",
        who=OPERATORS,
        run=try_issuer,
        answer=StatusResponse,
        errors=(NotConfigured,),
    ),
    Operation(
        name="test_target",
        method="POST",
        path="/api/v1/targets/{id}/test",
        summary="Ask whether the agent of a target is there",
        who=OPERATORS,
        run=try_target,
        answer=StatusResponse,
    ),
)
