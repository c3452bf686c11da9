"""Requests for what has changed, and for a part (RFC 9110 sections 13 and 14)."""

import re
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def is_known(if_none_match: str, if_modified_since: str, tag: str, changed_at: datetime) -> bool:
    """Whether the client has it. A date counts for nothing beside an entity tag (section 13.2.2); tags are compared
    weakly (section 13.1.2)."""
    if if_none_match:
        known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
        return bool(known & {tag, "*"})
    since = _date(if_modified_since) if if_modified_since else None
    return since is not None and changed_at < since + timedelta(seconds=1)


def part(asked: str, size: int) -> tuple[int, int] | None:
    """The first octet and the one behind the last; none of them where there is no such part. None for the whole, which
    is also the answer to what is not understood (section 14.2)."""
    found = _RANGE.fullmatch(asked.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(size - int(found[2]), 0), size
    if found[2] and int(found[2]) < int(found[1]):
        return None
    return int(found[1]), min(int(found[2] or size) + 1, size)


def _date(text: str) -> datetime | None:
    """None for what is no date, or one without a zone."""
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo is not None and date.year < 9999 else None
