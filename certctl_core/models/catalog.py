"""What operators configure: issuers, targets, teams, owners, profiles, renewal policies."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from attrs import field, frozen

from certctl_core.ids import AgentId, IssuerId, OwnerId, ProfileId, RenewalPolicyId, TargetId, TeamId
from certctl_core.models.records import AlertSeverity, Channel


class ConfigSource(Enum):
    """Where a configured issuer or target came from."""

    DATABASE = "database"
    ENVIRONMENT = "env"


class TestStatus(Enum):
    """The outcome of the last connection test."""

    UNTESTED = "untested"
    SUCCESS = "success"
    FAILED = "failed"


@frozen(kw_only=True)
class ConfiguredIssuer:
    """A CA the operator set up. `config` holds the settings with secrets masked,
    `sealed_config` all of them, sealed. `team_ids` are the teams it is limited to; none: everybody may use it.
    `crl_partitions` is over how many parts of its CRL new certificates are spread, 0 when it is not in parts."""

    id: IssuerId
    name: str
    type: str
    config: Mapping[str, Any] = field(factory=dict)
    sealed_config: bytes | None = field(default=None, repr=False)
    enabled: bool = True
    team_ids: tuple[TeamId, ...] = ()
    crl_partitions: int = 0
    source: ConfigSource = ConfigSource.DATABASE
    test_status: TestStatus = TestStatus.UNTESTED
    last_tested_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@frozen(kw_only=True)
class ConfiguredTarget:
    """A place on an agent's host where certificates go. Secrets and teams as in `ConfiguredIssuer`."""

    id: TargetId
    name: str
    type: str
    agent_id: AgentId
    config: Mapping[str, Any] = field(factory=dict)
    sealed_config: bytes | None = field(default=None, repr=False)
    enabled: bool = True
    team_ids: tuple[TeamId, ...] = ()
    source: ConfigSource = ConfigSource.DATABASE
    test_status: TestStatus = TestStatus.UNTESTED
    last_tested_at: datetime | None = None
    retired_at: datetime | None = None
    retired_reason: str = ""
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@frozen(kw_only=True)
class Team:
    id: TeamId
    name: str
    description: str = ""
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@frozen(kw_only=True)
class Owner:
    """Who is told when something happens to a certificate."""

    id: OwnerId
    name: str
    email: str = ""
    team_id: TeamId | None = None
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@frozen
class KeyAlgorithmRule:
    """A permitted key algorithm (`RSA`, `ECDSA`, `Ed25519`, `ML-DSA-44`, `ML-DSA-65`) and its least size in bits."""

    algorithm: str
    min_size: int = 0


@frozen(kw_only=True)
class CertificateProfile:
    """What a certificate may be. `max_ttl` only ever shortens; None means no cap."""

    id: ProfileId
    name: str
    description: str = ""
    allowed_key_algorithms: tuple[KeyAlgorithmRule, ...] = (
        KeyAlgorithmRule("ECDSA", 256),
        KeyAlgorithmRule("RSA", 2048),
    )
    max_ttl: timedelta | None = None
    allowed_ekus: tuple[str, ...] = ("serverAuth",)
    required_san_patterns: tuple[str, ...] = ()
    spiffe_uri_pattern: str = ""
    allow_short_lived: bool = False
    must_staple: bool = False
    requires_approval: bool = False
    enabled: bool = True
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@frozen(kw_only=True)
class RenewalPolicy:
    """When and how often renewal is tried.

    The lead time before expiry is `renewal_window`, or `renewal_window_share` of the certificate's life (between 0 and
    1, neither included); with neither of them it is the last third.

    `alert_channels` says over what messages of a severity go; one that is not in it goes to the owner's e-mail, one
    that is there with no channel to nobody. `alert_severity_map` says how much a threshold matters; those not in it
    matter more the nearer the end is.
    """

    id: RenewalPolicyId
    name: str
    renewal_window: timedelta | None = None
    renewal_window_share: float | None = None
    auto_renew: bool = True
    max_retries: int = 3
    retry_interval: timedelta = timedelta(hours=1)
    alert_thresholds_days: tuple[int, ...] = (30, 14, 7, 0)
    alert_channels: Mapping[AlertSeverity, tuple[Channel, ...]] = field(factory=dict)
    alert_severity_map: Mapping[int, AlertSeverity] = field(factory=dict)
    profile_id: ProfileId | None = None
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@frozen(kw_only=True)
class Rescheduling:
    """That a renewal policy has changed, and up to which of its certificates, in order of their ids, those that follow
    it have been given its new times."""

    policy_id: RenewalPolicyId
    after: str = ""
    requested_at: datetime
