"""What every test gets: no network beyond the loopback, and a clock that moves only when told."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import settings

from tests.stand_ins import MovableClock

pytest_plugins = ["tests.databases"]

# Deadlines measure the machine, not the code. Inputs are the same in every run, so that a failure belongs to a change;
# `pytest --hypothesis-profile=explore` looks for new ones.
settings.register_profile("certctl", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("certctl")


class OutsideWorld(BaseException):
    """A test reached for the network. Not an `Exception`, so that no error handling under test can swallow it."""


def _is_local(family: int, address: Any) -> bool:
    if family == socket.AF_UNIX:
        return True
    if family not in (socket.AF_INET, socket.AF_INET6):
        return False
    host = str(address[0])
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@contextmanager
def only_loopback() -> Iterator[None]:
    """Within it, connecting or sending anywhere but to this machine raises `OutsideWorld`."""

    def guarded(name: str) -> Any:
        real = getattr(socket.socket, name)

        def call(self: socket.socket, *args: Any) -> Any:
            *_, address = args
            if not _is_local(self.family, address):
                raise OutsideWorld(f"{name} to {address!r}: tests talk to this machine only")
            return real(self, *args)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, guarded(name))
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()
