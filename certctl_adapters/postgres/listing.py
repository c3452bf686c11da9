"""Pages of lists: how many rows match, and which of them come next.

Theory of operation. A page of fifty out of a million rows must not cost a million, whatever it is filtered and sorted
by. There are two ways to it, and each is bad where the other is good. Going through an index in the order of the list
until enough rows match is quick when many match, unless those that do lie at the other end. Fetching all that match and
sorting them is quick when few do. PostgreSQL chooses by statistics, which do not know that the certificates of a team
have names that begin alike, or that what has expired lies at one end of all ends. We know more: how many rows match,
because lists say it.

    nothing asked for, or an index has filter and order      in order, which finds the page at once
    few match                                                fetch and sort
    more match                                               in order, but not past `WALK` rows; if that was not enough
                                                             and rows are left, fetch and sort after all
    many match                                               in order, past as many rows as it takes

For tables that are `narrow` there are indexes that hold everything such a list looks at, and which rows are on a page
is decided in an index alone; then the rows themselves are read, fifty of them. What is filtered by is part of the key
there, so that rows which do not match are left behind inside the index, twenty times as fast as rows are fetched and
sorted.

These statements are planned each time: a plan for any value would be a bad one for most.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from attrs import frozen
from psycopg import sql

from certctl_adapters.postgres.totals import NOTHING_KEPT, Totals
from certctl_adapters.postgres.transaction import Row, Transaction
from certctl_core.ports.store import Is, Page, Query, Where

if TYPE_CHECKING:
    from certctl_adapters.postgres.table import Column, Shape

F = TypeVar("F")

FEW: Final = 7_000
"""So many rows are fetched and sorted rather than looked for in order."""
WALK: Final = 10_000
"""So many rows are passed by, at most, in the hope that the next one matches."""
MANY: Final = 50_000
"""More than so many are never fetched and sorted: going past a million takes no longer."""


@frozen(eq=False)
class Listing(Generic[F]):
    """How the rows of a kind are listed. `narrow` are the fields that every index of a list holds. `ordered` are pairs
    of a filter and a sort that an index delivers in order."""

    shape: "Shape[F]"
    totals: Totals = NOTHING_KEPT
    narrow: frozenset[str] = frozenset()
    ordered: frozenset[tuple[str, str]] = frozenset()

    def page(
        self, on: Transaction, query: Query, conditions: Sequence[sql.Composable], given: Sequence[Any]
    ) -> Page[F]:
        """The page that `query` asks for; `conditions` are what it has in `where`, read from alias t, with what was
        `given` for them. A constant number of statements, whatever is on the page."""
        asked = _Asked(self, query, conditions, given)
        total = asked.total(on) if query.count else None
        if total is not None and (total == 0 or (query.after is None and query.offset >= total)):
            return Page((), total)
        rows = asked.rows(on, total)
        items = tuple(self.shape.load(row) for row in rows[: query.limit])
        more = len(rows) > query.limit
        return Page(items, total or 0, more, self.shape.kind.place(query, items[-1], more=more) if items else None)

    def total(self, on: Transaction, query: Query, conditions: Sequence[sql.Composable], given: Sequence[Any]) -> int:
        """How many rows match."""
        return _Asked(self, query, conditions, given).total(on)

    def grouped(
        self, on: Transaction, name: str, query: Query, conditions: Sequence[sql.Composable], given: Sequence[Any]
    ) -> Mapping[Any, int]:
        """How many rows match, by the values of a field."""
        relation = self.totals.relation((*query.where, Where(name, "any")))
        statement = sql.SQL("SELECT {column}, {n} FROM {rows} AS t {where} GROUP BY {column}").format(
            column=self.shape.column(name).read,
            n=sql.SQL("count(*)" if relation is None else "sum(t.n)"),
            rows=sql.Identifier(self.shape.kind.table) if relation is None else sql.SQL(relation),
            where=where_clause(conditions),
        )
        return on.counts(statement, given)


@frozen(eq=False)
class _Asked(Generic[F]):
    """One page."""

    listing: Listing[F]
    query: Query
    conditions: Sequence[sql.Composable]
    given: Sequence[Any]

    # --- how many -----------------------------------------------------------------------------------------------------

    def total(self, on: Transaction) -> int:
        statement, given = self._total()
        row = on.row(statement, given, prepare=False)
        return int(row[0]) if row else 0

    def _total(self) -> tuple[sql.Composed, Sequence[Any]]:
        totals = self.listing.totals
        if (relation := totals.relation(self.query.where)) is not None:
            kept = sql.SQL("SELECT coalesce(sum(t.n), 0) FROM {} AS t {}")
            return kept.format(sql.SQL(relation), where_clause(self.conditions)), self.given
        if (between := totals.between(self.query.where)) is not None:
            column = self.listing.shape.column(self.query.where[0].field)
            return between.statement(self._table, column.sorting)
        return sql.SQL("SELECT count(*) FROM {} AS t {}").format(self._table, where_clause(self.conditions)), self.given

    # --- which --------------------------------------------------------------------------------------------------------

    def rows(self, on: Transaction, total: int | None) -> list[Row]:
        if total is None or self._has_index():
            return self._run(on, self._in_order())
        if total <= FEW:
            return self._run(on, self._sorted())
        if total > MANY or not self._can_walk():
            return self._run(on, self._in_order())
        rows = self._run(on, self._walked())
        if len(rows) > self.query.limit or not self._are_left(on, total, len(rows)):
            return rows
        return self._run(on, self._sorted())

    def _has_index(self) -> bool:
        """Whether an index has the rows in order: of all rows, or of those that the filter leaves."""
        asked, sort = {where.field for where in self.query.where}, self._sort.field
        if len(asked) != 1 or asked == {sort}:
            return len(asked) < 2
        (where,) = self.query.where[:1]
        return where.how is Is.EQUAL and (where.field, sort) in self.listing.ordered

    def _can_walk(self) -> bool:
        narrow, extra = self.listing.narrow, self.listing.shape.kind.extra_filters
        needed = self.query.offset if self.query.after is None else 0
        return bool(narrow) and needed < WALK and all(w.field in narrow or w.field in extra for w in self.query.where)

    def _are_left(self, on: Transaction, total: int, found: int) -> bool:
        """Whether a walk that found so many may have missed some. Behind a cursor nobody has counted them, and it is
        asked whether there are rows at all beyond those that a walk passes by."""
        if self.query.after is None:
            return self.query.offset + found < total
        after, place = self._after()
        statement = sql.SQL("SELECT 1 FROM {} AS t {} ORDER BY {} LIMIT 1 OFFSET %s").format(
            self._table, where_clause(after), self._order(self._sort.sorting)
        )
        return on.row(statement, [*place, WALK], prepare=False) is not None

    def _run(self, on: Transaction, chosen: tuple[sql.Composed, Sequence[Any]]) -> list[Row]:
        statement, given = chosen
        given = [*given, self.query.limit + 1, self.query.offset if self.query.after is None else 0]
        if not self.listing.narrow:
            return on.rows(statement, given, prepare=False)
        whole = sql.SQL("SELECT {} FROM {} AS t JOIN ({}) AS chosen ON chosen.c0 = {} ORDER BY {}").format(
            sql.SQL(", ").join(self._columns), self._table, statement, self._key, self._order(self._sort.sorting)
        )
        return on.rows(whole, given, prepare=False)

    def _in_order(self) -> tuple[sql.Composed, Sequence[Any]]:
        after, place = self._after()
        statement = sql.SQL("SELECT {} FROM {} AS t {} ORDER BY {} LIMIT %s OFFSET %s").format(
            _named(self._wanted), self._table, where_clause([*self.conditions, *after]), self._order(self._sort.sorting)
        )
        return statement, [*self.given, *place]

    def _sorted(self) -> tuple[sql.Composed, Sequence[Any]]:
        """What stands in parentheses with an OFFSET is planned by itself: all of the rows, in no order."""
        after, place = self._after()
        statement = sql.SQL(
            """
            SELECT {} FROM (SELECT {}, {} AS place, {} AS {} FROM {} AS t {} OFFSET 0) AS t
            ORDER BY {} LIMIT %s OFFSET %s
            """
        ).format(
            sql.SQL(", ").join(sql.SQL("t.") + _name(number) for number in range(len(self._wanted))),
            _named(self._wanted),
            self._sort.sorting,
            self._key,
            self._identity,
            self._table,
            where_clause([*self.conditions, *after]),
            self._order(sql.SQL("t.place")),
        )
        return statement, [*self.given, *place]

    def _walked(self) -> tuple[sql.Composed, Sequence[Any]]:
        after, place = self._after()
        shape = self.listing.shape
        asked = {where.field for where in self.query.where} & self.listing.narrow - {shape.kind.identity}
        held = [self._key, *(shape.column(name).read for name in sorted(asked))]
        statement = sql.SQL(
            """
            SELECT {key} AS c0 FROM (
                SELECT {held}, {sorting} AS place FROM {table} AS t {after} ORDER BY {order} LIMIT %s
            ) AS t {where} ORDER BY {place} LIMIT %s OFFSET %s
            """
        ).format(
            key=self._key,
            held=sql.SQL(", ").join(held),
            sorting=self._sort.sorting,
            table=self._table,
            after=where_clause(after),
            order=self._order(self._sort.sorting),
            where=where_clause(self.conditions),
            place=self._order(sql.SQL("t.place")),
        )
        return statement, [*place, WALK, *self.given]

    def _after(self) -> tuple[Sequence[sql.Composable], Sequence[Any]]:
        """Beyond the last row of the page before."""
        if self.query.after is None:
            return (), ()
        value, identity = self.query.after
        compared = sql.SQL("<" if self.query.descending else ">")
        of_time = self._sort.is_optional_time
        place = sql.SQL("coalesce(%s::timestamptz, timestamptz 'infinity')" if of_time else "%s")
        condition = sql.SQL("({}, {}) {} ({}, %s)").format(self._sort.sorting, self._key, compared, place)
        return (condition,), (self._sort.dump(value) if isinstance(value, Enum) else value, identity)

    def _order(self, place: sql.Composable) -> sql.Composable:
        direction = sql.SQL("DESC" if self.query.descending else "ASC")
        return sql.SQL("{} {}, {} {}").format(place, direction, self._key, direction)

    @property
    def _sort(self) -> "Column":
        shape = self.listing.shape
        return shape.column(shape.kind.sorts[self.query.sort])

    @property
    def _table(self) -> sql.Composable:
        return sql.Identifier(self.listing.shape.kind.table)

    @property
    def _identity(self) -> sql.Composable:
        shape = self.listing.shape
        return sql.Identifier(shape.column(shape.kind.identity).name)

    @property
    def _key(self) -> sql.Composable:
        return sql.SQL("t.") + self._identity

    @property
    def _columns(self) -> Sequence[sql.Composable]:
        return [column.read for column in self.listing.shape.columns]

    @property
    def _wanted(self) -> Sequence[sql.Composable]:
        """What is read of the rows that are chosen: all, or only which ones they are."""
        return [self._key] if self.listing.narrow else self._columns


def _name(number: int) -> sql.Composable:
    return sql.Identifier(f"c{number}")


def _named(wanted: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL(", ").join(sql.SQL("{} AS {}").format(one, _name(number)) for number, one in enumerate(wanted))


def where_clause(conditions: Sequence[sql.Composable]) -> sql.Composable:
    """All of them, or nothing at all."""
    return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")
