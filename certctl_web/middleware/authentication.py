"""Who asks, and whether they may: bearer keys, roles, and agents that act as themselves only."""

from collections.abc import Callable, Mapping

import falcon
from attrs import evolve

from certctl_core.errors import Forbidden, NotAuthenticated
from certctl_core.models.access import Principal, Role
from certctl_web.access import EVERYBODY_IS_ADMIN, STRANGER, Keyring
from certctl_web.middleware import facts
from certctl_web.middleware.rate_limit import RateLimit, bearer
from certctl_web.operation import Row

Find = Callable[[object, str], Row | None]
"""The row that a resource answers a method with, if it is one of the table's."""


class Authentication:
    def __init__(self, keyring: Keyring | None, limit: RateLimit | None, find: Find) -> None:
        """Without a keyring nobody has to say who they are, and everybody is an administrator."""
        self._keyring = keyring
        self._limit = limit
        self._find = find

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: object, params: Mapping[str, str]
    ) -> None:
        known = facts.of(req)
        operation = self._find(resource, req.method)
        if operation is None:
            return
        known.operation = operation
        if operation.is_public:
            known.caller = None
            return
        known.caller = self._who(req, known)
        _authorise(operation, known.caller, params)

    def _who(self, req: falcon.Request, known: facts.Facts) -> Principal:
        if self._keyring is None:
            return evolve(EVERYBODY_IS_ADMIN, request_id=known.request_id)
        presented = _presented(req)
        caller = self._keyring.who(presented, known.request_id)
        if self._limit is not None:
            self._limit.accepted(known.client, presented, caller)
        return caller


def caller_of(req: falcon.Request) -> Principal:
    """Who asked; a stranger where nobody has to say."""
    known = facts.of(req)
    return known.caller or evolve(STRANGER, request_id=known.request_id)


def _presented(req: falcon.Request) -> str:
    header = req.get_header("Authorization")
    if not header:
        raise NotAuthenticated("Authorization header required", hint="Send the header Authorization: Bearer <API key>.")
    if not (presented := bearer(req)):
        raise NotAuthenticated("Invalid Authorization header format, expected: Bearer <token>")
    return presented


def _authorise(operation: Row, caller: Principal, params: Mapping[str, str]) -> None:
    """Raises `Forbidden`."""
    if caller.role not in operation.who:
        allowed = ", ".join(sorted(role.value for role in operation.who))
        raise Forbidden(
            f"a key with role {caller.role.value} may not {operation.name.replace('_', ' ')}",
            hint=f"Roles that may: {allowed}.",
        )
    if operation.own is not None and caller.role is Role.AGENT and params[operation.own] != caller.agent_id:
        raise Forbidden(f"this key belongs to agent {caller.agent_id} and cannot act as {params[operation.own]}")
