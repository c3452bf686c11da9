"""OCSP answers over plain HTTP, random ones of every certificate there is: `python -m bench ocsp`.

`wrk` asks by GET, over a few connections that are kept, and shares the processors with what is measured. Cold is from
the moment the port answers, while the responder still reads what there is and signs ahead; warm is when it is done.
With a nonce every answer is signed for the one who asks.
"""

import base64
import http.client
import json
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from demo.processes import free_port

from bench import fleet, load
from bench.report import Figure, Report
from bench.server import Server
from bench.suite import Suite
from certctl_core.errors import CertctlError
from certctl_core.pki.ocsp import issuer_hashes

SIZE: Final = 100_000
SECONDS: Final = 10
CONNECTIONS: Final = 16
RATE: Final = 4_000.0
P99: Final = 20.0
NONCES: Final = 50_000
_SCRIPT: Final = Path(__file__).with_suffix(".lua")


@define
class Plain(Server):
    """The plain listener alone, with two processes."""

    part: str = "pki"
    plain_port: int = field(factory=free_port)

    def __attrs_post_init__(self) -> None:
        self.environment = {
            **self.environment,
            "CERTCTL_PKI_HTTP_PORT": str(self.plain_port),
            "CERTCTL_OCSP_RATE_LIMIT_PER_IP_MIN": "0",
        }
        super().__attrs_post_init__()

    def get(self, path: str) -> bytes | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.plain_port, timeout=20)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            body = reply.read()
        finally:
            connection.close()
        return body if reply.status == 200 else None

    def _is_ready(self) -> bool | None:
        self._program.must_run()
        try:
            return True if self.get("/.well-known/pki/ca/iss-local") else None
        except OSError:
            return None


def run(suite: Suite) -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("bench ocsp needs wrk (Debian package wrk)")
    made = fleet.seeded(suite.place, min(SIZE, suite.size))
    report = suite.report(f"OCSP over plain HTTP, {made.size:,} certificates, {CONNECTIONS} connections")
    with made.copy(suite.place) as copy, tempfile.TemporaryDirectory() as folder, Plain(copy) as server:
        plain, nonces = Path(folder) / "plain", Path(folder) / "nonces"
        known = list(_paths(server))
        plain.write_text("".join(f"{path}\n" for path in known))
        _measure(report, server, "without nonce, cold", plain, RATE)
        _settle(server)
        _measure(report, server, "without nonce, warm", plain, RATE)
        nonces.write_text("".join(f"{path}\n" for path in _with_nonces(server)))
        _measure(report, server, "with nonce", nonces, None)
        for figure in load.memory(server):
            report.add(figure)


def _measure(report: Report, server: Plain, what: str, paths: Path, goal: float | None) -> None:
    before = server.usage()
    found = _wrk(server.plain_port, paths)
    usage = server.usage().since(before).each(found["requests"])
    more = f"median {found['median']:.1f} ms, max {found['max']:.0f} ms, {found['errors']} errors"
    rate = found["requests"] / found["seconds"]
    report.add(Figure(what=f"answers {what}", value=rate, unit="/s", goal=goal, usage=usage, more=more))
    report.add(Figure(what=f"p99 {what}", value=found["p99"], goal=None if goal is None else P99))


def _wrk(port: int, paths: Path) -> Any:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(_SCRIPT), f"http://127.0.0.1:{port}"]
    ran = subprocess.run(
        [*command, "--", str(paths), str(secrets.randbelow(2**31))], check=True, capture_output=True, text=True
    )
    return json.loads(ran.stdout.splitlines()[-1])


def _settle(server: Plain, patience: float = 120.0) -> None:
    """Wait until the processes have nothing more to do."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = server.usage()
        time.sleep(2)
        if server.usage().since(before).programs < 0.2:
            return


def _paths(server: Plain) -> Iterator[str]:
    """A request about every certificate that has not expired."""
    issuers: dict[str, tuple[bytes, bytes]] = {}
    with psycopg.connect(server.database) as connection:
        rows = connection.execute(
            "SELECT issuer_id, serial_number FROM certificate_versions WHERE not_after > now() AND NOT is_foreign"
        ).fetchall()
    for issuer_id, serial_number in rows:
        if issuer_id not in issuers:
            issuers[issuer_id] = _hashes(server, issuer_id)
        yield _path(issuer_id, _request(issuers[issuer_id], int(serial_number, 16)).build())


def _with_nonces(server: Plain) -> Iterator[str]:
    hashed = _hashes(server, "iss-local")
    with psycopg.connect(server.database) as connection:
        rows = connection.execute(
            "SELECT serial_number FROM certificate_versions WHERE issuer_id = 'iss-local' LIMIT %s", [NONCES]
        ).fetchall()
    for (serial_number,) in rows:
        builder = _request(hashed, int(serial_number, 16))
        yield _path("iss-local", builder.add_extension(x509.OCSPNonce(secrets.token_bytes(32)), critical=False).build())


def _hashes(server: Plain, issuer_id: str) -> tuple[bytes, bytes]:
    found = server.get(f"/.well-known/pki/ca/{issuer_id}")
    if found is None:
        raise CertctlError(f"issuer {issuer_id} shows no certificate")
    return issuer_hashes(x509.load_der_x509_certificate(found), "sha1")


def _request(hashed: tuple[bytes, bytes], serial_number: int) -> ocsp.OCSPRequestBuilder:
    return ocsp.OCSPRequestBuilder().add_certificate_by_hash(*hashed, serial_number, hashes.SHA1())  # noqa: S303


def _path(issuer_id: str, request: ocsp.OCSPRequest) -> str:
    encoded = base64.b64encode(request.public_bytes(Encoding.DER)).decode()
    return f"/.well-known/pki/ocsp/{issuer_id}/{encoded.replace('/', '%2F').replace('+', '%2B').replace('=', '%3D')}"
