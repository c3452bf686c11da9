"""Is the database's first process alive? A question that is easy to answer wrongly.

`postmaster.pid` survives a kill -9, and its number may since belong to a zombie, to a process of somebody else or to
one in another container. What does not lie is a lock: whoever starts the database opens a file, takes an exclusive
`flock` on it and lets the database inherit the descriptor. The kernel keeps that lock for as long as any process of
that database lives, and drops it with the last one. The number in `postmaster.pid` is used only to send signals, and
only to a process whose working directory is the cluster's (PostgreSQL's processes never leave it).
"""

import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

PID_FILE: Final = "postmaster.pid"
_PROC: Final = Path("/proc")
_NAMES: Final = ("postgres", "initdb")


@frozen
class PidFile:
    """What PostgreSQL writes about itself: its process id, and `ready` once it takes connections on `port`."""

    pid: int
    port: int
    status: str


def read_pid_file(cluster: Path) -> PidFile | None:
    """`None` when there is none, or it is half written."""
    try:
        # The cluster may belong to another user than ours, who must not make us follow a link or wait for a pipe.
        descriptor = os.open(cluster / PID_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
            lines = file.read(4096).splitlines()
        return PidFile(pid=int(lines[0]), port=int(lines[3]), status="".join(lines[7:8]).strip())
    except (OSError, ValueError, IndexError):
        return None


def works_in(pid: int, directory: Path) -> bool:
    """Whether `pid` is a living PostgreSQL process, not a zombie, whose working directory is `directory`.

    Where there is no /proc it is enough that such a process lives.
    """
    if not _PROC.joinpath("self").exists():
        found = subprocess.run(["/bin/ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return Path(found.stdout.strip()).name in _NAMES
    with contextlib.suppress(OSError):
        there, here = (_PROC / str(pid) / "cwd").stat(), directory.stat()
        same = (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
        return same and (_PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip() in _NAMES
    return False


def workers_in(directory: Path) -> list[int]:
    """PostgreSQL's processes that work in `directory`: all that a killed database may have left behind."""
    if not _PROC.joinpath("self").exists():
        return []
    everyone = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    return [pid for pid in everyone if works_in(pid, directory)]


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may just have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def is_locked(path: Path) -> bool:
    """Whether anybody holds the lock at `path`."""
    with lock_file(path) as descriptor:
        return not try_lock(descriptor)


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[int]:
    """A descriptor to lock with, closed at the end. Children that inherit it keep what it has locked."""
    descriptor = open_lock(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_lock(path: Path) -> int:
    """Open (or make, 0600, with its folder's owner) a file to lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    give_to_owner_of(path.parent, descriptor)
    return descriptor


def give_to_owner_of(directory: Path, descriptor: int) -> None:
    """What root makes in the folder of an ordinary user stays usable for that user."""
    if os.geteuid() == 0 and (owner := directory.stat().st_uid) != 0:
        os.fchown(descriptor, owner, -1)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take the lock if nobody holds it against us, without waiting."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
