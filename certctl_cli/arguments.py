"""What may be typed: the parser, built from the rows of the commands.

There are commands for every operation of the API; only those of the group that was typed are built, so that the program
starts at once.
"""

import argparse
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Final

from certctl_cli.command import Command
from certctl_cli.commands import GROUPS, every_command
from certctl_cli.settings import DEFAULT_SERVER, FORMATS

_EPILOG: Final = """\
Flags win over variables, variables over what `certctl login` stored. Flags that every command has may stand before it
or after it. Exit status:

  0  done                                   4  no key, a wrong one, or not allowed
  1  the server refused                     5  there is no such object
  2  what was typed makes no sense          6  the object is in another state, or changed meanwhile
  3  no server answered, or its certificate is not to be believed

  certctl login --server https://certctl.example.com:8443 --ca-bundle ca.pem
  certctl status
  certctl certs list --status Expiring --format json --query 'data[].common_name'
  eval "$(certctl completion bash)"
"""
_Subparsers = Any  # argparse keeps the name of their type to itself


def parser(typed: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Parses into `run`, the function of a command, and what that asks for. With `typed`, only the group that is named
    there is built."""
    made = argparse.ArgumentParser(
        prog="certctl",
        description="Asks a certctl control plane, and tells it what to do.",
        epilog=textwrap.dedent(_EPILOG),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_global_flags(made)
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    found = every_command()
    groups = dict.fromkeys(command.name.partition(" ")[0] for command in found)
    wanted = None if typed is None else set(typed) & groups.keys()
    for group in groups:
        own = [command for command in found if command.name.partition(" ")[0] == group]
        _add_group(commands, group, own, is_wanted=wanted is None or group in wanted)
    return made


def _add_group(commands: _Subparsers, group: str, own: Sequence[Command], *, is_wanted: bool) -> None:
    if own[0].name == group:
        _add_command(commands, group, own[0])
        return
    words = GROUPS.get(group) or group.replace("-", " ")
    added = commands.add_parser(group, help=words, description=words, allow_abbrev=False)
    if is_wanted:
        _add_verbs(added.add_subparsers(metavar="COMMAND", required=True), own)


def _add_verbs(verbs: _Subparsers, own: Iterable[Command]) -> None:
    for command in own:
        _add_command(verbs, command.name.partition(" ")[2], command)


def _add_global_flags(made: argparse.ArgumentParser, own: Iterable[str] = ()) -> None:
    """All but those whose name the command has given another meaning. What is not given leaves no trace: it may have
    been given before the command."""
    flags = made.add_argument_group("flags of every command")

    def add(name: str, **how: Any) -> None:
        if name not in own:
            flags.add_argument(name, default=argparse.SUPPRESS, **how)

    add("--server", metavar="URL", help=f"the control plane (CERTCTL_SERVER_URL; default: {DEFAULT_SERVER})")
    add("--api-key", metavar="KEY", help="API key (CERTCTL_API_KEY, which is better: flags are seen by every user)")
    add(
        "--ca-bundle",
        metavar="FILE",
        help="PEM file of the CAs to believe (CERTCTL_SERVER_CA_BUNDLE_PATH; default: those of this machine)",
    )
    add("--profile", metavar="NAME", help="which stored address and key (CERTCTL_PROFILE; default: default)")
    add("--format", choices=FORMATS, help=f"how to print; default: {FORMATS[0]}")
    add("--query", metavar="JMESPATH", help="print only this part of the answer, such as data[].id")


def _add_command(commands: _Subparsers, verb: str, command: Command) -> None:
    made = commands.add_parser(verb, help=command.help, description=command.help, allow_abbrev=False)
    made.set_defaults(run=command.run, may_be_new=command.may_be_new)
    for one in command.arguments:
        made.add_argument(one.name, **one.how)
    _add_global_flags(made, [one.name for one in command.arguments])
