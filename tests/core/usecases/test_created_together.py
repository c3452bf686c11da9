"""Certificates that are put under management at the same time: together, and each as it would be alone."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, evolve, field

from certctl_core.errors import CertctlError, Duplicate, Invalid, Refused
from certctl_core.ids import CertificateId, IssuerId, OwnerId, PolicyRuleId, RenewalPolicyId, TeamId
from certctl_core.models.access import Principal, Role, Scope
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.policies import PolicyRule, PolicyType, Severity
from certctl_core.ports.store import Query
from certctl_core.ports.world import Together
from certctl_core.usecases import certificates
from certctl_core.usecases.certificates import CreateCertificate
from tests.core.usecases.world import ADMIN, World

Wish = tuple[Principal, CreateCertificate]


@define
class Gathered(Together):
    """Takes down what is asked for, and does nothing."""

    do: Callable[[Sequence[Any]], Sequence[Any]] | None = None
    items: list[Any] = field(factory=list)

    def ask(self, _line: str, do: Callable[[Sequence[Any]], Sequence[Any]], item: Any, /) -> Any:
        self.do = do
        self.items.append(item)
        return Invalid("not yet")


def wanted(name: str, **more: Any) -> CreateCertificate:
    usual = CreateCertificate(
        name=name,
        common_name=f"{name}.example.com",
        owner_id=OwnerId("owner-1"),
        team_id=TeamId("team-1"),
        issuer_id=IssuerId("iss-local"),
        renewal_policy_id=RenewalPolicyId("rp-test"),
    )
    return evolve(usual, **more)


def together(world: World, *wishes: Wish) -> Sequence[ManagedCertificate | CertctlError]:
    """What comes of them in one go. Raises what means that each is to be done alone."""
    gathered = Gathered()
    for caller, asked in wishes:
        with suppress(Invalid):
            certificates.create(evolve(world.ports, together=gathered), caller, asked)
    assert gathered.do is not None
    return gathered.do(gathered.items)


def events(world: World) -> list[tuple[str, str]]:
    with world.ports.work() as work:
        found = work.audit.page(Query(sort="timestamp", limit=500)).items
    return sorted((event.resource_id, event.actor) for event in found if event.action == "certificate_created")


def test_each_is_created_as_it_would_be_alone_and_by_whoever_asked(world: World) -> None:
    other = Principal("olga", Role.OPERATOR)
    first, second = together(world, (ADMIN, wanted("one", id=CertificateId("mc-1"))), (other, wanted("two")))

    assert isinstance(first, ManagedCertificate)
    assert isinstance(second, ManagedCertificate)
    assert world.now_is(first) == first
    assert world.now_is(second) == second
    assert (first.ordered_by, second.ordered_by) == (ADMIN.name, "olga")
    assert events(world) == sorted([("mc-1", ADMIN.name), (second.id, "olga")])
    alone = world.certificate(name="three")
    same = evolve(alone, id=first.id, name=first.name, common_name=first.common_name, sans=())
    assert same == first


def test_what_is_wrong_with_one_is_told_of_that_one(world: World) -> None:
    rule = PolicyRule(
        id=PolicyRuleId("pol-1"),
        name="names",
        type=PolicyType.ALLOWED_DOMAINS,
        config={"allowed_domains": ["*.example.com"]},
        severity=Severity.CRITICAL,
        created_at=world.clock.now(),
        updated_at=world.clock.now(),
    )
    with world.ports.work() as work:
        work.policy_rules.add(rule)
    limited = Principal("limited", Role.OPERATOR, scope=Scope(team_ids=frozenset({TeamId("team-2")})))

    good, unsound, refused, beyond, last = together(
        world,
        (ADMIN, wanted("good")),
        (ADMIN, wanted("unsound", sans=("not a name",))),
        (ADMIN, wanted("refused", sans=("www.bank.example",))),
        (limited, wanted("beyond")),
        (ADMIN, wanted("last")),
    )

    assert isinstance(good, ManagedCertificate)
    assert isinstance(unsound, Invalid)
    assert [problem.field for problem in unsound.fields] == ["sans[0]"]
    assert isinstance(refused, Refused)
    assert isinstance(beyond, Invalid)
    assert [problem.field for problem in beyond.fields] == ["team_id"]
    assert isinstance(last, ManagedCertificate)
    assert events(world) == sorted((one.id, ADMIN.name) for one in (good, last))


def test_two_of_one_name_or_one_id_are_not_done_together(world: World) -> None:
    same_id = {"id": CertificateId("mc-1")}
    for wishes in ([wanted("a"), wanted("a")], [wanted("b", **same_id), wanted("c", **same_id)]):
        try:
            together(world, *((ADMIN, asked) for asked in wishes))
        except Duplicate:
            assert events(world) == []
        else:
            raise AssertionError("both were created")


def test_a_group_takes_one_transaction(world: World) -> None:
    opened = world.count_transactions()
    together(world, *((ADMIN, wanted(f"site-{number}")) for number in range(5)))
    assert len(opened) == 1
