"""A tenth of the fleet reassigned, renewed and revoked in bulk: `python -m bench bulk`.

How soon whoever asks is answered, and how long it takes until the last certificate is done. The whole server runs, so
the worker carries on with what the request left.
"""

import time
from typing import Any, Final

from bench.report import Figure, Report
from bench.server import Client, Server
from bench.suite import Suite

ANSWERED: Final = 5000.0
"""Milliseconds: clients of the established API give up after thirty seconds."""

_WISHES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("reassign", {"issuer_id": "iss-2", "owner_id": "o-0001"}),
    ("renew", {"issuer_id": "iss-3", "reason": "a benchmark"}),
    ("revoke", {"issuer_id": "iss-4", "reason": "superseded"}),
)


def run(suite: Suite) -> None:
    report = suite.report("Bulk operations")
    with suite.fleet.copy(suite.place) as fleet, Server(fleet) as server, server.client() as client:
        for verb, wish in _WISHES:
            _measure(report, server, client, verb, wish)
        for memory in server.memory()[:3]:
            report.add(Figure(what=memory.name, value=memory.peak, unit="MB", goal=200))


def _measure(report: Report, server: Server, client: Client, verb: str, wish: dict[str, Any]) -> None:
    before, began = server.usage(), time.monotonic()
    reply = client.ask("POST", f"/api/v1/certificates/bulk-{verb}", wish)
    assert reply.status in (200, 202), f"{reply.status} {reply.body[:300]!r}"
    done = _wait(client) if reply.status == 202 else reply.json
    spent = time.monotonic() - began
    total = int(done["total_matched"])
    usage = server.usage().since(before).each(total)
    more = f"{spent:.1f} s; {done['total_skipped']:,} skipped, {done['total_failed']:,} failed"
    report.add(Figure(what=f"{verb}: answered", value=reply.seconds * 1000, goal=ANSWERED, more=f"{reply.status}"))
    report.add(Figure(what=f"{verb} of {total:,}", value=total / spent, unit="/s", usage=usage, more=more))


def _wait(client: Client) -> dict[str, Any]:
    """The newest operation when it has ended."""
    while True:
        newest: dict[str, Any] = client.get("/api/v1/bulk-operations?per_page=1")["data"][0]
        if newest["status"] != "Running":
            return newest
        time.sleep(0.2)
