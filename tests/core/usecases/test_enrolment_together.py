"""Devices that ask at the same time go through together, and each as it would alone."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from attrs import define, evolve, field
from cryptography import x509

from certctl_core.errors import CertctlError, NotAuthenticated, Refused
from certctl_core.ids import PolicyRuleId
from certctl_core.models.certificates import CertificateStatus, CertificateVersion
from certctl_core.models.policies import PolicyRule, PolicyType, Severity
from certctl_core.ports.store import Query
from certctl_core.ports.world import Together
from certctl_core.usecases import certificates, enrolment, issuance, jobs
from certctl_core.usecases.enrolment import Client, Enrolled
from tests.core.usecases.test_enrolment import (
    ADMIN,
    CLIENT,
    Crash,
    asked,
    calm,
    crash_at,
    enrol,
    holder,
    issued,
    profile,
    request,
    secret,
)
from tests.core.usecases.world import World


@define
class OneGroup(Together):
    """Waits until so many have come, and does them as one."""

    size: int
    items: list[Any] = field(factory=list)
    outcomes: list[Any] = field(factory=list)
    condition: threading.Condition = field(factory=threading.Condition)

    def ask(self, line: str, do: Callable[[Sequence[Any]], Sequence[Any]], item: Any, /) -> Any:
        if line != "enrolments":
            (outcome,) = do([item])
            return outcome
        with self.condition:
            place = len(self.items)
            self.items.append(item)
            if len(self.items) == self.size:
                self.outcomes += do(self.items)
                self.condition.notify_all()
            assert self.condition.wait_for(lambda: self.outcomes, timeout=20)
            return self.outcomes[place]


def all_at_once(world: World, *wishes: tuple[Client, enrolment.Enrol]) -> list[Enrolled | BaseException]:
    in_line = [wish for _, wish in wishes if wish.renews is None]
    ports = evolve(world.ports, together=OneGroup(len(in_line)))

    def ask(wish: tuple[Client, enrolment.Enrol]) -> Enrolled | BaseException:
        try:
            return enrolment.enrol(ports, *wish)
        except (CertctlError, Crash) as problem:
            return problem

    with ThreadPoolExecutor(len(wishes)) as threads:
        found = [threads.submit(ask, wish) for wish in wishes]
        return [one.result(20) for one in found]


def version_of(outcome: Enrolled | BaseException) -> CertificateVersion:
    assert isinstance(outcome, Enrolled), outcome
    assert outcome.version is not None
    return outcome.version


def test_each_gets_what_it_would_have_got_alone(world: World) -> None:
    earlier = issued(world, request(world, key="earlier"))
    used = holder(secret(world))
    enrol(world, request(world, key="used"), used)
    shared = holder(secret(world, single_use=False))
    bound = holder(secret(world, single_use=False, common_name="other.example.com"))
    one_time = holder(secret(world))
    authority = request(world, "ca.example.com", x509.BasicConstraints(ca=True, path_length=None), key="ca")

    outcomes = all_at_once(
        world,
        (CLIENT, asked(request(world, "a.example.com", key="a"))),
        (shared, asked(request(world, "b.example.com", key="b"))),
        (CLIENT, asked(request(world, key="earlier"))),
        (CLIENT, asked(request(world, key="renewed"), renews=earlier)),
        (used, asked(request(world, "c.example.com", key="c"))),
        (one_time, asked(request(world, "d.example.com", key="d"))),
        (bound, asked(request(world, "e.example.com", key="e"))),
        (CLIENT, asked(authority)),
        (CLIENT, asked(request(world, "a.example.com", key="a"))),
    )

    first, shared_one, again, renewed, used_up, one_timer, elsewhere, no_ca, repeated = outcomes
    assert version_of(again) == earlier
    assert version_of(renewed).certificate_id == earlier.certificate_id
    assert version_of(renewed).generation == 2
    assert isinstance(used_up, NotAuthenticated)
    assert isinstance(elsewhere, Refused)
    assert isinstance(no_ca, Refused)
    twins = [one.version for one in (first, repeated) if isinstance(one, Enrolled)]
    assert len(twins) == 2
    made = {each.serial_number for each in twins if each is not None}
    assert len(made) == 1, "whichever came second is told to come back, or what came of the first"
    assert len(made | {version_of(one).serial_number for one in (shared_one, one_timer)}) == 3
    active = certificates.page(world.ports, ADMIN, Query()).items
    assert {one.status for one in active} == {CertificateStatus.ACTIVE}
    assert len(active) == 5


def test_a_rule_and_a_profile_refuse_one_and_let_the_others_through(world: World) -> None:
    limited = profile(world, required_san_patterns=(r"[a-z]\.example\.com",))
    now = world.clock.now()
    rule = PolicyRule(
        id=PolicyRuleId("pr-1"),
        name="domains",
        type=PolicyType.ALLOWED_DOMAINS,
        config={"allowed_domains": ["a.example.com", "b.example.com", "*.example.org"]},
        severity=Severity.CRITICAL,
        created_at=now,
        updated_at=now,
    )
    with world.ports.work() as work:
        work.policy_rules.add(rule)

    outcomes = all_at_once(
        world,
        *(
            (CLIENT, asked(request(world, name, key=name), profile_id=limited))
            for name in ("a.example.com", "b.example.com", "c.example.com", "x.example.org")
        ),
    )

    by_name = {outcome.certificate.common_name if isinstance(outcome, Enrolled) else "refused" for outcome in outcomes}
    assert by_name == {"a.example.com", "b.example.com", "refused"}
    assert len(certificates.page(world.ports, ADMIN, Query()).items) == 2
    assert len(world.jobs()) == 2


@pytest.mark.parametrize("point", ["issue:1", "issue:2", "record:1"])
def test_a_crash_loses_and_doubles_none_of_them(world: World, point: str) -> None:
    wishes = [(CLIENT, asked(request(world, f"{name}.example.com", key=name))) for name in "abcd"]
    crash_at(world, point)
    assert all(isinstance(one, Crash) for one in all_at_once(world, *wishes))
    calm(world)

    world.clock.advance(world.ports.lease + timedelta(seconds=1))
    jobs.release_lapsed(world.ports)
    issuance.process_due(world.ports)

    versions = [version_of(one) for one in all_at_once(world, *wishes)]
    assert len({version.serial_number for version in versions}) == 4
    assert len({one.plan.serial_number for one in world.ca.requests}) == 4
