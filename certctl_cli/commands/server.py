"""`certctl status`, `loops`, `audit` and `version`: how the control plane does, and what happened."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Final

from certctl_cli import operations
from certctl_cli.client import Server
from certctl_cli.command import Command, Record, Result, Table, Text, View
from certctl_cli.wording import NOTHING, PAGING, listed, moment, of, text
from certctl_core import __version__

_SHOWN: Final = 5
"""Of failed jobs and quiet agents, how many are named."""


def audit(server: Server, given: Namespace) -> Result:
    told = server.pages(given, "/audit", **operations.narrowed("list_audit_events", given))
    columns = {
        "TIME": lambda row: moment(row.get("timestamp")),
        "ACTOR": of("actor"),
        "ACTION": of("action"),
        "RESOURCE": lambda row: f"{row.get('resource_type')} {row.get('resource_id')}",
        "DETAILS": of("details"),
    }
    return listed(told, given, columns)


def loops(server: Server, given: Namespace) -> Result:
    columns = {
        "LOOP": of("name"),
        "EVERY": lambda row: f"{row.get('interval_seconds', 0):g} s",
        "LAST RUN": lambda row: moment(row.get("last_started_at")),
        "OUTCOME": of("last_outcome"),
        "TOOK": lambda row: NOTHING if row.get("last_duration_ms") is None else f"{row['last_duration_ms']} ms",
        "ITEMS": of("last_items"),
        "NEXT RUN": lambda row: moment(row.get("next_run_at")),
        "ERROR": of("last_error"),
    }
    return listed(server.get("/loops"), given, columns)


def version(_server: Server, _given: Namespace) -> Result:
    return Result(data={"version": __version__}, views=(Text(f"certctl {__version__}"),))


def status(server: Server, _given: Namespace) -> Result:
    """One screen: is the server there, how much is there of what, and what needs somebody."""
    ready = server.look("/ready")
    told = ready.json()
    state = text(told.get("status")) if isinstance(told, dict) else NOTHING
    seen: dict[str, Any] = {"server": {"url": server.url, "ready": ready.status == 200, "status": state}}
    if ready.status != 200:
        seen["server"]["error"] = told.get("error") or told.get("detail") or ""
        rows = [("Server", server.url), ("Status", state), ("Error", text(seen["server"]["error"]))]
        return Result(data=seen, views=(Record(rows),), failed=True)
    seen["server"]["version"] = server.get("/version").get("version")
    seen["summary"] = counted = server.get("/stats/summary")
    seen["attention"] = needs = _attention(server, counted)
    head = [
        ("Server", server.url),
        ("Status", state),
        ("Version", text(seen["server"]["version"])),
        ("Time", moment(counted.get("completed_at"))),
    ]
    views: list[View] = [Record(head), Table(("OBJECTS", "TOTAL", "OF WHICH"), _counts(counted))]
    if needs:
        listing = [(one["what"], one["which"], one["see"]) for one in needs]
        views.append(Table(("NEEDS ATTENTION", "WHICH", "SEE"), listing))
    else:
        views.append(Text("Nothing needs attention."))
    return Result(data=seen, views=tuple(views))


def _counts(counted: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    def part(**names: str) -> str:
        return ", ".join(f"{counted.get(name, 0)} {words}" for name, words in names.items())

    certificates = part(
        expiring_certificates="expiring", expired_certificates="expired", revoked_certificates="revoked"
    )
    jobs = sum(counted.get(name, 0) for name in ("pending_jobs", "failed_jobs", "complete_jobs"))
    return [
        ("Certificates", str(counted.get("total_certificates", 0)), certificates),
        ("Agents", str(counted.get("total_agents", 0)), part(active_agents="online", offline_agents="offline")),
        ("Jobs", str(jobs), part(pending_jobs="waiting", failed_jobs="failed", complete_jobs="completed")),
    ]


def _attention(server: Server, counted: Mapping[str, Any]) -> list[dict[str, str]]:
    """What somebody should look at, worst first, and the command that shows more."""
    needs = []

    def add(count: int, what: str, which: list[str], see: str) -> None:
        more = [f"and {count - len(which)} more"] if which and count > len(which) else []
        needs.append({"what": f"{count} {what}", "which": "\n".join(which + more), "see": see})

    by_status = {row["status"]: row["count"] for row in server.get("/stats/certificates-by-status")}
    for status, what in (("Expired", "expired"), ("Failed", "failed to renew")):
        if count := by_status.get(status):
            found = server.get("/certificates", status=status, per_page=_SHOWN)["data"]
            named = [f"{row['id']}: {row['common_name']}" for row in found]
            add(count, what, named, f"certctl certs list --status {status}")
    if counted.get("failed_jobs"):
        jobs = server.get("/jobs", status="Failed", per_page=_SHOWN)["data"]
        named = [f"{job['id']}: {_first_line(job.get('last_error'))}" for job in jobs]
        add(counted["failed_jobs"], "failed jobs", named, "certctl jobs list --status Failed")
    if counted.get("offline_agents"):
        agents = server.get("/agents", status="Offline", per_page=_SHOWN)["data"]
        named = [f"{agent['id']}: last seen {moment(agent.get('last_heartbeat_at'))}" for agent in agents]
        add(counted["offline_agents"], "agents offline", named, "certctl agents list --status Offline")
    broken = [loop for loop in server.get("/loops")["data"] if loop.get("last_outcome") == "failed"]
    if broken:
        named = [f"{loop['name']}: {_first_line(loop.get('last_error'))}" for loop in broken[:_SHOWN]]
        add(len(broken), "loops failing", named, "certctl loops")
    return needs


def _first_line(words: str | None) -> str:
    return (words or NOTHING).partition("\n")[0]


COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        name="audit list",
        help="list what happened, newest first",
        run=audit,
        arguments=(*operations.filters("list_audit_events"), *PAGING),
        covers=("list_audit_events",),
    ),
    Command(name="loops", covers=("list_loops",), help="list the server's loops and their last runs", run=loops),
    Command(
        name="status",
        covers=("get_summary", "get_version"),
        help="how the server is, counts, and what needs attention",
        run=status,
    ),
    Command(name="version", help="the version of this program", run=version),
)
