"""The audit trail over HTTP: narrowed, paged, and exported so that it can be verified or opened in a spreadsheet."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest

from certctl_core.models.access import SYSTEM, Actor, Principal, Role
from certctl_core.policy import evidence
from certctl_core.usecases import audit, sealing
from tests.web.api import EVERY_STORE, Api, Reply

pytestmark = EVERY_STORE
AUDIT = "/api/v1/audit"


def happen(api: Api, resource_id: str, actor: Actor = SYSTEM, action: str = "it_happened", **details: Any) -> None:
    with api.ports.work() as work:
        audit.record(work, actor, api.clock.now(), action, "thing", resource_id, **details)


@pytest.fixture
def busy(api: Api) -> Api:
    """Six events, a second apart, four of them sealed."""
    for number in range(6):
        if number == 4:
            sealing.seal(api.ports)
        actor = Principal("olga", Role.OPERATOR) if number % 2 else SYSTEM
        happen(api, f"thing-{number}", actor, "it_happened" if number < 3 else "it_happened_again")
        api.clock.advance(timedelta(seconds=1))
    return api


def found(api: Api, query: str) -> list[str]:
    reply = api.get(f"{AUDIT}?{query}", by=Role.AUDITOR)
    assert reply.status == 200, reply.content
    assert reply.json["total"] == len(reply.json["data"])
    return [event["resource_id"].removeprefix("thing-") for event in reply.json["data"]]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("actor=olga", "531"),
        ("actor_type=System", "420"),
        ("actor_type=Agent", ""),
        ("action=it_happened_again", "543"),
        ("resource_type=thing&actor=olga&action=it_happened", "1"),
        ("resource_id=thing-3", "3"),
        ("since=2031-03-04T05:06:09Z", "5432"),
        ("until=2031-03-04T05:06:09Z", "10"),
        ("since=2031-03-04T06:06:08%2B01:00&until=2031-03-04T05:06:10.000001Z", "321"),
        ("since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z", "543210"),
        ("actor=&since=", "543210"),
    ],
)
def test_the_trail_is_narrowed_by_everything_it_tells(busy: Api, query: str, numbers: str) -> None:
    assert "".join(found(busy, query)) == numbers
    lines = busy.get(f"{AUDIT}/export?{query}", by=Role.AUDITOR).content.decode().splitlines()
    exported = [json.loads(line)["event"]["resource_id"][-1] for line in lines if '"event":{' in line]
    assert "".join(exported) == numbers[::-1]
    assert evidence.verify(lines).flaw is None


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("value", ["yesterday", "2031-03-04", "2031-03-04T05:06:07", "2031-02-30T00:00:00Z", "1"])
@pytest.mark.parametrize("path", [AUDIT, f"{AUDIT}/export"])
def test_a_bad_time_is_named(api: Api, name: str, value: str, path: str) -> None:
    reply = api.get(f"{path}?{name}={value}")
    assert (reply.status, reply.fields) == (400, [name])


@pytest.mark.parametrize(("query", "field"), [("actor_type=Robot", "actor_type"), ("cursor=x", "cursor")])
def test_other_bad_values_are_named(api: Api, query: str, field: str) -> None:
    reply = api.get(f"{AUDIT}?{query}")
    assert (reply.status, reply.fields) == (400, [field])


def test_the_trail_is_read_by_cursor_to_its_end(busy: Api) -> None:
    seen, query = [], f"{AUDIT}?per_page=2&resource_type=thing"
    page = busy.get(query).json
    while True:
        assert page["total"] == 6
        seen += [event["resource_id"][-1] for event in page["data"]]
        happen(busy, "later")
        if "next_cursor" not in page:
            break
        page = busy.get(f"{query}&cursor={page['next_cursor']}").json | {"total": 6}
    assert "".join(seen) == "543210"


# --- exports ---------------------------------------------------------------------------------------------------------


def test_a_whole_export_can_be_verified(busy: Api) -> None:
    reply = busy.get(f"{AUDIT}/export", by=Role.AUDITOR)
    assert reply.headers["content-type"] == "application/jsonl"
    assert reply.headers["content-disposition"] == 'attachment; filename="certctl-audit-20310304T050613Z.jsonl"'
    verdict = evidence.verify(reply.content.decode().splitlines(), sealing.ensure_signer(busy.ports)[0])
    assert (verdict.flaw, verdict.sealed, verdict.unsealed, verdict.is_pinned) == (None, 4, 2, True)


def test_an_export_says_what_was_left_out(busy: Api) -> None:
    query = "actor_type=System&since=2031-03-04T06:06:07%2B01:00"
    head = json.loads(busy.get(f"{AUDIT}/export?{query}").content.partition(b"\n")[0])
    assert head["filters"] == {"actor_type": "System", "since": "2031-03-04T05:06:07Z"}


def rows(reply: Reply) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(reply.content.decode())))


def test_an_export_for_spreadsheets_has_a_row_for_each_event(busy: Api) -> None:
    reply = busy.get(f"{AUDIT}/export?format=csv", by=Role.AUDITOR)
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.headers["content-disposition"].endswith('.csv"')
    read = rows(reply)
    assert [row["resource_id"] for row in read] == [f"thing-{n}" for n in range(6)]
    assert [row["leaf_index"] for row in read] == ["0", "1", "2", "3", "", ""]
    assert read[1] == read[1] | {
        "timestamp": "2031-03-04T05:06:08.000000Z",
        "actor": "olga",
        "actor_type": "User",
        "action": "it_happened",
        "resource_type": "thing",
        "details": "{}",
        "request_id": "",
    }
    some = rows(busy.get(f"{AUDIT}/export?format=csv&actor=olga"))
    assert [(row["resource_id"], row["leaf_index"]) for row in some] == [
        ("thing-1", "1"),
        ("thing-3", "3"),
        ("thing-5", ""),
    ]


@pytest.mark.parametrize(
    "text", ['=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", '"=1', "a,b\nc"]
)
def test_no_text_is_a_formula_to_a_spreadsheet(api: Api, text: str) -> None:
    happen(api, text, Principal(text, Role.ADMIN), text, note=text)
    (row,) = rows(api.get(f"{AUDIT}/export?format=csv"))
    for name in ("resource_id", "actor", "action"):
        assert row[name].removeprefix("'") == text.replace("\r", "\r")
        assert row[name][0] not in "=+-@\t\r\n\uff1d"
    assert json.loads(row["details"]) == {"note": text}


def test_recorded_calls_can_be_exported(api: Api) -> None:
    api.get("/api/v1/teams", by=Role.VIEWER)
    api.app.close()
    (row,) = rows(api.get(f"{AUDIT}/export?format=csv&resource_type=api&actor=viewer-person"))
    assert (row["action"], row["resource_id"], row["leaf_index"]) == ("api_get", "/api/v1/teams", "")


def test_an_unknown_format_is_named(api: Api) -> None:
    reply = api.get(f"{AUDIT}/export?format=xml")
    assert (reply.status, reply.fields) == (400, ["format"])


def test_a_head_of_an_export_reads_no_further_than_its_first_part(busy: Api) -> None:
    reply = busy.call("HEAD", f"{AUDIT}/export")
    assert (reply.status, reply.content) == (200, b"")
