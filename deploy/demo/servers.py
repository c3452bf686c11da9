"""The web server whose certificates are managed: the machine's nginx, or the demo's own where there is none."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from certctl_core.pki import bundle, ca, keys
from certctl_core.pki.keys import KeyKind
from demo.processes import Program, free_port, wait_for


@frozen
class Site:
    """One name served on one port from two files."""

    name: str
    port: int
    certificate: Path
    key: Path


@define
class WebServer(ABC):
    """A server with sites, in a folder of its own."""

    home: Path
    sites: list[Site] = field(factory=list)
    program: Program | None = None

    @property
    @abstractmethod
    def title(self) -> str: ...

    @property
    @abstractmethod
    def configuration(self) -> Path: ...

    @abstractmethod
    def text(self) -> str:
        """The configuration for the present sites."""

    @abstractmethod
    def argv(self) -> list[str]: ...

    @abstractmethod
    def commands(self) -> dict[str, str]:
        """How an agent checks and reloads this server, as settings of a target."""

    def add_site(self, name: str) -> Site:
        """A new site that serves a throw-away certificate until its first deployment."""
        folder = self.home / "tls"
        folder.mkdir(parents=True, exist_ok=True)
        site = Site(name, free_port(), folder / f"{name}.pem", folder / f"{name}.key")
        _write_placeholder(site)
        self.sites.append(site)
        self.configuration.write_text(self.text())
        return site

    def target_settings(self, site: Site) -> dict[str, Any]:
        return {
            "cert_path": str(site.certificate),
            "key_path": str(site.key),
            "host": "127.0.0.1",
            "port": site.port,
            **self.commands(),
        }

    def start(self) -> None:
        self.program = Program(self.title, self.argv(), self.home / "server.log")
        self.program.start()
        for site in self.sites:
            self._await(site)

    def reload(self) -> None:
        if self.program is not None:
            os.kill(self.program.pid, signal.SIGHUP)
        for site in self.sites:
            self._await(site)

    def _await(self, site: Site) -> None:
        wait_for(f"port {site.port} of {self.title}", lambda: self._answers(site.port))

    def _answers(self, port: int) -> bool | None:
        if self.program is not None:
            self.program.must_run()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return None
        return True

    def break_configuration(self) -> None:
        """From now on the server's own check refuses its configuration; the running server does not notice."""
        self.configuration.write_text(self.text() + "\nthis_is_not_a_directive on;\n")

    def mend_configuration(self) -> None:
        self.configuration.write_text(self.text())

    def stop(self) -> None:
        if self.program is not None:
            self.program.stop()
            self.program = None


@define
class Nginx(WebServer):
    """The machine's nginx, with a prefix, a configuration and a pid file of the demo's own."""

    binary: str = "nginx"

    @property
    def title(self) -> str:
        return "nginx"

    @property
    def configuration(self) -> Path:
        return self.home / "nginx.conf"

    def text(self) -> str:
        servers = "\n".join(
            f"  server {{ listen 127.0.0.1:{site.port} ssl; server_name {site.name};"
            f" ssl_certificate {site.certificate}; ssl_certificate_key {site.key};"
            f' return 200 "served by nginx\\n"; }}'
            for site in self.sites
        )
        temporary = "\n".join(
            f"  {kind}_temp_path {self.home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return (
            f"daemon off;\npid {self.home}/nginx.pid;\nerror_log {self.home}/error.log;\nworker_processes 1;\n"
            f"events {{ worker_connections 256; }}\nhttp {{\n  access_log off;\n{temporary}\n{servers}\n}}\n"
        )

    def argv(self) -> list[str]:
        return [*self._command(), "-g", "master_process on;"]

    def commands(self) -> dict[str, str]:
        command = " ".join(self._command())
        return {"validate_command": f"{command} -t", "reload_command": f"{command} -s reload"}

    def _command(self) -> list[str]:
        return [self.binary, "-p", str(self.home), "-e", f"{self.home}/error.log", "-c", str(self.configuration)]


@define
class OwnServer(WebServer):
    """The demo's own TLS server, for machines without nginx. It reloads on SIGHUP like one."""

    @property
    def title(self) -> str:
        return "the demo's TLS server"

    @property
    def configuration(self) -> Path:
        return self.home / "sites.conf"

    def text(self) -> str:
        return "".join(f"site {site.port} {site.certificate} {site.key}\n" for site in self.sites)

    def argv(self) -> list[str]:
        return [sys.executable, str(_own_program()), str(self.configuration)]

    def commands(self) -> dict[str, str]:
        command = f"{sys.executable} {_own_program()}"
        return {
            "validate_command": f"{command} --check {self.configuration}",
            "reload_command": f"{command} --reload {self.configuration}",
        }


def _own_program() -> Path:
    return Path(__file__).with_name("webserver.py")


def choose(home: Path) -> WebServer:
    """nginx when the machine has one that works, else our own."""
    home.mkdir(parents=True, exist_ok=True)
    binary = shutil.which("nginx")
    if binary and subprocess.run([binary, "-v"], capture_output=True, check=False).returncode == 0:
        return Nginx(home, binary=binary)
    return OwnServer(home)


def _write_placeholder(site: Site) -> None:
    """A self-signed certificate: servers want files that exist before they start."""
    now = datetime.now(UTC)
    authority = ca.create_root(f"placeholder of {site.name}", KeyKind.ECDSA_P256, now, timedelta(days=1))
    site.certificate.write_text(bundle.to_pem(authority.certificate))
    site.key.touch(mode=0o600)
    site.key.write_text(keys.to_pem(authority.private_key))
