"""A fresh world for each test."""

import pytest

from tests.core.usecases.world import World, make_world


@pytest.fixture
def world() -> World:
    return make_world()
