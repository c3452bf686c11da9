"""EST asked by programs that others wrote, of a real server: strongSwan's `pki`, and curl with OpenSSL.

Each enrols, renews with the certificate that it has, and is refused what it must be.
"""

import base64
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from certctl_core.pki import asn1, names
from tests.est_server import PASSWORD, EstServer, Files, est_server, issue, make_maker
from tests.interop.peers import Peer, peer
from tests.web.est_world import basic, body, certificates, request

pytestmark = pytest.mark.interop

# The server speaks TLS 1.3, which `pki` does when it is told to.
STRONGSWAN = "pki {\n  tls {\n    version_max = 1.3\n  }\n}\n"


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EstServer]:
    home = tmp_path_factory.mktemp("est") / "home"
    variables = {
        "EST_PROFILES": "phones,watched,bound",
        "EST_ENROLLMENT_PASSWORD": PASSWORD,
        "EST_PROFILE_PHONES_MTLS_CLIENT_CA_TRUST_BUNDLE_PATH": str(home / "makers.pem"),
        "EST_PROFILE_PHONES_SERVERKEYGEN_ENABLED": "true",
        "EST_PROFILE_WATCHED_PROFILE_ID": "prof-standard-tls",
        "EST_PROFILE_WATCHED_ENROLLMENT_PASSWORD": PASSWORD,
        "EST_PROFILE_BOUND_CHANNEL_BINDING_REQUIRED": "true",
        "EST_PROFILE_BOUND_ENROLLMENT_PASSWORD": PASSWORD,
        "SERVER_TLS_MIN_VERSION": "1.2",
    }
    with est_server(home, variables) as server:
        yield server


def openssl_request(folder: Path, name: str, common_name: str, *, is_rsa: bool = False) -> tuple[Path, Path]:
    """A key and a CSR (PEM), made by OpenSSL."""
    key, csr = folder / f"{name}.key", folder / f"{name}.csr"
    kind = ["-newkey", "rsa:2048"] if is_rsa else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    peer("openssl").run(
        *("req", "-new", *kind, "-nodes", "-keyout", key, "-out", csr, "-subj", f"/CN={common_name}"),
        *("-addext", f"subjectAltName=DNS:{common_name}"),
        folder=folder,
    )
    return key, csr


# --- strongSwan -------------------------------------------------------------------------------------------------------


class StrongSwan:
    """`pki`, with the CAs that it trusts: that of the server's TLS certificate, and that of what it is issued."""

    def __init__(self, est: EstServer, folder: Path, environment: pytest.MonkeyPatch) -> None:
        self.program, self.folder, self.url = peer("pki").program, folder, est.url
        (folder / "strongswan.conf").write_text(STRONGSWAN)
        environment.setenv("STRONGSWAN_CONF", str(folder / "strongswan.conf"))
        self.trust = folder / "tls.der"
        peer("openssl").run("x509", "-in", est.trust, "-outform", "DER", "-out", self.trust, folder=folder)
        self.issuer = folder / "issuer.der"

    def run(self, *arguments: str | Path, fails: bool = False) -> bytes:
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, timeout=60, check=False)
        assert (done.returncode != 0) == fails, done.stderr.decode("utf-8", "replace")
        return done.stdout

    def fetch_cas(self) -> None:
        self.run("--estca", "--url", self.url, "--cacert", self.trust, "--caout", self.issuer)

    def ask(self, csr: Path, *shown: str | Path, fails: bool = False) -> bytes:
        der = csr.with_suffix(".csr.der")
        peer("openssl").run("req", "-in", csr, "-outform", "DER", "-out", der, folder=self.folder)
        trusted = ("--cacert", self.trust, "--cacert", self.issuer)
        return self.run("--est", "--url", self.url, "--in", der, *trusted, *shown, fails=fails)


