"""What agents found, and endpoints that are watched, in memory."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from attrs import evolve

from certctl_adapters.kinds import CERTIFICATES, DISCOVERED, ENDPOINTS, PROBES, SCANS
from certctl_adapters.memory.table import MemoryTable, by
from certctl_adapters.memory.transaction import Transaction
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


class MemoryScans(Scans):
    def __init__(self, transaction: Transaction) -> None:
        self._table = MemoryTable(transaction, SCANS)

    def page(self, query: Query) -> Page[DiscoveryScan]:
        return self._table.page(query)

    def forget(self, before: datetime, limit: int) -> int:
        old = self._table.select(lambda scan: scan.started_at < before, by("started_at", "id"), limit)
        for scan in old:
            self._table.remove(scan.id)
        return len(old)


class MemoryDiscovered(MemoryTable[DiscoveredCertificate], Discovered):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, DISCOVERED)

    def report(self, scan: DiscoveryScan, found: Sequence[DiscoveredCertificate]) -> DiscoveryScan:
        scans = MemoryTable(self._transaction, SCANS)
        scans.add(scan)
        written = evolve(scan, certificates_new=sum(self._report(one) for one in found))
        self._transaction.replace(SCANS, written)
        return written

    def _report(self, seen: DiscoveredCertificate) -> bool:
        known = next((row for row in self._rows.values() if _place(row) == _place(seen)), None)
        if known is None:
            self.add(seen)
            return True
        undecided = known.status is DiscoveryStatus.UNMANAGED
        self.save(
            evolve(
                seen,
                id=known.id,
                status=seen.status if undecided else known.status,
                managed_certificate_id=seen.managed_certificate_id if undecided else known.managed_certificate_id,
                first_seen_at=known.first_seen_at,
                dismissed_at=known.dismissed_at,
                created_at=known.created_at,
                revision=known.revision,
            )
        )
        return False

    def count_by_status(self) -> Mapping[DiscoveryStatus, int]:
        return Counter(row.status for row in self._rows.values())


def _place(found: DiscoveredCertificate) -> tuple[str, str, str]:
    return found.fingerprint_sha256, found.agent_id, found.source_path


class MemoryEndpoints(MemoryTable[EndpointHealth], Endpoints):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, ENDPOINTS)

    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[HealthStatus, int]:
        counted = Counter(row.status for row in self.having(where))
        return {status: counted[status] for status in HealthStatus}

    def _extra(self, fact: EndpointHealth, name: str) -> object:
        certificate = self._transaction.rows(CERTIFICATES.table).get(fact.certificate_id)
        return None if certificate is None else getattr(certificate, name)


class MemoryProbes(Probes):
    def __init__(self, transaction: Transaction) -> None:
        self._table = MemoryTable(transaction, PROBES)

    def add(self, probe: ProbeRecord) -> None:
        self._table.add(probe)

    def of(self, endpoint_id: EndpointId, limit: int) -> Sequence[ProbeRecord]:
        mine = self._table.select(lambda probe: probe.health_check_id == endpoint_id, by("checked_at", "id"))
        return list(reversed(mine))[:limit]

    def forget(self, before: datetime, limit: int) -> int:
        old = self._table.select(lambda probe: probe.checked_at < before, by("checked_at", "id"), limit)
        for probe in old:
            self._table.remove(probe.id)
        return len(old)
