"""What agents found, and endpoints that are watched."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, LiteralString

from attrs import evolve

from certctl_adapters.kinds import DISCOVERED, ENDPOINTS, PROBES, SCANS
from certctl_adapters.postgres import totals
from certctl_adapters.postgres.listing import Listing
from certctl_adapters.postgres.table import OF_CERTIFICATE, PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ids import EndpointId
from certctl_core.models.observed import (
    DiscoveredCertificate,
    DiscoveryScan,
    DiscoveryStatus,
    EndpointHealth,
    HealthStatus,
    ProbeRecord,
)
from certctl_core.ports.store import Discovered, Endpoints, Page, Probes, Query, Scans, Where

_SCAN: Final = shape_of(SCANS)
_DISCOVERED: Final = shape_of(DISCOVERED)
_DISCOVERED_LISTING: Final = Listing(
    _DISCOVERED, totals.DISCOVERED, ordered=frozenset({("status", "created_at"), ("agent_id", "created_at")})
)
_ENDPOINT: Final = shape_of(ENDPOINTS)
_PROBE: Final = shape_of(PROBES)

_REPORT: Final[LiteralString] = """
    INSERT INTO {table} AS known ({names}) VALUES ({values})
    ON CONFLICT (fingerprint_sha256, agent_id, source_path) DO UPDATE SET
        common_name = excluded.common_name, sans = excluded.sans, serial_number = excluded.serial_number,
        issuer_dn = excluded.issuer_dn, subject_dn = excluded.subject_dn, not_before = excluded.not_before,
        not_after = excluded.not_after, key_algorithm = excluded.key_algorithm, key_size = excluded.key_size,
        is_ca = excluded.is_ca, pem_data = excluded.pem_data, source_format = excluded.source_format,
        discovery_scan_id = excluded.discovery_scan_id, last_seen_at = excluded.last_seen_at,
        status = CASE known.status WHEN 'Unmanaged' THEN excluded.status ELSE known.status END,
        managed_certificate_id = CASE known.status
            WHEN 'Unmanaged' THEN excluded.managed_certificate_id ELSE known.managed_certificate_id
        END,
        updated_at = excluded.updated_at, revision = known.revision + 1
    RETURNING xmax = 0
"""


class PostgresScans(Scans):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _SCAN)

    def page(self, query: Query) -> Page[DiscoveryScan]:
        return self._table.page(query)

    def forget(self, before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM discovery_scans WHERE id IN (
                SELECT id FROM discovery_scans WHERE started_at < %s ORDER BY started_at, id LIMIT %s
            )
            """,
            [before, limit],
        )


class PostgresDiscovered(PostgresTable[DiscoveredCertificate], Discovered):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _DISCOVERED, _DISCOVERED_LISTING)

    def report(self, scan: DiscoveryScan, found: Sequence[DiscoveredCertificate]) -> DiscoveryScan:
        PostgresTable(self._transaction, _SCAN).add(scan)
        if not found:
            return scan
        # In one order, so that two reports about the same places do not wait for each other in a circle.
        ordered = sorted(found, key=lambda one: (one.fingerprint_sha256, one.agent_id, one.source_path))
        answers = self._transaction.rows_of_many(
            _DISCOVERED.statement(_REPORT), [_DISCOVERED.dump(one) for one in ordered], DISCOVERED
        )
        scan = evolve(scan, certificates_new=sum(1 for (is_new,) in answers if is_new))
        self._transaction.change(
            b"UPDATE discovery_scans SET certificates_new = %s WHERE id = %s", [scan.certificates_new, scan.id]
        )
        return scan

    def count_by_status(self) -> Mapping[DiscoveryStatus, int]:
        counted = self._transaction.counts(b"SELECT status, count(*) FROM discovered_certificates GROUP BY status")
        return {status: counted[status.value] for status in DiscoveryStatus if status.value in counted}


class PostgresEndpoints(PostgresTable[EndpointHealth], Endpoints):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _ENDPOINT)

    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[HealthStatus, int]:
        counted = self._grouped("status", where)
        return {status: counted.get(status.value, 0) for status in HealthStatus}

    def _extra(self, name: str) -> LiteralString:
        return OF_CERTIFICATE[name]


class PostgresProbes(Probes):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _PROBE)

    def add(self, probe: ProbeRecord) -> None:
        self._table.add(probe)

    def of(self, endpoint_id: EndpointId, limit: int) -> Sequence[ProbeRecord]:
        return self._table.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.health_check_id = %(endpoint)s
            ORDER BY t.checked_at DESC, t.id DESC LIMIT %(limit)s
            """,
            endpoint=endpoint_id,
            limit=limit,
        )

    def forget(self, before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM endpoint_health_history WHERE id IN (
                SELECT id FROM endpoint_health_history WHERE checked_at < %s ORDER BY checked_at, id LIMIT %s
            )
            """,
            [before, limit],
        )
