"""Hypothesis grows mutations, a process of its own reads them, and what it does is judged.

Hypothesis chooses a valid input, up to three changes, and where; the last change is then made at several places. When
something is found it looks for a smaller mutation that does the same, even when what was found is that the process is
gone.
"""

import json
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.mutations import der

BATCH: Final = 40
_TO_START: Final = 60.0
PATIENCE: Final = 120.0
"""Seconds to wait for a batch before the process is taken to hang. A reader may take less for each input."""

MOST_GROWTH: Final = 50 * 1024
"""KiB that a batch may add to the memory of the process while it is read, and all of them for good."""

_PROJECT: Final = Path(__file__).parents[2]


class Broken(AssertionError):
    """A reader did what it must not."""


@define
class ReaderProcess:
    """The reader of this name at work, started anew after it has crashed or hung."""

    name: str
    patience: float = PATIENCE
    as_is: bool = False
    seeds: tuple[bytes, ...] = ()
    outcomes: Counter[str] = field(factory=Counter)
    kept_at_first: int = 0
    peak: int = 0
    kept: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "tests.mutations", self.name]
        command += ["as is"] if self.as_is else []
        self._process = subprocess.Popen(command, cwd=_PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.seeds = tuple(bytes.fromhex(one) for one in json.loads(self._line(_TO_START)))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _line(self, patience: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], patience)
        line = self._process.stdout.readline() if ready else b""
        if line:
            return line
        was = "hung" if not ready else f"ended with {self._process.wait()}"
        self.stop()
        raise Broken(f"the reader {was}")

    def read(self, batch: list[bytes]) -> None:
        """Has the batch read. Raises `Broken` for what must not be, with the input that did it."""
        if self._process is None:
            self.start()
        answer = self._answer(batch)
        self.outcomes.update(answer["outcomes"])
        for data, amiss in zip(batch, answer["amiss"], strict=True):
            if amiss:
                raise Broken(f"{data.hex()}\n{amiss}")
        self.kept_at_first = self.kept_at_first or answer["kept"]
        self.kept = max(self.kept, answer["kept"] - self.kept_at_first)
        self.peak = max(self.peak, answer["peak"])
        if answer["peak"] > MOST_GROWTH or answer["kept"] - self.kept_at_first > MOST_GROWTH:
            self.stop()
            self.kept_at_first = 0
            raise Broken(f"{[one.hex() for one in batch]}\ntook {answer['peak']} KiB, and kept {answer['kept']}")

    def _answer(self, batch: list[bytes]) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        message = b"".join(len(data).to_bytes(4, "big") + data for data in batch)
        try:
            self._process.stdin.write(len(batch).to_bytes(4, "big") + message)
            self._process.stdin.flush()
            return json.loads(self._line(self.patience))
        except (Broken, BrokenPipeError) as problem:
            self.stop()
            raise Broken(f"one of {[one.hex() for one in batch]}\n{problem}") from None


@contextmanager
def reader_process(name: str, patience: float = PATIENCE, *, as_is: bool = False) -> Iterator[ReaderProcess]:
    """It ends with the block. What it reads is made of what it is sent by `as_given`, or sent `as_is`."""
    process = ReaderProcess(name, patience, as_is)
    process.start()
    try:
        yield process
    finally:
        process.stop()


_CHANGES: Final = (*der.CHANGES, *der.ANYWHERE)
_STEPS: Final = st.lists(
    st.tuples(st.sampled_from(_CHANGES), st.integers(0, 4095), st.integers(0, 65535)), min_size=1, max_size=3
)


def grow(process: ReaderProcess, inputs: int, *, anew: bool) -> None:
    """Has at least so many mutations read. Unless `anew`, they are the same each time. Raises `Broken`."""
    seeds = process.seeds

    @settings(
        max_examples=-(-inputs // BATCH),
        deadline=None,
        database=None,
        derandomize=not anew,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, len(seeds) - 1), _STEPS)
    def read(which: int, steps: list[tuple[str, int, int]]) -> None:
        data = seeds[which]
        *before, last = steps
        for change, at, number in before:
            data = der.mutated(data, change, at, number)
        process.read(list(der.neighbours(data, *last, count=BATCH)))

    read()
    while process.outcomes.total() < inputs:
        read()
