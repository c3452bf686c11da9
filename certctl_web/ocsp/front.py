"""OCSP before anything else of the plain listener looks at a request.

An answer from memory takes some ten microseconds; a framework, its middleware and a line in the log would take twenty
times that. What is not an ordinary OCSP request goes on to the application behind.
"""

import io
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog

from certctl_core.errors import CertctlError
from certctl_core.ids import CLIENT_ID
from certctl_core.pki import ocsp
from certctl_web.addresses import network
from certctl_web.middleware.rate_limit import Buckets
from certctl_web.middleware.request_id import client_address
from certctl_web.ocsp import replies
from certctl_web.ocsp.desk import OcspDesk
from certctl_web.ocsp.replies import Conditions, Reply
from certctl_web.options import Network, Rate

PATH: Final = "/.well-known/pki/ocsp/"
_STATUS: Final = {200: "200 OK", 304: "304 Not Modified"}

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

log = structlog.get_logger(__name__)


class Front:
    """A WSGI application. `rate` is what each address may ask, None for any number of requests."""

    def __init__(
        self, desk: OcspDesk, behind: Wsgi, rate: Rate | None = None, trusted_proxies: tuple[Network, ...] = ()
    ) -> None:
        self._desk = desk
        self._behind = behind
        self._buckets = Buckets(rate) if rate else None
        self._proxies = trusted_proxies

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        if not path.startswith(PATH):
            return self._behind(environ, start_response)
        issuer_id, _, asked = path[len(PATH) :].partition("/")
        try:
            reply = self._reply(environ, issuer_id, asked)
        except CertctlError:
            reply = None  # OCSP has no word for it; the application has
        except Exception:  # whatever goes wrong, the client hears it in its own language
            log.exception("OCSP request not answered")
            reply = replies.internal_error()
        if reply is None:
            return self._behind(environ, start_response)
        headers = [("Content-Type", replies.RESPONSE), ("Content-Length", str(sum(map(len, reply.body))))]
        headers.extend(reply.headers.items())
        start_response(_STATUS[reply.status], headers if reply.status == 200 else headers[2:])
        return reply.body

    def _reply(self, environ: dict[str, Any], issuer_id: str, asked: str) -> Reply | None:
        """None for what is not an ordinary OCSP request."""
        method = environ["REQUEST_METHOD"]
        is_get, is_post = method == "GET" and asked, method == "POST" and not asked
        if not (is_get or is_post) or not CLIENT_ID.fullmatch(issuer_id):
            return None
        if self._buckets is not None and not self._buckets.take(self._client(environ)):
            return replies.rate_limited()
        if is_get:
            conditions = Conditions(environ.get("HTTP_IF_NONE_MATCH", ""), environ.get("HTTP_IF_MODIFIED_SINCE", ""))
            return replies.by_get(self._desk, issuer_id, asked, time.time(), conditions)
        body = _body(environ)
        return None if body is None else replies.by_post(self._desk, issuer_id, body)

    def _client(self, environ: dict[str, Any]) -> str:
        peer, forwarded = environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR", "")
        return network(client_address(peer, forwarded, self._proxies) if self._proxies else peer)


def _body(environ: dict[str, Any]) -> bytes | None:
    """The body of an OCSP request of ordinary length, left for the application as well; None for any other."""
    kind = environ.get("CONTENT_TYPE", "")
    announced = environ.get("CONTENT_LENGTH") or ""
    if (kind and replies.REQUEST not in kind) or not announced.isdecimal():
        return None
    if not 0 < int(announced) <= ocsp.MAX_REQUEST_BYTES:
        return None
    try:
        body: bytes = environ["wsgi.input"].read(int(announced))
    except TimeoutError:
        body = b""
    environ["wsgi.input"] = io.BytesIO(body)
    return body if len(body) == int(announced) else None
