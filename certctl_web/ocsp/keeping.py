"""Has a desk keep up while its process answers: threads, which are greenlets where gevent has patched them."""

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from certctl_core.errors import CertctlError
from certctl_web.ocsp.desk import PAUSE, OcspDesk

LOOK_AFTER_EVERY: Final = 2.0
AHEAD_PAUSE: Final = 0.005
AHEAD_AT_ONCE: Final = 8
BUSY: Final = 0.05
"""Seconds since the last question within which there may be more to come."""

OPEN_EVERY: Final = 20.0
"""Seconds after which it is looked again which issuers there are, and less than after which a desk is idle."""

ROUND_EVERY: Final = 300.0
"""Seconds between two rounds of signing ahead."""

log = structlog.get_logger(__name__)


class Keeping:
    """`start` it once the process is the one that answers (threads do not survive a fork), `stop` it before the ports
    are closed. With `ahead`, what has not been asked for yet is prepared and signed as well."""

    def __init__(self, desk: OcspDesk, *, ahead: bool = False) -> None:
        self._desk = desk
        self._ahead = ahead
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._round_at = self._open_at = 0.0

    def start(self) -> None:
        self._run(self._desk.keep_up, PAUSE)
        self._run(self._look_after, LOOK_AFTER_EVERY)
        if self._ahead:
            self._run(self._sign_ahead, LOOK_AFTER_EVERY)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(1.0)

    def _run(self, step: Callable[[], None], pause: float) -> None:
        thread = threading.Thread(target=self._again_and_again, args=(step, pause), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _again_and_again(self, step: Callable[[], None], pause: float) -> None:
        well = True
        while not self._stopping.is_set():
            try:
                step()
                well = True
            except CertctlError as error:
                if well:
                    log.warning("the OCSP responder cannot keep up", error=str(error))
                well = False
            except Exception:  # whatever goes wrong in one step, the next may go well
                log.exception("the OCSP responder cannot keep up")
            self._stopping.wait(pause if well else max(pause, 0.5))

    def _look_after(self) -> None:
        if self._ahead and time.monotonic() >= self._open_at:
            self._desk.open_all()
            self._open_at = time.monotonic() + OPEN_EVERY
        self._desk.look_after()

    def _sign_ahead(self) -> None:
        """In small pieces, with time for those who ask in between."""
        if time.monotonic() >= self._round_at:
            self._desk.begin_ahead()
            self._round_at = time.monotonic() + ROUND_EVERY
        while not self._desk.is_ahead() and not self._stopping.is_set():
            began = time.monotonic()
            self._desk.sign_ahead(AHEAD_AT_ONCE)
            # At most half of the time, however fast the machine is, and much less while somebody asks.
            pause = AHEAD_PAUSE if self._desk.is_idle_for(BUSY) else BUSY
            self._stopping.wait(max(pause, time.monotonic() - began))
