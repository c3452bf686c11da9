"""Exports: certificates as files."""

from typing import Final

from certctl_core.usecases import exports
from certctl_web.access import PEOPLE
from certctl_web.media.exports import ExportPEM, ExportPKCS12, ExportQuery
from certctl_web.operation import Answer, Call, Operation, Row

_EXPORT: Final = "/api/v1/certificates/{id}/export"
_PEM: Final = "application/x-pem-file"


def pem(call: Call[ExportQuery], _: None) -> ExportPEM | Answer[ExportPEM]:
    version = exports.pem(call.ports, call.caller, call.path["id"], call.options.exports_per_hour)
    exported = ExportPEM.of(version)
    if not call.query.download:
        return exported
    return Answer(raw=exported.full_pem.encode(), media_type=_PEM, headers=_attached("certificate.pem"))


def pkcs12(call: Call[None], asked: ExportPKCS12) -> Answer[None]:
    most = call.options.exports_per_hour
    file = exports.pkcs12(call.ports, call.caller, call.path["id"], most, asked.password)
    return Answer(raw=file, headers=_attached("certificate.p12"))


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="export_certificate_pem",
        method="GET",
        path=f"{_EXPORT}/pem",
        summary="Export the newest version of a certificate and its chain as PEM",
        who=PEOPLE,
        run=pem,
        query=ExportQuery,
        answer=ExportPEM,
        media_types=(_PEM,),
    ),
    Operation(
        name="export_certificate_pkcs12",
        method="POST",
        path=f"{_EXPORT}/pkcs12",
        summary="Export the newest version of a certificate and its chain as a PKCS #12 trust store, without a key",
        who=PEOPLE,
        run=pkcs12,
        body=ExportPKCS12,
        tool="",
        media_type="application/x-pkcs12",
    ),
)
