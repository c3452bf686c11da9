"""Certificates and the policy rules in force: refused, recorded, opened and closed, and told of."""

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from certctl_core.errors import Conflict, Forbidden, Invalid, NotFound, Refused, StaleWrite, UpstreamUnavailable
from certctl_core.ids import OwnerId, PolicyRuleId, TeamId
from certctl_core.models.access import Principal, Role, Scope
from certctl_core.models.agents import MembershipType
from certctl_core.models.catalog import Team
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate, RevocationReason
from certctl_core.models.jobs import JobStatus
from certctl_core.models.policies import PolicyRule, PolicyType, PolicyViolation, Severity
from certctl_core.models.records import NotificationType
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import (
    agent_groups,
    agents,
    catalog,
    certificates,
    issuance,
    jobs,
    policies,
    renewal,
    reviews,
    violations,
)
from certctl_core.usecases import revocation as revocations
from tests.core.usecases.world import ADMIN, START, World, as_agent

DAY = timedelta(days=1)
CRITICAL = Severity.CRITICAL


def rule(world: World, kind: str = "AllowedEnvironments", identity: str = "pr-1", **fields: Any) -> PolicyRule:
    asked = policies.CreateRule(
        id=PolicyRuleId(identity), name=fields.pop("name", identity), type=PolicyType(kind), **fields
    )
    return policies.create(world.ports, ADMIN, asked)


def opened(world: World, **where: Any) -> list[PolicyViolation]:
    conditions = (Where("resolved_at", None), *(Where(name, value) for name, value in where.items()))
    return list(violations.page(world.ports, ADMIN, Query(conditions, sort="opened_at", limit=500)).items)


def every(world: World) -> list[PolicyViolation]:
    return list(violations.page(world.ports, ADMIN, Query(sort="opened_at", limit=500)).items)


def change(world: World, certificate: ManagedCertificate, **fields: Any) -> ManagedCertificate:
    return certificates.update(world.ports, ADMIN, certificate.id, certificates.UpdateCertificate(**fields))


def notifications(world: World) -> list[tuple[str, str | None, str]]:
    with world.ports.work() as work:
        owed = work.notifications.page(Query((Where("type", NotificationType.POLICY_VIOLATION),), limit=500)).items
    return [(one.recipient, one.certificate_id, one.message) for one in owed]


