"""OCSP over HTTP (RFC 6960 appendix A): POST, GET with the request in the path, and GET with a serial number."""

import urllib.parse
from typing import Final

from certctl_core.errors import CertctlError, NotConfigured, UpstreamRejected
from certctl_web.access import ANYONE
from certctl_web.ocsp import replies
from certctl_web.ocsp.desk import OcspDesk
from certctl_web.ocsp.replies import Conditions, Reply
from certctl_web.operation import Answer, Call, Operation, Row

_PATH: Final = "/.well-known/pki/ocsp/{issuer_id}"


def ask_by_post(call: Call[None], _: None) -> Answer[bytes]:
    return _answer(replies.by_post(_desk(call), call.path["issuer_id"], call.body))


def ask_by_get(call: Call[None], _: None) -> Answer[bytes]:
    asked, now = urllib.parse.unquote(call.path["request"]), call.ports.clock.now().timestamp()
    conditions = Conditions(call.if_none_match)
    return _answer(replies.by_get(_desk(call), call.path["issuer_id"], asked, now, conditions))


def _desk(call: Call[None]) -> OcspDesk:
    """That of this process; where it has none, a fresh one, which reads everything from the store."""
    return call.options.ocsp or OcspDesk(call.ports, most_standings=0)


def unsuccessfully(error: CertctlError) -> Answer[bytes] | None:
    """What OCSP has a word for and is found out before the request is looked at."""
    reply = replies.unsuccessfully(error)
    return None if reply is None else _answer(reply)


def _answer(reply: Reply) -> Answer[bytes]:
    return Answer(raw=b"".join(reply.body), headers=reply.headers, status=reply.status)


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="ask_ocsp",
        tool="",
        method="POST",
        path=_PATH,
        summary="Ask for the status of certificates with an OCSP request",
        who=ANYONE,
        run=ask_by_post,
        errors=(NotConfigured, UpstreamRejected),
        instead=unsuccessfully,
        media_type=replies.RESPONSE,
        accepts=replies.REQUEST,
    ),
    Operation(
        name="get_ocsp",
        tool="certctl_ocsp_check",
        arguments={"request": "serial"},
        method="GET",
        path=f"{_PATH}/{{request:path}}",
        summary="Ask for the status of a certificate by serial number, or with an OCSP request in base64",
        who=ANYONE,
        run=ask_by_get,
        also={304: "The answer is the one that If-None-Match names."},
        errors=(NotConfigured, UpstreamRejected),
        instead=unsuccessfully,
        media_type=replies.RESPONSE,
    ),
)
