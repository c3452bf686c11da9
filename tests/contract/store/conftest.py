"""The stores that must keep the contract."""

from collections.abc import Iterator

import pytest

from certctl_adapters.memory import MemoryStore
from certctl_adapters.postgres.work import Pool, PostgresWork, open_pool
from tests.contract.store import facts
from tests.contract.store.facts import OpenWork, seed


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    """Connections to a database of the test's own."""
    with open_pool(database_url, size=4) as pool:
        yield pool


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest) -> OpenWork:
    """Every store in turn, as `Ports.work`."""
    if request.param == "memory":
        return MemoryStore().work
    return PostgresWork(request.getfixturevalue("pool"))


@pytest.fixture
def seeded(store: OpenWork) -> OpenWork:
    """A store with what certificates need to exist."""
    with store() as work:
        seed(work)
    return store


@pytest.fixture
def issued(seeded: OpenWork) -> OpenWork:
    """Seeded, with the certificates `mc-1` and `mc-2`, never issued."""
    with seeded() as work:
        work.certificates.add(facts.certificate("mc-1", target_ids=("t-2", "t-1")))
        work.certificates.add(facts.certificate("mc-2"))
    return seeded


@pytest.fixture
def postgres(pool: Pool) -> OpenWork:
    """The store on PostgreSQL, seeded, for what only a database can get wrong."""
    work = PostgresWork(pool)
    with work() as seeding:
        seed(seeding)
    return work
