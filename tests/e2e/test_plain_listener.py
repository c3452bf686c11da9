"""The plain HTTP listener as a part of the server: started, watched and stopped with it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.test_server import ROOT, alive, children_of, free_port, home, resident_megabytes, running, until

__all__ = ["home"]

pytestmark = pytest.mark.e2e


def status_of(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def plain_process(pid: int) -> int | None:
    """The process of the part, by its command line."""
    for child in children_of(pid):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if b"pki" in words:
                return child
    return None


def test_it_serves_what_is_signed_comes_back_when_killed_and_ends_with_the_server(home: Path) -> None:
    port = free_port()
    with running(home, WEB_WORKERS="1", PKI_HTTP_PORT=str(port), PKI_HTTP_WORKERS="1") as server:
        server.wait_until_ready()

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return status_of(port, "/.well-known/pki/ca/iss-local") == 200
            return False

        until(answers, "the plain listener")
        assert status_of(port, "/.well-known/pki/ocsp/iss-local/abc") == 200
        assert status_of(port, "/.well-known/pki/crl/iss-local") == 200
        assert [status_of(port, path) for path in ("/", "/health", "/api/v1/certificates")] == [404] * 3
        first = plain_process(server.process.pid)
        assert first is not None
        assert all(resident_megabytes(pid) < 200 for pid in (first, *children_of(first)))
        os.kill(first, signal.SIGKILL)
        until(lambda: not alive(first), "the end of the part")
        until(lambda: plain_process(server.process.pid) not in (None, first) and answers(), "the part again")
        everything = server.processes
        assert server.stop() == 0
        until(lambda: not any(alive(pid) for pid in everything), "the end of every process")


def run(folder: Path, command: str | None, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment.update({f"CERTCTL_{name}": value for name, value in {"DATA_DIR": str(folder), **variables}.items()})
    words = [sys.executable, "-m", "certctl_web", *([command] if command else [])]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_without_a_port_there_is_nothing_to_run(tmp_path: Path) -> None:
    done = run(tmp_path, "pki")
    assert done.returncode == 78
    assert "CERTCTL_PKI_HTTP_PORT" in done.stderr


def test_a_port_in_use_is_one_clear_error_that_names_the_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(tmp_path, None, SERVER_PORT=str(free_port()), PKI_HTTP_PORT=str(taken.getsockname()[1]))
    assert done.returncode == 78
    assert "CERTCTL_PKI_HTTP_PORT" in done.stderr
