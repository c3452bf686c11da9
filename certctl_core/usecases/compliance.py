"""Judging certificates by the policy rules in force, and keeping on record what comes of it.

Theory of operation. What rules say of a certificate changes for four reasons, and each leads to it being judged anew:

    it is written      judged in the transaction of the write; what a critical rule forbids is refused
    it is issued       judged as planned before the CA is called, and as it is when the version is recorded
    time passes        `next_policy_check_at` says when, and the sweep reads the beginning of its index
    a rule changes     a review is asked for, a row, and the sweep walks in steps through the certificates it concerns;
                       so it does when an agent group changes, or an agent that a rule's group may have

Who judges holds the rules in force until the end of the transaction (`policy_rules.in_force`), and locks certificates
before. Who changes a rule waits for nobody: it is the review that begins when everybody has ended who may have judged
by what was before (`reviews`). So a certificate is judged by the new rules when it is written after the change, and
otherwise by the review.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from attrs import evolve, frozen

from certctl_core.errors import Refused
from certctl_core.ids import AgentGroupId, AgentId, CertificateId, PolicyRuleId, ViolationId, mint
from certctl_core.models.access import Actor
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.policies import (
    PolicyRule,
    PolicyType,
    PolicyViolation,
    ReviewKind,
    Severity,
)
from certctl_core.pki.plan import LeafPlan
from certctl_core.policy import demands, membership
from certctl_core.policy import rules as rule_policy
from certctl_core.policy.demands import Demand, Seen
from certctl_core.ports.store import Work
from certctl_core.usecases import violations


@frozen
class Ready:
    """A rule in force, ready to judge by."""

    rule: PolicyRule
    demand: Demand


@frozen
class Finding:
    """A rule that a certificate does not meet, and how."""

    rule: PolicyRule
    message: str


@frozen
class Judged:
    """Certificates with the time of their next look set, and what the rules in force find of each."""

    at: datetime
    certificates: tuple[ManagedCertificate, ...]
    findings: Mapping[CertificateId, tuple[Finding, ...]]
    any_rule: bool

    @property
    def certificate(self) -> ManagedCertificate:
        """The only one."""
        (only,) = self.certificates
        return only

    def moved(self, before: Sequence[ManagedCertificate]) -> list[ManagedCertificate]:
        """Those whose next look is at another time than it was `before`, which are the same in the same order."""
        return [after for old, after in zip(before, self.certificates, strict=True) if after is not old]


# --- judging ----------------------------------------------------------------------------------------------------------


def in_force(work: Work) -> tuple[Ready, ...]:
    """The rules to judge by. They do not change until the transaction ends; certificates are locked before."""
    return tuple(Ready(rule, rule_policy.demand_of(rule)) for rule in work.policy_rules.in_force())


def admit(work: Work, certificate: ManagedCertificate, now: datetime) -> Judged:
    """Judge a certificate that is about to be written. Raises `Refused` with what every critical rule has against it.
    What is to be written is `Judged.certificate`; `record` follows."""
    judged, refused = admit_many(work, (certificate,), now)
    for refusal in refused.values():
        raise refusal
    return judged


def admit_many(
    work: Work, certificates: Sequence[ManagedCertificate], now: datetime
) -> tuple[Judged, Mapping[CertificateId, Refused]]:
    """As `admit`, for several: those that may be written, and why the others may not."""
    judged = judge(work, in_force(work), certificates, now)
    refusals = ((one.id, _refusal(judged.findings[one.id], rule_policy.REFUSE_WRITES)) for one in certificates)
    refused = {identity: refusal for identity, refusal in refusals if refusal is not None}
    return evolve(judged, certificates=tuple(one for one in judged.certificates if one.id not in refused)), refused


def permit(work: Work, certificate: ManagedCertificate, plan: LeafPlan, now: datetime) -> None:
    """Raises `Refused` with what every critical rule has against signing this. The caller holds the certificate."""
    for refused in refusals(work, [(certificate, plan)], now).values():
        raise refused


def refusals(
    work: Work, planned: Sequence[tuple[ManagedCertificate, LeafPlan]], now: datetime
) -> Mapping[CertificateId, Refused]:
    """As `permit`, for several: the certificates that must not be signed, and why."""
    if not planned:
        return {}
    rules = in_force(work)
    groups = _groups(work, rules, [certificate for certificate, _ in planned])
    refused: dict[CertificateId, Refused] = {}
    for certificate, plan in planned:
        seen = demands.as_planned(certificate, plan, now)
        found = _findings(_concerning(rules, seen, groups[certificate.id]), seen)
        if error := _refusal(found, rule_policy.REFUSE_ISSUING):
            refused[certificate.id] = error
    return refused


def judge(work: Work, rules: Sequence[Ready], certificates: Sequence[ManagedCertificate], now: datetime) -> Judged:
    """What the rules find of certificates as they are. What rules look at beside them is read in a number of statements
    that does not depend on how many they are."""
    if not certificates:
        return Judged(now, (), {}, any_rule=bool(rules))
    groups = _groups(work, rules, certificates)
    lifetime = any(ready.rule.type is PolicyType.CERTIFICATE_LIFETIME for ready in rules)
    validities = work.versions.validities(c.id for c in certificates) if lifetime else {}
    findings: dict[CertificateId, tuple[Finding, ...]] = {}
    looked: list[ManagedCertificate] = []
    for certificate in certificates:
        seen = demands.as_it_is(certificate, validities.get(certificate.id), now)
        concerning = _concerning(rules, seen, groups[certificate.id])
        findings[certificate.id] = _findings(concerning, seen)
        looks = (ready.demand.next_look(seen) for ready in concerning)
        next_look = min((at for at in looks if at is not None), default=None)
        is_same = certificate.next_policy_check_at == next_look
        looked.append(certificate if is_same else evolve(certificate, next_policy_check_at=next_look))
    return Judged(now, tuple(looked), findings, any_rule=bool(rules))


def _concerning(rules: Sequence[Ready], seen: Seen, groups: frozenset[AgentGroupId]) -> Sequence[Ready]:
    if not rule_policy.is_judged(seen.certificate):
        return ()
    return [ready for ready in rules if rule_policy.concerns(ready.rule, seen.certificate, groups)]


def _findings(concerning: Sequence[Ready], seen: Seen) -> tuple[Finding, ...]:
    said = ((ready.rule, ready.demand.broken_by(seen)) for ready in concerning)
    return tuple(Finding(rule, message) for rule, message in said if message)


def _groups(
    work: Work, rules: Sequence[Ready], certificates: Sequence[ManagedCertificate]
) -> Mapping[CertificateId, frozenset[AgentGroupId]]:
    """For each certificate the groups, of those that rules ask for, that an agent which deploys it is in."""
    wanted = sorted({group for ready in rules for group in ready.rule.agent_group_ids})
    if not wanted:
        return {certificate.id: frozenset() for certificate in certificates}
    targets = work.targets.many({target for certificate in certificates for target in certificate.target_ids})
    agents = work.agents.many({target.agent_id for target in targets.values() if target.retired_at is None})
    groups = work.agent_groups.many(wanted)
    decided = {(m.agent_group_id, m.agent_id): m.membership_type for m in work.agent_groups.memberships_of(agents)}
    memberships = {
        agent.id: {g.id for g in groups.values() if membership.is_member(g, agent, decided.get((g.id, agent.id)))}
        for agent in agents.values()
        if agent.retired_at is None
    }
    return {
        certificate.id: frozenset[AgentGroupId]().union(
            *(memberships.get(targets[target].agent_id, ()) for target in certificate.target_ids if target in targets)
        )
        for certificate in certificates
    }


def _refusal(findings: Iterable[Finding], types: frozenset[PolicyType]) -> Refused | None:
    critical = [f for f in findings if f.rule.severity is Severity.CRITICAL and f.rule.type in types]
    if not critical:
        return None
    reasons = [f"policy rule {found.rule.name} ({found.rule.id}): {found.message}" for found in critical]
    return Refused(
        f"policy does not permit this certificate: {'; '.join(reasons)}",
        reasons=reasons,
        hint="Change what the rules name, or have the rules changed.",
    )


# --- keeping on record ------------------------------------------------------------------------------------------------


def record(work: Work, actor: Actor, judged: Judged) -> None:
    """Open and close violations, so that those that are open are what was found. The certificates are written."""
    if judged.any_rule:
        violations.write(work, actor, judged.certificates, differences(work, judged), judged.at)


def settle(
    work: Work,
    actor: Actor,
    certificates: Sequence[ManagedCertificate],
    now: datetime,
    rules: Sequence[Ready] | None = None,
) -> Sequence[ManagedCertificate]:
    """Judge certificates that the caller holds and keep on record what is found. Returns them as they are then."""
    judged = judge(work, in_force(work) if rules is None else rules, certificates, now)
    return keep(work, actor, certificates, judged, differences(work, judged))


def keep(
    work: Work,
    actor: Actor,
    certificates: Sequence[ManagedCertificate],
    judged: Judged,
    found: violations.Differences,
) -> Sequence[ManagedCertificate]:
    """Write what was found of certificates that the caller holds. Returns them as they are then."""
    saved = {certificate.id: certificate for certificate in work.certificates.save_many(judged.moved(certificates))}
    violations.write(work, actor, judged.certificates, found, judged.at)
    return [saved.get(certificate.id, certificate) for certificate in certificates]


def differences(work: Work, judged: Judged) -> violations.Differences:
    """What has to be written for the open violations to be those that were found."""
    known = work.violations.open_of(certificate.id for certificate in judged.certificates)
    open_ones = {(violation.certificate_id, violation.rule_id): violation for violation in known}
    opened: list[PolicyViolation] = []
    changed: list[PolicyViolation] = []
    for certificate in judged.certificates:
        for found in judged.findings[certificate.id]:
            violation = open_ones.pop((certificate.id, found.rule.id), None)
            if violation is None:
                opened.append(_violation(certificate.id, found, judged.at))
            elif (violation.message, violation.severity) != (found.message, found.rule.severity):
                changed.append(evolve(violation, message=found.message, severity=found.rule.severity))
    closed = [evolve(violation, resolved_at=judged.at) for violation in open_ones.values()]
    rules = {found.rule.id: found.rule for findings in judged.findings.values() for found in findings}
    return violations.Differences(opened, changed, closed, rules)


def _violation(certificate_id: CertificateId, found: Finding, now: datetime) -> PolicyViolation:
    return PolicyViolation(
        id=ViolationId(mint("violation", now)),
        certificate_id=certificate_id,
        rule_id=found.rule.id,
        message=found.message,
        severity=found.rule.severity,
        opened_at=now,
    )


# --- asking for reviews -----------------------------------------------------------------------------------------------


def rules_changed(work: Work, rule_ids: Iterable[PolicyRuleId], now: datetime, *kinds: ReviewKind) -> None:
    """Have everything looked at that these rules concern, or did."""
    if changed := list(rule_ids):
        for kind in kinds or (ReviewKind.OPEN, ReviewKind.SCOPE):
            work.policy_reviews.ask(kind, changed, now)


def agents_changed(work: Work, agent_ids: Iterable[AgentId], now: datetime) -> None:
    """Have everything looked at that these agents deploy: they may be in other groups now."""
    work.policy_reviews.ask(ReviewKind.AGENT, agent_ids, now)
