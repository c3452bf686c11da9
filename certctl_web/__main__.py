"""`certctl-server`: everything in one command, or its parts one by one.

Imports are where they are needed, so that `--help` is quick and a mistake in the settings is told before anything heavy
is loaded; the web process has to patch the standard library before anything else is imported.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from certctl_core.models.access import Principal
    from certctl_web.settings import Reading, Settings

EX_CONFIG: Final = 78
"""Exit status for a mistake of configuration: starting again changes nothing. Service managers can be told so."""

_ABOUT: Final = """\
The certctl control plane. Without a command it runs everything: an embedded PostgreSQL (unless CERTCTL_DATABASE_URL
names a server), the HTTPS API with its dashboard, and the worker. The commands run parts, any number of each against
one database."""

_MORE: Final = """\
Settings are CERTCTL_... variables of the environment; `certctl-server config` lists them all. On first start an
administrator's API key is made and printed once. Exit status: 0 after an orderly stop, 78 when the configuration must
be changed, 1 for anything else."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script."""
    sys.exit(run(_parser().parse_args(arguments)))


def run(asked: argparse.Namespace) -> int:
    """Do what was asked; an operator's mistake is one line and what to do, never a traceback."""
    if asked.command in ("web", "pki"):
        from gevent import monkey

        monkey.patch_all()
    from certctl_core.errors import CertctlError, Conflict, Invalid, NotConfigured
    from certctl_web.settings import SettingsError

    command: Callable[[argparse.Namespace], int] = asked.run
    try:
        return command(asked)
    except SettingsError as error:
        for problem in error.problems:
            _complain(problem)
        return EX_CONFIG
    except CertctlError as error:
        _complain(error.message, error.hint)
        return EX_CONFIG if isinstance(error, (NotConfigured, Conflict, Invalid)) else 1
    except PermissionError as error:
        _complain(f"{error.filename}: {error.strerror}", "Run as a user who may, or choose another CERTCTL_DATA_DIR.")
        return EX_CONFIG
    except OSError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "certctl-server", description=_ABOUT, epilog=_MORE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=_everything, command="all")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, does: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        command.set_defaults(run=does, command=name)
        return command

    for name, does, about in (
        ("web", _web, "serve the HTTPS API and the dashboard"),
        ("pki", _pki, "serve CRLs, OCSP and CA certificates over plain HTTP"),
        ("worker", _worker, "run the loops and the jobs"),
    ):
        part = add(name, does, about)
        part.add_argument("--supervised-by", type=int, metavar="PID", help=argparse.SUPPRESS)
        part.add_argument("--gate", type=int, metavar="FD", help=argparse.SUPPRESS)
        part.add_argument("--listener", type=int, metavar="FD", help=argparse.SUPPRESS)
    add("migrate", _migrate, "bring the database up to this release, and stop")
    add("openapi", _openapi, "print the description of the API, OpenAPI 3.1 in JSON")
    add("config", _config, "show every setting, its value and where it came from; secrets are hidden")
    add("auditkey", _audit_key, "print the public key that checkpoints of the audit trail are signed with")
    token = add("token", _token, "make a token with which one agent may join, once")
    token.add_argument("--agent-name", default="", help="name of the agent, instead of the one it gives itself")
    token.add_argument("--ttl", default="1h", help="how long the token is good for, such as 30m or 24h (default 1h)")
    _add_key_commands(add("apikey", _apikey_list, "make, list and revoke API keys").add_subparsers(metavar="COMMAND"))
    return parser


def _add_key_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    create = commands.add_parser("create", help="make a key and print it, once")
    create.add_argument("name", help="whose key it is; the audit trail shows this name")
    create.add_argument("--role", default="operator", choices=("admin", "operator", "viewer", "auditor"))
    create.add_argument("--expires-in", metavar="DURATION", help="such as 720h; without it the key does not expire")
    for option, value, limits in (("team", "ID", "this team"), ("environment", "NAME", "this environment")):
        told = f"limit the key to what belongs to {limits}; may be given several times"
        create.add_argument(f"--{option}", action="append", default=[], metavar=value, help=told)
    create.set_defaults(run=_apikey_create)
    commands.add_parser("list", help="list keys").set_defaults(run=_apikey_list)
    revoke = commands.add_parser("revoke", help="make a key useless, at once and for good")
    revoke.add_argument("id", help="id of the key, as listed")
    revoke.set_defaults(run=_apikey_revoke)


def _complain(problem: str, hint: str = "") -> None:
    print(f"certctl-server: {problem}" + (f"\n  {hint}" if hint else ""), file=sys.stderr)


# --- The server and its parts -------------------------------------------------------------------------------------


