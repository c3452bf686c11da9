"""The worker process: runs the loops when they are due, and the jobs that they find.

Theory of operation. The table `loops` says when each loop is due next. Every worker looks once a second; of those that
see a due run exactly one claims it (`claim_due`) and puts it on the queue `loops`, from which a thread of any worker
takes it. There are as many threads as loops, so a slow loop never keeps another waiting. The run holds an advisory lock
of the database, so there are never two runs of one loop in an installation; a run that finds the lock taken is
skipped, since the one before it is still at work. Start, end, outcome and number of objects are written to the table.

A message can be lost with the worker that took it, and so can the run itself. Both show in the table as a run that was
claimed or begun and did not end; after a minute any worker puts it on the queue again. A run knows since when it is
due, and a run that another has served meanwhile does nothing.

Jobs are worked on by other threads, from the queue `jobs`. A message there only says that there are jobs: each thread
claims one job after another from the jobs table until none is due, so a lease begins when the work does.
"""

import logging
import os
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from certctl_adapters.postgres.locks import SharedLocks
from certctl_core.errors import CertctlError
from certctl_core.models.access import SYSTEM
from certctl_core.models.records import LoopOutcome, LoopState
from certctl_core.ports import Ports
from certctl_core.usecases import issuance, loops, status
from certctl_web import metrics
from certctl_web.loops import LOOPS, Duty, Loop
from certctl_web.process import Leash, StopSign
from certctl_web.queues import NotAgain, Queue
from certctl_web.settings import Settings

TICK: Final = 1.0
LOST_AFTER: Final = timedelta(minutes=1)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)

log = structlog.get_logger(__name__)


class Worker:
    """The loops and jobs of one process. `start`, then `tick` about once a second, then `stop`."""

    def __init__(self, ports: Ports, settings: Settings, url: str, run: Sequence[Loop] = LOOPS) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._ports = ports
        self._settings = settings
        self._loops = {loop.name: loop for loop in run}
        self._locks = SharedLocks(url)
        self._stopping = False
        self._errors: dict[str, str] = {}
        self._loop_queue = Queue(url, "loops", self._take_loop, wait=False)
        self._job_queue = Queue(url, "jobs", self._take_jobs, wait=True)
        self.looked_for_lost_at = time.monotonic()

    def start(self) -> None:
        loops.ensure(self._ports, {loop.name: loop.interval(self._settings.schedule) for loop in self._loops.values()})
        patience = self._settings.lifecycle.shutdown_timeout
        self._loop_queue.start(len(self._loops), patience)
        self._job_queue.start(self._settings.jobs.threads, patience)

    def tick(self) -> None:
        """Put every loop that is due, or was lost, on the queue. Raises `CertctlError` while the database is away."""
        now = self._ports.clock.now()
        due: list[str] = []
        if time.monotonic() - self.looked_for_lost_at > LOST_AFTER.total_seconds() / 4:
            due += lost(status.loops(self._ports, SYSTEM), now)
            self.looked_for_lost_at = time.monotonic()
            self._loop_queue.mend()
            self._job_queue.mend()
        due += loops.claim_due(self._ports, now, list(self._loops))  # Last: what is claimed has to get onto the queue.
        for name in due:
            if name in self._loops:
                self._loop_queue.put(name, now.isoformat())

    def stop(self) -> None:
        """Take nothing new, and wait (bounded) for what is running."""
        self._stopping = True
        self._loop_queue.ask_to_stop()
        self._job_queue.ask_to_stop()
        self._loop_queue.stop()
        self._job_queue.stop()

    def _take_loop(self, name: str, due_since: str) -> None:
        loop = self._loops.get(name)
        if loop is None:
            return  # Of another release, whose workers will claim it again.
        with self._locks.try_hold(f"loop {name}") as held:
            if not held:
                log.info("loop skipped: its last run is still at work", loop=name)
            elif not self._is_served(name, datetime.fromisoformat(due_since)):
                self._run(loop)

    def _is_served(self, name: str, due_since: datetime) -> bool:
        states = status.loops(self._ports, SYSTEM)
        return any(state.name == name and (state.last_started_at or _NEVER) >= due_since for state in states)

    def _run(self, loop: Loop) -> None:
        began = time.monotonic()
        loops.started(self._ports, loop.name, self.name)
        items, error = 0, ""
        try:
            items = loop.run(Duty(self._ports, self._settings, self._call_workers))
        except Exception as problem:  # whatever a loop does wrong, the others go on
            error = str(problem) or type(problem).__name__
            if error == self._errors.get(loop.name):
                log.warning("loop fails as before", loop=loop.name)
            else:
                log.exception("loop failed", loop=loop.name)
        took = timedelta(seconds=time.monotonic() - began)
        self._errors[loop.name] = error
        loops.finished(self._ports, loop.name, took, items, error)
        metrics.ran(loop.name, "failed" if error else "completed", took)
        if items:
            log.info("loop ran", loop=loop.name, items=items, seconds=round(took.total_seconds(), 3))

    def _call_workers(self, waiting: int) -> None:
        """Wake as many threads as there is work for. One message is enough for a thread to work until none is left."""
        for _ in range(min(waiting, self._settings.jobs.threads) - self._job_queue.pending()):
            self._job_queue.put()

    def _take_jobs(self) -> None:
        while not self._stopping:
            try:
                if not issuance.process_due(self._ports, limit=1):
                    return
            except CertctlError as error:
                # The lease gives the job to somebody else; going on could meet the same error without end.
                log.warning("job not finished", error=str(error))
                return


def lost(states: Iterable[LoopState], now: datetime) -> list[str]:
    """Loops whose last run was claimed or begun more than a minute ago and has not ended.

    One that is merely slow is among them: its lock tells whoever tries to run it again.
    """
    names = []
    for state in states:
        claimed_at = state.next_run_at - state.interval
        waiting = state.last_started_at is None or state.last_started_at < claimed_at
        running = state.last_outcome is LoopOutcome.RUNNING
        since = claimed_at if waiting else state.last_started_at
        if (waiting or running) and since is not None and since < now - LOST_AFTER and state.next_run_at > now:
            names.append(state.name)
    return names


def run(ports: Ports, settings: Settings, url: str, leash: Leash) -> None:
    """Work until told to stop."""
    logging.getLogger("huey.consumer.Worker").addFilter(NotAgain())
    stop = StopSign()
    worker = Worker(ports, settings, url)
    with ExitStack() as stack:
        worker.start()
        stack.callback(worker.stop)
        log.info("worker started", threads=settings.jobs.threads, loops=len(LOOPS))
        away = False
        while not stop.wait(TICK) and not leash.is_loose():
            try:
                worker.tick()
                away = False
            except CertctlError as error:
                if not away:
                    log.warning("the database does not answer; loops wait", error=str(error))
                away = True
    log.info("worker stopped")
