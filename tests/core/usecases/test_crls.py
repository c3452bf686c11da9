"""CRLs made by the loop: when, of what, with which numbers, in parts, with deltas, and after every kind of failure."""

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from cryptography import x509

from certctl_core.errors import Conflict, Invalid, NotConfigured, NotFound, UpstreamUnavailable
from certctl_core.ids import IssuerId, ProfileId
from certctl_core.models.catalog import CertificateProfile
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate, RevocationReason
from certctl_core.models.crls import CrlRules, CrlScope, StoredCrl
from certctl_core.pki import ca, crl, distribution
from certctl_core.pki.distribution import Place
from certctl_core.pki.keys import KeyKind
from certctl_core.ports import Ports
from certctl_core.usecases import crl_scopes, crls, issuance, jobs, revocation
from tests.core.usecases.world import ADMIN, START, World

HERE = "https://ca.test"
MINUTE = timedelta(minutes=1)
ISSUER = IssuerId("iss-local")


def with_rules(world: World, **rules: object) -> Ports:
    """From now on CRLs are made so, and leafs name them."""
    world.ports = evolve(world.ports, public_url=HERE, crls=CrlRules(**{"deltas_from": None} | rules))
    return world.ports


def issued(world: World, name: str = "site", profile_id: str | None = None) -> ManagedCertificate:
    agent = world.agent(f"agent-{name}")
    certificate = world.certificate(world.target(agent), name=name)
    if profile_id is not None:
        with world.ports.work() as work:
            certificate = work.certificates.save(evolve(certificate, profile_id=ProfileId(profile_id)))
    world.issued(certificate, agent, name)
    return world.now_is(certificate)


def profile(world: World, identity: str, **fields: Any) -> None:
    now = world.clock.now()
    ekus = ("serverAuth", "clientAuth")
    made = CertificateProfile(
        id=ProfileId(identity), name=identity, allowed_ekus=ekus, created_at=now, updated_at=now, **fields
    )
    with world.ports.work() as work:
        work.profiles.add(made)


def serial(world: World, certificate: ManagedCertificate) -> str:
    return leaf(world, certificate)[0]


def leaf(world: World, certificate: ManagedCertificate) -> tuple[str, x509.Certificate]:
    with world.ports.work() as work:
        version = work.versions.latest(certificate.id)
    assert version is not None
    return version.serial_number, version.certificate


def stored(world: World, place: Place = Place(), *, is_delta: bool = False) -> StoredCrl:  # noqa: B008 - frozen
    found = crls.published(world.ports, ISSUER, place, is_delta=is_delta)
    assert found is not None
    return found


def read(world: World, place: Place = Place(), *, is_delta: bool = False) -> x509.CertificateRevocationList:  # noqa: B008
    found = stored(world, place, is_delta=is_delta)
    der = b"".join(crls.content(world.ports, found))
    signed = crl.read(der)
    assert len(der) == found.size
    assert crl.number_of(signed) == found.number
    assert len(signed) == found.entries
    return signed


def scope(world: World, partition: int = 0) -> CrlScope:
    return CrlScope(ISSUER, world.ca.authority.key_identifier.hex(), partition)


def idp(signed: x509.CertificateRevocationList) -> list[str]:
    found = signed.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert found.critical
    assert found.value.full_name is not None
    return [name.value for name in found.value.full_name]


# When


def test_every_ca_has_a_crl_before_anybody_asks(world: World) -> None:
    assert crls.sweep(world.ports) == 1
    assert len(read(world)) == 0
    assert crls.sweep(world.ports) == 0


def test_the_first_crl_is_made_when_it_is_asked_for_before_the_loop_ran(world: World) -> None:
    found = crls.first(world.ports, ISSUER, Place())
    assert found is not None
    assert crls.first(world.ports, ISSUER, Place()) == found
    assert crls.sweep(world.ports) == 0


def test_of_two_who_ask_for_the_first_one_makes_it(world: World) -> None:
    crl_scopes.ensure_place(world.ports, ISSUER, Place())
    with world.ports.work() as work:
        assert work.crls.claim(scope(world), START, MINUTE) is not None
    assert crls.first(world.ports, ISSUER, Place()) is None


def test_a_revocation_makes_the_crl_due_and_waits_for_nothing(world: World) -> None:
    certificate = issued(world)
    crls.sweep(world.ports)
    before = stored(world)
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.KEY_COMPROMISE)
    assert stored(world) == before
    assert crls.sweep(world.ports) == 1
    assert stored(world).number > before.number
    assert crl.entry_of(read(world), serial(world, certificate)) is not None


