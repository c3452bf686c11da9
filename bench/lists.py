"""First pages and last pages of lists, by every filter and every order: `python -m bench lists`.

One connection asks one page after the other, so the times are what a person waits for, TLS and JSON included. What is
reported for certificates is the slowest combination of filter and order, and the median of all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Final
from urllib.parse import quote

from attrs import frozen

from bench.fleet import Fleet
from bench.report import Figure, Report, percentile
from bench.server import Client, Server, Usage
from bench.suite import Suite
from certctl_core.ports.store import Place
from certctl_web.media.paging import write_cursor
from certctl_web.media.reading import read_time
from certctl_web.media.writing import ZERO_TIME

SORTS: Final = ("createdAt", "updatedAt", "expiresAt", "notAfter", "commonName", "name", "status", "environment")
COLUMNS: Final = {
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "expiresAt": "expires_at",
    "notAfter": "expires_at",
    "commonName": "common_name",
    "name": "name",
    "status": "status",
    "environment": "environment",
}
GOAL: Final = 25.0
_PATH: Final = "/api/v1/certificates"


@frozen
class Timed:
    """How one request did, asked many times."""

    name: str
    seconds: Sequence[float]
    usage: Usage

    @property
    def p99(self) -> float:
        return percentile(self.seconds, 0.99)

    def figure(self, goal: float | None, what: str = "", more: str = "") -> Figure:
        middle = percentile(self.seconds, 0.5)
        return Figure(
            what=what or self.name,
            value=self.p99,
            goal=goal,
            usage=self.usage,
            more=f"p99 of {len(self.seconds)}, median {middle:.1f}{more}",
        )


def timed(server: Server, client: Client, name: str, path: str, times: int) -> Timed:
    """Ask for `path` so many times, after twice that is not counted."""
    for _ in range(2):
        client.get(path)
    before = server.usage()
    seconds = []
    for _ in range(times):
        reply = client.ask("GET", path)
        assert reply.status == 200, f"{path}: {reply.status} {reply.body[:300]!r}"
        seconds.append(reply.seconds)
    return Timed(name, seconds, server.usage().since(before).each(times))


def filters(fleet: Fleet) -> Mapping[str, str]:
    """One query for each filter of the whitelist: common values, rare ones, and ranges at both ends."""

    def at(days: float) -> str:
        moment: datetime = fleet.at + timedelta(days=days)
        return quote(moment.isoformat())

    return {
        "none": "",
        "status, common": "status=Active",
        "status, rare": "status=Failed",
        "environment, common": "environment=production",
        "environment, rare": "environment=laboratory",
        "environment, unknown": "environment=nowhere",
        "owner_id": "owner_id=o-0007",
        "team_id": "team_id=t-003",
        "issuer_id, common": "issuer_id=iss-local",
        "issuer_id, other": "issuer_id=iss-3",
        "profile_id": "profile_id=prof-04",
        "agent_id": "agent_id=agent-00007",
        "expires_before, few": f"expires_before={at(-300)}",
        "expires_before, most": f"expires_before={at(80)}",
        "expires_after, few": f"expires_after={at(89)}",
        "expires_after, most": f"expires_after={at(0)}",
        "created_after, few": f"created_after={at(-10)}",
        "created_after, most": f"created_after={at(-900)}",
        "updated_after, few": f"updated_after={at(-0.1)}",
        "updated_after, most": f"updated_after={at(-55)}",
    }


def run(suite: Suite) -> None:
    fleet = suite.fleet
    times = 50 if fleet.size >= 100_000 else 20
    with Server(fleet, "web") as server, server.client() as client:
        _first_pages(suite.report("Certificates, first page of 50"), server, client, times)
        _far_pages(suite.report("Certificates, the last page by cursor"), server, client, times)
        _other_lists(suite.report("Other lists, first page of 50"), server, client, times)


def _first_pages(report: Report, server: Server, client: Client, times: int) -> None:
    slowest = []
    for name, query in filters(server.fleet).items():
        found = [
            timed(server, client, f"{name}; sort {order}", f"{_PATH}?{query}&sort={order}", times) for order in orders()
        ]
        worst = max(found, key=lambda one: one.p99)
        slowest.append(worst)
        report.add(worst.figure(GOAL, more=f"; of all orders {median(one.p99 for one in found):.1f}"))
    report.add(max(slowest, key=lambda one: one.p99).figure(GOAL, "the slowest of all"))


def orders() -> Iterator[str]:
    for sort in SORTS:
        yield sort
        yield f"-{sort}"


def _far_pages(report: Report, server: Server, client: Client, times: int) -> None:
    """Cursors that stand behind all but the last fifty rows: the list is read from its other end, and the place made of
    the row that is found there."""
    for order in orders():
        back = order.removeprefix("-") if order.startswith("-") else f"-{order}"
        last = client.get(f"{_PATH}?sort={back}&per_page=51")["data"][-1]
        sort, field = order.removeprefix("-"), COLUMNS[order.removeprefix("-")]
        value = read_time(last[field]) if field.endswith("_at") else last[field]
        if value == ZERO_TIME:
            value = None  # never issued, which comes last
        place = Place(field, order != sort, value, last["id"])
        path = f"{_PATH}?sort={order}&cursor={write_cursor(place)}"
        found = client.get(path)
        assert len(found["data"]) == 50
        assert "next_cursor" not in found
        report.add(timed(server, client, f"sort {order}", path, times).figure(GOAL))


def _other_lists(report: Report, server: Server, client: Client, times: int) -> None:
    for path in (
        "jobs",
        "jobs?status=Completed",
        "jobs?status=Failed",
        "jobs?type=Deployment",
        "jobs?agent_id=agent-00007",
        "audit",
        "audit?actor=system",
        "audit?action=csr_submitted",
        "audit?resource_type=certificate",
        "agents",
        "targets",
        "teams",
        "owners",
        "issuers",
        "profiles",
    ):
        report.add(timed(server, client, path, f"/api/v1/{path}", times).figure(GOAL))
