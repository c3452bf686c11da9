"""Devices that others programmed enrol with us by SCEP: strongSwan, micromdm's client, certmonger.

Each of them finds the CA, is given a certificate, renews it, and is refused when it must be. The service is the whole
application behind a small HTTP server, because these clients speak no TLS 1.3 or trust no CA but the web's.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_adapters.clock import SystemClock
from certctl_adapters.memory import MemoryStore
from certctl_core.models.certificates import CertificateSource, ManagedCertificate
from certctl_core.pki import keys
from certctl_core.ports.store import Query, Where
from certctl_web import scep_service, settings
from certctl_web.options import Options
from tests import devices
from tests.authority import pem
from tests.interop.peers import Peer, peer
from tests.web.api import GIVEN, Api, make_api, make_ports

pytestmark = pytest.mark.interop

CHALLENGE: Final = "open-sesame"
OLD: Final = "old"
"""The label whose devices know nothing newer than DES and SHA-1."""


@frozen
class Service:
    """A service of SCEP and where it is. The door without a label accepts what is modern, that for old devices all."""

    api: Api
    url: str

    def door(self, label: str = "") -> str:
        return f"{self.url}/scep/{label}" if label else f"{self.url}/scep"

    def authorities(self, label: str = "") -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
        path = self.door(label).removeprefix(self.url)
        return devices.authorities(self.api.get(f"{path}?operation=GetCACert", by=None).content)

    def named(self, common_name: str) -> list[ManagedCertificate]:
        with self.api.ports.work() as work:
            return list(work.certificates.page(Query((Where("common_name", common_name),))).items)

    def issued(self, common_name: str) -> list[int]:
        """The serial numbers that the inventory has for this name, newest first."""
        found: list[int] = []
        for one in self.named(common_name):
            assert one.source is CertificateSource.SCEP
            with self.api.ports.work() as work:
                found += [int(version.serial_number, 16) for version in work.versions.page(one.id, 10, 0).items]
        return found

    def revoke(self, common_name: str) -> None:
        (one,) = self.named(common_name)
        assert self.api.post(f"/api/v1/certificates/{one.id}/revoke", {"reason": "keyCompromise"}).status == 200


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is inherited
        """Say nothing."""


@contextmanager
def _served(api: Api) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, api.app, _Server, _Quiet)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    common = {"CHALLENGE_PASSWORD": CHALLENGE, "OWNER_ID": "o-1", "TEAM_ID": "t-1"}
    given = {
        "CERTCTL_SCEP_ENABLED": "true",
        "CERTCTL_SCEP_PROFILES": OLD,
        f"CERTCTL_SCEP_PROFILE_{OLD.upper()}_ALLOW_LEGACY": "true",
        **{f"CERTCTL_SCEP_{name}": value for name, value in common.items()},
        **{f"CERTCTL_SCEP_PROFILE_{OLD.upper()}_{name}": value for name, value in common.items()},
    }
    clock: Any = SystemClock()
    options = Options(given_keys=GIVEN, rate=None, scep=scep_service.doors(settings.load(given).settings))
    api = make_api(options, make_ports(MemoryStore().work, clock), clock)
    api.foundations()
    with _served(api) as url:
        yield Service(api, url)
    api.app.close()


def _serial(certificate: Path) -> int:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number


def _verified(folder: Path, name: str) -> None:
    """OpenSSL finds the certificate to be one of the CA's."""
    said = peer("openssl").run("verify", "-x509_strict", "-CAfile", "ca.pem", name, folder=folder)
    assert said.strip() == f"{name}: OK"


# strongSwan, whose version of today takes AES for unsupported whatever is advertised


@frozen
class StrongSwan:
    pki: Peer
    url: str
    folder: Path

    def key(self, name: str) -> str:
        (self.folder / name).write_text(keys.to_pem(keys.generate(keys.KeyKind.RSA_2048)))
        return name

    def scep(self, name: str, key: str, out: str, *options: str, fails: bool = False) -> str:
        """Ask for a certificate, which is written to the file `out`."""
        said = self.pki.run(
            "--scep", "--url", self.url, "--in", key, "--dn", f"C=CH, O=strongSwan, CN={name}", "--cipher", "des3",
            "--cacert-enc", "ra.pem", "--cacert-sig", "ca.pem", "--outform", "pem", *options,
            folder=self.folder, fails=fails,
        )  # fmt: skip
        _, begun, rest = said.partition("-----BEGIN CERTIFICATE-----")
        if begun:
            (self.folder / out).write_text(begun + rest.partition("-----END CERTIFICATE-----")[0] + _END)
        return said


_END: Final = "-----END CERTIFICATE-----\n"


@pytest.fixture
def strongswan(service: Service, tmp_path: Path) -> StrongSwan:
    found = StrongSwan(peer("pki"), service.door(OLD), tmp_path)
    said = found.pki.run(
        "--scepca", "--url", found.url, "--caout", "ca.pem", "--raout", "ra.pem", "--outform", "pem", folder=tmp_path
    )
    assert "RA cert is trusted" in said
    return found


@pytest.mark.parametrize(
    "options",
    [
        ("--digest", "sha256"),
        ("--digest", "sha512"),
        ("--digest", "sha384", "--rsa-padding", "pss"),
        ("--digest", "sha1"),
    ],
    ids=" ".join,
)
def test_strongswan_enrols(service: Service, strongswan: StrongSwan, options: tuple[str, ...]) -> None:
    name = f"{'-'.join(options).replace('--', '')}.example.com"
    key = strongswan.key("device.key")
    strongswan.scep(name, key, "device.pem", "--san", name, "--password", CHALLENGE, *options)
    _verified(strongswan.folder, "device.pem")
    assert service.issued(name) == [_serial(strongswan.folder / "device.pem")]


