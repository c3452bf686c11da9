"""Lists that are paged by key: filters and places in a list as they stand in an address.

A place is the (sort value, id) of a row at the edge of the page, so that the thousandth page costs as much as the first
and rows that come or go meanwhile neither repeat nor skip others.
"""

import base64
import json
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from attrs import evolve, frozen

from certctl_core.errors import Invalid
from certctl_core.ports.store import Page, Query

F = TypeVar("F")

PER_PAGE: Final = 30


@frozen
class Listing(Generic[F]):
    """One page of a list. `previous` and `following` are addresses, empty where there is nothing more."""

    items: tuple[F, ...]
    total: int
    previous: str = ""
    following: str = ""


def turn(
    read: Callable[[Query], Page[F]],
    query: Query,
    asked: Mapping[str, str],
    address: str,
    place: Callable[[F], tuple[str | datetime, str]],
    *,
    by_time: bool,
) -> Listing[F]:
    """The page of `query` at the place that `asked` names: `after` a row, or `before` one. `by_time` says whether the
    list is sorted by a time rather than by a text. Raises `Invalid`."""
    kept = {name: value for name, value in asked.items() if value and name not in ("after", "before")}
    back = asked.get("before", "")
    forth = asked.get("after", "")
    query = evolve(query, limit=PER_PAGE, after=_unpack(back or forth, by_time) if back or forth else None)
    found = read(evolve(query, descending=not query.descending) if back else query)
    items = found.items[::-1] if back else found.items

    def link(**where: str) -> str:
        return f"{address}?{urllib.parse.urlencode(kept | where)}"

    comes_before = found.more if back else bool(forth)
    comes_after = True if back else found.more
    return Listing(
        items,
        found.total,
        previous=link(before=_pack(place(items[0]))) if items and comes_before else "",
        following=link(after=_pack(place(items[-1]))) if items and comes_after else "",
    )


def _pack(place: tuple[str | datetime, str]) -> str:
    value, identity = place
    plain = value.isoformat() if isinstance(value, datetime) else value
    return base64.urlsafe_b64encode(json.dumps([plain, identity]).encode()).decode().rstrip("=")


def _unpack(packed: str, by_time: bool) -> tuple[str | datetime, str]:
    try:
        value, identity = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
        place = datetime.fromisoformat(value).astimezone(UTC) if by_time else str(value)
    except (ValueError, TypeError, OverflowError):
        raise Invalid.field("after", "is not a place in this list", hint="Go back to the first page.") from None
    return place, str(identity)
