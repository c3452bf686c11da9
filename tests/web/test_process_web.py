"""The web process: one TLS listener that stalled clients do not slow, that follows its certificate, and that drains."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certctl_core.errors import NotConfigured
from certctl_core.pki import bundle, ca
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_web import tls
from certctl_web.listening import listen
from certctl_web.settings import Web

PATIENCE = 15.0
NOW = datetime.now(UTC).replace(microsecond=0)

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import os, socket, sys, time
from datetime import timedelta
from pathlib import Path
from attrs import evolve
from certctl_web import logs, web
from certctl_web.process import Leash
from certctl_web.settings import Lifecycle, Log, Settings, Web
from certctl_web.tls import ServerContext, own_pair

data_dir, listener = Path(sys.argv[1]), int(sys.argv[2])
web.BODY_LIMIT = 1.0

def application(environ, start_response):
    path, body = environ["PATH_INFO"], b"hello"
    if path == "/slow":
        (data_dir / "slow-began").touch()
        time.sleep(1.0)
        body = b"at last"
    if path == "/scheme":
        body = environ["wsgi.url_scheme"].encode()
    if path == "/body":
        try:
            body = str(len(environ["wsgi.input"].read())).encode()
        except TimeoutError:
            body = b"too slow"
    if path in ("/endless", "/broken"):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return parts(path == "/broken")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

def parts(breaks):
    try:
        while True:
            yield b"x" * 65536
            if breaks:
                raise OSError("the database is gone")
    finally:
        (data_dir / "stream-closed").touch()

def make():
    return web.Served(application, ServerContext(own_pair(data_dir)), lambda: None, (data_dir / "closed").touch)

settings = Settings(web=Web(workers=1), lifecycle=Lifecycle(shutdown_timeout=timedelta(seconds=5)))
logs.configure(Log(), "web")
leash = Leash(int(sys.argv[3]) if len(sys.argv) > 3 else None)
web.serve(settings, socket.socket(fileno=listener), own_pair(data_dir), leash, make)
"""


class WebProcess:
    def __init__(self, data_dir: Path, authority: Authority) -> None:
        self.data_dir = data_dir
        tls.ensure(data_dir, authority, tls.server_names(Web()), NOW)
        self.trust = ssl.create_default_context(cadata=bundle.to_pem(authority.certificate))
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = listener.getsockname()[1]
        self.log = data_dir / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(data_dir), str(listener.fileno())],
                pass_fds=(listener.fileno(),),
                cwd=Path(__file__).parents[2],
                stderr=log,
            )
        listener.close()

    def connect(self, timeout: float = PATIENCE) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.trust)

    def get(self, path: str) -> tuple[int, bytes]:
        connection = self.connect()
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return ca.create_root("Test control plane", KeyKind.ECDSA_P256, NOW - timedelta(days=1), timedelta(days=3650))


@pytest.fixture
def server(tmp_path: Path, authority: Authority) -> Iterator[WebProcess]:
    process = WebProcess(tmp_path, authority)
    try:
        assert process.get("/") == (200, b"hello")
        yield process
    finally:
        process.stop()


def test_it_answers_over_tls_and_does_not_name_its_software(server: WebProcess) -> None:
    connection = server.connect()
    connection.request("GET", "/scheme")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"https")
    assert answer.headers["Server"] == "certctl"
    assert connection.sock is not None
    connection.close()


