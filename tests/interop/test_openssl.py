"""OpenSSL believes what we sign and we read what OpenSSL makes. ML-DSA is left out: OpenSSL has it from 3.5 on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import bundle, ca, crl, csr, keys, names, ocsp, reading, serials
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind, PrivateKey
from certctl_core.pki.plan import CrlPlan, OcspAnswer, OcspRequest, RevokedEntry
from certctl_core.policy import profile
from tests import plans
from tests.interop.peers import Peer, peer

pytestmark = pytest.mark.interop

KINDS = tuple(kind for kind in KeyKind if not kind.value.startswith("ML-DSA"))
NOW = datetime.now(UTC).replace(microsecond=0)
SHOWN = ("-text", "-serial", "-fingerprint", "-sha256")
SANS = ("b.example.com", "192.0.2.1", "2001:db8::1", "alice@example.com", "spiffe://example.com/a")


@pytest.fixture
def openssl() -> Peer:
    return peer("openssl")


@frozen
class Hierarchy:
    """A root, an issuing CA under it and a leaf, with the leaf's key, made now."""

    root: Authority
    issuing: Authority
    leaf: x509.Certificate
    private_key: PrivateKey

    @property
    def serial(self) -> str:
        return reading.facts(self.leaf).serial_number


def _hierarchy(kind: KeyKind) -> Hierarchy:
    root = ca.create_root("Interop Root", kind, NOW - timedelta(hours=1), timedelta(days=3650))
    issuing = ca.create_intermediate(root, "Interop CA", kind, NOW - timedelta(hours=1), timedelta(days=365))
    private_key = keys.generate(kind)
    not_before, not_after = profile.validity(None, timedelta(days=90), NOW)
    plan = evolve(
        plans.plan(),
        sans=names.names_of("a.example.com", SANS),
        public_key=private_key.public_key(),
        serial_number=serials.new_serial(),
        not_before=not_before,
        not_after=not_after,
    )
    return Hierarchy(root, issuing, ca.sign_leaf(issuing, plan), private_key)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: str(kind.value))
def made(request: pytest.FixtureRequest) -> Hierarchy:
    return _hierarchy(request.param)


@pytest.fixture
def folder(made: Hierarchy, tmp_path: Path) -> Path:
    """The hierarchy in files."""
    (tmp_path / "root.pem").write_text(bundle.to_pem(made.root.certificate))
    (tmp_path / "issuing.pem").write_text(bundle.to_pem(made.issuing.certificate))
    (tmp_path / "chain.pem").write_text(bundle.to_pem(*made.issuing.chain))
    (tmp_path / "leaf.pem").write_text(bundle.to_pem(made.leaf))
    (tmp_path / "leaf.key").write_text(keys.to_pem(made.private_key))
    return tmp_path


# Certificates


def test_openssl_verifies_a_leaf_strictly(openssl: Peer, folder: Path) -> None:
    for purpose in ("sslserver", "sslclient"):
        said = openssl.run(
            "verify", "-x509_strict", "-purpose", purpose,
            "-CAfile", "root.pem", "-untrusted", "issuing.pem", "leaf.pem",
            folder=folder,
        )  # fmt: skip
        assert said.strip() == "leaf.pem: OK"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("-verify_hostname", "a.example.com"),
        ("-verify_hostname", "b.example.com"),
        ("-verify_ip", "192.0.2.1"),
        ("-verify_ip", "2001:db8::1"),
        ("-verify_email", "alice@example.com"),
    ],
)
def test_openssl_finds_every_kind_of_name(openssl: Peer, folder: Path, option: str, value: str) -> None:
    said = openssl.run(
        "verify", option, value, "-CAfile", "root.pem", "-untrusted", "issuing.pem", "leaf.pem", folder=folder
    )
    assert said.strip() == "leaf.pem: OK"


def test_openssl_does_not_find_other_names(openssl: Peer, folder: Path) -> None:
    said = openssl.run(
        "verify", "-verify_hostname", "c.example.com", "-CAfile", "root.pem", "-untrusted", "issuing.pem", "leaf.pem",
        folder=folder, fails=True,
    )  # fmt: skip
    assert "hostname mismatch" in said.lower()


