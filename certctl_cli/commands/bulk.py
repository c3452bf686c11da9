"""`certctl certs bulk-revoke`, `bulk-renew` and `bulk-reassign`: many certificates at once, with progress.

The server carries the operation on whether anybody waits or not; waiting only looks.
"""

import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from certctl_cli.client import Server, one
from certctl_cli.command import Argument, Command, Json, Record, Result, Table, Text, View, argument
from certctl_cli.commands.certs import REASONS
from certctl_cli.operations import flags
from certctl_cli.profiles import SettingsError
from certctl_cli.progress import bar
from certctl_cli.wording import text

_PAUSE: Final = 0.5
"""Seconds between two looks."""

_LISTED: Final = 20
"""Failures that are shown; the rest can be asked for."""

Sleep = Callable[[float], None]


def run(action: str, server: Server, given: Namespace) -> Result:
    body = {name: value for name in _fields(action) if (value := getattr(given, name, None))}
    if given.ids:
        body["certificate_ids"] = given.ids
    if not any(name in body for name in _criteria(action)):
        raise SettingsError(
            "which certificates? Give ids, or a flag that chooses some", hint=f"certctl certs bulk-{action} --help"
        )
    told = server.post(f"/certificates/bulk-{action}", body)
    if told.get("operation_id") and told.get("status") == "Running" and not given.no_wait:
        told = wait(server, action, told)
    return _shown(action, told)


def wait(server: Server, action: str, told: Mapping[str, Any], sleep: Sleep = time.sleep) -> Json:
    """What came of the operation, when it has ended."""
    path = one("bulk-operations", str(told["operation_id"]))
    with bar(f"bulk {action}", int(told.get("total_matched") or 0)) as advance:
        while True:
            state = server.get(path)
            advance(sum(int(state.get(name) or 0) for name in ("total_done", "total_skipped", "total_failed")))
            if state.get("status") != "Running":
                break
            sleep(_PAUSE)
    if state.get("total_failed"):
        state["errors"] = server.get(f"{path}/failures", per_page=_LISTED)["data"]
    return state


def _shown(action: str, told: Mapping[str, Any]) -> Result:
    done = {"revoke": "Revoked", "renew": "Enqueued", "reassign": "Reassigned"}[action]
    counts = [
        ("Matched", text(told.get("total_matched", 0))),
        # One name in the answer to the request, another in that of the operation itself.
        (done, text(told.get(f"total_{done.lower()}", told.get("total_done", 0)))),
        ("Skipped", text(told.get("total_skipped", 0))),
        ("Failed", text(told.get("total_failed", 0))),
    ]
    views: list[View] = [Record(counts)]
    if errors := told.get("errors"):
        rows = [(text(row.get("certificate_id")), text(row.get("error"))) for row in errors[:_LISTED]]
        views.append(Table(("CERTIFICATE", "ERROR"), rows))
    if told.get("status") == "Running":
        views.append(Text(f"It goes on: certctl bulk-operations get {told.get('operation_id')}"))
    return Result(data=told, views=tuple(views), failed=bool(told.get("total_failed")))


def _fields(action: str) -> list[str]:
    return [one_flag.how["dest"] for one_flag in flags(f"bulk_{action}_certificates") if "dest" in one_flag.how]


def _criteria(action: str) -> set[str]:
    """What chooses certificates, rather than saying what becomes of them."""
    said = {"reason", "force", *({"owner_id", "team_id"} if action == "reassign" else ())}
    return set(_fields(action)) - said


def _command(action: str, about: str) -> Command:
    name = f"bulk_{action}_certificates"
    reason = argument(
        "--reason", default="unspecified", choices=REASONS, metavar="REASON", help="why, as a CRL says it"
    )
    special: tuple[Argument, ...] = (
        argument("ids", nargs="*", metavar="ID", help="certificates"),
        *((reason,) if action == "revoke" else ()),
        argument("--no-wait", action="store_true", help="do not wait for the end of a long operation"),
    )
    taken = {one_flag.name for one_flag in special}
    return Command(
        name=f"certs bulk-{action}",
        help=about,
        run=partial(run, action),
        arguments=(*special, *(one_flag for one_flag in flags(name) if one_flag.name not in taken)),
        covers=(name,),
    )


COMMANDS: Final[tuple[Command, ...]] = (
    _command("revoke", "revoke all certificates that are named or chosen by every flag given"),
    _command("renew", "renew all certificates that are named or chosen by every flag given"),
    _command("reassign", "give certificates to another owner and team"),
)
