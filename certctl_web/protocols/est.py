"""EST over HTTPS (RFC 7030 and 8951): the same five operations under the protocol's own path, under each label's, and
under each label's for TLS client certificates only.

What a client of EST has no word for it is told as any client of the API.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import evolve

from certctl_core.errors import (
    CertctlError,
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotConfigured,
    NotFound,
    Refused,
    UpstreamRejected,
)
from certctl_core.pki import est as wire
from certctl_core.usecases import est
from certctl_core.usecases.enrolment import Enrolled
from certctl_core.usecases.est import Label, Method, Shown
from certctl_web.access import ANYONE
from certctl_web.operation import Answer, Call, Operation, Row

REALM: Final = 'Basic realm="est-enrollment"'
_ENCODED: Final = {"Content-Transfer-Encoding": "base64"}
_TEXT: Final = "text/plain; charset=utf-8"
MTLS_ONLY: Final = "/.well-known/est-mtls/"

Run = Callable[[Call[None], None], Answer[bytes]]


def _label(call: Call[None]) -> Label:
    label = call.options.est.find(call.path.get("label", ""))
    return evolve(label, methods=label.methods & {Method.MTLS}) if call.route.startswith(MTLS_ONLY) else label


def _shown(call: Call[None]) -> Shown:
    peer = call.peer
    return Shown(
        certificate=peer.certificate,
        authorization=peer.authorization,
        tls_unique=peer.tls_unique,
        request_id=call.caller.request_id,
    )


def ca_certificates(call: Call[None], _: None) -> Answer[bytes]:
    found = est.ca_certificates(call.ports, _label(call))
    return Answer(raw=wire.certificates(found), headers=_ENCODED)


def csr_attributes(call: Call[None], _: None) -> Answer[bytes]:
    found = est.csr_attributes(call.ports, _label(call))
    if found is None:
        return Answer(status=204)
    return Answer(raw=wire.transfer_encoded(found), headers=_ENCODED)


def enrol(call: Call[None], _: None) -> Answer[bytes]:
    return _answer(_watched(call, est.enrol))


def renew(call: Call[None], _: None) -> Answer[bytes]:
    return _answer(_watched(call, est.renew))


def make_key(call: Call[None], _: None) -> Answer[bytes]:
    parts = _watched(call, est.make_key)
    return Answer(raw=parts.body, media_type=parts.media_type)


def _watched(call: Call[None], do: Callable[..., Any]) -> Any:
    """Whoever shows wrong credentials again and again is not looked at for a while."""
    label = _label(call)
    with call.options.failures.watched(call.peer.address):
        return do(call.ports, label, _shown(call), call.body)


def _answer(enrolled: Enrolled) -> Answer[bytes]:
    if enrolled.version is None:
        seconds = 60 if enrolled.retry_after is None else max(1, round(enrolled.retry_after.total_seconds()))
        return Answer(
            status=202,
            raw=f"the certificate is not there yet; ask again in {seconds} seconds\n".encode(),
            media_type=_TEXT,
            headers={"Retry-After": str(seconds)},
        )
    return Answer(raw=wire.certificates([enrolled.version.certificate]), headers=_ENCODED)


def unauthenticated(error: CertctlError) -> Answer[bytes] | None:
    """Clients of EST show passwords as HTTP Basic has it (RFC 7030 section 3.2.3)."""
    if not isinstance(error, NotAuthenticated):
        return None
    return Answer(status=401, raw=f"{error}\n".encode(), media_type=_TEXT, headers={"WWW-Authenticate": REALM})


_TOOLS: Final = {"est_get_ca_certificates": "est_get_cacerts", "est_get_csr_attributes": "est_get_csrattrs"}
"""What language models may ask, of any label. Enrolling is for whoever has a key and credentials of EST."""


def _rows(suffix: str, prefix: str, tools: Mapping[str, str] | None = None) -> Iterator[Row]:
    def row(name: str, method: str, path: str, summary: str, run: Run, media_type: str, **more: Any) -> Row:
        return Operation(
            name=f"{name}{suffix}",
            tool=(tools or {}).get(name, ""),
            arguments={"label": "profile"},
            method=method,
            path=f"{prefix}/{path}",
            summary=summary,
            who=ANYONE,
            run=run,
            media_type=media_type,
            reads_peer=True,
            instead=unauthenticated,
            errors=(NotFound, NotConfigured, UpstreamRejected, *more.pop("errors", ())),
            **more,
        )

    asking: dict[str, Any] = {
        "accepts": wire.REQUEST,
        "accepts_any": True,
        "errors": (NotAuthenticated, Forbidden, Conflict, Refused),
    }
    pending = {"also": {202: "The certificate is not there yet; Retry-After says when to ask again."}}
    yield row(
        "est_get_ca_certificates",
        "GET",
        "cacerts",
        "Fetch the CA certificates of an EST label",
        ca_certificates,
        wire.CERTS_ONLY,
    )
    yield row(
        "est_get_csr_attributes",
        "GET",
        "csrattrs",
        "Fetch what a CSR for an EST label should have",
        csr_attributes,
        wire.CSR_ATTRIBUTES,
        also={204: "There is nothing that it should have."},
    )
    yield row(
        "est_enroll",
        "POST",
        "simpleenroll",
        "Enrol: have a device's CSR signed",
        enrol,
        wire.CERTS_ONLY,
        **asking,
        **pending,
    )
    yield row(
        "est_reenroll",
        "POST",
        "simplereenroll",
        "Renew the certificate that the TLS client shows",
        renew,
        wire.CERTS_ONLY,
        **asking,
        **pending,
    )
    yield row(
        "est_make_key",
        "POST",
        "serverkeygen",
        "Have a key made and certified, enciphered for the holder of the TLS client's certificate",
        make_key,
        "multipart/mixed",
        **asking,
    )


ROWS: Final[tuple[Row, ...]] = (
    *_rows("", "/.well-known/est"),
    *_rows("_of_label", "/.well-known/est/{label}", _TOOLS),
    *_rows("_by_certificate", f"{MTLS_ONLY}{{label}}"),
)
