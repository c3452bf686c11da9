"""Exports, and what can be told from them alone: every change is found, and where."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certctl_core.errors import Forbidden
from certctl_core.ids import TeamId
from certctl_core.models.access import Principal, Role, Scope
from certctl_core.models.trail import Checkpoint, Entry
from certctl_core.pki import checkpoint, export
from certctl_core.pki.export import Proof
from certctl_core.policy import evidence
from certctl_core.policy.evidence import Verdict
from certctl_core.ports.store import ApiCall, Is, Query, Where
from certctl_core.usecases import audit, audit_export, sealing
from tests.core.usecases.world import ADMIN, World, make_world
from tests.plans import mutations

Json = dict[str, Any]


def happen(world: World, *names: str) -> None:
    """An event about each thing, by the person it is named after, a second apart."""
    for name in names:
        world.clock.advance(timedelta(seconds=1))
        with world.ports.work() as work:
            audit.record(
                work, Principal(name[0], Role.ADMIN), world.clock.now(), "it_happened", "thing", name, note="ü"
            )


def sealed(world: World) -> Checkpoint:
    sealing.seal(world.ports)
    found = sealing.latest(world.ports, ADMIN).checkpoint
    assert found is not None
    return found


@pytest.fixture
def busy(world: World) -> World:
    """Ten events of a and b, sealed in three steps, and two that are not."""
    for names in (("a-1", "b-1"), ("a-2", "b-2", "a-3"), ("b-3", "a-4", "b-4", "a-5", "b-5")):
        happen(world, *names)
        sealed(world)
    happen(world, "a-6", "b-6")
    return world


def lines(world: World, *where: Where, filters: Json | None = None) -> list[str]:
    """The file."""
    told = {one.field: str(one.value) for one in where} if filters is None else filters
    taken = audit_export.export(world.ports, ADMIN, where)
    items = list(taken.items)
    events = sum(isinstance(item, Entry) for item in items)
    return [export.head(taken.verifier, taken.at, told), *map(export.line, items), export.end(events)]


def changed(lines: Sequence[str], number: int, change: Callable[[Json], object]) -> list[str]:
    """The file with line `number`, counted from 1, made another."""
    said = json.loads(lines[number - 1])
    change(said)
    return [*lines[: number - 1], json.dumps(said), *lines[number:]]


def flaw(verdict: Verdict) -> tuple[int, str]:
    assert verdict.flaw is not None
    return verdict.flaw.line, verdict.flaw.what


def kinds(lines: Sequence[str]) -> list[str]:
    return [json.loads(line)["type"] for line in lines]


# What is in an export


def test_a_whole_export_has_every_event_and_every_checkpoint_where_it_belongs(busy: World) -> None:
    e, c = "event", "checkpoint"
    assert kinds(lines(busy)) == ["trail", e, e, c, e, e, e, c, e, e, e, e, e, c, e, e, "end"]


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 12, 500])
def test_an_export_is_the_same_however_much_is_read_at_once(
    busy: World, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lines(busy)
    monkeypatch.setattr(audit_export, "AT_ONCE", at_once)
    assert lines(busy) == before
    some = lines(busy, Where("actor", "a"))
    assert [json.loads(line)["event"]["resource_id"] for line in some if '"event"' in line] == [
        f"a-{n}" for n in range(1, 7)
    ]
    assert evidence.verify(some).flaw is None


def test_an_event_is_told_byte_for_byte_as_it_is_sealed(busy: World) -> None:
    texts = [entry.text for entry in audit_export.export(busy.ports, ADMIN).items if isinstance(entry, Entry)]
    file = "".join(lines(busy))
    assert len(texts) == 12
    assert all(f'"event":{text}}}\n' in file for text in texts)


def test_no_transaction_is_open_while_somebody_reads(busy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_export, "AT_ONCE", 2)
    for where in ((), (Where("actor", "a"),), (Where("resource_type", "api"),)):
        for _ in audit_export.export(busy.ports, ADMIN, where).items:
            assert not busy.store.in_transaction


def test_an_export_that_nobody_reads_to_its_end_holds_nothing(busy: World) -> None:
    items = audit_export.export(busy.ports, ADMIN).items
    next(items)
    items.close()  # type: ignore[attr-defined]
    happen(busy, "c-1")
    assert sealing.seal(busy.ports) == 3


def test_what_was_there_at_the_beginning_is_in_it_though_it_is_sealed_meanwhile(
    busy: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_export, "AT_ONCE", 3)
    there = {f"{who}-{n}" for who in "ab" for n in range(1, 7)}
    for step in range(1, 18):
        items = audit_export.export(busy.ports, ADMIN).items
        seen: list[str] = []
        for number, item in enumerate(items):
            if isinstance(item, Entry):
                seen.append(item.resource_id)
            if number == step:
                sealed(busy)
                happen(busy, f"c-{step}")
        assert there <= set(seen)
        assert len(seen) == len(set(seen))
        there |= {f"c-{step}"} if step < len(seen) else set()


def test_a_part_is_what_the_conditions_leave(busy: World) -> None:
    where = (Where("actor", "b"), Where("timestamp", busy.clock.now() - timedelta(seconds=6), Is.AFTER))
    items = list(audit_export.export(busy.ports, ADMIN, where).items)
    assert [type(item) for item in items] == [Checkpoint, *[Entry] * 3, Proof]
    assert [item.resource_id for item in items if isinstance(item, Entry)] == ["b-4", "b-5", "b-6"]
    bare = audit_export.export(busy.ports, ADMIN, where, with_proofs=False).items
    assert [type(item) for item in bare] == [Entry] * 3


def test_recorded_calls_are_exported_like_events_that_are_not_sealed(world: World) -> None:
    calls = [
        ApiCall(
            at=world.clock.now() + timedelta(seconds=n),
            actor="a",
            method="GET",
            path=f"/{n}",
            status=200,
            took=timedelta(0),
            request_id="",
        )
        for n in range(3)
    ]
    audit.record_calls(world.ports, calls)
    file = lines(world, Where("resource_type", "api"))
    assert [json.loads(line)["event"]["resource_id"] for line in file if '"event"' in line] == ["/0", "/1", "/2"]
    verdict = evidence.verify(file)
    assert (verdict.flaw, verdict.sealed, verdict.unsealed) == (None, 0, 3)


def test_a_key_that_is_limited_reads_nothing_of_the_trail(busy: World) -> None:
    """It belongs to no team."""
    limited = Principal("limited", Role.AUDITOR, scope=Scope(team_ids=frozenset({TeamId("team-1")})))
    event = next(item for item in audit_export.export(busy.ports, ADMIN).items if isinstance(item, Entry))
    for ask in (
        lambda: audit.page(busy.ports, limited, Query(sort="timestamp")),
        lambda: audit.get(busy.ports, limited, event.id),
        lambda: audit_export.export(busy.ports, limited),
        lambda: sealing.latest(busy.ports, limited),
        lambda: sealing.page(busy.ports, limited, Query(sort="tree_size")),
        lambda: sealing.prove(busy.ports, limited, event.id),
        lambda: sealing.compare(busy.ports, limited, 2),
    ):
        with pytest.raises(Forbidden, match="limited"):
            ask()


# Verifying


def test_a_whole_export_is_verified(busy: World) -> None:
    last = sealing.latest(busy.ports, ADMIN)
    verdict = evidence.verify(lines(busy), last.verifier)
    assert verdict == Verdict(
        flaw=None,
        verifier_key=str(last.verifier),
        is_pinned=True,
        is_whole=True,
        sealed=10,
        unsealed=2,
        checkpoints=3,
        kept=0,
        last=last.checkpoint,
    )


def test_without_a_key_of_ones_own_the_file_agrees_only_with_itself(busy: World) -> None:
    verdict = evidence.verify(lines(busy))
    assert (verdict.flaw, verdict.is_pinned) == (None, False)


def test_an_empty_trail_is_verified(world: World) -> None:
    with world.ports.work() as work:
        assert work.seals.latest() is None
    verdict = evidence.verify(lines(make_world()))
    assert (verdict.flaw, verdict.sealed, verdict.last) == (None, 0, None)


def test_formatting_changes_nothing(busy: World) -> None:
    pretty = [
        json.dumps(json.loads(line), sort_keys=True, ensure_ascii=True, separators=(" , ", " : "))
        for line in lines(busy)
    ]
    assert evidence.verify(pretty).flaw is None


@settings(max_examples=40)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 3), st.sampled_from("abc"), st.data())
def test_every_honest_export_is_verified_and_every_kept_checkpoint_agrees(
    steps: list[int], unsealed: int, who: str, data: st.DataObject
) -> None:
    world, kept = make_world(), []
    for step in steps:
        happen(world, *(data.draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=step, max_size=step))))
        kept.append(sealed(world))
    happen(world, *["a"] * unsealed)
    whole = evidence.verify(lines(world), kept=[one.note for one in kept])
    assert (whole.flaw, whole.sealed, whole.unsealed) == (None, kept[-1].tree_size, unsealed)
    assert (whole.kept, whole.is_pinned) == (len(kept), True)
    part = evidence.verify(lines(world, Where("actor", who)), kept=[kept[-1].note])
    assert (part.flaw, part.is_whole) == (None, False)


# Every change is found. Lines: 1 head, 2 3 events, 4 checkpoint, 5 6 7 events, 8 checkpoint, 9-13 events, 14
# checkpoint, 15 16 events that are not sealed, 17 end.


def test_the_first_event_that_was_changed_is_named(busy: World) -> None:
    file = changed(lines(busy), 10, lambda said: said["event"].update(actor="somebody else"))
    verdict = evidence.verify(file)
    line, what = flaw(verdict)
    assert line == 10
    assert (verdict.sealed, verdict.unsealed, verdict.checkpoints) == (5, 0, 2)
    assert "leaf 6, is not what was sealed" in what


@pytest.mark.parametrize("name", ["id", "actor", "actor_type", "action", "resource_type", "resource_id", "request_id"])
def test_no_field_can_be_changed(busy: World, name: str) -> None:
    assert flaw(evidence.verify(changed(lines(busy), 5, lambda said: said["event"].update({name: "x"}))))[0] == 5


@pytest.mark.parametrize(
    "change",
    [
        lambda event: event.update(timestamp="2026-11-01T12:00:00.000000Z"),
        lambda event: event.update(details={}),
        lambda event: event["details"].update(note=None),
        lambda event: event.update(more=1),
        lambda event: event.pop("request_id"),
    ],
)
def test_nothing_can_be_added_or_taken(busy: World, change: Callable[[Json], object]) -> None:
    assert flaw(evidence.verify(changed(lines(busy), 5, lambda said: change(said["event"]))))[0] == 5


def test_who_computes_the_hash_anew_is_found_by_the_next_checkpoint(busy: World) -> None:
    def forge(said: Json) -> None:
        said["event"]["actor"] = "somebody else"
        text = export.canonical_json(said["event"]).encode()
        said["leaf_hash"] = evidence.merkle.leaf_hash(text).hex()

    line, what = flaw(evidence.verify(changed(lines(busy), 6, forge)))
    assert line == 8
    assert "leaves 2 to 4" in what


def test_an_event_that_was_removed_is_missed(busy: World) -> None:
    file = lines(busy)
    line, what = flaw(evidence.verify(file[:5] + file[6:]))
    assert line == 6
    assert "leaf 3 is missing" in what


def test_an_event_that_comes_twice_or_elsewhere_is_found(busy: World) -> None:
    file = lines(busy)
    assert "was there before" in flaw(evidence.verify([*file[:3], file[2], *file[3:]]))[1]
    assert "missing before it" in flaw(evidence.verify([file[0], file[2], file[1], *file[3:]]))[1]


def test_an_end_that_was_cut_off_is_missed(busy: World) -> None:
    file = lines(busy)
    for length in range(1, len(file)):
        verdict = evidence.verify(file[:length])
        assert flaw(verdict) == (0, "the export is cut off: its last line is missing")
    assert "no export" in flaw(evidence.verify([]))[1]


def test_events_cannot_be_dropped_from_the_end_without_a_kept_checkpoint_telling(busy: World) -> None:
    """Whoever has the key of the log can have signed what he likes; not what somebody else has kept."""
    kept = sealed(busy)
    file = lines(busy)
    shorter = [*file[:8], export.end(5)]
    assert evidence.verify(shorter).flaw is None
    assert "12 events were sealed" in flaw(evidence.verify(shorter, kept=[kept.note]))[1]


def test_a_history_that_was_written_anew_is_told_by_a_kept_checkpoint(busy: World) -> None:
    """All of it, with the very key of the log."""
    kept = sealing.page(busy.ports, ADMIN, Query(sort="tree_size", limit=2)).items[1]
    with busy.ports.work() as work:
        signer = work.seals.find_signer()
        assert signer is not None
    other = make_world()
    happen(other, "a-1", "b-1", "a-2", "x-2", "a-3", "b-3")
    with other.ports.work() as work:
        work.seals.lock_or_add_signer(signer)
    sealed(other)
    forged = lines(other)
    assert evidence.verify(forged, sealing.latest(busy.ports, ADMIN).verifier).flaw is None
    line, what = flaw(evidence.verify(forged, kept=[kept.note]))
    assert (line, what) == (6, "the first 5 events are not those of the checkpoint that was kept")


def test_another_key_is_noticed(busy: World) -> None:
    other = sealing.ensure_signer(make_world().ports)[0]
    assert "is of the log" in flaw(evidence.verify(lines(busy), other))[1]
    nameless = checkpoint.verifier(other.pem)
    assert "another key" in flaw(evidence.verify(lines(busy), nameless))[1]
    assert evidence.verify(lines(busy), checkpoint.verifier(sealing.ensure_signer(busy.ports)[0].pem)).flaw is None


def test_a_changed_checkpoint_is_found(busy: World) -> None:
    def change(said: Json) -> None:
        said["note"] = said["note"].replace("\n5\n", "\n4\n")

    assert flaw(evidence.verify(changed(lines(busy), 8, change)))[0] == 8


def test_a_checkpoint_that_was_removed_leaves_sealed_events_uncovered(busy: World) -> None:
    file = lines(busy)
    assert "the last 5 sealed events" in flaw(evidence.verify([line for n, line in enumerate(file, 1) if n != 14]))[1]


def test_a_sealed_event_cannot_be_passed_off_as_one_that_is_not(busy: World) -> None:
    def unseal(said: Json) -> None:
        del said["leaf_index"], said["leaf_hash"]
        said["event"]["actor"] = "somebody else"

    assert "leaf 2 is missing" in flaw(evidence.verify(changed(lines(busy), 5, unseal)))[1]


def test_the_number_of_events_must_be_that_of_the_end(busy: World) -> None:
    file = lines(busy)
    assert "should be 12 events" in flaw(evidence.verify([*file[:14], *file[15:]]))[1]


# Parts


@pytest.fixture
def part(busy: World) -> list[str]:
    """Head, checkpoint, five sealed events of a, proof, one that is not sealed is before the proof, end."""
    return lines(busy, Where("actor", "a"))


def test_a_part_is_verified_by_its_proofs(busy: World, part: list[str]) -> None:
    assert kinds(part) == ["trail", "checkpoint", *["event"] * 6, "proof", "end"]
    verdict = evidence.verify(part, sealing.latest(busy.ports, ADMIN).verifier)
    assert (verdict.flaw, verdict.is_whole, verdict.sealed, verdict.unsealed) == (None, False, 5, 1)


def test_a_changed_event_of_a_part_is_found(part: list[str]) -> None:
    assert flaw(evidence.verify(changed(part, 4, lambda said: said["event"].update(actor="b"))))[0] == 4

    def forge(said: Json) -> None:
        said["event"]["resource_id"] = "other"
        said["leaf_hash"] = evidence.merkle.leaf_hash(export.canonical_json(said["event"]).encode()).hex()

    assert flaw(evidence.verify(changed(part, 4, forge))) == (
        9,
        "of the 5 events since the proof before one was changed, added or removed",
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda part: [*part[:2], *part[3:]], "changed, added or removed"),
        (lambda part: [*part[:3], part[2], *part[3:]], "was there before"),
        (lambda part: [*part[:2], part[3], part[2], *part[4:]], "out of order"),
        (lambda part: [part[0], *part[2:]], "under no checkpoint"),
        (lambda part: [*part[:2], part[1], *part[2:]], "one checkpoint only"),
        (lambda part: [*part[:8], part[9]], "have no proof"),
        (lambda part: changed(part, 9, lambda said: said["hashes"].pop()), "too few"),
        (lambda part: changed(part, 9, lambda said: said["hashes"].append("00" * 32)), "too many"),
        (lambda part: changed(part, 9, lambda said: said.update(tree_size=9)), "no checkpoint"),
        (lambda part: changed(part, 3, lambda said: said.update(leaf_index=10)), "under no checkpoint"),
        (lambda part: changed(part, 3, lambda said: said.update(leaf_index=1)), "changed, added or removed"),
        (lambda part: changed(part, 4, lambda said: said.update(leaf_index=0)), "was there before"),
    ],
)
def test_a_part_that_was_changed_does_not_fit(
    part: list[str], change: Callable[[list[str]], list[str]], said: str
) -> None:
    assert said in flaw(evidence.verify(change(part)))[1]


def test_a_part_cannot_be_compared_with_a_checkpoint_of_another_size(busy: World, part: list[str]) -> None:
    older, *_, same = sealing.page(busy.ports, ADMIN, Query(sort="tree_size", limit=5)).items
    assert evidence.verify(part, kept=[same.note]).kept == 1
    assert "of consistency" in flaw(evidence.verify(part, kept=[older.note]))[1]


# Bad files


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "1",
        "null",
        "{}",
        '{"type":"event"}',
        '{"type":"event","event":[]}',
        '{"type":"event","event":{"id":1,"timestamp":""}}',
        '{"type":"event","leaf_index":-1,"event":{"id":"","timestamp":""}}',
        '{"type":"event","leaf_index":true,"leaf_hash":"","event":{"id":"","timestamp":""}}',
        '{"type":"event","leaf_index":0,"leaf_hash":"00","event":{"id":"","timestamp":""}}',
        '{"type":"event","event":{"id":"","timestamp":"","x":NaN}}',
        '{"type":"event","event":{"id":"\\ud800","timestamp":""}}',
        '{"type":"event","event":{"id":"a","id":"b","timestamp":""}}',
        '{"type":"event","event":{"id":"a","timestamp":"","details":{"x":1,"x":2}}}',
        '{"type":"proof","tree_size":1,"hashes":["zz"]}',
        '{"type":"checkpoint","note":"x"}',
        '{"type":"trail","version":2}',
        '{"type":"something"}',
        '{"type":"end","events":1e3}',
        "[" * 100_000,
        "x" * (export.MAX_LINE + 1),
    ],
    ids=lambda line: line[:60],
)
def test_a_line_that_is_none_is_named(busy: World, line: str) -> None:
    file = lines(busy)
    assert flaw(evidence.verify([*file[:2], line, *file[2:]]))[0] == 3


@given(st.data())
def test_whatever_is_done_to_a_file_is_found_or_changes_nothing(data: st.DataObject) -> None:
    world = make_world()
    happen(world, "a-1", "b-1", "a-2")
    kept = sealed(world)
    for file in (lines(world), lines(world, Where("actor", "a"))):
        broken = data.draw(mutations("".join(file).encode())).decode(errors="surrogateescape")
        verdict = evidence.verify(_split(broken), kept=[kept.note])
        assert verdict.flaw is not None or _events(_split(broken)) == _events(file)


def _split(text: str) -> Iterator[str]:
    return (line for line in text.split("\n") if line)


def _events(lines: Any) -> list[Any]:
    return [said["event"] for line in lines if (said := json.loads(line))["type"] == "event"]