def _everything(_asked: argparse.Namespace) -> int:
    """The supervisor: database and first start, meanwhile web and worker as child processes get ready."""
    settings = _start("supervisor")
    from certctl_web.listening import listen
    from certctl_web.process import Gate, StopSign, shared_measurements
    from certctl_web.supervisor import Part, Supervisor

    stop, gate = StopSign(), Gate()
    listener = listen(settings.web.host, settings.web.port)
    number = listener.fileno()
    leash = ("--supervised-by", str(os.getpid()), "--gate", str(gate.number))
    web = Part("web", _part_command("web", *leash, "--listener", str(number)), keeps=(gate.number, number))
    worker = Part("worker", _part_command("worker", *leash), keeps=(gate.number,))
    parts, listeners = [web, worker], [listener]
    if settings.pki.port:
        plain = listen(settings.pki.host, settings.pki.port, names="PKI_HTTP")
        keeps = (gate.number, plain.fileno())
        parts.append(Part("pki", _part_command("pki", *leash, "--listener", str(plain.fileno())), keeps))
        listeners.append(plain)

    def draining() -> None:
        for one in listeners:
            one.close()

    supervisor = Supervisor(parts, stop, settings.lifecycle.shutdown_timeout, draining=draining)
    with shared_measurements():
        supervisor.start()
        try:
            from certctl_web import bootstrap

            with bootstrap.database(settings) as database:
                _welcome(settings, bootstrap.prepare(settings, database.url, serves=True))
                gate.open()
                return supervisor.run(database.tend)
        finally:
            supervisor.end()


def _part_command(*arguments: str) -> list[str]:
    """This program again. A console script does not look for modules in the working directory, so neither does it."""
    as_module = getattr(sys.modules["__main__"], "__spec__", None) is not None
    return [sys.executable, *([] if as_module else ["-P"]), "-m", "certctl_web", *arguments]


def _web(asked: argparse.Namespace) -> int:
    from certctl_web.process import Leash, shared_measurements

    leash = Leash(asked.supervised_by)
    settings = _start("web")
    with shared_measurements():
        import socket

        import structlog

        from certctl_web import bootstrap, serving, web
        from certctl_web.listening import listen

        if asked.listener is None:
            listener = listen(settings.web.host, settings.web.port)
        else:
            listener = socket.socket(fileno=asked.listener)
        _wait_at_gate(asked)
        with bootstrap.database(settings) as database:
            if asked.supervised_by is None:
                _welcome(settings, bootstrap.prepare(settings, database.url, serves=True))
            pair = bootstrap.server_pair(settings)
            structlog.get_logger("certctl_web").info("listening", address=_address(settings))
            web.serve(settings, listener, pair, leash, lambda: serving.served(settings, database.url))
        return 0


def _pki(asked: argparse.Namespace) -> int:
    from certctl_web.process import Leash, shared_measurements

    leash = Leash(asked.supervised_by)
    settings = _start("pki")
    with shared_measurements():
        import socket

        import structlog

        from certctl_core.errors import NotConfigured
        from certctl_web import bootstrap, serving, web
        from certctl_web.listening import listen

        if not settings.pki.port:
            raise NotConfigured(
                "there is no port to listen on", hint="Set CERTCTL_PKI_HTTP_PORT, and CERTCTL_PKI_PUBLIC_URL with it."
            )
        if asked.listener is None:
            listener = listen(settings.pki.host, settings.pki.port, names="PKI_HTTP")
        else:
            listener = socket.socket(fileno=asked.listener)
        _wait_at_gate(asked)
        with bootstrap.database(settings) as database:
            if asked.supervised_by is None:
                _welcome(settings, bootstrap.prepare(settings, database.url, serves=False))
            address = f"http://{settings.pki.host}:{settings.pki.port}"
            structlog.get_logger("certctl_web").info("listening without TLS", address=address)
            web.serve(settings, listener, None, leash, lambda: serving.served_plainly(settings, database.url))
        return 0


def _worker(asked: argparse.Namespace) -> int:
    from certctl_web.process import Leash

    leash = Leash(asked.supervised_by)
    settings = _start("worker")
    from certctl_web import bootstrap, worker

    _wait_at_gate(asked)
    with bootstrap.database(settings) as database:
        if asked.supervised_by is None:
            _welcome(settings, bootstrap.prepare(settings, database.url, serves=False))
        with bootstrap.connected(settings, database.url, settings.storage.database_max_conns) as backend:
            worker.run(backend.ports, settings, database.url, leash)
    return 0


def _wait_at_gate(asked: argparse.Namespace) -> None:
    if asked.gate is not None:
        from certctl_web.process import Gate

        Gate.wait(asked.gate)


def _openapi(_asked: argparse.Namespace) -> int:
    import json

    from certctl_core import __version__
    from certctl_web import openapi
    from certctl_web.operations import TABLE

    print(json.dumps(openapi.document(TABLE, __version__), indent=2, ensure_ascii=False))
    return 0


def _migrate(_asked: argparse.Namespace) -> int:
    settings = _start("migrate")
    from certctl_adapters.postgres import migrate
    from certctl_web import bootstrap

    with bootstrap.database(settings) as database:
        for migration in migrate.migrate(database.url):
            print(f"applied {migration.file}")
        print(f"the database is at migration {len(migrate.status(database.url))}")
    return 0


def _start(process: str) -> "Settings":
    """Settings and logs of this process. Raises `SettingsError`."""
    from certctl_web import logs, settings

    reading = settings.load()
    logs.configure(reading.settings.log, process)
    if process in ("supervisor", "web", "pki", "worker"):
        _warn(reading)
    return reading.settings


