"""What the middleware learns of a request, for whoever comes after it."""

import time
import urllib.parse
from typing import Final, cast

import falcon
from attrs import define, field

from certctl_core.models.access import Principal
from certctl_web.operation import Row

LONGEST_PATH: Final = 2000
_AS_THEY_ARE: Final = "/:@!$&'()*+,;=~"


@define
class Facts:
    """Filled in as the request passes: `caller` and `operation` stay None where there are none, `agent_id` is empty but
    for the heartbeats and polls of an agent."""

    request_id: str
    client: str
    started: float = field(factory=time.monotonic)
    body: bytes = field(default=b"", repr=False)
    operation: Row | None = None
    caller: Principal | None = None
    agent_id: str = ""
    failure: BaseException | None = None


def of(req: falcon.Request) -> Facts:
    """The facts of this request."""
    return cast(Facts, req.context.facts)


def path_of(req: falcon.Request) -> str:
    """The path as logs and records can hold it: a terminal would obey some characters, and PostgreSQL takes no NUL, so
    that what is more than letters and signs stays percent-encoded."""
    return urllib.parse.quote(req.path[:LONGEST_PATH], safe=_AS_THEY_ARE)


def begin(req: falcon.Request, facts: Facts) -> None:
    req.context.facts = facts
