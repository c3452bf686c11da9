"""Operations: one row for each thing the outside may ask.

From the rows come the routes, who may call them, the OpenAPI document, the command line, the MCP tools and the
reference pages. A row's `run` is a plain function `(call, asked) -> answer`: it raises errors of the core and catches
none.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Any, Final, Generic, TypeVar

from attrs import field, frozen
from cryptography import x509

from certctl_core.errors import (
    CertctlError,
    Forbidden,
    Gone,
    Invalid,
    NotAuthenticated,
    NotFound,
    TooLarge,
    TooMany,
    UpstreamUnavailable,
)
from certctl_core.models.access import Principal, Role
from certctl_core.ports import Ports
from certctl_web import problems
from certctl_web.access import ANYONE, EVERY_ROLE
from certctl_web.options import Options
from certctl_web.peer import Peer

Q = TypeVar("Q")
B = TypeVar("B")
A = TypeVar("A")

JSON: Final = "application/json"


@frozen(kw_only=True)
class Call(Generic[Q]):
    """Everything an operation may know of the request it answers. `path` holds the parameters of the row's path, which
    is `route`. `peer` says nothing unless the row reads of it."""

    ports: Ports
    options: Options
    caller: Principal
    path: Mapping[str, str]
    query: Q
    body: bytes = b""
    content_type: str = ""
    if_none_match: str = ""
    if_modified_since: str = ""
    byte_range: str = ""
    route: str = ""
    peer: Peer = field(factory=Peer)

    @property
    def client_certificate(self) -> x509.Certificate | None:
        """What the TLS client has shown, for rows that read of their peer."""
        return self.peer.certificate


@frozen(kw_only=True)
class Answer(Generic[A]):
    """An answer that differs from what its row says: another status, more headers, or bytes that are not JSON. A
    `stream` is sent as it is read, and closed when nobody wants more of it; what its first part raises is answered like
    any error, later ones cut the answer off."""

    content: A | None = None
    raw: bytes | None = None
    stream: Iterator[bytes] | None = None
    media_type: str | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Operation(Generic[Q, B, A]):
    """One row.

    `name` is the operation's id in the OpenAPI document. `tool` is the name of its MCP tool where that is not
    `certctl_` and the name; empty, it has none. `arguments` are the names that the tool has for parameters of the path
    where they are called otherwise there. `who` are the roles that may call it, `ANYONE`
    needs no credentials. `own` names the path parameter that must be the calling agent's own id. `errors` are what it
    may raise beyond what follows from the row itself; `also` are further successful statuses and when they come.
    `instead` gives an answer of its own in place of the problem for an error, where the contract wants one.
    `media_types` are what it may answer as beside `media_type`.
    `reads_peer` has it told who is at the other end of the connection, and `accepts_any` has it take bodies whatever
    they are called, where clients call them anything.
    `recorded=False` keeps successful calls out of the record of API calls: heartbeats and polls would drown it.
    """

    name: str
    method: str
    path: str
    summary: str
    who: frozenset[Role]
    run: Callable[[Call[Q], B], A | Answer[A]]
    query: type[Q] | None = None
    body: type[B] | None = None
    answer: type[A] | UnionType | None = None
    status: int = 200
    also: Mapping[int, str] = field(factory=dict)
    errors: tuple[type[CertctlError], ...] = ()
    own: str | None = None
    tool: str | None = None
    arguments: Mapping[str, str] = field(factory=dict)
    instead: Callable[[CertctlError], Answer[A] | None] | None = None
    media_type: str = JSON
    media_types: tuple[str, ...] = ()
    accepts: str = JSON
    accepts_any: bool = False
    reads_peer: bool = False
    recorded: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters, in order."""
        return tuple(name.partition(":")[0] for name in re.findall(r"{([^}]+)}", self.path))

    @property
    def tool_name(self) -> str:
        """The name of the MCP tool; empty when there is none."""
        return f"certctl_{self.name}" if self.tool is None else self.tool

    @property
    def is_public(self) -> bool:
        return self.who == ANYONE

    @property
    def all_errors(self) -> tuple[type[CertctlError], ...]:
        """Every kind of error it may answer with, those included that follow from the row itself."""
        kinds: list[type[CertctlError]] = [*self.errors, Invalid, TooLarge, TooMany, UpstreamUnavailable]
        if not self.is_public:
            kinds.append(NotAuthenticated)
        if Role.AGENT in self.who:
            kinds.append(Gone)
        if self.who not in (ANYONE, EVERY_ROLE) or self.own:
            kinds.append(Forbidden)
        if self.parameters:
            kinds.append(NotFound)
        return tuple(dict.fromkeys(kinds))

    @property
    def statuses(self) -> frozenset[int]:
        """Every status it may answer with."""
        failed = {problems.status_of(kind) for kind in self.all_errors}
        unaccepted = {415} if self.accepts != JSON and not self.accepts_any else set()
        stalled = {408} if self.body is not None or self.accepts != JSON else set()
        return frozenset({self.status, *self.also, *failed, *unaccepted, *stalled, problems.UNEXPECTED})


Row = Operation[Any, Any, Any]
