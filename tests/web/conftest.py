"""The application for tests: empty, and with what certificates need."""

from collections.abc import Iterator

import pytest

from tests.web.api import Api, make_api


@pytest.fixture
def api() -> Iterator[Api]:
    """The application over an empty store in memory."""
    made = make_api()
    yield made
    made.app.close()


@pytest.fixture
def fleet(api: Api) -> Api:
    """With a team, an owner and an issuer."""
    api.foundations()
    return api
