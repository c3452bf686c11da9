"""A tripwire that kills its own process, so that tests can look at what a crash leaves."""

import os
import signal
import threading

from certctl_core.ports.world import Nowhere, Tripwire


class KillAt(Tripwire):
    """Kills its process, as kill -9 would, the `nth` time a point is reached."""

    def __init__(self, point: str, nth: int = 1) -> None:
        self._point = point
        self._left = nth
        self._lock = threading.Lock()

    def __call__(self, point: str) -> None:
        if point != self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def tripwire(text: str) -> Tripwire:
    """`issue:1` or, for the third time it is passed, `issue:1:3`; nothing for an empty text. Raises `ValueError`."""
    if not text:
        return Nowhere()
    name, number, *nth = text.split(":")
    return KillAt(f"{name}:{number}", int(nth[0]) if nth else 1)
