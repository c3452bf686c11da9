"""NGINX (https://nginx.org/en/docs/http/configuring_https_servers.html): certificate files, a check and a reload.

`nginx -t` reads the configuration with the new files in place, so they are swapped in first and swapped back when it
refuses them. Until a reload the running workers keep what they loaded: nothing that is only checked is ever served.
"""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Final

from certctl_adapters.commands import CommandFailed, command, parse_command
from certctl_adapters.files import PRIVATE, NewFile
from certctl_adapters.host import Host
from certctl_adapters.settings import FILE_MODE, SECONDS, absolute_path, between, setting, settings
from certctl_core.errors import DeploymentFailed, FieldProblem
from certctl_core.pki import bundle, keys
from certctl_core.ports.target import Delivery, Reloads, Target

_MAX_WORDS: Final = 4000
_PORT: Final = between(1, 65535)


@settings
class NginxSettings:
    """NGINX on the agent's host."""

    cert_path: str = setting(
        help="File of the certificate (ssl_certificate); the chain follows it there unless chain_path is set.",
        check=absolute_path,
    )
    key_path: str = setting(
        help="File of the private key (ssl_certificate_key); empty: the key is not written.",
        default="",
        check=absolute_path,
    )
    chain_path: str = setting(
        help="File of the chain alone; empty: the chain is appended to cert_path.", default="", check=absolute_path
    )
    validate_command: str = setting(
        help="Checks the configuration before the reload; empty: no check.", default="nginx -t", check=command
    )
    reload_command: str = setting(
        help="Makes NGINX load the files; empty: no reload.", default="nginx -s reload", check=command
    )
    command_timeout: timedelta = setting(
        help="How long a command may take, in seconds.", default=timedelta(seconds=60), kind=SECONDS
    )
    cert_file_mode: int | None = setting(
        help="Mode of the certificate file; empty: as it is, 0644 if new.", default=None, kind=FILE_MODE
    )
    cert_file_owner: str = setting(help="Owner of the certificate file; empty: as it is.", default="")
    cert_file_group: str = setting(help="Group of the certificate file; empty: as it is.", default="")
    chain_file_mode: int | None = setting(
        help="Mode of the chain file; empty: as it is, 0644 if new.", default=None, kind=FILE_MODE
    )
    chain_file_owner: str = setting(help="Owner of the chain file; empty: as it is.", default="")
    chain_file_group: str = setting(help="Group of the chain file; empty: as it is.", default="")
    key_file_mode: int | None = setting(
        help="Mode of the key file, never readable by all; empty: as it is, 0600 if new.", default=None, kind=FILE_MODE
    )
    key_file_owner: str = setting(help="Owner of the key file; empty: as it is.", default="")
    key_file_group: str = setting(help="Group of the key file; empty: as it is.", default="")
    verify_host: str = setting(
        help="Where the agent looks at what is served after a deployment; empty: host, else no look.", default=""
    )
    verify_port: int | None = setting(help="Port of that look; empty: port, else 443.", default=None, check=_PORT)
    verify_server_name: str = setting(
        help="Server name (SNI) of that look; empty: verify_host, or the certificate's name when that is an address.",
        default="",
    )
    host: str = setting(help="Another name of verify_host.", default="")
    port: int | None = setting(help="Another name of verify_port.", default=None, check=_PORT)

    def problems(self) -> Iterable[FieldProblem]:
        """Two contents cannot be in one file."""
        paths = {"cert_path": self.cert_path, "key_path": self.key_path, "chain_path": self.chain_path}
        for name in ("key_path", "chain_path"):
            if paths[name] and list(paths.values()).count(paths[name]) > 1:
                yield FieldProblem(name, "must be a file of its own")


class NginxTarget(Target, Reloads):
    """Certificate files swapped in together, checked, loaded; swapped back when NGINX does not want them."""

    settings_class: ClassVar[type[NginxSettings]] = NginxSettings

    def __init__(self, settings: NginxSettings, host: Host) -> None:
        self._settings = settings
        self._host = host

    def deploy(self, delivery: Delivery) -> None:
        reload_begun = False
        try:
            with self._host.files.install(_files(self._settings, delivery)) as installed:
                if installed.changed:
                    self._run(self._settings.validate_command)
                    reload_begun = True
                    self._run(self._settings.reload_command)
        except CommandFailed as problem:
            words = [problem.message, *getattr(problem, "__notes__", ())]
            if reload_begun:
                words += self._reload_again()
            raise DeploymentFailed("; ".join(words)[:_MAX_WORDS], hint=problem.hint) from problem

    def reload(self) -> None:
        try:
            self._run(self._settings.validate_command)
            self._run(self._settings.reload_command)
        except CommandFailed as problem:
            raise DeploymentFailed(problem.message[:_MAX_WORDS], hint=problem.hint) from problem

    def _reload_again(self) -> list[str]:
        """Workers that were started from the refused files are replaced by ones with the old files."""
        try:
            self._run(self._settings.reload_command)
        except CommandFailed as problem:
            return [f"and after the files were put back: {problem.message}"]
        return []

    def _run(self, line: str) -> None:
        if line:
            self._host.commands.run(parse_command(line), timeout=self._settings.command_timeout)


def _files(wanted: NginxSettings, delivery: Delivery) -> tuple[NewFile, ...]:
    leaf, chain = (delivery.certificate,), delivery.chain
    certificate = NewFile(
        Path(wanted.cert_path),
        bundle.to_pem(*leaf, *(() if wanted.chain_path else chain)).encode(),
        mode=wanted.cert_file_mode,
        owner=wanted.cert_file_owner,
        group=wanted.cert_file_group,
    )
    files = [certificate]
    if wanted.chain_path:
        files.append(
            NewFile(
                Path(wanted.chain_path),
                bundle.to_pem(*chain).encode(),
                mode=wanted.chain_file_mode,
                owner=wanted.chain_file_owner,
                group=wanted.chain_file_group,
            )
        )
    if wanted.key_path:
        files.append(
            NewFile(
                Path(wanted.key_path),
                keys.to_pem(delivery.private_key).encode(),
                mode=wanted.key_file_mode,
                mode_if_new=PRIVATE,
                owner=wanted.key_file_owner,
                group=wanted.key_file_group,
                secret=True,
            )
        )
    return tuple(files)
