"""Many connections at once from one thread: requests that were written beforehand, sent as fast as they are answered or
at a steady rate. As little of a client as there can be, because it shares the processors with what is measured.
"""

import resource
import selectors
import socket
import ssl
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson
from attrs import define, field, frozen

from bench.report import Figure, percentile
from bench.server import Server, Usage

CONNECTIONS: Final = 32
MEMORY: Final = 200.0
"""What a process may take, in MB."""

_HEAD_END: Final = b"\r\n\r\n"


def request(method: str, path: str, key: str, body: Any = None) -> bytes:
    """A request as it goes over the wire."""
    content = b"" if body is None else orjson.dumps(body)
    kind = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n{kind}\r\n"
    return head.encode() + content


@frozen
class Outcome:
    """What came of a load. `each` is how many things one request was about; `client` is our own processor time."""

    seconds: list[float]
    took: float
    statuses: Counter[int]
    usage: Usage
    client: float
    each: int = 1

    def rate(self, what: str, goal: float | None = None) -> Figure:
        """Things a second."""
        done = len(self.seconds) * self.each
        more = f"{self._times()}, client {self.client / done * 1000:.2f} ms, {self._answers()}"
        return Figure(what=what, value=done / self.took, unit="/s", goal=goal, usage=self.usage.each(done), more=more)

    def slowest(self, what: str, goal: float) -> Figure:
        """The time that one request in a hundred exceeds."""
        return Figure(what=what, value=percentile(self.seconds, 0.99), goal=goal, more=self._times())

    def _times(self) -> str:
        return f"median {percentile(self.seconds, 0.5):.0f} ms, p99 {percentile(self.seconds, 0.99):.0f} ms"

    def _answers(self) -> str:
        return ", ".join(f"{count} times {status}" for status, count in sorted(self.statuses.items()))


@define
class _Connection:
    stream: ssl.SSLSocket
    sent_at: float = 0.0
    received: bytearray = field(factory=bytearray)
    expected: int = -1

    def send(self, data: bytes) -> None:
        self.received, self.expected, self.sent_at = bytearray(), -1, time.perf_counter()
        left = memoryview(data)
        while left:
            try:
                left = left[self.stream.send(left) :]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                time.sleep(0.0005)

    def read(self) -> int:
        """The status, once the answer is whole, else 0."""
        while True:
            try:
                part = self.stream.recv(1 << 16)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return 0
            if not part:
                raise ConnectionResetError("the server closed the connection")
            self.received += part
            if self.expected < 0 and (end := self.received.find(_HEAD_END)) >= 0:
                _, _, rest = bytes(self.received[:end]).lower().partition(b"content-length:")
                self.expected = end + len(_HEAD_END) + int(rest.partition(b"\r\n")[0] or 0)
            if 0 <= self.expected <= len(self.received):
                return int(self.received[9:12])


def run(
    server: Server,
    requests: Iterable[bytes],
    *,
    connections: int = CONNECTIONS,
    rate: float | None = None,
    each: int = 1,
) -> Outcome:
    """Send them all. Without a `rate` a connection sends its next request when it has its answer; with one, requests
    begin when they are due, and a connection that is late delays those behind it, as it does for agents."""
    left = iter(requests)
    opened = [_open(server.port, server.ca_file) for _ in range(connections)]
    before, mine, begun = server.usage(), _own_time(), time.perf_counter()
    try:
        seconds, statuses = _drive(opened, left, rate)
    finally:
        for one in opened:
            one.stream.close()
    took = time.perf_counter() - begun
    return Outcome(seconds, took, statuses, server.usage().since(before), _own_time() - mine, each)


def memory(server: Server) -> Iterator[Figure]:
    """Of each of our processes, and of the largest of the database's."""
    all_of_them = server.memory()
    ours = [one for one in all_of_them if not one.name.startswith("postgres")]
    for one in (*ours, *[one for one in all_of_them if one not in ours][:1]):
        yield Figure(what=f"memory of {one.name}", value=one.peak, unit="MB", goal=MEMORY)


def _drive(opened: list[_Connection], left: Iterator[bytes], rate: float | None) -> tuple[list[float], Counter[int]]:
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    idle, waiting, begun, sent = deque(opened), set[int](), time.perf_counter(), 0
    following = next(left, None)
    with selectors.DefaultSelector() as selector:
        for one in opened:
            selector.register(one.stream, selectors.EVENT_READ, one)
        while following is not None or waiting:
            due = len(opened) + sent if rate is None else (time.perf_counter() - begun) * rate
            while following is not None and idle and sent < due:
                one = idle.popleft()
                one.send(following)
                waiting.add(id(one))
                following, sent = next(left, None), sent + 1
            for key, _ in selector.select(0.001 if rate else 1.0):
                one = key.data
                if id(one) in waiting and (status := one.read()):
                    seconds.append(time.perf_counter() - one.sent_at)
                    statuses[status] += 1
                    waiting.discard(id(one))
                    idle.append(one)
    return seconds, statuses


def _open(port: int, ca_file: Path) -> _Connection:
    context = ssl.create_default_context(cafile=str(ca_file))
    raw = socket.create_connection(("127.0.0.1", port), timeout=60)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = context.wrap_socket(raw, server_hostname="localhost")
    stream.setblocking(False)
    return _Connection(stream)


def _own_time() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
