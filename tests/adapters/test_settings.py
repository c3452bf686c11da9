"""Settings classes: what is read, refused, hidden and described."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl_adapters.settings import (
    FILE_MODE,
    MASK,
    MAX_TEXT,
    NANOSECONDS,
    OCTAL,
    SECONDS,
    absolute_path,
    between,
    fields_of,
    http_url,
    https_url,
    json_schema,
    matches,
    merge_secrets,
    port,
    read,
    redact,
    secret_fields,
    setting,
    settings,
    write,
)
from certctl_core.errors import FieldProblem, Invalid


class Store(Enum):
    MACHINE = "LocalMachine"
    USER = "CurrentUser"


@settings
class Remote:
    """A remote shell."""

    host: str = setting(help="Host name.")
    password: str = setting(help="Password.", secret=True, default="")


@settings
class Everything:
    """One of each."""

    url: str = setting(help="Where.", check=https_url)
    token: str = setting(help="Who.", secret=True)
    count: int = setting(help="How many.", default=3, check=between(1, 10))
    ratio: float = setting(help="How much.", default=0.5)
    loud: bool = setting(help="Whether.", default=False)
    mode: Literal["api", "file"] = setting(help="How.", default="api")
    store: Store = setting(help="Which.", default=Store.MACHINE)
    names: tuple[str, ...] = setting(help="Names.", default=())
    labels: Mapping[str, str] = setting(help="Labels.", factory=dict)
    timeout: timedelta = setting(help="Patience.", default=timedelta(seconds=30), kind=SECONDS)
    pause: timedelta = setting(help="Pause.", default=timedelta(seconds=2), kind=NANOSECONDS)
    file_mode: int | None = setting(help="Mode.", default=None, kind=FILE_MODE)
    key_mode: int = setting(help="Mode of the key.", default=0o600, kind=OCTAL)
    path: str = setting(help="File.", default="", check=absolute_path)
    remote: Remote | None = setting(help="Remote.", default=None)

    def problems(self) -> Iterable[FieldProblem]:
        if self.mode == "file" and not self.path:
            yield FieldProblem("path", "is required in file mode")


LEAST: dict[str, Any] = {"url": "https://vault:8200", "token": "s.secret"}


def refused(given: Mapping[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        read(Everything, given)
    return {problem.field: problem.message for problem in caught.value.fields}


def test_defaults_fill_what_is_not_given() -> None:
    made = read(Everything, LEAST)
    assert (made.count, made.mode, made.store, made.timeout) == (3, "api", Store.MACHINE, timedelta(seconds=30))
    assert made.remote is None


def test_what_is_given_is_read_as_its_type() -> None:
    made = read(
        Everything,
        LEAST
        | {
            "store": "CurrentUser",
            "names": ["a", "b"],
            "labels": {"x": "y"},
            "timeout": 5,
            "pause": 1_500_000_000,
            "file_mode": "0640",
            "key_mode": 416,
            "ratio": 2,
            "remote": {"host": "h"},
        },
    )
    assert made.store is Store.USER
    assert made.names == ("a", "b")
    assert made.timeout == timedelta(seconds=5)
    assert made.pause == timedelta(seconds=1.5)
    assert (made.file_mode, made.key_mode) == (0o640, 0o640)
    assert made.ratio == 2.0
    assert made.remote == Remote(host="h")


def test_writing_and_reading_again_gives_the_same() -> None:
    made = read(Everything, LEAST | {"remote": {"host": "h", "password": "p"}, "file_mode": 0o644, "names": ["n"]})
    assert read(Everything, write(made)) == made
    assert write(made)["key_mode"] == "0600"


def test_every_problem_is_reported_at_once() -> None:
    problems = refused(
        {"url": "http://plain", "count": "3", "loud": 1, "remote": {"hots": "h"}, "extra": 1, "names": ["a", 1]}
    )
    assert set(problems) == {"url", "token", "count", "loud", "remote.hots", "remote.host", "extra", "names"}
    assert problems["token"] == "is required"
    assert problems["count"] == "must be an integer"
    assert "is not a setting" in problems["extra"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("count", True, "an integer"),
        ("count", 1.0, "an integer"),
        ("count", 11, "between 1 and 10"),
        ("ratio", "0.5", "a number"),
        ("loud", "true", "true or false"),
        ("url", 5, "a string"),
        ("token", "", "must not be empty"),
        ("token", None, "must not be null"),
        ("token", "x" * (MAX_TEXT + 1), "characters long"),
        ("token", "a\0b", "NUL"),
        ("mode", "smoke", "one of api, file"),
        ("store", "x", "LocalMachine"),
        ("timeout", 10**14, "a shorter time"),
        ("pause", 10**30, "a shorter time"),
        ("names", "a", "a list of strings"),
        ("labels", {"a": 1}, "values are strings"),
        ("timeout", -1, "seconds"),
        ("timeout", "30s", "seconds"),
        ("pause", 1.5, "nanoseconds"),
        ("file_mode", "0999", "file mode"),
        ("file_mode", 0o10000, "file mode"),
        ("path", "relative", "absolute path"),
        ("path", "/a/../b", "absolute path"),
        ("remote", [], "an object"),
        ("mode", "file", ""),
    ],
)
def test_a_wrong_value_is_refused_in_words(name: str, value: Any, words: str) -> None:
    problems = refused(LEAST | {name: value})
    assert words in next(iter(problems.values()))
    assert len(problems) == 1


def test_fields_that_do_not_fit_together_are_named() -> None:
    assert refused(LEAST | {"mode": "file"}) == {"path": "is required in file mode"}
    assert read(Everything, LEAST | {"mode": "file", "path": "/etc/x"}).path == "/etc/x"


def test_a_reader_older_than_the_writer_may_ignore_what_it_does_not_know() -> None:
    given = LEAST | {"later": 1, "remote": {"host": "h", "later": 2}}
    assert read(Everything, given, ignore_unknown=True).remote == Remote(host="h")


def test_constructing_with_a_wrong_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="between 1 and 10"):
        Everything(url="https://x", token="t", count=99)


def test_secrets_are_in_no_repr() -> None:
    made = read(Everything, LEAST | {"remote": {"host": "h", "password": "hunter2"}})
    assert "s.secret" not in repr(made)
    assert "hunter2" not in repr(made)


def test_secret_fields_are_found_in_nested_classes() -> None:
    assert secret_fields(Everything) == {"token", "remote.password"}


def test_redacting_masks_secrets_and_what_is_unknown() -> None:
    stored = LEAST | {"remote": {"host": "h", "password": "p"}, "old_token": "x", "count": 4}
    shown = redact(Everything, stored)
    assert shown == {
        "url": "https://vault:8200",
        "token": MASK,
        "remote": {"host": "h", "password": MASK},
        "old_token": MASK,
        "count": 4,
    }
    assert stored["token"] == "s.secret"


def test_an_unset_secret_is_shown_as_unset() -> None:
    assert redact(Remote, {"host": "h", "password": ""})["password"] == ""


def test_a_masked_secret_keeps_what_is_stored() -> None:
    stored = LEAST | {"remote": {"host": "h", "password": "p"}}
    changed = redact(Everything, stored) | {"count": 7}
    assert merge_secrets(Everything, stored, changed) == stored | {"count": 7}


def test_a_masked_secret_that_is_not_stored_counts_as_not_given() -> None:
    assert "token" in refused(merge_secrets(Everything, {}, LEAST | {"token": MASK}))


def test_a_new_secret_replaces_the_stored_one() -> None:
    assert merge_secrets(Everything, LEAST, LEAST | {"token": "new"})["token"] == "new"


def test_fields_are_described_in_order_with_nested_ones_by_path() -> None:
    described = {one.name: one for one in fields_of(Everything)}
    assert list(described)[:3] == ["url", "token", "count"]
    assert list(described)[-2:] == ["remote.host", "remote.password"]
    assert described["url"].required
    assert not described["count"].required
    assert described["timeout"].default == 30
    assert described["mode"].choices == ("api", "file")
    assert described["remote.password"].secret
    assert described["names"].type_name == "list of strings"


def test_the_schema_says_what_reading_checks() -> None:
    schema = json_schema(Everything)
    assert schema["required"] == ["url", "token"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["count"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 10,
        "description": "How many.",
        "default": 3,
    }
    assert schema["properties"]["token"]["writeOnly"] is True
    assert schema["properties"]["remote"]["anyOf"][0]["required"] == ["host"]


def test_a_field_of_an_unknown_type_is_a_mistake_of_the_programmer() -> None:
    @settings
    class Odd:
        when: timedelta = setting(help="No kind given.")

    with pytest.raises(TypeError, match="give it a kind"):
        read(Odd, {})


@pytest.mark.parametrize("value", ["http://", "ftp://x", "http://u:p@h/", "http://h:99999/", "x", "http://h:0"])
def test_what_is_no_url_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        http_url(value)


def test_checks_hold_at_their_edges() -> None:
    port(1)
    port(65535)
    with pytest.raises(ValueError, match="65535"):
        port(65536)
    name = matches(r"[a-z]+", "be lower case")
    name("abc")
    with pytest.raises(ValueError, match="must be lower case"):
        name("abc\n")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([one.key for one in fields_of(Everything)]) | st.text(), json_values))
def test_any_json_object_is_read_or_refused_with_its_fields_named(junk: dict[str, Any]) -> None:
    made = None
    fields: tuple[FieldProblem, ...] = ()
    try:
        made = read(Everything, junk)
    except Invalid as problem:
        fields = problem.fields
    assert fields or (made is not None and read(Everything, write(made)) == made)
