"""Patterns for names: regular expressions without the two dangers of Python's.

A pattern always has to match the whole name (it is anchored whether it says so or not), and matching takes time in
proportion to pattern and name whatever they are, because all ways to match are followed at once (Thompson 1968)
instead of one after the other. Names come from strangers, and a pattern that backtracks would let them stop us.

Patterns have: letters, digits and other literals; `\\` before a special one; `.`; `[a-z0-9-]` and `[^.]`; `\\d`,
`\\w`; `*`, `+`, `?`, `{3}`, `{1,5}`, `{2,}`; `( )` and `(?: )`; `|`; and `^`, `$` at the ends, which change nothing.
Names are matched in their canonical spelling (DNS names in lower case) and are never read as patterns themselves.
"""

import string
from abc import abstractmethod
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Protocol

from attrs import frozen

from certctl_core.errors import Invalid

MAX_PATTERN: Final = 512
MAX_STEPS: Final = 4000
MAX_DEPTH: Final = 20

_PRINTABLE: Final = frozenset(chr(code) for code in range(0x20, 0x7F))
_CLASSES: Final = {"d": frozenset(string.digits), "w": frozenset(string.ascii_letters + string.digits + "_")}
_MARKS: Final[tuple[tuple[str, int, int | None], ...]] = (("*", 0, None), ("+", 1, None), ("?", 0, 1))
_SPECIAL: Final = frozenset("\\.[](){}*+?|^$")


@frozen
class _Step:
    """Takes one character of `takes` and goes on to `following`; takes nothing and goes on to all when None."""

    takes: frozenset[str] | None
    following: tuple[int, ...]


@frozen
class Pattern:
    """A pattern ready to match. Made by `pattern`."""

    text: str
    _steps: tuple[_Step, ...]
    _start: int

    def matches(self, name: str) -> bool:
        """Whether the pattern matches the whole name."""
        here = self._reach([self._start])
        for character in name:
            here = self._reach(
                target
                for index in here
                if (takes := self._steps[index].takes) is not None and character in takes
                for target in self._steps[index].following
            )
            if not here:
                return False
        return _END in here

    def _reach(self, starts: Iterable[int]) -> set[int]:
        """All steps that can be got to without taking a character."""
        reached: set[int] = set()
        waiting = list(starts)
        while waiting:
            index = waiting.pop()
            if index in reached:
                continue
            reached.add(index)
            if self._steps[index].takes is None:
                waiting.extend(self._steps[index].following)
        return reached


_END: Final = 0


@lru_cache(maxsize=1024)
def pattern(text: str) -> Pattern:
    """Raises `Invalid` with the place where the pattern is wrong."""
    if len(text) > MAX_PATTERN or not text.isascii():
        raise Invalid(f"a pattern has at most {MAX_PATTERN} ASCII characters")
    inner = text.removeprefix("^")
    if inner.endswith("$") and not inner.endswith("\\$"):
        inner = inner[:-1]
    reader = _Reader(inner)
    tree = reader.alternatives()
    if reader.at < len(inner):
        raise reader.problem(f"unexpected {inner[reader.at]!r}")
    steps: list[_Step] = [_Step(None, ())]
    start = tree.lay(steps, _END)
    return Pattern(text, tuple(steps), start)


# The tree of a pattern. `lay` adds the steps that match it and go on to `following`, and returns the first of them.


class _Node(Protocol):
    @abstractmethod
    def lay(self, steps: list[_Step], following: int) -> int: ...


@frozen
class _One(_Node):
    takes: frozenset[str]

    def lay(self, steps: list[_Step], following: int) -> int:
        return _add(steps, _Step(self.takes, (following,)))


@frozen
class _Row(_Node):
    parts: tuple[_Node, ...]

    def lay(self, steps: list[_Step], following: int) -> int:
        for part in reversed(self.parts):
            following = part.lay(steps, following)
        return following


@frozen
class _Choice(_Node):
    parts: tuple[_Node, ...]

    def lay(self, steps: list[_Step], following: int) -> int:
        return _add(steps, _Step(None, tuple(part.lay(steps, following) for part in self.parts)))


