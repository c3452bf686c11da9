"""A state machine is a table: (state, event) -> state. Everything else about a life is data in that table."""

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

from attrs import frozen

from certctl_core.errors import IllegalTransition

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


@frozen
class Machine(Generic[S, E]):
    """The life of one kind of object. `noun` and the events' values are words for the reader of an error."""

    noun: str
    table: Mapping[tuple[S, E], S]

    def allows(self, state: S, event: E) -> bool:
        return (state, event) in self.table

    def next(self, state: S, event: E) -> S:
        """The state after `event`. Raises `IllegalTransition` where the table has no such row."""
        try:
            return self.table[state, event]
        except KeyError:
            raise IllegalTransition(
                f"cannot {event.value} a {self.noun} that is {state.value}",
                hint=self._possible(state),
            ) from None

    def _possible(self, state: S) -> str:
        events = sorted({str(event.value) for (start, event) in self.table if start is state})
        return f"From {state.value} it can only: {', '.join(events)}." if events else f"{state.value} is final."


def from_each(states: tuple[S, ...], event: E, to: S) -> dict[tuple[S, E], S]:
    """Rows for one event that leads to the same state from several."""
    return {(state, event): to for state in states}
