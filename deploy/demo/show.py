"""What the watcher sees: each thing as it happens, with its time, and a table at the end."""

import shutil
import sys
import textwrap
import time
from typing import Final

from attrs import define, field, frozen

WIDEST: Final = 110


@frozen
class Held:
    """A step that is over: what was seen, how long it took, and whether it held."""

    title: str
    seen: str
    seconds: float
    ok: bool


@define
class Show:
    """Prints as it goes. Times are seconds since the demo began."""

    begun: float = field(factory=time.monotonic)
    steps: list[Held] = field(factory=list)

    def step(self, number: int, title: str) -> None:
        print(f"\n{self._bold(f'{number}. {title}')}", flush=True)

    def line(self, text: str) -> None:
        print(f"  {time.monotonic() - self.begun:6.2f} s  {text}", flush=True)

    def held(self, held: Held) -> None:
        self.steps.append(held)

    def table(self) -> None:
        """One row a step: what it was, what was seen, how long it took."""
        width = min(shutil.get_terminal_size((100, 24)).columns, WIDEST)
        first = max(len(step.title) for step in self.steps)
        middle = max(24, width - first - 16)
        heads = ("step".ljust(first), "what was seen".ljust(middle), "seconds")
        print("\n" + "  ".join(map(self._bold, heads)))
        print("-" * (first + middle + 11))
        for step in self.steps:
            wrapped = textwrap.wrap(step.seen if step.ok else f"FAILED: {step.seen}", middle) or [""]
            print(f"{step.title.ljust(first)}  {wrapped[0].ljust(middle)}  {step.seconds:7.2f}")
            for more in wrapped[1:]:
                print(f"{' ' * first}  {more}")

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text