@frozen
class _Repeat(_Node):
    part: _Node
    least: int
    most: int | None

    def lay(self, steps: list[_Step], following: int) -> int:
        if self.most is None:
            loop = _add(steps, _Step(None, (following,)))
            body = self.part.lay(steps, loop)
            steps[loop] = _Step(None, (body, following))
            following = loop
        else:
            after = following
            for _ in range(self.most - self.least):
                body = self.part.lay(steps, following)
                following = _add(steps, _Step(None, (body, after)))
        for _ in range(self.least):
            before, following = following, self.part.lay(steps, following)
            if following == before:
                break
        return following


def _add(steps: list[_Step], step: _Step) -> int:
    if len(steps) >= MAX_STEPS:
        raise Invalid("the pattern is too large: its repetitions multiply")
    steps.append(step)
    return len(steps) - 1


class _Reader:
    """Recursive descent over the text of a pattern."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def problem(self, words: str) -> Invalid:
        return Invalid(
            f"the pattern {self.text!r} is wrong at character {self.at + 1}: {words}",
            hint=r"Patterns are regular expressions; for all hosts of a domain write [a-z0-9-]+\.example\.com",
        )

    def alternatives(self) -> _Node:
        rows = [self._row()]
        while self._skip("|"):
            rows.append(self._row())
        return rows[0] if len(rows) == 1 else _Choice(tuple(rows))

    def _row(self) -> _Node:
        parts: list[_Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            parts.append(self._quantified())
        return _Row(tuple(parts))

    def _quantified(self) -> _Node:
        part = self._atom()
        for mark, least, most in _MARKS:
            if self._skip(mark):
                return _Repeat(part, least, most)
        return _Repeat(part, *self._counts()) if self._skip("{") else part

    def _counts(self) -> tuple[int, int | None]:
        least = self._number()
        most: int | None = least
        if self._skip(","):
            most = None if self.text[self.at : self.at + 1] == "}" else self._number()
        if not self._skip("}") or (most is not None and most < least):
            raise self.problem("a count is written {3}, {1,5} or {2,}")
        return least, most

    def _atom(self) -> _Node:
        character = self._next("something to match")
        if character == "(":
            return self._group()
        if character == "[":
            return _One(self._set())
        if character == ".":
            return _One(_PRINTABLE)
        if character == "\\":
            return _One(self._escaped())
        if character in _SPECIAL:
            self.at -= 1
            raise self.problem(f"{character!r} has nothing before it that it could repeat or close")
        return _One(frozenset(character))

    def _group(self) -> _Node:
        if self._skip("?") and not self._skip(":"):
            raise self.problem("of (?...) there is only (?: )")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.problem("groups are nested too deeply")
        inner = self.alternatives()
        if not self._skip(")"):
            raise self.problem("a group is not closed")
        self.depth -= 1
        return inner

    def _set(self) -> frozenset[str]:
        negated = self._skip("^")
        taken: set[str] = set()
        first = True
        while first or not self._skip("]"):
            first = False
            low = self._in_set()
            if (
                len(low) == 1
                and self.text[self.at : self.at + 1] == "-"
                and self.text[self.at + 1 : self.at + 2] != "]"
            ):
                self.at += 1
                high = self._in_set()
                if len(high) != 1 or min(high) < min(low):
                    raise self.problem("a range goes from a lower to a higher character")
                low = frozenset(chr(code) for code in range(ord(min(low)), ord(min(high)) + 1))
            taken |= low
        return _PRINTABLE - taken if negated else frozenset(taken)

    def _in_set(self) -> frozenset[str]:
        character = self._next("']'")
        return self._escaped() if character == "\\" else frozenset(character)

    def _escaped(self) -> frozenset[str]:
        character = self._next("a character after '\\'")
        if character in _CLASSES:
            return _CLASSES[character]
        if character.isalnum():
            raise self.problem(f"\\{character} is not known here")
        return frozenset(character)

    def _number(self) -> int:
        start = self.at
        while self.at < len(self.text) and self.text[self.at].isdigit():
            self.at += 1
        if not 1 <= self.at - start <= 3:
            raise self.problem("a count is a number below 1000")
        return int(self.text[start : self.at])

    def _next(self, expected: str) -> str:
        if self.at >= len(self.text):
            raise self.problem(f"{expected} is missing")
        self.at += 1
        return self.text[self.at - 1]

    def _skip(self, expected: str) -> bool:
        if self.text[self.at : self.at + 1] != expected:
            return False
        self.at += 1
        return True
