"""Policy rules: make, change, remove, look.

A change is recorded together with the wish to have everything looked at that the rule concerns, and costs the same
however many certificates that are. The sweep does the looking (`reviews`).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import asdict, evolve, field, frozen

from certctl_core.errors import FieldProblem, Forbidden, Invalid
from certctl_core.ids import AgentGroupId, PolicyRuleId, TeamId, mint
from certctl_core.models.access import Actor
from certctl_core.models.policies import PolicyRule, PolicyType, ReviewKind, Severity
from certctl_core.policy import rules as rule_policy
from certctl_core.ports import Ports
from certctl_core.ports.store import Page, Query
from certctl_core.usecases import audit, compliance, scope
from certctl_core.usecases.soundness import must_be_sound

_JUDGED_BY: Final = ("type", "config", "enabled", "severity", "team_ids", "environments", "agent_group_ids")
MAX_SCOPE: Final = 1000


@frozen(kw_only=True)
class CreateRule:
    name: str
    type: PolicyType
    id: PolicyRuleId | None = None
    config: Mapping[str, Any] = field(factory=dict)
    enabled: bool = True
    severity: Severity = Severity.WARNING
    team_ids: tuple[TeamId, ...] = ()
    environments: tuple[str, ...] = ()
    agent_group_ids: tuple[AgentGroupId, ...] = ()


@frozen(kw_only=True)
class UpdateRule:
    """What to change; None leaves a field as it is. `config` is replaced as a whole."""

    name: str | None = None
    type: PolicyType | None = None
    config: Mapping[str, Any] | None = None
    enabled: bool | None = None
    severity: Severity | None = None
    team_ids: tuple[TeamId, ...] | None = None
    environments: tuple[str, ...] | None = None
    agent_group_ids: tuple[AgentGroupId, ...] | None = None


def create(ports: Ports, caller: Actor, asked: CreateRule) -> PolicyRule:
    """Raises `Invalid` naming each field that is wrong, and `Forbidden` for a rule about more than the caller sees."""
    now = ports.clock.now()
    wanted = asdict(asked, recurse=False) | {"id": asked.id or PolicyRuleId(mint("rule", now))}
    rule = PolicyRule(**wanted, created_at=now, updated_at=now)
    must_be_sound("policy rule", rule.id, rule.name, _problems(rule))
    _must_be_within_reach(caller, rule)
    with ports.work() as work:
        work.policy_rules.add(rule)
        compliance.rules_changed(work, [rule.id], now, ReviewKind.SCOPE)
        audit.record(
            work,
            caller,
            now,
            "policy_rule_created",
            "policy_rule",
            rule.id,
            name=rule.name,
            type=rule.type.value,
            severity=rule.severity.value,
            config=dict(rule.config),
        )
    return rule


def update(ports: Ports, caller: Actor, rule_id: str, asked: UpdateRule) -> PolicyRule:
    """Raises as `create`, and `StaleWrite` when somebody else changes the rule at the same time."""
    now = ports.clock.now()
    before = get(ports, caller, rule_id)
    given = {name: value for name, value in asdict(asked, recurse=False).items() if value is not None}
    after = evolve(before, **given, updated_at=now)
    must_be_sound("policy rule", after.id, after.name, _problems(after))
    _must_be_within_reach(caller, before)
    _must_be_within_reach(caller, after)
    changed = [name for name in ("name", *_JUDGED_BY) if getattr(after, name) != getattr(before, name)]
    with ports.work() as work:
        saved = work.policy_rules.save(after)
        if set(changed).intersection(_JUDGED_BY):
            compliance.rules_changed(work, [saved.id], now)
        audit.record(work, caller, now, "policy_rule_updated", "policy_rule", saved.id, changed=_shown(saved, changed))
    return saved


def delete(ports: Ports, caller: Actor, rule_id: str) -> None:
    """Its open violations are closed by the sweep, and kept."""
    now = ports.clock.now()
    with ports.work() as work:
        rule = scope.must_see_rule(caller, work.policy_rules.get(rule_id))
        _must_be_within_reach(caller, rule)
        work.policy_rules.remove(rule.id)
        compliance.rules_changed(work, [rule.id], now, ReviewKind.OPEN)
        audit.record(work, caller, now, "policy_rule_deleted", "policy_rule", rule.id, name=rule.name)


def get(ports: Ports, caller: Actor, rule_id: str) -> PolicyRule:
    """Rules that are about something within the caller's reach are seen. Raises `NotFound`."""
    with ports.work() as work:
        return scope.must_see_rule(caller, work.policy_rules.get(rule_id))


def page(ports: Ports, caller: Actor, query: Query) -> Page[PolicyRule]:
    with ports.work() as work:
        return work.policy_rules.page(evolve(query, where=(*query.where, *scope.rules(caller))))


def _problems(rule: PolicyRule) -> Iterable[FieldProblem]:
    for name in ("team_ids", "environments", "agent_group_ids"):
        if len(getattr(rule, name)) > MAX_SCOPE:
            yield FieldProblem(name, f"must have at most {MAX_SCOPE} items")
    try:
        rule_policy.read(rule.type, rule.config)
    except Invalid as problem:
        yield from problem.fields


def _must_be_within_reach(caller: Actor, rule: PolicyRule) -> None:
    """A key that is limited to teams or environments decides nothing about others. Raises `Forbidden`."""
    for name, limits, about in (
        ("team_ids", caller.scope.team_ids, rule.team_ids),
        ("environments", caller.scope.environments, rule.environments),
    ):
        if limits and (not about or not limits.issuperset(about)):
            raise Forbidden(
                f"this key is limited, and policy rule {rule.id} is about more than it reaches",
                hint=f"Name some of these as {name}: {', '.join(sorted(limits))}.",
            )


def _shown(rule: PolicyRule, names: list[str]) -> dict[str, Any]:
    """What the fields are now, as JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, PolicyType | Severity):
            return value.value
        if isinstance(value, Mapping):
            return dict(value)
        return list(value) if isinstance(value, tuple) else value

    return {name: plain(getattr(rule, name)) for name in names}
