"""CRLs from the rows in PostgreSQL to the bytes that are served: `python -m bench crl`.

A database of its own is filled with revocations. Then another process, whose memory is measured, does what the loop
does: it reads the entries, has the CA sign and publishes the CRL. At last the server serves it to several clients at
once, so that it shows what a large CRL costs the web processes.
"""

import multiprocessing
import os
import resource
import secrets
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
from attrs import evolve

from bench import fleet, load
from bench.fleet import Fleet
from bench.report import Figure, Report
from bench.server import Server
from bench.suite import Suite
from certctl_core.ids import IssuerId
from certctl_core.models.certificates import RevocationReason
from certctl_core.models.crls import CrlRules
from certctl_core.pki import crl
from certctl_core.pki.distribution import ROOT, Place
from certctl_core.pki.plan import RevokedEntry
from certctl_core.usecases import crls
from certctl_web import bootstrap
from certctl_web.settings import Settings, Storage

GOALS: Final = {100_000: 0.5, 1_000_000: 5.0}
MEMORY: Final = 500.0
"""What the process that makes the longest may take, in MB."""

CLIENTS: Final = 8
RUNS: Final = 3
ISSUER: Final = IssuerId("iss-local")
_TYPES: Final = (*["text"] * 6, "timestamptz", "timestamptz", "text", "int4", "bytea", "int8")
_REASONS: Final = tuple(RevocationReason)


def run(suite: Suite) -> None:
    """The two sizes that have goals; with --small the smaller one alone."""
    sizes = sorted(GOALS) if suite.size >= fleet.SIZE else sorted(GOALS)[:1]
    for size in sizes:
        report = suite.report(f"CRL of {size:,} entries, from the database and into it")
        data = suite.place / f"crl-{size}-{time.time_ns()}"
        try:
            _measure(report, data, size)
        finally:
            shutil.rmtree(data, ignore_errors=True)


def _measure(report: Report, data: Path, size: int) -> None:
    settings = Settings(storage=Storage(data_dir=data))
    with bootstrap.database(settings) as database:
        bootstrap.prepare(settings, database.url, serves=False)
        with bootstrap.connected(settings, database.url, 2) as backend:
            _publish(backend, database.url)
        _fill(database.url, size)
        for what, deltas in (("complete", None), ("complete and delta", 0)):
            best = min((_in_a_process(settings, database.url, deltas) for _ in range(RUNS)), key=lambda one: one[0])
            seconds, peak, before, length = best
            more = f"{length / 1e6:.1f} MB, best of {RUNS}"
            goal = GOALS[size] if deltas is None else None
            told = f"{what}: read, signed, published"
            report.add(Figure(what=told, value=seconds * 1000, goal=_ms(goal), more=more))
            spent = f"{before:.0f} before"
            report.add(Figure(what="peak memory of that process", value=peak, unit="MB", goal=MEMORY, more=spent))
        _serve(report, data, size)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _publish(backend: bootstrap.Backend, url: str) -> None:
    """The CA and its first CRL, and a certificate for the revocations to belong to."""
    crls.sweep(backend.ports)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO managed_certificates (id, name, common_name, owner_id, team_id, issuer_id, renewal_policy_id)
            SELECT 'mc-bench', 'bench', 'bench.example.com', o.id, t.id, 'iss-local', 'rp-default'
            FROM owners AS o, teams AS t LIMIT 1
            """
        )


def _fill(url: str, size: int) -> None:
    """Revocations as `revoke` writes them, in the order in which they happened."""
    with psycopg.connect(url) as connection:
        (row,) = connection.execute("SELECT authority FROM crl_scopes WHERE partition = 0").fetchall()
        with connection.cursor() as cursor:
            copying = """
                COPY certificate_revocations (id, certificate_id, issuer_id, serial_number, reason, revoked_by,
                    revoked_at, not_after, authority, partition, entry, change) FROM STDIN (FORMAT BINARY)
            """
            with cursor.copy(copying) as copy:
                copy.set_types(_TYPES)
                for values in _rows(row[0], size):
                    copy.write_row(values)
        connection.execute("UPDATE crl_scopes SET changes = %s, due_at = now() WHERE partition = 0", [size])
        # Nobody holds the empty one: a delta to it would have everything.
        connection.execute("DELETE FROM crl_generation_events")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE certificate_revocations")


def _rows(authority: str, size: int) -> Iterator[tuple[Any, ...]]:
    now = datetime.now(UTC).replace(microsecond=0)
    for number in range(1, size + 1):
        serial = f"{secrets.randbits(158) | 1 << 158:x}"
        at, reason = now - timedelta(seconds=size - number), _REASONS[number % len(_REASONS)]
        entry = crl.entry(RevokedEntry(serial, at, reason))
        end = now + timedelta(days=1 + number % 398)
        identity = f"rev-{number:026x}"
        yield identity, "mc-bench", ISSUER, serial, reason.value, "bench", at, end, authority, 0, entry, number


def _in_a_process(settings: Settings, url: str, deltas: int | None) -> tuple[float, float, float, int]:
    """Seconds, memory at its highest and before (MB), and the octets of what was made."""
    spawning = multiprocessing.get_context("spawn")
    answers: Any = spawning.Queue()
    process = spawning.Process(target=_make, args=(settings.storage.data_dir, url, deltas, answers))
    process.start()
    answer: tuple[float, float, float, int] = answers.get(timeout=300)
    process.join()
    return answer


def _make(data: Path, url: str, deltas: int | None, answers: Any) -> None:
    settings = Settings(storage=Storage(data_dir=data))
    with bootstrap.connected(settings, url, 2) as backend:
        ports = evolve(backend.ports, crls=CrlRules(deltas_from=deltas))
        stored = crls.published(ports, ISSUER, Place())
        assert stored is not None
        with ports.work() as work:
            work.crls.touch(stored.scope, ports.clock.now())
        before, started = _resident(), time.perf_counter()
        assert crls.sweep(ports)
        seconds = time.perf_counter() - started
        made = crls.published(ports, ISSUER, Place())
        assert made is not None
        assert made.number > stored.number
        answers.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, before, made.size))


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _serve(report: Report, data: Path, size: int) -> None:
    with Server(Fleet(data, size, datetime.now(UTC), 0.0), part="web") as server:
        path = f"{ROOT}{ISSUER}"

        def fetch(_: int) -> tuple[int, float]:
            with server.client() as client:
                reply = client.ask("GET", path)
                return len(reply.body), reply.seconds

        with ThreadPoolExecutor(CLIENTS) as threads:
            list(threads.map(fetch, range(CLIENTS)))
            started = time.perf_counter()
            answers = list(threads.map(fetch, range(2 * CLIENTS)))
            seconds = time.perf_counter() - started
        length = answers[0][0]
        assert {one for one, _ in answers} == {length}
        report.add(
            Figure(
                what=f"served to {CLIENTS} clients at once",
                value=sum(one for one, _ in answers) / 1e6 / seconds,
                unit="MB/s",
                more=f"{length / 1e6:.1f} MB each",
            )
        )
        for figure in load.memory(server):
            report.add(figure)
