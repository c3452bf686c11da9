"""OCSP over plain HTTP: every form that a request may come in, and what may be kept by others."""

import base64
import io
import urllib.parse
from collections.abc import Callable, Iterable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as library

from certctl_core.errors import UpstreamUnavailable
from certctl_core.pki import ca
from certctl_core.pki.keys import KeyKind
from certctl_web import metrics
from certctl_web.app import create_app
from certctl_web.ocsp import front as module
from certctl_web.ocsp.desk import OcspDesk
from certctl_web.ocsp.front import Front
from certctl_web.operations import TABLE
from certctl_web.options import Options, Rate
from certctl_web.serving import plain_rows
from tests.core.usecases.world import START, World, make_world

PATH = "/.well-known/pki/ocsp/iss-local"
GOOD = library.OCSPCertStatus.GOOD
STATUS = library.OCSPResponseStatus


@frozen
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def ocsp(self) -> library.OCSPResponse:
        assert self.headers["Content-Type"] == "application/ocsp-response"
        assert self.headers["Content-Length"] == str(len(self.body))
        return library.load_der_ocsp_response(self.body)


@define
class Listener:
    """The plain listener's application, without a server around it."""

    world: World
    app: Callable[..., Iterable[bytes]]
    serial: str
    passed_on: list[str] = field(factory=list)

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": urllib.parse.unquote(path, "latin-1"),
            "REMOTE_ADDR": "192.0.2.1",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "QUERY_STRING": "",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            **({"CONTENT_LENGTH": str(len(body))} if body else {}),
            **headers,
        }
        given: list[Any] = []
        parts = self.app(environ, lambda status, sent: given.extend((status, sent)))
        return Reply(int(given[0].split()[0]), dict(given[1]), b"".join(parts))

    def get(self, der: bytes, **headers: str) -> Reply:
        return self.send("GET", f"{PATH}/{urllib.parse.quote(base64.b64encode(der).decode(), safe='')}", **headers)

    def post(self, der: bytes, kind: str = "application/ocsp-request") -> Reply:
        return self.send("POST", PATH, der, **({"CONTENT_TYPE": kind} if kind else {}))

    def request(self, hash_with: hashes.HashAlgorithm | None = None, nonce: bytes | None = None) -> bytes:
        return request(self.world.ca.authority.certificate, self.serial, hash_with, nonce)


def request(
    issuer: x509.Certificate, serial: str, hash_with: hashes.HashAlgorithm | None = None, nonce: bytes | None = None
) -> bytes:
    from certctl_core.pki import ocsp

    chosen = hash_with or hashes.SHA1()  # noqa: S303
    hashed = ocsp.issuer_hashes(issuer, chosen.name)
    builder = library.OCSPRequestBuilder().add_certificate_by_hash(*hashed, int(serial, 16), chosen)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    world = make_world()
    monkeypatch.setattr(module.time, "time", lambda: world.clock.now().timestamp())
    certificate = world.certificate(world.target(world.agent()))
    with world.ports.work() as work:
        agent = work.agents.get("agent-web-1")
    issued = world.issued(certificate, agent)
    assert issued.version is not None
    options = Options(auth_required=False, rate=None, record_calls=False)
    behind = create_app(world.ports, options, plain_rows(TABLE), pages=False)
    return Listener(world, Front(OcspDesk(world.ports), behind), issued.version.serial_number)


@pytest.mark.parametrize("hash_with", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])  # noqa: S303
def test_post_and_get_answer_alike(listener: Listener, hash_with: hashes.HashAlgorithm) -> None:
    der = listener.request(hash_with)
    for reply in (listener.post(der), listener.get(der), listener.post(der, kind="")):
        assert reply.status == 200
        assert reply.ocsp.certificate_status is GOOD
        assert reply.ocsp.hash_algorithm.name == hash_with.name


