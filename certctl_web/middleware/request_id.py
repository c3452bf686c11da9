"""A fresh id for every request, answered as X-Request-ID. What a client sends as one is not believed.

Here as well: where the request comes from. X-Forwarded-For counts only as far as configured proxies wrote it.
"""

import ipaddress
import uuid
from collections.abc import Sequence

import falcon
import structlog

from certctl_web.middleware import facts
from certctl_web.options import Network


class RequestId:
    def __init__(self, trusted_proxies: Sequence[Network]) -> None:
        self._trusted = tuple(trusted_proxies)

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        request_id = str(uuid.uuid4())
        client = client_address(req.env.get("REMOTE_ADDR", ""), req.get_header("X-Forwarded-For") or "", self._trusted)
        facts.begin(req, facts.Facts(request_id, client))
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        resp.set_header("X-Request-ID", request_id)


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The nearest address that is not one of our proxies: each proxy appends the peer it saw, so the list is read from
    its end, and what stands before the first address that is not a proxy's may be made up."""
    client = peer
    for claimed in reversed([part.strip() for part in forwarded_for.split(",") if part.strip()]):
        if not _is_in(client, trusted):
            break
        client = claimed if _address(claimed) else client
    return client


def _is_in(address: str, networks: Sequence[Network]) -> bool:
    known = _address(address)
    return known is not None and any(known.version == net.version and known in net for net in networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
