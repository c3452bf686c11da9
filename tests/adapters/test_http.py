"""The HTTP client against a real server: what it sends, what it refuses, and what errors it makes of answers."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from certctl_adapters.egress import ANYWHERE, PUBLIC_ONLY, Egress, networks
from certctl_adapters.http import Answer, HttpClient, error_of, retry_after, trust, trust_nobody_checked
from certctl_core.errors import (
    CertctlError,
    Conflict,
    Forbidden,
    Gone,
    InUse,
    Invalid,
    NotAuthenticated,
    NotFound,
    Refused,
    TooLarge,
    TooMany,
    UpstreamRejected,
    UpstreamUnavailable,
)
from tests.authority import Authority, pem


@define
class Peer:
    """A server that answers what it is told to and remembers what it was asked."""

    port: int = 0
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(factory=dict)
    drip: float = 0.0
    hang_up: int = 0
    missing: int = 0
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(factory=list)


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    peer = Peer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            peer.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, sent))
            if peer.hang_up > 0:
                peer.hang_up -= 1
                self.close_connection = True
                return
            self.send_response(peer.status)
            for name, value in peer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(peer.body) + peer.missing))
            self.end_headers()
            self.deliver()
            self.close_connection = self.close_connection or peer.missing > 0

        def deliver(self) -> None:
            for offset in range(len(peer.body)) if peer.drip else (slice(None),):
                time.sleep(peer.drip)
                try:
                    self.wfile.write(peer.body[offset : offset + 1] if isinstance(offset, int) else peer.body)
                    self.wfile.flush()
                except OSError:
                    return

        do_GET = do_POST = do  # noqa: N815 - the names http.server looks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Tests are quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is part of the test."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    peer.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as running:
        yield running


@pytest.fixture
def client(peer: Peer) -> Iterator[HttpClient]:
    made = HttpClient(f"http://127.0.0.1:{peer.port}/base/", headers={"Authorization": "Bearer k"})
    yield made
    made.close()


def secured(authority: Authority, folder: Path, minimum: ssl.TLSVersion, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.leaf(*names).write(folder))
    context.maximum_version = minimum
    return context


def test_a_call_carries_json_and_the_headers_of_the_client(peer: Peer, client: HttpClient) -> None:
    peer.body = b'{"jobs":[]}'
    answer = client.call("POST", "/api/v1/x", body={"a": "ü"})
    method, path, headers, sent = peer.asked[0]
    assert (method, path, json.loads(sent)) == ("POST", "/base/api/v1/x", {"a": "ü"})
    assert headers["authorization"] == "Bearer k"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("certctl/")
    assert answer.json() == {"jobs": []}


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_is_nested_without_end_is_no_answer(peer: Peer, client: HttpClient, status: int) -> None:
    peer.status, peer.body = status, b"[" * 200_000
    with pytest.raises(UpstreamUnavailable):
        client.ask("GET", "/x").json()


def test_a_redirect_is_an_answer_and_is_not_followed(peer: Peer, client: HttpClient) -> None:
    peer.status, peer.headers = 302, {"Location": "http://169.254.169.254/"}
    assert client.call("GET", "/x").status == 302
    assert len(peer.asked) == 1
    with pytest.raises(UpstreamUnavailable, match=r"status 302 to http://169\.254\.169\.254/"):
        client.ask("POST", "/x", body={})
    assert len(peer.asked) == 2


def test_an_answer_over_the_cap_is_refused(peer: Peer) -> None:
    peer.body = b"x" * 2000
    client = HttpClient(f"http://127.0.0.1:{peer.port}", max_body=1000)
    with pytest.raises(TooLarge, match="more than 1000 bytes"):
        client.call("GET")
    client.close()


def test_an_answer_of_any_length_is_read_as_it_arrives(peer: Peer, client: HttpClient) -> None:
    peer.body = b"x" * (6 << 20)
    with client.stream("/long") as arriving:
        assert arriving.status == 200
        assert sum(len(part) for part in arriving.parts) == 6 << 20
    assert peer.asked[0][:2] == ("GET", "/base/long")
    assert peer.asked[0][2]["authorization"] == "Bearer k"


def test_what_is_not_read_is_not_fetched(peer: Peer, client: HttpClient) -> None:
    peer.body = b"x" * (64 << 20)
    with client.stream("/long") as arriving:
        assert next(arriving.parts)
    peer.body = b"{}"
    assert client.call("GET", "/next").json() == {}


def test_an_answer_that_breaks_off_is_not_taken_for_whole(peer: Peer, client: HttpClient) -> None:
    peer.body, peer.missing = b"x" * 1000, 1
    with client.stream() as arriving:
        assert next(arriving.parts) == b"x" * 1000
        with pytest.raises(UpstreamUnavailable):
            next(arriving.parts)


def test_a_refusal_is_read_whole(peer: Peer, client: HttpClient) -> None:
    peer.status, peer.body = 403, b'{"detail": "not you"}'
    with client.stream() as arriving:
        assert isinstance(error_of(arriving.whole()), Forbidden)


def test_a_part_that_does_not_come_is_given_up_in_time(peer: Peer) -> None:
    peer.body, peer.drip = b"xy", 2.0
    client = HttpClient(f"http://127.0.0.1:{peer.port}", timeout=timedelta(milliseconds=300))
    with client.stream() as arriving, pytest.raises(UpstreamUnavailable, match="time"):
        next(arriving.parts)
    client.close()


def test_nobody_there_is_told_by_a_stream_too() -> None:
    client = HttpClient("http://127.0.0.1:9", timeout=timedelta(seconds=1))
    with pytest.raises(UpstreamUnavailable), client.stream():
        pass
    client.close()


def test_an_answer_that_drips_is_given_up_in_time(peer: Peer) -> None:
    peer.body, peer.drip = b"x" * 200, 0.05
    client = HttpClient(f"http://127.0.0.1:{peer.port}", timeout=timedelta(seconds=0.5))
    began = time.monotonic()
    with pytest.raises(UpstreamUnavailable, match="in time"):
        client.call("GET")
    assert time.monotonic() - began < 5
    client.close()


def test_an_idempotent_call_survives_one_closed_connection(peer: Peer, client: HttpClient) -> None:
    peer.hang_up = 1
    assert client.call("GET", "/x").status == 200
    assert len(peer.asked) == 2


def test_a_call_that_is_not_idempotent_is_made_once(peer: Peer, client: HttpClient) -> None:
    peer.hang_up = 1
    with pytest.raises(UpstreamUnavailable):
        client.call("POST", "/join", body={}, idempotent=False)
    assert len(peer.asked) == 1


def test_something_that_is_not_json_is_quoted(peer: Peer, client: HttpClient) -> None:
    peer.body = b"<html>proxy login</html>"
    with pytest.raises(UpstreamUnavailable, match="proxy login"):
        client.call("GET").json()


def test_nobody_listening_is_named() -> None:
    with serving() as peer:
        port = peer.port
    with pytest.raises(UpstreamUnavailable, match=f"127.0.0.1:{port}: Connection refused"):
        HttpClient(f"http://127.0.0.1:{port}").call("GET")


def test_a_server_of_our_ca_is_believed(tmp_path: Path) -> None:
    authority = Authority()
    with serving(secured(authority, tmp_path, ssl.TLSVersion.TLSv1_3, "localhost", "127.0.0.1")) as peer:
        tls = trust(pem(authority.certificate).encode(), minimum=ssl.TLSVersion.TLSv1_3)
        for host in ("localhost", "127.0.0.1"):
            client = HttpClient(f"https://{host}:{peer.port}", tls=tls)
            assert client.call("GET").status == 200
            client.close()


@pytest.mark.parametrize("flaw", ["stranger", "name"])
def test_a_server_of_another_ca_or_name_is_not_believed(tmp_path: Path, flaw: str) -> None:
    authority = Authority()
    name = "other.test" if flaw == "name" else "127.0.0.1"
    believed = Authority().certificate if flaw == "stranger" else authority.certificate
    with serving(secured(authority, tmp_path, ssl.TLSVersion.TLSv1_3, name)) as peer:
        client = HttpClient(f"https://127.0.0.1:{peer.port}", tls=trust(pem(believed).encode()))
        with pytest.raises(UpstreamUnavailable, match="not to be believed"):
            client.call("GET")
        client.close()
        assert peer.asked == []


def test_old_tls_is_refused_where_we_ask_for_more(tmp_path: Path) -> None:
    authority = Authority()
    with serving(secured(authority, tmp_path, ssl.TLSVersion.TLSv1_2, "127.0.0.1")) as peer:
        strict = trust(pem(authority.certificate).encode(), minimum=ssl.TLSVersion.TLSv1_3)
        client = HttpClient(f"https://127.0.0.1:{peer.port}", tls=strict)
        with pytest.raises(UpstreamUnavailable, match="TLS handshake failed"):
            client.call("GET")
        client.close()


def test_an_unchecked_server_is_reached_without_a_warning(tmp_path: Path) -> None:
    with serving(secured(Authority(), tmp_path, ssl.TLSVersion.TLSv1_3, "other.test")) as peer:
        client = HttpClient(f"https://127.0.0.1:{peer.port}", tls=trust_nobody_checked())
        assert client.call("GET").status == 200
        client.close()


@pytest.mark.parametrize("bundle", [b"", b"garbage", b"\xff"])
def test_a_bundle_without_certificates_is_refused(bundle: bytes) -> None:
    with pytest.raises(Invalid, match="CA bundle"):
        trust(bundle)


@pytest.mark.parametrize("url", ["ftp://x", "https://", "x", "https://u:p@h", "http://h:x", "https://h/?q=1"])
def test_what_is_no_server_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        HttpClient(url, tls=trust())


def answer(status: int, body: Any = b"", **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, NotAuthenticated),
        (403, Forbidden),
        (404, NotFound),
        (405, UpstreamRejected),
        (409, Conflict),
        (410, Gone),
        (413, TooLarge),
        (422, Refused),
        (429, TooMany),
        (500, UpstreamUnavailable),
        (503, UpstreamUnavailable),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[CertctlError]) -> None:
    error = error_of(answer(status, {"detail": "what", "hint": "so"}))
    assert type(error) is kind
    assert "what" in error.message
    assert error.hint == "so"


def test_details_of_problems_come_through() -> None:
    invalid = error_of(answer(400, {"detail": "d", "fields": [{"field": "name", "message": "is required"}]}))
    assert isinstance(invalid, Invalid)
    assert [(one.field, one.message) for one in invalid.fields] == [("name", "is required")]
    refused = error_of(answer(422, {"detail": "d", "reasons": ["too weak"]}))
    assert isinstance(refused, Refused)
    assert refused.reasons == ("too weak",)
    in_use = error_of(answer(409, {"error": "blocked_by_dependencies", "message": "m", "counts": {"jobs": 1}}))
    assert isinstance(in_use, InUse)
    assert (in_use.message, in_use.counts) == ("m", {"jobs": 1})
    many = error_of(answer(429, {}, retry_after="7"))
    assert isinstance(many, TooMany)
    assert many.retry_after == 7


@pytest.mark.parametrize("body", [b"", b"Internal Server Error", b"[1]", b'"x"', b"\xff"])
def test_an_error_body_that_is_no_problem_is_quoted(body: bytes) -> None:
    error = error_of(answer(500, body))
    assert error.message == (body.decode(errors="replace").strip() or "status 500")


def test_retry_after_is_read_in_both_forms() -> None:
    later = datetime.now(UTC) + timedelta(minutes=5)
    assert 290 <= (retry_after(answer(503, retry_after=format_datetime(later, usegmt=True))) or 0) <= 300
    assert retry_after(answer(503, retry_after="99999999999")) == 86400
    assert retry_after(answer(503, retry_after="Sun, 06 Nov 1994 08:49:37 GMT")) == 0
    assert retry_after(answer(503, retry_after="soon")) is None
    assert retry_after(answer(503)) is None


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "0.0.0.0"),  # noqa: S104
        *("224.0.0.1", "255.255.255.255", "168.63.129.16", "192.0.0.192", "::", "::1", "fe80::1", "fd00:ec2::254"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "ff02::1"),
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
)
def test_addresses_inside_are_refused_from_the_control_plane(address: str) -> None:
    assert not PUBLIC_ONLY.permits(ip_address(address))
    assert ANYWHERE.permits(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_addresses_of_the_internet_are_permitted(address: str) -> None:
    assert PUBLIC_ONLY.permits(ip_address(address))


def test_a_network_that_the_operator_allowed_is_permitted() -> None:
    egress = Egress(allowed=networks(["10.0.0.0/8", "fd00::/8"]))
    assert egress.permits(ip_address("10.1.2.3"))
    assert egress.permits(ip_address("::ffff:10.1.2.3"))
    assert not egress.permits(ip_address("192.168.0.1"))


def test_a_name_that_leads_inside_is_not_connected_to(peer: Peer) -> None:
    for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]"):
        client = HttpClient(f"http://{host}:{peer.port}", egress=PUBLIC_ONLY)
        with pytest.raises(Forbidden, match="not on the public Internet"):
            client.call("GET")
        client.close()
    assert peer.asked == []


def test_an_allowed_address_is_connected_to(peer: Peer) -> None:
    client = HttpClient(f"http://localhost:{peer.port}", egress=Egress(allowed=networks(["127.0.0.0/8"])))
    assert client.call("GET").status == 200
    assert peer.asked[0][2]["host"] == f"localhost:{peer.port}"
    client.close()


def test_a_name_that_does_not_resolve_is_unavailable() -> None:
    with pytest.raises(UpstreamUnavailable):
        PUBLIC_ONLY.addresses("no-such-host.invalid", 443)
    with pytest.raises(UpstreamUnavailable, match="is no host name"):
        PUBLIC_ONLY.addresses("a" * 300, 443)
