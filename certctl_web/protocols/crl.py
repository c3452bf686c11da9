"""CRLs over HTTP (RFC 5280 section 4.2.1.13, RFC 2585): what is published is served, and nothing is made here, but for
the first CRL of a CA that the loop has not come to yet.

A CRL may be large. It is read from the database once in the life of a process and kept in a file without a name, from
which requests are answered part by part; so neither a request nor the process holds it in memory.
"""

import time
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from certctl_core.errors import NotConfigured, NotFound, UpstreamRejected, UpstreamUnavailable
from certctl_core.models.crls import StoredCrl
from certctl_core.pki import distribution
from certctl_core.pki.distribution import Place
from certctl_core.policy import crls as policy
from certctl_core.ports import Ports
from certctl_core.usecases import crls
from certctl_web import conditional
from certctl_web.access import ANYONE
from certctl_web.kept import Kept, KeptFiles
from certctl_web.operation import Answer, Call, Operation, Row

_PATIENCE: Final = 3.0
"""Seconds to wait for the first CRL of an issuer, while another process makes it."""

_KEPT: Final = KeptFiles(64)


def fetch(call: Call[None], _: None) -> Answer[bytes]:
    """The complete CRL."""
    return _serve(call, _current(call, is_delta=False))


def fetch_delta(call: Call[None], _: None) -> Answer[bytes]:
    """The delta CRL."""
    return _serve(call, _current(call, is_delta=True))


def _current(call: Call[None], *, is_delta: bool) -> StoredCrl:
    issuer_id = call.path["issuer_id"]
    place = distribution.place(call.path.get("place", ""))
    if place is None:
        raise NotFound(f"{call.path['place']!r} names no CRL")
    found = crls.published(call.ports, issuer_id, place, is_delta=is_delta)
    if found is None and is_delta:
        raise NotFound(f"issuer {issuer_id} publishes no such delta CRL", hint="Fetch the complete one.")
    return found or _first(call.ports, issuer_id, place)


def _first(ports: Ports, issuer_id: str, place: Place) -> StoredCrl:
    given_up_at = time.monotonic() + _PATIENCE
    while (found := crls.first(ports, issuer_id, place)) is None:
        if time.monotonic() > given_up_at:
            raise UpstreamUnavailable("the first CRL is being made", hint="Try again in a moment.")
        time.sleep(0.05)
    return found


def _serve(call: Call[None], crl: StoredCrl) -> Answer[bytes]:
    now = call.ports.clock.now()
    headers = _headers(crl, now)
    if conditional.is_known(call.if_none_match, call.if_modified_since, headers["ETag"], crl.made_at):
        return Answer(status=304, headers=headers)
    kept = _kept(call, crl)
    if kept.digest != crl.digest:  # A newer one was published between the two looks.
        headers = _headers(kept.crl, now)
    headers["Accept-Ranges"] = "bytes"
    wanted = conditional.part(call.byte_range, kept.size)
    if wanted is None:
        return Answer(stream=kept.read(0, kept.size), headers={**headers, "Content-Length": str(kept.size)})
    first, end = wanted
    if first >= end:
        return Answer(raw=b"", status=416, headers={"Content-Range": f"bytes */{kept.size}"})
    said = {"Content-Length": str(end - first), "Content-Range": f"bytes {first}-{end - 1}/{kept.size}"}
    return Answer(stream=kept.read(first, end), status=206, headers={**headers, **said})


def _kept(call: Call[None], crl: StoredCrl) -> Kept:
    """The bytes of the CRL, or of the one that has replaced it."""
    for _ in range(5):
        kept = _KEPT.get(crl, lambda crl=crl: crls.content(call.ports, crl))  # type: ignore[misc]
        if kept is not None:
            return kept
        crl = _current(call, is_delta=crl.is_delta)
    raise UpstreamUnavailable("the CRL is replaced faster than it can be read", hint="Try again in a moment.")


def _headers(crl: StoredCrl, now: datetime) -> dict[str, str]:
    keep = policy.max_age(crl, now)
    return {
        "Cache-Control": f"public, max-age={int(keep.total_seconds())}, must-revalidate",
        "ETag": f'"{crl.digest}"',
        "Expires": format_datetime(now + keep, usegmt=True),
        "Last-Modified": format_datetime(crl.made_at, usegmt=True),
    }


_ALSO: Final = {
    206: "The part that Range asks for.",
    304: "The CRL is the one that If-None-Match or If-Modified-Since means.",
    416: "There is no such part.",
}
_PATH: Final = f"{distribution.ROOT}{{issuer_id}}"


def _row(name: str, path: str, summary: str, *, is_delta: bool, tool: str = "") -> Row:
    return Operation(
        name=name,
        tool=tool,
        method="GET",
        path=path,
        summary=summary,
        who=ANYONE,
        run=fetch_delta if is_delta else fetch,
        also=_ALSO,
        errors=(NotConfigured, UpstreamRejected),
        media_type="application/pkix-crl",
    )


ROWS: Final[tuple[Row, ...]] = (
    _row("get_crl", _PATH, "Fetch the present CRL of an issuer, DER", is_delta=False, tool="certctl_get_der_crl"),
    _row("get_delta_crl", f"{_PATH}/delta", "Fetch the present delta CRL of an issuer, DER", is_delta=True),
    _row(
        "get_crl_part",
        f"{_PATH}/{{place}}",
        "Fetch the present CRL of one CA of an issuer, or of a part of its certificates, DER",
        is_delta=False,
    ),
    _row(
        "get_delta_crl_part",
        f"{_PATH}/{{place}}/delta",
        "Fetch the present delta CRL of one CA of an issuer, or of a part of its certificates, DER",
        is_delta=True,
    ),
)
