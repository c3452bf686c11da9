"""Delegates: one for everybody, renewed before it ends."""

from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import NotConfigured, Unreadable, UpstreamUnavailable
from certctl_core.ids import IssuerId
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.models.delegates import Delegate, Purpose
from certctl_core.pki import ca, keys
from certctl_core.pki.keys import KeyKind
from certctl_core.ports.issuer import Issuer, IssueRequest
from certctl_core.ports.world import Tripwire
from certctl_core.usecases import delegates
from tests.core.usecases.world import START, OneIssuer, World

DAY = timedelta(days=1)


class Killed(BaseException):
    """The process ended here."""


class KillAt(Tripwire):
    def __init__(self, point: str) -> None:
        self._point = point

    def __call__(self, point: str, /) -> None:
        if point == self._point:
            raise Killed


def issuer(world: World) -> ConfiguredIssuer:
    with world.ports.work() as work:
        return work.issuers.get("iss-local")


def current(world: World, purpose: Purpose = Purpose.OCSP, label: str = "", authority: str = "") -> delegates.Opened:
    return delegates.current(world.ports, issuer(world), purpose, label, authority=authority)


def stored(world: World) -> list[Delegate]:
    with world.ports.work() as work:
        return list(work.delegates.unexpired(IssuerId("iss-local"), world.clock.now()))


def test_the_first_to_need_one_makes_it_for_everybody(world: World) -> None:
    first = current(world)
    first.certificate.verify_directly_issued_by(world.ca.authority.certificate)
    assert keys.same_key(first.certificate, first.private_key)
    assert first.chain == world.ca.authority.chain
    assert current(world).certificate == first.certificate
    assert world.actions().count("delegate_certified") == 1


def test_purposes_and_labels_have_their_own(world: World) -> None:
    made = [current(world), current(world, Purpose.RA, "phones"), current(world, Purpose.RA, "routers")]
    assert len({keys.spki(one.certificate) for one in made}) == 3
    assert [one.certificate for one in delegates.living(world.ports, "iss-local", Purpose.RA, "phones")] == [
        made[1].certificate
    ]


def test_each_ca_of_an_issuer_has_its_own(world: World) -> None:
    old = ca.create_root("Old CA", KeyKind.ECDSA_P256, START - DAY, 400 * DAY)
    world.ca.older.append(old)
    current(world).certificate.verify_directly_issued_by(world.ca.authority.certificate)
    current(world, authority=old.key_identifier.hex()).certificate.verify_directly_issued_by(old.certificate)
    with pytest.raises(NotConfigured):
        current(world, authority="00")


def test_it_is_renewed_at_half_of_its_life_and_both_live_on(world: World) -> None:
    first = current(world)
    world.clock.advance(15 * DAY - timedelta(hours=1))
    assert delegates.renew_due(world.ports) == 0
    world.clock.advance(timedelta(hours=1))
    assert delegates.renew_due(world.ports) == 1
    assert delegates.renew_due(world.ports) == 0
    second = current(world)
    assert second.certificate != first.certificate
    assert not keys.same_key(second.certificate, first.certificate)
    living = delegates.living(world.ports, "iss-local", Purpose.OCSP)
    assert [one.certificate for one in living] == [second.certificate, first.certificate]
    world.clock.advance(15 * DAY)
    assert [one.generation for one in stored(world)] == [2]
    assert delegates.renew_due(world.ports) == 1
    assert [one.generation for one in stored(world)] == [3, 2]


def test_one_that_ended_unrenewed_is_replaced_when_it_is_needed(world: World) -> None:
    first = current(world)
    world.clock.advance(31 * DAY)
    second = current(world)
    assert second.certificate != first.certificate
    assert second.certificate.not_valid_after_utc > world.clock.now()


def test_a_ca_that_is_away_is_asked_again_later(world: World) -> None:
    current(world)
    world.clock.advance(16 * DAY)
    world.ca.trouble = UpstreamUnavailable("away")
    assert delegates.renew_due(world.ports) == 0
    world.ca.trouble = None
    assert delegates.renew_due(world.ports) == 0
    world.clock.advance(delegates.TRY_AGAIN)
    assert delegates.renew_due(world.ports) == 1


def test_one_of_a_ca_that_signs_no_more_is_not_renewed(world: World) -> None:
    old = ca.create_root("Old CA", KeyKind.ECDSA_P256, START - DAY, 400 * DAY)
    world.ca.older.append(old)
    current(world, authority=old.key_identifier.hex())
    world.ca.older.clear()
    world.clock.advance(16 * DAY)
    assert delegates.renew_due(world.ports) == 0
    assert [one.renew_at for one in stored(world)] == [None]


def test_of_two_replicas_one_wins_and_the_other_uses_its_delegate(world: World) -> None:
    rival: list[delegates.Opened] = []

    class Faster(Tripwire):
        """Another replica makes one between our certificate and our row."""

        def __call__(self, point: str, /) -> None:
            if point == "delegate:2" and not rival:
                rival.append(current(world))

    mine = delegates.current(evolve(world.ports, tripwire=Faster()), issuer(world), Purpose.OCSP)
    assert mine.certificate == rival[0].certificate
    assert [one.generation for one in stored(world)] == [1]
    assert world.actions().count("delegate_certified") == 1


@pytest.mark.parametrize("point", ["delegate:1", "delegate:2", "delegate:3"])
def test_killed_anywhere_there_is_one_or_none(world: World, point: str) -> None:
    with pytest.raises(Killed):
        delegates.current(evolve(world.ports, tripwire=KillAt(point)), issuer(world), Purpose.OCSP)
    assert len(stored(world)) == (1 if point == "delegate:3" else 0)
    current(world)
    assert len(stored(world)) == 1
    assert world.actions().count("delegate_certified") == 1


def test_a_sealed_key_opens_in_its_own_row_only(world: World) -> None:
    current(world)
    current(world, Purpose.RA)
    one, other = stored(world)
    with pytest.raises(Unreadable, match="of another delegate"):
        delegates.opened(world.ports, evolve(one, sealed_key=other.sealed_key))
    with pytest.raises(Unreadable, match="of another delegate"):
        delegates.opened(world.ports, evolve(one, sealed_key=other.sealed_key, id=other.id))


def test_the_key_is_stored_sealed(world: World) -> None:
    opened = current(world)
    assert keys.to_der(opened.private_key) not in stored(world)[0].sealed_key


def test_an_issuer_that_certifies_no_services_has_no_delegates(world: World) -> None:
    class Foreign(Issuer):
        def issue(self, request: IssueRequest) -> None:  # type: ignore[override]
            raise AssertionError(request)

    ports = evolve(world.ports, issuers=OneIssuer(Foreign()))
    with pytest.raises(NotConfigured, match="certifies no services"):
        delegates.current(ports, issuer(world), Purpose.OCSP)


def test_what_ended_long_ago_is_forgotten(world: World) -> None:
    current(world)
    world.clock.advance(31 * DAY)
    assert delegates.forget(world.ports) == 0
    world.clock.advance(30 * DAY)
    assert delegates.forget(world.ports) == 1
