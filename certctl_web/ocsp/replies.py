"""OCSP over HTTP, whichever listener it came by: requests in paths, headers that let others cache (RFC 5019 section 6).

An OCSP client understands OCSP only, so what is wrong with its request, or with us, is said in an OCSP answer wherever
OCSP has a word for it.
"""

import base64
import binascii
import email.utils
import hashlib
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from attrs import field, frozen

from certctl_core.errors import CertctlError, NotConfigured, NotFound, Refused, Unreadable, UpstreamUnavailable
from certctl_core.pki import ocsp
from certctl_core.pki.ocsp import Unsuccessful
from certctl_web import metrics
from certctl_web.ocsp.desk import Answered, OcspDesk

RESPONSE: Final = "application/ocsp-response"
REQUEST: Final = "application/ocsp-request"
NOT_KEPT: Final[Mapping[str, str]] = {"Cache-Control": "no-store"}
_SERIAL: Final = re.compile(r"[0-9a-fA-F]{1,128}")


@frozen
class Reply:
    """`body` is to be sent part by part; a 304 has none."""

    body: tuple[bytes, ...]
    headers: Mapping[str, str] = field(factory=dict)
    status: int = 200


def by_post(desk: OcspDesk, issuer_id: str, der: bytes) -> Reply:
    """Raises `NotFound`, and what OCSP has no word for."""
    metrics.ocsp("request_post")
    return _told(lambda: Reply(_body(_asked(desk, issuer_id, der))))


def by_get(desk: OcspDesk, issuer_id: str, asked: str, now: float, conditions: "Conditions") -> Reply:
    """`asked` is a request in base64, or a serial number in hexadecimal: one in base64 begins with an M, so it is never
    taken for the other. `now` is the time, in seconds since 1970. Raises as `by_post`."""
    metrics.ocsp("request_get")
    return _told(lambda: _cacheable(_got(desk, issuer_id, asked), now, conditions))


@frozen
class Conditions:
    """The headers If-None-Match and If-Modified-Since of a request, as they came."""

    none_match: str = ""
    modified_since: str = ""

    def hold_for(self, tag: str, modified: float) -> bool:
        """Whether the client has the answer already (RFC 9110 section 13.1: the first goes before the second)."""
        if self.none_match:
            known = {one.strip().removeprefix("W/") for one in self.none_match.split(",")}
            return bool(known & {tag, "*"})
        since = _read_date(self.modified_since) if self.modified_since else None
        return since is not None and int(modified) <= since


def read_path(text: str) -> bytes:
    """A request in base64 as it stands at the end of a path, percent-decoded by now (RFC 6960 appendix A.1). Padding
    may be left out, and the alphabet may be the one for URLs: clients do both. Raises `Unreadable`."""
    if len(text) > ocsp.MAX_REQUEST_BYTES * 4 // 3 + 4:
        raise Unreadable("the path is too long for an OCSP request")
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("the path does not end in base64") from None


def unsuccessfully(error: CertctlError) -> Reply | None:
    """What the client understands, where OCSP has a word for the error (RFC 6960 section 4.2.1)."""
    match error:
        case Unreadable():
            metrics.ocsp("request_invalid")
            return _unsuccessful(Unsuccessful.MALFORMED_REQUEST)
        case Refused():
            metrics.ocsp("unauthorized")
            return _unsuccessful(Unsuccessful.UNAUTHORIZED)
        case UpstreamUnavailable():
            metrics.ocsp("try_later")
            return _unsuccessful(Unsuccessful.TRY_LATER)
        case _:
            return None


def rate_limited() -> Reply:
    """What the established product says to somebody who asks too often."""
    metrics.ocsp("rate_limited")
    return Reply((ocsp.unsuccessful(Unsuccessful.UNAUTHORIZED),), {**NOT_KEPT, "Retry-After": "60"})


def internal_error() -> Reply:
    metrics.ocsp("signing_failed")
    return _unsuccessful(Unsuccessful.INTERNAL_ERROR)


def _unsuccessful(status: Unsuccessful) -> Reply:
    return Reply((ocsp.unsuccessful(status),), NOT_KEPT)


def _told(ask: Callable[[], Reply]) -> Reply:
    try:
        return ask()
    except (NotFound, NotConfigured):
        metrics.ocsp("issuer_not_found")
        raise
    except CertctlError as error:
        reply = unsuccessfully(error)
        if reply is None:
            raise
        return reply


def _got(desk: OcspDesk, issuer_id: str, asked: str) -> Answered:
    if _SERIAL.fullmatch(asked) and int(asked, 16):
        return _counted(desk.about_serial(issuer_id, asked))
    return _asked(desk, issuer_id, read_path(asked))


def _asked(desk: OcspDesk, issuer_id: str, der: bytes) -> Answered:
    request = ocsp.read_request(der)
    answered = desk.answer(issuer_id, request)
    if request.nonce is not None:
        metrics.ocsp("nonce_echoed")
    return _counted(answered)


def _counted(answered: Answered) -> Answered:
    metrics.ocsp("request_success")
    if answered.status == "unknown":
        metrics.ocsp("cert_not_found")
    return answered


def _body(answered: Answered) -> tuple[bytes, ...]:
    return (answered.head, answered.tail)


def _cacheable(answered: Answered, now: float, conditions: Conditions) -> Reply:
    """With the headers of RFC 5019 section 6.2. An answer to a nonce is for the one who sent it, and that a serial
    number is unknown may be wrong in the next moment."""
    left = int(answered.next_update - now) - 1
    if not answered.is_for_everybody or left <= 0:
        return Reply(_body(answered), NOT_KEPT)
    digest = hashlib.sha256(answered.head)
    digest.update(answered.tail)
    tag = f'"{digest.hexdigest()[:40]}"'
    headers = {
        "Cache-Control": f"max-age={left}, public, no-transform, must-revalidate",
        "ETag": tag,
        "Last-Modified": _date(int(answered.this_update)),
        "Expires": _date(int(answered.next_update)),
    }
    if conditions.hold_for(tag, answered.this_update):
        return Reply((), headers, 304)
    return Reply(_body(answered), headers)


@lru_cache(maxsize=4096)
def _date(at: int) -> str:
    return email.utils.formatdate(at, usegmt=True)


def _read_date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