def test_the_path_may_be_encoded_in_every_way_that_clients_do(listener: Listener) -> None:
    der = listener.request(nonce=b"\xfb\xff\xfe" * 8)
    plain = base64.b64encode(der).decode()
    assert {"+", "/"} & set(plain)
    paths = [
        plain,
        urllib.parse.quote(plain, safe=""),
        plain.rstrip("="),
        base64.urlsafe_b64encode(der).decode(),
        urllib.parse.quote(plain, safe="/"),
    ]
    for path in paths:
        assert listener.send("GET", f"{PATH}/{path}").ocsp.certificate_status is GOOD


def test_a_serial_number_in_the_path_is_asked_about_by_itself(listener: Listener) -> None:
    for path in (listener.serial, listener.serial.upper(), f"00{listener.serial}"):
        reply = listener.send("GET", f"{PATH}/{path}")
        assert reply.ocsp.certificate_status is GOOD
        assert f"{reply.ocsp.serial_number:x}" == listener.serial
    assert listener.send("GET", f"{PATH}/ab").ocsp.certificate_status is library.OCSPCertStatus.UNKNOWN
    assert listener.send("GET", f"{PATH}/0").ocsp.response_status is STATUS.MALFORMED_REQUEST


def test_an_answer_to_a_get_says_how_long_it_may_be_kept(listener: Listener) -> None:
    reply = listener.get(listener.request())
    response = reply.ocsp
    assert reply.headers["Cache-Control"] == "max-age=3599, public, no-transform, must-revalidate"
    assert parsedate_to_datetime(reply.headers["Last-Modified"]) == response.this_update_utc
    assert parsedate_to_datetime(reply.headers["Expires"]) == response.next_update_utc
    assert reply.headers["ETag"].startswith('"')
    assert "Cache-Control" not in listener.post(listener.request()).headers


def test_who_has_the_answer_is_told_so(listener: Listener) -> None:
    first = listener.get(listener.request())
    tag, modified = first.headers["ETag"], first.headers["Last-Modified"]
    for headers in (
        {"HTTP_IF_NONE_MATCH": tag},
        {"HTTP_IF_NONE_MATCH": f'"other", W/{tag}'},
        {"HTTP_IF_NONE_MATCH": "*"},
        {"HTTP_IF_MODIFIED_SINCE": modified},
    ):
        reply = listener.get(listener.request(), **headers)
        assert (reply.status, reply.body) == (304, b""), headers
        assert reply.headers["ETag"] == tag
        assert "Content-Length" not in reply.headers
    for headers in (
        {"HTTP_IF_NONE_MATCH": '"other"', "HTTP_IF_MODIFIED_SINCE": modified},
        {"HTTP_IF_MODIFIED_SINCE": "Mon, 01 Jan 2001 00:00:00 GMT"},
        {"HTTP_IF_MODIFIED_SINCE": "yesterday"},
    ):
        assert listener.get(listener.request(), **headers).status == 200, headers


def test_what_is_for_one_or_may_change_at_once_is_not_kept(listener: Listener) -> None:
    nonce = listener.get(listener.request(nonce=b"mine"))
    unknown = listener.get(request(listener.world.ca.authority.certificate, "abcd"))
    malformed = listener.send("GET", f"{PATH}/MAAA")
    assert [one.headers["Cache-Control"] for one in (nonce, unknown, malformed)] == ["no-store"] * 3
    (echoed,) = nonce.ocsp.extensions
    assert isinstance(echoed.value, x509.OCSPNonce)
    assert echoed.value.nonce == b"mine"


@pytest.mark.parametrize("path", ["MAAA", "M", "!!!!", "MEUw%00", "M" * 22000])
def test_what_cannot_be_read_is_malformed(listener: Listener, path: str) -> None:
    assert listener.send("GET", f"{PATH}/{path}").ocsp.response_status is STATUS.MALFORMED_REQUEST


@pytest.mark.parametrize("nonce", [b"", bytes(129)])
def test_a_nonce_of_another_length_is_malformed(listener: Listener, nonce: bytes) -> None:
    assert listener.post(listener.request(nonce=nonce)).ocsp.response_status is STATUS.MALFORMED_REQUEST


