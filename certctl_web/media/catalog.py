"""Issuers, targets, teams, owners, profiles and renewal policies on the wire.

For each kind there is the object itself, what creates one, and what changes one: there, what is not given stays.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Self

import attrs
from attrs import Factory, frozen

from certctl_core.models import catalog as facts
from certctl_core.models.catalog import ConfigSource, TestStatus
from certctl_core.models.records import AlertSeverity, Channel
from certctl_core.usecases import catalog as usecases
from certctl_web.media.bounds import Amount, Identity, Matching, Name, Prose, Range, Reference, Word
from certctl_web.media.reading import Accepts, fields_of


@frozen(kw_only=True)
class Team:
    id: str
    name: str
    description: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.Team) -> Self:
        return cls(**_shared(cls, fact))


@frozen(kw_only=True)
class CreateTeam(Accepts):
    id: Identity | None = None
    name: Name
    description: Prose = ""

    blank: ClassVar = frozenset({"id"})

    def wish(self) -> usecases.CreateTeam:
        return usecases.CreateTeam(**_given(self))


@frozen(kw_only=True)
class UpdateTeam(Accepts):
    name: Name | None = None
    description: Prose | None = None

    ignored: ClassVar = fields_of(Team, but=("name", "description"))

    def wish(self) -> usecases.UpdateTeam:
        return usecases.UpdateTeam(**_given(self))


@frozen(kw_only=True)
class Owner:
    """Who is told when something happens to a certificate."""

    id: str
    name: str
    email: str
    team_id: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.Owner) -> Self:
        return cls(**_shared(cls, fact) | {"team_id": fact.team_id or ""})


@frozen(kw_only=True)
class CreateOwner(Accepts):
    id: Identity | None = None
    name: Name
    email: Word = ""
    team_id: Reference | None = None

    blank: ClassVar = frozenset({"id", "team_id"})

    def wish(self) -> usecases.CreateOwner:
        return usecases.CreateOwner(**_given(self))


@frozen(kw_only=True)
class UpdateOwner(Accepts):
    name: Name | None = None
    email: Word | None = None
    team_id: Reference | None = None

    ignored: ClassVar = fields_of(Owner, but=("name", "email", "team_id"))
    blank: ClassVar = frozenset({"team_id"})

    def wish(self) -> usecases.UpdateOwner:
        return usecases.UpdateOwner(**_given(self))


@frozen(kw_only=True)
class KeyAlgorithmRule:
    """A permitted key algorithm (`RSA`, `ECDSA`, `Ed25519`, `ML-DSA-44`, `ML-DSA-65`) and its least size in bits."""

    algorithm: str
    min_size: Amount = 0


@frozen(kw_only=True)
class CertificateProfile:
    """What a certificate may be. `max_ttl_seconds` 0 means no cap."""

    id: str
    name: str
    description: str
    allowed_key_algorithms: tuple[KeyAlgorithmRule, ...]
    max_ttl_seconds: int
    allowed_ekus: tuple[str, ...]
    required_san_patterns: tuple[str, ...]
    spiffe_uri_pattern: str
    allow_short_lived: bool
    must_staple: bool
    requires_approval: bool
    enabled: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.CertificateProfile) -> Self:
        rules = tuple(KeyAlgorithmRule(algorithm=r.algorithm, min_size=r.min_size) for r in fact.allowed_key_algorithms)
        return cls(
            **_shared(cls, fact) | {"allowed_key_algorithms": rules, "max_ttl_seconds": _seconds(fact.max_ttl)},
        )


@frozen(kw_only=True)
class CreateProfile(Accepts):
    """Empty lists of key algorithms and extended key usages mean the defaults: ECDSA from 256 and RSA from 2048 bits,
    serverAuth."""

    id: Identity | None = None
    name: Name
    description: Prose = ""
    allowed_key_algorithms: tuple[KeyAlgorithmRule, ...] = ()
    max_ttl_seconds: Amount = 0
    allowed_ekus: tuple[str, ...] = ()
    required_san_patterns: tuple[str, ...] = ()
    spiffe_uri_pattern: Prose = ""
    allow_short_lived: bool = False
    must_staple: bool = False
    requires_approval: bool = False
    enabled: bool = True

    blank: ClassVar = frozenset({"id"})

    def wish(self) -> usecases.CreateProfile:
        wanted = _profile(self)
        for name in ("allowed_key_algorithms", "allowed_ekus", "max_ttl"):
            if not wanted[name]:
                del wanted[name]
        return usecases.CreateProfile(**wanted)


@frozen(kw_only=True)
class UpdateProfile(Accepts):
    """A `max_ttl_seconds` of 0 takes the cap away."""

    name: Name | None = None
    description: Prose | None = None
    allowed_key_algorithms: tuple[KeyAlgorithmRule, ...] | None = None
    max_ttl_seconds: Amount | None = None
    allowed_ekus: tuple[str, ...] | None = None
    required_san_patterns: tuple[str, ...] | None = None
    spiffe_uri_pattern: Prose | None = None
    allow_short_lived: bool | None = None
    must_staple: bool | None = None
    requires_approval: bool | None = None
    enabled: bool | None = None

    ignored: ClassVar = frozenset({"id", "created_at", "updated_at"})

    def wish(self) -> usecases.UpdateProfile:
        return usecases.UpdateProfile(**_profile(self))


def _profile(asked: CreateProfile | UpdateProfile) -> dict[str, Any]:
    wanted = _given(asked)
    seconds, rules = wanted.pop("max_ttl_seconds"), asked.allowed_key_algorithms
    wanted["max_ttl"] = None if seconds is None else timedelta(seconds=seconds)
    if rules is not None:
        wanted["allowed_key_algorithms"] = tuple(facts.KeyAlgorithmRule(r.algorithm, r.min_size) for r in rules)
    return wanted


@frozen(kw_only=True)
class RenewalPolicy:
    """When and how often renewal is tried, and who hears of it.

    The lead time is `renewal_window_days`, or `renewal_window_share` of a certificate's life; with 0 days and no share
    it is the last third. `alert_channels` are by severity: what is not in it goes by e-mail to the owner, what has an
    empty list goes nowhere. `alert_severity_map` is by threshold in days.
    """

    id: str
    name: str
    renewal_window_days: int
    renewal_window_share: float | None = None
    auto_renew: bool
    max_retries: int
    retry_interval_seconds: int
    alert_thresholds_days: tuple[int, ...]
    alert_channels: Mapping[str, tuple[Channel, ...]] | None = None
    alert_severity_map: Mapping[str, AlertSeverity] | None = None
    certificate_profile_id: str | None = None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.RenewalPolicy) -> Self:
        return cls(
            **_shared(cls, fact)
            | {
                "renewal_window_days": _seconds(fact.renewal_window) // 86400,
                "retry_interval_seconds": _seconds(fact.retry_interval),
                "certificate_profile_id": fact.profile_id,
                "alert_channels": {key.value: channels for key, channels in fact.alert_channels.items()} or None,
                "alert_severity_map": {str(days): severity for days, severity in fact.alert_severity_map.items()}
                or None,
            },
        )


Share = Annotated[float, Range(0, 1)]
"""Of a certificate's life; neither all of it nor nothing, which stands for no share."""

