"""A real server that answers EST, its API, and programs that make keys and CSRs, for tests with foreign clients."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certctl_adapters.postgres.embedded import EmbeddedPostgres
from certctl_core.pki import ca, names, serials
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import LeafPlan
from tests.e2e.test_server import Running, running

PASSWORD = "s3cret-of-the-workshop"


@frozen
class Files:
    """A certificate and its key as files, in PEM and in DER."""

    certificate: Path
    key: Path

    @property
    def der(self) -> tuple[Path, Path]:
        return self.certificate.with_suffix(".crt.der"), self.key.with_suffix(".key.der")


@frozen
class EstServer:
    """A server, the CA of its TLS certificate, and a maker whose devices have certificates from the beginning."""

    server: Running
    trust: Path
    maker: ca.Authority

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.port}"

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """The API, as its administrator."""
        context = ssl.create_default_context(cafile=str(self.trust))
        asked = urllib.request.Request(  # noqa: S310 - https
            f"{self.url}/api/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.server.keys[0]}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(asked, context=context, timeout=20) as answer:  # noqa: S310 - https
            return json.loads(answer.read() or b"null")

    def listed(self, common_name: str) -> list[dict[str, Any]]:
        found = self.ask("certificates?per_page=500")["data"]
        return [one for one in found if one["common_name"] == common_name]

    def versions(self, common_name: str) -> int:
        return sum(self.ask(f"certificates/{one['id']}/versions")["total"] for one in self.listed(common_name))

    def born(self, folder: Path, name: str, *, bits: int = 0) -> Files:
        """A certificate and a key that a device has from its maker."""
        return issue(self.maker, folder, name, bits=bits)


def make_maker(name: str = "Makers CA") -> ca.Authority:
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    return ca.create_root(name, KeyKind.ECDSA_P256, start, timedelta(days=30))


def issue(maker: ca.Authority, folder: Path, name: str, *, bits: int = 0) -> Files:
    key = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC).replace(microsecond=0)
    plan = LeafPlan(
        common_name=name,
        sans=names.names_of(name, ()),
        public_key=key.public_key(),
        serial_number=serials.new_serial(),
        not_before=now - timedelta(hours=1),
        not_after=now + timedelta(days=9),
        ekus=("clientAuth", "serverAuth"),
    )
    return write(folder, name, ca.sign_leaf(maker, plan), key)


def write(
    folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> Files:
    files = Files(folder / f"{name}.crt", folder / f"{name}.key")
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    certificate_der, key_der = files.der
    certificate_der.write_bytes(certificate.public_bytes(Encoding.DER))
    key_der.write_bytes(key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return files


@contextmanager
def est_server(home: Path, variables: Mapping[str, str], maker: ca.Authority | None = None) -> Iterator[EstServer]:
    """A server with EST and these CERTCTL_ variables, stopped at the end with its database."""
    home.mkdir(exist_ok=True)
    maker = maker or make_maker()
    bundle = home / "makers.pem"
    bundle.write_bytes(maker.certificate.public_bytes(Encoding.PEM))
    given = {"EST_ENABLED": "true", "WEB_WORKERS": "1", **variables}
    try:
        with running(home, **given) as server:
            server.wait_until_ready()
            yield EstServer(server, home / "data" / "tls" / "ca.pem", maker)
            server.stop()
    finally:
        EmbeddedPostgres(home / "data" / "postgres").stop()
