"""What happened: audit events, notifications, and the runs of the loops."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from attrs import field, frozen

from certctl_core.ids import AuditEventId, CertificateId, NotificationId
from certctl_core.models.access import ActorType


@frozen(kw_only=True)
class AuditEvent:
    """One line of the append-only trail. `details` never holds a secret."""

    id: AuditEventId
    actor: str
    actor_type: ActorType
    action: str
    resource_type: str
    resource_id: str
    details: Mapping[str, Any] = field(factory=dict)
    request_id: str = ""
    timestamp: datetime


class NotificationStatus(Enum):
    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    DEAD = "dead"
    READ = "read"


class AlertSeverity(Enum):
    """How much a message matters: what decides over which channels it goes."""

    INFORMATIONAL = "informational"
    WARNING = "warning"
    CRITICAL = "critical"


class Channel(Enum):
    """What a message can be sent over."""

    EMAIL = "Email"
    WEBHOOK = "Webhook"
    SLACK = "Slack"
    TEAMS = "Teams"
    PAGER_DUTY = "PagerDuty"
    OPS_GENIE = "OpsGenie"


class NotificationType(Enum):
    EXPIRATION_WARNING = "ExpirationWarning"
    RENEWAL_SUCCESS = "RenewalSuccess"
    RENEWAL_FAILURE = "RenewalFailure"
    DEPLOYMENT_SUCCESS = "DeploymentSuccess"
    DEPLOYMENT_FAILURE = "DeploymentFailure"
    POLICY_VIOLATION = "PolicyViolation"
    REVOCATION = "Revocation"


@frozen(kw_only=True)
class Notification:
    """A message owed to somebody, written in the transaction of the change it tells of."""

    id: NotificationId
    type: NotificationType
    certificate_id: CertificateId | None = None
    channel: str = "Email"
    recipient: str
    message: str
    status: NotificationStatus = NotificationStatus.PENDING
    retry_count: int = 0
    next_retry_at: datetime | None = None
    last_error: str = ""
    sent_at: datetime | None = None
    created_at: datetime
    revision: int = 1


@frozen
class ExpirationAlert:
    """That somebody was told, or had nobody to be told, that a certificate ends: once for each end and threshold.

    `expires_at` is the end that was told of. It stands for what was issued, which the certificate's generation does
    not: that counts attempts, failed ones included.
    """

    certificate_id: CertificateId
    expires_at: datetime
    threshold_days: int
    told_at: datetime


class LoopOutcome(Enum):
    """How the last run of a loop ended. `NEVER`: it has not run yet."""

    NEVER = "never"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


@frozen(kw_only=True)
class LoopState:
    """One scheduler loop and its last run. `items` is how many objects that run worked on."""

    name: str
    interval: timedelta
    next_run_at: datetime
    last_started_at: datetime | None = None
    last_finished_at: datetime | None = None
    last_duration: timedelta | None = None
    last_outcome: LoopOutcome = LoopOutcome.NEVER
    last_error: str = ""
    last_items: int = 0
    last_worker: str = ""
    runs: int = 0
    failures: int = 0
