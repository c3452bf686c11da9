"""How an answer is shown that no command knows the columns of: lists as tables, objects as records."""

from collections.abc import Mapping, Sequence
from typing import Final

from certctl_cli.command import Json, Record, Table, Text, View
from certctl_cli.wording import NOTHING, moment, text

_FIRST: Final = (
    "id",
    "name",
    "common_name",
    "type",
    "status",
    "state",
    "action",
    "severity",
    "certificate_id",
    "agent_id",
    "target_id",
    "role",
    "message",
    "count",
)
"""What tells objects apart, and is shown first."""

_LAST: Final = ("created_at", "updated_at", "pem_data", "csr_pem", "pem_chain", "revision")
"""What nobody looks for in a table."""

COLUMNS: Final = 7
_LONGEST: Final = 60
"""Characters of a cell in a table; whoever needs all of it asks for one object, or for JSON."""


def view_of(told: Json) -> tuple[View, ...]:
    """A page of a list, a list, an object or a value."""
    match told:
        case {"data": list(rows)}:
            return (table_of(rows),)
        case list(rows):
            return (table_of(rows),)
        case dict():
            return (record_of(told),)
    return (Text(text(told)),)


def table_of(rows: Sequence[Json]) -> View:
    """A table with the columns that say most."""
    objects = [row for row in rows if isinstance(row, dict)]
    if len(objects) != len(rows) or not rows:
        return Text("\n".join(text(row) for row in rows) or "Nothing.")
    names = columns_of(objects)
    cells = [tuple(_short(cell(name, row.get(name))) for name in names) for row in objects]
    return Table(tuple(name.replace("_", " ").upper() for name in names), cells)


def columns_of(rows: Sequence[Mapping[str, Json]]) -> tuple[str, ...]:
    """Fields that some row has a plain value in, the telling ones first."""
    present = dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, dict))
    telling = [name for name in _FIRST if name in present]
    others = [name for name in present if name not in (*_FIRST, *_LAST)]
    return tuple((telling + others)[:COLUMNS])


def record_of(told: Mapping[str, Json]) -> Record:
    return Record([(name.replace("_", " ").capitalize(), cell(name, value)) for name, value in told.items()])


def cell(name: str, value: Json) -> str:
    return moment(value) if name.endswith("_at") and isinstance(value, str) else text(value)


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…" if words != NOTHING else words
