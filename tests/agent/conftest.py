"""A control plane to talk to, and agents as objects and as processes."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
from attrs import frozen

from certctl_adapters import targets
from certctl_adapters.host import Host
from certctl_adapters.http import HttpClient, trust
from certctl_adapters.prober import TlsProber
from certctl_agent import client
from certctl_agent.keystore import KeyStore
from certctl_agent.work import Worker
from tests.agent.control_plane import AGENT_ID, API_KEY, ControlPlane, running
from tests.authority import pem

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    folder = tmp_path / "plane"
    folder.mkdir()
    with running(folder) as started:
        yield started
        assert started.complaints == []


@pytest.fixture
def control(plane: ControlPlane) -> Iterator[client.ControlPlane]:
    """The agent's client, connected to the control plane."""
    http = HttpClient(
        plane.url,
        tls=trust(pem(plane.authority.certificate).encode()),
        headers={"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"},
        timeout=timedelta(seconds=10),
    )
    yield client.ControlPlane(http, AGENT_ID)
    http.close()


@pytest.fixture
def keystore(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys")


class MakeWorker(Protocol):
    def __call__(self, **more: Any) -> Worker: ...


@pytest.fixture
def make_worker(control: client.ControlPlane, keystore: KeyStore) -> MakeWorker:
    """A worker whose waits take no time."""

    def make(**more: Any) -> Worker:
        parts: dict[str, Any] = {
            "control": control,
            "keys": keystore,
            "connect": partial(targets.connect, host=Host.with_journals(keystore.journals)),
            "prober": TlsProber(),
            "pause": lambda _: False,
            "verify_timeout": timedelta(seconds=0.2),
        }
        return Worker(**(parts | more))

    return make


@frozen
class AgentProcess:
    """The program as a process."""

    process: subprocess.Popen[str]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, list[dict[str, Any]]]:
        """Exit status and log lines."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, list[dict[str, Any]]]:
        out, errors = self.process.communicate(timeout=60)
        assert errors == "", errors
        return self.process.returncode, [json.loads(line) for line in out.splitlines()]


class StartAgent(Protocol):
    def __call__(self, *arguments: str, **environment: str) -> AgentProcess: ...


@pytest.fixture
def agent_environment(plane: ControlPlane, tmp_path: Path) -> dict[str, str]:
    """What the plain way needs, with intervals that do not keep a test waiting."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text(pem(plane.authority.certificate))
    return {
        "CERTCTL_SERVER_URL": plane.url,
        "CERTCTL_API_KEY": API_KEY,
        "CERTCTL_AGENT_ID": AGENT_ID,
        "CERTCTL_KEY_DIR": str(tmp_path / "keys"),
        "CERTCTL_STATE_DIR": str(tmp_path / "state"),
        "CERTCTL_SERVER_CA_BUNDLE_PATH": str(bundle),
        "CERTCTL_AGENT_HEARTBEAT_INTERVAL": "200ms",
        "CERTCTL_AGENT_POLL_INTERVAL": "100ms",
        "CERTCTL_VERIFY_TIMEOUT": "5s",
    }


@pytest.fixture
def start_agent(agent_environment: dict[str, str]) -> Iterator[StartAgent]:
    """Starts agents, and ends those that a test has left running."""
    with ExitStack() as stack:

        def start(*arguments: str, **environment: str) -> AgentProcess:
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "certctl_agent", *arguments],
                env={"PATH": "/usr/bin:/bin"} | agent_environment | environment,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(_end, process)
            return AgentProcess(process)

        yield start


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=20)
