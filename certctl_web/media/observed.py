"""Discovery, network scans and health checks on the wire."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

import attrs
from attrs import frozen

from certctl_core.errors import Invalid
from certctl_core.ids import CertificateId, EndpointId, ScanTargetId
from certctl_core.models import observed as facts
from certctl_core.models.observed import DiscoveryStatus, HealthStatus
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import discovery, endpoints, network_scans
from certctl_web.media.bounds import Amount, Fallback, Identity, Length, Matching, Name, Prose, Reference, Word
from certctl_web.media.paging import Paging
from certctl_web.media.reading import Accepts, fields_of, read_time

_FINGERPRINT = Annotated[str, Matching(discovery.FINGERPRINT, "a SHA-256 fingerprint of 64 hexadecimal digits")]
MOST_ENTRIES = 10_000


@frozen(kw_only=True)
class DiscoveredCertificate:
    """A certificate that lies somewhere. `managed_certificate_id` is the managed certificate that it is."""

    id: str
    fingerprint_sha256: str
    common_name: str
    sans: tuple[str, ...]
    serial_number: str
    issuer_dn: str
    subject_dn: str
    not_before: datetime | None = None
    not_after: datetime | None = None
    key_algorithm: str
    key_size: int
    is_ca: bool
    pem_data: str | None = None
    source_path: str
    source_format: str
    agent_id: str
    discovery_scan_id: str | None = None
    managed_certificate_id: str | None = None
    status: DiscoveryStatus
    first_seen_at: datetime
    last_seen_at: datetime
    dismissed_at: datetime | None = None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.DiscoveredCertificate) -> Self:
        return cls(**_values(cls, fact) | {"pem_data": fact.pem_data or None})


@frozen(kw_only=True)
class DiscoveredList(Paging):
    agent_id: str | None = None
    status: DiscoveryStatus | None = None

    def wish(self) -> Query:
        return self.ask(*_equal(self, "agent_id", "status"))


@frozen(kw_only=True)
class DiscoveryScan:
    """One look of an agent at its directories."""

    id: str
    agent_id: str
    directories: tuple[str, ...]
    certificates_found: int
    certificates_new: int
    errors_count: int
    scan_duration_ms: int
    started_at: datetime
    completed_at: datetime | None = None

    @classmethod
    def of(cls, fact: facts.DiscoveryScan) -> Self:
        return cls(**_values(cls, fact))


@frozen(kw_only=True)
class ScanList(Paging):
    """Newest first."""

    agent_id: str | None = None

    def wish(self) -> Query:
        return self.ask(*_equal(self, "agent_id"), sort="started_at", descending=True)


@frozen(kw_only=True)
class DiscoveredCertEntry(Accepts):
    """A certificate as its finder describes it. Times that cannot be read are taken as unknown."""

    fingerprint_sha256: _FINGERPRINT
    common_name: Prose = ""
    sans: tuple[Prose, ...] = ()
    serial_number: Word = ""
    issuer_dn: Prose = ""
    subject_dn: Prose = ""
    not_before: Word = ""
    not_after: Word = ""
    key_algorithm: Word = ""
    key_size: Amount = 0
    is_ca: bool = False
    pem_data: Annotated[str, Length(0, 1 << 17)] = ""
    source_path: Prose = ""
    source_format: Word = "PEM"

    def wish(self) -> discovery.Found:
        values = attrs.asdict(self, recurse=False)
        return discovery.Found(**values | {name: _time(values[name]) for name in ("not_before", "not_after")})


@frozen(kw_only=True)
class DiscoveryReport(Accepts):
    """What one scan of an agent's directories brought. `agent_id` may be repeated; the path says whose it is."""

    directories: tuple[Prose, ...] = ()
    certificates: tuple[DiscoveredCertEntry, ...] = ()
    errors: tuple[Prose, ...] = ()
    scan_duration_ms: Amount = 0

    ignored: ClassVar = frozenset({"agent_id"})

    def wish(self) -> discovery.Report:
        if len(self.certificates) > MOST_ENTRIES:
            raise Invalid.field("certificates", f"are {len(self.certificates)}, more than {MOST_ENTRIES} at once")
        return discovery.Report(
            directories=self.directories,
            certificates=tuple(entry.wish() for entry in self.certificates),
            errors=self.errors,
            scan_duration_ms=self.scan_duration_ms,
        )


def _time(text: str) -> datetime | None:
    try:
        return read_time(text)
    except ValueError:
        return None


@frozen(kw_only=True)
class Claim:
    """Which managed certificate it is."""

    managed_certificate_id: Name


@frozen(kw_only=True)
class NetworkScanTarget:
    """Networks and ports to look for certificates in."""

    id: str
    name: str
    cidrs: tuple[str, ...]
    ports: tuple[int, ...]
    enabled: bool
    scan_interval_hours: int
    timeout_ms: int
    last_scan_at: datetime | None = None
    last_scan_duration_ms: int | None = None
    last_scan_certs_found: int | None = None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.NetworkScanTarget) -> Self:
        return cls(**_values(cls, fact))


@frozen(kw_only=True)
class CreateNetworkScanTarget(Accepts):
    """IPv4 networks may be as large as /20, IPv6 networks as /116."""

    name: Name
    cidrs: tuple[Word, ...]
    ports: tuple[Amount, ...] = (443,)
    enabled: bool = True
    scan_interval_hours: Amount = 6
    timeout_ms: Amount = 5000

    def wish(self) -> network_scans.CreateScanTarget:
        values = attrs.asdict(self, recurse=False)
        defaults = {"ports": (443,), "scan_interval_hours": 6, "timeout_ms": 5000}
        return network_scans.CreateScanTarget(**values | {n: values[n] or other for n, other in defaults.items()})


