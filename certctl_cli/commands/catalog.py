"""`certctl issuers` and `certctl targets`: what certificates come from, and where they go."""

from argparse import Namespace
from typing import Final

from certctl_cli.client import Server
from certctl_cli.command import Command, Result
from certctl_cli.wording import PAGING, listed, of


def issuers(server: Server, given: Namespace) -> Result:
    told = server.pages(given, "/issuers")
    columns = {
        "ID": of("id"),
        "NAME": of("name"),
        "TYPE": of("type"),
        "ENABLED": of("enabled"),
        "TESTED": of("test_status"),
    }
    return listed(told, given, columns)


def targets(server: Server, given: Namespace) -> Result:
    told = server.pages(given, "/targets")
    columns = {
        "ID": of("id"),
        "NAME": of("name"),
        "TYPE": of("type"),
        "AGENT": of("agent_id"),
        "ENABLED": of("enabled"),
        "TESTED": of("test_status"),
    }
    return listed(told, given, columns)


COMMANDS: Final[tuple[Command, ...]] = (
    Command(name="issuers list", covers=("list_issuers",), help="list issuers", run=issuers, arguments=PAGING),
    Command(name="targets list", covers=("list_targets",), help="list targets", run=targets, arguments=PAGING),
)
