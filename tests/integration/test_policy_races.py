"""Policy rules on PostgreSQL while everybody changes everything: rules, groups, agents and certificates.

Whatever the order of events, when the sweep has caught up the violations that are open are exactly those that judging
every certificate by the present rules would find, and each was opened once.
"""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from attrs import evolve

from certctl_adapters.postgres.work import Patience, PostgresWork, open_pool
from certctl_core.errors import CertctlError, Conflict, Duplicate, NotFound, StaleWrite
from certctl_core.ids import AgentGroupId, CertificateId, IssuerId, OwnerId, PolicyRuleId, RenewalPolicyId, TeamId
from certctl_core.models.agents import MembershipType
from certctl_core.models.policies import PolicyType, Severity
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import agent_groups, agents, certificates, compliance, policies, reviews
from tests.core.usecases.world import ADMIN, World, as_agent, make_world

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

TURNS = 80
THREADS = 6
EXPECTED = (Conflict, StaleWrite, NotFound, Duplicate)


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    patience = Patience(lock=timedelta(seconds=30))
    with open_pool(database_url, size=THREADS + 1, patience=patience) as pool:
        yield make_world(PostgresWork(pool))


class Crowd:
    """Three certificates on two agents, four rules, a group, and what anybody may do to them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.agents = [world.agent("one"), world.agent("two")]
        self.targets = [world.target(agent) for agent in self.agents]
        for number in range(3):
            world.certificate(*self.targets[: number % 2 + 1], name=f"site-{number}")
        self.group = agent_groups.create(
            world.ports, ADMIN, agent_groups.CreateGroup(id=AgentGroupId("ag-1"), name="edge", match_os="linux")
        )
        self.accidents: list[Exception] = []

    def acts(self, chance: random.Random) -> Callable[[], object]:
        ports, agent = self.world.ports, chance.choice(self.agents)
        certificate = f"mc-site-{chance.randrange(3)}"
        environment = chance.choice(["", "production", "test"])
        tags = chance.choice([{}, {"a": "1"}])
        rule = f"pr-{chance.randrange(4)}"
        return chance.choice(
            [
                lambda: certificates.update(
                    ports, ADMIN, certificate, certificates.UpdateCertificate(environment=environment, tags=tags)
                ),
                lambda: self.create(chance),
                lambda: self.make(rule, chance),
                lambda: policies.update(
                    ports,
                    ADMIN,
                    rule,
                    policies.UpdateRule(config=self.config(rule, chance), enabled=chance.random() < 0.7),
                ),
                lambda: policies.delete(ports, ADMIN, rule),
                lambda: agents.heartbeat(
                    ports, as_agent(agent), agent.id, agents.Heartbeat(os=chance.choice(["linux", "windows"]))
                ),
                lambda: agent_groups.put_member(ports, ADMIN, "ag-1", agent.id, chance.choice(list(MembershipType))),
                lambda: agent_groups.remove_member(ports, ADMIN, "ag-1", agent.id),
                lambda: agent_groups.update(
                    ports, ADMIN, "ag-1", agent_groups.UpdateGroup(match_os=chance.choice(["linux", "windows", ""]))
                ),
                lambda: certificates.archive(ports, ADMIN, f"mc-new-{chance.randrange(40)}"),
                lambda: reviews.sweep(ports),
                lambda: reviews.sweep(ports),
            ]
        )

    def create(self, chance: random.Random) -> None:
        name = f"new-{chance.randrange(40)}"
        asked = certificates.CreateCertificate(
            id=CertificateId(f"mc-{name}"),
            name=name,
            common_name=f"{name}.example.com",
            owner_id=OwnerId("owner-1"),
            team_id=TeamId("team-1"),
            issuer_id=IssuerId("iss-local"),
            renewal_policy_id=RenewalPolicyId("rp-test"),
            target_ids=tuple(target.id for target in self.targets if chance.random() < 0.5),
            environment=chance.choice(["", "production"]),
        )
        certificates.create(self.world.ports, ADMIN, asked)

    def make(self, rule: str, chance: random.Random) -> None:
        asked = policies.CreateRule(
            id=PolicyRuleId(rule),
            name=rule,
            type=self.kind(rule),
            config=self.config(rule, chance),
            severity=chance.choice([Severity.WARNING, Severity.ERROR]),
            environments=("", "production") if chance.random() < 0.3 else (),
            agent_group_ids=(AgentGroupId("ag-1"),) if chance.random() < 0.5 else (),
        )
        policies.create(self.world.ports, ADMIN, asked)

    def kind(self, rule: str) -> PolicyType:
        return PolicyType.ALLOWED_ENVIRONMENTS if rule < "pr-2" else PolicyType.REQUIRED_METADATA

    def config(self, rule: str, chance: random.Random) -> dict[str, list[str]]:
        if self.kind(rule) is PolicyType.ALLOWED_ENVIRONMENTS:
            return {"allowed": [chance.choice(["production", "test"])]}
        return {"required_keys": [chance.choice(["a", "b"])]}

    def run(self, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        for _ in range(TURNS):
            try:
                self.acts(chance)()
            except EXPECTED:
                pass
            except CertctlError as error:
                self.accidents.append(error)


def found(world: World) -> set[tuple[str, str, str, str]]:
    """What judging everything now finds."""
    with world.ports.work() as work:
        every = work.certificates.page(Query(sort="id", limit=500)).items
        judged = compliance.judge(work, compliance.in_force(work), every, world.clock.now())
    return {
        (certificate, one.rule.id, one.message, one.rule.severity.value)
        for certificate, findings in judged.findings.items()
        for one in findings
    }


@pytest.mark.parametrize("seed", range(4))
def test_when_the_sweep_has_caught_up_exactly_what_is_wrong_is_open(world: World, seed: int) -> None:
    crowd = Crowd(world)
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(crowd.run, range(seed * THREADS, (seed + 1) * THREADS)))
    assert crowd.accidents == []
    reviews.sweep(world.ports)
    with world.ports.work() as work:
        assert work.policy_reviews.count() == 0
        open_ones = work.violations.page(Query((Where("resolved_at", None),), sort="opened_at", limit=500)).items
        every = work.violations.page(Query(sort="opened_at", limit=500)).total
        actions = [
            work.audit.page(Query((Where("action", f"policy_violation_{what}"),), sort="timestamp", limit=1)).total
            for what in ("detected", "resolved")
        ]
    shown = {(v.certificate_id, v.rule_id, v.message, v.severity.value) for v in open_ones}
    assert shown == found(world)
    assert actions == [every, every - len(open_ones)]
    assert reviews.sweep(world.ports) == 0


def test_a_review_waits_for_who_began_to_judge_before_the_change(world: World, database_url: str) -> None:
    """A certificate that is being made while a rule is made is not seen by it, nor sees it."""
    made = world.certificate(name="first")
    late = evolve(made, id=CertificateId("mc-late"), name="late", revision=1)
    rule = policies.CreateRule(id=PolicyRuleId("pr-1"), name="tags", type=PolicyType.REQUIRED_METADATA)

    def blocked() -> bool:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        with psycopg.connect(database_url) as admin:
            return admin.execute(waiting).fetchone() == (1,)

    with ThreadPoolExecutor(1) as threads:
        with world.ports.work() as work:
            judged = compliance.admit(work, late, world.clock.now())
            work.certificates.add(judged.certificate)
            policies.create(world.ports, ADMIN, rule)  # waits for nobody
            sweeping = threads.submit(reviews.sweep, world.ports)
            end = time.monotonic() + 20
            while not blocked():
                assert not sweeping.done(), "the review did not wait"
                assert time.monotonic() < end, "the review never came"
            compliance.record(work, ADMIN, judged)
        assert sweeping.result(20) == 2
    with world.ports.work() as work:
        assert {v.certificate_id for v in work.violations.open_of([made.id, late.id])} == {made.id, late.id}
