"""The prober sees what is served, and says why when it sees nothing."""

import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest

from certctl_adapters.prober import TlsProber
from certctl_core.errors import UpstreamUnavailable
from tests.authority import Authority, Leaf, PresentingServer, fingerprint, presenting

SOON = timedelta(seconds=10)


@pytest.fixture
def leaf() -> Leaf:
    return Authority().leaf("www.example.test")


@pytest.fixture
def server(leaf: Leaf, tmp_path: Path) -> Iterator[PresentingServer]:
    with presenting(*leaf.write(tmp_path)) as running:
        yield running


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_the_leaf_is_seen_whoever_signed_it(server: PresentingServer, leaf: Leaf) -> None:
    seen = TlsProber().probe("127.0.0.1", server.port, timeout=SOON)
    assert seen.fingerprint == fingerprint(leaf.certificate)
    assert seen.certificate == leaf.certificate
    assert seen.tls_version == "TLSv1.3"
    assert timedelta(0) < seen.took < SOON


def test_the_server_is_asked_for_the_name_given(server: PresentingServer) -> None:
    TlsProber().probe("127.0.0.1", server.port, server_name="www.example.test", timeout=SOON)
    TlsProber().probe("localhost", server.port, timeout=SOON)
    assert server.asked_names == ["www.example.test", "localhost"]


def test_an_address_is_no_server_name(server: PresentingServer) -> None:
    TlsProber().probe("127.0.0.1", server.port, timeout=SOON)
    assert server.asked_names == [None]


def test_nobody_listening_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UpstreamUnavailable, match="Connection refused"):
        TlsProber().probe("127.0.0.1", port, timeout=SOON)


def test_a_mute_server_is_given_up_in_time(mute: int) -> None:
    began = time.monotonic()
    with pytest.raises(UpstreamUnavailable, match="no answer in time"):
        TlsProber().probe("127.0.0.1", mute, timeout=timedelta(seconds=0.3))
    assert time.monotonic() - began < 5


def test_a_name_that_cannot_be_sent_is_no_crash(server: PresentingServer) -> None:
    with pytest.raises(UpstreamUnavailable):
        TlsProber().probe("127.0.0.1", server.port, server_name=".", timeout=SOON)
    with pytest.raises(UpstreamUnavailable):
        TlsProber().probe("127.0.0.1", server.port, server_name="a" * 300, timeout=SOON)


def test_a_server_that_does_not_speak_tls_is_said_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def greet() -> None:
            plain, _ = listener.accept()
            with plain:
                plain.sendall(b"220 mail.example.test ESMTP\r\n")
                plain.recv(4096)

        greeter = Thread(target=greet)
        greeter.start()
        with pytest.raises(UpstreamUnavailable, match="TLS handshake failed"):
            TlsProber().probe("127.0.0.1", listener.getsockname()[1], timeout=SOON)
        greeter.join(10)
