"""The sweeps, with nothing due and with 32,000 certificates due: `python -m bench renewals`.

A copy of the fleet runs on the embedded PostgreSQL with the product's own settings, so what is written is on the disk
when it is counted. The loops are called as the worker calls them, in this process, whose memory is reported too.
"""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from bench.fleet import Fleet
from bench.report import Figure, Report, percentile
from bench.server import Usage, database_processes, processor_time
from bench.suite import Suite
from certctl_core.ports import Ports
from certctl_core.usecases import alerts, renewal, rescheduling, watchdog
from certctl_web import bootstrap
from certctl_web.loops import LOOPS, Duty
from certctl_web.settings import load

DUE: Final = 32_000
IDLE_GOAL: Final = 50.0
DUE_GOAL: Final = 15.0
_TIMES: Final = 50
_TABLES: Final = {"jobs": "jobs", "notification_events": "alerts", "audit_events": "audit rows"}

# Nine tenths of them are due in the usual way, a month before their end; the others would be late after an outage.
_MAKE_DUE: Final = b"""
    UPDATE managed_certificates AS c
    SET expires_at = at, valid_from = at - interval '90 days', overdue_at = at - interval '22 days',
        renew_at = now() - interval '1 minute', next_alert_at = now() - interval '1 minute'
    FROM (
        SELECT id, now() + CASE WHEN row_number() OVER () %% 10 = 0 THEN interval '9 days' ELSE interval '29 days' END
                   AS at
        FROM managed_certificates WHERE status = 'Active' ORDER BY md5(id) LIMIT %s
    ) AS chosen WHERE c.id = chosen.id
"""


def run(suite: Suite) -> None:
    with suite.fleet.copy(suite.place) as fleet, _running(fleet) as (duty, database):
        ports = duty.ports
        report = suite.report("Sweeps")
        for name, sweep in _SWEEPS.items():
            report.add(_idle(name, ports, sweep))
        due = database.execute(_MAKE_DUE, [min(DUE, fleet.size // 4)]).rowcount
        # What the database still has to do about that is no part of the sweep.
        database.execute(b"VACUUM (ANALYZE) managed_certificates")
        _begin_all(report, fleet, duty, database, due)
        watchdog.report(ports)  # One in ten was late.
        for name, sweep in _SWEEPS.items():
            report.add(_idle(f"afterwards, {name}", ports, sweep))


_RENEWALS: Final = next(loop for loop in LOOPS if loop.name == "renewal_check")

_SWEEPS: Final[dict[str, Callable[[Ports], int]]] = {
    "nothing due: renewals": renewal.sweep,
    "nothing due: alerts": alerts.sweep,
    "nothing due: expiries": renewal.expire,
    "nothing due: watchdog": watchdog.report,
    "nothing due: changed policies": rescheduling.work_off,
}


def _idle(what: str, ports: Ports, sweep: Callable[[Ports], int]) -> Figure:
    seconds = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        found = sweep(ports)
        seconds.append(time.perf_counter() - began)
        assert found == 0, f"{what}: {found} were due"
    return Figure(
        what=what,
        value=percentile(seconds, 0.99),
        goal=IDLE_GOAL,
        more=f"p99 of {_TIMES}, median {percentile(seconds, 0.5):.1f}",
    )


def _begin_all(report: Report, fleet: Fleet, duty: Duty, database: psycopg.Connection[Any], due: int) -> None:
    before, used = _counted(database), _usage(fleet)
    began = time.perf_counter()
    looked_at = _RENEWALS.run(duty)
    seconds = time.perf_counter() - began
    used = _usage(fleet).since(used)
    assert looked_at == due, f"{looked_at} of {due} were looked at"
    written = {name: count - before[name] for name, count in _counted(database).items()}
    assert written["jobs"] == written["alerts"] == due, written
    rows = ", ".join(f"{count:,} {name}" for name, count in written.items())
    goal = DUE_GOAL * due / DUE
    report.add(Figure(what=f"{due:,} due", value=seconds, unit="s", goal=goal, usage=used, more=rows))
    busy = used.programs + used.database
    report.add(Figure(what=f"{due:,} due, processor time", value=busy, unit="s", goal=goal, more="of all processors"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report.add(Figure(what="largest memory of the process", value=peak, unit="MB", goal=200))


def _usage(fleet: Fleet) -> Usage:
    return Usage(time.process_time(), sum(map(processor_time, database_processes(fleet))))


def _counted(database: psycopg.Connection[Any]) -> dict[str, int]:
    found = {}
    for table, name in _TABLES.items():
        statement = psycopg.sql.SQL("SELECT count(*) FROM {}").format(psycopg.sql.Identifier(table))
        (found[name],) = database.execute(statement).fetchone() or (0,)
    return found


@contextmanager
def _running(fleet: Fleet) -> Iterator[tuple[Duty, psycopg.Connection[Any]]]:
    """What loops work with, over the fleet's database as the worker has it, and a connection of our own."""
    settings = load({"CERTCTL_DATA_DIR": str(fleet.data)}).settings
    with (
        bootstrap.database(settings) as found,
        bootstrap.connected(settings, found.url, connections=4) as backend,
        psycopg.connect(found.url, autocommit=True) as database,
    ):
        yield Duty(backend.ports, settings, lambda _: None), database
