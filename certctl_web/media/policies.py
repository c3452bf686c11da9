"""Policy rules and their violations on the wire."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Self

import attrs
from attrs import Factory, frozen

from certctl_core.models import policies as facts
from certctl_core.models.policies import PolicyType, Severity
from certctl_core.ports.store import Is, Query, Where
from certctl_core.usecases import policies as usecases
from certctl_web.media.bounds import Identity, Name, Reference, Word
from certctl_web.media.paging import Paging
from certctl_web.media.reading import Accepts, fields_of
from certctl_web.media.writing import ZERO_TIME


@frozen(kw_only=True)
class PolicyRule:
    """A demand on certificates: on those of `team_ids`, in `environments`, deployed by agents of `agent_group_ids`; an
    empty list does not limit. What `config` holds depends on `type`."""

    id: str
    name: str
    type: PolicyType
    config: Mapping[str, Any]
    enabled: bool
    severity: Severity
    team_ids: tuple[str, ...]
    environments: tuple[str, ...]
    agent_group_ids: tuple[str, ...]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.PolicyRule) -> Self:
        return cls(**{a.name: getattr(fact, a.name) for a in attrs.fields(cls)} | {"config": dict(fact.config)})


@frozen(kw_only=True)
class CreatePolicy(Accepts):
    """`config` by type: AllowedIssuers `allowed_issuer_ids`, AllowedDomains `allowed_domains`, RequiredMetadata
    `required_keys`, AllowedEnvironments `allowed`, RenewalLeadTime `lead_time_days`, CertificateLifetime `max_days`."""

    id: Identity | None = None
    name: Name
    type: PolicyType
    config: Mapping[str, Any] = Factory(dict)
    enabled: bool = True
    severity: Severity = Severity.WARNING
    team_ids: tuple[Reference, ...] = ()
    environments: tuple[Word, ...] = ()
    agent_group_ids: tuple[Reference, ...] = ()

    blank: ClassVar = frozenset({"id", "severity"})

    def wish(self) -> usecases.CreateRule:
        return usecases.CreateRule(**attrs.asdict(self, recurse=False))


@frozen(kw_only=True)
class UpdatePolicy(Accepts):
    """What is given is changed; `config` and the lists are replaced as a whole."""

    name: Name | None = None
    type: PolicyType | None = None
    config: Mapping[str, Any] | None = None
    enabled: bool | None = None
    severity: Severity | None = None
    team_ids: tuple[Reference, ...] | None = None
    environments: tuple[Word, ...] | None = None
    agent_group_ids: tuple[Reference, ...] | None = None

    blank: ClassVar = frozenset({"name", "type", "severity"})

    def wish(self) -> usecases.UpdateRule:
        return usecases.UpdateRule(**attrs.asdict(self, recurse=False))


UpdatePolicy.ignored = fields_of(PolicyRule) - fields_of(UpdatePolicy)


@frozen(kw_only=True)
class PolicyViolation:
    """A certificate did not meet a rule from `created_at` until `resolved_at`, which is missing while it still does
    not."""

    id: str
    certificate_id: str
    rule_id: str
    message: str
    severity: Severity
    created_at: datetime
    resolved_at: datetime | None = None

    @classmethod
    def of(cls, fact: facts.PolicyViolation) -> Self:
        return cls(
            id=fact.id,
            certificate_id=fact.certificate_id,
            rule_id=fact.rule_id,
            message=fact.message,
            severity=fact.severity,
            created_at=fact.opened_at,
            resolved_at=fact.resolved_at,
        )


class ViolationState(Enum):
    OPEN = "open"
    RESOLVED = "resolved"
    ALL = "all"


@frozen(kw_only=True)
class RuleViolationList(Paging):
    """Newest first. Without `state` those that are open."""

    state: ViolationState = ViolationState.OPEN
    severity: Severity | None = None
    certificate_id: str | None = None

    def wish(self) -> Query:
        return self.ask(*self._where(), sort="opened_at", descending=True)

    def _where(self) -> list[Where]:
        where = [Where(name, value) for name in self._equal() if (value := getattr(self, name)) is not None]
        if self.state is ViolationState.OPEN:
            where.append(Where("resolved_at", None))
        if self.state is ViolationState.RESOLVED:
            where.append(Where("resolved_at", ZERO_TIME, Is.AFTER))
        return where

    def _equal(self) -> tuple[str, ...]:
        return "severity", "certificate_id"


@frozen(kw_only=True)
class ViolationList(RuleViolationList):
    """Newest first. Without `state` those that are open."""

    rule_id: str | None = None

    def _equal(self) -> tuple[str, ...]:
        return "severity", "certificate_id", "rule_id"
