"""CA certificates: those of issuers, for AIA caIssuers (RFC 5280 section 4.2.2.1), and the control plane's own."""

from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.errors import NotConfigured, NotFound, UpstreamRejected
from certctl_core.models.access import SYSTEM
from certctl_core.ports import Ports
from certctl_core.ports.issuer import AuthorityFacts, HasAuthorities, ShowsChain
from certctl_core.usecases import catalog
from certctl_web.access import ANYONE
from certctl_web.operation import Answer, Call, Operation, Row


def issuing_certificate(ports: Ports, issuer_id: str) -> x509.Certificate:
    """The certificate that the issuer signs with. Raises `NotFound`, and `NotConfigured` for one that shows none."""
    issuer = ports.issuers.connect(catalog.get_issuer(ports, SYSTEM, issuer_id))
    if not isinstance(issuer, ShowsChain):
        raise NotConfigured(f"issuer {issuer_id} shows no certificate", hint="See the AIA in what it issued.")
    return issuer.chain()[0]


def issuer_certificate(call: Call[None], _: None) -> Answer[bytes]:
    """That of the CA whose address it is, whichever one signs new certificates now: an address in a certificate names
    one thing for as long as the certificate lives."""
    found = _authorities(call)
    plain = next((one.certificate for one in found if one.is_plain), None)
    return _sent(plain or issuing_certificate(call.ports, call.path["issuer_id"]))


def authority_certificate(call: Call[None], _: None) -> Answer[bytes]:
    wanted = call.path["authority"].lower()
    for one in _authorities(call):
        if one.key_identifier.hex() == wanted:
            return _sent(one.certificate)
    raise NotFound(f"issuer {call.path['issuer_id']} has no CA {wanted[:40]!r}")


def _authorities(call: Call[None]) -> Sequence[AuthorityFacts]:
    issuer = call.ports.issuers.connect(catalog.get_issuer(call.ports, SYSTEM, call.path["issuer_id"]))
    return issuer.authorities() if isinstance(issuer, HasAuthorities) else ()


def _sent(found: x509.Certificate) -> Answer[bytes]:
    return Answer(raw=found.public_bytes(Encoding.DER), headers={"Cache-Control": "public, max-age=86400"})


def server_ca(call: Call[None], _: None) -> Answer[bytes]:
    """An agent fetches this before it can verify anything and compares it with the fingerprint it was given."""
    found = call.options.server_ca()
    if found is None:
        raise NotFound(
            "this server's certificate is not from a CA of its own, so there is nothing to pin",
            hint="Join without --ca-fingerprint; give --ca-bundle unless the machine trusts the CA it is from.",
        )
    return Answer(raw=found.public_bytes(Encoding.PEM))


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="get_issuer_certificate",
        tool="",
        method="GET",
        path="/.well-known/pki/ca/{issuer_id}",
        summary="Fetch the certificate an issuer signs with, DER",
        who=ANYONE,
        run=issuer_certificate,
        errors=(NotConfigured, UpstreamRejected),
        media_type="application/pkix-cert",
    ),
    Operation(
        name="get_authority_certificate",
        tool="",
        method="GET",
        path="/.well-known/pki/ca/{issuer_id}/{authority}",
        summary="Fetch the certificate of one CA of an issuer, by its key identifier, DER",
        who=ANYONE,
        run=authority_certificate,
        errors=(NotConfigured, UpstreamRejected),
        media_type="application/pkix-cert",
    ),
    Operation(
        name="get_server_ca",
        tool="",
        method="GET",
        path="/.well-known/certctl/ca.pem",
        summary="Fetch the CA above the server's own TLS certificate, PEM",
        who=ANYONE,
        run=server_ca,
        errors=(NotFound,),
        media_type="application/x-pem-file",
    ),
)