Threshold = Annotated[
    str,
    Matching(re.compile(r"([0-9]|[1-9][0-9]|[12][0-9][0-9]|3[0-5][0-9]|36[0-5])"), "a number of days from 0 to 365"),
]
"""Days before the end, as the name of something in a JSON object."""


@frozen(kw_only=True)
class CreateRenewalPolicy(Accepts):
    """A lead time in days or as a share of a certificate's life; without either it is the last third."""

    id: Identity | None = None
    name: Name
    renewal_window_days: Amount = 0
    renewal_window_share: Share | None = None
    auto_renew: bool = True
    max_retries: Amount = 3
    retry_interval_seconds: Amount = 3600
    alert_thresholds_days: tuple[int, ...] = (30, 14, 7, 0)
    alert_channels: Mapping[AlertSeverity, tuple[Channel, ...]] = Factory(dict)
    alert_severity_map: Mapping[Threshold, AlertSeverity] = Factory(dict)
    certificate_profile_id: Reference | None = None

    blank: ClassVar = frozenset({"id", "certificate_profile_id"})

    def wish(self) -> usecases.CreateRenewalPolicy:
        return usecases.CreateRenewalPolicy(**_policy(self))


@frozen(kw_only=True)
class UpdateRenewalPolicy(Accepts):
    """A lead time in days takes the place of a share, and the other way round; 0 stands for the last third."""

    name: Name | None = None
    renewal_window_days: Amount | None = None
    renewal_window_share: Share | None = None
    auto_renew: bool | None = None
    max_retries: Amount | None = None
    retry_interval_seconds: Amount | None = None
    alert_thresholds_days: tuple[int, ...] | None = None
    alert_channels: Mapping[AlertSeverity, tuple[Channel, ...]] | None = None
    alert_severity_map: Mapping[Threshold, AlertSeverity] | None = None
    certificate_profile_id: Reference | None = None

    ignored: ClassVar = frozenset({"id", "created_at", "updated_at"})
    blank: ClassVar = frozenset({"certificate_profile_id"})

    def wish(self) -> usecases.UpdateRenewalPolicy:
        return usecases.UpdateRenewalPolicy(**_policy(self))


