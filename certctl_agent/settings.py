"""The agent's settings: flags, `CERTCTL_...` variables and what `join` wrote, in this order. Nothing else reads them.

Each setting is one row below; the command line, the environment and the help text are made from the rows. Flags may be
written with one dash or two. An empty variable counts as unset.
"""

import argparse
import ipaddress
import json
import os
import re
import socket
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import field, frozen

from certctl_adapters.commands import clean_environment
from certctl_core import __version__
from certctl_core.errors import NotConfigured
from certctl_core.ids import CLIENT_ID

MAX_FILE: Final = 1 << 20


class SettingsError(NotConfigured):
    """The settings do not make an agent. The message says which and why."""


@frozen
class Joined:
    """What `join` leaves in the state folder, and where."""

    folder: Path

    @property
    def identity(self) -> Path:
        """JSON: `server_url`, `agent_id`, `name`."""
        return self.folder / "agent.json"

    @property
    def api_key(self) -> Path:
        return self.folder / "api-key"

    @property
    def ca_bundle(self) -> Path:
        return self.folder / "ca.pem"


@frozen(kw_only=True)
class RunSettings:
    """Everything an agent needs to run. Nothing of it changes while it runs."""

    server_url: str
    agent_id: str
    api_key: str = field(repr=False)
    name: str
    key_dir: Path
    ca_bundle: bytes | None
    insecure: bool
    heartbeat_interval: timedelta
    poll_interval: timedelta
    verify_timeout: timedelta
    log_level: str
    discovery_dirs: tuple[str, ...]
    tripwire: str
    environment: Mapping[str, str] = field(repr=False)


@frozen(kw_only=True)
class JoinSettings:
    """Everything `join` needs. `ca_fingerprint` is lower-case hex SHA-256 of the control plane's CA certificate; where
    it is empty, the CAs of `ca_bundle` are believed, and without either those of the machine."""

    server_url: str
    token: str = field(repr=False)
    ca_fingerprint: str
    ca_bundle: bytes | None
    name: str
    state: Joined
    log_level: str


# What values look like


def _text(value: str) -> str:
    return value.strip()


def _server_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        fine = bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        fine = False
    if not fine or parts.scheme != "https" or parts.query or parts.fragment:
        raise ValueError("must be an https URL such as https://certctl.example.com:8443")
    return value.rstrip("/")


_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")


def _duration(value: str) -> timedelta:
    found = _DURATION.fullmatch(value)
    if found is None or not value:
        raise ValueError("must be a duration such as 30s, 5m or 250ms")
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    read = timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    if not timedelta(milliseconds=50) <= read <= timedelta(days=1):
        raise ValueError("must be between 50ms and 24h")
    return read


def _boolean(value: str) -> bool:
    word = value.lower()
    if word in ("true", "1", "t", "yes"):
        return True
    if word in ("false", "0", "f", "no"):
        return False
    raise ValueError("must be true or false")


def _agent_id(value: str) -> str:
    if CLIENT_ID.fullmatch(value) is None:
        raise ValueError("must be letters, digits, dots, hyphens and underscores")
    return value


def _fingerprint(value: str) -> str:
    digits = value.lower().removeprefix("sha256:").replace(":", "")
    if re.fullmatch(r"[0-9a-f]{64}", digits) is None:
        raise ValueError("must be sha256: and 64 hexadecimal digits")
    return digits


