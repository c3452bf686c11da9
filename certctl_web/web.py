"""The web process: gunicorn's arbiter with gevent workers behind one TLS 1.3 listener.

Why gevent: a TLS handshake or a request that never ends must not hold a thread. Here each connection is a greenlet with
a time limit for the handshake, for the next request's head, for its body and for every read, so that a few hundred
stalled clients slow nobody. The listening socket is made before gunicorn starts (`listening`), so a port in use is one
clear error and a supervisor can keep the socket open while it restarts this process.

`gevent.monkey.patch_all()` has to be the first thing that happens in this process; `__main__` sees to that.
"""

import logging
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, Final

import gevent
import gunicorn.http.wsgi
from attrs import frozen
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

from certctl_web.process import Leash
from certctl_web.settings import Settings
from certctl_web.tls import Pair, ServerContext

HANDSHAKE_LIMIT: Final = 10.0
READ_LIMIT: Final = 30.0
BODY_LIMIT: Final = 60.0
"""Seconds for a whole body: a byte now and then is no progress."""
KEEP_ALIVE: Final = 15
CONNECTIONS: Final = 2000
LONGEST_REQUEST_LINE: Final = 8190
"""Some SCEP clients send their whole message in the query of a GET."""

# Gunicorn puts its own name into every answer and has no setting for it.
setattr(gunicorn.http.wsgi, "SERVER", "certctl")  # noqa: B010 - its type stub does not know the name

Wsgi = Callable[[Any, Callable[..., Any]], Iterable[bytes]]


@frozen
class Served:
    """What a worker process serves, made after the fork, over TLS or not. `tend` is called now and then, `close` at the
    end."""

    application: Wsgi
    tls: ServerContext | None
    tend: Callable[[], None]
    close: Callable[[], None]
    tend_every: float = 3600.0


def serve(
    settings: Settings, listener: socket.socket, pair: Pair | None, leash: Leash, make: Callable[[], Served]
) -> None:
    """Answer requests until told to stop, over plain HTTP when there is no pair. `make` is called in each worker
    process. Ends by SystemExit."""
    options = {
        "bind": f"fd://{listener.detach()}",
        # Only so that requests know they came by https: the contexts are ours (`_Handshakes`).
        "certfile": str(pair.certificate) if pair else None,
        "workers": settings.web.workers if pair else settings.pki.workers,
        "worker_class": Worker,
        "worker_connections": CONNECTIONS,
        "keepalive": KEEP_ALIVE,
        "graceful_timeout": max(1, round(settings.lifecycle.shutdown_timeout.total_seconds())),
        "limit_request_line": LONGEST_REQUEST_LINE,
        "accesslog": None,
        "logger_class": _Logger,
        "loglevel": "debug" if settings.log.level == "debug" else "warning",
        "proc_name": "certctl-web" if pair else "certctl-pki",
        "control_socket_disable": True,
        # Who the caller is behind a proxy is the application's decision (TRUSTED_PROXIES), not a header's.
        "forwarded_allow_ips": "",
        "worker_exit": lambda _arbiter, worker: worker.close(),
    }
    _Arbiter(_Application(options, make), leash).run()


class _Application(BaseApplication):
    """Gunicorn's view of us: settings by name, and what to serve."""

    def __init__(self, options: dict[str, Any], make: Callable[[], Served]) -> None:
        self._options = options
        self.make = make
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        raise RuntimeError("workers make what they serve themselves")


class _Arbiter(Arbiter):
    """Gunicorn's arbiter on a leash: it drains on Ctrl-C as on SIGTERM, and stops when its supervisor is gone."""

    def __init__(self, application: _Application, leash: Leash) -> None:
        self._leash = leash
        super().__init__(application)

    def handle_int(self) -> None:
        self.handle_term()

    def wait_for_signals(self, timeout: float | None = 1.0) -> list[int]:
        if self._leash.is_loose():
            return [signal.SIGTERM]
        return super().wait_for_signals(timeout)


class _Logger(Logger):
    """Gunicorn's messages go where all others go (`certctl_web.logs`)."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        if not any(isinstance(known, _ClientsGone) for known in self.error_log.filters):
            self.error_log.addFilter(_ClientsGone())


class _ClientsGone(logging.Filter):
    """Clients that hang up, stall or speak no TLS are no news of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, (TimeoutError, ConnectionError, ssl.SSLError))


