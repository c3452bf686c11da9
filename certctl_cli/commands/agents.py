"""`certctl agents`: the programs beside the web servers."""

import re
import shlex
from argparse import ArgumentTypeError, Namespace
from typing import Any, Final
from urllib.parse import urlsplit

from certctl_cli import operations
from certctl_cli.client import Server, one
from certctl_cli.command import Command, Record, Result, Text, argument
from certctl_cli.wording import ID, PAGING, flag, listed, moment, of, text

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def page(server: Server, given: Namespace) -> Result:
    if given.retired:
        retired = {
            "ID": of("id"),
            "HOSTNAME": of("hostname"),
            "OS": of("os"),
            "ARCHITECTURE": of("architecture"),
            "RETIRED AT": lambda row: moment(row.get("retired_at")),
            "REASON": of("retired_reason"),
        }
        return listed(server.pages(given, "/agents/retired"), given, retired, noun=" retired")
    columns = {
        "ID": of("id"),
        "HOSTNAME": of("hostname"),
        "STATUS": of("status"),
        "OS": of("os"),
        "ARCHITECTURE": of("architecture"),
        "IP ADDRESS": of("ip_address"),
    }
    return listed(server.pages(given, "/agents", **operations.narrowed("list_agents", given)), given, columns)


def get(server: Server, given: Namespace) -> Result:
    told = server.get(one("agents", given.id))
    rows = [
        ("ID", text(told.get("id"))),
        ("Name", text(told.get("name"))),
        ("Hostname", text(told.get("hostname"))),
        ("Status", text(told.get("status"))),
        ("OS", text(told.get("os"))),
        ("Architecture", text(told.get("architecture"))),
        ("IP Address", text(told.get("ip_address"))),
        ("Version", text(told.get("version"))),
        ("Last Heartbeat", moment(told.get("last_heartbeat_at"))),
    ]
    if told.get("retired_at"):
        rows += [("Retired At", moment(told["retired_at"])), ("Reason", text(told.get("retired_reason")))]
    return Result(data=told, views=(Record(rows),))


def retire(server: Server, given: Namespace) -> Result:
    told = server.delete(one("agents", given.id), force=given.force or None, reason=given.reason)
    if told is None:
        return Result(data={"status": "already_retired"}, views=(Text(f"Agent {given.id} was retired before."),))
    views: tuple[Any, ...] = (Text(f"Agent {given.id} retired at {moment(told.get('retired_at'))}."),)
    if told.get("cascade"):
        counts = told.get("counts") or {}
        views += (Record([(f"{name.replace('_', ' ').capitalize()}", text(n)) for name, n in counts.items()]),)
    return Result(data=told, views=views)


def token(server: Server, given: Namespace) -> Result:
    asked = {"agent_name": given.name, "ttl_seconds": given.ttl}
    told = server.post("/agents/join-tokens", {name: value for name, value in asked.items() if value})
    words = ["certctl-agent", "join", "--server", server.url.rstrip("/"), "--token", str(told["token"])]
    words += ["--ca-fingerprint", told.get("ca_fingerprint") or "sha256:HEX"]
    words += ["--name", given.name] if given.name else []
    notes = [f"On the agent's machine, once, until {moment(told.get('expires_at'))}."]
    if not told.get("ca_fingerprint"):
        notes.append("The server's certificate is not from a CA of its own: put the SHA-256 of its CA for sha256:HEX.")
    if urlsplit(server.url).hostname in ("localhost", "127.0.0.1", "::1"):
        notes.append(f"Another machine cannot reach {server.url}: give the server's name there.")
    return Result(data=told, views=(Text(shlex.join(words)),), notes=tuple(notes))


def _seconds(given: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,7})([smhd])", given)
    if found is None:
        raise ArgumentTypeError(f"{given!r} is not a duration such as 30m, 2h or 1d")
    return int(found[1]) * _UNITS[found[2]]


COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        name="agents list",
        covers=("list_agents", "list_retired_agents"),
        help="list agents",
        run=page,
        arguments=(
            *operations.filters("list_agents"),
            argument("--retired", action="store_true", help="those that are retired instead"),
            *PAGING,
        ),
    ),
    Command(name="agents get", covers=("get_agent",), help="show one agent", run=get, arguments=(ID,)),
    Command(
        name="agents token",
        covers=("issue_join_token",),
        help="make a token with which one agent may join, and print the command that does",
        run=token,
        arguments=(
            flag("name", "what the agent is to be called"),
            argument("--ttl", type=_seconds, metavar="DURATION", help="how long it may be used; default: 1h"),
        ),
    ),
    Command(
        name="agents retire",
        covers=("retire_agent",),
        help="retire an agent for good",
        run=retire,
        arguments=(
            ID,
            argument("--force", action="store_true", help="with its targets and open jobs; needs a reason"),
            flag("reason", "why; kept on record"),
        ),
    ),
)
