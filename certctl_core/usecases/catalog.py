"""What operators configure: teams, owners, profiles, renewal policies, issuers and targets.

Every kind is created, changed and deleted in the same way: build the fact, judge it, write it, audit it. Settings of
issuers and targets are split on the way in: secrets go sealed into `sealed_config`, the rest is shown as `config`. Who
may see and change what is said in `scope`; profiles and renewal policies are everybody's.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from attrs import asdict, evolve, field, frozen

from certctl_core.errors import CertctlError, FieldProblem, Invalid, NotFound
from certctl_core.ids import (
    CLIENT_ID,
    AgentId,
    IssuerId,
    OwnerId,
    ProfileId,
    RenewalPolicyId,
    TargetId,
    TeamId,
    mint,
)
from certctl_core.models.access import Actor
from certctl_core.models.agents import AgentStatus
from certctl_core.models.catalog import (
    CertificateProfile,
    ConfigSource,
    ConfiguredIssuer,
    ConfiguredTarget,
    KeyAlgorithmRule,
    Owner,
    RenewalPolicy,
    Team,
    TestStatus,
)
from certctl_core.models.records import AlertSeverity, Channel
from certctl_core.policy import profile as profile_policy
from certctl_core.ports import Ports
from certctl_core.ports.issuer import ShowsChain
from certctl_core.ports.store import Page, Query, Table, Where, Work
from certctl_core.usecases import audit, compliance, rescheduling, scope

MASK: Final = "********"
MOST_THRESHOLDS: Final = 20
AGENT_SILENCE: Final = timedelta(minutes=5)

F = TypeVar("F", Team, Owner, CertificateProfile, RenewalPolicy, ConfiguredIssuer, ConfiguredTarget)


# --- wishes -----------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class CreateTeam:
    name: str
    id: TeamId | None = None
    description: str = ""


@frozen(kw_only=True)
class UpdateTeam:
    name: str | None = None
    description: str | None = None


@frozen(kw_only=True)
class CreateOwner:
    name: str
    id: OwnerId | None = None
    email: str = ""
    team_id: TeamId | None = None


@frozen(kw_only=True)
class UpdateOwner:
    name: str | None = None
    email: str | None = None
    team_id: TeamId | None = None


@frozen(kw_only=True)
class CreateProfile:
    name: str
    id: ProfileId | None = None
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


@frozen(kw_only=True)
class UpdateProfile:
    name: str | None = None
    description: str | None = None
    allowed_key_algorithms: tuple[KeyAlgorithmRule, ...] | None = None
    max_ttl: timedelta | None = None
    allowed_ekus: tuple[str, ...] | None = None
    required_san_patterns: tuple[str, ...] | None = None
    spiffe_uri_pattern: str | None = None
    allow_short_lived: bool | None = None
    must_staple: bool | None = None
    requires_approval: bool | None = None
    enabled: bool | None = None


@frozen(kw_only=True)
class CreateRenewalPolicy:
    name: str
    id: RenewalPolicyId | None = None
    renewal_window: timedelta | None = None
    renewal_window_share: float | None = None
    auto_renew: bool = True
    max_retries: int = 3
    retry_interval: timedelta = timedelta(hours=1)
    alert_thresholds_days: tuple[int, ...] = (30, 14, 7, 0)
    alert_channels: Mapping[AlertSeverity, tuple[Channel, ...]] = field(factory=dict)
    alert_severity_map: Mapping[int, AlertSeverity] = field(factory=dict)
    profile_id: ProfileId | None = None


@frozen(kw_only=True)
class UpdateRenewalPolicy:
    name: str | None = None
    renewal_window: timedelta | None = None
    renewal_window_share: float | None = None
    auto_renew: bool | None = None
    max_retries: int | None = None
    retry_interval: timedelta | None = None
    alert_thresholds_days: tuple[int, ...] | None = None
    alert_channels: Mapping[AlertSeverity, tuple[Channel, ...]] | None = None
    alert_severity_map: Mapping[int, AlertSeverity] | None = None
    profile_id: ProfileId | None = None


@frozen(kw_only=True)
class CreateIssuer:
    name: str
    type: str
    id: IssuerId | None = None
    config: Mapping[str, Any]
    enabled: bool = True
    team_ids: tuple[TeamId, ...] | None = None
    source: ConfigSource = ConfigSource.DATABASE


@frozen(kw_only=True)
class UpdateIssuer:
    name: str | None = None
    type: str | None = None
    config: Mapping[str, Any] | None = None
    enabled: bool | None = None
    team_ids: tuple[TeamId, ...] | None = None


@frozen(kw_only=True)
class CreateTarget:
    name: str
    type: str
    agent_id: AgentId
    id: TargetId | None = None
    config: Mapping[str, Any]
    enabled: bool = True
    team_ids: tuple[TeamId, ...] | None = None
    source: ConfigSource = ConfigSource.DATABASE


@frozen(kw_only=True)
class UpdateTarget:
    name: str | None = None
    type: str | None = None
    agent_id: AgentId | None = None
    config: Mapping[str, Any] | None = None
    enabled: bool | None = None
    team_ids: tuple[TeamId, ...] | None = None


# --- one way to create, change, delete, look --------------------------------------------------------------------------


@frozen
class _Kind:
    """How one kind of object is stored, named in the audit trail, and judged."""

    noun: str
    prefix: str
    table: Callable[[Work], Table[Any]]
    problems: Callable[[Any], list[FieldProblem]]
    limited_by: str = ""
    """The field that says which teams an object is limited to; empty: such objects are everybody's."""

    def seen(self, caller: Actor) -> tuple[Where, ...]:
        """Conditions that leave of a list what the caller sees."""
        return scope.limited(caller, self.limited_by) if self.limited_by else ()

    def sees(self, caller: Actor, fact: Any) -> bool:
        return not self.limited_by or scope.reaches(caller, fact)

    def must_change(self, caller: Actor, fact: Any) -> None:
        """Raises `NotFound` and `Forbidden`."""
        if self.limited_by:
            scope.must_change(caller, self.noun, fact)
        else:
            scope.must_reach_everything(caller)

    def must_keep(self, caller: Actor, fact: Any) -> None:
        """What the caller makes, or makes of something, is its own. Raises `Invalid` and `Forbidden`."""
        if self.limited_by:
            scope.own_teams(caller, scope.teams_of(fact), self.limited_by)
        else:
            scope.must_reach_everything(caller)


