"""Imports of the same certificates at the same time, on PostgreSQL."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_core.ids import IssuerId, OwnerId, RenewalPolicyId, TeamId
from certctl_core.ports.store import Query
from certctl_core.usecases import certificates, importing
from certctl_core.usecases.candidates import Entry
from certctl_core.usecases.importing import ImportCertificates, Result
from tests.core.usecases.world import ADMIN, World, make_world
from tests.strangers import authority, certificate, dns, pem

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

THREADS = 4
COUNT = 60


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_pool(database_url, size=THREADS + 1) as pool:
        yield make_world(PostgresWork(pool))


def test_who_imports_the_same_at_the_same_time_imports_it_once(world: World) -> None:
    """In different orders, under the same names, with different certificates above them."""
    above = [authority(issuer=f"Root {number}") for number in range(3)]
    leafs = [certificate("www.example.org", dns(f"site-{number}.example.org")) for number in range(COUNT)]
    entries = [Entry(pem(leaf, above[number % 3])) for number, leaf in enumerate(leafs)]

    def run(seed: int) -> Result:
        shuffled = random.Random(seed).sample(entries, COUNT)  # noqa: S311 - an order, guards nothing
        return importing.import_certificates(
            world.ports,
            ADMIN,
            ImportCertificates(
                owner_id=OwnerId("owner-1"),
                team_id=TeamId("team-1"),
                issuer_id=IssuerId("iss-local"),
                renewal_policy_id=RenewalPolicyId("rp-test"),
                entries=tuple(shuffled),
            ),
        )

    with ThreadPoolExecutor(THREADS) as threads:
        results = list(threads.map(run, range(THREADS)))

    assert sorted(len(result.imported) for result in results) == [0] * (THREADS - 1) + [COUNT]
    assert all(len(result.imported) + len(result.skipped) == COUNT for result in results)
    found = certificates.page(world.ports, ADMIN, Query(limit=500))
    assert (found.total, len({one.name for one in found.items})) == (COUNT, COUNT)
    assert world.actions().count("certificate_imported") == COUNT