class Worker(GeventWorker):
    """Answers requests on greenlets.

    A stopping worker takes no new connections, answers the requests it has, and leaves connections that are idle
    between two requests at once.
    """

    served: Served

    def load_wsgi(self) -> None:
        application: Any = self.app
        self.served = application.make()
        self.wsgi = application.callable = self.served.application
        self._idle: set[object] = set()

    def close(self) -> None:
        """Give back what the worker held. Also called when it never came so far."""
        if served := getattr(self, "served", None):
            served.close()

    def init_signals(self) -> None:
        super().init_signals()
        # Ctrl-C reaches every process of the terminal; the arbiter alone decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def run(self) -> None:
        over_tls: dict[str, Any] = {"ssl_context": _Handshakes(self.served.tls)} if self.served.tls else {}
        pools = [Pool(self.worker_connections) for _ in self.sockets]
        servers = [
            StreamServer(listener, handle=partial(self.handle, listener), spawn=pool, **over_tls)
            for listener, pool in zip(self.sockets, pools, strict=True)
        ]
        for server in servers:
            server.start()
        tending = gevent.spawn(self._tend, self.served)
        while self.alive:
            self.notify()
            gevent.sleep(0.2)
        for server in servers:
            server.close()
        tending.kill()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while any(set(pool) - self._idle for pool in pools) and time.monotonic() < deadline:
            self.notify()
            gevent.sleep(0.05)

    def _tend(self, served: Served) -> None:
        while True:
            gevent.sleep(served.tend_every)
            served.tend()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        client.settimeout(READ_LIMIT)
        try:
            AsyncWorker.handle(self, listener, client, addr)
        finally:
            self._idle.discard(gevent.getcurrent())

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> bool:
        this = gevent.getcurrent()
        self._idle.discard(this)
        req.body.reader = _InTime(req.body.reader)
        whole: Any = _HeadWithBody(sock)
        try:
            going_on: bool = super().handle_request(listener_name, req, whole, addr)
            whole.flush()
            return going_on
        except StopIteration:  # gunicorn's word for an answer after which the connection ends
            whole.flush()
            raise
        finally:
            self._idle.add(this)
            # A client that asks again at once, and is answered from memory, must not keep the others waiting.
            gevent.sleep(0)

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        # The arbiter has not heard of us for half a minute: something blocks the loop. Say where before going.
        logging.getLogger(__name__).error("worker blocked", stack_info=True)
        super().handle_abort(sig, frame)


class _HeadWithBody:
    """A connection on which the head of an answer waits for the first of its body: gunicorn sends them one after the
    other, which would be two TLS records and two calls of the system for every small answer."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._head: bytes | None = None
        self._has_begun = False

    def sendall(self, data: bytes) -> None:
        if not self._has_begun:
            self._has_begun, self._head = True, data
            return
        head, self._head = self._head, None
        self._connection.sendall(data if head is None else head + data)

    def sendfile(self, *what: Any, **how: Any) -> Any:
        self.flush()
        return self._connection.sendfile(*what, **how)

    def flush(self) -> None:
        """Send a head that no body has followed."""
        head, self._head = self._head, None
        if head is not None:
            self._connection.sendall(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _InTime:
    """What gunicorn reads a body with, until its time is up. Raises `TimeoutError`."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._until: float | None = None

    def read(self, size: int) -> bytes:
        now = time.monotonic()
        self._until = self._until or now + BODY_LIMIT
        with gevent.Timeout(max(self._until - now, 0.001), TimeoutError("the body did not arrive in time")):
            data: bytes = self._reader.read(size)
            return data


class _Handshakes:
    """Stands where gevent's server expects an SSLContext: every connection gets the present context, and a limit."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context

    def wrap_socket(self, client: Any, **options: Any) -> ssl.SSLSocket:
        client.settimeout(HANDSHAKE_LIMIT)
        try:
            wrapped: ssl.SSLSocket = self._context.current().wrap_socket(client, **options)
        except OSError:
            with suppress(OSError):
                client.close()
            # The quiet way for a greenlet to end: a failed handshake is no error of ours.
            raise gevent.GreenletExit from None
        return wrapped
