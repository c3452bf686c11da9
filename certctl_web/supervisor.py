"""One command for everything: keeps the parts of the server running as child processes.

A child that dies is started again, after a pause that doubles with every early death; one that keeps dying at once ends
the supervisor with status 1, so that whatever watches it notices. Children are in process groups of their own: Ctrl-C
reaches the supervisor, which lets them drain, and not their database. They end with the supervisor even when that is
killed (`process.Leash`).
"""

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import structlog
from attrs import define, field, frozen

from certctl_web.process import StopSign

EARLY: Final = 5.0
"""A child that dies within so many seconds of its start has died early."""

MOST_EARLY_DEATHS: Final = 5
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
KILL_AFTER: Final = 5.0
"""Seconds beyond the time to drain after which a child that has not ended is killed."""

GIVE_UP: Final = 78
"""Exit status of a child that says trying again is of no use: a mistake in the configuration (EX_CONFIG)."""

log = structlog.get_logger(__name__)


@frozen
class Part:
    """A part of the server: how to start it. The descriptors in `keeps` stay open in it."""

    name: str
    command: Sequence[str]
    keeps: tuple[int, ...] = ()


@define
class _Child:
    part: Part
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    early_deaths: int = 0
    start_at: float = field(default=0.0)

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.part.command, pass_fds=self.part.keeps, stdin=subprocess.DEVNULL, process_group=0
        )
        self.started_at = time.monotonic()

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def bury(self) -> int:
        """Note the death; returns the exit status."""
        status = self.process.returncode if self.process else 0
        self.process = None
        early = time.monotonic() - self.started_at < EARLY
        self.early_deaths = self.early_deaths + 1 if early else 0
        self.start_at = time.monotonic() + min(FIRST_PAUSE * 2**self.early_deaths, LONGEST_PAUSE)
        return status


def supervise(
    parts: Sequence[Part],
    stop: StopSign,
    drain: timedelta,
    *,
    tend: Callable[[], None] = lambda: None,
    draining: Callable[[], None] = lambda: None,
) -> int:
    """Keep the parts running until `stop`, then let them end. Returns the exit status.

    `tend` is called about once a second, to look after what is not a part (the embedded database), `draining` once,
    before the parts are told to end.
    """
    children = [_Child(part) for part in parts]
    signal.signal(signal.SIGCHLD, lambda _number, _frame: stop.wake())
    tended_at = time.monotonic()
    status = 0
    try:
        while not stop:
            for child in children:
                if child.process is not None and not child.is_running():
                    status = _judge(child)
                    if status:
                        return status
                if child.process is None and time.monotonic() >= child.start_at:
                    child.start()
            if time.monotonic() - tended_at >= 1.0:
                tend()
                tended_at = time.monotonic()
            stop.wait(0.5)
    finally:
        draining()
        _end(children, stop, drain)
    return status


def _judge(child: _Child) -> int:
    """What a child's death means for the supervisor: 0 to start it again, else the status to end with."""
    status = child.bury()
    if status == GIVE_UP:
        return GIVE_UP  # It has said why.
    if child.early_deaths >= MOST_EARLY_DEATHS:
        log.error("giving up: a part dies as soon as it is started", part=child.part.name, status=status)
        return 1
    log.warning("part died; starting it again", part=child.part.name, status=status)
    return 0


def _end(children: Sequence[_Child], stop: StopSign, drain: timedelta) -> None:
    running = [child.process for child in children if child.process is not None]
    for process in running:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + drain.total_seconds() + KILL_AFTER
    while any(process.poll() is None for process in running) and time.monotonic() < deadline:
        stop.wait(0.1)
    for process in running:
        if process.poll() is None:
            log.error("part did not end in time; killed", pid=process.pid)
            process.kill()
        process.wait()
