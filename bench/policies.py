"""Policy rules over the whole fleet: `python -m bench policies`.

The sweep runs in this process, over a copy of the fleet. A run of it ends after a minute, so what takes longer is told
as a rate.
"""

import resource
import time
from collections.abc import Callable
from typing import Any, Final

from bench.report import Figure, Report, percentile
from bench.suite import Suite
from certctl_adapters.postgres.embedded import EmbeddedPostgres
from certctl_core.ids import PolicyRuleId
from certctl_core.models.access import SYSTEM
from certctl_core.models.policies import PolicyType, Severity
from certctl_core.ports import Ports
from certctl_core.ports.store import Query
from certctl_core.usecases import policies, reviews
from certctl_web import bootstrap
from certctl_web.settings import load

_TIMES: Final = 50


def run(suite: Suite) -> None:
    report = suite.report("Policy rules")
    with suite.fleet.copy(suite.place) as fleet:
        postgres = EmbeddedPostgres(fleet.data / "postgres")
        try:
            url = postgres.ensure_running().url
            settings = load({"CERTCTL_DATA_DIR": str(fleet.data)}).settings
            with bootstrap.connected(settings, url, 4) as backend:
                _measure(report, backend.ports, fleet.size)
        finally:
            postgres.stop()


def _measure(report: Report, ports: Ports, size: int) -> None:
    idle = [_seconds(lambda: reviews.sweep(ports)) for _ in range(_TIMES)]
    report.add(Figure(what="a sweep when nothing is due", value=percentile(idle, 0.99), goal=50, more="p99"))
    usual = {"allowed": ["production", "staging", "development", "testing"]}
    making = _seconds(lambda: _make(ports, "AllowedEnvironments", usual))
    report.add(Figure(what="making a rule about everything", value=making * 1000, goal=50))
    _review(report, ports, "a rule that few break", size)
    _make(ports, "AllowedIssuers", {})
    _review(report, ports, "a rule that everything meets", size)
    _make(ports, "RenewalLeadTime", {"lead_time_days": 7})
    _review(report, ports, "a rule about time: storing when to look", size)
    _make(ports, "RequiredMetadata", {"required_keys": ["no-such-tag"]})
    _review(report, ports, "a rule that everything breaks", size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report.add(Figure(what="peak memory of this process", value=peak, unit="MB", goal=200))


def _make(ports: Ports, kind: str, config: dict[str, Any]) -> None:
    name = PolicyRuleId(f"pr-{kind}")
    asked = policies.CreateRule(id=name, name=kind, type=PolicyType(kind), config=config, severity=Severity.WARNING)
    policies.create(ports, SYSTEM, asked)


def _review(report: Report, ports: Ports, what: str, size: int) -> None:
    began = time.monotonic()
    done = reviews.sweep(ports)
    spent = time.monotonic() - began
    with ports.work() as work:
        opened = work.violations.page(Query(sort="opened_at", limit=1)).total
        waiting = work.policy_reviews.count()
    more = f"{done:,} of {size:,} in {spent:.0f} s; {opened:,} violations"
    report.add(Figure(what=what, value=done / spent, unit="/s", more=more))
    while waiting:  # what a run has left over would be counted with the next rule
        with ports.work() as work:
            claimed = work.policy_reviews.claim()
            if claimed is not None:
                work.policy_reviews.finish(claimed)
            waiting = work.policy_reviews.count()


def _seconds(step: Callable[[], object]) -> float:
    began = time.monotonic()
    step()
    return time.monotonic() - began
