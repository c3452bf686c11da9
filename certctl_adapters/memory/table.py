"""Rows of one kind, by id, in memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

from attrs import evolve

from certctl_adapters.kinds import Kind
from certctl_adapters.memory.transaction import Transaction
from certctl_core.errors import NotFound, StaleWrite
from certctl_core.ports.store import Is, Page, Query, Table, Where

F = TypeVar("F")


class MemoryTable(Table[F]):
    """The whole of `Table` for any kind."""

    def __init__(self, transaction: Transaction, kind: Kind[F]) -> None:
        self._transaction = transaction
        self._kind = kind

    @property
    def _rows(self) -> Mapping[str, F]:
        return self._transaction.rows(self._kind.table)

    def find(self, identity: str) -> F | None:
        return self._rows.get(identity)

    def get(self, identity: str) -> F:
        found = self.find(identity)
        if found is None:
            raise NotFound.of(self._kind.noun, identity)
        return found

    def lock(self, identity: str) -> F:
        return self.get(identity)

    def many(self, identities: Iterable[str]) -> Mapping[str, F]:
        rows = self._rows
        return {identity: rows[identity] for identity in identities if identity in rows}

    def lock_many(self, identities: Iterable[str]) -> Mapping[str, F]:
        return self.many(sorted(set(identities)))

    def add(self, fact: F) -> None:
        self._transaction.insert(self._kind, fact)

    def save(self, fact: F) -> F:
        changed: Any = fact
        stored: Any = self.get(self._kind.identify(fact))
        if stored.revision != changed.revision:
            raise StaleWrite(
                f"{self._kind.noun} {changed.id!r} was changed by somebody else meanwhile",
                hint="Read it again and repeat the change.",
            )
        written: F = evolve(changed, revision=changed.revision + 1)
        self._transaction.replace(self._kind, written)
        return written

    def add_many(self, facts: Sequence[F]) -> None:
        for fact in facts:
            self.add(fact)

    def save_many(self, facts: Sequence[F]) -> Sequence[F]:
        return [self.save(fact) for fact in facts]

    def remove(self, identity: str) -> None:
        self._transaction.delete(self._kind, identity)

    def page(self, query: Query) -> Page[F]:
        self._kind.check(query)
        return page_of(self._rows.values(), self._kind, query, self._extra)

    def count(self, *where: Where) -> int:
        return self.page(Query(where, sort=next(iter(self._kind.sorts)), limit=0)).total

    def _extra(self, fact: F, name: str) -> Any:
        """What a filter that is no field of the fact compares with; a tuple means any of its values."""
        return getattr(fact, name)

    def having(self, where: Sequence[Where]) -> Iterable[F]:
        """The rows for which the conditions hold, in no order."""
        query = Query(tuple(where), sort=next(iter(self._kind.sorts)), limit=len(self._rows))
        return self.page(query).items

    def select(
        self, choose: Callable[[F], bool], order: Callable[[F], Any], limit: int | None = None, *, newest: bool = False
    ) -> Sequence[F]:
        """The rows that `choose` takes, in order."""
        return sorted(filter(choose, self._rows.values()), key=order, reverse=newest)[:limit]


def page_of(facts: Iterable[F], kind: Kind[F], query: Query, extra: Callable[[F, str], Any] | None = None) -> Page[F]:
    """The page of `facts` that `query` asks for."""
    meaning = kind.sorts[query.sort]

    def value(fact: F, where: Where) -> Any:
        if where.field in kind.extra_filters and extra is not None:
            return extra(fact, where.field)
        return getattr(fact, where.field)

    def place(fact: F) -> tuple[Any, str]:
        return _sortable(getattr(fact, meaning)), kind.identify(fact)

    found = [fact for fact in facts if all(_holds(where, value(fact, where)) for where in query.where)]
    found.sort(key=place, reverse=query.descending)
    total = len(found) if query.count else 0
    if query.after is not None:
        last = (_sortable(query.after[0]), query.after[1])
        found = [fact for fact in found if (place(fact) < last if query.descending else place(fact) > last)]
    else:
        found = found[query.offset :]
    items, more = tuple(found[: query.limit]), len(found) > query.limit
    return Page(items, total, more, kind.place(query, items[-1], more=more) if items else None)


def _holds(where: Where, value: Any) -> bool:
    if where.how in (Is.OPEN_TO, Is.WITHIN):
        return _is_limited(where, value if isinstance(value, tuple) else () if value is None else (value,))
    if isinstance(value, tuple):
        return any(_holds(where, one) for one in value)
    if where.how is Is.EQUAL:
        return bool(value == where.value)
    if where.how is Is.ONE_OF:
        return value is not None and value in tuple(where.value)
    if value is None or where.value is None:
        return False
    match where.how:
        case Is.BEFORE:
            return bool(_plain(value) < _plain(where.value))
        case Is.AFTER:
            return bool(_plain(value) > _plain(where.value))
        case Is.CONTAINS:
            return str(where.value).casefold() in str(value).casefold()


def _is_limited(where: Where, limits: tuple[Any, ...]) -> bool:
    among = [limit in tuple(where.value) for limit in limits]
    return not limits or any(among) if where.how is Is.OPEN_TO else bool(limits) and all(among)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _sortable(value: Any) -> tuple[bool, Any]:
    """A key that puts None after everything else, whichever type everything else has."""
    return (True, 0) if value is None else (False, _plain(value))


def by(*names: str) -> Callable[[Any], tuple[Any, ...]]:
    """A sort key of several fields, None last in each."""
    return lambda fact: tuple(_sortable(getattr(fact, name)) for name in names)


def is_due(at: datetime | None, now: datetime) -> bool:
    return at is not None and at <= now
