"""The audit trail on the wire: events, what they can be narrowed by, and exports.

An export for spreadsheets is CSV (RFC 4180). What others typed may be a formula to a spreadsheet that opens it
(CWE-1236), so a text that begins like one gets an apostrophe in front, which spreadsheets take for "this is a text".
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, Self

import attrs
from attrs import frozen

from certctl_core.models import records as facts
from certctl_core.models.access import ActorType
from certctl_core.models.trail import Entry, time_text
from certctl_core.pki import export
from certctl_core.ports.store import Is, Query, Where
from certctl_core.usecases.audit_export import Export
from certctl_web.media.paging import Paging
from certctl_web.media.writing import write_time

CHUNK: Final = 1 << 16
"""Bytes that are sent together."""

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_RESOLUTION: Final = timedelta(microseconds=1)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_CSV_HEADS: Final = (
    *("timestamp", "actor", "actor_type", "action", "resource_type", "resource_id", "details", "request_id", "id"),
    *("seq", "leaf_index", "leaf_hash"),
)


@frozen(kw_only=True)
class AuditEvent:
    id: str
    actor: str
    actor_type: ActorType
    action: str
    resource_type: str
    resource_id: str
    details: Mapping[str, Any]
    request_id: str | None = None
    timestamp: datetime

    @classmethod
    def of(cls, fact: facts.AuditEvent) -> Self:
        values = {a.name: getattr(fact, a.name) for a in attrs.fields(cls)}
        return cls(**values | {"details": dict(fact.details), "request_id": fact.request_id or None})


@frozen(kw_only=True, slots=False)
class AuditFilters:
    """`since` and later, before `until`. `resource_type=api` is the recorded API calls."""

    actor: str | None = None
    actor_type: ActorType | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def where(self) -> tuple[Where, ...]:
        names = ("actor", "actor_type", "action", "resource_type", "resource_id")
        where = [Where(name, value) for name in names if (value := getattr(self, name)) is not None]
        if self.since is not None and self.since > _FIRST:
            where.append(Where("timestamp", self.since - _RESOLUTION, Is.AFTER))
        if self.until is not None:
            where.append(Where("timestamp", self.until, Is.BEFORE))
        return tuple(where)

    def told(self) -> dict[str, str]:
        """What was asked for, as it was."""
        return {
            name: _word(value) for name in attrs.fields_dict(AuditFilters) if (value := getattr(self, name)) is not None
        }


def _word(value: Any) -> str:
    if isinstance(value, datetime):
        return write_time(value)
    return str(value.value if isinstance(value, Enum) else value)


@frozen(kw_only=True)
class AuditList(AuditFilters, Paging):
    """Newest first."""

    def wish(self) -> Query:
        return self.ask(*self.where(), sort="timestamp", descending=True)


class ExportFormat(Enum):
    CSV = "csv"
    JSON_LINES = "jsonl"

    @property
    def media_type(self) -> str:
        return "text/csv; charset=utf-8" if self is ExportFormat.CSV else "application/jsonl"


@frozen(kw_only=True)
class AuditExport(AuditFilters):
    """`jsonl` has what it takes to verify it without the server: `certctl audit verify`. `csv` is for spreadsheets."""

    format: ExportFormat = ExportFormat.JSON_LINES


def written(taken: Export, asked: AuditExport) -> Iterator[bytes]:
    """An export in the format that was asked for, as it is read."""
    return _chunks(_csv(taken) if asked.format is ExportFormat.CSV else _json_lines(taken, asked.told()))


def file_name(taken: Export, asked: AuditExport) -> str:
    return f"certctl-audit-{taken.at:%Y%m%dT%H%M%SZ}.{asked.format.value}"


def _json_lines(taken: Export, filters: Mapping[str, str]) -> Iterator[str]:
    yield export.head(taken.verifier, taken.at, filters)
    events = 0
    for item in taken.items:
        events += isinstance(item, Entry)
        yield export.line(item)
    yield export.end(events)


def _csv(taken: Export) -> Iterator[str]:
    row = io.StringIO()
    writer = csv.writer(row, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(_CSV_HEADS)
    for item in taken.items:
        if isinstance(item, Entry):
            writer.writerow(_cells(item))
        yield row.getvalue()
        row.seek(0)
        row.truncate()
    yield row.getvalue()


def _cells(entry: Entry) -> tuple[str | int, ...]:
    texts = (
        *(entry.actor, entry.actor_type.value, entry.action, entry.resource_type, entry.resource_id),
        *(entry.details, entry.request_id, entry.id),
    )
    return (
        time_text(entry.timestamp),
        *map(_plain, texts),
        entry.seq or "",
        "" if entry.leaf_index is None else entry.leaf_index,
        entry.leaf_hash.hex() if entry.leaf_hash else "",
    )


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _chunks(parts: Iterable[str]) -> Iterator[bytes]:
    waiting: list[str] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= CHUNK:
            yield "".join(waiting).encode()
            waiting.clear()
            size = 0
    yield "".join(waiting).encode()
