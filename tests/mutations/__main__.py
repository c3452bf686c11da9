"""A process that reads what it is given and tells how that went: a reader's own, so that it may crash, hang or swell.

It is told its reader by name, and first sends the valid inputs that mutations are grown from. Then it answers batches
of inputs, each with one line of JSON, until there are no more.
"""

import json
import re
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from attrs import evolve

from tests.mutations.readers import MISBEHAVING, READERS, Reader

ROOM: int = 1 << 30
"""Address space above what is used after the first inputs; whoever takes more gets a MemoryError."""


def _receive(source: BinaryIO) -> list[bytes] | None:
    count = source.read(4)
    if len(count) < 4:
        return None
    return [source.read(int.from_bytes(source.read(4), "big")) for _ in range(int.from_bytes(count, "big"))]


def _send(said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def _outcome(reader: Reader, data: bytes) -> tuple[str, str]:
    """`read` or the name of an error that the reader may raise; and the traceback of anything else."""
    try:
        reader.read(data)
    except reader.errors as refused:
        return type(refused).__name__, "" if refused.message else "an error without words"
    except BaseException as broken:  # noqa: BLE001 - whatever it is, it is the finding
        return type(broken).__name__, traceback.format_exc(limit=-4)
    return "read", ""


def _memory(name: str) -> int:
    """Resident memory now (VmRSS) or at most since `_forget_peak` (VmHWM), in KiB."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return int(found[1])


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _answer(reader: Reader, batch: list[bytes]) -> dict[str, Any]:
    outcomes: list[str] = []
    amiss: list[str] = []
    _forget_peak()
    before = _memory("VmRSS")
    for data in batch:
        begin = time.process_time()
        outcome, words = _outcome(reader, data)
        seconds = time.process_time() - begin
        outcomes.append(outcome)
        amiss.append(words or (f"took {seconds:.1f} s" if seconds > reader.seconds else ""))
    peak = _memory("VmHWM") - before
    return {"outcomes": outcomes, "amiss": amiss, "peak": peak, "kept": _memory("VmRSS")}


def main(name: str, *options: str) -> None:
    reader = {**READERS, **MISBEHAVING}[name]
    if "as is" in options:
        reader = evolve(reader, as_given=bytes)
    seeds = list(reader.seeds())
    _send([seed.hex() for seed in seeds])
    for seed in seeds * 3:
        _outcome(reader, reader.as_given(seed))
    _limit()
    while (batch := _receive(sys.stdin.buffer)) is not None:
        _send(_answer(reader, [reader.as_given(data) for data in batch]))


def _limit() -> None:
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))


if __name__ == "__main__":
    main(*sys.argv[1:])
