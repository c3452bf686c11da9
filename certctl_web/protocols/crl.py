"""CRLs over HTTP (RFC 5280 section 4.2.1.13, RFC 2585)."""

import hashlib
from typing import Final

from certctl_core.errors import NotConfigured, UpstreamRejected
from certctl_core.usecases import revocation
from certctl_web.access import ANYONE
from certctl_web.operation import Answer, Call, Operation, Row


def fetch(call: Call[None], _: None) -> Answer[bytes]:
    der = revocation.crl(call.ports, call.path["issuer_id"]).der
    tag = f'W/"{hashlib.sha256(der).hexdigest()[:32]}"'
    headers = {"Cache-Control": "public, max-age=3600, must-revalidate", "ETag": tag}
    known = {one.strip() for one in call.if_none_match.split(",")}
    if known & {tag, "*"}:
        return Answer(status=304, headers=headers)
    return Answer(raw=der, headers=headers)


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="get_crl",
        tool="certctl_get_der_crl",
        method="GET",
        path="/.well-known/pki/crl/{issuer_id}",
        summary="Fetch the present CRL of an issuer, DER",
        who=ANYONE,
        run=fetch,
        also={304: "The CRL is the one that If-None-Match names."},
        errors=(NotConfigured, UpstreamRejected),
        media_type="application/pkix-crl",
    ),
)
