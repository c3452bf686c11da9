"""API keys, and what a caller may know of itself."""

from typing import Final

from certctl_core.errors import Conflict, StaleWrite
from certctl_core.models.access import Role
from certctl_core.usecases import access
from certctl_web.access import ADMINS, ANYONE, EVERY_ROLE
from certctl_web.media.paging import PagedResponse, Paging, paged
from certctl_web.media.records import ApiKey, AuthCheck, AuthInfo, CreateApiKey, CreatedApiKey, UpdateApiKey
from certctl_web.operation import Call, Operation, Row

_PATH: Final = "/api/v1/api-keys"


def page(call: Call[Paging], _: None) -> PagedResponse[ApiKey]:
    return paged(call.query, access.page_keys(call.ports, call.caller, call.query.ask()), ApiKey.of)


def create(call: Call[None], asked: CreateApiKey) -> CreatedApiKey:
    made = access.create_key(
        call.ports,
        call.caller,
        asked.name,
        asked.role,
        expires_at=asked.expires_at,
        team_ids=asked.teams,
        environments=asked.environments,
    )
    return CreatedApiKey.of_new(made)


def update(call: Call[None], asked: UpdateApiKey) -> ApiKey:
    return ApiKey.of(access.update_key(call.ports, call.caller, call.path["id"], asked.wish()))


def revoke(call: Call[None], _: None) -> None:
    access.revoke_key(call.ports, call.caller, call.path["id"])


def info(call: Call[None], _: None) -> AuthInfo:
    required = call.options.auth_required
    return AuthInfo(auth_type="api-key" if required else "none", required=required)


def check(call: Call[None], _: None) -> AuthCheck:
    caller = call.caller
    return AuthCheck(
        status="authenticated",
        user=caller.name,
        admin=caller.role is Role.ADMIN,
        role=caller.role,
        agent_id=caller.agent_id,
        team_ids=tuple(sorted(caller.scope.team_ids)),
        environments=tuple(sorted(caller.scope.environments)),
    )


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_api_keys",
        tool="",
        method="GET",
        path=_PATH,
        summary="List API keys, never the keys themselves",
        who=ADMINS,
        run=page,
        query=Paging,
        answer=PagedResponse[ApiKey],
    ),
    Operation(
        name="create_api_key",
        tool="",
        method="POST",
        path=_PATH,
        summary="Make an API key; it is shown once",
        who=ADMINS,
        run=create,
        body=CreateApiKey,
        answer=CreatedApiKey,
        status=201,
    ),
    Operation(
        name="update_api_key",
        tool="",
        method="PUT",
        path=f"{_PATH}/{{id}}",
        summary="Change an API key's name, expiry and limits; what is not given stays",
        who=ADMINS,
        run=update,
        body=UpdateApiKey,
        answer=ApiKey,
        errors=(Conflict, StaleWrite),
    ),
    Operation(
        name="revoke_api_key",
        tool="",
        method="DELETE",
        path=f"{_PATH}/{{id}}",
        summary="Revoke an API key and end the sessions opened with it",
        who=ADMINS,
        run=revoke,
        status=204,
    ),
    Operation(
        name="get_auth_info",
        tool="certctl_auth_info",
        method="GET",
        path="/api/v1/auth/info",
        summary="Say how callers authenticate",
        who=ANYONE,
        run=info,
        answer=AuthInfo,
    ),
    Operation(
        name="check_auth",
        tool="certctl_auth_check",
        method="GET",
        path="/api/v1/auth/check",
        summary="Say who the caller is",
        who=EVERY_ROLE,
        run=check,
        answer=AuthCheck,
    ),
)
