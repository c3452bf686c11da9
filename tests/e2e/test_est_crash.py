"""kill -9 between any two steps of an enrolment: the device, asking again, gets the one certificate there is."""

import os
import signal
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_adapters.postgres.embedded import EmbeddedPostgres
from tests.e2e.test_server import running, until
from tests.est_server import PASSWORD
from tests.web.est_world import basic, body, certificates, request

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

EST = {
    "EST_ENABLED": "true",
    "EST_ENROLLMENT_PASSWORD": PASSWORD,
    "WEB_WORKERS": "1",
    "JOB_LEASE": "5s",
    "SCHEDULER_JOB_PROCESSOR_INTERVAL": "1s",
    "SCHEDULER_RETRY_INTERVAL": "1s",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("est-crash") / "home"
    yield folder
    EmbeddedPostgres(folder / "data" / "postgres").stop()


def ask(home: Path, port: int, csr: x509.CertificateSigningRequest) -> tuple[int, bytes]:
    """Status and body; 0 when the connection broke."""
    context = ssl.create_default_context(cafile=str(home / "data" / "tls" / "ca.pem"))
    asked = urllib.request.Request(
        f"https://localhost:{port}/.well-known/est/simpleenroll",
        data=body(csr),
        headers={**basic(PASSWORD), "Content-Type": "application/pkcs10"},
    )
    try:
        with urllib.request.urlopen(asked, context=context, timeout=30) as answer:  # noqa: S310 - https
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


def issued(home: Path, name: str) -> list[bytes]:
    with psycopg.connect(EmbeddedPostgres(home / "data" / "postgres").superuser().url) as connection:
        return [
            bytes(der)
            for (der,) in connection.execute(
                "SELECT v.certificate_der FROM certificate_versions AS v "
                "JOIN managed_certificates AS c ON c.id = v.certificate_id WHERE c.common_name = %s",
                [name],
            )
        ]


@pytest.mark.parametrize("point", ["issue:1", "issue:2", "record:1"])
def test_a_killed_enrolment_is_made_good(home: Path, point: str) -> None:
    name = f"device-{point.replace(':', '-')}.example.com"
    csr = request(ec.generate_private_key(ec.SECP256R1()), name)
    with running(home, **EST, TRIPWIRE=point) as server:
        server.wait_until_ready()
        status, _ = ask(home, server.port, csr)
        assert status == 0, "the process that answered was killed"
        os.kill(server.process.pid, signal.SIGKILL)
        server.kill()
    with running(home, **EST) as server:
        server.wait_until_ready()
        answers: list[bytes] = []

        def is_answered() -> bool:
            status, content = ask(home, server.port, csr)
            assert status in (0, 200, 202), content
            answers.extend([content] if status == 200 else [])
            return status == 200

        until(is_answered, "the certificate")
        (given,) = certificates(answers[0])
        assert issued(home, name) == [given.public_bytes(Encoding.DER)]
        assert server.stop() == 0
