"""`certctl issuers` and `certctl targets`: what certificates come from, and where they go."""

from argparse import Namespace
from collections.abc import Iterator
from typing import Any, Final

from certctl_cli.client import Server
from certctl_cli.command import Command, Result, Table
from certctl_cli.wording import ID, NOTHING, PAGING, day, listed, of


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


def hierarchy(server: Server, given: Namespace) -> Result:
    """Each CA below the one that signed it; one whose signer is another issuer's stands at the margin."""
    told = server.get(f"/issuers/{given.id}/intermediates")
    found = told["data"]
    here = {one["id"] for one in found}
    below: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        above = one.get("parent_ca_id", "")
        below.setdefault(above if above in here else "", []).append(one)
    rows = [_ca(one, depth) for one, depth in _tree(below, "", 0)]
    return Result(data=told, views=(Table(("CA", "ID", "STATE", "SIGNS", "KEY", "ENDS"), rows),))


def _tree(below: dict[str, list[dict[str, Any]]], above: str, depth: int) -> Iterator[tuple[dict[str, Any], int]]:
    for one in below.get(above, ()):
        yield one, depth
        yield from _tree(below, one["id"], depth + 1)


def _ca(one: dict[str, Any], depth: int) -> tuple[str, ...]:
    signs = "leafs" if one["signs_leafs"] else NOTHING
    key = f"{one['key_algorithm']}, {one['key_driver_id']}"
    return f"{'  ' * depth}{one['name']}", one["id"], one["state"], signs, key, day(one["not_after"])


COMMANDS: Final[tuple[Command, ...]] = (
    Command(name="issuers list", covers=("list_issuers",), help="list issuers", run=issuers, arguments=PAGING),
    Command(
        name="issuers hierarchy",
        covers=("list_intermediate_cas",),
        help="show the CAs of an issuer as a tree",
        run=hierarchy,
        arguments=(ID,),
    ),
    Command(name="targets list", covers=("list_targets",), help="list targets", run=targets, arguments=PAGING),
)
