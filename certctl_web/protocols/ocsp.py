"""OCSP over HTTP (RFC 6960 appendix A): POST, GET with the request in the path, and GET with a serial number.

An OCSP client understands OCSP only, so what is wrong with its request, or with us, is said in an OCSP answer wherever
OCSP has a word for it.
"""

import re
from typing import Final

from certctl_core.errors import (
    CertctlError,
    NotConfigured,
    Refused,
    Unreadable,
    UpstreamRejected,
    UpstreamUnavailable,
)
from certctl_core.pki import ocsp
from certctl_core.pki.ocsp import Unsuccessful
from certctl_core.pki.plan import OcspQuestion
from certctl_core.usecases import revocation
from certctl_web.access import ANYONE
from certctl_web.media.reading import read_base64
from certctl_web.operation import Answer, Call, Operation, Row
from certctl_web.protocols.trust import issuing_certificate

_RESPONSE: Final = "application/ocsp-response"
_PATH: Final = "/.well-known/pki/ocsp/{issuer_id}"
_SERIAL: Final = re.compile(r"[0-9a-fA-F]{1,128}")


def ask_by_post(call: Call[None], _: None) -> Answer[bytes]:
    question = ocsp.read_request(call.body)
    return Answer(raw=revocation.answer_ocsp(call.ports, call.path["issuer_id"], question))


def ask_by_get(call: Call[None], _: None) -> Answer[bytes]:
    """A request in base64 begins with an M, so it is never taken for a serial number in hexadecimal."""
    asked = call.path["request"]
    question = _about_serial(call, asked) if _SERIAL.fullmatch(asked) else ocsp.read_request(read_base64(asked))
    answer = revocation.answer_ocsp(call.ports, call.path["issuer_id"], question)
    # An answer to a nonce is for the one who sent it (RFC 5019 section 6.2).
    caching = "no-store" if question.nonce else "public, max-age=3600"
    return Answer(raw=answer, headers={"Cache-Control": caching})


def _about_serial(call: Call[None], serial_number: str) -> OcspQuestion:
    return ocsp.question_about(issuing_certificate(call.ports, call.path["issuer_id"]), serial_number)


def unsuccessfully(error: CertctlError) -> Answer[bytes] | None:
    """What the client understands, where OCSP has a word for the error (RFC 6960 section 4.2.1)."""
    match error:
        case Unreadable():
            return Answer(raw=ocsp.unsuccessful(Unsuccessful.MALFORMED_REQUEST))
        case Refused():
            return Answer(raw=ocsp.unsuccessful(Unsuccessful.UNAUTHORIZED))
        case UpstreamUnavailable():
            return Answer(raw=ocsp.unsuccessful(Unsuccessful.TRY_LATER))
        case _:
            return None


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="ask_ocsp",
        tool="",
        method="POST",
        path=_PATH,
        summary="Ask for the status of a certificate with an OCSP request",
        who=ANYONE,
        run=ask_by_post,
        errors=(NotConfigured, UpstreamRejected),
        instead=unsuccessfully,
        media_type=_RESPONSE,
        accepts="application/ocsp-request",
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
        errors=(NotConfigured, UpstreamRejected),
        instead=unsuccessfully,
        media_type=_RESPONSE,
    ),
)