def test_openssl_shows_what_the_plan_said(openssl: Peer, folder: Path, made: Hierarchy) -> None:
    said = openssl.run("x509", "-in", "leaf.pem", "-noout", *SHOWN, folder=folder)
    for expected in (
        "Issuer: CN = Interop CA",
        "Subject: CN = a.example.com",
        "CA:FALSE",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "DNS:a.example.com, DNS:b.example.com, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1",
        "email:alice@example.com, URI:spiffe://example.com/a",
        "URI:http://pki.example.com/crl/iss-local",
        "OCSP - URI:http://pki.example.com/ocsp/iss-local",
        "CA Issuers - URI:http://pki.example.com/ca/iss-local",
        "status_request",
    ):
        assert expected in said
    printed = dict(line.split("=", 1) for line in said.splitlines() if line.startswith(("serial=", "sha256 ")))
    assert serials.canonical(printed["serial"]) == made.serial
    assert printed["sha256 Fingerprint"].replace(":", "").lower() == reading.fingerprint(made.leaf)


# Keys and CSRs


def test_openssl_reads_and_checks_our_keys(openssl: Peer, folder: Path) -> None:
    said = openssl.run("pkey", "-in", "leaf.key", "-check", "-noout", folder=folder)
    assert "Key is valid" in said


def test_openssl_verifies_our_csr(openssl: Peer, folder: Path, made: Hierarchy) -> None:
    request = csr.build(made.private_key, "a.example.com", SANS)
    (folder / "leaf.csr").write_bytes(request.public_bytes(Encoding.DER))
    said = openssl.run("req", "-inform", "DER", "-in", "leaf.csr", "-verify", "-noout", "-text", folder=folder)
    assert "verify OK" in said
    assert "URI:spiffe://example.com/a" in said


def test_openssl_reads_our_pkcs12(openssl: Peer, folder: Path, made: Hierarchy) -> None:
    data = bundle.to_pkcs12("site", made.leaf, made.issuing.chain, made.private_key, "secret")
    (folder / "site.p12").write_bytes(data)
    said = openssl.run("pkcs12", "-in", "site.p12", "-passin", "pass:secret", "-noenc", folder=folder)
    assert said.count("BEGIN CERTIFICATE") == 3
    assert said.count("BEGIN PRIVATE KEY") == 1
    openssl.run("pkcs12", "-in", "site.p12", "-passin", "pass:wrong", "-noout", folder=folder, fails=True)


KEY_COMMANDS = {
    "PKCS #8 RSA": ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "PKCS #1 RSA": ["genrsa", "-traditional", "2048"],
    "PKCS #8 P-256": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "SEC1 P-384 with parameters": ["ecparam", "-name", "secp384r1", "-genkey"],
    "Ed25519": ["genpkey", "-algorithm", "ED25519"],
}


@pytest.mark.parametrize("case", KEY_COMMANDS)
def test_keys_and_csrs_of_openssl_are_read(openssl: Peer, tmp_path: Path, case: str) -> None:
    command, *arguments = KEY_COMMANDS[case]
    openssl.run(command, "-out", "its.key", *arguments, folder=tmp_path)
    openssl.run(
        "req", "-new", "-key", "its.key", "-subj", "/CN=a.example.com", "-out", "its.csr",
        "-addext", "subjectAltName=DNS:a.example.com,DNS:b.example.com,IP:192.0.2.1",
        folder=tmp_path,
    )  # fmt: skip
    request = csr.read((tmp_path / "its.csr").read_bytes())
    csr.check_matches(request, "a.example.com", ["192.0.2.1", "b.example.com"])
    assert keys.same_key(request, keys.from_pem((tmp_path / "its.key").read_bytes()))


# CRLs


def _crl(made: Hierarchy, *revoked: str) -> bytes:
    entries = [RevokedEntry(serial, NOW, RevocationReason.KEY_COMPROMISE) for serial in revoked]
    return crl.sign_crl(
        made.issuing, CrlPlan(5, NOW - timedelta(minutes=1), NOW + timedelta(days=1), crl.entries(entries))
    )


def test_openssl_verifies_our_crl(openssl: Peer, folder: Path, made: Hierarchy) -> None:
    (folder / "list.crl").write_bytes(_crl(made, made.serial, "2"))
    said = openssl.run(
        "crl", "-inform", "DER", "-in", "list.crl", "-CAfile", "chain.pem", "-noout", "-text", folder=folder
    )
    assert "verify OK" in said
    assert "Version 2" in said
    assert "Key Compromise" in said
    assert made.serial.upper() in said.replace(":", "")


