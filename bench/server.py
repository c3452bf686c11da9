"""The real programs over a fleet: started, asked over HTTPS, measured, and stopped by their process ids."""

import os
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson
from attrs import define, field, frozen
from demo.processes import Program, certctl, descendants, free_port, wait_for

from bench.fleet import Fleet
from certctl_adapters.postgres import postmaster
from certctl_adapters.postgres.embedded import EmbeddedPostgres

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PATIENCE: Final = 120.0


@frozen
class Usage:
    """Processor time spent so far, in seconds, user and system together."""

    programs: float
    database: float

    def since(self, before: "Usage") -> "Usage":
        return Usage(self.programs - before.programs, self.database - before.database)

    def each(self, requests: int) -> "Usage":
        return Usage(self.programs / requests, self.database / requests)


@frozen
class Memory:
    """The largest resident size a process has had, and what of its present size is its own rather than shared with
    others, in MB."""

    name: str
    peak: float
    own: float


@define
class Server:
    """`certctl-server` over a fleet's data directory, as a context. `part` is `web` or `worker` for one part alone;
    then the loops of the worker do not change what is measured. Requests are not limited in rate."""

    fleet: Fleet
    part: str = ""
    environment: Mapping[str, str] = field(factory=dict)
    port: int = field(factory=free_port)
    _program: Program = field(init=False)

    def __attrs_post_init__(self) -> None:
        settings = {
            "CERTCTL_DATA_DIR": str(self.fleet.data),
            "CERTCTL_SERVER_HOST": "127.0.0.1",
            "CERTCTL_SERVER_PORT": str(self.port),
            "CERTCTL_RATE_LIMIT_ENABLED": "false",
            "CERTCTL_LOG_LEVEL": "info",
            **self.environment,
        }
        arguments = [self.part] if self.part else []
        log = self.fleet.data / "server.log"
        self._program = Program("certctl-server", certctl("certctl_web", *arguments), log, settings)

    def __enter__(self) -> Self:
        self._program.start()
        if self.part != "worker":
            wait_for("the server's readiness", self._is_ready, _PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.stop()

    def client(self, who: str = "admin") -> "Client":
        """A client with the key of a role or of an agent."""
        return Client(self.port, self.ca_file, self.fleet.key(who))

    @property
    def ca_file(self) -> Path:
        return self.fleet.data / "tls" / "ca.pem"

    @property
    def database(self) -> str:
        """The database's address, for looking into it."""
        return EmbeddedPostgres(self.fleet.data / "postgres").superuser().url

    def usage(self) -> Usage:
        programs, database = self._processes()
        return Usage(sum(map(processor_time, programs)), sum(map(processor_time, database)))

    def memory(self) -> Sequence[Memory]:
        """Of every process, ours first, largest first."""
        programs, database = self._processes()
        return [
            memory
            for pids in (programs, database)
            for memory in sorted(filter(None, map(_memory, pids)), key=lambda one: -one.peak)
        ]

    def _processes(self) -> tuple[list[int], list[int]]:
        """Those of our programs and those of the database."""
        database = database_processes(self.fleet)
        ours = [self._program.pid, *descendants(self._program.pid)]
        return [pid for pid in ours if pid not in database], database

    def _is_ready(self) -> bool | None:
        self._program.must_run()
        if not self.ca_file.exists():
            return None
        try:
            with self.client() as client:
                return True if client.ask("GET", "/ready").status == 200 else None
        except OSError:
            return None


@frozen
class Reply:
    """`seconds` is from before the first byte sent until after the last one received."""

    status: int
    body: bytes = field(repr=False)
    seconds: float

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Client:
    """One connection that is kept, and as little of a client as there can be: what is measured is the server."""

    def __init__(self, port: int, ca_file: Path, key: str) -> None:
        context = ssl.create_default_context(cafile=str(ca_file))
        raw = socket.create_connection(("127.0.0.1", port), timeout=60)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(raw, server_hostname="localhost")
        self._head = f"Host: localhost:{port}\r\nAuthorization: Bearer {key}\r\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """Send a request, `body` as JSON, and wait for the answer. Raises `OSError` when the connection breaks."""
        content = b"" if body is None else orjson.dumps(body)
        kind = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n" if body is not None else ""
        request = f"{method} {path} HTTP/1.1\r\n{self._head}{kind}\r\n".encode() + content
        started = time.perf_counter()
        self._socket.sendall(request)
        status, answer = self._answer()
        return Reply(status, answer, time.perf_counter() - started)

    def get(self, path: str) -> Any:
        """The JSON of a good answer."""
        reply = self.ask("GET", path)
        assert reply.status == 200, f"GET {path} answered {reply.status}: {reply.body[:500]!r}"
        return reply.json

    def _answer(self) -> tuple[int, bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = int(lines[0].split(b" ", 2)[1])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        length = int(fields.get(b"content-length", b"0"))
        parts, missing = [rest], length - len(rest)
        while missing > 0:
            parts.append(self._more())
            missing -= len(parts[-1])
        return status, b"".join(parts)

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data


def database_processes(fleet: Fleet) -> list[int]:
    """The fleet's database and all it has started."""
    first = postmaster.read_pid_file(fleet.data / "postgres" / "cluster")
    return [first.pid, *descendants(first.pid)] if first else []


def processor_time(pid: int) -> float:
    """Processor time in seconds of a process and of its children that have ended; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _memory(pid: int) -> Memory | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
    except OSError:
        return None
    values = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()}
    name = " ".join(word for word in words if "/" not in word and not word.startswith("-"))[:40]
    return Memory(name or values["Name"], int(values.get("VmHWM", 0)) / 1024, int(values.get("RssAnon", 0)) / 1024)
