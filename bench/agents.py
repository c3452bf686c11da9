"""Heartbeats and polls for work of every agent of the fleet: `python -m bench agents`.

Each agent is heard every few seconds, so its key is known. They take turns on connections that are kept, as behind a
proxy; an agent that opens a connection for each request pays for a handshake besides, which is measured on its own.
"""

import time
from collections.abc import Iterator
from typing import Final

from bench import load
from bench.fleet import Fleet
from bench.report import Figure
from bench.server import Server
from bench.suite import Suite

GOAL: Final = 1200.0
SLOWEST: Final = 100.0
REQUESTS: Final = 12_000
AGENTS: Final = 64
"""So many ask at the same time."""


def run(suite: Suite) -> None:
    with suite.fleet.copy(suite.place) as fleet, Server(fleet) as server:
        report = suite.report(f"Heartbeats and polls of {fleet.agents:,} agents")
        for _ in range(3):  # Connections and plans are made, and each process has seen most agents' keys.
            load.run(server, polls(fleet), connections=AGENTS)
        fastest = load.run(server, requests(fleet, REQUESTS), connections=AGENTS)
        report.add(fastest.rate("as many as are answered", GOAL))
        steady = load.run(server, requests(fleet, REQUESTS), connections=AGENTS, rate=GOAL)
        report.add(steady.rate(f"{GOAL:,.0f} a second asked for", GOAL))
        report.add(steady.slowest("p99 of these", SLOWEST))
        report.add(handshakes(server))
        for figure in load.memory(server):
            report.add(figure)


def polls(fleet: Fleet) -> Iterator[bytes]:
    """One poll of each agent."""
    for number in range(fleet.agents):
        agent = f"agent-{number + 1:05}"
        yield load.request("GET", f"/api/v1/agents/{agent}/work", fleet.key(agent))


def requests(fleet: Fleet, count: int) -> list[bytes]:
    """A heartbeat and a poll of one agent after the other."""
    made: list[bytes] = []
    for number in range(count // 2):
        agent = f"agent-{number % fleet.agents + 1:05}"
        key, path = fleet.key(agent), f"/api/v1/agents/{agent}"
        said = {"version": "1.2.0", "hostname": f"web-{number}.example.com", "os": "linux", "architecture": "amd64"}
        made.append(load.request("POST", f"{path}/heartbeat", key, said))
        made.append(load.request("GET", f"{path}/work", key))
    return made


def handshakes(server: Server, count: int = 500) -> Figure:
    """New connections, one after the other, each asking for nothing."""
    before, begun = server.usage(), time.perf_counter()
    for _ in range(count):
        with server.client():
            pass
    took, usage = time.perf_counter() - begun, server.usage().since(before)
    return Figure(
        what="TLS 1.3 handshakes, one after the other", value=count / took, unit="/s", usage=usage.each(count)
    )
