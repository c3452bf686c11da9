"""The wire format: strict reading, and writing."""

import base64
import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, ClassVar

import pytest
from attrs import Factory, frozen
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid
from certctl_core.ports.store import Place
from certctl_web.media.agents import RegisterAgent
from certctl_web.media.bounds import Identity, Name, Range
from certctl_web.media.catalog import CreateTeam
from certctl_web.media.certificates import CertificateList
from certctl_web.media.paging import PagedResponse, Paging, read_cursor, write_cursor
from certctl_web.media.reading import Accepts, read_body, read_query, read_time
from certctl_web.media.writing import write_json, write_time

any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@frozen(kw_only=True)
class Inner:
    size: int = 0


@frozen(kw_only=True)
class Asked(Accepts):
    name: Name
    id: Identity | None = None
    sans: tuple[str, ...] = ()
    rules: tuple[Inner, ...] = ()
    tags: Mapping[str, str] = Factory(dict)
    colour: Colour = Colour.RED
    at: datetime | None = None
    amount: Annotated[int, Range(1, 9)] | None = None
    enabled: bool = True
    config: Mapping[str, Any] = Factory(dict)

    ignored: ClassVar = frozenset({"created_at"})
    blank: ClassVar = frozenset({"colour"})


def read(**fields: Any) -> Asked:
    return read_body(Asked, json.dumps(fields).encode())


def problems(**fields: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        read(**fields)
    return {problem.field: problem.message for problem in caught.value.fields}


def test_every_problem_is_named_at_once_with_its_path() -> None:
    assert problems(
        id="-no-",
        sans=["a", 5],
        rules=[{"size": 1}, {"size": "x", "weight": 1}],
        tags={"a": 1},
        colour="green",
        at="yesterday",
        amount=10,
        enabled="yes",
        extra=1,
    ) == {
        "name": "is required",
        "id": "must be 1 to 128 letters, digits, dots, dashes or underscores",
        "sans[1]": "must be a text, not a number",
        "rules[1].size": "must be a whole number, not a text",
        "rules[1].weight": "unknown field",
        "tags.a": "must be a text, not a number",
        "colour": "must be one of red, blue",
        "at": "must be a time such as 2031-01-02T03:04:05Z (RFC 3339, with an offset)",
        "amount": "must be between 1 and 9",
        "enabled": "must be true or false, not a text",
        "extra": "unknown field",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sans", "a,b"),
        ("sans", {"a": 1}),
        ("rules", [5]),
        ("tags", ["a"]),
        ("tags", "x"),
        ("amount", True),
        ("amount", 1.0),
        ("amount", "1"),
        ("enabled", 1),
        ("colour", 1),
        ("config", []),
        ("name", ""),
        ("name", "x" * 256),
        ("name", 1),
    ],
)
def test_a_wrong_type_is_not_bent_into_shape(field: str, value: Any) -> None:
    assert [name for name in problems(**{"name": "x", field: value}) if name.startswith(field)]


def test_null_and_what_is_blank_or_ignored_count_as_absent() -> None:
    assert read(name="x", sans=None, colour="", at=None, created_at="whatever") == Asked(name="x")


def test_a_near_miss_is_pointed_out() -> None:
    assert problems(name="x", colur="red") == {"colur": "unknown field; did you mean colour?"}


