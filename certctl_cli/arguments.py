"""What may be typed: the parser, built from the rows of the commands."""

import argparse
import textwrap
from typing import Any, Final

from certctl_cli.command import Command
from certctl_cli.commands import COMMANDS, GROUPS
from certctl_cli.settings import DEFAULT_SERVER, FORMATS

_EPILOG: Final = """\
Flags win over variables. Exit status: 0 when done, 1 when the server refused, 2 when what was typed makes no sense,
3 when no server answered or its certificate is not to be believed.

  export CERTCTL_SERVER_URL=https://certctl.example.com:8443 CERTCTL_API_KEY=cck_...
  certctl --ca-bundle ca.pem status
  certctl --format json certs list --status Expiring
"""
_Subparsers = Any  # argparse keeps the name of their type to itself


def parser() -> argparse.ArgumentParser:
    """Parses into `run`, the function of a command, and what that asks for."""
    made = argparse.ArgumentParser(
        prog="certctl",
        description="Asks a certctl control plane, and tells it what to do.",
        epilog=textwrap.dedent(_EPILOG),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_global_flags(made)
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    groups: dict[str, _Subparsers] = {}
    for command in COMMANDS:
        group, _, verb = command.name.rpartition(" ")
        if group and group not in groups:
            words = GROUPS[group]
            added = commands.add_parser(group, help=words, description=words, allow_abbrev=False)
            groups[group] = added.add_subparsers(metavar="COMMAND", required=True)
        _add_command(groups[group] if group else commands, verb, command)
    return made


def _add_global_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--server", metavar="URL", help=f"the control plane (CERTCTL_SERVER_URL; default: {DEFAULT_SERVER})"
    )
    made.add_argument(
        "--api-key", metavar="KEY", help="API key (CERTCTL_API_KEY, which is better: flags are seen by every user)"
    )
    made.add_argument(
        "--ca-bundle",
        metavar="FILE",
        help="PEM file of the CAs to believe (CERTCTL_SERVER_CA_BUNDLE_PATH; default: those of this machine)",
    )
    made.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="how to print; default: %(default)s")


def _add_command(commands: _Subparsers, verb: str, command: Command) -> None:
    made = commands.add_parser(verb, help=command.help, description=command.help, allow_abbrev=False)
    made.set_defaults(run=command.run)
    for one in command.arguments:
        made.add_argument(one.name, **one.how)