def test_a_crl_is_made_again_at_half_of_its_life(world: World) -> None:
    crls.sweep(world.ports)
    first = stored(world)
    world.clock.advance(timedelta(hours=11))
    assert crls.sweep(world.ports) == 0
    world.clock.advance(timedelta(hours=1))
    assert crls.sweep(world.ports) == 1
    second = stored(world)
    assert second.number > first.number
    assert second.next_update - world.clock.now() == timedelta(hours=24)


def test_what_happens_while_a_crl_is_made_makes_it_due_at_once(world: World) -> None:
    first, second = issued(world, "one"), issued(world, "two")
    crls.sweep(world.ports)
    revocation.revoke(world.ports, ADMIN, first.id, RevocationReason.SUPERSEDED)
    points = []

    def meanwhile(point: str) -> None:
        points.append(point)
        if points == ["crl:1"]:
            revocation.revoke(world.ports, ADMIN, second.id, RevocationReason.SUPERSEDED)

    crls.sweep(evolve(world.ports, tripwire=meanwhile))
    assert len(read(world)) == 1
    world.clock.advance(timedelta(seconds=1))
    assert crls.sweep(world.ports) == 1
    assert len(read(world)) == 2
    assert points == ["crl:1", "crl:2", "crl:3"]


@pytest.mark.parametrize("point", ["crl:1", "crl:2", "crl:3"])
def test_killed_anywhere_the_next_one_makes_it(world: World, point: str) -> None:
    certificate = issued(world)
    crls.sweep(world.ports)
    before = stored(world)
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)

    class Killed(BaseException):
        pass

    def kill(reached: str) -> None:
        if reached == point:
            raise Killed

    with pytest.raises(Killed):
        crls.sweep(evolve(world.ports, tripwire=kill))
    assert (stored(world) == before) == (point != "crl:3")
    world.clock.advance(crl_scopes.LEASE)
    crls.sweep(world.ports)
    assert crl.entry_of(read(world), serial(world, certificate)) is not None
    assert stored(world).number > before.number


# Numbers


def test_a_slower_one_with_a_lower_number_replaces_nothing(world: World) -> None:
    certificate = issued(world)
    crls.sweep(world.ports)
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    seen: list[StoredCrl] = []

    def overtake(point: str) -> None:
        if point == "crl:2" and not seen:
            world.clock.advance(crl_scopes.LEASE)
            crls.sweep(world.ports)
            seen.append(stored(world))

    assert crls.sweep(evolve(world.ports, tripwire=overtake)) == 0
    assert stored(world) == seen[0]
    assert len(read(world)) == 1


# Trouble


def test_asking_for_the_first_crl_over_and_over_has_a_ca_in_trouble_tried_once(world: World) -> None:
    world.ca.trouble = UpstreamUnavailable("the token is locked")
    for _ in range(3):
        with pytest.raises(UpstreamUnavailable):
            crls.first(world.ports, ISSUER, Place())
    (listed,) = crls.overview(world.ports, ADMIN)
    assert len(listed.history) == listed.duty.failures == 1
    world.ca.trouble = None
    world.clock.advance(timedelta(minutes=1))
    assert crls.first(world.ports, ISSUER, Place()) is not None


def test_a_failure_is_on_record_and_tried_again(world: World) -> None:
    crls.sweep(world.ports)
    certificate = issued(world)
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    world.ca.trouble = UpstreamUnavailable("the token is locked")
    with pytest.raises(UpstreamUnavailable, match=r"1 cannot be made: the token is locked"):
        crls.sweep(world.ports)
    (listed,) = crls.overview(world.ports, ADMIN)
    assert (listed.duty.failures, listed.duty.last_error) == (1, "the token is locked")
    assert listed.history[0].error == "the token is locked"
    assert not listed.history[0].succeeded
    with pytest.raises(UpstreamUnavailable, match="the token is locked"):
        crls.sweep(world.ports)
    (same,) = crls.overview(world.ports, ADMIN)
    assert same.history == listed.history
    world.ca.trouble = None
    world.clock.advance(timedelta(seconds=30))
    assert crls.sweep(world.ports) == 1
    (listed,) = crls.overview(world.ports, ADMIN)
    assert (listed.duty.failures, listed.duty.last_error) == (0, "")
    assert listed.history[0].succeeded


def test_an_error_nobody_foresaw_is_no_different(world: World) -> None:
    world.ca.trouble = RuntimeError("boom")
    with pytest.raises(UpstreamUnavailable, match="boom"):
        crls.sweep(world.ports)
    (listed,) = crls.overview(world.ports, ADMIN)
    assert listed.duty.last_error == "boom"


