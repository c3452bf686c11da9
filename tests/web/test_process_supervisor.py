"""The supervisor: children that are kept running, let drain, and never left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certctl_web.process import Leash

PATIENCE = 15.0

CHILD = """
import os, signal, sys, time
from pathlib import Path
from certctl_web.process import Leash, StopSign
folder, name, parent = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
leash, stop = Leash(parent), StopSign()
(folder / f"{name}.{os.getpid()}.began").touch()
while not stop.wait(0.05) and not leash.is_loose():
    pass
time.sleep(float(sys.argv[4]))
(folder / f"{name}.{os.getpid()}.ended").touch()
"""

SUPERVISOR = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from certctl_web import supervisor
from certctl_web.process import StopSign
supervisor.EARLY, supervisor.FIRST_PAUSE, supervisor.KILL_AFTER = 0.3, 0.01, 0.5
folder, drain = sys.argv[1], float(sys.argv[2])
me = str(os.getpid())
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Whoever runs these tests under nohup has it ignored from the start.
def part(name, code, *more):
    return supervisor.Part(name, [sys.executable, "-c", code, folder, name, me, *more])
parts = [part(*words) for words in PARTS]
draining = (Path(folder) / "draining").touch
supervised = supervisor.Supervisor(parts, StopSign(), timedelta(seconds=drain), draining=draining)
supervised.start()
sys.exit(supervised.run())
"""


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class Supervised:
    """A supervisor of toy children, and what they leave in a folder."""

    def __init__(self, folder: Path, *parts: tuple[str, ...], drain: float = 5) -> None:
        self.folder = folder
        program = f"PARTS = {parts!r}\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program + textwrap.dedent(SUPERVISOR), str(folder), str(drain)],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )

    def pids(self, name: str, what: str = "began") -> list[int]:
        """Children of this name in order of their start."""
        found = sorted(self.folder.glob(f"{name}.*.{what}"), key=lambda path: path.stat().st_mtime_ns)
        return [int(path.name.split(".")[1]) for path in found]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        for path in self.folder.glob("*.began"):
            pid = int(path.name.split(".")[1])
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised(tmp_path, ("web", CHILD, "0"), ("worker", CHILD, "0.3"))
    until(lambda: bool(supervised.pids("web")) and bool(supervised.pids("worker")))
    yield supervised
    supervised.close()


def test_a_child_that_dies_is_started_again(two: Supervised) -> None:
    (first,) = two.pids("web")
    time.sleep(0.35)  # Not an early death.
    os.kill(first, signal.SIGKILL)
    until(lambda: len(two.pids("web")) == 2)
    assert two.process.poll() is None
    assert alive(two.pids("worker")[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_told_to_stop_it_lets_its_children_finish(two: Supervised, number: signal.Signals) -> None:
    two.process.send_signal(number)
    assert two.process.wait(PATIENCE) == 0
    assert two.pids("web", "ended") == two.pids("web")
    assert two.pids("worker", "ended") == two.pids("worker")
    assert (two.folder / "draining").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no signal at the parent's death")
def test_killed_it_leaves_no_children_behind(two: Supervised) -> None:
    children = two.pids("web") + two.pids("worker")
    two.process.kill()
    until(lambda: not any(alive(pid) for pid in children))


def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, ("stubborn", CHILD, "60"), drain=0.2)
    try:
        until(lambda: bool(supervised.pids("stubborn")))
        supervised.process.terminate()
        assert supervised.process.wait(PATIENCE) == 0
        assert not alive(supervised.pids("stubborn")[0])
        assert not supervised.pids("stubborn", "ended")
    finally:
        supervised.close()


def test_a_child_that_dies_at_once_again_and_again_ends_it(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, ("sickly", "import sys; sys.exit(3)"), ("worker", CHILD, "0"))
    try:
        assert supervised.process.wait(PATIENCE) == 1
        assert not any(alive(pid) for pid in supervised.pids("worker"))
    finally:
        supervised.close()


def test_a_child_that_says_the_configuration_is_wrong_is_not_tried_again(tmp_path: Path) -> None:
    code = "import sys, pathlib, os; pathlib.Path(sys.argv[1], f'wrong.{os.getpid()}.began').touch(); sys.exit(78)"
    supervised = Supervised(tmp_path, ("wrong", code))
    try:
        assert supervised.process.wait(PATIENCE) == 78
        assert len(supervised.pids("wrong")) == 1
    finally:
        supervised.close()


def test_a_process_on_no_leash_is_never_loose() -> None:
    assert not Leash().is_loose()
