"""The record of API calls: who, what, with which outcome. Written in batches, off the request path.

A request puts a row into a bounded queue and goes on; one thread of the process (a greenlet under gevent) writes what
has come together every second and at shutdown. While the database is away the rows wait; when the queue is full the
oldest are dropped, and the log says how many. A row that the database will never take does not stand in the way of the
others: it goes to the log instead.
"""

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import falcon
import structlog

from certctl_core.errors import Invalid
from certctl_core.ports import Ports
from certctl_core.ports.store import ApiCall
from certctl_core.usecases import audit
from certctl_web.middleware import facts

CAPACITY: Final = 10_000
BATCH: Final = 1_000
FLUSH_EVERY: Final = 1.0

_log: Final = structlog.stdlib.get_logger("certctl.audit")


class CallRecorder:
    """The queue and its writer. The writer starts with the first call, in the process that makes it: a server forks."""

    def __init__(self, ports: Ports, every: float = FLUSH_EVERY) -> None:
        self._ports = ports
        self._every = every
        self._waiting: deque[ApiCall] = deque()
        self._dropped = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._writer: threading.Thread | None = None
        self._pid = 0

    def add(self, call: ApiCall) -> None:
        with self._lock:
            self._waiting.append(call)
            if len(self._waiting) > CAPACITY:
                self._waiting.popleft()
                self._dropped += 1
            if self._pid != os.getpid():
                self._start()

    def flush(self) -> None:
        """Write everything that waits. What cannot be written waits on."""
        with self._writing:
            while batch := self._taken():
                if not self._written(batch):
                    return

    def close(self) -> None:
        """Stop the writer and write what is left."""
        self._stop.set()
        writer = self._writer
        if writer is not None and self._pid == os.getpid():
            writer.join(timeout=5)
        self.flush()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._writer = threading.Thread(target=self._run, name="api-call-recorder", daemon=True)
        self._writer.start()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.flush()

    def _taken(self) -> list[ApiCall]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    def _written(self, batch: list[ApiCall]) -> bool:
        try:
            audit.record_calls(self._ports, batch)
        except Invalid as error:
            if len(batch) > 1:
                each = [self._written([call]) for call in batch]
                return all(each)
            _log.error("api call cannot be recorded", call=repr(batch[0]), error=str(error))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the database, requests go on
            with self._lock:
                self._waiting.extendleft(reversed(batch))
            _log.warning("api calls not written", waiting=len(batch), error=str(error))
            return False
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            _log.error("api calls dropped", count=dropped)
        return True


class ApiAudit:
    def __init__(self, recorder: Callable[[ApiCall], None], ports: Ports) -> None:
        self._record = recorder
        self._ports = ports

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _req_succeeded: bool
    ) -> None:
        known = facts.of(req)
        operation, caller = known.operation, known.caller
        if operation is None or caller is None:
            return
        if not operation.recorded and resp.status_code < 400:
            return
        self._record(
            ApiCall(
                at=self._ports.clock.now(),
                actor=caller.name,
                method=req.method,
                path=facts.path_of(req),
                status=resp.status_code,
                took=timedelta(seconds=time.monotonic() - known.started),
                request_id=known.request_id,
                body_hash=hashlib.sha256(known.body).hexdigest()[:16] if known.body else "",
            )
        )
