"""kill -9 between any two steps of an enrolment by SCEP: asking again, the device gets the one certificate there is."""

import os
import signal
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_adapters.postgres.embedded import EmbeddedPostgres
from tests import devices
from tests.devices import Device
from tests.e2e.test_est_crash import issued
from tests.e2e.test_server import running, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

CHALLENGE = "open sesame"
SCEP = {
    "SCEP_ENABLED": "true",
    "SCEP_CHALLENGE_PASSWORD": CHALLENGE,
    "WEB_WORKERS": "1",
    "JOB_LEASE": "5s",
    "SCHEDULER_JOB_PROCESSOR_INTERVAL": "1s",
    "SCHEDULER_RETRY_INTERVAL": "1s",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("scep-crash") / "home"
    yield folder
    EmbeddedPostgres(folder / "data" / "postgres").stop()


def ask(home: Path, port: int, operation: str, message: bytes | None = None) -> bytes:
    """The answer; nothing when the connection broke."""
    context = ssl.create_default_context(cafile=str(home / "data" / "tls" / "ca.pem"))
    headers = {"Content-Type": "application/x-pki-message"}
    url = f"https://localhost:{port}/scep?operation={operation}"
    try:
        asked = urllib.request.Request(url, data=message, headers=headers)
        with urllib.request.urlopen(asked, context=context, timeout=30) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content
    except OSError:
        return b""


@pytest.mark.parametrize("point", ["scep:1", "issue:1", "issue:2", "record:1"])
def test_a_killed_enrolment_is_made_good(home: Path, point: str) -> None:
    device = Device(common_name=f"device-{point.replace(':', '-')}.example.com")
    with running(home, **SCEP, TRIPWIRE=point) as server:
        server.wait_until_ready()
        ra, _ = devices.authorities(ask(home, server.port, "GetCACert"))
        message = device.pkcs_req(ra, CHALLENGE, transaction_id=point)
        assert ask(home, server.port, "PKIOperation", message) == b"", "the process that answered was killed"
        os.kill(server.process.pid, signal.SIGKILL)
        server.kill()
    with running(home, **SCEP) as server:
        server.wait_until_ready()
        said = []

        def is_answered() -> bool:
            said.append(device.read(ask(home, server.port, "PKIOperation", message)))
            assert said[-1].status in ("0", "3"), said[-1]
            return said[-1].status == "0"

        until(is_answered, "the certificate")
        (given,) = said[-1].certificates
        assert issued(home, device.common_name) == [given.public_bytes(Encoding.DER)]
        assert server.stop() == 0
