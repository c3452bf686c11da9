"""OpenSSL asks the real processes over plain HTTP: two that answer, at one database, beside the server itself."""

import base64
import http.client
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from demo.processes import Program, certctl, free_port, wait_for
from demo.rest import Api

from certctl_adapters.postgres.embedded import EmbeddedPostgres
from certctl_core.pki import csr, keys
from certctl_core.pki.keys import KeyKind
from tests.interop.peers import Peer, peer

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]


@define
class Installation:
    """The processes, and what clients have of them: `ca.pem`, and a leaf in a file for each name."""

    home: Path
    programs: ExitStack
    api: Api
    ports: list[int] = field(factory=list)
    agent: Api | None = None
    agent_id: str = ""
    target: str = ""

    def start(self, part: str, name: str, **more: str) -> Program:
        environment = {
            "CERTCTL_DATA_DIR": str(self.home / "data"),
            "CERTCTL_WEB_WORKERS": "1",
            "CERTCTL_PKI_HTTP_WORKERS": "1",
            "CERTCTL_RATE_LIMIT_ENABLED": "false",
            **more,
        }
        program = Program(name, certctl("certctl_web", part), self.home / f"{name}.log", environment)
        program.start()
        self.programs.callback(program.stop)
        return program

    def issue(self, name: str) -> None:
        """A certificate of this name, in `name.pem`."""
        assert self.agent is not None
        wish = {
            "id": f"mc-{name}",
            "name": name,
            "common_name": f"{name}.example.test",
            "owner_id": "o-default",
            "team_id": "t-default",
            "issuer_id": "iss-local",
            "renewal_policy_id": "rp-default",
            "target_ids": [self.target],
        }
        self.api.post("/api/v1/certificates", wish)
        self.api.post(f"/api/v1/certificates/mc-{name}/renew", {})
        request = csr.build(keys.generate(KeyKind.ECDSA_P256), f"{name}.example.test", ())
        body = {"certificate_id": f"mc-{name}", "csr_pem": request.public_bytes(Encoding.PEM).decode()}
        self.agent.post(f"/api/v1/agents/{self.agent_id}/csr", body)

        def issued() -> Any:
            return self.api.get(f"/api/v1/certificates/mc-{name}/versions")["data"] or None

        (version,) = wait_for(f"the certificate {name}", issued)
        (self.home / f"{name}.pem").write_text(version["pem_chain"])

    def leaf(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.home / f"{name}.pem").read_bytes())

    def get(self, path: str, number: int = 0) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[number], timeout=20)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def address(self, number: int = 0) -> str:
        return f"http://127.0.0.1:{self.ports[number]}/.well-known/pki/ocsp/iss-local"


def _printed_key(log: Path) -> str | None:
    return next((word for word in log.read_text().split() if word.startswith("cck_")), None)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("ocsp")
    port, ports = free_port(), [free_port(), free_port()]
    try:
        with ExitStack() as programs:
            made = Installation(home, programs, Api(f"https://127.0.0.1:{port}", home / "data/tls/ca.pem"), ports)
            public = {"CERTCTL_PKI_PUBLIC_URL": f"http://127.0.0.1:{ports[0]}"}
            web = made.start("web", "web", CERTCTL_SERVER_PORT=str(port), **public)
            wait_for("the server", lambda: _answers(web, lambda: made.api.raw("GET", "/ready")[0] == 200))
            made.api.key = wait_for("the first key", lambda: _printed_key(home / "web.log"))
            made.start("worker", "worker", **public)
            for number, one in enumerate(ports):
                plain = made.start("pki", f"pki-{number}", CERTCTL_PKI_HTTP_PORT=str(one))
                wait_for("a listener", lambda n=number, p=plain: _answers(p, lambda: made.get("/", n)[0] == 404))
            token = made.api.post("/api/v1/agents/join-tokens", {})["token"]
            joined = made.api.post("/api/v1/agents/join", {"token": token, "name": "agent", "hostname": "host"})
            made.agent = Api(made.api.url, made.api.ca_file, joined["api_key"])
            made.agent_id = joined["agent_id"]
            config = {"cert_path": "/srv/site.pem", "key_path": "/srv/site.key"}
            target = {"name": "t", "type": "NGINX", "agent_id": made.agent_id, "config": config}
            made.target = made.api.post("/api/v1/targets", target)["id"]
            (home / "ca.pem").write_bytes(
                x509.load_der_x509_certificate(made.get("/.well-known/pki/ca/iss-local")[1]).public_bytes(Encoding.PEM)
            )
            yield made
    finally:
        EmbeddedPostgres(home / "data" / "postgres").stop()


def _answers(program: Program, holds: Callable[[], bool]) -> bool | None:
    program.must_run()
    try:
        return holds() or None
    except OSError:
        return None


@pytest.fixture(scope="module")
def openssl() -> Peer:
    return peer("openssl")


def asked(openssl: Peer, there: Installation, name: str, *options: str, number: int = 0, fails: bool = False) -> str:
    return openssl.run(
        "ocsp", *options, "-issuer", "ca.pem", "-cert", f"{name}.pem", "-CAfile", "ca.pem", "-url",
        there.address(number), folder=there.home, fails=fails,
    )  # fmt: skip


