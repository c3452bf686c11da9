"""What the middleware learns of a request, for whoever comes after it."""

import time
from typing import cast

import falcon
from attrs import define, field

from certctl_core.models.access import Principal
from certctl_web.operation import Row


@define
class Facts:
    """Filled in as the request passes: `caller` and `operation` stay None where there are none."""

    request_id: str
    client: str
    started: float = field(factory=time.monotonic)
    body: bytes = field(default=b"", repr=False)
    key_hash: str = ""
    operation: Row | None = None
    caller: Principal | None = None
    failure: BaseException | None = None


def of(req: falcon.Request) -> Facts:
    """The facts of this request."""
    return cast(Facts, req.context.facts)


def begin(req: falcon.Request, facts: Facts) -> None:
    req.context.facts = facts
