"""Policy rules, their violations, reviews, and agent groups, in memory."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from attrs import evolve

from certctl_adapters.kinds import AGENT_GROUPS, AGENTS, CERTIFICATES, POLICY_RULES, VIOLATIONS
from certctl_adapters.memory.table import MemoryTable, by
from certctl_adapters.memory.transaction import Transaction
from certctl_core.errors import Invalid, NotFound
from certctl_core.ids import AgentGroupId, AgentId
from certctl_core.models.agents import AgentGroup, AgentGroupMembership
from certctl_core.models.policies import PolicyReview, PolicyRule, PolicyViolation, ReviewKind
from certctl_core.ports.store import AgentGroups, PolicyReviews, PolicyRules, Violations

_MEMBERS = "agent_group_members"
_REVIEWS = "policy_reviews"
_BEGUN = "begun policy_reviews"


class MemoryAgentGroups(MemoryTable[AgentGroup], AgentGroups):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, AGENT_GROUPS)

    def remove(self, identity: str) -> None:
        super().remove(identity)
        for known in self.memberships(AgentGroupId(identity)):
            self._transaction.unset(_MEMBERS, (known.agent_group_id, known.agent_id))

    def memberships(self, group_id: AgentGroupId) -> Sequence[AgentGroupMembership]:
        return [known for known in self._all() if known.agent_group_id == group_id]

    def memberships_of(self, agent_ids: Iterable[str]) -> Sequence[AgentGroupMembership]:
        wanted = set(agent_ids)
        return [known for known in self._all() if known.agent_id in wanted]

    def put_membership(self, membership: AgentGroupMembership) -> None:
        for name, kind in (("agent_group_id", AGENT_GROUPS), ("agent_id", AGENTS)):
            value = getattr(membership, name)
            if value not in self._transaction.rows(kind.table):
                raise self._transaction.refuse(Invalid.field(name, f"refers to {value!r}, which does not exist"))
        key = (membership.agent_group_id, membership.agent_id)
        self._transaction.set(_MEMBERS, key, membership)

    def remove_membership(self, group_id: AgentGroupId, agent_id: AgentId) -> None:
        if (group_id, agent_id) not in self._transaction.rows(_MEMBERS):
            raise NotFound.of("membership of agent", agent_id)
        self._transaction.unset(_MEMBERS, (group_id, agent_id))

    def _all(self) -> Sequence[AgentGroupMembership]:
        return sorted(self._transaction.rows(_MEMBERS).values(), key=by("agent_id", "agent_group_id"))


class MemoryPolicyRules(MemoryTable[PolicyRule], PolicyRules):
    """Transactions run one after another, so nobody has to be waited for."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, POLICY_RULES)

    def in_force(self) -> Sequence[PolicyRule]:
        return self.select(lambda rule: rule.enabled, by("id"))

    def hold(self) -> None:
        self._transaction.rows(POLICY_RULES.table)


class MemoryViolations(MemoryTable[PolicyViolation], Violations):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, VIOLATIONS)

    def open_of(self, certificate_ids: Iterable[str]) -> Sequence[PolicyViolation]:
        wanted = set(certificate_ids)
        return self.select(lambda v: v.resolved_at is None and v.certificate_id in wanted, by("id"))

    def open_under(self, rule_id: str, after: str, limit: int) -> Sequence[PolicyViolation]:
        return self.select(lambda v: v.resolved_at is None and v.rule_id == rule_id and v.id > after, by("id"), limit)

    def purge(self, resolved_before: datetime, limit: int) -> int:
        def is_old(violation: PolicyViolation) -> bool:
            return violation.resolved_at is not None and violation.resolved_at < resolved_before

        old = self.select(is_old, by("resolved_at", "id"), limit)
        for violation in old:
            self.remove(violation.id)
        return len(old)

    def _extra(self, fact: PolicyViolation, name: str) -> object:
        return getattr(self._transaction.rows(CERTIFICATES.table)[fact.certificate_id], name)


class MemoryPolicyReviews(PolicyReviews):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def ask(self, kind: ReviewKind, subject_ids: Iterable[str], at: datetime) -> None:
        for subject in subject_ids:
            known: PolicyReview | None = self._transaction.rows(_REVIEWS).get((kind, subject))
            fresh = PolicyReview(kind=kind, subject_id=subject, requested_at=at)
            self._put(fresh if known is None else evolve(known, after=""))
            self._transaction.unset(_BEGUN, (kind, subject))

    def waiting(self) -> bool:
        return self._transaction.rows(_REVIEWS).keys() != self._transaction.rows(_BEGUN).keys()

    def begin(self) -> None:
        for key in self._transaction.rows(_REVIEWS):
            self._transaction.set(_BEGUN, key, True)

    def claim(self) -> PolicyReview | None:
        begun = self._transaction.rows(_BEGUN)
        waiting = [review for key, review in self._transaction.rows(_REVIEWS).items() if key in begun]
        return min(waiting, key=by("requested_at", "kind", "subject_id"), default=None)

    def advance(self, review: PolicyReview) -> None:
        self._put(review)

    def finish(self, review: PolicyReview) -> None:
        for table in (_REVIEWS, _BEGUN):
            self._transaction.unset(table, (review.kind, review.subject_id))

    def count(self) -> int:
        return len(self._transaction.rows(_REVIEWS))

    def _put(self, review: PolicyReview) -> None:
        self._transaction.set(_REVIEWS, (review.kind, review.subject_id), review)
