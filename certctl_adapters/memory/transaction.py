"""Rows in dictionaries, with an undo log: what a transaction needs and nothing more."""

from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any, TypeVar

from attrs import evolve

from certctl_adapters.kinds import Kind, OnDelete, Reference, TransactionAborted, referrers
from certctl_core.errors import CertctlError, NotFound

F = TypeVar("F")
Tables = dict[str, dict[Any, Any]]

ENDINGS = "daily_endings"
_ABSENT = object()


class Transaction:
    """All tables, seen and changed by one caller at a time. Facts are immutable, so undoing is putting the old back."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []
        self._is_open = True
        self.is_broken = False

    def close(self) -> None:
        self._is_open = False

    def roll_back(self) -> None:
        for rows, key, before in reversed(self._undo):
            if before is _ABSENT:
                rows.pop(key, None)
            else:
                rows[key] = before

    def rows(self, table: str) -> Mapping[Any, Any]:
        """The rows of a table. Raises when the work is over, or broken by an error that was swallowed."""
        self._must_be_usable()
        return self._tables.setdefault(table, {})

    def set(self, table: str, key: Any, value: Any) -> None:
        """Put a row without any check."""
        rows = self._writable(table)
        self._undo.append((rows, key, rows.get(key, _ABSENT)))
        rows[key] = value

    def unset(self, table: str, key: Any) -> None:
        rows = self._writable(table)
        if key in rows:
            self._undo.append((rows, key, rows.pop(key)))

    def insert(self, kind: Kind[F], fact: F) -> None:
        """Raises `Duplicate` or `Invalid` and, as in a database, breaks the transaction when it does."""
        if kind.identify(fact) in self.rows(kind.table):
            raise self.refuse(kind.taken_identity(fact))
        self.replace(kind, fact)

    def replace(self, kind: Kind[F], fact: F) -> None:
        """Write a fact over the row of the same identity, if there is one. Raises as `insert`."""
        identity = kind.identify(fact)
        for reference in kind.references:
            if not reference.holds(fact):
                continue
            for value in _values(getattr(fact, reference.field)):
                if value not in self.rows(reference.to):
                    raise self.refuse(kind.dangling(reference.field, value))
        for unique in kind.uniques:
            if (key := unique.key(fact)) is not None and self.rows(unique.constraint).get(key, identity) != identity:
                raise self.refuse(kind.taken(unique, fact))
        self._forget_keys(kind, identity)
        for unique in kind.uniques:
            if (key := unique.key(fact)) is not None:
                self.set(unique.constraint, key, identity)
        self._note_ending(kind, self.rows(kind.table).get(identity), fact)
        self.set(kind.table, identity, fact)

    def _note_ending(self, kind: Kind[F], before: F | None, after: F) -> None:
        """Count rows that end, by how and on which day."""
        if kind.ending is None or (end := kind.ending(after)) is None:
            return
        known = kind.ending(before) if before is not None else None
        if known is None or known.status != end.status:
            key = kind.table, end.status, end.at.astimezone(UTC).date()
            self.set(ENDINGS, key, self.rows(ENDINGS).get(key, 0) + 1)

    def delete(self, kind: Kind[Any], identity: str) -> None:
        """Remove a row and do to its referrers what their references say. Raises `NotFound` or `InUse`."""
        if identity not in self.rows(kind.table):
            raise NotFound.of(kind.noun, identity)
        counts: dict[str, int] = {}
        for referrer, reference in referrers(kind.table):
            if reference.on_delete is OnDelete.RESTRICT:
                found = sum(1 for _ in self._referring(referrer, reference, identity))
                if found:
                    counts[referrer.noun] = counts.get(referrer.noun, 0) + found
        if counts:
            raise self.refuse(kind.in_use(identity, counts))
        for referrer, reference in referrers(kind.table):
            for user in list(self._referring(referrer, reference, identity)):
                if reference.on_delete is OnDelete.CASCADE:
                    self.delete(referrer, user)
                else:
                    self._set_null(referrer, user, reference.field)
        self._forget_keys(kind, identity)
        self.unset(kind.table, identity)

    def refuse(self, error: CertctlError) -> CertctlError:
        """Note that a write was refused: nothing more can be done in this transaction."""
        self.is_broken = True
        return error

    def _referring(self, referrer: Kind[Any], reference: Reference, identity: str) -> Iterator[str]:
        rows = self.rows(referrer.table).items()
        return (
            key for key, fact in rows if reference.holds(fact) and identity in _values(getattr(fact, reference.field))
        )

    def _set_null(self, kind: Kind[Any], identity: str, name: str) -> None:
        fact = self.rows(kind.table)[identity]
        self.replace(kind, evolve(fact, **{name: None}))

    def _forget_keys(self, kind: Kind[Any], identity: str) -> None:
        before = self.rows(kind.table).get(identity)
        for unique in kind.uniques if before is not None else ():
            if (key := unique.key(before)) is not None:
                self.unset(unique.constraint, key)

    def _writable(self, table: str) -> dict[Any, Any]:
        self._must_be_usable()
        return self._tables.setdefault(table, {})

    def _must_be_usable(self) -> None:
        if not self._is_open:
            raise AssertionError("this work is over; open another one")
        if self.is_broken:
            raise TransactionAborted


def _values(value: Any) -> tuple[Any, ...]:
    """The ids in a field that holds one, several or none."""
    if isinstance(value, tuple):
        return value
    return () if value is None else (value,)
