"""Certificates put under management, one request each: `python -m bench creating`."""

from typing import Final

from bench import load
from bench.server import Server
from bench.suite import Suite

GOAL: Final = 500.0
CERTIFICATES: Final = 4_000


def run(suite: Suite) -> None:
    with suite.fleet.copy(suite.place) as fleet, Server(fleet) as server:
        report = suite.report("POST certificate")
        key = fleet.key("admin")
        load.run(server, requests(key, "warm", 400), connections=16)  # Connections and plans are made.
        report.add(load.run(server, requests(key, "new", CERTIFICATES), connections=16).rate("one request each", GOAL))
        for figure in load.memory(server):
            report.add(figure)


def requests(key: str, kind: str, count: int) -> list[bytes]:
    return [
        load.request(
            "POST",
            "/api/v1/certificates",
            key,
            {
                "name": f"{kind}-{number}.example.com",
                "common_name": f"{kind}-{number}.example.com",
                "sans": [f"www.{kind}-{number}.example.com"],
                "environment": "production",
                "owner_id": "o-0001",
                "team_id": "t-001",
                "issuer_id": "iss-local",
                "renewal_policy_id": "rp-default",
                "certificate_profile_id": "prof-standard-tls",
            },
        )
        for number in range(count)
    ]
