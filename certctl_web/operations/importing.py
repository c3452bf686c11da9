"""Import of certificates that were issued elsewhere."""

from typing import Final

from certctl_core.errors import Conflict, NotConfigured
from certctl_core.usecases import importing
from certctl_web.access import OPERATORS
from certctl_web.media.importing import ImportCertificates, ImportResult
from certctl_web.operation import Call, Operation, Row


def import_certificates(call: Call[None], asked: ImportCertificates) -> ImportResult:
    return ImportResult.of(importing.import_certificates(call.ports, call.caller, asked.wish()))


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="import_certificates",
        method="POST",
        path="/api/v1/certificates/import",
        summary="Manage certificates that were issued elsewhere; those that are managed already are skipped",
        who=OPERATORS,
        run=import_certificates,
        body=ImportCertificates,
        answer=ImportResult,
        errors=(Conflict, NotConfigured),
    ),
)