def test_another_issuers_certificate_is_none_of_ours(listener: Listener) -> None:
    stranger = ca.create_root("Stranger", KeyKind.ECDSA_P256, START, timedelta(days=1)).certificate
    assert listener.post(request(stranger, "ab")).ocsp.response_status is STATUS.UNAUTHORIZED


def test_without_the_store_clients_are_told_to_try_later(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    listener.post(listener.request())

    def away(*_: object, **__: object) -> None:
        raise UpstreamUnavailable("the database is away")

    monkeypatch.setattr("certctl_core.usecases.ocsp.standings", away)
    assert listener.post(listener.request()).ocsp.response_status is STATUS.TRY_LATER


def test_what_goes_wrong_here_is_an_internal_error(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(OcspDesk, "answer", broken)
    assert listener.post(listener.request()).ocsp.response_status is STATUS.INTERNAL_ERROR


def test_a_body_that_is_called_something_else_is_refused(listener: Listener) -> None:
    assert listener.post(listener.request(), kind="application/json").status == 415


def test_a_body_that_is_too_long_is_refused_before_it_is_looked_at(listener: Listener) -> None:
    assert listener.post(bytes(1 << 21)).status == 413
    assert listener.post(bytes(20_000)).status == 413


def test_an_issuer_that_does_not_exist_is_not_found(listener: Listener) -> None:
    der = base64.b64encode(listener.request()).decode()
    assert listener.send("GET", f"/.well-known/pki/ocsp/iss-none/{urllib.parse.quote(der, safe='')}").status == 404
    assert listener.send("POST", "/.well-known/pki/ocsp/iss-none", listener.request()).status == 404
    assert listener.send("GET", f"/.well-known/pki/ocsp/..%2f/{der}").status == 404


def test_nothing_else_than_what_is_signed_is_served(listener: Listener) -> None:
    for path in ("/", "/health", "/ready", "/api/v1/certificates", "/login", "/.well-known/certctl/ca.pem", PATH):
        assert listener.send("GET", path).status in (404, 405), path
    assert listener.send("GET", "/.well-known/pki/ca/iss-local").status == 200
    assert {row.path for row in plain_rows(TABLE)} == {
        row.path for row in TABLE if row.path.startswith("/.well-known/pki/")
    }
    assert all(row.is_public for row in plain_rows(TABLE))


def test_who_asks_too_often_is_told_to_wait_a_minute(listener: Listener) -> None:
    listener.app = Front(OcspDesk(listener.world.ports), listener.app, Rate(0.001, 2))
    der = listener.request()
    assert [listener.get(der).ocsp.response_status for _ in range(3)] == [
        STATUS.SUCCESSFUL,
        STATUS.SUCCESSFUL,
        STATUS.UNAUTHORIZED,
    ]
    assert listener.get(der).headers["Retry-After"] == "60"
    assert listener.get(der, REMOTE_ADDR="192.0.2.2").ocsp.response_status is STATUS.SUCCESSFUL


def test_what_is_asked_is_counted(listener: Listener) -> None:
    def counted() -> dict[str, float]:
        (family,) = (one for one in metrics._measured.collect() if one.name == "certctl_ocsp_counter")
        return {one.labels["label"]: one.value for one in family.samples if one.name.endswith("_total")}

    before = counted()
    listener.get(listener.request())
    listener.post(listener.request(nonce=b"mine"))
    listener.send("GET", f"{PATH}/MAAA")
    listener.post(request(listener.world.ca.authority.certificate, "abcd"))
    gained = {label: value - before.get(label, 0) for label, value in counted().items()}
    assert {label: value for label, value in gained.items() if value} == {
        "request_get": 2,
        "request_post": 2,
        "request_success": 3,
        "request_invalid": 1,
        "nonce_echoed": 1,
        "cert_not_found": 1,
    }