@pytest.mark.parametrize("ending", ["keep-alive", "close"])
def test_a_small_answer_is_one_record(server: WebProcess, ending: str) -> None:
    with (
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as raw,
        server.trust.wrap_socket(raw, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: {ending}\r\n\r\n".encode())
        record = client.recv(65536)
    assert record.startswith(b"HTTP/1.1 200 OK\r\n")
    assert record.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("ending", ["keep-alive", "close"])
def test_an_answer_without_a_body_is_sent_whole(server: WebProcess, ending: str) -> None:
    connection = server.connect()
    connection.request("HEAD", "/", headers={"Connection": ending})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, "5", b"")
    connection.close()


def test_an_answer_that_nobody_reads_on_is_ended(server: WebProcess) -> None:
    connection = server.connect()
    connection.request("GET", "/endless")
    assert connection.getresponse().read(1_000_000) == b"x" * 1_000_000
    assert not (server.data_dir / "stream-closed").exists()
    connection.close()
    deadline = time.monotonic() + PATIENCE
    while not (server.data_dir / "stream-closed").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert server.get("/") == (200, b"hello")


def test_an_answer_that_breaks_off_does_not_look_whole(server: WebProcess) -> None:
    with pytest.raises(http.client.IncompleteRead):
        server.get("/broken")
    assert (server.data_dir / "stream-closed").exists()
    assert server.get("/") == (200, b"hello")


def test_stalled_handshakes_and_heads_delay_nobody(server: WebProcess) -> None:
    stalled = []
    try:
        for number in range(60):
            raw = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
            stalled.append(raw)
            if number % 2:
                raw.sendall(b"\x16\x03\x01\x02\x00\x01")
        began = time.monotonic()
        assert server.get("/") == (200, b"hello")
        assert time.monotonic() - began < 2
    finally:
        for raw in stalled:
            raw.close()


def test_clients_that_hang_up_or_speak_no_tls_leave_no_noise(server: WebProcess) -> None:
    for words in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"):
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        raw.sendall(words)
        raw.close()
    connection = server.connect()
    connection.connect()
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    connection = server.connect()
    connection.putrequest("POST", "/body")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"too little")
    connection.close()
    assert server.get("/") == (200, b"hello")
    server.stop()
    assert server.log.read_text() == ""


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_drips_is_given_up(server: WebProcess, chunked: bool) -> None:
    """Each byte comes in time, the whole does not."""
    connection = server.connect()
    connection.putrequest("POST", "/body")
    connection.putheader(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", "1000")))
    connection.endheaders()
    began = time.monotonic()
    connection.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):  # nothing is answered to half a body
        connection.sock.recv(1)
    connection.sock.settimeout(PATIENCE)
    stop = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(0.1):
                connection.sock.sendall(b"1\r\nx\r\n" if chunked else b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"too slow")
    assert 0.9 < time.monotonic() - began < 5
    stop.set()
    dripping.join(PATIENCE)
    connection.close()


def test_a_changed_certificate_is_served_without_a_restart(server: WebProcess, authority: Authority) -> None:
    def shown() -> object:
        connection = server.connect()
        connection.connect()
        try:
            return connection.sock.getpeercert(binary_form=True)
        finally:
            connection.close()

    before = shown()
    names = tls.server_names(Web(public_url="https://another.example"))
    assert tls.ensure(server.data_dir, authority, names, NOW)
    assert shown() != before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_answered_before_it_ends(server: WebProcess, number: signal.Signals) -> None:
    answers: list[tuple[int, bytes]] = []
    client = threading.Thread(target=lambda: answers.append(server.get("/slow")))
    idle = server.connect()
    idle.request("GET", "/")
    idle.getresponse().read()
    client.start()
    deadline = time.monotonic() + PATIENCE
    while not (server.data_dir / "slow-began").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    began = time.monotonic()
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE) == 0
    client.join(PATIENCE)
    idle.close()
    assert answers == [(200, b"at last")]
    # The connection that was idle between two requests held nobody up.
    assert time.monotonic() - began < 4
    assert (server.data_dir / "closed").exists()


def test_a_worker_that_dies_is_replaced(server: WebProcess) -> None:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    assert server.get("/") == (200, b"hello")
    entries = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert all(entry["process"] == "web" for entry in entries)


def test_a_port_in_use_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            NotConfigured, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"
        ) as told:
            listen("127.0.0.1", port, patience=0.3)
    assert "CERTCTL_SERVER_PORT" in told.value.hint


def test_a_port_that_is_given_up_meanwhile_is_taken() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    threading.Timer(0.3, taken.close).start()
    with listen("127.0.0.1", port, patience=10) as listener:
        assert listener.getsockname()[1] == port


def test_an_address_of_another_machine_is_told_in_one_line() -> None:
    with pytest.raises(NotConfigured, match="Cannot assign requested address"):
        listen("192.0.2.1", 0)


def test_the_listener_is_inherited() -> None:
    with listen("::1", 0) as listener:
        assert listener.get_inheritable()
        assert listener.family is socket.AF_INET6
