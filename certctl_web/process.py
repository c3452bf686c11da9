"""What a process needs to be a good child: to end with its supervisor, and to be told when to stop."""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from types import FrameType
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


class Leash:
    """Ties this process to the supervisor that started it, or to nothing.

    Linux sends SIGTERM when the supervisor dies, also by kill -9; elsewhere, and for a supervisor that died before we
    asked, `is_loose` says so to whoever looks.
    """

    def __init__(self, supervisor: int | None = None) -> None:
        self._supervisor = supervisor
        if supervisor is not None and sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    def is_loose(self) -> bool:
        """Whether the supervisor is gone."""
        return self._supervisor is not None and os.getppid() != self._supervisor


MEASUREMENTS: Final = "PROMETHEUS_MULTIPROC_DIR"


def measurements_folder() -> str | None:
    """Where the processes of this server keep what they measure."""
    return os.environ.get(MEASUREMENTS) or None


@contextlib.contextmanager
def shared_measurements() -> Iterator[None]:
    """A folder in which this process and its children keep what they measure, for any of them to add up; it goes when
    they do. One that the environment names already is used instead, and kept: so parts that are started one by one can
    share. It has to be there before prometheus-client is loaded."""
    if measurements_folder():
        yield
        return
    ours, folder = os.getpid(), tempfile.mkdtemp(prefix="certctl-metrics-")
    os.environ[MEASUREMENTS] = folder
    try:
        yield
    finally:
        if os.getpid() == ours:  # a forked child that ends comes by here too
            del os.environ[MEASUREMENTS]
            shutil.rmtree(folder, ignore_errors=True)


class Gate:
    """Holds children back, once they have loaded what they need, until the supervisor opens it.

    It is a pipe that nobody writes to: the children wait for its end. A supervisor that dies opens it too, and its
    children find their leash loose.
    """

    def __init__(self) -> None:
        self.number, self._ours = os.pipe()

    def open(self) -> None:
        os.close(self._ours)

    @staticmethod
    def wait(number: int) -> None:
        """Wait in a child that has inherited the descriptor."""
        os.read(number, 1)


class StopSign:
    """Set by SIGTERM, SIGINT and the end of the terminal. A second signal ends the process at once.

    A pipe rather than an `Event`: a signal handler that takes a lock which the code it interrupts holds never returns.
    """

    def __init__(self) -> None:
        self._told = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup asked for that
                signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self._told:
            os._exit(128 + number)
        self._told = True
        self.wake()

    def wake(self) -> None:
        """End the present or the next `wait`."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b".")

    def __bool__(self) -> bool:
        return self._told

    def wait(self, seconds: float) -> bool:
        """Sleep, and wake when told to stop or when woken. Returns whether to stop."""
        if select.select([self._reader], [], [], seconds)[0]:
            os.read(self._reader, 4096)
        return self._told
