"""How values of the API read in a table."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping
from typing import Any, Final

from certctl_cli.command import Argument, Result, Table, argument

NOTHING: Final = "-"
_ZERO_TIME: Final = "0001-01-01T00:00:00Z"
"""What the wire says for a time that is not there."""


def within(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number between these."""

    def read(given: str) -> int:
        if not (given.isascii() and given.isdigit() and least <= int(given[:9]) <= most):
            raise ArgumentTypeError(f"{given!r} is not a whole number from {least} to {most}")
        return int(given)

    return read


ID: Final = argument("id", metavar="ID")
ALL: Final = argument("--all", action="store_true", help="every page, one after the other")
PAGING: Final = (
    argument("--page", type=within(1, 1_000_000), default=1, metavar="N", help="which page; default: 1"),
    argument("--per-page", type=within(1, 500), default=50, metavar="N", help="rows a page, up to 500; default: 50"),
    ALL,
)


def flag(name: str, help: str, **how: Any) -> Argument:  # noqa: A002 - as argparse calls it
    """A flag with a value that may be left out."""
    return argument(f"--{name}", help=help, metavar=name.rpartition("-")[2].upper(), **how)


def text(value: Any) -> str:
    """As one cell."""
    match value:
        case bool():
            return "yes" if value else "no"
        case list() if value:
            return ", ".join(text(one) for one in value)
        case dict() if value:
            return ", ".join(f"{name}={text(one)}" for name, one in value.items())
        case None | "" | list() | dict():
            return NOTHING
        case _:
            return str(value)


def moment(value: str | None) -> str:
    """A time to the second, RFC 3339."""
    if not value or value == _ZERO_TIME:
        return NOTHING
    whole, point, rest = value.partition(".")
    return whole + rest.lstrip("0123456789") if point else whole


def day(value: str | None) -> str:
    """The date of a time."""
    return moment(value)[:10]


def listed(
    told: Mapping[str, Any], given: Namespace, columns: Mapping[str, Callable[[Mapping[str, Any]], str]], noun: str = ""
) -> Result:
    """A page of a list. `columns` are headings and how a row's cell is read."""
    rows = told.get("data") or []
    total = told.get("total", len(rows))
    return Result(
        data={"data": rows, "total": total},
        views=(Table(tuple(columns), [tuple(read(row) for read in columns.values()) for row in rows]),),
        notes=(f"Total{noun}: {total}{_part(given, len(rows), total)}",),
    )


def note_of(told: Any, given: Namespace) -> tuple[str, ...]:
    """How many there are altogether, for an answer that is a page of a list."""
    if not isinstance(told, dict) or not isinstance(told.get("data"), list) or "total" not in told:
        return ()
    return (f"Total: {told['total']}{_part(given, len(told['data']), told['total'])}",)


def _part(given: Namespace, shown: int, total: int) -> str:
    page, size = int(getattr(given, "page", None) or 1), int(getattr(given, "per_page", None) or 50)
    if shown == total:
        return ""
    first = (page - 1) * size + 1
    if not shown:
        return f" (none on page {page})"
    more = f"; --page {page + 1} shows more" if first + shown - 1 < total else ""
    return f" (showing {first} to {first + shown - 1}{more})"


def of(name: str) -> Callable[[Mapping[str, Any]], str]:
    """A cell that is a field of the row."""
    return lambda row: text(row.get(name))
