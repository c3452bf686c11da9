"""The loops' memory: when each is due, who runs it, and how its last run went."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from certctl_core.ports import Ports


def ensure(ports: Ports, intervals: Mapping[str, timedelta]) -> None:
    """See to it that each loop has its row and its interval."""
    now = ports.clock.now()
    with ports.work() as work:
        for name, interval in intervals.items():
            work.loops.ensure(name, interval, now)


def claim_due(ports: Ports, now: datetime, names: Sequence[str]) -> Sequence[str]:
    """Those of `names` that are due at `now`, their next run set: the caller, and nobody else, has to run them."""
    with ports.work() as work:
        return work.loops.claim_due(now, names)


def started(ports: Ports, name: str, worker: str) -> None:
    """`worker` begins a run."""
    with ports.work() as work:
        work.loops.started(name, worker, ports.clock.now())


def finished(ports: Ports, name: str, took: timedelta, items: int, error: str) -> None:
    """The run is over. `error` is empty when it went well."""
    with ports.work() as work:
        work.loops.finished(name, ports.clock.now(), took, items, error)
