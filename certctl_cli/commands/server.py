"""`certctl status`, `loops`, `audit` and `version`: how the control plane does, and what happened."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen

from certctl_cli import operations
from certctl_cli.client import Server
from certctl_cli.command import Command, Record, Result, Table, Text, View
from certctl_cli.wording import NOTHING, PAGING, listed, moment, of, text
from certctl_core import __version__

_SHOWN: Final = 3
"""Of what needs somebody, how many are named."""


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


def crls(server: Server, given: Namespace) -> Result:
    """Every CRL that is made there, one line each."""
    told = server.get("/admin/crl/cache")
    columns = {
        "ISSUER": of("issuer_id"),
        "CA": lambda row: str(row.get("authority_key_id") or NOTHING)[:16],
        "PART": of("partition"),
        "NUMBER": of("crl_number"),
        "ENTRIES": of("revoked_count"),
        "MADE": lambda row: moment(row.get("generated_at")),
        "NEXT UPDATE": lambda row: moment(row.get("next_update")),
        "DELTA": of("delta_crl_number"),
        "STALE": of("is_stale"),
        "ERROR": of("last_error"),
    }
    rows = told.get("cache_rows") or []
    return listed({"data": rows, "total": told.get("row_count", len(rows))}, given, columns)


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
    seen["attention"] = needs = _attention(server)
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


@frozen
class _Look:
    """A list that should be empty: what its rows are called, how one is named, and the command that shows them all."""

    path: str
    query: Mapping[str, str]
    what: str
    name: Callable[[Mapping[str, Any]], str]
    see: str


_LOOKS: Final = (
    _Look(
        "/certificates",
        {"status": "Expired"},
        "expired",
        lambda row: f"{row['id']}: {row['common_name']}",
        "certctl certs list --status Expired",
    ),
    _Look(
        "/certificates",
        {"status": "Failed"},
        "failed to renew",
        lambda row: f"{row['id']}: {row['common_name']}",
        "certctl certs list --status Failed",
    ),
    _Look(
        "/stats/overdue-renewals",
        {},
        "renewals that should have happened",
        lambda row: f"{row['certificate_id']}: since {moment(row.get('overdue_at'))}",
        "certctl stats overdue-renewals",
    ),
    _Look(
        "/jobs",
        {"status": "Failed"},
        "failed jobs",
        lambda row: f"{row['id']}: {_first_line(row.get('last_error'))}",
        "certctl jobs list --status Failed",
    ),
    _Look(
        "/approvals",
        {"state": "pending"},
        "waiting for approval",
        lambda row: f"{row['id']}: {row['certificate_id']}, asked by {row['requested_by']}",
        "certctl approvals list --state pending",
    ),
    _Look(
        "/policy-violations",
        {},
        "policy violations",
        lambda row: f"{row['certificate_id']}: {_first_line(row.get('message'))}",
        "certctl policy-violations list",
    ),
    _Look(
        "/notifications",
        {"status": "dead"},
        "messages that never arrived",
        lambda row: f"{row['id']}: {row['type']} to {row['recipient']}",
        "certctl notifications list --status dead",
    ),
    _Look(
        "/agents",
        {"status": "Offline"},
        "agents offline",
        lambda row: f"{row['id']}: last seen {moment(row.get('last_heartbeat_at'))}",
        "certctl agents list --status Offline",
    ),
)
"""What somebody should look at, worst first."""


def _attention(server: Server) -> list[dict[str, str]]:
    """Of each thing that needs somebody, how many there are, the first few, and the command that shows more."""
    needs = [found for look in _LOOKS if (found := _need(server, look))]
    broken = [loop for loop in server.get("/loops")["data"] if loop.get("last_outcome") == "failed"]
    if broken:
        named = [f"{loop['name']}: {_first_line(loop.get('last_error'))}" for loop in broken]
        needs.append(_entry(len(broken), "loops failing", named, "certctl loops"))
    return needs


def _need(server: Server, look: _Look) -> dict[str, str] | None:
    told = server.get(look.path, **look.query, per_page=_SHOWN)
    if not told["total"]:
        return None
    return _entry(told["total"], look.what, [look.name(row) for row in told["data"]], look.see)


def _entry(count: int, what: str, names: list[str], see: str) -> dict[str, str]:
    shown = names[:_SHOWN]
    more = [f"and {count - len(shown)} more"] if count > len(shown) else []
    return {"what": f"{count} {what}", "which": "\n".join(shown + more), "see": see}


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
    Command(name="crls", covers=("list_crls",), help="list the CRLs that are published, and what is wrong", run=crls),
    Command(name="loops", covers=("list_loops",), help="list the server's loops and their last runs", run=loops),
    Command(
        name="status",
        covers=("get_summary", "get_version"),
        help="how the server is, counts, and what needs attention",
        run=status,
    ),
    Command(name="version", help="the version of this program", run=version),
)
