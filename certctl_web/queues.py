"""Queues in the database: Huey with its PostgreSQL storage, carrying short JSON messages to threads.

A queue is transport and nothing more. A message is taken off before it is worked on, so a worker that is killed loses
it; it may also arrive twice. Nothing is decided by a message: what is to be done is in the tables, the message only
says that now is a good time to look.
"""

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from huey import PostgresHuey
from huey.consumer import Consumer
from huey.registry import Message
from huey.serializer import Serializer

_QUIET_FOR: Final = 30.0


class JsonMessages(Serializer):
    """Messages as JSON rather than pickle: whoever can write to the queue's table cannot run code in the worker."""

    def _serialize(self, data: Any) -> bytes:
        return json.dumps(data).encode()

    def _deserialize(self, data: bytes) -> Any:
        return Message(*json.loads(data))


class _Consumer(Consumer):
    """Threads that take messages. The process decides about signals, not its consumers."""

    def _set_signal_handlers(self) -> None:
        return None


class Queue:
    """A named queue and, once started, the threads of this process that serve it.

    With `wait` the threads listen and begin at once, each at the price of a database connection; without, they look
    once a second and share one connection.
    """

    def __init__(self, url: str, name: str, handle: Callable[..., None], *, wait: bool) -> None:
        self._huey = PostgresHuey(
            name,
            results=False,
            serializer=JsonMessages(),
            dsn=url,
            blocking=wait,
            create_tables=False,
            connect_timeout=10,
            application_name=f"certctl {name} queue",
        )
        self._task = self._huey.task(name="do")(handle)
        self._huey.on_shutdown("hang up")(self._hang_up)
        self._consumer: _Consumer | None = None

    def put(self, *words: str) -> None:
        """Send a message; some thread of some worker will call its handler with these words."""
        self._task(*words)

    def pending(self) -> int:
        return self._huey.pending_count()

    def start(self, threads: int, stop_after: timedelta) -> None:
        """Serve the queue with so many threads. `stop` will wait for them for `stop_after`."""
        self._consumer = _Consumer(
            self._huey,
            workers=threads,
            periodic=False,
            initial_delay=1.0,
            backoff=1.0,
            max_delay=1.0,
            scheduler_interval=60,
            shutdown_timeout=stop_after.total_seconds(),
        )
        self._consumer.start()

    def mend(self) -> None:
        """Replace threads that have died."""
        if self._consumer is not None:
            self._consumer.check_worker_health()

    def ask_to_stop(self) -> None:
        """Take no more messages; what is running goes on."""
        if self._consumer is not None:
            self._consumer.stop_flag.set()

    def stop(self) -> None:
        """Wait, at most as long as `start` was told, for the threads to end; then close."""
        if self._consumer is not None:
            self._consumer.stop(graceful=True)
        self._hang_up()

    def _hang_up(self) -> None:
        """Close this thread's connection, and the shared one, which whoever still needs it opens again."""
        with suppress(AttributeError):  # Two threads at once: Huey looks before it takes its lock.
            self._huey.storage.close()


def create_tables(url: str) -> None:
    """Make Huey's tables. The caller sees to it that nobody else does at the same time."""
    PostgresHuey("setup", dsn=url, create_tables=True, connect_timeout=10).storage.close()


class NotAgain(logging.Filter):
    """Lets one of equal messages through each half minute: a database that is away is not news ten times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._last.get(record.getMessage(), -_QUIET_FOR) < _QUIET_FOR:
            return False
        self._last[record.getMessage()] = now
        return True
