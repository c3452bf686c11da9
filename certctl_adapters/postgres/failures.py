"""What PostgreSQL says, in the words of our errors.

A key that is taken is `Duplicate` and a reference to nothing `Invalid`, both naming the field; two transactions in each
other's way are `Conflict`; a database that is gone, or too slow, is `UpstreamUnavailable`. What is left is a bug of
ours and stays what it is.
"""

import re
from typing import Any, Final

from psycopg import Error, errors

from certctl_adapters.kinds import Kind
from certctl_core.errors import CertctlError, Conflict, Duplicate, Invalid, UpstreamUnavailable

_IN_THE_WAY: Final = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
)
_GONE: Final = (
    errors.OperationalError,
    errors.InterfaceError,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
    errors.ReadOnlySqlTransaction,  # a standby: the primary has moved
)
_MISSING: Final = re.compile(r"\)=\((.*)\) is not present")


def translated(error: Error, kind: Kind[Any] | None = None, fact: Any = None) -> CertctlError | None:
    """Our error for the driver's, or None for what is no fault of the world. `fact` is what was to be written."""
    match error:
        case errors.UniqueViolation():
            return _duplicate(error, kind, fact)
        case errors.ForeignKeyViolation():
            return _dangling(error, kind, fact)
        case errors.CheckViolation() | errors.NotNullViolation():
            return _refused(error, kind)
        case errors.DataError():
            return Invalid(f"the database cannot hold this value: {_first_line(error)}")
        case _ if isinstance(error, _IN_THE_WAY):
            return Conflict("somebody else is changing the same thing", hint="Try again.")
        case errors.QueryCanceled():
            return UpstreamUnavailable("the database took too long", hint="Try again, or ask for less at once.")
        case _ if isinstance(error, _GONE):
            return UpstreamUnavailable(
                f"the database is not available: {_first_line(error)}", hint="It is tried again with every request."
            )
    return None


def _duplicate(error: Error, kind: Kind[Any] | None, fact: Any) -> Duplicate:
    constraint = error.diag.constraint_name
    if kind is None or fact is None:
        return Duplicate(f"{constraint} does not allow this twice")
    for unique in kind.uniques:
        if unique.constraint == constraint:
            return kind.taken(unique, fact)
    return kind.taken_identity(fact)


def _dangling(error: Error, kind: Kind[Any] | None, fact: Any) -> Invalid:
    constraint = error.diag.constraint_name or ""
    if kind is None or fact is None:
        return Invalid(f"this refers to something that does not exist ({constraint})")
    for reference in kind.references:
        if constraint == f"{kind.table}_{kind.columns.get(reference.field, reference.field)}_fkey":
            return kind.dangling(reference.field, getattr(fact, reference.field))
    # A field with several ids is followed by rows of a table of their own, whose constraint it was.
    several = next(
        reference.field
        for reference in kind.references
        if reference.field.endswith("_ids") and constraint.endswith(f"_{reference.field.removesuffix('s')}_fkey")
    )
    missing = _MISSING.search(error.diag.message_detail or "")
    return kind.dangling(several, missing.group(1) if missing else getattr(fact, several))


def _refused(error: Error, kind: Kind[Any] | None) -> Invalid:
    column = error.diag.column_name or (error.diag.constraint_name or "").removesuffix("_check")
    if kind is not None:
        column = column.removeprefix(f"{kind.table}_")
        column = next((name for name, other in kind.columns.items() if other == column), column)
    return Invalid.field(column, "the database does not allow this value")


def _first_line(error: Error) -> str:
    text = error.diag.message_primary or str(error)
    return text.strip().partition("\n")[0] or type(error).__name__
