"""CRLs on a real database: two replicas at once, processes that are killed, and the first CRL asked for by many."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve

from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_core.ids import CertificateId, IssuerId, RevocationId
from certctl_core.models.certificates import Revocation, RevocationReason
from certctl_core.models.crls import CrlDuty, CrlRules, CrlScope, StoredCrl
from certctl_core.pki import bundle, crl, keys
from certctl_core.pki.distribution import Place
from certctl_core.usecases import crl_scopes, crls
from tests.core.usecases.world import World, make_world

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ISSUER = IssuerId("iss-local")
REVOCATIONS = 60
MAKINGS = 15


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """A world over PostgreSQL, with a certificate for revocations to belong to."""
    with open_pool(database_url, size=8) as pool:
        made = make_world(PostgresWork(pool))
        made.certificate()
        made.ports = evolve(made.ports, crls=CrlRules(deltas_from=0))
        yield made


def scope(world: World) -> CrlScope:
    return CrlScope(ISSUER, world.ca.authority.key_identifier.hex())


def revoke(world: World, number: int) -> None:
    """Write a revocation as if a certificate of this serial number had been issued."""
    now = world.clock.now()
    serial = f"{number:x}"
    revocation = Revocation(
        id=RevocationId(f"rev-{number}"),
        certificate_id=CertificateId("mc-site"),
        issuer_id=ISSUER,
        serial_number=serial,
        reason=RevocationReason.SUPERSEDED,
        revoked_by="test",
        revoked_at=now,
        not_after=now + timedelta(days=90),
        authority=scope(world).authority,
        partition=0,
    )
    with world.ports.work() as work:
        work.revocations.add(evolve(revocation, entry=crl_scopes.entry(revocation)))


def published(world: World, *, is_delta: bool = False) -> tuple[StoredCrl, set[int]]:
    """What is published now, and the serial numbers on it."""
    while True:
        stored = crls.published(world.ports, ISSUER, Place(scope(world).authority), is_delta=is_delta)
        assert stored is not None
        der = b"".join(crls.content(world.ports, stored))
        if der:
            signed = crl.read(der)
            assert crl.number_of(signed) == stored.number
            return stored, {entry.serial_number for entry in signed}


def test_of_two_replicas_that_make_it_at_once_numbers_rise_and_nothing_is_lost(world: World) -> None:
    """Both are at it all the time, as if every lease had lapsed, while revocations come and somebody reads."""
    crls.sweep(world.ports)
    done = threading.Event()
    seen: list[tuple[int, frozenset[int]]] = []

    def read() -> None:
        while not done.is_set():
            stored, found = published(world)
            seen.append((stored.number, frozenset(found)))

    def make(_: int) -> None:
        crls.make(world.ports, CrlDuty(scope=scope(world), due_at=world.clock.now()))

    def make_many() -> None:
        for number in range(MAKINGS):
            make(number)

    with ThreadPoolExecutor(4) as threads:
        reading = threads.submit(read)
        making = [threads.submit(make_many) for _ in range(2)]
        revoking = threads.submit(lambda: [revoke(world, number) for number in range(1, REVOCATIONS + 1)])
        for each in (*making, revoking):
            each.result()
        done.set()
        reading.result()

    world.clock.advance(timedelta(seconds=2))
    crls.sweep(world.ports)
    stored, found = published(world)
    assert found == set(range(1, REVOCATIONS + 1))
    assert {number for number, _ in seen} <= set(range(1, stored.number + 1))
    for (earlier, before), (later, after) in itertools.pairwise(seen):
        assert earlier <= later
        assert before <= after
    with world.ports.work() as work:
        made = work.crls.history(scope(world), 1000)
    numbers = [one.number for one in made if not one.is_delta and one.succeeded]
    assert len(numbers) == len(set(numbers)) > 2


def test_a_revocation_does_not_wait_for_a_crl_that_is_being_made(world: World) -> None:
    crls.sweep(world.ports)
    revoke(world, 1)
    waits: list[str] = []

    def meanwhile(point: str) -> None:
        if point == "crl:1":
            revoke(world, 2)
            waits.append(point)

    duty = CrlDuty(scope=scope(world), due_at=world.clock.now())
    crls.make(evolve(world.ports, tripwire=meanwhile), duty)
    assert waits == ["crl:1"]
    assert published(world)[1] == {1}
    with world.ports.work() as work:
        known = work.crls.duty(scope(world))
    assert known is not None
    assert known.due_at <= world.clock.now() + crls.AGAIN


def test_of_many_who_ask_for_the_first_crl_one_makes_it(world: World) -> None:
    together = threading.Barrier(6)

    def ask(_: int) -> StoredCrl | None:
        together.wait()
        return crls.first(world.ports, ISSUER, Place())

    with ThreadPoolExecutor(6) as threads:
        found = [one for one in threads.map(ask, range(6)) if one is not None]
    assert found
    assert len({one.number for one in found}) == 1
    with world.ports.work() as work:
        assert len([one for one in work.crls.history(scope(world), 99) if not one.is_delta]) == 1


@pytest.mark.parametrize("point", ["crl:1", "crl:2", "crl:3"])
def test_a_process_that_is_killed_leaves_it_to_the_next(
    world: World, database_url: str, tmp_path: Path, point: str
) -> None:
    crls.sweep(world.ports)
    before, _ = published(world)
    revoke(world, 7)
    file = tmp_path / "ca.pem"
    file.write_text(bundle.to_pem(world.ca.authority.certificate) + keys.to_pem(world.ca.authority.private_key))

    killed = _run(database_url, world, file, point)
    assert killed.returncode == -9, killed.stderr

    assert (published(world)[0].number > before.number) == (point == "crl:3")
    world.clock.advance(crl_scopes.LEASE)
    done = _run(database_url, world, file)
    assert done.returncode == 0, done.stderr
    stored, found = published(world)
    assert found == {7}
    assert stored.number > before.number
    delta, changed = published(world, is_delta=True)
    assert (delta.base, changed) == (before.number, {7})


def _run(url: str, world: World, file: Path, *point: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.crl_process", url, world.clock.now().isoformat(), str(file), *point]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