def test_old_history_is_forgotten(world: World) -> None:
    crls.sweep(world.ports)
    world.clock.advance(timedelta(days=31))
    assert crls.forget(world.ports) == 1


# Holds, dates


def test_what_is_on_hold_is_listed_until_it_is_released(world: World) -> None:
    certificate = issued(world)
    held = revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.CERTIFICATE_HOLD)
    assert held.status is CertificateStatus.REVOKED
    crls.sweep(world.ports)
    entry = crl.entry_of(read(world), serial(world, certificate))
    assert entry is not None
    assert entry.reason is RevocationReason.CERTIFICATE_HOLD

    world.clock.advance(MINUTE)
    released = revocation.release(world.ports, ADMIN, certificate.id)

    assert released.status is CertificateStatus.ACTIVE
    assert (released.revoked_at, released.revocation_reason) == (None, None)
    assert released.renew_at == certificate.renew_at
    crls.sweep(world.ports)
    assert len(read(world)) == 0
    assert world.actions().count("certificate_released") == 1


def test_only_what_is_on_hold_can_be_released(world: World) -> None:
    certificate = issued(world)
    with pytest.raises(Conflict, match="not on hold"):
        revocation.release(world.ports, ADMIN, certificate.id)
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    with pytest.raises(Conflict, match="not on hold"):
        revocation.release(world.ports, ADMIN, certificate.id)


def test_a_hold_becomes_a_revocation_for_good_from_the_time_of_the_hold_on(world: World) -> None:
    certificate = issued(world)
    held = revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.CERTIFICATE_HOLD)
    world.clock.advance(timedelta(days=1))
    gone = revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.KEY_COMPROMISE)
    assert gone.revoked_at == held.revoked_at
    crls.sweep(world.ports)
    entry = crl.entry_of(read(world), serial(world, certificate))
    assert entry is not None
    assert (entry.reason, entry.revoked_at) == (RevocationReason.KEY_COMPROMISE, START.replace(microsecond=0))
    with pytest.raises(Conflict):
        revocation.release(world.ports, ADMIN, certificate.id)


def test_what_was_released_can_be_revoked_again(world: World) -> None:
    certificate = issued(world)
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.CERTIFICATE_HOLD)
    revocation.release(world.ports, ADMIN, certificate.id)
    world.clock.advance(MINUTE)
    again = revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    assert again.revoked_at == world.clock.now()
    crls.sweep(world.ports)
    assert len(read(world)) == 1


def test_an_invalidity_date_is_in_the_entry(world: World) -> None:
    certificate = issued(world)
    since = START - timedelta(days=2)
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.KEY_COMPROMISE, since)
    crls.sweep(world.ports)
    entry = crl.entry_of(read(world), serial(world, certificate))
    assert entry is not None
    assert entry.invalid_since == since


def test_an_invalidity_date_does_not_lie_in_the_future(world: World) -> None:
    certificate = issued(world)
    with pytest.raises(Invalid, match="future"):
        revocation.revoke(
            world.ports, ADMIN, certificate.id, RevocationReason.KEY_COMPROMISE, world.clock.now() + MINUTE
        )


# Deltas


def test_a_delta_tells_what_changed_since_the_oldest_crl_in_use(world: World) -> None:
    ports = with_rules(world, deltas_from=0)
    held, other = issued(world, "held"), issued(world, "other")
    revocation.revoke(ports, ADMIN, held.id, RevocationReason.CERTIFICATE_HOLD)
    assert crls.sweep(ports) == 2
    base, nothing = read(world), read(world, is_delta=True)
    assert len(nothing) == 0
    fresh = base.extensions.get_extension_for_class(x509.FreshestCRL).value
    (point,) = fresh
    assert point.full_name is not None
    assert point.full_name[0].value == f"{HERE}/.well-known/pki/crl/iss-local/delta"

    world.clock.advance(MINUTE)
    revocation.release(ports, ADMIN, held.id)
    revocation.revoke(ports, ADMIN, other.id, RevocationReason.SUPERSEDED)
    assert crls.sweep(ports) == 2

    complete, delta = read(world), read(world, is_delta=True)
    assert crl.number_of(complete) == crl.number_of(delta)
    indicator = delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert indicator.critical
    assert indicator.value.crl_number == crl.number_of(base)
    removed = crl.entry_of(delta, serial(world, held))
    added = crl.entry_of(delta, serial(world, other))
    assert removed is not None
    assert removed.is_removed
    assert added is not None
    assert added.reason is RevocationReason.SUPERSEDED
    assert crl.entry_of(complete, serial(world, held)) is None


