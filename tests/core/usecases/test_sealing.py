"""Sealing: what is written becomes leaves, once and in order, under checkpoints that prove it."""

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from certctl_core.errors import Conflict, Invalid, NotFound
from certctl_core.models.access import SYSTEM
from certctl_core.models.trail import Checkpoint
from certctl_core.pki import merkle
from certctl_core.ports.store import Query
from certctl_core.usecases import audit, sealing
from tests.core.usecases.world import ADMIN, World, make_world


def happen(world: World, count: int = 1) -> None:
    """Events, each in a transaction of its own."""
    for number in range(count):
        with world.ports.work() as work:
            audit.record(work, SYSTEM, world.clock.now(), "something_happened", "thing", f"thing-{number}", n=number)


def everything(world: World) -> list[Any]:
    with world.ports.work() as work:
        return list(work.seals.entries(Query(sort="timestamp", limit=10_000)).items)


def checkpoints(world: World) -> list[Checkpoint]:
    return list(sealing.page(world.ports, ADMIN, Query(sort="tree_size", limit=500)).items)


def change(world: World, table: str, key: Any, **fields: Any) -> None:
    """What somebody with the database's password could do."""
    rows = world.store._tables[table]
    rows[key] = evolve(rows[key], **fields) if fields else bytes(32)


def test_everything_that_waits_is_sealed_in_the_order_of_writing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 4)
    happen(world, 10)
    assert sealing.seal(world.ports) == 10
    found = everything(world)
    assert [entry.resource_id for entry in found] == [f"thing-{n}" for n in range(10)]
    assert [entry.leaf_index for entry in found] == list(range(10))
    assert [one.tree_size for one in checkpoints(world)] == [4, 8, 10]
    assert sealing.seal(world.ports) == 0
    assert len(checkpoints(world)) == 3


def test_a_checkpoint_tells_the_root_and_is_signed(world: World) -> None:
    happen(world, 3)
    sealing.seal(world.ports)
    now = sealing.latest(world.ports, ADMIN)
    assert now.checkpoint is not None
    assert now.verifier.check(now.checkpoint.note) == now.checkpoint
    leaves = [merkle.leaf_hash(entry.text.encode()) for entry in everything(world)]
    assert now.checkpoint.root_hash == merkle.root_of(leaves)
    assert now.checkpoint.created_at == world.clock.now()


def test_what_waits_is_counted(world: World) -> None:
    happen(world, 2)
    before = sealing.latest(world.ports, ADMIN)
    assert (before.checkpoint, before.waiting) == (None, 2)
    sealing.seal(world.ports)
    happen(world)
    assert sealing.latest(world.ports, ADMIN).waiting == 1


def test_the_key_is_made_once(world: World) -> None:
    first, made = sealing.ensure_signer(world.ports)
    again, made_again = sealing.ensure_signer(world.ports)
    assert (made, made_again) == (True, False)
    happen(world)
    sealing.seal(world.ports)
    assert str(first) == str(again) == str(sealing.latest(world.ports, ADMIN).verifier)
    assert first.name.startswith("certctl/audit/")


@settings(max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.data())
def test_every_event_is_proved_in_every_checkpoint_after_it(steps: list[int], data: st.DataObject) -> None:
    world = make_world()
    for step in steps:
        happen(world, step)
        sealing.seal(world.ports)
    entry = data.draw(st.sampled_from(everything(world)))
    for one in checkpoints(world):
        if one.tree_size <= entry.leaf_index:
            with pytest.raises(Conflict, match="leaf"):
                sealing.prove(world.ports, ADMIN, entry.id, one.tree_size)
            continue
        proof = sealing.prove(world.ports, ADMIN, entry.id, one.tree_size)
        leaf = merkle.leaf_hash(proof.entry.text.encode())
        assert leaf == proof.leaf_hash
        assert proof.checkpoint == one
        assert merkle.proves_inclusion(leaf, proof.leaf_index, one.tree_size, proof.path, one.root_hash)
    first, second = sorted(data.draw(st.tuples(*[st.sampled_from(checkpoints(world))] * 2)), key=lambda c: c.tree_size)
    grown = sealing.compare(world.ports, ADMIN, first.tree_size, second.tree_size)
    assert merkle.proves_consistency(first.tree_size, second.tree_size, grown.path, first.root_hash, second.root_hash)