def _list(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


# The rows


@frozen
class Row:
    """One setting: its flag without dashes, its variable, how its text is read, its default, and what it is for."""

    flag: str
    variable: str
    parse: Callable[[str], Any]
    default: str
    help: str
    switch: bool = False

    @property
    def key(self) -> str:
        return self.flag.replace("-", "_")


_SERVER: Final = Row("server", "CERTCTL_SERVER_URL", _server_url, "https://localhost:8443", "URL of the control plane")
_NAME: Final = Row("name", "CERTCTL_AGENT_NAME", _text, "certctl-agent", "name of this agent in its logs")
_STATE: Final = Row(
    "state-dir", "CERTCTL_STATE_DIR", _text, "/var/lib/certctl", "folder that join writes and run reads"
)
_LOG_LEVEL: Final = Row("log-level", "CERTCTL_LOG_LEVEL", _text, "info", "debug, or info for anything else")

RUN_ROWS: Final = (
    _SERVER,
    Row("agent-id", "CERTCTL_AGENT_ID", _agent_id, "", "id of this agent (from join, or as registered)"),
    Row("api-key", "CERTCTL_API_KEY", _text, "", "API key; the variable is better, flags are seen by every user"),
    _NAME,
    _STATE,
    Row("key-dir", "CERTCTL_KEY_DIR", _text, "", "folder of the private keys; default: STATE-DIR/keys"),
    Row("ca-bundle", "CERTCTL_SERVER_CA_BUNDLE_PATH", _text, "", "PEM file of CAs to believe; default: the one joined"),
    Row(
        "insecure-skip-verify",
        "CERTCTL_SERVER_TLS_INSECURE_SKIP_VERIFY",
        _boolean,
        "false",
        "believe any server certificate; for a server on this machine only",
        switch=True,
    ),
    Row("discovery-dirs", "CERTCTL_DISCOVERY_DIRS", _list, "", "accepted, with a warning: nothing looks at them yet"),
    Row("heartbeat-interval", "CERTCTL_AGENT_HEARTBEAT_INTERVAL", _duration, "60s", "time between heartbeats"),
    Row("poll-interval", "CERTCTL_AGENT_POLL_INTERVAL", _duration, "30s", "time between polls for work"),
    Row("verify-timeout", "CERTCTL_VERIFY_TIMEOUT", _duration, "10s", "how long to wait until a deployment is served"),
    _LOG_LEVEL,
)
JOIN_ROWS: Final = (
    _SERVER,
    Row("token", "CERTCTL_JOIN_TOKEN", _text, "", "single-use join token"),
    Row(
        "ca-fingerprint", "CERTCTL_CA_FINGERPRINT", _fingerprint, "", "sha256:HEX of the control plane's CA certificate"
    ),
    Row(
        "ca-bundle",
        "CERTCTL_SERVER_CA_BUNDLE_PATH",
        _text,
        "",
        "PEM file of CAs to believe, for a server with a certificate of another CA; default: those of this machine",
    ),
    Row("name", "CERTCTL_AGENT_NAME", _text, "", "name in lists, if the token sets none; default: this host's name"),
    _STATE,
    _LOG_LEVEL,
)
_TRIPWIRE: Final = "CERTCTL_TRIPWIRE"


# Reading


def read(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> RunSettings | JoinSettings:
    """The settings of one invocation. Raises `SettingsError`; exits for `--help` and wrong flags, as argparse does."""
    seen = os.environ if environment is None else environment
    flags = vars(_parser().parse_args(list(arguments)))
    if flags.pop("command", None) == "join":
        return _join_settings(_values(JOIN_ROWS, flags, seen, {}))
    state = Joined(Path(flags.get("state_dir") or seen.get("CERTCTL_STATE_DIR") or _STATE.default))
    return _run_settings(_values(RUN_ROWS, flags, seen, _as_joined(state)), state, seen)


def _values(
    rows: Sequence[Row], flags: Mapping[str, str], environment: Mapping[str, str], joined: Mapping[str, str]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for row in rows:
        sources = (
            (f"-{row.flag}", flags.get(row.key)),
            (row.variable, environment.get(row.variable)),
            ("the joined state", joined.get(row.key)),
            (f"-{row.flag}", row.default),
        )
        source, text = next(((source, text) for source, text in sources if text), ("", ""))
        try:
            values[row.key] = row.parse(text) if text else None
        except ValueError as problem:
            raise SettingsError(f"{source}: {text!r} {problem}", hint="See certctl-agent --help.") from None
    return values


def _as_joined(state: Joined) -> dict[str, str]:
    """What `join` left, as texts of settings. Empty when this machine has not joined."""
    if not state.identity.exists():
        return {}
    try:
        told = json.loads(_file(state.identity))
        texts = {
            row: str(told[key]) for row, key in (("server", "server_url"), ("agent_id", "agent_id"), ("name", "name"))
        }
    except (ValueError, KeyError, TypeError) as problem:
        raise SettingsError(f"{state.identity} is damaged: {problem!r}", hint="Join again.") from problem
    texts["api_key"] = _file(state.api_key).decode("ascii", "replace").strip()
    if state.ca_bundle.exists():
        texts["ca_bundle"] = str(state.ca_bundle)
    return texts


def _run_settings(values: dict[str, Any], state: Joined, environment: Mapping[str, str]) -> RunSettings:
    for key, row in (("api_key", "CERTCTL_API_KEY or -api-key"), ("agent_id", "CERTCTL_AGENT_ID or -agent-id")):
        if not values[key]:
            raise SettingsError(
                f"{row} is required: {state.folder} holds no joined agent",
                hint="Join first: certctl-server token prints the command.",
            )
    if values["insecure_skip_verify"] and not _is_loopback(values["server"]):
        raise SettingsError(
            f"-insecure-skip-verify is refused for {values['server']}: anybody on the way could be the control plane",
            hint="Name its CA with -ca-bundle, or join with its fingerprint.",
        )
    return RunSettings(
        server_url=values["server"],
        agent_id=values["agent_id"],
        api_key=values["api_key"],
        name=values["name"] or "",
        key_dir=Path(values["key_dir"] or state.folder / "keys"),
        ca_bundle=_file(Path(values["ca_bundle"])) if values["ca_bundle"] else None,
        insecure=bool(values["insecure_skip_verify"]),
        heartbeat_interval=values["heartbeat_interval"],
        poll_interval=values["poll_interval"],
        verify_timeout=values["verify_timeout"],
        log_level=values["log_level"],
        discovery_dirs=values["discovery_dirs"] or (),
        tripwire=environment.get(_TRIPWIRE, ""),
        environment=clean_environment(environment),
    )


def _join_settings(values: dict[str, Any]) -> JoinSettings:
    if not values["token"]:
        raise SettingsError("--token is required", hint="An operator makes one with certctl-server token.")
    if values["ca_fingerprint"] and values["ca_bundle"]:
        raise SettingsError(
            "--ca-fingerprint and --ca-bundle both say whom to believe",
            hint="The fingerprint is for a server with a CA of its own, the bundle for one with another certificate.",
        )
    return JoinSettings(
        server_url=values["server"],
        token=values["token"],
        ca_fingerprint=values["ca_fingerprint"] or "",
        ca_bundle=_file(Path(values["ca_bundle"])) if values["ca_bundle"] else None,
        name=values["name"] or socket.gethostname(),
        state=Joined(Path(values["state_dir"])),
        log_level=values["log_level"],
    )


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE)
    except OSError as problem:
        raise SettingsError(f"cannot read {path}: {problem.strerror}") from problem


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# The command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="certctl-agent",
        description="Makes private keys on this machine, has them certified, deploys the certificates, and looks at "
        "what is served.",
        epilog=textwrap.dedent(
            """\
            Without a command it runs. Flags win over variables, variables over what join wrote.
            Exit status: 0 when stopped by SIGTERM or SIGINT, and when the agent was retired; 1 on errors, 2 on flags
            that do not exist.

              certctl-agent join --server https://certctl:8443 --token cjt_... --ca-fingerprint sha256:...
              certctl-agent run
              CERTCTL_API_KEY=cck_... certctl-agent -server https://certctl:8443 -agent-id agent-1 -ca-bundle ca.pem
            """
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"certctl-agent {__version__}")
    _add_flags(parser, RUN_ROWS)
    commands = parser.add_subparsers(dest="command", metavar="{join,run}")
    for name, help_text, rows in (
        ("join", "exchange a join token for an identity and an API key", JOIN_ROWS),
        ("run", "run until stopped", RUN_ROWS),
    ):
        command = commands.add_parser(
            name, help=help_text, description=help_text, argument_default=argparse.SUPPRESS, allow_abbrev=False
        )
        _add_flags(command, rows)
    return parser


def _add_flags(parser: argparse.ArgumentParser, rows: Sequence[Row]) -> None:
    for row in rows:
        default = f"; default: {row.default}" if row.default else ""
        how: dict[str, Any] = {"nargs": "?", "const": "true"} if row.switch else {}
        parser.add_argument(
            f"-{row.flag}",
            f"--{row.flag}",
            dest=row.key,
            metavar="BOOL" if row.switch else row.flag.rpartition("-")[2].upper(),
            help=f"{row.help} ({row.variable}{default})",
            **how,
        )
