"""The application for tests: empty, and with what certificates need."""

from collections.abc import Iterator

import pytest

from certctl_adapters.postgres.work import PostgresWork, open_pool
from tests.stand_ins import MovableClock
from tests.web.api import Api, make_api, make_ports


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    """The application over an empty store: in memory, unless the test asks for another one."""
    if getattr(request, "param", "memory") == "memory":
        made = make_api()
        yield made
        made.app.close()
        return
    clock = MovableClock()
    with open_pool(request.getfixturevalue("database_url"), size=4) as pool:
        made = make_api(ports=make_ports(PostgresWork(pool), clock), clock=clock)
        yield made
        made.app.close()


@pytest.fixture
def fleet(api: Api) -> Api:
    """With a team, an owner and an issuer."""
    api.foundations()
    return api