def _create(ports: Ports, actor: Actor, kind: _Kind, fact: F) -> F:
    kind.must_keep(actor, fact)
    with ports.work() as work:
        _must_be_sound(kind, fact)
        _must_fit_agent(work, actor, fact)
        kind.table(work).add(fact)
        audit.record(work, actor, ports.clock.now(), f"create_{kind.noun}", _resource(kind), fact.id, name=fact.name)
    return fact


def _update(
    ports: Ports,
    actor: Actor,
    kind: _Kind,
    identity: str,
    change: Callable[[F], F],
    follow: Callable[[Work, F, F], None] | None = None,
) -> F:
    """Read, change, write if nobody else has written meanwhile, and `follow` with what is to be written besides. Raises
    `StaleWrite` when somebody has."""
    with ports.work() as work:
        before: F = kind.table(work).get(identity)
    kind.must_change(actor, before)
    after = change(before)
    _must_be_sound(kind, after)
    kind.must_keep(actor, after)
    with ports.work() as work:
        _must_fit_agent(work, actor, after)
        _review_moved_target(work, before, after, ports.clock.now())
        saved: F = kind.table(work).save(after)
        if follow is not None:
            follow(work, before, saved)
        audit.record(
            work,
            actor,
            ports.clock.now(),
            f"update_{kind.noun}",
            _resource(kind),
            identity,
            changed=[name for name, value in asdict(after, recurse=False).items() if value != getattr(before, name)],
        )
    return saved


def _delete(ports: Ports, actor: Actor, kind: _Kind, identity: str) -> None:
    with ports.work() as work:
        if not actor.scope.is_everything:
            kind.must_change(actor, kind.table(work).lock(identity))
        kind.table(work).remove(identity)
        audit.record(work, actor, ports.clock.now(), f"delete_{kind.noun}", _resource(kind), identity)


def _get(ports: Ports, caller: Actor, kind: _Kind, identity: str) -> Any:
    with ports.work() as work:
        fact = kind.table(work).get(identity)
        if not kind.sees(caller, fact):
            raise NotFound.of(kind.noun, identity)
        return fact


def _page(ports: Ports, caller: Actor, kind: _Kind, query: Query) -> Page[Any]:
    with ports.work() as work:
        return kind.table(work).page(evolve(query, where=(*query.where, *kind.seen(caller))))


