"""From a request to a row of the table and back: the only Falcon resource of the API."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Final

import falcon

from certctl_core.errors import CertctlError, Invalid, NotFound
from certctl_core.ids import CLIENT_ID
from certctl_core.ports import Ports
from certctl_web.media import reading, writing
from certctl_web.middleware import facts
from certctl_web.middleware.authentication import caller_of
from certctl_web.operation import JSON, Answer, Call, Row
from certctl_web.options import Options
from certctl_web.peer import Peer, peer_of

Responder = Callable[..., None]
_NOBODY: Final = Peer()


class Endpoint:
    """One path and the rows that answer its methods."""

    def __init__(self, ports: Ports, options: Options, rows: Iterable[Row]) -> None:
        self._ports = ports
        self._options = options
        self.rows: Mapping[str, Row] = {row.method: row for row in rows}
        for method, row in self.rows.items():
            setattr(self, f"on_{method.lower()}", self._responder(row))
            if method == "GET":
                setattr(self, "on_head", self._responder(row))  # noqa: B010 - RFC 9110 section 9.3.2

    def _responder(self, row: Row) -> Responder:
        def respond(req: falcon.Request, resp: falcon.Response, **params: str) -> None:
            _answer(resp, row, self._run(req, row, params))

        return respond

    def _run(self, req: falcon.Request, row: Row, params: Mapping[str, str]) -> Any:
        try:
            return self._ask(req, row, params)
        except CertctlError as error:
            instead = row.instead(error) if row.instead else None
            if instead is None:
                raise
            facts.of(req).failure = error
            return instead

    def _ask(self, req: falcon.Request, row: Row, params: Mapping[str, str]) -> Any:
        _must_be_ids(row, params)
        _must_be_accepted(row, req.content_type or "")
        known = facts.of(req)
        call: Call[Any] = Call(
            ports=self._ports,
            options=self._options,
            caller=caller_of(req),
            path=params,
            query=None if row.query is None else reading.read_query(row.query, req.query_string),
            body=known.body,
            content_type=req.content_type or "",
            if_none_match=req.get_header("If-None-Match") or "",
            route=row.path,
            peer=peer_of(req.env, known.client, req.get_header("Authorization") or "") if row.reads_peer else _NOBODY,
            if_modified_since=req.get_header("If-Modified-Since") or "",
            byte_range=_byte_range(req),
        )
        asked = None
        if row.body is not None:
            identity = params.get("id") if row.method == "PUT" else None
            asked = reading.read_body(row.body, known.body, identity=identity)
        try:
            return row.run(call, asked)
        except Invalid as error:
            raise reading.in_wire_names(error, row.body) if row.body else error from None


def _byte_range(req: falcon.Request) -> str:
    """The Range that is asked for; with If-Range nobody knows yet of what, so the whole is the answer."""
    return "" if req.get_header("If-Range") else req.get_header("Range") or ""


def _must_be_ids(row: Row, params: Mapping[str, str]) -> None:
    """What cannot be an id names nothing. A parameter that takes the rest of the path is the row's own business."""
    for name, value in params.items():
        if f"{{{name}}}" in row.path and not CLIENT_ID.fullmatch(value):
            raise NotFound(f"{value[:130]!r} is no id, so there is nothing of that id")


def _must_be_accepted(row: Row, content_type: str) -> None:
    """JSON is read as such whatever it is called; bytes of a protocol must not be called something else."""
    if row.accepts != JSON and not row.accepts_any and content_type and row.accepts not in content_type:
        raise falcon.HTTPUnsupportedMediaType(description=f"the body must be {row.accepts}, not {content_type[:100]}")


def _answer(resp: falcon.Response, row: Row, given: Any) -> None:
    answer: Answer[Any] = given if isinstance(given, Answer) else Answer(content=given)
    resp.status = answer.status or row.status
    for name, value in answer.headers.items():
        resp.set_header(name, value)
    if resp.status_code in (204, 304):
        return
    resp.content_type = answer.media_type or row.media_type
    if answer.stream is not None:
        resp.stream = _Begun(answer.stream)
    else:
        resp.data = answer.raw if answer.raw is not None else writing.write_json(answer.content)


class _Begun:
    """A stream whose first part has been read, so that what fails at once is answered as the error it is."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._first: bytes | None = next(parts, b"")
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        first, self._first = self._first, None
        return next(self._parts) if first is None else first

    def close(self) -> None:
        """Called by the server in the end, however it comes (PEP 3333)."""
        if isinstance(self._parts, Generator):
            self._parts.close()


def row_of(resource: object, method: str) -> Row | None:
    """The row that a resource answers a method with, if it is one of the table's."""
    if not isinstance(resource, Endpoint):
        return None
    return resource.rows.get("GET" if method == "HEAD" else method)