def _warn(reading: "Reading") -> None:
    import structlog

    for warning in reading.warnings:
        structlog.get_logger("certctl_web.settings").warning(warning)


def _welcome(settings: "Settings", first_key: str | None) -> None:
    """Show the first key on standard output: a log would keep it."""
    if first_key is None:
        return
    lines = (
        "",
        f"  certctl has been set up. Its address is {_address(settings)}",
        "",
        f"  Administrator's API key:  {first_key}",
        "",
        "  It is shown this once. Keep it safe; `certctl-server apikey` makes others.",
        "",
    )
    print("\n".join(lines), flush=True)


def _address(settings: "Settings") -> str:
    """Where clients find the server, as far as it can know."""
    host = f"[{settings.web.host}]" if ":" in settings.web.host else settings.web.host
    return settings.web.public_url or f"https://{host}:{settings.web.port}"


# --- Looking and managing -----------------------------------------------------------------------------------------


def _config(_asked: argparse.Namespace) -> int:
    from certctl_web import settings

    reading = settings.read()
    rows = [(row.name, row.value or "-", row.source) for row in settings.describe(reading)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for row, described in zip(rows, settings.describe(reading), strict=True):
        print(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]:7}  {described.help}".rstrip())
    for warning in reading.warnings:
        _complain(f"warning: {warning}")
    for problem in reading.problems:
        _complain(problem)
    return EX_CONFIG if reading.problems else 0


def _token(asked: argparse.Namespace) -> int:
    settings = _start("token")
    from certctl_core.pki import reading
    from certctl_core.usecases import agents
    from certctl_web import bootstrap

    ttl, has_own_ca = _duration(asked.ttl), settings.web.tls_cert_path is None
    with bootstrap.managed(settings) as backend:
        issued = agents.issue_join_token(backend.ports, _operator(), asked.agent_name, ttl)
        pin = f" --ca-fingerprint sha256:{reading.fingerprint(backend.control_plane().chain[-1])}" if has_own_ca else ""
    print(f"token:    {issued.token}")
    print(f"good until {issued.record.expires_at:%Y-%m-%d %H:%M:%S} UTC, for one agent")
    print(f"join with: certctl-agent join --server {_address(settings)} --token {issued.token}{pin}")
    if not has_own_ca:
        print(
            "the server's certificate is from a CA of yours: add --ca-bundle FILE where the machine does not trust it"
        )
    return 0


def _operator() -> "Principal":
    """Whoever can run this command has the database and its key, and so is an administrator."""
    import getpass

    from certctl_core.models.access import Principal, Role

    return Principal(f"{getpass.getuser()} (command line)", Role.ADMIN)


def _duration(text: str) -> timedelta:
    from certctl_core.errors import Invalid
    from certctl_web.setting import read_duration

    try:
        return read_duration(text)
    except ValueError as error:
        raise Invalid(f"{text!r} {error}") from None


def _audit_key(_asked: argparse.Namespace) -> int:
    settings = _start("auditkey")
    from certctl_core.usecases import sealing
    from certctl_web import bootstrap

    with bootstrap.managed(settings) as backend:
        print(sealing.ensure_signer(backend.ports)[0])
    return 0


def _apikey_create(asked: argparse.Namespace) -> int:
    settings = _start("apikey")
    from datetime import UTC, datetime

    from certctl_core.models.access import Role
    from certctl_core.usecases import access
    from certctl_web import bootstrap

    expires_at = datetime.now(UTC) + _duration(asked.expires_in) if asked.expires_in else None
    with bootstrap.managed(settings) as backend:
        made = access.create_key(
            backend.ports,
            _operator(),
            asked.name,
            Role(asked.role),
            expires_at=expires_at,
            team_ids=asked.team or None,
            environments=asked.environment or None,
        )
    print(made.plain)
    _complain(f"this is the key of {asked.name} ({made.record.id}, {asked.role}); it is shown this once")
    return 0


def _apikey_list(_asked: argparse.Namespace) -> int:
    settings = _start("apikey")
    from certctl_core.ports.store import Query
    from certctl_core.usecases import access
    from certctl_web import bootstrap

    with bootstrap.managed(settings) as backend:
        found = access.page_keys(backend.ports, _operator(), Query(limit=500))
    for key in found.items:
        state = "revoked" if key.revoked_at else f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "in use"
        used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
        limits = ", ".join((*key.team_ids, *key.environments))
        print(f"{key.id}  {key.role.value:8}  {state:16}  {used:16}  {key.name}{f'  ({limits})' if limits else ''}")
    return 0


def _apikey_revoke(asked: argparse.Namespace) -> int:
    settings = _start("apikey")
    from certctl_core.usecases import access
    from certctl_web import bootstrap

    with bootstrap.managed(settings) as backend:
        access.revoke_key(backend.ports, _operator(), asked.id)
    print(f"{asked.id} is revoked")
    return 0


if __name__ == "__main__":
    main()
