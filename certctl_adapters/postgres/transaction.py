"""One connection for as long as one transaction lasts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import Connection, Error, sql

from certctl_adapters.kinds import Kind
from certctl_adapters.postgres.failures import translated

Row = tuple[Any, ...]
Parameters = Mapping[str, Any] | Sequence[Any]
Statement = bytes | sql.Composed


@contextmanager
def our_errors(kind: Kind[Any] | None = None, fact: Any = None) -> Iterator[None]:
    """The driver's errors leave this block as ours, the original as their cause."""
    try:
        yield
    except Error as error:
        if (ours := translated(error, kind, fact)) is not None:
            raise ours from error
        raise


class Transaction:
    """What repositories run their statements on. `kind` and `fact` of a write are for naming what was refused."""

    def __init__(self, connection: Connection[Row]) -> None:
        self._connection: Connection[Row] | None = connection

    def close(self) -> None:
        """From now on every statement raises: the connection may be somebody else's already."""
        self._connection = None

    def rows(
        self,
        statement: Statement,
        parameters: Parameters = (),
        kind: Kind[Any] | None = None,
        fact: Any = None,
        *,
        prepare: bool | None = None,
    ) -> list[Row]:
        """`prepare=False` has the statement planned for these parameters each time."""
        with our_errors(kind, fact):
            return self._open().execute(statement, parameters, prepare=prepare).fetchall()

    def row(
        self,
        statement: Statement,
        parameters: Parameters = (),
        kind: Kind[Any] | None = None,
        *,
        prepare: bool | None = None,
    ) -> Row | None:
        with our_errors(kind):
            return self._open().execute(statement, parameters, prepare=prepare).fetchone()

    def counts(self, statement: Statement, parameters: Parameters = ()) -> Mapping[Any, int]:
        """The answer of a statement that counts by something: what, how many."""
        return {what: int(count) for what, count in self.rows(statement, parameters)}

    def change(
        self, statement: Statement, parameters: Parameters = (), kind: Kind[Any] | None = None, fact: Any = None
    ) -> int:
        """Run a statement that returns nothing; how many rows it touched."""
        with our_errors(kind, fact):
            return self._open().execute(statement, parameters).rowcount

    def change_many(self, statement: Statement, parameters: Sequence[Parameters], kind: Kind[Any]) -> int:
        """The same statement for each of the parameters, sent together; how many rows they touched in all."""
        with our_errors(kind), self._open().cursor() as cursor:
            cursor.executemany(statement, parameters)
            return cursor.rowcount

    def rows_of_many(self, statement: Statement, parameters: Sequence[Parameters], kind: Kind[Any]) -> list[Row]:
        """As `change_many`, for a statement that returns rows: all of them, in order."""
        found: list[Row] = []
        with our_errors(kind), self._open().cursor() as cursor:
            cursor.executemany(statement, parameters, returning=True)
            while True:
                found += cursor.fetchall()
                if not cursor.nextset():
                    return found

    def binary_row(self, statement: Statement, parameters: Parameters) -> Row:
        """The only row of a statement, sent as it is rather than as text: for octets, which text would double."""
        with our_errors(), self._open().cursor(binary=True) as cursor:
            row = cursor.execute(statement, parameters).fetchone()
        if row is None:
            raise AssertionError("the statement gave no row")
        return row

    def stream(
        self, name: str, statement: Statement, parameters: Parameters, batch: int = 2000, *, binary: bool = False
    ) -> Iterator[Row]:
        """Rows fetched by a cursor of the server, `batch` at a time, so that a long answer is never held whole.
        `binary` as in `binary_row`."""
        with our_errors(), self._open().cursor(name, binary=binary) as cursor:
            cursor.itersize = batch
            yield from cursor.execute(statement, parameters)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """An error in the block undoes the block only."""
        with our_errors(), self._open().transaction():
            yield

    def _open(self) -> Connection[Row]:
        if self._connection is None:
            raise AssertionError("this work is over; open another one")
        return self._connection
