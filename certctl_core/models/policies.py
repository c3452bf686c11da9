"""Policy rules, the violations that are found of them, and what is still to be looked at because a rule changed."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from attrs import field, frozen

from certctl_core.ids import AgentGroupId, CertificateId, PolicyRuleId, TeamId, ViolationId


class PolicyType(Enum):
    """What a rule looks at. What each demands, and its settings, is in `policy.rules`."""

    ALLOWED_ISSUERS = "AllowedIssuers"
    ALLOWED_DOMAINS = "AllowedDomains"
    REQUIRED_METADATA = "RequiredMetadata"
    ALLOWED_ENVIRONMENTS = "AllowedEnvironments"
    RENEWAL_LEAD_TIME = "RenewalLeadTime"
    CERTIFICATE_LIFETIME = "CertificateLifetime"


class Severity(Enum):
    """What a violation means: `CRITICAL` refuses what would be one, the others are recorded."""

    WARNING = "Warning"
    ERROR = "Error"
    CRITICAL = "Critical"


@frozen(kw_only=True)
class PolicyRule:
    """A demand on certificates. `team_ids`, `environments` and `agent_group_ids` say on which: a certificate has to be
    in one of each; an empty tuple does not limit."""

    id: PolicyRuleId
    name: str
    type: PolicyType
    config: Mapping[str, Any] = field(factory=dict)
    enabled: bool = True
    severity: Severity = Severity.WARNING
    team_ids: tuple[TeamId, ...] = ()
    environments: tuple[str, ...] = ()
    agent_group_ids: tuple[AgentGroupId, ...] = ()
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@frozen(kw_only=True)
class PolicyViolation:
    """A certificate did not meet a rule from `opened_at` until `resolved_at`; None: it still does not. At most one is
    open for each certificate and rule. The severity is the rule's. It outlives its rule."""

    id: ViolationId
    certificate_id: CertificateId
    rule_id: PolicyRuleId
    message: str
    severity: Severity
    opened_at: datetime
    resolved_at: datetime | None = None
    revision: int = 1


class ReviewKind(Enum):
    """Which certificates a review leads through."""

    SCOPE = "scope"
    """Those that the rule is about."""

    OPEN = "open"
    """Those with an open violation of the rule, which need not be about them any more."""

    AGENT = "agent"
    """Those that are deployed by the agent."""


@frozen(kw_only=True)
class PolicyReview:
    """Certificates that have to be judged again because a rule or an agent changed, in the order of their ids.
    `after` is the id of the last one that was: a review is done in steps, each a transaction of its own."""

    kind: ReviewKind
    subject_id: str
    after: str = ""
    requested_at: datetime
