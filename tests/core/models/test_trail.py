"""The text of an entry says everything of its row, in one way only."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve, fields
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.ids import AuditEventId
from certctl_core.models.access import ActorType
from certctl_core.models.records import AuditEvent
from certctl_core.models.trail import Entry, canonical_json

AT = datetime(2031, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
EVENT = AuditEvent(
    id=AuditEventId("audit-1"),
    actor='Olga "O" Ü',
    actor_type=ActorType.USER,
    action="certificate_revoked",
    resource_type="certificate",
    resource_id="mc-1",
    details={"reason": "superseded", "a": [1, 2.5, None]},
    request_id="req-1",
    timestamp=AT,
)
text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


def test_the_text_is_this() -> None:
    """It is what signatures of years ago stand on: it must never change."""
    assert Entry.of(EVENT).text == (
        '{"action":"certificate_revoked","actor":"Olga \\"O\\" Ü","actor_type":"User",'
        '"details":{"a":[1,2.5,null],"reason":"superseded"},"id":"audit-1","request_id":"req-1",'
        '"resource_id":"mc-1","resource_type":"certificate","timestamp":"2031-03-04T05:06:07.890123Z"}'
    )


@given(text, text, st.dictionaries(text, values, max_size=4))
def test_the_text_is_what_its_own_reading_is_written_as(actor: str, resource: str, details: dict[str, Any]) -> None:
    """So that whoever has the event has its text."""
    entry = Entry.of(evolve(EVENT, actor=actor, resource_id=resource, details=details))
    read = json.loads(entry.text)
    assert canonical_json(read) == entry.text
    assert (read["actor"], read["resource_id"], read["details"]) == (actor, resource, details)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "audit-2"},
        {"actor": "somebody"},
        {"actor_type": ActorType.SYSTEM},
        {"action": "certificate_archived"},
        {"resource_type": "job"},
        {"resource_id": "mc-2"},
        {"details": {"reason": "superseded", "a": [1, 2.5, 0]}},
        {"request_id": ""},
        {"timestamp": AT + timedelta(microseconds=1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_field_changes_unseen(change: dict[str, Any]) -> None:
    assert Entry.of(evolve(EVENT, **change)).text != Entry.of(EVENT).text


def test_every_field_of_an_event_is_in_the_text() -> None:
    assert set(json.loads(Entry.of(EVENT).text)) == {field.name for field in fields(AuditEvent)}


def test_a_time_is_the_same_in_every_zone() -> None:
    there = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert Entry.of(evolve(EVENT, timestamp=there)).text == Entry.of(EVENT).text
