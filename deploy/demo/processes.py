"""The processes of the demo: started by name, watched, and gone when the demo ends."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from attrs import define, field

PATIENCE: Final = 60.0
"""Seconds after which something that should have happened counts as failed."""


T = TypeVar("T")


class Failure(Exception):
    """A step did not hold. The message is for the person who watches."""


def wait_for(what: str, look: Callable[[], T | None], patience: float = PATIENCE, pause: float = 0.05) -> T:
    """What `look` finds, as soon as it finds something. Raises `Failure` naming `what` when it never does."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(pause)
    raise Failure(f"{what} did not happen within {patience:.0f} s")


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@define
class Program:
    """One child process, its output in a file."""

    name: str
    argv: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        if self.process is None:
            raise Failure(f"{self.name} was not started")
        return self.process.pid

    def must_run(self) -> None:
        """Raises `Failure` with the end of the log when the process has ended."""
        if self.process is not None and self.process.poll() is not None:
            raise Failure(f"{self.name} ended with status {self.process.returncode}:\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, patience: float = 30) -> int | None:
        """Ask it to end, then make it. Returns its exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                kill_all((self.pid, *descendants(self.pid)))
        status = self.process.wait()
        self.process = None
        return status

    def kill_with_children(self) -> int:
        """`kill -9` for the process and everything it started, at once. Returns how many there were."""
        pids = {self.pid, *descendants(self.pid), *of_session(self.pid)}
        kill_all(pids)
        while late := of_session(self.pid) - pids:  # started by one of them in its last moment
            kill_all(late)
            pids |= late
        if self.process is not None:
            self.process.wait()
            self.process = None
        wait_for(f"the end of {self.name}", lambda: True if not any(is_running(pid) for pid in pids) else None)
        return len(pids)


def certctl(module: str, *arguments: str) -> list[str]:
    """The command line of one of our own programs, run by this Python."""
    return [sys.executable, "-m", module, *arguments]


def descendants(pid: int) -> tuple[int, ...]:
    """Children, their children, and so on, whatever session they are in."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    queue = [pid]
    while queue:
        for child in children.get(queue.pop(), ()):
            found.append(child)
            queue.append(child)
    return tuple(found)


def ancestors(pid: int) -> frozenset[int]:
    """The process itself, its parent, and so on upwards."""
    parents = dict(_parents())
    found = {pid}
    while (pid := parents.get(pid, 0)) > 0:
        found.add(pid)
    return frozenset(found)


def _parents() -> Iterator[tuple[int, int]]:
    """(pid, parent) of every process that can be seen."""
    if Path("/proc/self/stat").exists():
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError, IndexError, ValueError):
                    # The name, in parentheses, may hold spaces; what follows the last one does not.
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    yield int(entry.name), int(fields[1])
        return
    command = [shutil.which("ps") or "/bin/ps", "-A", "-o", "pid=,ppid="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        pid, parent = re.findall(r"\d+", line)
        yield int(pid), int(parent)


def of_session(leader: int) -> set[int]:
    """Running processes of the session that `leader` began."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getsid(int(entry.name)) == leader and int(entry.name) != leader and is_running(int(entry.name)):
                found.add(int(entry.name))
    return found


def kill_all(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Whether the process exists and is more than an entry that nobody has read the exit status of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
