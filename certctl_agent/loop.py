"""The agent's life: heartbeats in one thread, work in another, until it is told to stop or was retired.

A failed heartbeat or poll raises a count, a successful one clears it. The count puts polls off, longer each time and up
to ten intervals (30 s to 5 min by default), never heartbeats: an agent in trouble is still seen. What the control
plane asks for with Retry-After is granted. Waits vary a little, so that agents that were started together drift apart.
"""

import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from threading import Event, Lock, Thread
from typing import Final

from certctl_agent.client import AWAITING_CSR, ControlPlane
from certctl_agent.machine import Machine
from certctl_agent.work import Worker
from certctl_core.errors import CertctlError, Gone, TooMany, UpstreamUnavailable

log = logging.getLogger(__name__)

MOST_BACKOFF: Final = 10
"""The longest wait after failures, in poll intervals."""

AT_ONCE: Final = 20
"""How many polls may follow one another without a wait while each brought work that got done."""

GRACE: Final = timedelta(seconds=75)
"""How long a stop waits for the item in hand. A deployment that is cut off is undone at the next start."""

_SPREAD: Final = 0.1


class Ended(Enum):
    """Why the agent stopped."""

    STOPPED = "stopped"
    RETIRED = "retired"


class Failures:
    """How many calls in a row have failed, counted by both threads."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = Lock()

    def add(self) -> int:
        with self._lock:
            self._count += 1
            return self._count

    def clear(self) -> None:
        with self._lock:
            self._count = 0

    @property
    def count(self) -> int:
        return self._count


class AgentLoop:
    """`run` blocks until `stop` is called, from a signal handler for example, or the agent is retired."""

    def __init__(
        self,
        control: ControlPlane,
        worker: Worker,
        describe: Callable[[], Machine],
        stopping: Event,
        *,
        heartbeat_interval: timedelta,
        poll_interval: timedelta,
    ) -> None:
        self._control = control
        self._worker = worker
        self._describe = describe
        self._stopping = stopping
        self._heartbeat_interval = heartbeat_interval
        self._poll_interval = poll_interval
        self._failures = Failures()
        self._retired = False
        self._progress = False

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> Ended:
        work = Thread(target=self._keep_working, name="work", daemon=True)
        wait = self._heartbeat()
        work.start()
        while not self._stopping.wait(wait.total_seconds()):
            wait = self._heartbeat()
        work.join(GRACE.total_seconds())
        if work.is_alive():
            log.warning("stopping in the middle of a job; it will be undone at the next start")
        return Ended.RETIRED if self._retired else Ended.STOPPED

    def _heartbeat(self) -> timedelta:
        """Returns when to send the next one."""
        asked = self._try("heartbeat", lambda: self._control.heartbeat(self._describe(), datetime.now(UTC)))
        return max(_about(self._heartbeat_interval), asked)

    def _keep_working(self) -> None:
        at_once = 0
        while not self._stopping.is_set():
            self._progress = False
            asked = self._try("poll", self._poll)
            at_once = at_once + 1 if self._progress else 0
            wait = timedelta(0) if 0 < at_once <= AT_ONCE else _about(self._poll_interval)
            if self._failures.count:
                wait = max(wait, backoff(self._failures.count, self._poll_interval))
            self._stopping.wait(max(wait, asked).total_seconds())

    def _poll(self) -> None:
        items = self._control.work()
        csrs = [item for item in items if item.status == AWAITING_CSR]
        if len(csrs) > 1:
            self._progress |= self._worker.request_all(csrs)
            items = tuple(item for item in items if item.status != AWAITING_CSR)
        for item in items:
            if self._stopping.is_set():
                # What was handed out and not begun is offered again.
                return
            self._progress |= self._worker.do(item)

    def _try(self, what: str, call: Callable[[], None]) -> timedelta:
        """Count how it went. Returns how long the control plane asks us to wait."""
        try:
            call()
        except Gone as retired:
            log.info("retired: %s", retired)
            self._retired = True
            self._stopping.set()
        except CertctlError as problem:
            log.warning("%s failed: %s", what, problem, extra={"failures": self._failures.add()})
            if isinstance(problem, UpstreamUnavailable | TooMany):
                return timedelta(seconds=problem.retry_after or 0)
        except Exception:  # a mistake of ours in one round must not leave the machine without an agent
            log.exception("%s failed unexpectedly", what, extra={"failures": self._failures.add()})
        else:
            self._failures.clear()
        return timedelta(0)


def backoff(failures: int, interval: timedelta) -> timedelta:
    """The wait after so many failures in a row."""
    return _about(min(failures, MOST_BACKOFF) * interval)


def _about(wait: timedelta) -> timedelta:
    return wait * random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - spreads load, guards nothing