def _verify_with_crl(openssl: Peer, folder: Path, der: bytes, *, fails: bool) -> str:
    (folder / "list.pem").write_bytes(crl.read(der).public_bytes(Encoding.PEM))
    return openssl.run(
        "verify", "-crl_check", "-CRLfile", "list.pem", "-CAfile", "root.pem", "-untrusted", "issuing.pem", "leaf.pem",
        folder=folder, fails=fails,
    )  # fmt: skip


def test_openssl_believes_a_crl_that_does_not_name_the_leaf(openssl: Peer, folder: Path, made: Hierarchy) -> None:
    assert "OK" in _verify_with_crl(openssl, folder, _crl(made), fails=False)
    assert "OK" in _verify_with_crl(openssl, folder, _crl(made, "2", "3"), fails=False)


def test_openssl_refuses_a_leaf_that_the_crl_names(openssl: Peer, folder: Path, made: Hierarchy) -> None:
    said = _verify_with_crl(openssl, folder, _crl(made, "2", made.serial, "3"), fails=True)
    assert "certificate revoked" in said


# OCSP

Respond = Callable[[OcspRequest], bytes]


@contextmanager
def _responder(respond: Respond) -> Iterator[str]:
    """An OCSP responder over HTTP (RFC 6960 appendix A), and its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            response = respond(ocsp.read_request(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Type", "application/ocsp-response")
            self.send_header("Content-Length", str(len(response)))
            self.end_headers()
            self.wfile.write(response)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is inherited
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _ask(openssl: Peer, folder: Path, respond: Respond, *options: str, fails: bool = False) -> str:
    """What OpenSSL says of the answer that `respond` gives to its question."""
    with _responder(respond) as address:
        return openssl.run(
            "ocsp", *options, "-issuer", "issuing.pem", "-cert", "leaf.pem", "-CAfile", "chain.pem", "-url", address,
            folder=folder, fails=fails,
        )  # fmt: skip


def _of_ca(authority: ca.Authority) -> ocsp.Responder:
    return ocsp.Responder(authority.certificate, authority.certificate, authority.private_key)


ANSWERS = {
    "good": OcspAnswer(True, NOW - timedelta(minutes=1), NOW + timedelta(hours=1)),
    "unknown": OcspAnswer(False, NOW - timedelta(minutes=1), NOW + timedelta(hours=1)),
    "revoked": OcspAnswer(
        True, NOW - timedelta(minutes=1), NOW + timedelta(hours=1), NOW, RevocationReason.CA_COMPROMISE
    ),
}


@pytest.mark.parametrize("digest", ["-sha1", "-sha256"])
@pytest.mark.parametrize("status", ANSWERS)
def test_openssl_verifies_our_answers(openssl: Peer, folder: Path, made: Hierarchy, status: str, digest: str) -> None:
    def respond(request: OcspRequest) -> bytes:
        assert [question.serial_number for question in request.questions] == [made.serial]
        assert request.nonce is not None
        assert not _of_ca(made.root).answers_for(request.questions[0])
        return _of_ca(made.issuing).respond(request, [ANSWERS[status]], NOW)

    said = _ask(openssl, folder, respond, digest)
    assert "Response verify OK" in said
    assert f"leaf.pem: {status}" in said
    assert "nonce" not in said.lower()
    assert ("Reason: cACompromise" in said) == (status == "revoked")


def test_openssl_sees_that_another_nonce_is_another_answer(openssl: Peer, folder: Path, made: Hierarchy) -> None:
    def respond(request: OcspRequest) -> bytes:
        return _of_ca(made.issuing).respond(evolve(request, nonce=bytes(16)), [ANSWERS["good"]], NOW)

    assert "nonce verify error" in _ask(openssl, folder, respond, fails=True).lower()


def test_openssl_does_not_believe_another_ca(openssl: Peer, folder: Path, made: Hierarchy) -> None:
    def respond(request: OcspRequest) -> bytes:
        forged = ocsp.request_about(made.root.certificate, made.serial)
        return _of_ca(made.root).respond(evolve(forged, nonce=request.nonce), [ANSWERS["good"]], NOW)

    said = _ask(openssl, folder, respond, fails=True)
    assert "No Status found" in said
    assert "Response Verify Failure" in said


def test_openssl_understands_an_answer_that_is_none(openssl: Peer, folder: Path) -> None:
    said = _ask(openssl, folder, lambda _request: ocsp.unsuccessful(ocsp.Unsuccessful.UNAUTHORIZED), fails=True)
    assert "unauthorized (6)" in said
