"""Commands: one row for each thing that can be asked on the command line.

A row's `run` is a plain function `(server, given) -> Result`. It raises errors of the core and prints nothing: what it
found is in `data`, as the server said it, and in `views`, as people read it.
"""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from certctl_cli.client import Server

Json = Any


@frozen
class Table:
    """Rows under headings."""

    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@frozen
class Record:
    """One object: names and values."""

    rows: Sequence[tuple[str, str]]


@frozen
class Text:
    """Words of our own."""

    words: str


View = Table | Record | Text


@frozen(kw_only=True)
class Result:
    """What a command found. `notes` are beside the point of who reads the output with a program: they go to the
    terminal. `failed` ends the program with status 1."""

    data: Json
    views: tuple[View, ...]
    notes: tuple[str, ...] = ()
    failed: bool = False


@frozen
class Argument:
    """One flag or positional argument, in the words of argparse."""

    name: str
    how: Mapping[str, Any]


def argument(name: str, **how: Any) -> Argument:
    return Argument(name, how)


@frozen(kw_only=True)
class Command:
    """One row. `name` is what is typed: `certs list`. `covers` are the operations of the API that it stands for;
    `may_be_new` takes the name of a profile that nothing is stored under yet."""

    name: str
    help: str
    run: Callable[[Server, Namespace], Result]
    arguments: tuple[Argument, ...] = field(default=())
    covers: tuple[str, ...] = ()
    may_be_new: bool = False
