"""Tests talk to this machine only."""

import socket

import pytest

from tests.conftest import OutsideWorld


@pytest.mark.parametrize("address", [("192.0.2.1", 443), ("example.org", 443), ("0.0.0.0", 443)])  # noqa: S104
def test_connecting_to_another_machine_is_refused(address: tuple[str, int]) -> None:
    with socket.socket() as client, pytest.raises(OutsideWorld):
        client.connect(address)


def test_an_outside_ipv6_address_is_refused() -> None:
    with socket.socket(socket.AF_INET6) as client, pytest.raises(OutsideWorld):
        client.connect(("2001:db8::1", 443, 0, 0))


def test_the_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
