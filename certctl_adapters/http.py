"""The one HTTP client: of the agent and the command line towards the control plane, and of the control plane outwards.

It speaks JSON, follows no redirect, decompresses nothing, caps what it reads, gives up in time, and raises errors of
our own tree: what the other side said in problem+json (RFC 9457) comes back as the error it was there.
"""

import json
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3
from attrs import field, frozen
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, InsecureRequestWarning, NewConnectionError, ProtocolError

from certctl_adapters.egress import ANYWHERE, Egress
from certctl_core import __version__
from certctl_core.errors import (
    CertctlError,
    Conflict,
    FieldProblem,
    Forbidden,
    Gone,
    InUse,
    Invalid,
    NotAuthenticated,
    NotFound,
    Refused,
    TooLarge,
    TooMany,
    UpstreamRejected,
    UpstreamUnavailable,
)

MAX_BODY: Final = 4 << 20
TIMEOUT: Final = timedelta(seconds=30)
USER_AGENT: Final = f"certctl/{__version__}"
_MAX_WORDS: Final = 2000
_CHUNK: Final = 65536

Json = Any


def trust(ca_bundle: bytes | None = None, *, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """TLS that believes the CAs of `ca_bundle` (PEM) and no others, or without one those of the machine.

    Raises `Invalid` when the bundle holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = minimum
    if ca_bundle is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cadata=ca_bundle.decode("ascii"))
    except (ssl.SSLError, ValueError) as problem:
        raise Invalid(f"the CA bundle holds no certificate that can be read: {problem}") from problem
    return context


def trust_nobody_checked(*, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """TLS that takes any certificate. For what is checked in another way afterwards, and for the loopback."""
    warnings.filterwarnings("ignore", category=InsecureRequestWarning)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = minimum
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@frozen
class Answer:
    """An HTTP response that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Json:
        """The decoded body. Raises `UpstreamUnavailable` when it is not JSON: something else answered."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as problem:
            raise UpstreamUnavailable(f"the answer is not JSON: {_excerpt(self.body)!r}") from problem


@frozen
class Arriving:
    """An HTTP response of any length that is still arriving. `parts` raise `UpstreamUnavailable` when the rest does not
    come. `whole` reads it to its end instead, and raises as `HttpClient.call`."""

    status: int
    parts: Iterator[bytes]
    whole: Callable[[], Answer]


class HttpClient:
    """Calls below one base URL. Safe to share between threads. `close` it."""

    def __init__(
        self,
        base_url: str,
        *,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = TIMEOUT,
        max_body: int = MAX_BODY,
        egress: Egress = ANYWHERE,
    ) -> None:
        """`tls` is needed for an https URL; see `trust`. Raises `Invalid` when the URL is no http or https URL."""
        self._path, pool = _pool(base_url, tls, egress)
        self._pool = pool
        self._headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
        self._timeout = timeout
        self._max_body = max_body

    def close(self) -> None:
        self._pool.close()

    def call(
        self,
        method: str,
        path: str = "",
        *,
        body: Json | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool = True,
    ) -> Answer:
        """The answer, whatever its status. `body` is sent as JSON, `content` as it is.

        An idempotent call whose kept connection turns out to be closed is made once more. Raises `UpstreamUnavailable`
        when there is no answer, `TooLarge` when it is over the cap, `Forbidden` when the address is not permitted.
        """
        deadline = time.monotonic() + self._timeout.total_seconds()
        sent = self._headers | dict(headers or {})
        data = content
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            try:
                return self._once(method, path, data, sent, deadline)
            except ProtocolError:
                if not idempotent:
                    raise
                return self._once(method, path, data, sent, deadline)
        except HTTPError as problem:
            raise self._unavailable(problem) from problem

    def ask(self, method: str, path: str = "", **how: Any) -> Answer:
        """As `call`, and a status other than 2xx is raised as what it means (see `error_of`)."""
        answer = self.call(method, path, **how)
        if not 200 <= answer.status < 300:
            raise error_of(answer)
        return answer

    @contextmanager
    def stream(self, path: str = "", *, headers: Mapping[str, str] | None = None) -> Iterator[Arriving]:
        """The answer to a GET, whatever its status, while it arrives; what has not been read when the block is left is
        not fetched. The client's timeout is for each part. Raises `UpstreamUnavailable` as `call`."""
        timeout = self._timeout.total_seconds()
        try:
            response = self._pool.urlopen(
                "GET",
                self._path + path or "/",
                headers=self._headers | dict(headers or {}),
                timeout=urllib3.Timeout(connect=timeout, read=timeout),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except HTTPError as problem:
            raise self._unavailable(problem) from problem
        try:
            yield Arriving(response.status, self._parts(response), lambda: self._whole(response))
        finally:
            response.close()

    def _whole(self, response: urllib3.BaseHTTPResponse) -> Answer:
        try:
            return self._answer(response, time.monotonic() + self._timeout.total_seconds())
        except HTTPError as problem:
            raise self._unavailable(problem) from problem

    def _parts(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            while chunk := response.read1(_CHUNK):
                yield chunk
        except HTTPError as problem:
            raise self._unavailable(problem) from problem

    def _unavailable(self, problem: HTTPError) -> UpstreamUnavailable:
        return UpstreamUnavailable(f"{self._pool.host}:{self._pool.port}: {_words(problem)}")

    def _answer(self, response: urllib3.BaseHTTPResponse, deadline: float) -> Answer:
        received = self._read(response, deadline)
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, received)

    def _once(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], deadline: float) -> Answer:
        response = self._pool.urlopen(
            method,
            self._path + path or "/",
            body=data,
            headers=headers,
            timeout=urllib3.Timeout(total=max(deadline - time.monotonic(), 0.001)),
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            answer = self._answer(response, deadline)
            response.release_conn()
        except BaseException:
            response.close()
            raise
        return answer

    def _read(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        received = bytearray()
        while chunk := response.read1(_CHUNK):
            received += chunk
            if len(received) > self._max_body:
                raise TooLarge(f"{self._pool.host} sent more than {self._max_body} bytes")
            if time.monotonic() > deadline:
                raise UpstreamUnavailable(f"{self._pool.host} did not finish its answer in time")
        return bytes(received)


# Connections


class _Dialled:
    """A connection that goes to a judged address of its host; TLS and the Host header keep the host's name."""

    egress: Egress

    def dial(self, connection: HTTPConnection) -> socket.socket:
        problem: OSError | None = None
        until = time.monotonic() + (connection.timeout or TIMEOUT.total_seconds())
        addresses = self.egress.addresses(connection.host, connection.port)
        for index, address in enumerate(addresses):
            # Each address gets its share of what is left, so that one that never answers leaves time for the next.
            share = max(until - time.monotonic(), 0.001) / (len(addresses) - index)
            try:
                made = socket.create_connection((address, connection.port), share)
            except OSError as reason:
                problem = reason
            else:
                made.settimeout(connection.timeout)
                return made
        if isinstance(problem, TimeoutError):
            raise ConnectTimeoutError(connection, "no connection in time") from problem
        raise NewConnectionError(connection, str(problem)) from problem


class _Plain(HTTPConnection, _Dialled):
    def _new_conn(self) -> socket.socket:
        return self.dial(self)


class _Secured(HTTPSConnection, _Dialled):
    def _new_conn(self) -> socket.socket:
        return self.dial(self)


def _pool(base_url: str, tls: ssl.SSLContext | None, egress: Egress) -> tuple[str, urllib3.HTTPConnectionPool]:
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError as problem:
        raise Invalid(f"{base_url!r} is not a URL: {problem}") from problem
    if not host or parts.username is not None or parts.query or parts.fragment:
        raise Invalid(f"{base_url!r} is not the URL of a server")
    path = parts.path.rstrip("/")
    if parts.scheme == "https" and tls is not None:
        secured = urllib3.HTTPSConnectionPool(host, port or 443, maxsize=4, ssl_context=tls)
        secured.ConnectionCls = type("_SecuredWithin", (_Secured,), {"egress": egress})
        return path, secured
    if parts.scheme == "http":
        plain = urllib3.HTTPConnectionPool(host, port or 80, maxsize=4)
        plain.ConnectionCls = type("_PlainWithin", (_Plain,), {"egress": egress})
        return path, plain
    raise Invalid(f"{base_url!r} is not an https URL")


def _words(problem: HTTPError) -> str:
    """What went wrong, without the wrapping of urllib3."""
    reason = _root(problem)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not to be believed: {reason.verify_message}"
    if isinstance(reason, ssl.SSLError):
        return f"TLS handshake failed: {reason.reason or reason}"
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return str(getattr(reason, "strerror", None) or reason)


def _root(problem: BaseException) -> BaseException:
    """urllib3 keeps what really happened as `reason`, as the only argument, or as the cause."""
    while True:
        wrapped = (getattr(problem, "reason", None), *problem.args[:1], problem.__cause__)
        inner = next((one for one in wrapped if isinstance(one, BaseException)), None)
        if inner is None:
            return problem
        problem = inner


# Errors


def error_of(answer: Answer) -> CertctlError:
    """What a status other than 2xx means, with the other side's own words."""
    if answer.status < 400:
        to = answer.headers.get("location", "")[:200]
        hint = "Redirects are not followed, since they would carry the credentials along: name the final address."
        return UpstreamUnavailable(f"status {answer.status}{f' to {to}' if to else ''} is no answer", hint=hint)
    told = _problem(answer)
    message = _text(told, "detail") or _text(told, "message") or _text(told, "error") or _excerpt(answer.body)
    message = message or f"status {answer.status}"
    hint = _text(told, "hint")
    simple = _BY_STATUS.get(answer.status)
    if simple is not None:
        return simple(message, hint=hint)
    if answer.status in (400, 422):
        return _unacceptable(answer.status, told, message, hint)
    if answer.status == 409:
        counts = told.get("counts")
        return InUse(message, counts=counts, hint=hint) if isinstance(counts, dict) else Conflict(message, hint=hint)
    if answer.status == 429:
        return TooMany(message, retry_after=retry_after(answer) or 1, hint=hint)
    if answer.status >= 500:
        return UpstreamUnavailable(message, retry_after=retry_after(answer), hint=hint)
    return UpstreamRejected(f"status {answer.status}: {message}", hint=hint)


_BY_STATUS: Final[Mapping[int, Callable[..., CertctlError]]] = {
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    410: Gone,
    413: TooLarge,
}


def _unacceptable(status: int, told: Mapping[str, Json], message: str, hint: str) -> CertctlError:
    reasons, rows = told.get("reasons"), told.get("fields")
    if status == 422 and not rows:
        return Refused(message, reasons=map(str, reasons if isinstance(reasons, list) else ()), hint=hint)
    fields = [
        FieldProblem(str(row.get("field", "")), str(row.get("message", "")))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
    ]
    return Invalid(message, fields=fields, hint=hint)


def retry_after(answer: Answer) -> int | None:
    """Retry-After in seconds from now (RFC 9110 section 10.2.3), at most a day."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:9]), 86400)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    left = (until if until.tzinfo else until.replace(tzinfo=UTC)) - datetime.now(UTC)
    return min(max(int(left.total_seconds()), 0), 86400)


def _problem(answer: Answer) -> Mapping[str, Json]:
    try:
        told = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _text(told: Mapping[str, Json], name: str) -> str:
    value = told.get(name)
    return value[:_MAX_WORDS] if isinstance(value, str) else ""


def _excerpt(body: bytes) -> str:
    return body[:_MAX_WORDS].decode(errors="replace").strip()
