"""`certctl est` against a control plane that serves EST: what a device would be issued, and what it is told if not."""

import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from certctl_core.ids import IssuerId
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.pki import keys
from certctl_web.est import EstLabels, Kept
from certctl_web.options import Options
from tests.authority import Authority, pem
from tests.cli.conftest import Certctl, Said
from tests.est_server import Files, issue, make_maker
from tests.serving import serving
from tests.stand_ins import MovableClock
from tests.web.api import GIVEN, Api, make_api
from tests.web.est_world import PASSWORD, label, request

MAKER = make_maker()


@frozen
class Workshop:
    """A control plane with EST, the command line told where it is, and a folder to work in."""

    api: Api
    run: Certctl
    folder: Path

    def file(self, name: str, content: bytes | str) -> str:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def csr(self, name: str = "phone-1.example.com") -> tuple[x509.CertificateSigningRequest, str]:
        made = request(ec.generate_private_key(ec.SECP256R1()), name)
        return made, self.file("device.csr", made.public_bytes(Encoding.PEM))

    @property
    def password(self) -> tuple[str, str]:
        return "--password-file", self.file("password", PASSWORD + "\n")


@pytest.fixture
def est(tmp_path: Path, anywhere: Certctl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    labels = EstLabels.of(
        [
            Kept(label("watched", profile="prof-watched")),
            Kept(label()),
            Kept(label("phones", trusted=(MAKER.certificate,), makes_keys=True)),
        ]
    )
    clock = MovableClock(datetime.now(UTC).replace(microsecond=0))
    with structlog.testing.capture_logs():
        api = make_api(Options(given_keys=GIVEN, rate=None, est=labels), clock=clock)
        api.foundations()
        api.made("/api/v1/profiles", {"id": "prof-watched", "name": "Watched", "requires_approval": True})
        with api.ports.work() as work:
            configured: ConfiguredIssuer = work.issuers.get(IssuerId("iss-local"))
        own = api.ports.issuers.connect(configured)
        authority = Authority("Control Plane CA")
        monkeypatch.setenv("CERTCTL_SERVER_CA_BUNDLE_PATH", str(tmp_path / "ca.pem"))
        (tmp_path / "ca.pem").write_text(pem(authority.certificate))
        clients = [MAKER.certificate, *own.chain()]  # type: ignore[attr-defined]  # a Local CA shows it
        with serving(api.app, tmp_path, authority.leaf("localhost", "127.0.0.1"), clients=clients) as port:
            monkeypatch.setenv("CERTCTL_SERVER_URL", f"https://localhost:{port}")
            yield Workshop(api, anywhere, tmp_path)
        api.app.close()


def certificates(said: Said) -> list[x509.Certificate]:
    assert said.status == 0, said.err
    return x509.load_pem_x509_certificates(said.out.encode())


def test_the_cas_of_a_label_are_the_output_or_go_into_a_file(est: Workshop) -> None:
    (root,) = certificates(est.run("est", "cacerts", "--profile", "phones"))
    assert root.subject == root.issuer

    said = est.run("est", "cacerts", "--out", str(est.folder / "cas.pem"))
    assert ["Subject", root.subject.rfc4514_string()] in said.cells
    assert x509.load_pem_x509_certificates((est.folder / "cas.pem").read_bytes()) == [root]


def test_what_a_csr_should_have_is_told_by_name(est: Workshop) -> None:
    said = est.run("est", "csrattrs", "--profile", "watched", "--format", "json")
    assert json.loads(said.out) == [
        {"attribute": "EC", "values": ["P-256"]},
        {"attribute": "extensionRequest", "values": ["extendedKeyUsage", "serverAuth"]},
    ]
    assert "nothing in particular" in est.run("est", "csrattrs", "--profile", "phones").out


def test_a_device_enrols_with_a_password_and_renews_with_what_it_was_issued(est: Workshop) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first = est.file("first.csr", request(key).public_bytes(Encoding.DER))
    out = est.folder / "phone.pem"

    said = est.run("est", "enroll", "--profile", "phones", "--csr", first, "--out", str(out), *est.password)
    assert said.status == 0, said.err
    issued = x509.load_pem_x509_certificate(out.read_bytes())
    assert issued.public_key() == key.public_key()

    shown = ("--cert", str(out), "--key", est.file("phone.key", keys.to_pem(key)))
    csr, path = est.csr()
    (renewed,) = certificates(est.run("est", "reenroll", "--profile", "phones", "--csr", path, *shown))
    assert renewed.public_key() == csr.public_key()
    assert renewed.subject == issued.subject
    (listed,) = est.api.get("/api/v1/certificates").json["data"]
    assert est.api.get(f"/api/v1/certificates/{listed['id']}/versions").json["total"] == 2


def test_a_key_that_the_server_makes_is_opened_and_nobody_else_may_read_it(est: Workshop) -> None:
    born: Files = issue(MAKER, est.folder, "phone-1", bits=2048)
    _, path = est.csr()
    asked = ("--profile", "phones", "--csr", path, "--cert", str(born.certificate), "--key", str(born.key))
    key_file = est.folder / "made.key"

    (certificate,) = certificates(est.run("est", "serverkeygen", *asked, "--key-out", str(key_file)))

    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    made = load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(made, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    assert made.public_key() == certificate.public_key()
    before = key_file.read_bytes()
    again = est.run("est", "serverkeygen", *asked, "--key-out", str(key_file))
    assert again.status == 2
    assert "--key-out names a new file" in again.err
    assert key_file.read_bytes() == before


def test_a_key_that_does_not_come_leaves_no_file(est: Workshop) -> None:
    born = issue(MAKER, est.folder, "phone-1", bits=2048)
    _, path = est.csr()
    shown = ("--cert", str(born.certificate), "--key", str(born.key))
    said = est.run("est", "serverkeygen", "--csr", path, *shown, "--key-out", str(est.folder / "made.key"))
    assert said.status == 5, said.err
    assert not (est.folder / "made.key").exists()


def test_what_works_is_told_operation_by_operation(est: Workshop) -> None:
    said = est.run("est", "test", "--profile", "phones")
    assert said.status == 0
    assert [row[:2] for row in said.cells[-2:]] == [["cacerts", "works"], ["csrattrs", "works"]]
    assert "Nothing was enrolled" in said.err
    assert est.api.get("/api/v1/certificates").json["total"] == 0

    said = est.run("est", "test", "--profile", "phones", *est.password)
    assert said.cells[-1][:2] == ["simpleenroll", "works"]
    (listed,) = est.api.get("/api/v1/certificates").json["data"]
    assert listed["common_name"] == "certctl-est-test.invalid"

    wrong = est.file("wrong", "another password")
    said = est.run("est", "test", "--profile", "phones", "--password-file", wrong)
    assert said.status == 1
    assert said.cells[-1][:2] == ["simpleenroll", "fails"]

    said = est.run("est", "test", "--profile", "nobody")
    assert said.status == 1
    assert [row[1] for row in said.cells[-2:]] == ["fails", "fails"]


def test_what_waits_for_an_approval_is_asked_for_again(est: Workshop) -> None:
    _, path = est.csr()
    said = est.run("est", "enroll", "--profile", "watched", "--csr", path, *est.password)
    assert said.status == 1
    assert "Send the same request again in " in said.out


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("enroll", "--csr", "{missing}"), 2, "cannot read the CSR"),
        (("enroll", "--csr", "{garbage}"), 1, "the CSR"),
        (("enroll", "--csr", "{csr}"), 4, ""),
        (("enroll", "--csr", "{csr}", "--profile", "nobody", "--password-file", "{password}"), 5, "nobody"),
        (("enroll", "--csr", "{csr}", "--cert", "{csr}"), 2, "--cert and --key go together"),
        (("enroll", "--csr", "{csr}", "--cert", "{csr}", "--key", "{csr}"), 2, "cannot be shown in TLS"),
        (("reenroll", "--csr", "{csr}"), 2, "--cert"),
        (("cacerts", "--server", "https://localhost:1"), 3, "EST"),
        (("cacerts", "--server", "http://localhost:1"), 2, "https"),
    ],
)
def test_what_cannot_be_done_is_told(est: Workshop, words: tuple[str, ...], status: int, told: str) -> None:
    names = {
        "missing": str(est.folder / "missing"),
        "garbage": est.file("garbage", "no request"),
        "csr": est.csr()[1],
        "password": est.password[1],
    }
    said = est.run("est", *(word.format(**names) for word in words))
    assert said.status == status, said.err
    assert said.err.startswith("certctl: ")
    assert told in said.err
    assert said.out == ""
