"""Policy rules, violations, reviews, agent groups, and what certificates know of them."""

from datetime import datetime

import pytest
from attrs import evolve

from certctl_core.errors import Duplicate, InUse, Invalid, NotFound
from certctl_core.models.agents import AgentTraits, MembershipType
from certctl_core.models.policies import ReviewKind
from certctl_core.ports.store import Is, Query, Where, Work
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, MINUTE, OpenWork


@pytest.fixture
def rich(seeded: OpenWork) -> OpenWork:
    """Seeded, with four certificates, two of them of another team, and two groups."""
    with seeded() as work:
        work.teams.add(facts.team("team-2"))
        for number in range(4):
            team = "team-1" if number < 2 else "team-2"
            environment = "production" if number % 2 else ""
            work.certificates.add(facts.certificate(f"mc-{number}", team_id=team, environment=environment))
        work.agent_groups.add(facts.agent_group("ag-1"))
        work.agent_groups.add(facts.agent_group("ag-2"))
    return seeded


class TestRules:
    def test_only_enabled_ones_are_in_force_by_id(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.policy_rules.add(facts.policy_rule("pr-2"))
            work.policy_rules.add(facts.policy_rule("pr-1"))
            work.policy_rules.add(facts.policy_rule("pr-3", enabled=False))
        with seeded() as work:
            assert [rule.id for rule in work.policy_rules.in_force()] == ["pr-1", "pr-2"]

    def test_who_changes_rules_may_look_at_them(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.policy_rules.hold()
            work.policy_rules.add(facts.policy_rule())
            assert [rule.id for rule in work.policy_rules.in_force()] == ["pr-1"]

    def test_a_rule_lets_go_of_what_it_is_no_longer_about(self, rich: OpenWork) -> None:
        about = {"team_ids": ("team-2", "team-1"), "agent_group_ids": ("ag-1", "ag-2")}
        with rich() as work:
            work.policy_rules.add(facts.policy_rule(**about))
        with rich() as work:
            rule = work.policy_rules.save(evolve(work.policy_rules.get("pr-1"), agent_group_ids=("ag-2",)))
            assert rule.team_ids == ("team-2", "team-1")
        with rich() as work:
            work.agent_groups.remove("ag-1")
        with pytest.raises(InUse), rich() as work:
            work.agent_groups.remove("ag-2")
        with rich() as work:
            work.policy_rules.remove("pr-1")
            work.agent_groups.remove("ag-2")


class TestViolations:
    def test_one_is_open_for_each_certificate_and_rule(self, rich: OpenWork) -> None:
        with rich() as work:
            work.violations.add(facts.violation("v-1"))
            work.violations.add(facts.violation("v-2", rule_id="pr-2"))
            work.violations.add(facts.violation("v-3", certificate_id="mc-1"))
        with pytest.raises(Duplicate), rich() as work:
            work.violations.add(facts.violation("v-4"))
        with rich() as work:
            work.violations.save(evolve(work.violations.get("v-1"), resolved_at=AT))
            work.violations.add(facts.violation("v-4"))

    def test_open_ones_of_certificates_are_found_together(self, rich: OpenWork) -> None:
        with rich() as work:
            work.violations.add(facts.violation("v-2"))
            work.violations.add(facts.violation("v-1", rule_id="pr-2"))
            work.violations.add(facts.violation("v-3", rule_id="pr-3", resolved_at=AT))
            work.violations.add(facts.violation("v-4", certificate_id="mc-1"))
            work.violations.add(facts.violation("v-5", certificate_id="mc-2"))
        with rich() as work:
            assert [v.id for v in work.violations.open_of(["mc-1", "mc-0", "nobody"])] == ["v-1", "v-2", "v-4"]
            assert work.violations.open_of([]) == []

    def test_open_ones_of_a_rule_are_walked_through(self, rich: OpenWork) -> None:
        with rich() as work:
            for number in range(4):
                work.violations.add(facts.violation(f"v-{number}", certificate_id=f"mc-{number}"))
            work.violations.save(evolve(work.violations.get("v-1"), resolved_at=AT))
        with rich() as work:
            assert [v.id for v in work.violations.open_under("pr-1", "", 2)] == ["v-0", "v-2"]
            assert [v.id for v in work.violations.open_under("pr-1", "v-2", 2)] == ["v-3"]
            assert work.violations.open_under("pr-2", "", 2) == []

    def test_a_list_can_be_limited_to_teams_and_environments_of_certificates(self, rich: OpenWork) -> None:
        with rich() as work:
            for number in range(4):
                work.violations.add(facts.violation(f"v-{number}", certificate_id=f"mc-{number}"))

        def found(*where: Where) -> list[str]:
            with rich() as work:
                page = work.violations.page(Query(where, sort="opened_at"))
            assert page.total == len(page.items)
            return [violation.id for violation in page.items]

        assert found(Where("team_id", ("team-2",), Is.ONE_OF)) == ["v-2", "v-3"]
        assert found(Where("environment", ("production", "test"), Is.ONE_OF)) == ["v-1", "v-3"]
        assert found(Where("team_id", ("team-1",), Is.ONE_OF), Where("environment", ("",), Is.ONE_OF)) == ["v-0"]
        assert found(Where("resolved_at", None), Where("rule_id", "pr-1")) == ["v-0", "v-1", "v-2", "v-3"]
        assert found(Where("resolved_at", AT, Is.AFTER)) == []

    def test_what_was_resolved_long_ago_is_removed_oldest_first(self, rich: OpenWork) -> None:
        with rich() as work:
            for number in range(4):
                at = AT + number * DAY if number else None
                work.violations.add(facts.violation(f"v-{number}", certificate_id=f"mc-{number}", resolved_at=at))
        with rich() as work:
            assert work.violations.purge(AT + 3 * DAY, 1) == 1
            assert work.violations.find("v-1") is None
            assert work.violations.purge(AT + 3 * DAY, 10) == 1
            assert work.violations.purge(AT + 3 * DAY, 10) == 0
            assert [v.id for v in work.violations.page(Query(sort="opened_at")).items] == ["v-0", "v-3"]


class TestReviews:
    def test_the_first_that_was_asked_for_comes_first(self, store: OpenWork) -> None:
        with store() as work:
            assert work.policy_reviews.claim() is None
            work.policy_reviews.ask(ReviewKind.AGENT, ["a-2", "a-1", "a-2"], AT + MINUTE)
            work.policy_reviews.ask(ReviewKind.SCOPE, ["pr-1"], AT)
            work.policy_reviews.ask(ReviewKind.OPEN, [], AT)
        with store() as work:
            work.policy_reviews.begin()
            assert work.policy_reviews.count() == 3
            first = work.policy_reviews.claim()
            assert first is not None
            assert (first.kind, first.subject_id, first.after, first.requested_at) == (
                ReviewKind.SCOPE,
                "pr-1",
                "",
                AT,
            )
            work.policy_reviews.finish(first)
            second = work.policy_reviews.claim()
            assert second is not None
            assert (second.kind, second.subject_id) == (ReviewKind.AGENT, "a-1")

    def test_a_review_goes_on_where_it_stopped_until_it_is_asked_for_again(self, store: OpenWork) -> None:
        with store() as work:
            work.policy_reviews.ask(ReviewKind.SCOPE, ["pr-1"], AT)
            work.policy_reviews.begin()
            claimed = work.policy_reviews.claim()
            assert claimed is not None
            work.policy_reviews.advance(evolve(claimed, after="mc-7"))
        with store() as work:
            assert work.policy_reviews.claim() == evolve(claimed, after="mc-7")
            work.policy_reviews.ask(ReviewKind.SCOPE, ["pr-1"], AT + HOUR)
        with store() as work:
            work.policy_reviews.begin()
            assert work.policy_reviews.claim() == claimed

    def test_a_review_has_to_begin_each_time_it_is_asked_for(self, store: OpenWork) -> None:
        with store() as work:
            assert not work.policy_reviews.waiting()
            work.policy_reviews.ask(ReviewKind.SCOPE, ["pr-1", "pr-2"], AT)
            assert work.policy_reviews.waiting()
            assert work.policy_reviews.claim() is None
        with store() as work:
            work.policy_reviews.begin()
            assert not work.policy_reviews.waiting()
        with store() as work:
            work.policy_reviews.ask(ReviewKind.SCOPE, ["pr-1"], AT)
            claimed = work.policy_reviews.claim()
            assert claimed is not None
            assert claimed.subject_id == "pr-2"
            assert work.policy_reviews.waiting()
            work.policy_reviews.finish(claimed)
            assert work.policy_reviews.claim() is None


class TestGroups:
    def test_memberships_are_kept_and_replaced(self, rich: OpenWork) -> None:
        out = facts.membership(membership_type=MembershipType.EXCLUDE, created_at=AT + HOUR)
        with rich() as work:
            work.agent_groups.put_membership(facts.membership("ag-1", "a-2"))
            work.agent_groups.put_membership(facts.membership("ag-2", "a-1"))
            work.agent_groups.put_membership(facts.membership())
        with rich() as work:
            work.agent_groups.put_membership(out)
        with rich() as work:
            assert list(work.agent_groups.memberships("ag-1")) == [out, facts.membership("ag-1", "a-2")]
            assert list(work.agent_groups.memberships_of(["a-1", "nobody"])) == [out, facts.membership("ag-2", "a-1")]
            work.agent_groups.remove_membership("ag-1", "a-1")
        with rich() as work:
            assert list(work.agent_groups.memberships("ag-1")) == [facts.membership("ag-1", "a-2")]
            with pytest.raises(NotFound, match="a-1"):
                work.agent_groups.remove_membership("ag-1", "a-1")

    @pytest.mark.parametrize(("group", "agent"), [("nobody", "a-1"), ("ag-1", "nobody")])
    def test_a_membership_of_nobody_is_refused(self, rich: OpenWork, group: str, agent: str) -> None:
        with pytest.raises(Invalid, match="nobody") as refused, rich() as work:
            work.agent_groups.put_membership(facts.membership(group, agent))
        assert [problem.field for problem in refused.value.fields] == [
            "agent_group_id" if group == "nobody" else "agent_id"
        ]

    def test_a_group_takes_its_memberships_with_it(self, rich: OpenWork) -> None:
        with rich() as work:
            work.agent_groups.put_membership(facts.membership())
            work.agent_groups.remove("ag-1")
        with rich() as work:
            work.agent_groups.add(facts.agent_group("ag-1"))
            assert list(work.agent_groups.memberships("ag-1")) == []

    def test_traits_are_of_agents_that_are_there(self, rich: OpenWork) -> None:
        with rich() as work:
            work.agents.add(
                facts.agent(
                    "a-0",
                    os="linux",
                    architecture="amd64",
                    ip_address="10.0.0.1",
                    version="1.2",
                    registered_at=AT + HOUR,
                )
            )
            work.agents.add(facts.agent("gone", retired_at=AT))
        with rich() as work:
            assert list(work.agents.traits()) == [
                AgentTraits(id="a-1"),
                AgentTraits(id="a-2"),
                AgentTraits(id="a-0", os="linux", architecture="amd64", ip_address="10.0.0.1", version="1.2"),
            ]


class TestCertificates:
    def test_those_whose_time_has_come_are_due(self, rich: OpenWork) -> None:
        def look_at(work: Work, number: int, at: datetime | None) -> None:
            work.certificates.save(evolve(work.certificates.get(f"mc-{number}"), next_policy_check_at=at))

        with rich() as work:
            look_at(work, 0, AT)
            look_at(work, 1, AT - HOUR)
            look_at(work, 2, AT + MINUTE)
        with rich() as work:
            assert [c.id for c in work.certificates.due_for_policy(AT, 10)] == ["mc-1", "mc-0"]
            assert [c.id for c in work.certificates.due_for_policy(AT, 1)] == ["mc-1"]

    def test_they_can_be_walked_through_by_id(self, rich: OpenWork) -> None:
        query = Query(sort="id", limit=3, count=False)
        with rich() as work:
            first = work.certificates.page(query)
            rest = work.certificates.page(evolve(query, after=("mc-2", "mc-2")))
        assert [c.id for c in first.items] == ["mc-0", "mc-1", "mc-2"]
        assert first.more
        assert [c.id for c in rest.items] == ["mc-3"]

    def test_validities_are_those_of_the_newest_versions(self, rich: OpenWork) -> None:
        with rich() as work:
            work.versions.add(facts.version("v-1", certificate_id="mc-0", generation=1))
            work.versions.add(facts.version("v-2", certificate_id="mc-0", generation=2, not_after=AT + DAY))
            work.versions.add(facts.version("v-3", certificate_id="mc-1", generation=1, agent_id="a-2"))
        with rich() as work:
            assert work.versions.validities(["mc-0", "mc-1", "mc-2", "mc-0"]) == {
                "mc-0": (AT, AT + DAY),
                "mc-1": (AT, AT + 90 * DAY),
            }
