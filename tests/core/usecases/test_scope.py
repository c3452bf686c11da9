"""What a caller whose key is limited may see."""

import pytest
from attrs import evolve

from certctl_core.errors import NotFound
from certctl_core.ids import CertificateId, TeamId
from certctl_core.models.access import SYSTEM, Scope
from certctl_core.ports.store import Is, Where
from certctl_core.usecases import scope
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
        Where("environment", ("production",), Is.ONE_OF),
    )


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