def test_proofs_are_of_the_newest_checkpoint_unless_asked_otherwise(world: World) -> None:
    happen(world, 3)
    sealing.seal(world.ports)
    happen(world, 2)
    sealing.seal(world.ports)
    event = everything(world)[0]
    assert sealing.prove(world.ports, ADMIN, event.id).checkpoint.tree_size == 5
    grown = sealing.compare(world.ports, ADMIN, 3)
    assert (grown.first.tree_size, grown.second.tree_size) == (3, 5)


def test_what_cannot_be_proved_is_told(world: World) -> None:
    happen(world)
    event = everything(world)[0]
    with pytest.raises(Conflict, match="not sealed yet"):
        sealing.prove(world.ports, ADMIN, event.id)
    with pytest.raises(NotFound, match="checkpoint"):
        sealing.compare(world.ports, ADMIN, 1)
    sealing.seal(world.ports)
    happen(world)
    sealing.seal(world.ports)
    with pytest.raises(NotFound, match="nothing"):
        sealing.prove(world.ports, ADMIN, "nothing")
    with pytest.raises(NotFound, match="77"):
        sealing.prove(world.ports, ADMIN, event.id, 77)
    with pytest.raises(Invalid, match="shrink"):
        sealing.compare(world.ports, ADMIN, 2, 1)


def test_a_changed_event_no_longer_fits_its_proof(world: World) -> None:
    happen(world, 5)
    sealing.seal(world.ports)
    event = everything(world)[2]
    change(world, "audit_entries", event.id, actor="somebody else")
    proof = sealing.prove(world.ports, ADMIN, event.id)
    leaf = merkle.leaf_hash(proof.entry.text.encode())
    assert leaf != proof.leaf_hash
    assert not merkle.proves_inclusion(leaf, 2, 5, proof.path, proof.checkpoint.root_hash)


def test_nothing_is_built_upon_a_tree_that_was_changed(world: World) -> None:
    happen(world, 3)
    sealing.seal(world.ports)
    change(world, "audit_subtrees", merkle.Subtree(0, 2))
    happen(world)
    with pytest.raises(Conflict, match="root that was signed"):
        sealing.seal(world.ports)
    assert sealing.latest(world.ports, ADMIN).waiting == 1


def test_a_tree_with_a_hole_is_told(world: World) -> None:
    happen(world, 5)
    sealing.seal(world.ports)
    happen(world)
    del world.store._tables["audit_subtrees"][merkle.Subtree(2, 0)]
    with pytest.raises(Conflict, match="leaves 0 to 4 are not all there"):
        sealing.seal(world.ports)


class Killed(BaseException):
    """As kill -9: nothing of ours catches it."""


def test_killed_at_any_write_nothing_is_lost_or_sealed_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 3)
    happen(world, 8)
    steps = ("take", "append", "add_checkpoint")
    for step in steps:
        real = getattr(type(_seals(world)), step)

        def die(*arguments: Any, real: Any = real) -> None:
            real(*arguments)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(type(_seals(world)), step, die)
            with pytest.raises(Killed):
                sealing.seal(world.ports)
        world.clock.advance(timedelta(seconds=1))
    assert checkpoints(world) == []
    assert sealing.seal(world.ports) == 8
    assert [entry.leaf_index for entry in everything(world)] == list(range(8))


def _seals(world: World) -> Any:
    with world.ports.work() as work:
        return work.seals


def test_killed_between_two_batches_the_next_run_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 3)
    happen(world, 8)

    def tripwire(point: str) -> None:
        assert point == "seal:1"
        raise Killed

    with pytest.raises(Killed):
        sealing.seal(evolve(world.ports, tripwire=tripwire))
    assert [one.tree_size for one in checkpoints(world)] == [3]
    assert sealing.seal(world.ports) == 5
    assert [one.tree_size for one in checkpoints(world)] == [3, 6, 8]


def test_checkpoints_are_listed_newest_first_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 2)
    happen(world, 7)
    sealing.seal(world.ports)
    page = sealing.page(world.ports, ADMIN, Query(sort="tree_size", descending=True, limit=3))
    assert [one.tree_size for one in page.items] == [7, 6, 4]
    assert (page.total, page.more) == (4, True)