def _policy(asked: CreateRenewalPolicy | UpdateRenewalPolicy) -> dict[str, Any]:
    wanted = _given(asked)
    days, seconds = wanted.pop("renewal_window_days"), wanted.pop("retry_interval_seconds")
    wanted["renewal_window"] = _days(days)
    wanted["retry_interval"] = None if seconds is None else timedelta(seconds=seconds)
    wanted["profile_id"] = wanted.pop("certificate_profile_id")
    if asked.alert_severity_map is not None:
        wanted["alert_severity_map"] = {int(days): severity for days, severity in asked.alert_severity_map.items()}
    return wanted


def _days(days: int | None) -> timedelta | None:
    return None if days is None else timedelta(days=min(days, 100_000))


@frozen(kw_only=True)
class Issuer:
    """A configured CA. Secrets in `config` are shown as `********`. `team_ids` are the teams it is limited to; none:
    everybody may use it."""

    id: str
    name: str
    type: str
    config: Mapping[str, Any]
    enabled: bool
    team_ids: tuple[str, ...]
    last_tested_at: datetime | None = None
    test_status: TestStatus
    source: ConfigSource
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.ConfiguredIssuer) -> Self:
        return cls(**_shared(cls, fact))


@frozen(kw_only=True)
class CreateIssuer(Accepts):
    """Without `team_ids` it is limited to the teams of the caller's key, if that is limited."""

    id: Identity | None = None
    name: Name
    type: Name
    config: Mapping[str, Any] = Factory(dict)
    enabled: bool = True
    team_ids: tuple[Identity, ...] | None = None

    blank: ClassVar = frozenset({"id"})

    def wish(self) -> usecases.CreateIssuer:
        return usecases.CreateIssuer(**_given(self))


@frozen(kw_only=True)
class UpdateIssuer(Accepts):
    """Settings are merged; a secret given as `********` stays as it is. An empty `team_ids` takes the limit away."""

    name: Name | None = None
    type: Name | None = None
    config: Mapping[str, Any] | None = None
    enabled: bool | None = None
    team_ids: tuple[Identity, ...] | None = None

    ignored: ClassVar = fields_of(Issuer, but=("name", "type", "config", "enabled", "team_ids"))

    def wish(self) -> usecases.UpdateIssuer:
        return usecases.UpdateIssuer(**_given(self))


@frozen(kw_only=True)
class DeploymentTarget:
    """A place where certificates go. Secrets in `config` are shown as `********`. `team_ids` are the teams it is
    limited to; none: everybody may use it."""

    id: str
    name: str
    type: str
    agent_id: str
    config: Mapping[str, Any]
    enabled: bool
    team_ids: tuple[str, ...]
    last_tested_at: datetime | None = None
    test_status: TestStatus
    source: ConfigSource
    retired_at: datetime | None = None
    retired_reason: str | None = None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fact: facts.ConfiguredTarget) -> Self:
        return cls(**_shared(cls, fact) | {"retired_reason": fact.retired_reason or None})


@frozen(kw_only=True)
class CreateTarget(Accepts):
    """Without `team_ids` it is limited to the teams of the caller's key, if that is limited."""

    id: Identity | None = None
    name: Name
    type: Name
    agent_id: Name
    config: Mapping[str, Any] = Factory(dict)
    enabled: bool = True
    team_ids: tuple[Identity, ...] | None = None

    blank: ClassVar = frozenset({"id"})

    def wish(self) -> usecases.CreateTarget:
        return usecases.CreateTarget(**_given(self))


@frozen(kw_only=True)
class UpdateTarget(Accepts):
    """Settings are merged; a secret given as `********` stays as it is. An empty `team_ids` takes the limit away."""

    name: Name | None = None
    type: Name | None = None
    agent_id: Name | None = None
    config: Mapping[str, Any] | None = None
    enabled: bool | None = None
    team_ids: tuple[Identity, ...] | None = None

    ignored: ClassVar = fields_of(DeploymentTarget, but=("name", "type", "agent_id", "config", "enabled", "team_ids"))

    def wish(self) -> usecases.UpdateTarget:
        return usecases.UpdateTarget(**_given(self))


def _shared(wire: type[attrs.AttrsInstance], fact: attrs.AttrsInstance) -> dict[str, Any]:
    """What the fact and the wire class call by the same name."""
    return {a.name: getattr(fact, a.name) for a in attrs.fields(wire) if hasattr(fact, a.name)}


def _given(asked: attrs.AttrsInstance) -> dict[str, Any]:
    return attrs.asdict(asked, recurse=False)


def _seconds(duration: timedelta | None) -> int:
    return int(duration.total_seconds()) if duration else 0
