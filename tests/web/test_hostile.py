"""Whatever a caller sends, the answer says what is wrong with it: none is the server's own failure."""

import re
import urllib.parse
from collections.abc import Iterator
from typing import Any, Final

import attrs
import pytest

from certctl_core.models.access import Role
from certctl_core.ports.store import Query, Where
from certctl_web.operations import TABLE
from tests.web.api import EVERY_STORE, Api
from tests.web.test_table import BODIES

pytestmark = EVERY_STORE

LONG: Final = "x" * 20_000
VALUES: Final[tuple[Any, ...]] = (
    "",
    " ",
    LONG,
    "'; DROP TABLE teams; --",
    "%s %(name)s {0} \\",
    "\u202e\U0001f980\u0001",
    "9999-12-31T23:59:59Z",
    -1,
    2**31,
    2**63,
    2**200,
    1e308,
    True,
    [],
    [LONG],
    [[]],
    {},
    {"a": LONG},
    {LONG: {}},
)
TEXTS: Final = ("\x00", LONG[:5000], "\x01", "0", "-1", "9" * 30, "0001-01-01T00:00:00Z", "a,b", "%", "\ud7ff")


def bodies(kind: type[Any], whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for field in attrs.fields(kind):
        for value in VALUES:
            yield {**whole, field.name: value}


def test_no_value_of_any_field_breaks_the_server(fleet: Api) -> None:
    fleet.certificate()
    for row in TABLE:
        if row.body is None:
            continue
        path = re.sub(r"{[^}]+}", "mc-site", row.path)
        for body in bodies(row.body, BODIES.get(row.name, {})):
            reply = fleet.call(row.method, path, body)
            assert reply.status < 500 or reply.status == 503, (row.name, body, reply.content)


def test_no_query_breaks_the_server(fleet: Api) -> None:
    fleet.certificate()
    for row in TABLE:
        if row.query is None:
            continue
        path = re.sub(r"{[^}]+}", "mc-site", row.path)
        for field in attrs.fields(row.query):
            for text in TEXTS:
                reply = fleet.call(row.method, f"{path}?{field.name}={urllib.parse.quote(text)}")
                assert reply.status < 500, (row.name, field.name, text, reply.content)


@pytest.mark.parametrize("query", ["%ff", "a=%00", "=&=&", "&".join(["page=1"] * 200), "page=1;per_page=2"])
def test_a_broken_query_is_refused_or_read(api: Api, query: str) -> None:
    assert api.get(f"/api/v1/teams?{query}").status in (200, 400)


def test_no_path_keeps_the_record_of_calls_from_being_written(api: Api) -> None:
    """Whoever holds any key at all could blind it otherwise."""
    for path in ("/api/v1/teams/%00", "/api/v1/teams/%ff%fe", "/api/v1/teams/%ED%A0%80", "/api/v1/teams"):
        api.get(path, by=Role.VIEWER)
    api.app.close()
    with api.ports.work() as work:
        calls = work.calls.page(Query((Where("resource_type", "api"),), sort="timestamp", limit=10)).items
    paths = [call.details["path"] for call in calls]
    assert paths[0] == "/api/v1/teams/%00"
    assert paths[-1] == "/api/v1/teams"
    assert len(paths) == 4