def _resource(kind: _Kind) -> str:
    return "certificate_profile" if kind.noun == "profile" else kind.noun


def _given(asked: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(asked, recurse=False).items() if value is not None}


def _must_be_sound(kind: _Kind, fact: Any) -> None:
    problems = kind.problems(fact)
    if not CLIENT_ID.fullmatch(fact.id):
        problems.append(FieldProblem("id", "must be 1 to 128 letters, digits, dots, dashes or underscores"))
    if not fact.name.strip():
        problems.append(FieldProblem("name", "must not be empty"))
    elif len(fact.name) > 255:
        problems.append(FieldProblem("name", "must be at most 255 characters"))
    if problems:
        said = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
        raise Invalid(f"the {kind.noun.replace('_', ' ')} is not valid: {said}", fields=problems)


def _must_fit_agent(work: Work, caller: Actor, fact: object) -> None:
    """A target is files on a host and commands run there, so a caller whose key is limited has targets only on agents
    that serve its own teams. Raises `Invalid`."""
    if not isinstance(fact, ConfiguredTarget):
        return
    agent = work.agents.find(fact.agent_id)
    if agent is None or not scope.reaches(caller, agent):
        raise Invalid.field("agent_id", f"there is no agent {fact.agent_id}")
    if agent.retired_at is not None and fact.retired_at is None:
        raise Invalid.field("agent_id", f"agent {agent.id} is retired")
    if not caller.scope.owns(agent.team_ids):
        raise Invalid.field(
            "agent_id",
            f"agent {agent.id} is not your teams' alone",
            hint="Use an agent that is limited to your teams, or a key without limits.",
        )


def _review_moved_target(work: Work, before: object, after: object, now: datetime) -> None:
    """A certificate that is deployed by another agent may be in another agent group."""
    if isinstance(after, ConfiguredTarget) and after.agent_id != getattr(before, "agent_id", None):
        compliance.agents_changed(work, [after.agent_id], now)


def _nothing_more(_: object) -> list[FieldProblem]:
    return []


def _owner_problems(owner: Owner) -> list[FieldProblem]:
    if owner.email and ("@" not in owner.email or any(c.isspace() for c in owner.email)):
        return [FieldProblem("email", "must be an e-mail address")]
    return []


def _policy_problems(policy: RenewalPolicy) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    window = policy.renewal_window
    if window is not None and not timedelta(days=1) <= window <= timedelta(days=365):
        problems.append(FieldProblem("renewal_window_days", "must be between 1 and 365"))
    if not 0 <= policy.max_retries <= 10:
        problems.append(FieldProblem("max_retries", "must be between 0 and 10"))
    if not timedelta(minutes=1) <= policy.retry_interval <= timedelta(days=1):
        problems.append(FieldProblem("retry_interval_seconds", "must be between 60 and 86400"))
    share = policy.renewal_window_share
    if share is not None and not 0 < share < 1:
        problems.append(FieldProblem("renewal_window_share", "must be more than 0 and less than 1"))
    if share is not None and window is not None:
        problems.append(FieldProblem("renewal_window_share", "cannot be given beside renewal_window_days; choose one"))
    return problems + _alert_problems(policy)


def _alert_problems(policy: RenewalPolicy) -> list[FieldProblem]:
    thresholds = policy.alert_thresholds_days
    problems: list[FieldProblem] = []
    if len(thresholds) > MOST_THRESHOLDS:
        problems.append(FieldProblem("alert_thresholds_days", f"must be at most {MOST_THRESHOLDS}"))
    for index, days in enumerate(thresholds):
        if not 0 <= days <= 365:
            problems.append(FieldProblem(f"alert_thresholds_days[{index}]", "must be between 0 and 365"))
        elif days in thresholds[:index]:
            problems.append(FieldProblem(f"alert_thresholds_days[{index}]", f"{days} is there already"))
    problems += [
        FieldProblem(f"alert_severity_map.{days}", "must be between 0 and 365 days")
        for days in policy.alert_severity_map
        if not 0 <= days <= 365
    ]
    for severity, channels in policy.alert_channels.items():
        if len(set(channels)) != len(channels):
            problems.append(FieldProblem(f"alert_channels.{severity.value}", "names a channel twice"))
    return problems


