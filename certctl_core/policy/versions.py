"""Versions of software, and ranges of them, as an agent group may ask for.

A version is numbers with dots between them, perhaps with a `v` before and a pre-release behind: `1.4`, `v2.0.1`,
`1.2.0-rc.1`, `1.2.0rc1`. Zeros at the end make no difference (`1.2` is `1.2.0`), a pre-release comes before its
release, pre-releases are compared part by part, numbers as numbers and before words (semver.org, 11), and what follows
a `+` does not count.

A range is conditions with commas between them, which all have to hold: `>=1.2,<2`, `!=1.3.1`. The signs are `>=`, `<=`,
`>`, `<`, `=` (or `==`) and `!=`. A version alone is that version. A word alone, such as `dev`, is for agents that call
their version exactly that, whatever the case.
"""

import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from attrs import frozen

from certctl_core.errors import Invalid

MAX_RANGE: Final = 50

_VERSION: Final = re.compile(
    r"[vV]?(?P<release>[0-9]+(\.[0-9]+)*)([-.]?(?P<pre>[A-Za-z][0-9A-Za-z.-]*)|-(?P<counted>[0-9A-Za-z.-]+))?(\+\S*)?"
)
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_CONDITION: Final = re.compile(r"(?P<sign>[<>=!~^]*)\s*(?P<version>\S*)")

Part = tuple[int, int, str]
Key = tuple[tuple[int, ...], int, tuple[Part, ...]]

_SIGNS: Final[Mapping[str, Callable[[Key, Key], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}


@lru_cache(maxsize=4096)
def key(text: str) -> Key | None:
    """What versions are compared by; None for a text that is no version."""
    found = _VERSION.fullmatch(text.strip()) if len(text) <= 100 else None
    if found is None:
        return None
    release = [int(number) for number in found["release"].split(".")]
    while len(release) > 1 and not release[-1]:
        release.pop()
    before = found["pre"] or found["counted"] or ""
    parts = tuple(_part(part) for part in re.findall(r"[0-9]+|[A-Za-z]+", before))
    return tuple(release), 0 if before else 1, parts


def _part(text: str) -> Part:
    return (0, int(text), "") if text.isdigit() else (1, 0, text.lower())


@frozen
class Range:
    """Conditions that have to hold together, or a word that a version has to be. Made by `read_range`."""

    conditions: tuple[tuple[str, Key], ...] = ()
    word: str = ""

    def holds(self, text: str) -> bool:
        """Whether a version is in the range. A text that is no version is in none."""
        if self.word:
            return text.strip().casefold() == self.word
        found = key(text)
        return found is not None and all(_SIGNS[sign](found, wanted) for sign, wanted in self.conditions)


@lru_cache(maxsize=256)
def read_range(text: str) -> Range:
    """Raises `Invalid` with words about the text, without a field."""
    if len(text) > MAX_RANGE:
        raise Invalid(f"must have at most {MAX_RANGE} characters")
    bare = text.strip()
    if key(bare) is None and _WORD.fullmatch(bare):
        return Range(word=bare.casefold())
    return Range(tuple(_condition(part.strip()) for part in text.split(",")))


def _condition(text: str) -> tuple[str, Key]:
    found = _CONDITION.fullmatch(text)
    wanted = key(found["version"]) if found else None
    sign = (found["sign"] or "=") if found else ""
    # `1.x` reads as a pre-release called x; whoever writes it means a range.
    if wanted is None or sign not in _SIGNS or text.lower().endswith(".x"):
        raise Invalid(f"{text!r} is no condition on a version: write 1.4.2, or a range such as >=1.2,<2")
    return sign, wanted
