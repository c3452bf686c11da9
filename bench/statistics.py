"""The figures of the dashboard: `python -m bench statistics`."""

from typing import Final

from bench.lists import timed
from bench.server import Server
from bench.suite import Suite

GOAL: Final = 50.0
PATHS: Final = (
    "stats/summary",
    "stats/certificates-by-status",
    "stats/expiration-timeline?days=90",
    "stats/job-trends?days=90",
    "stats/issuance-rate?days=90",
)


def run(suite: Suite) -> None:
    fleet = suite.fleet
    with Server(fleet, "web") as server, server.client() as client:
        report = suite.report("Statistics")
        for path in PATHS:
            report.add(timed(server, client, path, f"/api/v1/{path}", 100).figure(GOAL))
