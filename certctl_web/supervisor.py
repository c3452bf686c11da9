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


class Supervisor:
    """Children for `parts`. `start` them, `run` until told to stop, `end` them; `run` ends them too.

    `draining` is called once, before the children are told to end; `drain` is how long they have for that.
    """

    def __init__(
        self, parts: Sequence[Part], stop: StopSign, drain: timedelta, *, draining: Callable[[], None] = lambda: None
    ) -> None:
        self._children = [_Child(part) for part in parts]
        self._stop = stop
        self._drain = drain.total_seconds()
        self._draining = draining

    def start(self) -> None:
        for child in self._children:
            child.start()

    def run(self, tend: Callable[[], None] = lambda: None) -> int:
        """Keep the children running. Returns the exit status, after they have ended.

        `tend` is called about once a second, to look after what is not a child (the embedded database).
        """
        signal.signal(signal.SIGCHLD, lambda _number, _frame: self._stop.wake())
        tended_at = time.monotonic()
        try:
            while not self._stop:
                if status := self._look_after():
                    return status
                if time.monotonic() - tended_at >= 1.0:
                    tend()
                    tended_at = time.monotonic()
                self._stop.wait(0.5)
            return 0
        finally:
            self.end()

    def _look_after(self) -> int:
        """Start what is not running. Returns an exit status when that is of no use."""
        for child in self._children:
            if child.process is not None and not child.is_running() and (status := _judge(child)):
                return status
            if child.process is None and time.monotonic() >= child.start_at:
                child.start()
        return 0

    def end(self) -> None:
        """Let the children finish, and see to it that they do. Calling it again does nothing."""
        running = [child.process for child in self._children if child.process is not None]
        if not running:
            return
        self._draining()
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._drain + KILL_AFTER
        while any(process.poll() is None for process in running) and time.monotonic() < deadline:
            self._stop.wait(0.1)
        for process in running:
            if process.poll() is None:
                log.error("part did not end in time; killed", pid=process.pid)
                process.kill()
            process.wait()
        for child in self._children:
            child.process = None


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
