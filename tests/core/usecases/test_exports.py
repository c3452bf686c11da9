"""Exports: certificates as files, so many an hour, each on the trail."""

from datetime import timedelta

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.serialization import pkcs12

from certctl_core.errors import NotFound, QuotaExceeded
from certctl_core.ids import ApiKeyId, TeamId
from certctl_core.models.access import Scope
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import exports
from tests.core.usecases.world import ADMIN, World

MOST = 3


@pytest.fixture
def certificate(world: World) -> ManagedCertificate:
    """Issued."""
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    return certificate


def test_the_newest_version_is_exported_and_the_trail_says_so(world: World, certificate: ManagedCertificate) -> None:
    version = exports.pem(world.ports, ADMIN, certificate.id, MOST)
    exports.pkcs12(world.ports, ADMIN, certificate.id, MOST)
    with world.ports.work() as work:
        assert version == work.versions.latest(certificate.id)
        trail = work.audit.page(Query((Where("resource_id", certificate.id),), "timestamp", limit=500)).items
    assert [(e.action, e.details) for e in trail if e.action.startswith("export")] == [
        (action, {"serial": version.serial_number, "has_private_key": False})
        for action in ("export_pem", "export_pkcs12")
    ]


@pytest.mark.parametrize("password", ["", "s3cret", "pässwörd"])
def test_a_trust_store_holds_the_chain_and_no_key(world: World, certificate: ManagedCertificate, password: str) -> None:
    version = exports.pem(world.ports, ADMIN, certificate.id, MOST)
    file = exports.pkcs12(world.ports, ADMIN, certificate.id, MOST, password)
    loaded = pkcs12.load_pkcs12(file, password.encode() or None)
    assert loaded.key is None
    held = [loaded.cert, *loaded.additional_certs]
    assert [one.certificate for one in held if one] == [version.certificate, *version.chain]
    assert [one.friendly_name for one in held if one] == [b"site.example.com", b"Test CA"]


def test_after_so_many_within_an_hour_there_are_no_more(world: World, certificate: ManagedCertificate) -> None:
    for _ in range(MOST):
        exports.pem(world.ports, ADMIN, certificate.id, MOST)
        world.clock.advance(timedelta(minutes=10))
    with pytest.raises(QuotaExceeded) as refusal:
        exports.pkcs12(world.ports, ADMIN, certificate.id, MOST)
    assert refusal.value.retry_after == 30 * 60
    assert world.actions().count("export_pem") + world.actions().count("export_pkcs12") == MOST
    world.clock.advance(timedelta(seconds=refusal.value.retry_after))
    assert exports.pem(world.ports, ADMIN, certificate.id, MOST)


def test_the_limit_is_of_the_key_and_not_of_its_name(world: World, certificate: ManagedCertificate) -> None:
    one, other = (evolve(ADMIN, key_id=ApiKeyId(f"key-{number}")) for number in (1, 2))
    exports.pem(world.ports, one, certificate.id, 1)
    with pytest.raises(QuotaExceeded):
        exports.pem(world.ports, evolve(one, name="renamed"), certificate.id, 1)
    assert exports.pem(world.ports, other, certificate.id, 1)


def test_what_cannot_be_exported_counts_for_nothing(world: World, certificate: ManagedCertificate) -> None:
    bare = world.certificate(name="bare")
    elsewhere = evolve(ADMIN, scope=Scope(team_ids=frozenset({TeamId("team-9")})))
    for caller, identity in ((ADMIN, bare.id), (ADMIN, "mc-none"), (elsewhere, certificate.id)):
        with pytest.raises(NotFound):
            exports.pem(world.ports, caller, identity, 1)
    assert exports.pem(world.ports, ADMIN, certificate.id, 1)


def test_a_limit_of_nothing_is_none(world: World, certificate: ManagedCertificate) -> None:
    assert {exports.pem(world.ports, ADMIN, certificate.id, 0).id for _ in range(60)}
    with world.ports.work() as work:
        assert work.quotas.forget(world.clock.now() + timedelta(days=1)) == 0


def test_quotas_are_forgotten_when_they_are_whole_again(world: World, certificate: ManagedCertificate) -> None:
    exports.pem(world.ports, ADMIN, certificate.id, 1)
    assert exports.forget_quotas(world.ports) == 0
    world.clock.advance(exports.LONGEST_QUOTA + timedelta(seconds=1))
    assert exports.forget_quotas(world.ports) == 1