TEAM: Final = _Kind("team", "team", lambda work: work.teams, _nothing_more, "id")
OWNER: Final = _Kind("owner", "owner", lambda work: work.owners, _owner_problems, "team_id")
PROFILE: Final = _Kind("profile", "prof", lambda work: work.profiles, profile_policy.problems)
POLICY: Final = _Kind("renewal_policy", "rp", lambda work: work.renewal_policies, _policy_problems)
ISSUER: Final = _Kind("issuer", "issuer", lambda work: work.issuers, _nothing_more, "team_ids")
TARGET: Final = _Kind("target", "target", lambda work: work.targets, _nothing_more, "team_ids")


def _new(ports: Ports, kind: _Kind, model: type[F], asked: Any, **more: Any) -> F:
    now = ports.clock.now()
    fields = {**asdict(asked, recurse=False), **more}
    fields["id"] = asked.id or mint(kind.prefix, now)
    return model(**fields, created_at=now, updated_at=now)


def _changing(ports: Ports, asked: Any) -> Callable[[F], F]:
    return lambda fact: evolve(fact, **_given(asked), updated_at=ports.clock.now())


# --- teams, owners, profiles, renewal policies ------------------------------------------------------------------------


def create_team(ports: Ports, caller: Actor, asked: CreateTeam) -> Team:
    """Raises `Forbidden` for a caller whose key is limited: a new team is beyond its reach."""
    scope.must_reach_everything(caller)
    return _create(ports, caller, TEAM, _new(ports, TEAM, Team, asked))


def update_team(ports: Ports, caller: Actor, identity: str, asked: UpdateTeam) -> Team:
    change: Callable[[Team], Team] = _changing(ports, asked)
    return _update(ports, caller, TEAM, identity, change)


def delete_team(ports: Ports, caller: Actor, identity: str) -> None:
    """Raises `InUse` while owners or certificates belong to it: deleting a team deletes nothing else."""
    _delete(ports, caller, TEAM, identity)


def get_team(ports: Ports, caller: Actor, identity: str) -> Team:
    found: Team = _get(ports, caller, TEAM, identity)
    return found


def page_team(ports: Ports, caller: Actor, query: Query) -> Page[Team]:
    return _page(ports, caller, TEAM, query)


def create_owner(ports: Ports, caller: Actor, asked: CreateOwner) -> Owner:
    """An owner of a caller whose key is limited to one team belongs to that team."""
    if asked.team_id is None and len(caller.scope.team_ids) == 1:
        asked = evolve(asked, team_id=next(iter(caller.scope.team_ids)))
    return _create(ports, caller, OWNER, _new(ports, OWNER, Owner, asked))


def update_owner(ports: Ports, caller: Actor, identity: str, asked: UpdateOwner) -> Owner:
    change: Callable[[Owner], Owner] = _changing(ports, asked)
    return _update(ports, caller, OWNER, identity, change)


def delete_owner(ports: Ports, caller: Actor, identity: str) -> None:
    """Raises `InUse` while it owns certificates."""
    _delete(ports, caller, OWNER, identity)


def get_owner(ports: Ports, caller: Actor, identity: str) -> Owner:
    found: Owner = _get(ports, caller, OWNER, identity)
    return found


def page_owner(ports: Ports, caller: Actor, query: Query) -> Page[Owner]:
    return _page(ports, caller, OWNER, query)


def create_profile(ports: Ports, caller: Actor, asked: CreateProfile) -> CertificateProfile:
    return _create(ports, caller, PROFILE, _new(ports, PROFILE, CertificateProfile, asked))


def update_profile(ports: Ports, caller: Actor, identity: str, asked: UpdateProfile) -> CertificateProfile:
    """A `max_ttl` of zero takes the cap away."""

    def change(profile: CertificateProfile) -> CertificateProfile:
        changed: CertificateProfile = _changing(ports, asked)(profile)
        return evolve(changed, max_ttl=changed.max_ttl or None)

    return _update(ports, caller, PROFILE, identity, change)


def delete_profile(ports: Ports, caller: Actor, identity: str) -> None:
    _delete(ports, caller, PROFILE, identity)


def get_profile(ports: Ports, caller: Actor, identity: str) -> CertificateProfile:
    found: CertificateProfile = _get(ports, caller, PROFILE, identity)
    return found


def page_profile(ports: Ports, caller: Actor, query: Query) -> Page[CertificateProfile]:
    return _page(ports, caller, PROFILE, query)


