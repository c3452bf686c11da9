"""Pages: by number for people, by cursor for programs that read everything."""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final, Generic, TypeVar

import orjson
from attrs import frozen

from certctl_core.errors import Invalid
from certctl_core.ports.store import Page, Place, Query, Where
from certctl_web.media.bounds import Fallback
from certctl_web.media.reading import read_time
from certctl_web.media.writing import write_time

F = TypeVar("F")
T = TypeVar("T")
W = TypeVar("W")

PageNumber = Annotated[int, Fallback(1, 1, 1_000_000)]
_PLACES: Final = (datetime, str, int, type(None))
PerPage = Annotated[int, Fallback(50, 1, 500)]


@frozen(kw_only=True)
class Paging:
    """Which page of a list: by number or, from `next_cursor` of the page before on, by `cursor`, which neither skips
    nor repeats a row while others are added, and costs the same wherever it stands. It belongs to the list's order."""

    page: PageNumber = 1
    per_page: PerPage = 50
    cursor: str | None = None

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.per_page if self.cursor is None else 0

    def after(self, sort: str, kind: type[T], *, descending: bool = False) -> tuple[T, str] | None:
        """Behind which row the page begins, by sort value and id. Raises `Invalid` for what is no cursor of this
        order."""
        if self.cursor is None:
            return None
        value, identity = read_cursor(self.cursor, sort, descending=descending)
        if type(value) is not kind:
            raise Invalid.field("cursor", "is not a cursor", hint="Use next_cursor of the page before.")
        return value, identity

    def ask(self, *where: Where, sort: str = "created_at", descending: bool = False) -> Query:
        """Raises `Invalid` for what is no cursor of this order."""
        return Query(
            where,
            sort=sort,
            descending=descending,
            limit=self.per_page,
            offset=self.offset,
            after=None if self.cursor is None else read_cursor(self.cursor, sort, descending=descending),
        )


@frozen(kw_only=True)
class PagedResponse(Generic[W]):
    """One page of a list. `next_cursor` continues the list from here; the last page has none."""

    data: tuple[W, ...]
    total: int
    page: int
    per_page: int
    next_cursor: str | None = None


@frozen(kw_only=True)
class CursorPagedResponse(Generic[W]):
    """One page of a list that is read by cursor. The last page has no `next_cursor`."""

    data: tuple[W, ...]
    total: int
    next_cursor: str | None = None
    page_size: int


def paged(asked: Paging, found: Page[F], of: Callable[[F], W]) -> PagedResponse[W]:
    return PagedResponse(
        data=tuple(of(item) for item in found.items),
        total=found.total,
        page=asked.page,
        per_page=asked.per_page,
        next_cursor=write_cursor(found.next) if found.next else None,
    )


def write_cursor(place: Place) -> str:
    """The text of a place in a list: base64url of the order and of where in it."""
    is_time = isinstance(place.value, datetime)
    value = [write_time(place.value)] if is_time else place.value
    return base64.urlsafe_b64encode(orjson.dumps([place.sort, place.descending, value, place.id])).decode()


def read_cursor(text: str, sort: str, *, descending: bool) -> tuple[Any, str]:
    """(sort value, id) of the row that a cursor stands behind. Raises `Invalid`."""
    try:
        order, is_descending, value, identity = orjson.loads(base64.b64decode(text, altchars=b"-_", validate=True))
        if isinstance(value, list):
            (value,) = map(read_time, value)
        if type(identity) is not str or type(order) is not str or type(value) not in _PLACES:
            raise ValueError("is not a cursor")
    except (binascii.Error, ValueError, TypeError):
        raise Invalid.field("cursor", "is not a cursor", hint="Use next_cursor of the page before.") from None
    if (order, is_descending) != (sort, descending):
        raise Invalid.field(
            "cursor", "belongs to a list in another order", hint="Ask for the same order as the page it came with."
        )
    return value, identity