CreateNetworkScanTarget.ignored = fields_of(NetworkScanTarget) - fields_of(CreateNetworkScanTarget)


@frozen(kw_only=True)
class UpdateNetworkScanTarget(Accepts):
    """What is not given stays, and so does a list or number that is given empty."""

    name: Name | None = None
    cidrs: tuple[Word, ...] | None = None
    ports: tuple[Amount, ...] | None = None
    enabled: bool | None = None
    scan_interval_hours: Amount | None = None
    timeout_ms: Amount | None = None

    blank: ClassVar = frozenset({"name"})

    def wish(self) -> network_scans.UpdateScanTarget:
        values = attrs.asdict(self, recurse=False)
        kept = ("cidrs", "ports", "scan_interval_hours", "timeout_ms")
        return network_scans.UpdateScanTarget(**values | {name: values[name] or None for name in kept})


UpdateNetworkScanTarget.ignored = fields_of(NetworkScanTarget) - fields_of(UpdateNetworkScanTarget)


@frozen(kw_only=True)
class EndpointHealthCheck:
    """A watched TLS endpoint and what its last probes saw."""

    id: str
    endpoint: str
    certificate_id: str | None = None
    network_scan_target_id: str | None = None
    expected_fingerprint: str
    observed_fingerprint: str
    status: HealthStatus
    consecutive_failures: int
    response_time_ms: int
    tls_version: str
    cipher_suite: str
    cert_subject: str
    cert_issuer: str
    cert_expiry: datetime | None = None
    last_checked_at: datetime | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_transition_at: datetime | None = None
    failure_reason: str
    degraded_threshold: int
    down_threshold: int
    check_interval_seconds: int
    enabled: bool
    acknowledged: bool
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.EndpointHealth) -> Self:
        return cls(**_values(cls, fact) | {"acknowledged_by": fact.acknowledged_by or None})


@frozen(kw_only=True)
class HealthCheckList(Paging):
    status: HealthStatus | None = None
    certificate_id: str | None = None
    network_scan_target_id: str | None = None
    enabled: bool | None = None

    def wish(self) -> Query:
        return self.ask(*_equal(self, "status", "certificate_id", "network_scan_target_id", "enabled"))


@frozen(kw_only=True)
class CreateHealthCheck(Accepts):
    """`endpoint` is host:port. Without an expected fingerprint any certificate there is well."""

    id: Identity | None = None
    endpoint: Name
    certificate_id: Reference | None = None
    network_scan_target_id: Reference | None = None
    expected_fingerprint: Word = ""
    degraded_threshold: Amount = 2
    down_threshold: Amount = 5
    check_interval_seconds: Amount = 300
    enabled: bool = True

    blank: ClassVar = frozenset({"id", "certificate_id", "network_scan_target_id"})

    def wish(self) -> endpoints.CreateEndpoint:
        return endpoints.CreateEndpoint(
            id=EndpointId(self.id) if self.id else None,
            endpoint=self.endpoint,
            certificate_id=CertificateId(self.certificate_id) if self.certificate_id else None,
            network_scan_target_id=ScanTargetId(self.network_scan_target_id) if self.network_scan_target_id else None,
            expected_fingerprint=self.expected_fingerprint,
            degraded_threshold=self.degraded_threshold or 2,
            down_threshold=self.down_threshold or 5,
            check_interval_seconds=self.check_interval_seconds or 300,
            enabled=self.enabled,
        )


CreateHealthCheck.ignored = fields_of(EndpointHealthCheck) - fields_of(CreateHealthCheck)


@frozen(kw_only=True)
class UpdateHealthCheck(Accepts):
    """What is not given stays, and so does a number that is 0."""

    endpoint: Name | None = None
    expected_fingerprint: Word | None = None
    degraded_threshold: Amount | None = None
    down_threshold: Amount | None = None
    check_interval_seconds: Amount | None = None
    enabled: bool | None = None

    blank: ClassVar = frozenset({"endpoint", "expected_fingerprint"})

    def wish(self) -> endpoints.UpdateEndpoint:
        values = attrs.asdict(self)
        kept = ("degraded_threshold", "down_threshold", "check_interval_seconds")
        return endpoints.UpdateEndpoint(**values | {name: values[name] or None for name in kept})


UpdateHealthCheck.ignored = fields_of(EndpointHealthCheck) - fields_of(UpdateHealthCheck)


@frozen(kw_only=True)
class HealthHistoryEntry:
    """How one probe went, and what the endpoint was taken for after it."""

    id: str
    health_check_id: str
    status: HealthStatus
    response_time_ms: int
    fingerprint: str
    failure_reason: str
    checked_at: datetime

    @classmethod
    def of(cls, fact: facts.ProbeRecord) -> Self:
        return cls(**_values(cls, fact))


@frozen(kw_only=True)
class HistoryQuery:
    limit: Annotated[int, Fallback(100, 1, 1000)] = 100


@frozen(kw_only=True)
class HealthCheckSummary:
    """How many endpoints are in each status."""

    healthy: int
    degraded: int
    down: int
    cert_mismatch: int
    unknown: int
    total: int


@frozen(kw_only=True)
class Acknowledge(Accepts):
    """`actor` is accepted and without effect: the record says whose key it was."""

    ignored: ClassVar = frozenset({"actor"})


def _values(wire: type[attrs.AttrsInstance], fact: Any) -> dict[str, Any]:
    return {a.name: getattr(fact, a.name) for a in attrs.fields(wire)}


def _equal(asked: Any, *names: str) -> tuple[Where, ...]:
    return tuple(Where(name, value) for name in names if (value := getattr(asked, name)) is not None)
