"""Heartbeats and polls for work of every agent of the fleet: `python -m bench agents`.

What is measured is a fleet that has been running: each agent is heard every few seconds, so its key is known; it says
of itself what it said before; and it has done what it was told, so that nearly every poll finds nothing. Beside it the
same with the fleet's renewals waiting, where most polls are answered with work that nobody then does. The agents take
turns on connections that are kept, as behind a proxy; an agent that opens a connection for each request pays for a
handshake besides, which is measured on its own.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Final

import psycopg

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
ROUNDS: Final = 2
"""Of heartbeats and polls of every agent, after which connections and plans are made, and most keys are known to each
process."""

_FACTS: Final = b"""
    SELECT id, hostname, os, architecture, ip_address, version FROM agents WHERE id LIKE 'agent-%' ORDER BY id
"""
_WAITING: Final = b"""
    SELECT count(DISTINCT agent_id) FROM jobs
    WHERE status = 'AwaitingCSR' OR (type = 'Deployment' AND status IN ('Pending', 'Running'))
"""
_DONE: Final = b"""
    UPDATE jobs SET status = 'Cancelled', completed_at = now(), lease_until = NULL, updated_at = now()
    WHERE status IN ('AwaitingCSR', 'Pending', 'Running')
"""


def run(suite: Suite) -> None:
    with suite.fleet.copy(suite.place) as fleet, Server(fleet) as server:
        report = suite.report(f"Heartbeats and polls of {fleet.agents:,} agents")
        with psycopg.connect(server.database, autocommit=True) as database:
            asked = list(requests(database.execute(_FACTS).fetchall()))
            for _ in range(ROUNDS):
                load.run(server, asked, connections=AGENTS)
            (busy,) = database.execute(_WAITING).fetchone() or (0,)
            waiting = load.run(server, asked[:REQUESTS], connections=AGENTS)
            database.execute(_DONE)
            database.execute(b"VACUUM ANALYZE jobs")
        fastest = load.run(server, asked[:REQUESTS], connections=AGENTS)
        report.add(fastest.rate("as many as are answered", GOAL))
        steady = load.run(server, asked[:REQUESTS], connections=AGENTS, rate=GOAL)
        report.add(steady.rate(f"{GOAL:,.0f} a second asked for"))
        report.add(steady.slowest("p99 of these", SLOWEST))
        report.add(waiting.rate(f"while work waits for {busy / fleet.agents:.0%} of the agents"))
        report.add(handshakes(server))
        for figure in load.memory(server):
            report.add(figure)


def requests(agents: Sequence[tuple[str, ...]]) -> Iterator[bytes]:
    """A heartbeat and a poll of one agent after the other; `agents` are their ids and what they say of themselves."""
    for agent, hostname, system, architecture, address, version in agents:
        key, path = Fleet.key(agent), f"/api/v1/agents/{agent}"
        said = {
            "version": version,
            "hostname": hostname,
            "os": system,
            "architecture": architecture,
            "ip_address": address,
        }
        yield load.request("POST", f"{path}/heartbeat", key, said)
        yield load.request("GET", f"{path}/work", key)


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
