"""Real web servers that load certificate files: the machine's nginx, and a TLS server of our own.

Both run as processes on a free loopback port, with everything they write below one folder.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from attrs import frozen

from certctl_adapters.commands import PROGRAM_FOLDERS
from certctl_adapters.prober import TlsProber
from certctl_core.errors import UpstreamUnavailable

NGINX = shutil.which("nginx", path=PROGRAM_FOLDERS)

_CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        return 204;
    }}
}}
"""


@frozen
class WebServer:
    """A server that is running, and how a target makes it check and load its files."""

    port: int
    certificate: Path
    key: Path
    validate_command: str
    reload_command: str
    process: subprocess.Popen[bytes]

    def served(self) -> str:
        """The fingerprint of what is served now."""
        return TlsProber().probe("127.0.0.1", self.port, timeout=timedelta(seconds=10)).fingerprint

    def soon_serves(self, fingerprint: str) -> bool:
        """Whether it comes to serve that: a reload takes effect a moment after the command."""
        for _ in range(200):
            if self.served() == fingerprint:
                return True
            time.sleep(0.02)
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def nginx(folder: Path, certificate: Path, key: Path) -> Iterator[WebServer]:
    """The machine's nginx with its own prefix and configuration."""
    assert NGINX is not None
    port, configuration = free_port(), folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, certificate=certificate, key=key))
    base = f"{NGINX} -p {folder} -c {configuration} -e {folder}/error.log"
    with _running([*base.split()], port) as process:
        yield WebServer(port, certificate, key, f"{base} -t", f"{base} -s reload", process)


@contextmanager
def own_server(folder: Path, certificate: Path, key: Path) -> Iterator[WebServer]:
    """`tests/sighup_server.py` as a process."""
    port = free_port()
    program = [sys.executable, "-I", str(Path(__file__).with_name("sighup_server.py"))]
    with _running([*program, "serve", str(port), str(certificate), str(key)], port) as process:
        check = " ".join([*program, "check", str(certificate), str(key)])
        yield WebServer(port, certificate, key, check, f"kill -HUP {process.pid}", process)


@contextmanager
def _running(arguments: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _wait_for(port, process)
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(500):
        try:
            TlsProber().probe("127.0.0.1", port, timeout=timedelta(seconds=5))
        except UpstreamUnavailable:
            assert process.poll() is None, (process.stderr and process.stderr.read()) or "it ended at once"
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"nothing listens on port {port}")