def create_renewal_policy(ports: Ports, caller: Actor, asked: CreateRenewalPolicy) -> RenewalPolicy:
    """A window or share of zero stands for the last third of life."""
    wanted = evolve(
        asked,
        renewal_window=asked.renewal_window or None,
        renewal_window_share=asked.renewal_window_share or None,
    )
    return _create(ports, caller, POLICY, _new(ports, POLICY, RenewalPolicy, wanted))


def update_renewal_policy(ports: Ports, caller: Actor, identity: str, asked: UpdateRenewalPolicy) -> RenewalPolicy:
    """Its certificates are given their new times by and by (`rescheduling.py`). A window in days takes the place of one
    that is a share, and the other way round; either of them being zero: the last third of life."""

    def change(policy: RenewalPolicy) -> RenewalPolicy:
        changed: RenewalPolicy = _changing(ports, asked)(policy)
        if asked.renewal_window is not None and not asked.renewal_window_share:
            changed = evolve(changed, renewal_window_share=None)
        elif asked.renewal_window_share is not None and not asked.renewal_window:
            changed = evolve(changed, renewal_window=None)
        return evolve(
            changed,
            renewal_window=changed.renewal_window or None,
            renewal_window_share=changed.renewal_window_share or None,
        )

    return _update(ports, caller, POLICY, identity, change, rescheduling.ask)


def delete_renewal_policy(ports: Ports, caller: Actor, identity: str) -> None:
    """Raises `InUse` while certificates follow it."""
    _delete(ports, caller, POLICY, identity)


def get_renewal_policy(ports: Ports, caller: Actor, identity: str) -> RenewalPolicy:
    found: RenewalPolicy = _get(ports, caller, POLICY, identity)
    return found


def page_renewal_policy(ports: Ports, caller: Actor, query: Query) -> Page[RenewalPolicy]:
    return _page(ports, caller, POLICY, query)


# --- issuers and targets: settings with secrets -----------------------------------------------------------------------


def create_issuer(ports: Ports, caller: Actor, asked: CreateIssuer) -> ConfiguredIssuer:
    """Raises `Invalid` for a type this installation does not have or settings that are wrong, naming each field."""
    identity = asked.id or IssuerId(mint(ISSUER.prefix, ports.clock.now()))
    type_name, config = ports.issuers.check(identity, asked.type, dict(asked.config))
    split = _split(ports, config, ports.issuers.secret_keys(type_name))
    mine = scope.own_teams(caller, asked.team_ids)
    wanted = evolve(asked, id=identity, team_ids=mine)
    return _create(ports, caller, ISSUER, _new(ports, ISSUER, ConfiguredIssuer, wanted, type=type_name, **split))


def update_issuer(ports: Ports, caller: Actor, identity: str, asked: UpdateIssuer) -> ConfiguredIssuer:
    """Settings are merged: what is not given stays, and a secret given as `********` keeps what is stored."""

    def change(issuer: ConfiguredIssuer) -> ConfiguredIssuer:
        wanted = _merged(full_config(ports, issuer), asked.config)
        type_name, config = ports.issuers.check(issuer.id, asked.type or issuer.type, wanted)
        split = _split(ports, config, ports.issuers.secret_keys(type_name))
        return evolve(
            issuer,
            name=asked.name or issuer.name,
            type=type_name,
            enabled=issuer.enabled if asked.enabled is None else asked.enabled,
            team_ids=issuer.team_ids if asked.team_ids is None else tuple(dict.fromkeys(asked.team_ids)),
            updated_at=ports.clock.now(),
            **split,
        )

    return _update(ports, caller, ISSUER, identity, change)


def delete_issuer(ports: Ports, caller: Actor, identity: str) -> None:
    """Raises `InUse` while certificates are issued by it."""
    _delete(ports, caller, ISSUER, identity)


def get_issuer(ports: Ports, caller: Actor, identity: str) -> ConfiguredIssuer:
    found: ConfiguredIssuer = _get(ports, caller, ISSUER, identity)
    return found


def page_issuer(ports: Ports, caller: Actor, query: Query) -> Page[ConfiguredIssuer]:
    return _page(ports, caller, ISSUER, query)


def test_issuer(ports: Ports, caller: Actor, identity: str) -> tuple[bool, str]:
    """Connect to the CA and ask for its chain, if it can show one. Returns whether it answered and what went wrong."""
    issuer = get_issuer(ports, caller, identity)
    ISSUER.must_change(caller, issuer)
    error = ""
    try:
        connected = ports.issuers.connect(issuer)
        if isinstance(connected, ShowsChain):
            connected.chain()
    except CertctlError as failure:
        error = str(failure)
    _remember_test(ports, caller, ISSUER, identity, error)
    return not error, error