@pytest.fixture
def swan(est: EstServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StrongSwan:
    made = StrongSwan(est, tmp_path, monkeypatch)
    made.fetch_cas()
    return made


@pytest.mark.parametrize("is_rsa", [True, False], ids=["RSA", "ECDSA"])
def test_strongswan_fetches_the_cas_enrols_and_renews(
    est: EstServer, swan: StrongSwan, tmp_path: Path, is_rsa: bool
) -> None:
    name = f"swan-{'rsa' if is_rsa else 'ec'}.example.com"
    issuer = x509.load_der_x509_certificate(swan.issuer.read_bytes())
    key, csr = openssl_request(tmp_path, "first", name, is_rsa=is_rsa)
    first = x509.load_der_x509_certificate(swan.ask(csr, "--userpass", f"swan:{PASSWORD}"))
    first.verify_directly_issued_by(issuer)
    assert names.common_name_of(first.subject) == name

    shown, own = tmp_path / "first.der", tmp_path / "own.der"
    shown.write_bytes(first.public_bytes(Encoding.DER))
    peer("openssl").run("pkey", "-in", key, "-outform", "DER", "-traditional", "-out", own, folder=tmp_path)
    _, again = openssl_request(tmp_path, "second", name, is_rsa=is_rsa)
    second = x509.load_der_x509_certificate(swan.ask(again, "--cert", shown, "--key", own))

    assert second.serial_number != first.serial_number
    assert (len(est.listed(name)), est.versions(name)) == (1, 2), "one certificate in the inventory, two versions"


def test_strongswan_is_refused_with_a_wrong_password_and_for_other_names(
    est: EstServer, swan: StrongSwan, tmp_path: Path
) -> None:
    key, csr = openssl_request(tmp_path, "first", "swan-3.example.com", is_rsa=True)
    swan.ask(csr, "--userpass", "swan:wrong", fails=True)
    assert est.listed("swan-3.example.com") == []
    first = tmp_path / "first.der"
    first.write_bytes(swan.ask(csr, "--userpass", f"swan:{PASSWORD}"))
    own = tmp_path / "own.der"
    peer("openssl").run("pkey", "-in", key, "-outform", "DER", "-traditional", "-out", own, folder=tmp_path)
    _, other = openssl_request(tmp_path, "other", "swan-4.example.com", is_rsa=True)

    swan.ask(other, "--cert", first, "--key", own, fails=True)
    assert est.listed("swan-4.example.com") == []


# --- curl and OpenSSL -------------------------------------------------------------------------------------------------


class Curl:
    def __init__(self, est: EstServer, folder: Path) -> None:
        self.est, self.folder, self.program = est, folder, peer("curl")

    def ask(self, path: str, csr: Path | None, *more: str | Path) -> tuple[int, bytes]:
        """Status and body."""
        out = self.folder / "answer"
        out.unlink(missing_ok=True)
        sent = ("--data-binary", f"@{csr}", "-H", "Content-Type: application/pkcs10") if csr else ()
        said = self.program.run(
            *("-s", "--cacert", self.est.trust, "-o", out, "-w", "%{http_code}", *sent, *more),
            f"{self.est.url}/.well-known/{path}",
            folder=self.folder,
        )
        return int(said[-3:]), out.read_bytes() if out.exists() else b""

    def enrol(self, path: str, csr: Path, *more: str | Path) -> x509.Certificate:
        """The certificate, as OpenSSL reads it from the answer."""
        status, content = self.ask(path, csr, *more)
        assert status == 200, content
        printed = peer("openssl").run(
            "pkcs7", "-inform", "DER", "-print_certs", folder=self.folder, given=base64.b64decode(content)
        )
        return x509.load_pem_x509_certificate(printed[printed.index("-----BEGIN") :].encode())


@pytest.fixture
def curl(est: EstServer, tmp_path: Path) -> Curl:
    return Curl(est, tmp_path)


def as_client(files: Files) -> tuple[str | Path, ...]:
    return "--cert", files.certificate, "--key", files.key


def test_curl_enrols_and_renews_by_mutual_tls(est: EstServer, curl: Curl, tmp_path: Path) -> None:
    key, csr = openssl_request(tmp_path, "device", "curl-1.example.com")
    first = curl.enrol("est/phones/simpleenroll", csr, *as_client(est.born(tmp_path, "born")))
    status, cas = curl.ask("est/phones/cacerts", None)
    assert status == 200
    (tmp_path / "cas.pem").write_text(
        peer("openssl").run("pkcs7", "-inform", "DER", "-print_certs", folder=tmp_path, given=base64.b64decode(cas))
    )
    (tmp_path / "device.crt").write_bytes(first.public_bytes(Encoding.PEM))
    peer("openssl").run("verify", "-CAfile", "cas.pem", "-purpose", "sslclient", "device.crt", folder=tmp_path)

    own = Files(tmp_path / "device.crt", key)
    _, again = openssl_request(tmp_path, "again", "curl-1.example.com")
    second = curl.enrol("est/phones/simplereenroll", again, *as_client(own))
    assert second.serial_number != first.serial_number
    assert (len(est.listed("curl-1.example.com")), est.versions("curl-1.example.com")) == (1, 2)


def test_a_certificate_of_a_stranger_does_not_get_through_the_handshake(
    est: EstServer, curl: Curl, tmp_path: Path
) -> None:
    stranger = issue(make_maker("Strangers CA"), tmp_path, "stranger")
    _, csr = openssl_request(tmp_path, "device", "curl-2.example.com")
    asked = ("-s", "-S", "--cacert", est.trust, "--data-binary", f"@{csr}", *as_client(stranger))
    where = f"{est.url}/.well-known/est/phones/simpleenroll"
    # A client of TLS 1.3 is done before the server has judged its certificate: whether it reads of that in an alert, or
    # finds the connection closed, is a matter of time.
    curl.program.run(*asked, where, folder=tmp_path, fails=True)
    said = curl.program.run(*asked, "--tls-max", "1.2", where, folder=tmp_path, fails=True)
    assert "alert unknown ca" in said
    assert est.listed("curl-2.example.com") == []


def test_a_device_whose_certificate_is_revoked_is_refused(est: EstServer, curl: Curl, tmp_path: Path) -> None:
    key, csr = openssl_request(tmp_path, "device", "curl-3.example.com")
    first = curl.enrol("est/phones/simpleenroll", csr, *as_client(est.born(tmp_path, "born")))
    (tmp_path / "device.crt").write_bytes(first.public_bytes(Encoding.PEM))
    (listed,) = est.listed("curl-3.example.com")
    est.ask(f"certificates/{listed['id']}/revoke", {"reason": "keyCompromise"})

    _, again = openssl_request(tmp_path, "again", "curl-3.example.com")
    status, _ = curl.ask("est/phones/simplereenroll", again, *as_client(Files(tmp_path / "device.crt", key)))
    assert status == 401


def test_a_one_time_secret_is_good_once(est: EstServer, curl: Curl, tmp_path: Path) -> None:
    made = est.ask("enrolment-secrets", {"protocol": "EST", "label": "phones", "common_name": "curl-4.example.com"})
    user = ("-u", f":{made['secret']}")
    _, wrong = openssl_request(tmp_path, "wrong", "curl-5.example.com")
    assert curl.ask("est/phones/simpleenroll", wrong, *user)[0] == 422, "it is bound to another name"
    _, csr = openssl_request(tmp_path, "device", "curl-4.example.com")
    curl.enrol("est/phones/simpleenroll", csr, *user)
    _, other = openssl_request(tmp_path, "other", "curl-4.example.com")
    assert curl.ask("est/phones/simpleenroll", other, *user)[0] == 401


def test_what_needs_approval_is_pending_and_the_same_request_gets_it(
    est: EstServer, curl: Curl, tmp_path: Path
) -> None:
    est.ask("profiles/prof-standard-tls", {"name": "Standard TLS", "requires_approval": True}, "PUT")
    _, csr = openssl_request(tmp_path, "device", "curl-6.example.com")
    user = ("-u", f":{PASSWORD}")
    headers = tmp_path / "headers"
    status, _ = curl.ask("est/watched/simpleenroll", csr, *user, "-D", headers)
    assert status == 202
    assert "retry-after: " in headers.read_text().lower()
    (waiting,) = est.ask("approvals?state=pending")["data"]
    est.ask(f"approvals/{waiting['id']}/approve", {})

    assert curl.enrol("est/watched/simpleenroll", csr, *user)


def test_openssl_opens_a_key_that_the_server_made(est: EstServer, curl: Curl, tmp_path: Path) -> None:
    files = est.born(tmp_path, "born", bits=2048)
    _, csr = openssl_request(tmp_path, "device", "curl-7.example.com")
    headers = tmp_path / "headers"
    status, content = curl.ask("est/phones/serverkeygen", csr, *as_client(files), "-D", headers)
    assert status == 200
    boundary = headers.read_text().partition('boundary="')[2].partition('"')[0].encode()
    _, key_part, certificate_part, _ = content.split(b"--" + boundary)
    (certificate,) = certificates(certificate_part.partition(b"\r\n\r\n")[2].strip())
    (tmp_path / "envelope").write_bytes(base64.b64decode(key_part.partition(b"\r\n\r\n")[2]))
    openssl = peer("openssl")
    openssl.run(
        *("cms", "-decrypt", "-binary", "-inform", "DER", "-in", "envelope", "-out", "inside"),
        *("-recip", files.certificate, "-inkey", files.key),
        folder=tmp_path,
    )
    signed = asn1.sequence(
        asn1.object_identifier("1.2.840.113549.1.7.2"), asn1.tlv(0xA0, (tmp_path / "inside").read_bytes())
    )
    (tmp_path / "signed").write_bytes(signed)
    status, cas = curl.ask("est/phones/cacerts", None)
    (tmp_path / "cas.pem").write_text(
        openssl.run("pkcs7", "-inform", "DER", "-print_certs", folder=tmp_path, given=base64.b64decode(cas))
    )
    openssl.run(
        *("cms", "-verify", "-binary", "-inform", "DER", "-in", "signed", "-CAfile", "cas.pem", "-purpose", "any"),
        *("-out", "package"),
        folder=tmp_path,
    )
    package = (tmp_path / "package").read_bytes()
    inner = package[2 + (package[1] & 0x7F if package[1] & 0x80 else 0) :]
    (tmp_path / "made.key").write_bytes(inner)
    openssl.run("pkey", "-inform", "DER", "-in", "made.key", "-out", "made.pem", folder=tmp_path)
    made = load_pem_private_key((tmp_path / "made.pem").read_bytes(), None)
    assert made.public_key() == certificate.public_key()


def test_a_csr_is_bound_to_its_session_of_tls_1_2(est: EstServer) -> None:
    def ask(challenge: bytes | None, version: ssl.TLSVersion) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(est.trust))
        context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection(("127.0.0.1", est.server.port), timeout=20) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            unique = tls.get_channel_binding("tls-unique") or b""
            said = base64.b64encode(unique) if challenge is None else challenge
            csr = body(request(ec.generate_private_key(ec.SECP256R1()), "bound.example.com", challenge=said))
            (authorization,) = basic(PASSWORD).values()
            head = (
                "POST /.well-known/est/bound/simpleenroll HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                f"Authorization: {authorization}\r\nContent-Length: {len(csr)}\r\n\r\n"
            )
            tls.sendall(head.encode() + csr)
            answer = b"".join(iter(lambda: tls.recv(65536), b""))
        return int(answer.split()[1]), answer

    assert ask(None, ssl.TLSVersion.TLSv1_2)[0] == 200
    assert ask(b"another session", ssl.TLSVersion.TLSv1_2)[0] == 409
    assert ask(None, ssl.TLSVersion.TLSv1_3)[0] == 422


def test_peers_are_there(swan: StrongSwan, curl: Curl) -> None:
    assert isinstance(curl.program, Peer)
    assert swan.issuer.exists()