class TestWrites:
    def test_without_rules_nothing_is_found(self, world: World) -> None:
        world.certificate()
        assert every(world) == []

    def test_what_breaks_a_rule_is_recorded_audited_and_told_to_the_owner(self, world: World) -> None:
        rule(world, name="environments", severity=Severity.ERROR)
        certificate = world.certificate()
        (found,) = opened(world)
        assert (found.certificate_id, found.rule_id, found.severity) == (certificate.id, "pr-1", Severity.ERROR)
        assert (found.message, found.opened_at, found.resolved_at) == ("it has no environment", START, None)
        assert world.actions()[-2:] == ["certificate_created", "policy_violation_detected"]
        ((recipient, about, message),) = notifications(world)
        assert (recipient, about) == ("olga@example.com", certificate.id)
        said = "The certificate site (site.example.com) breaks the policy rule environments (Error): "
        assert message.startswith(said + "it has no environment.")

    def test_an_owner_without_an_address_is_told_by_id(self, world: World) -> None:
        catalog.create_owner(world.ports, ADMIN, catalog.CreateOwner(id=OwnerId("o-2"), name="Otto"))
        rule(world)
        certificate = world.certificate()
        change(world, certificate, environment="production")
        change(world, certificate, owner_id=OwnerId("o-2"))
        rule(world, "RequiredMetadata", "pr-2")
        reviews.sweep(world.ports)
        assert [recipient for recipient, _, _ in notifications(world)] == ["olga@example.com", "o-2"]

    def test_what_is_mended_is_closed_and_audited(self, world: World) -> None:
        rule(world)
        certificate = world.certificate()
        world.clock.advance(DAY)
        change(world, certificate, environment="production")
        assert opened(world) == []
        (closed,) = every(world)
        assert (closed.opened_at, closed.resolved_at) == (START, START + DAY)
        assert world.actions()[-1] == "policy_violation_resolved"

    def test_what_stays_wrong_stays_one_violation(self, world: World) -> None:
        rule(world, config={"allowed": ["production"]})
        certificate = world.certificate()
        (before,) = opened(world)
        change(world, certificate, environment="test")
        (after,) = opened(world)
        assert (after.id, after.opened_at) == (before.id, before.opened_at)
        assert after.message == "environment test is not one of production"
        assert len(notifications(world)) == 1
        assert world.actions().count("policy_violation_detected") == 1

    def test_what_is_wrong_again_is_a_new_violation(self, world: World) -> None:
        rule(world, "RequiredMetadata", config={"required_keys": ["cost-centre"]})
        certificate = world.certificate()
        change(world, certificate, tags={"cost-centre": "1"})
        change(world, certificate, tags={})
        assert len(every(world)) == 2
        assert len(opened(world)) == 1

    def test_a_critical_rule_refuses_the_write_and_every_reason_is_named(self, world: World) -> None:
        rule(world, identity="pr-env", name="environments", severity=CRITICAL)
        rule(world, "RequiredMetadata", "pr-tags", name="tags", severity=CRITICAL, config={"required_keys": ["a", "b"]})
        rule(world, "AllowedIssuers", "pr-iss", config={"allowed_issuer_ids": ["iss-other"]})
        with pytest.raises(Refused) as refused:
            world.certificate()
        assert refused.value.reasons == (
            "policy rule environments (pr-env): it has no environment",
            "policy rule tags (pr-tags): missing or empty: a, b",
        )
        assert all(reason in refused.value.message for reason in refused.value.reasons)
        with pytest.raises(NotFound):
            certificates.get(world.ports, ADMIN, "mc-site")
        assert every(world) == []
        assert notifications(world) == []

    def test_a_critical_rule_refuses_a_change_and_leaves_what_was(self, world: World) -> None:
        certificate = world.certificate()
        rule(
            world,
            "AllowedDomains",
            severity=CRITICAL,
            config={"allowed_domains": ["*.example.com", "*.site.example.com"]},
        )
        with pytest.raises(Refused, match=r"not within the allowed domains: www\.evil\.com"):
            change(world, certificate, sans=("www.evil.com",), environment="production")
        assert world.now_is(certificate).environment == ""
        assert change(world, certificate, environment="production").environment == "production"

    def test_a_rule_about_time_refuses_no_write(self, world: World) -> None:
        """To refuse the change that would have it renewed would make it worse."""
        agent = world.agent()
        certificate = world.certificate(world.target(agent))
        world.issued(certificate, agent)
        rule(world, "RenewalLeadTime", severity=CRITICAL, config={"lead_time_days": 365})
        rule(world, "CertificateLifetime", "pr-2", severity=CRITICAL, config={"max_days": 10})
        change(world, certificate, environment="production")
        assert {one.rule_id for one in opened(world)} == {"pr-1", "pr-2"}

    def test_what_is_archived_or_revoked_breaks_no_rule(self, world: World) -> None:
        agent = world.agent()
        archived = world.certificate(name="a")
        revoked = world.certificate(world.target(agent), name="b")
        world.issued(revoked, agent)
        rule(world)
        reviews.sweep(world.ports)
        assert len(opened(world)) == 2
        certificates.archive(world.ports, ADMIN, archived.id)
        revocations.revoke(world.ports, ADMIN, revoked.id, RevocationReason.SUPERSEDED)
        assert reviews.sweep(world.ports) == 2
        assert opened(world) == []
        assert reviews.sweep(world.ports) == 0
        assert world.now_is(revoked).status is CertificateStatus.REVOKED


