"""Policy rules, their violations, reviews, and agent groups."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, LiteralString

from certctl_adapters.kinds import AGENT_GROUPS, POLICY_RULES, VIOLATIONS, Kind, Reference
from certctl_adapters.postgres.table import OF_CERTIFICATE, PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Row, Transaction
from certctl_core.errors import NotFound
from certctl_core.ids import AgentGroupId, AgentId
from certctl_core.models.agents import AgentGroup, AgentGroupMembership
from certctl_core.models.policies import PolicyReview, PolicyRule, PolicyViolation, ReviewKind
from certctl_core.ports.store import AgentGroups, PolicyReviews, PolicyRules, Violations

_GROUP: Final = shape_of(AGENT_GROUPS)
_RULE: Final = shape_of(POLICY_RULES)
_VIOLATION: Final = shape_of(VIOLATIONS)
_MEMBERSHIP: Final = shape_of(
    Kind(
        "agent_group_members",
        "membership",
        AgentGroupMembership,
        identity="agent_id",
        references=(Reference("agent_group_id", "agent_groups"), Reference("agent_id", "agents")),
    )
)


class PostgresAgentGroups(PostgresTable[AgentGroup], AgentGroups):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _GROUP)
        self._memberships = PostgresTable(transaction, _MEMBERSHIP)

    def memberships(self, group_id: AgentGroupId) -> Sequence[AgentGroupMembership]:
        return self._memberships.select(
            "SELECT {columns} FROM {table} AS t WHERE t.agent_group_id = %(group)s ORDER BY t.agent_id", group=group_id
        )

    def memberships_of(self, agent_ids: Iterable[str]) -> Sequence[AgentGroupMembership]:
        return self._memberships.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.agent_id = ANY(%(agents)s)
            ORDER BY t.agent_id, t.agent_group_id
            """,
            agents=list(agent_ids),
        )

    def put_membership(self, membership: AgentGroupMembership) -> None:
        statement = _MEMBERSHIP.statement(
            """
            INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT (agent_group_id, agent_id)
            DO UPDATE SET membership_type = excluded.membership_type, created_at = excluded.created_at
            """
        )
        self._transaction.change(statement, _MEMBERSHIP.dump(membership), _MEMBERSHIP.kind, membership)

    def remove_membership(self, group_id: AgentGroupId, agent_id: AgentId) -> None:
        removed = self._transaction.change(
            b"DELETE FROM agent_group_members WHERE agent_group_id = %s AND agent_id = %s", [group_id, agent_id]
        )
        if not removed:
            raise NotFound.of("membership of agent", agent_id)


class PostgresPolicyRules(PostgresTable[PolicyRule], PolicyRules):
    """Holding rules is sharing an advisory lock (`sql/`), which costs nothing while nobody wants it alone, and is let
    go of with the transaction."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _RULE)

    def in_force(self) -> Sequence[PolicyRule]:
        return self.select("SELECT {columns} FROM policy_rules_in_force() AS t ORDER BY t.id")

    def hold(self) -> None:
        self._transaction.row(b"SELECT hold_policy_rules()")


class PostgresViolations(PostgresTable[PolicyViolation], Violations):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _VIOLATION)

    def open_of(self, certificate_ids: Iterable[str]) -> Sequence[PolicyViolation]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.certificate_id = ANY(%(certificates)s) AND t.resolved_at IS NULL ORDER BY t.id
            """,
            certificates=list(certificate_ids),
        )

    def open_under(self, rule_id: str, after: str, limit: int) -> Sequence[PolicyViolation]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.rule_id = %(rule)s AND t.resolved_at IS NULL AND t.id > %(after)s ORDER BY t.id LIMIT %(limit)s
            """,
            rule=rule_id,
            after=after,
            limit=limit,
        )

    def purge(self, resolved_before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM policy_violations WHERE id IN (
                SELECT id FROM policy_violations WHERE resolved_at < %s
                ORDER BY resolved_at LIMIT %s FOR UPDATE SKIP LOCKED
            )
            """,
            [resolved_before, limit],
        )

    def _extra(self, name: str) -> LiteralString:
        return OF_CERTIFICATE[name]


class PostgresPolicyReviews(PolicyReviews):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def ask(self, kind: ReviewKind, subject_ids: Iterable[str], at: datetime) -> None:
        # One that has begun keeps its place in the queue, so that what changes all the time is not put off for ever.
        self._transaction.change(
            b"""
            INSERT INTO policy_reviews (kind, subject_id, requested_at)
            SELECT %s, subject, %s FROM unnest(%s::text[]) AS subject ORDER BY subject
            ON CONFLICT (kind, subject_id) DO UPDATE SET after_id = '', begun = false
            """,
            [kind.value, at, list(dict.fromkeys(subject_ids))],
        )

    def waiting(self) -> bool:
        row = self._transaction.row(b"SELECT EXISTS (SELECT FROM policy_reviews WHERE NOT begun)")
        return bool(row and row[0])

    def begin(self) -> None:
        # Those that somebody is just asking for begin the next time: nobody waits in a circle.
        self._transaction.change(
            b"""
            UPDATE policy_reviews SET begun = true WHERE (kind, subject_id) IN (
                SELECT kind, subject_id FROM policy_reviews WHERE NOT begun FOR UPDATE SKIP LOCKED
            )
            """
        )

    def claim(self) -> PolicyReview | None:
        row = self._transaction.row(
            b"""
            SELECT kind, subject_id, after_id, requested_at FROM policy_reviews WHERE begun
            ORDER BY requested_at, kind, subject_id LIMIT 1 FOR UPDATE SKIP LOCKED
            """
        )
        return None if row is None else _review(row)

    def advance(self, review: PolicyReview) -> None:
        self._transaction.change(
            b"UPDATE policy_reviews SET after_id = %s WHERE kind = %s AND subject_id = %s",
            [review.after, review.kind.value, review.subject_id],
        )

    def finish(self, review: PolicyReview) -> None:
        self._transaction.change(
            b"DELETE FROM policy_reviews WHERE kind = %s AND subject_id = %s", [review.kind.value, review.subject_id]
        )

    def count(self) -> int:
        row = self._transaction.row(b"SELECT count(*) FROM policy_reviews")
        return int(row[0]) if row else 0


def _review(row: Row) -> PolicyReview:
    kind, subject, after, requested_at = row
    return PolicyReview(
        kind=ReviewKind(kind), subject_id=subject, after=after, requested_at=requested_at.astimezone(UTC)
    )