@pytest.mark.parametrize("digest", ["-sha1", "-sha256", "-sha384", "-sha512"])
def test_openssl_believes_the_delegate_with_the_ca_alone(openssl: Peer, there: Installation, digest: str) -> None:
    name = f"good{digest}"
    there.issue(name)
    for nonce in ("-nonce", "-no_nonce"):
        for number in (0, 1):
            said = asked(openssl, there, name, digest, nonce, number=number)
            assert "Response verify OK" in said
            assert f"{name}.pem: good" in said
            assert "WARNING" not in said


def test_the_leaf_says_where_to_ask_without_tls(openssl: Peer, there: Installation) -> None:
    there.issue("site")
    address = openssl.run("x509", "-in", "site.pem", "-noout", "-ocsp_uri", folder=there.home).strip()
    assert address == there.address()
    access = there.leaf("site").extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    (issuer,) = (one.access_location.value for one in access if one.access_method._name == "caIssuers")
    path = urllib.parse.urlsplit(issuer).path
    assert issuer.startswith(f"http://127.0.0.1:{there.ports[0]}/")
    status, der = there.get(path)
    assert status == 200
    assert x509.load_der_x509_certificate(der).subject == there.leaf("site").issuer


def test_a_request_in_the_path_is_answered_as_openssl_made_it(openssl: Peer, there: Installation) -> None:
    there.issue("byget")
    openssl.run(
        "ocsp", "-no_nonce", "-issuer", "ca.pem", "-cert", "byget.pem", "-reqout", "request.der", folder=there.home
    )
    der = (there.home / "request.der").read_bytes()
    for path in (base64.b64encode(der).decode(), urllib.parse.quote(base64.b64encode(der).decode(), safe="")):
        status, response = there.get(f"/.well-known/pki/ocsp/iss-local/{path}")
        assert status == 200
        (there.home / "response.der").write_bytes(response)
        said = openssl.run(
            "ocsp", "-issuer", "ca.pem", "-cert", "byget.pem", "-CAfile", "ca.pem", "-respin", "response.der",
            folder=there.home,
        )  # fmt: skip
        assert "Response verify OK" in said
        assert "byget.pem: good" in said


def test_openssl_asks_about_serial_numbers_alone_and_about_several(openssl: Peer, there: Installation) -> None:
    there.issue("several")
    serial = f"0x{there.leaf('several').serial_number:x}"
    for asked_for in (("-serial", serial), ("-serial", serial, "-serial", "0x1234", "-cert", "several.pem")):
        said = openssl.run(
            "ocsp", "-issuer", "ca.pem", *asked_for, "-CAfile", "ca.pem", "-url", there.address(), folder=there.home
        )
        assert "Response verify OK" in said
        assert f"{serial}: good" in said
        assert ("0x1234: unknown" in said) == ("0x1234" in asked_for)


def test_a_revocation_is_told_by_every_process_within_a_second(openssl: Peer, there: Installation) -> None:
    for reason in ("keyCompromise", "certificateHold"):
        name = f"lost-{reason.lower()}"
        there.issue(name)
        assert all(f"{name}.pem: good" in asked(openssl, there, name, "-no_nonce", number=number) for number in (0, 1))
        there.api.post(f"/api/v1/certificates/mc-{name}/revoke", {"reason": reason})
        revoked = time.monotonic()
        time.sleep(max(0.0, revoked + 1.0 - time.monotonic()))
        for number in (0, 1):
            said = asked(openssl, there, name, "-no_nonce", number=number)
            assert "Response verify OK" in said
            assert f"{name}.pem: revoked" in said
            assert f"Reason: {reason}" in said
            assert "Revocation Time:" in said


def test_a_request_about_another_cas_certificate_is_unauthorized(openssl: Peer, there: Installation) -> None:
    openssl.run(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Other",
        "-keyout", "other.key", "-out", "other.pem", folder=there.home,
    )  # fmt: skip
    said = openssl.run(
        "ocsp", "-issuer", "other.pem", "-serial", "1", "-CAfile", "other.pem", "-url", there.address(),
        folder=there.home, fails=True,
    )  # fmt: skip
    assert "unauthorized (6)" in said


def test_who_trusts_another_ca_does_not_believe_the_answer(openssl: Peer, there: Installation) -> None:
    there.issue("doubted")
    openssl.run(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Stranger",
        "-keyout", "stranger.key", "-out", "stranger.pem", folder=there.home,
    )  # fmt: skip
    said = openssl.run(
        "ocsp", "-issuer", "ca.pem", "-cert", "doubted.pem", "-CAfile", "stranger.pem", "-url", there.address(),
        folder=there.home, fails=True,
    )  # fmt: skip
    assert "Response Verify Failure" in said


def test_nothing_but_what_is_signed_is_served_without_tls(there: Installation) -> None:
    for path in ("/", "/health", "/api/v1/certificates", "/login", "/.well-known/certctl/ca.pem", "/scep"):
        assert there.get(path)[0] == 404, path
    wait_for("a CRL", lambda: there.get("/.well-known/pki/crl/iss-local")[0] == 200 or None, patience=90)