class TestIssuing:
    def test_what_a_critical_rule_forbids_is_not_signed_and_the_job_says_why(self, world: World) -> None:
        agent = world.agent()
        certificate = world.certificate(world.target(agent))
        rule(world, "CertificateLifetime", name="short", severity=CRITICAL, config={"max_days": 47})
        renewal.renew(world.ports, ADMIN, certificate.id)
        with pytest.raises(Refused, match="longer than 47 days"):
            world.submit(certificate, agent)
        assert world.ca.requests == []
        (job,) = world.jobs(JobStatus.FAILED)
        assert "policy rule short (pr-1)" in job.last_error
        assert world.now_is(certificate).status is CertificateStatus.FAILED

    def test_what_is_signed_is_judged_by_names_and_issuer_too(self, world: World) -> None:
        agent = world.agent()
        certificate = world.certificate(world.target(agent))
        rule(world, "AllowedDomains", severity=CRITICAL, config={"allowed_domains": ["site.example.com"]})
        renewal.renew(world.ports, ADMIN, certificate.id)
        with pytest.raises(Refused, match=r"www\.site\.example\.com"):
            world.submit(certificate, agent)
        assert world.ca.requests == []

    def test_a_rule_that_is_not_critical_is_recorded_when_it_is_issued(self, world: World) -> None:
        agent = world.agent()
        certificate = world.certificate(world.target(agent))
        rule(world, "CertificateLifetime", config={"max_days": 47})
        world.issued(certificate, agent)
        (found,) = opened(world)
        assert found.message == "its life of 90 days is longer than 47 days"

    def test_of_a_batch_only_what_is_refused_fails(self, world: World) -> None:
        agent = world.agent()
        target = world.target(agent)
        good, bad = world.certificate(target, name="good"), world.certificate(target, name="bad")
        allowed = ["*.example.com", "*.good.example.com"]
        rule(world, "AllowedDomains", severity=CRITICAL, config={"allowed_domains": allowed})
        asked = []
        for certificate in (bad, good):
            renewal.renew(world.ports, ADMIN, certificate.id)
            csr = world.csr(certificate, certificate.name)
            asked.append(issuance.SubmitCsr(agent_id=agent.id, certificate_id=certificate.id, csr=csr))
        refused, submitted = issuance.submit_csrs(world.ports, as_agent(agent), agent.id, asked)
        assert isinstance(refused, Refused)
        assert isinstance(submitted, issuance.Submitted)
        assert submitted.version is not None
        assert [world.now_is(one).status for one in (bad, good)] == [CertificateStatus.FAILED, CertificateStatus.ACTIVE]
        assert len(world.ca.requests) == 1

    def test_a_rule_that_came_while_the_ca_was_away_is_asked_again(self, world: World) -> None:
        agent = world.agent()
        certificate = world.certificate(world.target(agent))
        world.ca.trouble = UpstreamUnavailable("away")
        world.issued(certificate, agent)
        world.ca.trouble = None
        rule(world, "CertificateLifetime", severity=CRITICAL, config={"max_days": 1})
        world.clock.advance(DAY)
        jobs.retry_due(world.ports)
        issuance.process_due(world.ports)
        assert len(world.ca.requests) == 1  # the one that was not answered
        (job,) = world.jobs(JobStatus.FAILED)
        assert "longer than 1 day" in job.last_error

    def test_a_rule_about_the_end_never_refuses_to_issue(self, world: World) -> None:
        agent = world.agent()
        certificate = world.certificate(world.target(agent))
        rule(world, "RenewalLeadTime", severity=CRITICAL, config={"lead_time_days": 365})
        assert world.issued(certificate, agent).version is not None
        assert len(opened(world)) == 1


class TestTime:
    def test_a_certificate_is_looked_at_when_time_changes_the_answer_and_not_before(self, world: World) -> None:
        rule(world, "RenewalLeadTime", config={"lead_time_days": 14})
        agent = world.agent()
        certificate = world.certificate(world.target(agent))
        world.issued(certificate, agent)
        assert reviews.sweep(world.ports) == 1  # the review that the rule began
        ends = world.now_is(certificate).expires_at
        assert ends is not None
        assert world.now_is(certificate).next_policy_check_at == ends - 14 * DAY + timedelta(microseconds=1)
        world.clock.advance(70 * DAY)
        assert reviews.sweep(world.ports) == 0
        world.clock.advance(10 * DAY)
        assert reviews.sweep(world.ports) == 1
        (found,) = opened(world)
        assert found.message == f"it ends on {ends:%Y-%m-%d}, and was to be renewed 14 days before that"
        assert reviews.sweep(world.ports) == 0
        world.clock.advance(20 * DAY)
        assert reviews.sweep(world.ports) == 1
        assert opened(world) == []
        assert world.now_is(certificate).next_policy_check_at is None

    def test_a_renewal_closes_what_was_late(self, world: World) -> None:
        rule(world, "RenewalLeadTime", config={"lead_time_days": 14})
        agent = world.agent()
        certificate = world.certificate(world.target(agent))
        world.issued(certificate, agent)
        world.clock.advance(80 * DAY)
        reviews.sweep(world.ports)
        assert len(opened(world)) == 1
        world.issued(certificate, agent, "another key")
        assert opened(world) == []
        assert world.now_is(certificate).next_policy_check_at is not None