def create_target(ports: Ports, caller: Actor, asked: CreateTarget) -> ConfiguredTarget:
    """Raises `Invalid` for an unknown type, wrong settings, or an agent that does not exist or is retired."""
    type_name, config = ports.targets.check(asked.type, dict(asked.config))
    split = _split(ports, config, ports.targets.secret_keys(type_name))
    wanted = evolve(asked, team_ids=scope.own_teams(caller, asked.team_ids))
    return _create(ports, caller, TARGET, _new(ports, TARGET, ConfiguredTarget, wanted, type=type_name, **split))


def update_target(ports: Ports, caller: Actor, identity: str, asked: UpdateTarget) -> ConfiguredTarget:
    """As `update_issuer`. A target that moves to another agent is deployed to with the next renewal."""

    def change(target: ConfiguredTarget) -> ConfiguredTarget:
        wanted = _merged(full_config(ports, target), asked.config)
        type_name, config = ports.targets.check(asked.type or target.type, wanted)
        split = _split(ports, config, ports.targets.secret_keys(type_name))
        return evolve(
            target,
            name=asked.name or target.name,
            type=type_name,
            agent_id=asked.agent_id or target.agent_id,
            enabled=target.enabled if asked.enabled is None else asked.enabled,
            team_ids=target.team_ids if asked.team_ids is None else tuple(dict.fromkeys(asked.team_ids)),
            updated_at=ports.clock.now(),
            **split,
        )

    return _update(ports, caller, TARGET, identity, change)


def delete_target(ports: Ports, caller: Actor, identity: str) -> None:
    _delete(ports, caller, TARGET, identity)


def get_target(ports: Ports, caller: Actor, identity: str) -> ConfiguredTarget:
    found: ConfiguredTarget = _get(ports, caller, TARGET, identity)
    return found


def page_target(ports: Ports, caller: Actor, query: Query) -> Page[ConfiguredTarget]:
    return _page(ports, caller, TARGET, query)


def test_target(ports: Ports, caller: Actor, identity: str) -> tuple[bool, str]:
    """A target is reachable when its agent is: it alone can touch the files."""
    target = get_target(ports, caller, identity)
    TARGET.must_change(caller, target)
    now = ports.clock.now()
    with ports.work() as work:
        agent = work.agents.get(target.agent_id)
    heard = agent.last_heartbeat_at
    error = ""
    if agent.retired_at is not None:
        error = f"agent {agent.id} is retired"
    elif agent.status is not AgentStatus.ONLINE or heard is None or now - heard > AGENT_SILENCE:
        error = f"agent {agent.id} is {agent.status.value}, last heard {heard.isoformat() if heard else 'never'}"
    _remember_test(ports, caller, TARGET, identity, error)
    return not error, error


def _remember_test(ports: Ports, caller: Actor, kind: _Kind, identity: str, error: str) -> None:
    now = ports.clock.now()
    status = TestStatus.FAILED if error else TestStatus.SUCCESS
    with ports.work() as work:
        fact = kind.table(work).lock(identity)
        kind.table(work).save(evolve(fact, test_status=status, last_tested_at=now, updated_at=now))
        audit.record(work, caller, now, f"{kind.noun}_test_connection_{status.value}", kind.noun, identity, error=error)


def full_config(ports: Ports, configured: ConfiguredIssuer | ConfiguredTarget) -> dict[str, Any]:
    """All settings, secrets included. For the connector's own use: never shown."""
    if configured.sealed_config is None:
        return dict(configured.config)
    opened: dict[str, Any] = json.loads(ports.secrets.open(configured.sealed_config))
    return opened


def _split(ports: Ports, config: dict[str, Any], secret_keys: frozenset[str]) -> dict[str, Any]:
    """What is shown and what is sealed. Settings without a secret in them need no sealing."""
    shown = {key: MASK if key in secret_keys and value else value for key, value in config.items()}
    sealed = ports.secrets.seal(json.dumps(config).encode()) if shown != config else None
    return {"config": shown, "sealed_config": sealed}


def _merged(stored: dict[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    kept = {key: value for key, value in (given or {}).items() if value != MASK}
    return {**stored, **kept}
