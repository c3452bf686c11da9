"""What is found and watched rather than issued: discovered certificates, network scans and probed endpoints."""

from datetime import datetime, timedelta
from enum import Enum

from attrs import frozen

from certctl_core.ids import (
    AgentId,
    CertificateId,
    DiscoveredId,
    EndpointId,
    ProbeId,
    ScanId,
    ScanTargetId,
)


class DiscoveryStatus(Enum):
    UNMANAGED = "Unmanaged"
    MANAGED = "Managed"
    DISMISSED = "Dismissed"


@frozen(kw_only=True)
class DiscoveryScan:
    """One look of an agent at its places. `certificates_new` is how many nobody had seen there before."""

    id: ScanId
    agent_id: AgentId
    directories: tuple[str, ...] = ()
    certificates_found: int = 0
    certificates_new: int = 0
    errors_count: int = 0
    scan_duration_ms: int = 0
    started_at: datetime
    completed_at: datetime | None = None


@frozen(kw_only=True)
class DiscoveredCertificate:
    """A certificate somebody else put somewhere. Its identity is (fingerprint, agent, source path)."""

    id: DiscoveredId
    fingerprint_sha256: str
    common_name: str = ""
    sans: tuple[str, ...] = ()
    serial_number: str = ""
    issuer_dn: str = ""
    subject_dn: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    key_algorithm: str = ""
    key_size: int = 0
    is_ca: bool = False
    pem_data: str = ""
    agent_id: AgentId
    source_path: str = ""
    source_format: str = "PEM"
    discovery_scan_id: ScanId | None = None
    status: DiscoveryStatus = DiscoveryStatus.UNMANAGED
    managed_certificate_id: CertificateId | None = None
    first_seen_at: datetime
    last_seen_at: datetime
    dismissed_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@frozen(kw_only=True)
class NetworkScanTarget:
    """Networks and ports to look for certificates in. `next_scan_at` is when they are due; None: never by itself."""

    id: ScanTargetId
    name: str
    cidrs: tuple[str, ...]
    ports: tuple[int, ...] = (443,)
    enabled: bool = True
    scan_interval_hours: int = 6
    timeout_ms: int = 5000
    next_scan_at: datetime | None = None
    last_scan_at: datetime | None = None
    last_scan_duration_ms: int | None = None
    last_scan_certs_found: int | None = None
    created_at: datetime
    updated_at: datetime
    revision: int = 1


class HealthStatus(Enum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"
    CERT_MISMATCH = "cert_mismatch"
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class EndpointHealth:
    """A watched TLS endpoint (`host:port`) and the state of its last probes.

    An empty `expected_fingerprint` takes any certificate. After `degraded_threshold` failures in a row the endpoint is
    degraded, after `down_threshold` it is down. `next_check_at` is when it is due.
    """

    id: EndpointId
    endpoint: str
    certificate_id: CertificateId | None = None
    network_scan_target_id: ScanTargetId | None = None
    expected_fingerprint: str = ""
    observed_fingerprint: str = ""
    status: HealthStatus = HealthStatus.UNKNOWN
    consecutive_failures: int = 0
    response_time_ms: int = 0
    tls_version: str = ""
    cipher_suite: str = ""
    cert_subject: str = ""
    cert_issuer: str = ""
    cert_expiry: datetime | None = None
    next_check_at: datetime | None = None
    last_checked_at: datetime | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_transition_at: datetime | None = None
    failure_reason: str = ""
    degraded_threshold: int = 2
    down_threshold: int = 5
    check_interval_seconds: int = 300
    enabled: bool = True
    acknowledged: bool = False
    acknowledged_by: str = ""
    acknowledged_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    revision: int = 1

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=self.check_interval_seconds)


@frozen(kw_only=True)
class ProbeRecord:
    """How one probe of an endpoint went, as kept in its history."""

    id: ProbeId
    health_check_id: EndpointId
    status: HealthStatus
    response_time_ms: int = 0
    fingerprint: str = ""
    failure_reason: str = ""
    checked_at: datetime