def test_nested_configuration_is_passed_through_as_it_is() -> None:
    config = {"a": {"b": [1, None, {"c": "d"}]}}
    assert read(name="x", config=config).config == config


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"name": }', "line 1, column 10"),
        (b'{\n "name": "x",\n oops}', "line 3, column 2"),
        (b"[]", "must be a JSON object, not a list"),
        (b"null", "must be a JSON object, not null"),
        (b"\xff", "not JSON"),
        (b'{"name": "a\\u0000b"}', "NUL"),
        (b'{"name": "\\ud800"}', "not JSON"),
        (b"", "name: is required"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_body_says_where(body: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        read_body(Asked, body)


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert read_body(Asked, b'{"name": "a\\\\u0000"}').name == "a\\u0000"


@given(any_json)
def test_whatever_is_sent_is_read_or_refused(value: Any) -> None:
    with contextlib.suppress(Invalid):
        assert isinstance(read_body(Asked, json.dumps(value).encode()), Asked)


@given(st.text())
def test_whatever_is_asked_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(Invalid):
        assert read_query(CertificateList, text).wish().limit <= 500


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_times_are_written_as_they_are_read(at: datetime) -> None:
    assert read_time(write_time(at)) == at
    assert write_time(at).endswith("Z")


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("2031-01-02T03:04:05Z", datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2031-01-02T03:04:05.123456789Z", datetime(2031, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2031-01-02T03:04:05+02:30", datetime(2031, 1, 2, 0, 34, 5, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_rfc_3339_times_are_read(text: str, read_as: datetime) -> None:
    assert read_time(text) == read_as


@pytest.mark.parametrize(
    "text",
    [
        "2031-01-02",
        "2031-01-02T03:04:05",
        "2031-01-02 03:04:05Z",
        "2031-01-02t03:04:05z",
        "2031-02-30T00:00:00Z",
        "2031-01-02T25:00:00Z",
        "2031-01-02T03:04:60Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "٢٠٣١-01-02T03:04:05Z",
        1_924_992_000,
    ],
)
def test_anything_else_is_no_time(text: Any) -> None:
    with pytest.raises(ValueError, match="time"):
        read_time(text)


def test_paging_falls_back_rather_than_fails() -> None:
    for text, page in {"": (1, 50), "page=0&per_page=501": (1, 50), "page=x&per_page=-1": (1, 50)}.items():
        asked = read_query(Paging, text)
        assert (asked.page, asked.per_page) == page
    assert read_query(Paging, "page=3&per_page=500") == Paging(page=3, per_page=500)
    assert read_query(Paging, "page=2&page=9").page == 2


def test_query_values_are_read_as_what_they_are() -> None:
    asked = read_query(
        CertificateList, "status=Active&sort_desc=1&fields=id,%20name,&expires_before=2031-01-01T00:00:00Z"
    )
    assert asked.status is not None
    assert asked.sort_desc is True
    assert asked.fields == ("id", "name")
    assert asked.expires_before == datetime(2031, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("value", [datetime(2031, 1, 2, 3, 4, 5, 678, tzinfo=UTC), "zürich: [1]", "", 7, None])
@pytest.mark.parametrize("descending", [False, True])
def test_a_cursor_stands_behind_its_row(value: object, descending: bool) -> None:
    text = write_cursor(Place("name", descending, value, "mc-1"))
    assert read_cursor(text, "name", descending=descending) == (value, "mc-1")
    for other in (("created_at", descending), ("name", not descending)):
        with pytest.raises(Invalid, match="another order"):
            read_cursor(text, other[0], descending=other[1])


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "bm90aGluZw==",
        "ÿ",
        "MjAzMS0wMS0wMjptYy0x",
        encoded(None),
        encoded({"name": 1}),
        encoded(["name", False, "x"]),
        encoded(["name", False, "x", 1]),
        encoded(["name", False, {"a": 1}, "mc-1"]),
        encoded(["name", False, ["no time"], "mc-1"]),
        encoded(["name", False, ["2031-01-01T00:00:00Z", "x"], "mc-1"]),
        encoded(["name", False, 1.5, "mc-1"]),
    ],
)
def test_what_is_no_cursor_is_named(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_cursor(text, "name", descending=False)
    assert [problem.field for problem in caught.value.fields] == ["cursor"]


def test_what_is_none_is_left_out_and_lists_are_never_null() -> None:
    written = json.loads(write_json(PagedResponse(data=(), total=0, page=1, per_page=50)))
    assert written == {"data": [], "total": 0, "page": 1, "per_page": 50}


@pytest.mark.parametrize("name", ["web\x1b[2J", "web\r\nServer: x", "\x00", "web\x9b31m", "web\x7f"])
def test_names_hold_no_control_characters(name: str) -> None:
    for kind in (RegisterAgent, CreateTeam):
        with pytest.raises(Invalid, match=r"name: must be without|NUL"):
            read_body(kind, json.dumps({"name": name, "hostname": "h"}).encode())