def test_with_a_pause_between_complete_crls_the_delta_alone_tells_of_a_revocation(world: World) -> None:
    ports = with_rules(world, deltas_from=0, full_pause=timedelta(hours=1))
    certificate = issued(world)
    crls.sweep(ports)
    before = stored(world)
    world.clock.advance(MINUTE)
    revocation.revoke(ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    assert crls.sweep(ports) == 1
    assert stored(world) == before
    assert crl.entry_of(read(world, is_delta=True), serial(world, certificate)) is not None
    world.clock.advance(timedelta(hours=1))
    assert crls.sweep(ports) == 2
    assert len(read(world)) == 1


def test_deltas_begin_by_size(world: World) -> None:
    ports = with_rules(world, deltas_from=2)
    one, two = issued(world, "one"), issued(world, "two")
    revocation.revoke(ports, ADMIN, one.id, RevocationReason.SUPERSEDED)
    crls.sweep(ports)
    assert crls.published(ports, ISSUER, Place(), is_delta=True) is None
    world.clock.advance(MINUTE)
    revocation.revoke(ports, ADMIN, two.id, RevocationReason.SUPERSEDED)
    crls.sweep(ports)
    assert len(read(world, is_delta=True)) == 1


def test_the_base_moves_on_when_nobody_can_hold_it_any_more(world: World) -> None:
    ports = with_rules(world, deltas_from=0)
    certificate = issued(world)
    crls.sweep(ports)
    revocation.revoke(ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    for _ in range(100):
        world.clock.advance(timedelta(minutes=30))
        crls.sweep(ports)
    delta = stored(world, is_delta=True)
    assert delta.entries == 0
    assert delta.base is not None
    assert delta.number - delta.base < 100
    assert stored(world).entries == 1


# Parts


def test_certificates_are_spread_over_parts_that_each_names_its_own(world: World) -> None:
    ports = with_rules(world, partitions=3)
    early = issued(world, "early")
    crls.sweep(ports)
    late = [issued(world, f"late-{n}") for n in range(8)]
    for certificate in (early, *late):
        revocation.revoke(ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    crls.sweep(ports)

    whole = read(world)
    assert f"{HERE}/.well-known/pki/crl/iss-local" in idp(whole)
    assert [one.serial_number for one in whole] == [leaf(world, early)[1].serial_number]
    used = set()
    for certificate in late:
        number, signed = leaf(world, certificate)
        (point,) = signed.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert point.full_name is not None
        url = point.full_name[0].value
        place = distribution.named_by(url, ISSUER)
        assert place is not None
        assert 1 <= place.partition <= 3
        used.add(place.partition)
        part = read(world, place)
        assert url in idp(part)
        assert crl.entry_of(part, number) is not None
    assert len(used) > 1


def test_when_the_number_of_parts_changes_old_certificates_stay_on_theirs(world: World) -> None:
    ports = with_rules(world, partitions=4)
    crls.sweep(ports)
    old = [issued(world, f"old-{n}") for n in range(6)]
    ports = with_rules(world, partitions=1)
    world.clock.advance(crl_scopes.LOOK_EVERY)
    crls.sweep(ports)
    new = issued(world, "new")
    (point,) = leaf(world, new)[1].extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    assert point.full_name[0].value == f"{HERE}/.well-known/pki/crl/iss-local"
    for certificate in (*old, new):
        revocation.revoke(ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    crls.sweep(ports)
    found = sum(len(read(world, Place(partition=number))) for number in range(1, 5))
    assert found == len(old)
    assert len(read(world)) == 1
    assert idp(read(world))


def test_parts_grow_with_the_size(world: World) -> None:
    ports = with_rules(world, partition_size=2)
    for n in range(3):
        revocation.revoke(ports, ADMIN, issued(world, f"n-{n}").id, RevocationReason.SUPERSEDED)
    crls.sweep(ports)
    world.clock.advance(crl_scopes.LOOK_EVERY)
    crls.sweep(ports)
    with ports.work() as work:
        assert work.issuers.get(ISSUER).crl_partitions == 2
    assert read(world, Place(partition=2)) is not None
    assert idp(read(world))


def test_without_an_address_there_are_no_parts(world: World) -> None:
    world.ports = evolve(world.ports, crls=CrlRules(partitions=4))
    crls.sweep(world.ports)
    with world.ports.work() as work:
        assert work.issuers.get(ISSUER).crl_partitions == 0


def test_a_part_that_no_certificate_names_is_not_there(world: World) -> None:
    crls.sweep(world.ports)
    for place in (Place(partition=1), Place("ab" * 20)):
        with pytest.raises(NotFound):
            crls.first(world.ports, ISSUER, place)
    with pytest.raises(NotFound):
        crls.first(world.ports, "iss-nobody", Place())


# Several CAs


def test_each_ca_of_an_issuer_signs_the_crl_of_its_own_certificates(world: World) -> None:
    ports = with_rules(world)
    first = issued(world, "first")
    old = world.ca.authority
    world.ca.older.insert(0, old)
    world.ca.authority = ca.create_root("Test CA 2", KeyKind.ECDSA_P256, START - timedelta(days=1), timedelta(days=999))
    second = issued(world, "second")
    for certificate in (first, second):
        revocation.revoke(ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    crls.sweep(ports)

    meant, named = read(world), read(world, Place(world.ca.authority.key_identifier.hex()))
    assert crl.is_signed_by(meant, old.certificate)
    assert [one.serial_number for one in meant] == [leaf(world, first)[1].serial_number]
    assert crl.is_signed_by(named, world.ca.authority.certificate)
    assert [one.serial_number for one in named] == [leaf(world, second)[1].serial_number]
    assert read(world, Place(old.key_identifier.hex())) == meant


def test_a_ca_that_signs_no_more_leaves_its_last_crl(world: World) -> None:
    certificate = issued(world)
    crls.sweep(world.ports)
    before = stored(world, Place(scope(world).authority))
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    gone = scope(world).authority
    world.ca.authority = ca.create_root("Test CA 2", KeyKind.ECDSA_P256, START - timedelta(days=1), timedelta(days=999))
    crls.sweep(world.ports)
    assert stored(world, Place(gone)) == before


# Short-lived


def test_what_is_short_lived_names_no_crl_and_is_on_none(world: World) -> None:
    ports = with_rules(world)
    profile(world, "brief", max_ttl=timedelta(minutes=30), allow_short_lived=True)
    certificate = issued(world, profile_id="brief")
    _, signed = leaf(world, certificate)
    names = {extension.oid.dotted_string for extension in signed.extensions}
    assert "2.5.29.56" in names
    assert x509.CRLDistributionPoints.oid.dotted_string not in names
    revocation.revoke(ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    crls.sweep(ports)
    assert len(read(world)) == 0


def test_an_hour_is_not_short(world: World) -> None:
    ports = with_rules(world)
    profile(world, "hour", max_ttl=timedelta(hours=1))
    certificate = issued(world, profile_id="hour")
    assert leaf(world, certificate)[1].extensions.get_extension_for_class(x509.CRLDistributionPoints)
    revocation.revoke(ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    crls.sweep(ports)
    assert len(read(world)) == 1


# Of before


def test_revocations_of_before_are_assigned_and_listed(world: World) -> None:
    certificate = issued(world)
    crls.sweep(world.ports)
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    with world.ports.work() as work:
        (known,) = work.revocations.of([certificate.id])
        work.revocations.change_many([evolve(known, authority="", partition=None, entry=b"")])
    crls.sweep(world.ports)
    assert crl.entry_of(read(world), serial(world, certificate)) is not None


def test_an_issuer_that_publishes_its_own_crl_has_none_here(world: World) -> None:
    class Foreign:
        pass

    class Other:
        def connect(self, configured: object) -> object:
            return Foreign()

    ports = evolve(world.ports, issuers=Other())
    assert crls.sweep(ports) == 0
    with pytest.raises(NotConfigured):
        crls.first(ports, ISSUER, Place())


def test_an_issuer_that_has_no_ca_yet_is_no_trouble(world: World) -> None:
    class Bare:
        def connect(self, configured: object) -> object:
            raise NotConfigured("the issuer has no CA yet")

    assert crls.sweep(evolve(world.ports, issuers=Bare())) == 0


def test_the_same_order_names_the_same_part_again(world: World) -> None:
    ports = with_rules(world, partitions=16)
    crls.sweep(ports)
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.ca.trouble = UpstreamUnavailable("later")
    world.issued(certificate, agent)
    asked = world.ca.requests[-1].plan
    with ports.work() as work:
        work.crls.spread(ISSUER, 3)
    world.ca.trouble = None
    world.clock.advance(timedelta(hours=1))
    jobs.retry_due(ports)
    assert issuance.process_due(ports, limit=5) == 1
    again = world.ca.requests[-1].plan
    assert (again.serial_number, again.crl_urls) == (asked.serial_number, asked.crl_urls)
    assert world.now_is(certificate).status is CertificateStatus.ACTIVE
