"""The audit trail: writing, sealing, proving, reading and verifying it: `python -m bench audit`.

Sealing is done here, by the function that the worker's loop calls; everything else is asked of the server.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

import psycopg
from demo.processes import descendants

from bench.fleet import Fleet
from bench.lists import GOAL, timed
from bench.report import Figure, Report
from bench.server import Client, Server, Usage, processor_time
from bench.suite import Suite
from certctl_adapters.http import HttpClient, trust
from certctl_adapters.postgres import postmaster
from certctl_adapters.postgres.embedded import EmbeddedPostgres
from certctl_core.policy import evidence
from certctl_core.usecases import sealing
from certctl_web import bootstrap
from certctl_web.settings import load

NEW: Final = 200_000
"""Events that are written to be sealed, or a fifth of a small fleet's."""

SEALING: Final = 20_000.0
PROOF: Final = 10.0


def run(suite: Suite) -> None:
    with suite.fleet.copy(suite.place) as fleet:
        _sealing(suite.report("Sealing the audit trail"), fleet)
        times = 200 if fleet.size >= 100_000 else 20
        with Server(fleet, "web") as server, server.client("auditor") as client:
            _proofs(suite.report(f"Proofs in a tree of {_size(client):,} events"), server, client, times)
            _pages(suite.report("Pages of the audit trail"), server, client, times)
            _exports(suite.report("Exports of the audit trail"), server, fleet.data / "trail.jsonl")


def _size(client: Client) -> int:
    return int(client.get("/api/v1/audit/checkpoints/latest")["checkpoint"]["tree_size"])


def _sealing(report: Report, fleet: Fleet) -> None:
    count = min(NEW, fleet.size // 5)
    with bootstrap.managed(load({"CERTCTL_DATA_DIR": str(fleet.data)}).settings) as backend:
        with psycopg.connect(EmbeddedPostgres(fleet.data / "postgres").superuser().url, autocommit=True) as connection:
            seconds = _write(connection, count)
        report.add(Figure(what=f"{count:,} events written at once", value=count / seconds, unit="/s"))
        before, began = _usage(fleet), time.perf_counter()
        done = sealing.seal(backend.ports)
        took, usage = time.perf_counter() - began, _usage(fleet).since(before)
        assert done == count
        at_best = f"{count / (usage.programs + usage.database):,.0f}/s if nothing else ran"
        figure = Figure(
            what=f"{count:,} events sealed",
            value=count / took,
            unit="/s",
            goal=SEALING,
            usage=usage.each(count),
            more=f"in one process, one batch after the other: {at_best}",
        )
        report.add(figure)


def _usage(fleet: Fleet) -> Usage:
    """Of this process and the fleet's database."""
    first = postmaster.read_pid_file(fleet.data / "postgres" / "cluster")
    database = [first.pid, *descendants(first.pid)] if first else []
    return Usage(time.process_time(), sum(map(processor_time, database)))


def _write(connection: "psycopg.Connection[tuple[object, ...]]", count: int) -> float:
    began = time.perf_counter()
    connection.execute(
        """
        INSERT INTO audit_events
            (id, actor, actor_type, action, resource_type, resource_id, details, request_id, timestamp)
        SELECT format('audit-new-%%s', lpad(n::text, 8, '0')), format('user-%%s', n %% 200), 'User',
               'certificate_updated', 'certificate', format('mc-%%s', lpad(n::text, 7, '0')),
               format('{"changed":{"environment":"production-%%s"}}', n), gen_random_uuid()::text, now()
        FROM generate_series(1, %s) AS n
        """,
        [count],
    )
    return time.perf_counter() - began


def _proofs(report: Report, server: Server, client: Client, times: int) -> None:
    size = _size(client)
    sizes = [one["tree_size"] for one in client.get("/api/v1/audit/checkpoints?per_page=500")["data"]]
    for name, path in {
        "inclusion, an old event": "audit-00000777/proof",
        "inclusion, a new event": "audit-new-00000777/proof",
        "inclusion, in an old checkpoint": f"audit-00000777/proof?checkpoint={sizes[len(sizes) // 2]}",
        "consistency, the oldest listed and the newest": f"consistency?first={sizes[-1]}&second={size}",
        "the newest checkpoint": "checkpoints/latest",
        "checkpoints": "checkpoints",
    }.items():
        report.add(timed(server, client, name, f"/api/v1/audit/{path}", times).figure(PROOF))


def _pages(report: Report, server: Server, client: Client, times: int) -> None:
    at = server.fleet.at
    first, last = (quote((at - timedelta(days=days)).isoformat()) for days in (180, 179))
    for query in (
        "",
        "actor=user-7",
        "actor=system",
        "actor_type=Agent",
        "action=csr_submitted",
        "resource_type=certificate",
        "resource_id=mc-0000777",
        "resource_type=certificate&resource_id=mc-0000777",
        "actor=user-7&action=csr_submitted",
        f"since={first}&until={last}",
        f"actor_type=User&until={first}",
        "actor=nobody",
    ):
        name = query.partition("=")[0] if query.startswith("since") else query.partition("&until")[0]
        report.add(timed(server, client, name or "everything", f"/api/v1/audit?{query}", times).figure(GOAL))
    cursor = client.get(f"/api/v1/audit?until={first}")["next_cursor"]
    report.add(timed(server, client, "by cursor, in the middle", f"/api/v1/audit?cursor={cursor}", times).figure(GOAL))


def _exports(report: Report, server: Server, file: Path) -> None:
    tls = trust(server.ca_file.read_bytes())
    headers = {"Authorization": f"Bearer {server.fleet.key('auditor')}"}
    http = HttpClient(f"https://localhost:{server.port}", tls=tls, headers=headers)
    for name, query in (
        ("everything, JSON lines", "format=jsonl"),
        ("everything, CSV", "format=csv"),
        ("what one person did, with proofs", "format=jsonl&actor=user-7"),
        ("what agents did, with proofs", "format=jsonl&actor_type=Agent"),
    ):
        before, began = server.usage(), time.perf_counter()
        with file.open("wb") as out, http.stream(f"/api/v1/audit/export?{query}") as arriving:
            assert arriving.status == 200
            for part in arriving.parts:
                out.write(part)
        took, usage = time.perf_counter() - began, server.usage().since(before)
        events = _events(file)
        peak = max(one.peak for one in server.memory())
        more = f"{events:,} events, {file.stat().st_size / 1e6:,.0f} MB, largest process {peak:.0f} MB"
        report.add(Figure(what=name, value=events / took, unit="/s", usage=usage.each(events), more=more))
        if "jsonl" in query:
            began = time.perf_counter()
            with file.open(encoding="utf-8") as lines:
                verdict = evidence.verify(lines)
            assert verdict.flaw is None, verdict
            report.add(Figure(what="the same, verified", value=events / (time.perf_counter() - began), unit="/s"))
    http.close()


def _events(file: Path) -> int:
    def lines(opened: IO[bytes]) -> Iterator[bytes]:
        while block := opened.read(1 << 20):
            yield block

    with file.open("rb") as opened:
        return sum(block.count(b"\n") for block in lines(opened))
