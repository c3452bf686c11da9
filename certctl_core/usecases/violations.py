"""Violations of policy rules: writing them down with all that follows, looking at them, forgetting old ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from certctl_core.ids import CertificateId, OwnerId, PolicyRuleId
from certctl_core.models.access import Actor
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.policies import PolicyRule, PolicyViolation
from certctl_core.models.records import AuditEvent
from certctl_core.ports import Ports
from certctl_core.ports.store import Page, Query, Where, Work
from certctl_core.usecases import audit, notices, notifications, scope
from certctl_core.usecases.notifications import Notice

PURGE: Final = 1000
SUMMED_UP: Final = 10
"""When more certificates of one owner are found to break one rule at once, the owner is told once of all of them: a
rule that a fleet does not meet must not become a flood of messages in which the next one is missed."""


@frozen
class Differences:
    """What has to be written for the record to say what was found. `rules` are those of what was opened."""

    opened: Sequence[PolicyViolation]
    changed: Sequence[PolicyViolation]
    closed: Sequence[PolicyViolation]
    rules: Mapping[PolicyRuleId, PolicyRule]

    @property
    def certificate_ids(self) -> Iterable[CertificateId]:
        return (violation.certificate_id for violation in (*self.opened, *self.changed, *self.closed))


def write(
    work: Work, actor: Actor, certificates: Sequence[ManagedCertificate], found: Differences, now: datetime
) -> None:
    """Write violations down, with their audit events and what is owed to owners, in a number of statements that does
    not depend on how many they are."""
    work.violations.add_many(found.opened)
    work.violations.save_many([*found.changed, *found.closed])
    events = [
        *(_event(actor, now, "policy_violation_detected", violation) for violation in found.opened),
        *(_event(actor, now, "policy_violation_resolved", violation) for violation in found.closed),
    ]
    if events:
        work.audit.add(*events)
    by_id = {certificate.id: certificate for certificate in certificates}
    notifications.owe(work, now, *_notices(by_id, found))


def _event(actor: Actor, now: datetime, action: str, violation: PolicyViolation) -> AuditEvent:
    return audit.event(
        actor,
        now,
        action,
        "certificate",
        violation.certificate_id,
        violation_id=violation.id,
        rule_id=violation.rule_id,
        severity=violation.severity.value,
        message=violation.message,
    )


def _notices(certificates: Mapping[CertificateId, ManagedCertificate], found: Differences) -> Iterator[Notice]:
    """One for each violation, or one for many of one rule and owner."""
    together: dict[tuple[OwnerId, PolicyRuleId], list[PolicyViolation]] = {}
    for violation in found.opened:
        owner_id = certificates[violation.certificate_id].owner_id
        together.setdefault((owner_id, violation.rule_id), []).append(violation)
    for (_, rule_id), those in together.items():
        rule, told = found.rules[rule_id], those if len(those) <= SUMMED_UP else those[:1]
        for violation in told:
            certificate = certificates[violation.certificate_id]
            yield notices.policy_broken(certificate, rule, violation.message, others=len(those) - len(told))


def page(ports: Ports, caller: Actor, query: Query) -> Page[PolicyViolation]:
    """Those of certificates that the caller sees."""
    with ports.work() as work:
        return work.violations.page(_within(caller, query))


def page_of_rule(ports: Ports, caller: Actor, rule_id: str, query: Query) -> Page[PolicyViolation]:
    """Those of one rule. Raises `NotFound` when there is no such rule."""
    with ports.work() as work:
        rule = scope.must_see_rule(caller, work.policy_rules.get(rule_id))
        return work.violations.page(_within(caller, query, Where("rule_id", rule.id)))


def _within(caller: Actor, query: Query, *where: Where) -> Query:
    return evolve(query, where=(*query.where, *where, *scope.certificates(caller)))


def purge(ports: Ports, retention: timedelta) -> int:
    """Remove violations that were resolved longer ago than `retention`. Returns how many were removed."""
    before = ports.clock.now() - retention
    done = 0
    while True:
        with ports.work() as work:
            removed = work.violations.purge(before, PURGE)
        done += removed
        if removed < PURGE:
            return done
