"""What was measured, as a table beside what is to be reached, and as JSON with the machine it was measured on."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attrs import asdict, define, field, frozen

from bench import ROOT
from bench.server import Usage

_TITLES: Final = ("what", "reached", "to reach", "ratio", "ms of programs", "ms of database", "more")
_WIDTHS: Final = (58, 12, 12, 7, 15, 15, 0)


@frozen(kw_only=True)
class Figure:
    """One line. `goal` is a bound from above, or from below when the unit is a rate (`/s`). `usage` is processor time
    of one request, which another load on the machine does not change much, as it does the time that passes."""

    what: str
    value: float
    unit: str = "ms"
    goal: float | None = None
    usage: Usage | None = None
    more: str = ""

    @property
    def ratio(self) -> float | None:
        """What was reached in units of the goal: 1 and above is good."""
        if self.goal is None or not self.value:
            return None
        return self.value / self.goal if self.unit.endswith("/s") else self.goal / self.value


@define
class Report:
    """Prints each figure as it is added."""

    title: str
    figures: list[Figure] = field(factory=list)

    def begin(self) -> None:
        print(f"\n{self.title}\n{_line(_TITLES)}")

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)
        usage, ratio = figure.usage, figure.ratio
        cells = (
            figure.what,
            f"{figure.value:,.1f} {figure.unit}",
            "" if figure.goal is None else f"{figure.goal:,.0f} {figure.unit}",
            "" if ratio is None else f"{ratio:.2f}",
            "" if usage is None else f"{usage.programs * 1000:.2f}",
            "" if usage is None else f"{usage.database * 1000:.2f}",
            figure.more,
        )
        print(_line(cells), flush=True)

    def as_json(self) -> dict[str, Any]:
        return {"title": self.title, "figures": [asdict(one) | {"ratio": one.ratio} for one in self.figures]}


def _line(cells: Sequence[str]) -> str:
    first, *rest = zip(cells, _WIDTHS, strict=True)
    right = (cell.rjust(width) if width else f"  {cell}" for cell, width in rest)
    return (first[0].ljust(first[1]) + "".join(right)).rstrip()


def percentile(seconds: Sequence[float], share: float) -> float:
    """In milliseconds: the smallest time that at least this share of the requests did not exceed."""
    ordered = sorted(seconds)
    return ordered[max(0, min(len(ordered) - 1, int(len(ordered) * share + 0.999999) - 1))] * 1000


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was with other things."""
    cpu = next((line for line in _read("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next((line for line in _read("/proc/meminfo") if line.startswith("MemTotal")), "")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - whichever git there is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": cpu.partition(":")[2].strip() or platform.processor(),
        "processors": os.cpu_count(),
        "memory_mb": int(memory.split()[1]) // 1024 if memory else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "load": [round(one, 2) for one in os.getloadavg()],
    }


def _read(path: str) -> Sequence[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def write(path: Path, reports: Sequence[Report], before: dict[str, Any]) -> None:
    """All of it as JSON. `before` is the machine as it was at the start."""
    whole = {"before": before, "after": machine(), "reports": [report.as_json() for report in reports]}
    path.write_text(json.dumps(whole, indent=2) + "\n")
