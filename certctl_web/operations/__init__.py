"""The table of everything the outside may ask, one file a subject."""

from typing import Final

from certctl_web.operation import Row
from certctl_web.operations import (
    agent_groups,
    agents,
    approvals,
    audit,
    bulk,
    catalog,
    certificates,
    crls,
    enrolment_secrets,
    exports,
    hierarchy,
    importing,
    jobs,
    keys,
    notifications,
    observed,
    policies,
    renewals,
    scep,
    seals,
    server,
)
from certctl_web.operations import est as est_administration
from certctl_web.protocols import crl, est, ocsp, trust
from certctl_web.protocols import scep as scep_protocol

TABLE: Final[tuple[Row, ...]] = (
    *certificates.ROWS,
    *exports.ROWS,
    *bulk.ROWS,
    *importing.ROWS,
    *catalog.ROWS,
    *hierarchy.ROWS,
    *policies.ROWS,
    *agents.ROWS,
    *agent_groups.ROWS,
    *jobs.ROWS,
    *approvals.ROWS,
    *audit.ROWS,
    *seals.ROWS,
    *observed.ROWS,
    *notifications.ROWS,
    *keys.ROWS,
    *enrolment_secrets.ROWS,
    *est_administration.ROWS,
    *renewals.ROWS,
    *scep.ROWS,
    *server.ROWS,
    *crls.ROWS,
    *crl.ROWS,
    *ocsp.ROWS,
    *est.ROWS,
    *trust.ROWS,
    *scep_protocol.ROWS,
)