def test_strongswan_renews_and_is_refused_when_its_certificate_is_revoked(
    service: Service, strongswan: StrongSwan
) -> None:
    name = "renewing.example.com"
    strongswan.scep(name, strongswan.key("a.key"), "a.pem", "--password", CHALLENGE)
    strongswan.scep(name, strongswan.key("b.key"), "b.pem", "--cert", "a.pem", "--key", "a.key")
    _verified(strongswan.folder, "b.pem")
    assert len(service.issued(name)) == 2
    service.revoke(name)
    said = strongswan.scep(name, strongswan.key("c.key"), "c.pem", "--cert", "b.pem", "--key", "b.key", fails=True)
    assert "badRequest" in said


def test_strongswan_is_refused_with_a_wrong_challenge(service: Service, strongswan: StrongSwan) -> None:
    said = strongswan.scep("wrong.example.com", strongswan.key("w.key"), "w.pem", "--password", "wrong", fails=True)
    assert "badRequest" in said
    assert service.issued("wrong.example.com") == []


def test_strongswan_is_refused_its_cipher_where_it_is_not_accepted(service: Service, strongswan: StrongSwan) -> None:
    modern = StrongSwan(strongswan.pki, service.door(), strongswan.folder)
    said = modern.scep("old.example.com", modern.key("o.key"), "o.pem", "--password", CHALLENGE, fails=True)
    assert "not supported by CA" in said


# micromdm's client, which knows single DES and SHA-1


@frozen
class Scepclient:
    client: Peer
    service: Service
    folder: Path

    def ask(self, name: str, challenge: str = CHALLENGE, label: str = OLD, *, fails: bool = False) -> str:
        """Enrol, or renew when there is a certificate already. It enciphers to whom it is told: to all, otherwise."""
        ra, _ = self.service.authorities(label)
        fingerprint = ra.fingerprint(SHA256()).hex()
        return self.client.run(
            "-server-url", self.service.door(label), "-ca-fingerprint", fingerprint, "-challenge", challenge,
            "-private-key", "device.key", "-certificate", "device.pem", "-cn", name,
            folder=self.folder, fails=fails,
        )  # fmt: skip


@pytest.fixture
def scepclient(service: Service, tmp_path: Path) -> Scepclient:
    _, chain = service.authorities()
    (tmp_path / "ca.pem").write_text(pem(*chain))
    return Scepclient(peer("scepclient"), service, tmp_path)


def test_scepclient_enrols_and_renews(service: Service, scepclient: Scepclient) -> None:
    scepclient.ask("mdm.example.com")
    first = _serial(scepclient.folder / "device.pem")
    _verified(scepclient.folder, "device.pem")
    scepclient.ask("mdm.example.com")
    _verified(scepclient.folder, "device.pem")
    second = _serial(scepclient.folder / "device.pem")
    assert service.issued("mdm.example.com") == [second, first]


@pytest.mark.parametrize(("challenge", "label", "words"), [("wrong", OLD, "badRequest"), (CHALLENGE, "", "badAlg")])
def test_scepclient_is_refused(
    service: Service, scepclient: Scepclient, challenge: str, label: str, words: str
) -> None:
    assert words in scepclient.ask("refused.example.com", challenge, label, fails=True)
    assert service.issued("refused.example.com") == []


# certmonger, which is a service on a message bus

_CERTMONGER: Final = """
set -eu
getcert add-scep-ca -s -c ours -u "$URL" -R "$PWD/ca.pem" -N "$PWD/ca.pem" -r "$PWD/ra.pem"
getcert request -s -c ours -I dev -f "$PWD/dev.pem" -k "$PWD/dev.key" -N "CN=$NAME" -D "$NAME" -L "$CHALLENGE" \\
    -G rsa -g 2048 -w -v || true
if [ -s dev.pem ]; then cp dev.pem first.pem; getcert rekey -s -i dev -w -v; fi
getcert list -s
"""


def _certmonger(service: Service, folder: Path, name: str, challenge: str) -> str:
    peer("certmonger")
    peer("getcert")
    ra, chain = service.authorities()
    (folder / "ra.pem").write_text(pem(ra))
    (folder / "ca.pem").write_text(pem(*chain))
    settings = f"export URL={service.door()} NAME={name} CHALLENGE={challenge}\n"
    (folder / "run.sh").write_text(settings + _CERTMONGER)
    shell = shutil.which("bash") or "sh"
    # The bus starts certmonger when it is first spoken to, and ends it; what it keeps is in its home.
    peer("dbus-run-session")
    return peer("env").run(f"HOME={folder}", "dbus-run-session", "--", shell, "run.sh", folder=folder)


def test_certmonger_enrols_and_renews_with_another_key(service: Service, tmp_path: Path) -> None:
    said = _certmonger(service, tmp_path, "monger.example.com", CHALLENGE)
    assert "status: MONITORING" in said
    _verified(tmp_path, "first.pem")
    _verified(tmp_path, "dev.pem")
    first, second = _serial(tmp_path / "first.pem"), _serial(tmp_path / "dev.pem")
    assert service.issued("monger.example.com") == [second, first]
    certificate = x509.load_pem_x509_certificate((tmp_path / "dev.pem").read_bytes())
    assert keys.same_key(certificate, keys.from_pem((tmp_path / "dev.key").read_bytes()))
    assert certificate.public_bytes(Encoding.PEM)


def test_certmonger_is_refused_with_a_wrong_challenge(service: Service, tmp_path: Path) -> None:
    said = _certmonger(service, tmp_path, "mongrel.example.com", "wrong")
    assert "status: MONITORING" not in said
    assert not (tmp_path / "dev.pem").exists()
    assert service.issued("mongrel.example.com") == []
