"""SCEP over HTTP (RFC 8894 section 4).

A message that can be answered in SCEP is answered with 200, whatever the answer says (section 4.3); what cannot be is
answered as any request to this server. Clients have addresses of their own making: `/cgi-bin/pkiclient.exe` is what
they ask without being told otherwise, and some put `pkiclient.exe` behind what they are told.
"""

from collections.abc import Iterator
from typing import Final

import structlog

from certctl_core.errors import Invalid, NotAuthenticated, NotConfigured, NotFound, UpstreamRejected
from certctl_core.pki import cms
from certctl_core.usecases import scep
from certctl_core.usecases.scep_doors import Door
from certctl_web import metrics
from certctl_web.access import ANYONE
from certctl_web.media.scep import ScepQuery
from certctl_web.operation import JSON, Answer, Call, Operation, Row

CLIENT: Final = "pkiclient.exe"
_MESSAGE: Final = "application/x-pki-message"
_NEXT: Final = "application/x-x509-next-ca-cert"
_CERTIFICATES: Final = "application/x-x509-ca-ra-cert"
_NO_STORE: Final = {"Cache-Control": "no-store"}
_MUTUAL: Final = "/scep-mtls"

_log: Final = structlog.stdlib.get_logger("certctl.scep")


def ask(call: Call[ScepQuery], _: None) -> Answer[bytes]:
    """GET."""
    door = _door(call)
    match call.query.operation:
        case "GetCACaps":
            lines = "".join(f"{one}\n" for one in scep.capabilities(call.ports, call.options.scep, door))
            return Answer(raw=lines.encode("ascii"), media_type="text/plain", headers=_NO_STORE)
        case "GetCACert":
            found = cms.degenerate(scep.authorities(call.ports, call.options.scep, door))
            return Answer(raw=found, media_type=_CERTIFICATES, headers=_NO_STORE)
        case "GetNextCACert":
            found = scep.next_authorities(call.ports, call.options.scep, door)
            return Answer(raw=found, media_type=_NEXT, headers=_NO_STORE)
        case "PKIOperation":
            return _operate(call, door, call.query.unpacked())
        case other:
            raise _unknown(other)


def tell(call: Call[ScepQuery], _: None) -> Answer[bytes]:
    """POST. Clients that leave out what they want want this."""
    door = _door(call)
    if call.query.operation not in ("", "PKIOperation"):
        raise _unknown(call.query.operation)
    return _operate(call, door, call.body)


def _door(call: Call[ScepQuery]) -> Door:
    """The door, open. Raises `NotFound` where there is none, and `NotAuthenticated` for a client that must show a
    certificate in TLS and has shown none that is trusted."""
    label = call.path.get("label", "")
    door = call.options.scep.get("" if label == CLIENT else label)
    if call.route.startswith(_MUTUAL):
        scep.must_be_trusted(call.ports, door, call.client_certificate)
    elif door.is_mutual_only:
        raise NotFound(f"this SCEP service is at {_MUTUAL}", hint="Clients have to show a certificate in TLS there.")
    return door


def _operate(call: Call[ScepQuery], door: Door, message: bytes) -> Answer[bytes]:
    answered = scep.operate(call.ports, call.options.scep, door, message, call.caller.request_id)
    kind = answered.request.kind.name if answered.request.kind else "unknown"
    metrics.answered_scep(door.label, kind.lower(), answered.outcome)
    _log.info(
        "scep",
        label=door.label,
        message_type=kind,
        outcome=answered.outcome,
        transaction=answered.request.transaction_id,
        why=answered.why,
    )
    return Answer(raw=answered.message, headers=_NO_STORE)


def _unknown(operation: str) -> Invalid:
    return Invalid.field(
        "operation",
        f"{operation!r} is none of GetCACaps, GetCACert, GetNextCACert and PKIOperation" if operation else "is missing",
    )


_PATHS: Final = {
    "scep": ("/scep", "the certificate service"),
    "scep_label": ("/scep/{label}", "a label of the certificate service"),
    "scep_label_client": (f"/scep/{{label}}/{CLIENT}", "a label, for clients that append this"),
    "scep_client": (f"/cgi-bin/{CLIENT}", "the certificate service, for clients that know this address"),
    "scep_mtls": (_MUTUAL, "the certificate service, for clients that show a certificate in TLS"),
    "scep_mtls_label": (f"{_MUTUAL}/{{label}}", "a label, for clients that show a certificate in TLS"),
}


def _rows() -> Iterator[Row]:
    for name, (path, about) in _PATHS.items():
        for method, run in (("GET", ask), ("POST", tell)):
            yield Operation(
                name=f"{'ask' if method == 'GET' else 'post'}_{name}",
                tool="",
                method=method,
                path=path,
                summary=f"SCEP by {method} (RFC 8894): {about}",
                who=ANYONE,
                run=run,
                query=ScepQuery,
                errors=(NotConfigured, NotFound, NotAuthenticated, UpstreamRejected),
                reads_peer=path.startswith(_MUTUAL),
                media_type=_MESSAGE,
                media_types=("text/plain", _CERTIFICATES, _NEXT) if method == "GET" else (),
                accepts=_MESSAGE if method == "POST" else JSON,
                accepts_any=method == "POST",
            )


ROWS: Final[tuple[Row, ...]] = tuple(_rows())
