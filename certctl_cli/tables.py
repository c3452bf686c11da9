"""Printing: tables and records for people on a terminal, tab-separated lines for programs behind a pipe, or one
of the formats for programs.

What the server sends was typed by others, so nothing of it reaches the terminal that is not a printable character
(CWE-150).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from certctl_cli import formats
from certctl_cli.command import Record, Result, Table, Text, View

if TYPE_CHECKING:
    from rich.console import Console

_GREEN: Final = ("Active", "Online", "Completed", "success", "served", "ready")
_YELLOW: Final = ("Expiring", "Pending", "RenewalInProgress", "AwaitingCSR", "AwaitingApproval", "Running", "running")
_RED: Final = ("Expired", "Failed", "failed", "Offline", "Revoked", "another served", "not seen", "db_unavailable")
STYLES: Final[Mapping[str, str]] = (
    dict.fromkeys(_GREEN, "green") | dict.fromkeys(_YELLOW, "yellow") | dict.fromkeys(_RED, "red")
)
_FOLDS_ABOVE: Final = 20
"""Characters. Columns that never hold more stay on one line; wider ones take as many as it needs."""

_READABLE: Final = 12
"""Characters that a column keeps when it is folded; with less, the table is turned."""

_GAP: Final = 2

_WRITERS: Final[Mapping[str, Callable[[Any], str]]] = {
    "json": formats.as_json,
    "yaml": formats.as_yaml,
    "csv": formats.as_csv,
}


def show(result: Result, style: str, out: TextIO, beside: TextIO) -> None:
    """Print what a command found on `out`, and its notes on `beside` unless `out` is a terminal itself. Nothing is
    printed of a command that has written to `out` itself."""
    if result.data is None and not result.views:
        return
    if style in _WRITERS:
        out.write(_WRITERS[style](result.data))
        return
    if not out.isatty():
        _show_plain(result.views, out)
    else:
        show_on_terminal(result.views, _console(out))
    out.flush()
    for note in result.notes:
        (out if out.isatty() else beside).write(printable(note) + "\n")


def printable(words: str) -> str:
    """Without control characters and changes of direction; lines stay lines."""
    return formats.CONTROL.sub("\N{REPLACEMENT CHARACTER}", words.replace("\r\n", "\n").replace("\t", " "))


# For programs


def _show_plain(views: Iterable[View], out: TextIO) -> None:
    for view in views:
        match view:
            case Table(heads, rows):
                _lines([heads, *rows], out)
            case Record(rows):
                _lines(rows, out)
            case Text(words):
                out.write(printable(words) + "\n")


def _lines(rows: Iterable[tuple[str, ...]], out: TextIO) -> None:
    out.writelines("\t".join(printable(cell).replace("\n", " ") for cell in row) + "\n" for row in rows)


# For people


def _console(out: TextIO) -> "Console":
    from rich.console import Console

    return Console(file=out, markup=False, emoji=False, highlight=False)


def show_on_terminal(views: Iterable[View], console: "Console") -> None:
    """Tables fold long cells rather than cut them: ids are there to be copied."""
    for number, view in enumerate(views):
        if number:
            console.print()
        match view:
            case Table(heads, rows):
                _table(heads, rows, console)
            case Record(rows):
                _table(None, [(f"{name}:", value) for name, value in rows], console)
            case Text(words):
                console.print(printable(words), soft_wrap=True)


def _table(heads: tuple[str, ...] | None, rows: Iterable[tuple[str, ...]], console: "Console") -> None:
    cells = [[printable(cell) for cell in row] for row in rows]
    names = heads or ("", "")
    widths = [max((len(row[number]) for row in cells), default=0) for number in range(len(names))]
    needed = [max(width, len(name)) for width, name in zip(widths, names, strict=True)]
    if heads and cells and not _has_room(needed, console.width):
        _one_below_the_other(heads, cells, console)
        return
    from rich.table import Table as Grid
    from rich.text import Text as Styled

    grid = Grid(box=None, show_header=heads is not None, header_style="bold", padding=(0, _GAP, 0, 0), pad_edge=False)
    for name, width in zip(names, widths, strict=True):
        grid.add_column(name, overflow="fold", no_wrap=0 < width <= _FOLDS_ABOVE)
    for row in cells:
        grid.add_row(*(Styled(cell, style=STYLES.get(cell, "")) for cell in row))
    console.print(grid)


def _has_room(widths: Sequence[int], available: int) -> bool:
    """Whether the columns that fold would keep a readable width."""
    folding = [width for width in widths if width > _FOLDS_ABOVE]
    least = sum(widths) - sum(folding) + len(folding) * _READABLE + _GAP * (len(widths) - 1)
    return least <= available


def _one_below_the_other(heads: tuple[str, ...], rows: Iterable[Sequence[str]], console: "Console") -> None:
    """Each row as a record, for a terminal that is too narrow for its columns."""
    for number, row in enumerate(rows):
        if number:
            console.print()
        _table(None, [(f"{head}:", cell) for head, cell in zip(heads, row, strict=True)], console)
