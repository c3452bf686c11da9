"""Rows of one kind: which columns hold which fields, said once, and everything that follows from it.

Statements are composed of identifiers and literals of ours; every value travels as a parameter. Those that do not
depend on the request are composed once in the life of the process.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property
from operator import attrgetter
from typing import Any, Final, Generic, LiteralString, TypeVar

from attrs import evolve, frozen
from psycopg import errors, sql

from certctl_adapters.kinds import Kind, OnDelete, referrers
from certctl_adapters.postgres.codecs import Codec, as_json, codec_for, is_optional_time, is_several, same
from certctl_adapters.postgres.listing import Listing, where_clause
from certctl_adapters.postgres.transaction import Row, Transaction
from certctl_core.errors import CertctlError, NotFound, StaleWrite
from certctl_core.ports.store import Is, Page, Query, Table, Where

F = TypeVar("F")

_INSERT: Final[LiteralString] = "INSERT INTO {table} ({names}) VALUES ({values})"
_UPDATE: Final[LiteralString] = (
    "UPDATE {table} SET {changes}, revision = revision + 1 WHERE {key} = %(id)s AND revision = %(revision)s"
)
# Many rows travel as one JSON text, which the server reads by the table's own column types. One statement for each row,
# even pipelined, is twice the work for the server and five times the work for the client. The ids are there for the
# planner, which knows nothing about the JSON and would read a small table as a whole.
_INSERT_MANY: Final[LiteralString] = """
    INSERT INTO {table} ({names}) SELECT {names} FROM json_populate_recordset(NULL::{table}, %(rows)s::json)
"""
_UPDATE_MANY: Final[LiteralString] = """
    UPDATE {table} AS t SET {changes_to_new}, revision = t.revision + 1
    FROM json_populate_recordset(NULL::{table}, %(rows)s::json) AS new
    WHERE t.{key} = ANY(%(ids)s) AND t.{key} = new.{key} AND t.revision = new.revision