class TestRules:
    def test_a_new_rule_leads_to_everything_it_is_about(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reviews, "BATCH", 3)
        for number in range(10):
            world.certificate(name=f"site-{number}")
        rule(world)
        assert opened(world) == []  # recording the rule costs the same however many there are
        assert reviews.sweep(world.ports) == 10
        assert len(opened(world)) == 10
        assert reviews.sweep(world.ports) == 0

    def test_a_rule_that_changes_or_goes_closes_and_rewords_what_it_opened(self, world: World) -> None:
        certificate = world.certificate()
        rule(world, config={"allowed": ["production"]})
        reviews.sweep(world.ports)
        policies.update(world.ports, ADMIN, "pr-1", policies.UpdateRule(severity=Severity.ERROR))
        reviews.sweep(world.ports)
        assert [one.severity for one in opened(world)] == [Severity.ERROR]
        policies.update(world.ports, ADMIN, "pr-1", policies.UpdateRule(enabled=False))
        reviews.sweep(world.ports)
        assert opened(world) == []
        policies.update(world.ports, ADMIN, "pr-1", policies.UpdateRule(enabled=True))
        reviews.sweep(world.ports)
        assert len(opened(world)) == 1
        policies.delete(world.ports, ADMIN, "pr-1")
        reviews.sweep(world.ports)
        assert opened(world) == []
        assert len(every(world)) == 2  # what was, stays on record
        assert world.now_is(certificate).revision == certificate.revision

    def test_a_rule_is_about_teams_and_environments(self, world: World) -> None:
        with world.ports.work() as work:
            work.teams.add(Team(id=TeamId("team-2"), name="two", created_at=START, updated_at=START))
        ours, theirs = world.certificate(name="ours"), world.certificate(name="theirs")
        change(world, theirs, team_id=TeamId("team-2"))
        rule(world, "RequiredMetadata", team_ids=(TeamId("team-2"),), environments=("", "test"))
        reviews.sweep(world.ports)
        assert [one.certificate_id for one in opened(world)] == [theirs.id]
        change(world, ours, team_id=TeamId("team-2"), environment="production")
        assert [one.certificate_id for one in opened(world)] == [theirs.id]
        policies.update(world.ports, ADMIN, "pr-1", policies.UpdateRule(environments=("production",)))
        reviews.sweep(world.ports)
        assert [one.certificate_id for one in opened(world)] == [ours.id]

    def test_a_change_of_name_leads_to_no_review(self, world: World) -> None:
        rule(world)
        reviews.sweep(world.ports)
        policies.update(world.ports, ADMIN, "pr-1", policies.UpdateRule(name="other"))
        with world.ports.work() as work:
            assert work.policy_reviews.count() == 0

    def test_a_review_goes_on_where_it_was_cut_off(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reviews, "BATCH", 2)
        monkeypatch.setattr(reviews, "PATIENCE", timedelta(microseconds=-1))  # one step a run
        for number in range(6):
            world.certificate(name=f"site-{number}")
        rule(world)
        steps = [reviews.sweep(world.ports) for _ in range(6)]
        assert (sum(steps), max(steps)) == (6, 2)
        assert len(opened(world)) == 6

    def test_many_violations_of_one_rule_are_told_once(self, world: World) -> None:
        for number in range(20):
            world.certificate(name=f"site-{number:02}")
        rule(world, name="environments")
        reviews.sweep(world.ports)
        assert len(opened(world)) == 20
        ((recipient, certificate, message),) = notifications(world)
        assert (recipient, certificate) == ("olga@example.com", "mc-site-00")
        assert "it has no environment. So do 19 other certificates." in message

    def test_everything_done_to_rules_is_audited(self, world: World) -> None:
        rule(world)
        policies.update(world.ports, ADMIN, "pr-1", policies.UpdateRule(config={"allowed": ["a"]}))
        policies.delete(world.ports, ADMIN, "pr-1")
        assert world.actions()[-3:] == ["policy_rule_created", "policy_rule_updated", "policy_rule_deleted"]

    def test_what_is_wrong_with_a_rule_is_named_at_once(self, world: World) -> None:
        asked = policies.CreateRule(
            id=PolicyRuleId("no id"),
            name=" ",
            type=PolicyType.ALLOWED_DOMAINS,
            config={"allowed_domains": ["a b"]},
            team_ids=(TeamId("t"),) * 1001,
        )
        with pytest.raises(Invalid) as refused:
            policies.create(world.ports, ADMIN, asked)
        named = {problem.field for problem in refused.value.fields}
        assert named == {"id", "name", "config.allowed_domains[0]", "team_ids"}

    def test_a_new_type_needs_settings_of_its_own(self, world: World) -> None:
        rule(world, config={"allowed": ["a"]})
        with pytest.raises(Invalid, match=r"config\.allowed: is not a setting of CertificateLifetime"):
            policies.update(world.ports, ADMIN, "pr-1", policies.UpdateRule(type=PolicyType.CERTIFICATE_LIFETIME))

    def test_settings_that_we_never_wrote_stand_in_the_way_by_name(self, world: World) -> None:
        made = rule(world)
        with world.ports.work() as work:
            work.policy_rules.save(evolve(made, config={"allowed": 7}))
        with pytest.raises(Conflict, match="policy rule pr-1 cannot be judged by"):
            world.certificate()

    def test_of_two_who_change_a_rule_at_once_one_wins(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        made = rule(world)
        original = policies.must_be_sound

        def while_another_changes_it(*asked: Any) -> None:
            monkeypatch.setattr(policies, "must_be_sound", original)
            policies.update(world.ports, ADMIN, made.id, policies.UpdateRule(name="theirs"))

        monkeypatch.setattr(policies, "must_be_sound", while_another_changes_it)
        with pytest.raises(StaleWrite):
            policies.update(world.ports, ADMIN, made.id, policies.UpdateRule(name="ours"))
        assert policies.get(world.ports, ADMIN, made.id).name == "theirs"

    def test_old_violations_are_forgotten(self, world: World) -> None:
        rule(world)
        certificate = world.certificate()
        change(world, certificate, environment="production")
        world.clock.advance(100 * DAY)
        assert violations.purge(world.ports, 101 * DAY) == 0
        assert violations.purge(world.ports, 99 * DAY) == 1
        assert every(world) == []


class TestGroups:
    def group(self, world: World, **fields: Any) -> str:
        asked = agent_groups.CreateGroup(name="edge", **{"match_os": "linux"} | fields)
        return agent_groups.create(world.ports, ADMIN, asked).id

    def beat(self, world: World, agent: Any, **fields: Any) -> None:
        agents.heartbeat(world.ports, as_agent(agent), agent.id, agents.Heartbeat(**fields))

    def test_a_rule_follows_agents_into_and_out_of_its_groups(self, world: World) -> None:
        agent = world.agent()
        certificate = world.certificate(world.target(agent))
        group = self.group(world)
        rule(world, agent_group_ids=(group,))
        reviews.sweep(world.ports)
        assert opened(world) == []
        self.beat(world, agent, os="linux")
        reviews.sweep(world.ports)
        assert [one.certificate_id for one in opened(world)] == [certificate.id]
        agent_groups.put_member(world.ports, ADMIN, group, agent.id, MembershipType.EXCLUDE)
        reviews.sweep(world.ports)
        assert opened(world) == []
        agent_groups.remove_member(world.ports, ADMIN, group, agent.id)
        reviews.sweep(world.ports)
        assert len(opened(world)) == 1
        agent_groups.update(world.ports, ADMIN, group, agent_groups.UpdateGroup(match_os="windows"))
        reviews.sweep(world.ports)
        assert opened(world) == []

    def test_a_certificate_is_in_the_groups_of_all_who_deploy_it(self, world: World) -> None:
        linux, windows = world.agent("linux"), world.agent("windows")
        self.beat(world, linux, os="linux")
        group = self.group(world)
        rule(world, agent_group_ids=(group,))
        certificate = world.certificate(world.target(windows))
        assert opened(world) == []
        target = world.target(linux, "other")
        change(world, certificate, target_ids=(*certificate.target_ids, target.id))
        assert len(opened(world)) == 1
        catalog.update_target(world.ports, ADMIN, target.id, catalog.UpdateTarget(agent_id=windows.id))
        reviews.sweep(world.ports)
        assert opened(world) == []

    def test_what_a_retired_agent_deployed_leaves_its_groups(self, world: World) -> None:
        agent = world.agent()
        self.beat(world, agent, os="linux")
        rule(world, agent_group_ids=(self.group(world),))
        world.certificate(world.target(agent))
        assert len(opened(world)) == 1
        agents.retire(world.ports, ADMIN, agent.id, force=True, reason="gone")
        reviews.sweep(world.ports)
        assert opened(world) == []

    def test_a_heartbeat_that_says_nothing_new_leads_to_nothing(self, world: World) -> None:
        agent = world.agent()
        rule(world, agent_group_ids=(self.group(world),))
        self.beat(world, agent, os="linux")
        reviews.sweep(world.ports)
        self.beat(world, agent, os="linux")
        with world.ports.work() as work:
            assert work.policy_reviews.count() == 0

    def test_without_rules_about_groups_agents_lead_to_nothing(self, world: World) -> None:
        agent = world.agent()
        world.certificate(world.target(agent))
        rule(world)
        reviews.sweep(world.ports)
        self.beat(world, agent, os="linux")
        assert reviews.sweep(world.ports) == 0
        with world.ports.work() as work:
            assert work.policy_reviews.count() == 0


class TestReach:
    LIMITED = Principal("lena", Role.OPERATOR, scope=Scope(team_ids=frozenset({TeamId("team-1")})))

    def test_a_limited_key_sees_violations_of_what_it_sees(self, world: World) -> None:
        with world.ports.work() as work:
            work.teams.add(Team(id=TeamId("team-2"), name="two", created_at=START, updated_at=START))
        rule(world)
        ours, theirs = world.certificate(name="ours"), world.certificate(name="theirs")
        change(world, theirs, team_id=TeamId("team-2"))
        seen = violations.page(world.ports, self.LIMITED, Query(sort="opened_at"))
        assert ([one.certificate_id for one in seen.items], seen.total) == ([ours.id], 1)
        of_rule = violations.page_of_rule(world.ports, self.LIMITED, "pr-1", Query(sort="opened_at"))
        assert [one.certificate_id for one in of_rule.items] == [ours.id]
        with pytest.raises(NotFound):
            violations.page_of_rule(world.ports, self.LIMITED, "pr-2", Query(sort="opened_at"))

    def test_a_limited_key_makes_rules_within_its_limits_only(self, world: World) -> None:
        def asked(**about: Any) -> policies.CreateRule:
            return policies.CreateRule(name="rule", type=PolicyType.ALLOWED_ISSUERS, **about)

        for about in ({}, {"team_ids": (TeamId("team-1"), TeamId("team-2"))}, {"environments": ("production",)}):
            with pytest.raises(Forbidden, match="about more than it reaches"):
                policies.create(world.ports, self.LIMITED, asked(**about))
        made = policies.create(world.ports, self.LIMITED, asked(team_ids=(TeamId("team-1"),)))
        with pytest.raises(Forbidden):
            policies.update(world.ports, self.LIMITED, made.id, policies.UpdateRule(team_ids=()))
        policies.delete(world.ports, self.LIMITED, made.id)

    def test_a_limited_key_touches_no_rule_about_others(self, world: World) -> None:
        made = rule(world)
        with pytest.raises(Forbidden):
            policies.update(world.ports, self.LIMITED, made.id, policies.UpdateRule(team_ids=(TeamId("team-1"),)))
        with pytest.raises(Forbidden):
            policies.delete(world.ports, self.LIMITED, made.id)
        assert policies.get(world.ports, ADMIN, made.id) == made

    def test_a_limited_key_changes_no_groups(self, world: World) -> None:
        with pytest.raises(Forbidden, match="agent groups are about all"):
            agent_groups.create(world.ports, self.LIMITED, agent_groups.CreateGroup(name="edge"))
