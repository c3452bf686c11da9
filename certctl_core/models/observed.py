"""What is found and watched rather than issued: discovered certificates and probed endpoints."""

from datetime import datetime
from enum import Enum

from attrs import frozen

from certctl_core.ids import AgentId, CertificateId


class DiscoveryStatus(Enum):
    UNMANAGED = "Unmanaged"
    MANAGED = "Managed"
    DISMISSED = "Dismissed"


@frozen(kw_only=True)
class DiscoveredCertificate:
    """A certificate somebody else put somewhere. Its identity is (fingerprint, agent, source path)."""

    id: str
    fingerprint_sha256: str
    common_name: str
    sans: tuple[str, ...] = ()
    serial_number: str = ""
    issuer_dn: str = ""
    subject_dn: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    agent_id: AgentId
    source_path: str
    source_format: str = "PEM"
    status: DiscoveryStatus = DiscoveryStatus.UNMANAGED
    managed_certificate_id: CertificateId | None = None
    first_seen_at: datetime
    last_seen_at: datetime
    dismissed_at: datetime | None = None
    revision: int = 1


class HealthStatus(Enum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"
    CERT_MISMATCH = "cert_mismatch"
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class EndpointHealth:
    """A watched TLS endpoint and the state of its last probes."""

    id: str
    endpoint: str
    certificate_id: CertificateId | None = None
    expected_fingerprint: str = ""
    observed_fingerprint: str = ""
    status: HealthStatus = HealthStatus.UNKNOWN
    consecutive_failures: int = 0
    degraded_threshold: int = 2
    down_threshold: int = 5
    acknowledged: bool = False
    last_checked_at: datetime | None = None
    last_transition_at: datetime | None = None
    revision: int = 1
