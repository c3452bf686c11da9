"""Pages: by number for people, by cursor for programs that read everything."""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from attrs import frozen

from certctl_core.errors import Invalid
from certctl_core.ports.store import Page, Query, Where
from certctl_web.media.bounds import Fallback
from certctl_web.media.reading import read_time
from certctl_web.media.writing import write_time

F = TypeVar("F")
W = TypeVar("W")

PageNumber = Annotated[int, Fallback(1, 1, 1_000_000)]
PerPage = Annotated[int, Fallback(50, 1, 500)]


@frozen(kw_only=True)
class Paging:
    """Which page of a list."""

    page: PageNumber = 1
    per_page: PerPage = 50

    def ask(self, *where: Where, sort: str = "created_at", descending: bool = False) -> Query:
        return Query(
            where, sort=sort, descending=descending, limit=self.per_page, offset=(self.page - 1) * self.per_page
        )


@frozen(kw_only=True)
class PagedResponse(Generic[W]):
    """One page of a list. `next_cursor` continues the list from here, where a list has cursors."""

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
        data=tuple(of(item) for item in found.items), total=found.total, page=asked.page, per_page=asked.per_page
    )


def cursor_after(at: datetime, identity: str) -> str:
    """The cursor that stands behind a row: base64url of `<created_at>:<id>`."""
    return base64.urlsafe_b64encode(f"{write_time(at)}:{identity}".encode()).decode()


def read_cursor(text: str) -> tuple[Any, str]:
    """(created_at, id) of the row a cursor stands behind. Raises `Invalid`."""
    try:
        at, _, identity = base64.b64decode(text, altchars=b"-_", validate=True).decode().rpartition(":")
        return read_time(at), identity
    except (binascii.Error, ValueError):
        raise Invalid.field("cursor", "is not a cursor", hint="Use next_cursor of the page before.") from None
