"""Keys that are remembered: never longer than was promised, whoever revokes them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from attrs import evolve

from certctl_adapters.memory import MemoryStore
from certctl_core.errors import NotAuthenticated
from certctl_core.models.access import SYSTEM, Principal, Role
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import access
from certctl_web.access import REMEMBERED, Keyring
from tests.stand_ins import MovableClock
from tests.web.api import make_ports

ADMIN = Principal("admin", Role.ADMIN)


class Watched:
    """A keyring, its time, and how many transactions it has opened."""

    def __init__(self) -> None:
        store, self.clock = MemoryStore(), MovableClock()
        self.opened = 0
        self.now = 1000.0
        self.direct = make_ports(store.work, self.clock)
        self.meanwhile: Callable[[], object] | None = None

        def work() -> AbstractContextManager[Work]:
            self.opened += 1
            return store.work()

        self.ports: Ports = evolve(self.direct, work=work)
        self.keyring = Keyring(self.ports, (), timedelta(seconds=1), lambda: self.now)
        self.made = access.create_key(self.direct, SYSTEM, "somebody", Role.VIEWER)

    def who(self) -> Principal:
        return self.keyring.who(self.made.plain, "req-1")

    def revoke(self) -> None:
        access.revoke_key(self.direct, ADMIN, self.made.record.id)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_key_that_is_known_costs_no_transaction(watched: Watched) -> None:
    assert watched.who().name == "somebody"
    before = watched.opened
    assert [watched.who().name for _ in range(5)] == ["somebody"] * 5
    assert watched.opened == before
    watched.now += 1
    watched.who()
    assert watched.opened == before + 1


def test_a_revoked_key_stops_working_within_what_was_promised(watched: Watched) -> None:
    watched.who()
    watched.revoke()
    watched.now += 1
    with pytest.raises(NotAuthenticated):
        watched.who()


def test_a_key_revoked_while_it_is_looked_up_is_not_remembered(watched: Watched) -> None:
    watched.who()
    look_up = access.key_of(watched.direct, watched.made.plain)
    watched.revoke()
    # What was read before the revocation arrives after it, as in a process that was slow.
    watched.keyring._known[access.digest(watched.made.plain)] = evolve(
        watched.keyring._known[access.digest(watched.made.plain)], key=look_up
    )
    watched.now += 1
    with pytest.raises(NotAuthenticated):
        watched.who()


def test_an_expired_key_stops_at_once(watched: Watched) -> None:
    now = watched.clock.now()
    made = access.create_key(watched.direct, SYSTEM, "brief", Role.VIEWER, expires_at=now + timedelta(minutes=1))
    assert watched.keyring.who(made.plain, "req-1").name == "brief"
    watched.clock.advance(timedelta(minutes=1))
    with pytest.raises(NotAuthenticated):
        watched.keyring.who(made.plain, "req-2")


def test_a_key_in_use_is_looked_up_now_and_then_and_noted(watched: Watched) -> None:
    watched.who()
    watched.clock.advance(timedelta(seconds=REMEMBERED))
    watched.now += REMEMBERED
    watched.who()
    with watched.direct.work() as work:
        assert work.api_keys.get(watched.made.record.id).last_used_at == watched.clock.now()


def test_unknown_keys_are_never_remembered(watched: Watched) -> None:
    for _ in range(2):
        before = watched.opened
        with pytest.raises(NotAuthenticated):
            watched.keyring.who("cck_wrong", "req-1")
        assert watched.opened > before