"""
_COMPARISONS: Final[Mapping[Is, sql.SQL]] = {
    Is.EQUAL: sql.SQL("{} = {}"),
    Is.BEFORE: sql.SQL("{} < {}"),
    Is.AFTER: sql.SQL("{} > {}"),
    Is.ONE_OF: sql.SQL("{} = ANY({})"),
    Is.CONTAINS: sql.SQL("{} ILIKE {}"),
    Is.OPEN_TO: sql.SQL("({0} IS NULL OR {0} = ANY({1}))"),
    Is.WITHIN: sql.SQL("{} = ANY({})"),
}
_COMPARISONS_OF_SEVERAL: Final[Mapping[Is, sql.SQL]] = {
    Is.OPEN_TO: sql.SQL("({0} = '{{}}' OR {0} && {1})"),
    Is.WITHIN: sql.SQL("({0} <> '{{}}' AND {0} <@ {1})"),
}
_WITH_VALUES: Final = (Is.ONE_OF, Is.OPEN_TO, Is.WITHIN)

OF_CERTIFICATE: Final[Mapping[str, LiteralString]] = {
    "team_id": "EXISTS (SELECT FROM managed_certificates AS c WHERE c.id = t.certificate_id AND c.team_id = ANY(%s))",
    "environment": (
        "EXISTS (SELECT FROM managed_certificates AS c WHERE c.id = t.certificate_id AND c.environment = ANY(%s))"
    ),
}
"""Filters on the certificate that a row belongs to."""


@frozen
class Column:
    """Where a field is kept. `expression` reads one that is no column of the table and is not written with the row."""

    field: str
    name: str
    codec: Codec
    is_optional_time: bool = False
    is_several: bool = False
    expression: LiteralString | None = None

    def dump(self, value: Any) -> Any:
        return None if value is None else self.codec.dump(value)

    @property
    def read(self) -> sql.Composable:
        return sql.SQL(self.expression) if self.expression else sql.SQL("t.") + sql.Identifier(self.name)

    @property
    def sorting(self) -> sql.Composable:
        """What rows are ordered by: nothing comes after every time, and an index can say so."""
        return sql.SQL("coalesce({}, timestamptz 'infinity')").format(self.read) if self.is_optional_time else self.read


@frozen(eq=False)
class Shape(Generic[F]):
    """A kind and its columns. Use `shape_of`."""

    kind: Kind[F]
    columns: tuple[Column, ...]

    @cached_property
    def written(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.expression is None)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.field == name)

    def load(self, row: Row) -> F:
        values = dict(zip(self._fields, row, strict=True))
        for name, load in self._loads:
            if (value := values[name]) is not None:
                values[name] = load(value)
        return self.kind.fact(**values)

    def dump(self, fact: F) -> dict[str, Any]:
        """Parameters by the names of the columns."""
        values = dict(zip(self._names, self._values(fact), strict=True))
        for name, dump in self._dumps:
            if (value := values[name]) is not None:
                values[name] = dump(value)
        return values

    # Most columns hold what the fact does. Every row of every statement comes through here, so what has to be done to
    # the others is worked out once.

    @cached_property
    def _fields(self) -> tuple[str, ...]:
        return tuple(column.field for column in self.columns)

    @cached_property
    def _loads(self) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
        return tuple((c.field, c.codec.load) for c in self.columns if c.codec.load is not same)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.written)

    @cached_property
    def _values(self) -> Callable[[F], tuple[Any, ...]]:
        return attrgetter(*(column.field for column in self.written))

    @cached_property
    def _dumps(self) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
        return tuple((c.name, c.codec.dump) for c in self.written if c.codec.dump is not same)

    @cache  # noqa: B019 - shapes are module constants, there are two dozen of them
    def statement(self, text: LiteralString) -> bytes:
        """`text` with {table}, {key}, {columns} (read from alias t), {names}, {values}, {changes} and {changes_to_new}
        (the columns of `new`) filled in."""
        names = [sql.Identifier(column.name) for column in self.written]
        values = [sql.Placeholder(column.name) for column in self.written]
        key = self.column(self.kind.identity).name
        changed = [
            (n, v) for c, n, v in zip(self.written, names, values, strict=True) if c.name not in (key, "revision")
        ]
        return (
            sql.SQL(text)
            .format(
                table=sql.Identifier(self.kind.table),
                key=sql.Identifier(key),
                columns=sql.SQL(", ").join(column.read for column in self.columns),
                names=sql.SQL(", ").join(names),
                values=sql.SQL(", ").join(values),
                changes=sql.SQL(", ").join(sql.SQL("{} = {}").format(*pair) for pair in changed),
                changes_to_new=sql.SQL(", ").join(sql.SQL("{} = new.{}").format(n, n) for n, _ in changed),
            )
            .as_bytes()
        )


def shape_of(kind: Kind[F], **expressions: LiteralString) -> Shape[F]:
    """The shape of a kind; `expressions` for fields that are read from elsewhere."""
    columns = (
        Column(
            name,
            kind.columns.get(name, name),
            codec_for(declared.type),
            is_optional_time(declared.type),
            is_several(declared.type),
            expressions.get(name),
        )
        for name, declared in kind.fields.items()
    )
    return Shape(kind, tuple(columns))


class PostgresTable(Table[F]):
    """The whole of `Table` for any kind whose facts have an `id` and a `revision`."""

    def __init__(self, transaction: Transaction, shape: Shape[F], listing: Listing[F] | None = None) -> None:
        """`listing` is for tables whose lists need more than their rows."""
        self._transaction = transaction
        self._shape = shape
        self._kind = shape.kind
        self._listing = listing or Listing(shape)

    def find(self, identity: str) -> F | None:
        return self.one("SELECT {columns} FROM {table} AS t WHERE t.{key} = %(id)s", id=identity)

    def get(self, identity: str) -> F:
        return self._known(self.find(identity), identity)

    def lock(self, identity: str) -> F:
        return self._known(self._lock(identity), identity)

    def many(self, identities: Iterable[str]) -> Mapping[str, F]:
        wanted = list(dict.fromkeys(identities))
        if len(wanted) < 2:
            return self._those_there(wanted, self.find)
        found = self.select("SELECT {columns} FROM {table} AS t WHERE t.{key} = ANY(%(ids)s)", ids=wanted)
        by_id = {self._kind.identify(fact): fact for fact in found}
        return {identity: by_id[identity] for identity in wanted if identity in by_id}

    def lock_many(self, identities: Iterable[str]) -> Mapping[str, F]:
        wanted = sorted(set(identities))
        if len(wanted) < 2:
            return self._those_there(wanted, self._lock)
        found = self.select(
            "SELECT {columns} FROM {table} AS t WHERE t.{key} = ANY(%(ids)s) ORDER BY t.{key} FOR UPDATE", ids=wanted
        )
        return {self._kind.identify(fact): fact for fact in found}

    def add(self, fact: F) -> None:
        statement = self._shape.statement(_INSERT)
        self._transaction.change(statement, self._shape.dump(fact), self._kind, fact)

    def add_many(self, facts: Sequence[F]) -> None:
        if len(facts) == 1:
            self.add(facts[0])
        elif facts:
            self._change_by(_INSERT_MANY, facts)

    def save_many(self, facts: Sequence[F]) -> Sequence[F]:
        if len(facts) < 2:
            return [self.save(fact) for fact in facts]
        if self._change_by(_UPDATE_MANY, facts) != len(facts):
            raise StaleWrite(
                f"one of {len(facts)} {self._kind.noun}s was changed by somebody else meanwhile",
                hint="Read them again and repeat the change.",
            )
        several: Sequence[Any] = facts
        return [evolve(fact, revision=fact.revision + 1) for fact in several]

    def save(self, fact: F) -> F:
        statement = self._shape.statement(_UPDATE)
        changed: Any = fact
        if not self._transaction.change(statement, self._shape.dump(fact), self._kind, fact):
            raise self._why_not_saved(self._kind.identify(fact))
        written: F = evolve(changed, revision=changed.revision + 1)
        return written

    def remove(self, identity: str) -> None:
        statement = self._shape.statement("DELETE FROM {table} WHERE {key} = %(id)s")
        try:
            with self._transaction.savepoint():
                touched = self._transaction.change(statement, {"id": identity})
        except CertctlError as error:
            if isinstance(error.__cause__, errors.ForeignKeyViolation):
                raise self._kind.in_use(identity, self._count_referrers(identity)) from error
            raise
        if not touched:
            raise NotFound.of(self._kind.noun, identity)

    def page(self, query: Query) -> Page[F]:
        self._kind.check(query)
        conditions, parameters = self._conditions(query.where)
        return self._listing.page(self._transaction, query, conditions, parameters)

    def count(self, *where: Where) -> int:
        query = Query(where, sort=next(iter(self._kind.sorts)))
        self._kind.check(query)
        return self._listing.total(self._transaction, query, *self._conditions(where))

    def _grouped(self, name: str, where: Sequence[Where] = ()) -> Mapping[Any, int]:
        """How many rows match, by the column of a field."""
        query = Query(tuple(where), sort=next(iter(self._kind.sorts)))
        self._kind.check(query)
        return self._listing.grouped(self._transaction, name, query, *self._conditions(where))

    def condition(self, wheres: Sequence[Where]) -> tuple[sql.Composable, Sequence[Any]]:
        """A WHERE clause on the table as t, empty when there are no conditions, and its parameters. Raises `Invalid`
        for a field that cannot be filtered by."""
        self._kind.check(Query(tuple(wheres), sort=next(iter(self._kind.sorts))))
        conditions, parameters = self._conditions(wheres)
        return where_clause(conditions), parameters

    def one(self, text: LiteralString, **parameters: Any) -> F | None:
        """The only row of a statement with {columns} and {table}, or None."""
        row = self._transaction.row(self._shape.statement(text), parameters)
        return None if row is None else self._shape.load(row)

    def select(self, text: LiteralString, **parameters: Any) -> Sequence[F]:
        """The rows of a statement with {columns} and {table}."""
        return [self._shape.load(row) for row in self._transaction.rows(self._shape.statement(text), parameters)]

    def _change_by(self, text: LiteralString, facts: Sequence[F]) -> int:
        """Run a statement that takes the facts as %(rows)s and their ids as %(ids)s; how many rows it touched."""
        rows = as_json([self._shape.dump(fact) for fact in facts])
        ids = [self._kind.identify(fact) for fact in facts]
        return self._transaction.change(self._shape.statement(text), {"rows": rows, "ids": ids}, self._kind)

    @staticmethod
    def _those_there(wanted: Sequence[str], find: Callable[[str], F | None]) -> Mapping[str, F]:
        """Those that are found. What is asked for by itself is found by a plan made once; a list of any length is
        planned anew each time, which takes longer than finding it."""
        facts = {identity: find(identity) for identity in wanted}
        return {identity: fact for identity, fact in facts.items() if fact is not None}

    def _lock(self, identity: str) -> F | None:
        return self.one("SELECT {columns} FROM {table} AS t WHERE t.{key} = %(id)s FOR UPDATE", id=identity)

    def _extra(self, name: str) -> LiteralString:
        """The condition of a filter that is no field. Each %s in it is the array of values, or the pattern."""
        raise AssertionError(f"{self._kind.noun}s have no filter {name}")

    def _conditions(self, wheres: Sequence[Where]) -> tuple[list[sql.Composable], list[Any]]:
        conditions: list[sql.Composable] = []
        parameters: list[Any] = []
        for where in wheres:
            if where.field in self._kind.extra_filters:
                condition = self._extra(where.field)
                conditions.append(sql.SQL(condition))
                value = [where.value] if where.how is Is.EQUAL else _parameter(where, same)
                parameters += [value] * condition.count("%s")
                continue
            column = self._shape.column(where.field)
            if where.value is None:
                conditions.append(sql.SQL("{} IS NULL" if where.how is Is.EQUAL else "false").format(column.read))
                continue
            comparison = (_COMPARISONS_OF_SEVERAL if column.is_several else _COMPARISONS)[where.how]
            if column.is_optional_time and where.field in self._listing.narrow:
                # As the index has it, in which what has no time stands at the end.
                conditions.append(comparison.format(column.sorting, sql.SQL("%s")))
                if where.how is Is.AFTER:
                    conditions.append(sql.SQL("{} < timestamptz 'infinity'").format(column.sorting))
            else:
                conditions.append(comparison.format(column.read, sql.SQL("%s")))
            parameters.append(_parameter(where, same if column.is_several else column.dump))
        return conditions, parameters

    def _count_referrers(self, identity: str) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for kind, reference in referrers(self._kind.table):
            if reference.on_delete is OnDelete.RESTRICT:
                column = sql.Identifier(kind.columns.get(reference.field, reference.field))
                condition = sql.SQL("%s = ANY({})" if reference.field.endswith("_ids") else "{} = %s").format(column)
                if reference.until is not None:
                    condition += sql.SQL(" AND {} IS NULL").format(sql.Identifier(reference.until))
                row = self._transaction.row(
                    sql.SQL("SELECT count(*) FROM {} WHERE {}").format(sql.Identifier(kind.table), condition),
                    [identity],
                )
                if row and row[0]:
                    counts[kind.noun] = counts.get(kind.noun, 0) + int(row[0])
        return counts

    def _known(self, found: F | None, identity: str) -> F:
        if found is None:
            raise NotFound.of(self._kind.noun, identity)
        return found

    def _why_not_saved(self, identity: str) -> CertctlError:
        if self.find(identity) is None:
            return NotFound.of(self._kind.noun, identity)
        return StaleWrite(
            f"{self._kind.noun} {identity!r} was changed by somebody else meanwhile",
            hint="Read it again and repeat the change.",
        )


def _parameter(where: Where, dump: Callable[[Any], Any]) -> Any:
    if where.how in _WITH_VALUES:
        return [dump(value) for value in where.value]
    return _pattern(str(where.value)) if where.how is Is.CONTAINS else dump(where.value)


def _pattern(text: str) -> str:
    """What LIKE takes for "contains exactly this text"."""
    for special in ("\\", "%", "_"):
        text = text.replace(special, "\\" + special)
    return f"%{text}%"
