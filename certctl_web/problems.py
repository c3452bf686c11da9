"""Errors as answers: one table from the error tree to HTTP statuses, one body for all of them.

Bodies are problem details (RFC 9457). The members `error`, `message` and `request_id` repeat what clients of the
established API read; `hint` says what to do next, `fields` which parts of the request are wrong.
"""

import http
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import falcon
from attrs import frozen

from certctl_core.errors import (
    CertctlError,
    Conflict,
    DeploymentFailed,
    Duplicate,
    Forbidden,
    Gone,
    IllegalTransition,
    InUse,
    Invalid,
    NotAuthenticated,
    NotConfigured,
    NotFound,
    QuotaExceeded,
    Refused,
    StaleWrite,
    TooLarge,
    TooMany,
    UpstreamRejected,
    UpstreamUnavailable,
)

T = TypeVar("T")

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[Mapping[type[CertctlError], int]] = {
    Invalid: 400,
    NotAuthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Gone: 410,
    TooLarge: 413,
    Refused: 422,
    TooMany: 429,
    DeploymentFailed: 502,
    UpstreamRejected: 502,
    UpstreamUnavailable: 503,
    NotConfigured: 503,
}
"""An error that is not listed answers as the nearest of its ancestors that is."""

UNEXPECTED: Final = 500

HINTS: Final[Mapping[type[CertctlError], str]] = {
    Invalid: "Mend what is named and send the request again.",
    NotAuthenticated: "Send the header Authorization: Bearer <API key>.",
    Forbidden: "Use a key that may do this, or ask an administrator.",
    NotFound: "List the objects to see which ids exist.",
    Duplicate: "Choose another name or id, or change the object that has it.",
    InUse: "Move or delete what refers to it first.",
    IllegalTransition: "Look at the object's present status.",
    StaleWrite: "Read it again and repeat the change.",
    Conflict: "Look at the object's present state.",
    Gone: "It is retired for good; make a new one.",
    TooLarge: "Send less at once.",
    Refused: "Change the request or the profile that forbids it.",
    TooMany: "Wait as long as Retry-After says.",
    DeploymentFailed: "Mend what the target says, then retry the job.",
    UpstreamRejected: "Mend what the other system says, then try again.",
    UpstreamUnavailable: "Try again in a moment.",
    NotConfigured: "Ask an administrator to set it up.",
}
"""What to do next, for errors that do not say so themselves."""


@frozen
class Problem:
    """An answer that tells of an error."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]


def status_of(kind: type[BaseException]) -> int:
    return _nearest(STATUS, kind, UNEXPECTED)


def _nearest(table: Mapping[type[CertctlError], T], kind: type[BaseException], otherwise: T) -> T:
    return next((table[ancestor] for ancestor in kind.__mro__ if ancestor in table), otherwise)


def of_error(error: CertctlError, request_id: str) -> Problem:
    """The answer for an error raised on purpose."""
    status = status_of(type(error))
    more: dict[str, Any] = {"hint": error.hint or _nearest(HINTS, type(error), "")}
    match error:
        case Invalid(fields=fields) if fields:
            more["fields"] = [{"field": problem.field, "message": problem.message} for problem in fields]
        case Refused(reasons=reasons) if reasons:
            more["reasons"] = list(reasons)
        case QuotaExceeded(retry_after=seconds):
            more |= {"error": "rate_limit_exceeded", "retry_after_seconds": seconds}
        case InUse(counts=counts) if counts:
            more |= {"error": "blocked_by_dependencies", "counts": dict(counts)}
        case _:
            pass
    return Problem(status, _headers(error), _body(status, _kind(type(error)), error.message, request_id, more))


def of_http(error: falcon.HTTPError, request_id: str, method: str, path: str) -> Problem:
    """The answer for what Falcon itself refuses: unknown paths, wrong methods, malformed headers."""
    status = error.status_code
    headers = dict(error.headers or {})
    more: dict[str, Any] = {}
    match status:
        case 404:
            message = f"there is nothing at {path}"
            more["hint"] = "GET /api/v1/openapi.json lists every operation."
        case 405:
            allowed = {key.lower(): value for key, value in headers.items()}.get("allow", "")
            message = f"{method} is not possible at {path}"
            more["hint"] = f"Possible here: {allowed}." if allowed else "Nothing is possible here."
        case _:
            message = error.description or error.title or http.HTTPStatus(status).phrase
            more["hint"] = "Mend the request and send it again."
    return Problem(status, headers, _body(status, "http", message, request_id, more))


def of_surprise(request_id: str) -> Problem:
    """The answer for an error nobody foresaw. It tells nothing but where to look."""
    more = {"hint": f"The server's log has the cause under request id {request_id}."}
    return Problem(UNEXPECTED, {}, _body(UNEXPECTED, "internal", "internal server error", request_id, more))


def _headers(error: CertctlError) -> dict[str, str]:
    match error:
        case NotAuthenticated():
            return {"WWW-Authenticate": 'Bearer realm="certctl"'}
        case TooMany(retry_after=seconds):
            return {"Retry-After": str(seconds)}
        case UpstreamUnavailable(retry_after=int(seconds)):
            return {"Retry-After": str(seconds)}
        case _:
            return {}


def _kind(kind: type[CertctlError]) -> str:
    """`IllegalTransition` -> `illegal-transition`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__).lower()


def _body(status: int, kind: str, message: str, request_id: str, more: Mapping[str, Any]) -> dict[str, Any]:
    phrase = http.HTTPStatus(status).phrase
    own = kind not in ("http", "internal")
    return {
        "type": f"urn:certctl:problem:{kind}" if own else "about:blank",
        "title": kind.replace("-", " ").capitalize() if own else phrase,
        "status": status,
        "detail": message,
        "error": phrase,
        "message": message,
        "request_id": request_id,
        **more,
    }
