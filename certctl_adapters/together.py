"""Work of several callers that is done in one go, because it came while other such work was being done.

Theory of operation. A line has one turn. Whoever has it takes everything that waits, does it, and passes the turn on;
whoever comes meanwhile waits in the line. Whoever gets the turn and finds its item done by another goes on with what
became of it. So one caller alone waits for nobody, and the more callers there are the more of them share a
transaction.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from attrs import define, field

from certctl_core.errors import UpstreamUnavailable
from certctl_core.ports.world import Together

A = TypeVar("A")
R = TypeVar("R")

MOST: Final = 50
"""So many items are done in one go: a transaction that holds more keeps others waiting."""


@define(eq=False)
class _Waiting:
    item: Any
    is_done: bool = False
    outcome: Any = None
    error: Exception | None = None


@define(eq=False)
class _Line:
    turn: Any = field(factory=threading.Lock)
    waiting: deque[_Waiting] = field(factory=deque)


class InLines(Together):
    """Lines of this process, by name."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lines: defaultdict[str, _Line] = defaultdict(_Line)

    def ask(self, line: str, do: Callable[[Sequence[A]], Sequence[R]], item: A) -> R:
        mine, its = _Waiting(item), self._lines[line]
        its.waiting.append(mine)
        with its.turn:
            while not mine.is_done:
                self._take_turn(its, do)
        if mine.error is not None:
            raise mine.error
        outcome: R = mine.outcome
        return outcome

    def _take_turn(self, line: _Line, do: Callable[[Sequence[A]], Sequence[R]]) -> None:
        time.sleep(0)  # Whoever is on the way, and only waits for the processor, comes along.
        taken = [line.waiting.popleft() for _ in range(min(self._most, len(line.waiting)))]
        try:
            self._do(taken, do)
        except BaseException:
            # Whoever has the turn is being stopped: the next one does what was left undone.
            line.waiting.extendleft(reversed([each for each in taken if not each.is_done]))
            raise

    def _do(self, taken: Sequence[_Waiting], do: Callable[[Sequence[A]], Sequence[R]]) -> None:
        try:
            outcomes = do([each.item for each in taken])
        except UpstreamUnavailable as error:
            # About none of them: the database does not answer. Asking again for each would take as many times as long,
            # and do again what it did and could not say.
            for each in taken:
                each.error, each.is_done = error, True
            return
        except Exception as error:  # noqa: BLE001 - it is raised again to whoever asked
            if len(taken) > 1:
                for each in taken:
                    self._do([each], do)
                return
            taken[0].error, taken[0].is_done = error, True
            return
        for each, outcome in zip(taken, outcomes, strict=True):
            each.outcome, each.is_done = outcome, True
