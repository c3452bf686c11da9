"""The table of everything the outside may ask, one file a subject."""

from typing import Final

from certctl_web.operation import Row
from certctl_web.operations import (
    agents,
    approvals,
    audit,
    catalog,
    certificates,
    jobs,
    keys,
    observed,
    renewals,
    seals,
    server,
)
from certctl_web.protocols import crl, ocsp, trust

TABLE: Final[tuple[Row, ...]] = (
    *certificates.ROWS,
    *catalog.ROWS,
    *agents.ROWS,
    *jobs.ROWS,
    *approvals.ROWS,
    *audit.ROWS,
    *seals.ROWS,
    *observed.ROWS,
    *keys.ROWS,
    *renewals.ROWS,
    *server.ROWS,
    *crl.ROWS,
    *ocsp.ROWS,
    *trust.ROWS,
)
