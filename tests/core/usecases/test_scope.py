"""What a caller whose key is limited may see."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid, NotFound
from certctl_core.ids import CertificateId, IssuerId, OwnerId, TargetId, TeamId
from certctl_core.models.access import SYSTEM, Scope
from certctl_core.models.catalog import ConfiguredIssuer, Owner, Team
from certctl_core.ports.store import Is, Where
from certctl_core.usecases import certificates, scope
from tests.core.usecases.world import ADMIN, World

LIMITED = evolve(ADMIN, scope=Scope(frozenset({TeamId("t-other"), TeamId("t-another")}), frozenset({"production"})))


def test_a_key_without_limits_sees_everything(world: World) -> None:
    certificate = world.certificate()
    with world.ports.work() as work:
        assert scope.get(work, ADMIN, certificate.id) == certificate
        assert scope.lock(work, SYSTEM, certificate.id) == certificate
        scope.must_see_all(work, ADMIN, (certificate.id,))
    assert scope.certificates(ADMIN) == ()


def test_what_is_out_of_reach_is_not_found(world: World) -> None:
    certificate = world.certificate()
    with world.ports.work() as work:
        for look in (scope.get, scope.lock):
            with pytest.raises(NotFound, match="not found"):
                look(work, LIMITED, certificate.id)
        with pytest.raises(NotFound):
            scope.must_see_all(work, LIMITED, (CertificateId(certificate.id),))


def test_a_list_is_limited_by_team_and_environment() -> None:
    assert scope.certificates(LIMITED) == (
        Where("team_id", ("t-another", "t-other"), Is.ONE_OF),
        Where("environment", "production"),
    )


@pytest.fixture
def divided(world: World) -> World:
    """With another team that has an issuer, an owner and a target of its own."""
    now = world.clock.now()
    at = {"created_at": now, "updated_at": now}
    agent = world.agent("theirs")
    target = world.target(agent, "theirs")
    with world.ports.work() as work:
        work.teams.add(Team(id=TeamId("t-other"), name="others", **at))
        theirs = {"team_ids": (TeamId("t-other"),)}
        work.issuers.add(ConfiguredIssuer(id=IssuerId("iss-theirs"), name="theirs", type="GenericCA", **theirs, **at))
        work.owners.add(Owner(id=OwnerId("o-theirs"), name="Theirs", team_id=TeamId("t-other"), **at))
        work.targets.save(evolve(target, **theirs))
    return world


OURS = evolve(ADMIN, scope=Scope(frozenset({TeamId("team-1")})))


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("issuer_id", "iss-theirs", "issuer_id"),
        ("owner_id", "o-theirs", "owner_id"),
        ("target_ids", ("target-theirs-theirs",), "target_ids[0]"),
        ("team_id", "t-other", "team_id"),
    ],
)
def test_a_certificate_cannot_be_pointed_beyond_its_callers_reach(
    divided: World, field: str, value: object, named: str
) -> None:
    certificate = divided.certificate()
    asked = certificates.UpdateCertificate(**{field: value})  # type: ignore[arg-type]
    with pytest.raises(Invalid) as refused:
        certificates.update(divided.ports, OURS, certificate.id, asked)
    assert [problem.field for problem in refused.value.fields] == [named]
    assert divided.now_is(certificate) == certificate
    assert getattr(certificates.update(divided.ports, ADMIN, certificate.id, asked), field) == value


def test_what_a_certificate_refers_to_already_may_stay(divided: World) -> None:
    certificate = divided.certificate()
    asked = certificates.UpdateCertificate(
        issuer_id=IssuerId("iss-theirs"), target_ids=(TargetId("target-theirs-theirs"),)
    )
    certificates.update(divided.ports, ADMIN, certificate.id, asked)
    again = evolve(asked, name="renamed")
    assert certificates.update(divided.ports, OURS, certificate.id, again).name == "renamed"
    assert certificates.deployments(divided.ports, OURS, certificate.id) == ()
    around = certificates.surroundings(divided.ports, OURS, divided.now_is(certificate))
    assert (around.issuer, around.team is None, around.owner is None) == (None, False, False)


def test_a_certificate_stays_in_its_callers_environments(divided: World) -> None:
    caller = evolve(ADMIN, scope=Scope(environments=frozenset({"test"})))
    certificate = divided.certificate()
    with pytest.raises(NotFound):
        certificates.update(divided.ports, caller, certificate.id, certificates.UpdateCertificate(name="mine"))
    moved = certificates.update(
        divided.ports, ADMIN, certificate.id, certificates.UpdateCertificate(environment="test")
    )
    with pytest.raises(Invalid) as refused:
        certificates.update(divided.ports, caller, moved.id, certificates.UpdateCertificate(environment="production"))
    assert [problem.field for problem in refused.value.fields] == ["environment"]


@given(st.frozensets(st.sampled_from("abc")), st.frozensets(st.sampled_from("xy")), st.data())
def test_who_covers_a_key_reaches_whatever_the_key_reaches(
    teams: frozenset[str], environments: frozenset[str], data: st.DataObject
) -> None:
    mine = Scope(frozenset(map(TeamId, teams)), environments)
    theirs = Scope(
        frozenset(map(TeamId, data.draw(st.frozensets(st.sampled_from("abc"))))),
        data.draw(st.frozensets(st.sampled_from("xy"))),
    )
    places = [(TeamId(team), environment) for team in "abcd" for environment in "xyz"]
    reached = all(mine.holds(*place) for place in places if theirs.holds(*place))
    assert mine.covers(theirs) is reached
    for limits in ((), ("a",), ("a", "b"), ("d",)):
        about = tuple(map(TeamId, limits))
        # What may be changed is seen, and nobody beyond one's reach feels the change.
        assert not mine.owns(about) or mine.is_open_to(about)
        feels = [place for place in places if not about or place[0] in about]
        assert mine.owns(about) is (mine.is_everything or (bool(about) and all(mine.holds(*place) for place in feels)))


@pytest.mark.parametrize(
    ("team", "environment", "within"),
    [
        ("t-other", "production", True),
        ("t-other", "staging", False),
        ("t-team", "production", False),
        (None, "production", False),
    ],
)
def test_both_limits_hold(team: str | None, environment: str, *, within: bool) -> None:
    assert LIMITED.scope.holds(TeamId(team) if team else None, environment) is within
