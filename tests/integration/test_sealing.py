"""Sealing on PostgreSQL: transactions that commit late, in another order or not at all, and sealers side by side."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from certctl_adapters.postgres.work import Patience, PostgresWork, open_pool
from certctl_core.models.access import SYSTEM
from certctl_core.models.trail import Entry
from certctl_core.pki import merkle
from certctl_core.ports.store import Work
from certctl_core.usecases import audit, sealing
from tests.core.usecases.world import ADMIN, World, make_world

pytestmark = pytest.mark.integration

SOON = 10.0
"""Seconds that something may take which takes next to none."""


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with open_pool(database_url, size=8, patience=Patience(lock=timedelta(seconds=SOON))) as pool:
        made = make_world(PostgresWork(pool))
        sealing.seal(made.ports)
        yield made


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody with a prompt, logged in as the owner of the tables."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def note(world: World, work: Work, name: str) -> None:
    audit.record(work, SYSTEM, world.clock.now(), "something_happened", "thing", name)


def sealed(world: World) -> list[str]:
    """What is sealed, in the order of the tree, each leaf and the root checked against the rows as they are."""
    with world.ports.work() as work:
        entries = work.seals.leaves(0, 100_000)
        last = work.seals.latest()
    assert [entry.leaf_index for entry in entries] == list(range(len(entries)))
    hashes = [merkle.leaf_hash(entry.text.encode()) for entry in entries]
    assert hashes == [entry.leaf_hash for entry in entries]
    if last is not None:
        assert (last.tree_size, last.root_hash) == (len(entries), merkle.root_of(hashes))
    return [entry.resource_id for entry in entries]


def seq_of(world: World, name: str) -> int:
    with world.ports.work() as work:
        everything = work.seals.beyond(0, 0, 100_000)
    return next(entry.seq for entry in everything if entry.resource_id == name)


def in_another_thread(call: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(call).result(SOON)


def test_an_event_that_commits_late_is_sealed_late_and_not_lost(world: World) -> None:
    def write_and_seal() -> None:
        with world.ports.work() as work:
            note(world, work, "second")
        assert sealing.seal(world.ports) == 1

    with world.ports.work() as slow:
        note(world, slow, "first")
        in_another_thread(write_and_seal)
        assert in_another_thread(lambda: sealed(world)) == ["second"]
    assert seq_of(world, "first") < seq_of(world, "second")
    assert sealing.seal(world.ports) == 1
    assert sealed(world) == ["second", "first"]


def test_what_was_rolled_back_leaves_a_gap_in_the_numbers_and_none_in_the_tree(world: World) -> None:
    def write(name: str, *, fails: bool = False) -> None:
        with world.ports.work() as work:
            note(world, work, name)
            if fails:
                raise ZeroDivisionError

    write("first")
    with pytest.raises(ZeroDivisionError):
        write("gone", fails=True)
    write("second")
    assert sealing.seal(world.ports) == 2
    assert sealed(world) == ["first", "second"]
    assert seq_of(world, "second") == seq_of(world, "first") + 2


def test_nobody_waits_for_anybody(world: World) -> None:
    """Neither the sealer for a transaction that is open, nor a writer for a sealing that is going on."""
    with world.ports.work() as writing:
        note(world, writing, "first")
        assert in_another_thread(lambda: sealing.seal(world.ports)) == 0
        with world.ports.work() as sealer:
            assert list(sealer.seals.take(10)) == []
            note(world, writing, "second")

            def write() -> None:
                with world.ports.work() as work:
                    note(world, work, "third")

            in_another_thread(write)
    assert sealing.seal(world.ports) == 3


def test_two_sealers_share_one_tree(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 7)
    with world.ports.work() as work:
        for number in range(100):
            note(world, work, str(number))
    start = threading.Barrier(3)

    def run() -> int:
        start.wait(SOON)
        return sealing.seal(world.ports)

    with ThreadPoolExecutor(3) as threads:
        counts = [future.result(SOON) for future in [threads.submit(run) for _ in range(3)]]
    assert sum(counts) == 100
    assert sealed(world) == [str(number) for number in range(100)]


def test_writers_in_every_order_lose_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many writers that commit late, early or never, while two sealers never stop."""
    monkeypatch.setattr(sealing, "BATCH", 20)
    done = threading.Event()
    committed: set[str] = set()

    def write(writer: int) -> None:
        dice = random.Random(writer)  # noqa: S311
        for number in range(25):
            names = [f"{writer}-{number}-{part}" for part in range(dice.randint(1, 4))]
            try:
                with world.ports.work() as work:
                    for name in names:
                        note(world, work, name)
                        time.sleep(dice.random() / 300)
                    if dice.random() < 0.2:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                continue
            committed.update(names)

    def run() -> None:
        while not done.is_set():
            sealing.seal(world.ports)

    with ThreadPoolExecutor(6) as threads:
        sealers = [threads.submit(run) for _ in range(2)]
        for writer in [threads.submit(write, number) for number in range(4)]:
            writer.result(60)
        done.set()
        for sealer in sealers:
            sealer.result(SOON)
    sealing.seal(world.ports)
    found = sealed(world)
    assert len(found) == len(set(found))
    assert set(found) == committed


def test_whoever_writes_an_event_it_waits_to_be_sealed(world: World, admin: psycopg.Connection[Any]) -> None:
    admin.execute(
        "INSERT INTO audit_events (id, actor, actor_type, action, resource_type, resource_id) "
        "SELECT 'audit-' || n, 'somebody', 'User', 'by_hand', 'thing', 'thing-' || n FROM generate_series(1, 3) AS n"
    )
    columns = "id, actor, actor_type, action, resource_type, resource_id"
    with admin.cursor().copy(f"COPY audit_events ({columns}) FROM STDIN") as copy:
        copy.write_row(("audit-4", "somebody", "User", "by_hand", "thing", "thing-4"))
    assert sealing.seal(world.ports) == 4
    assert sealed(world) == [f"thing-{number}" for number in (1, 2, 3, 4)]


def test_an_event_that_was_changed_behind_the_triggers_is_seen(world: World, admin: psycopg.Connection[Any]) -> None:
    with world.ports.work() as work:
        for name in ("first", "second", "third"):
            note(world, work, name)
    sealing.seal(world.ports)
    admin.execute("ALTER TABLE audit_events DISABLE TRIGGER ALL")
    admin.execute("UPDATE audit_events SET details = '{ }' WHERE resource_id = 'second'")
    with world.ports.work() as work:
        second: Entry = next(entry for entry in work.seals.leaves(0, 10) if entry.resource_id == "second")
    proof = sealing.prove(world.ports, ADMIN, second.id)
    assert merkle.leaf_hash(proof.entry.text.encode()) != proof.leaf_hash


@pytest.mark.parametrize("table", ["audit_leaves", "audit_subtrees", "audit_checkpoints", "audit_signers"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET hash = ''"])
def test_what_is_sealed_cannot_be_changed(
    world: World, admin: psycopg.Connection[Any], table: str, statement: str
) -> None:
    column = {"audit_checkpoints": "root_hash", "audit_signers": "public_key"}.get(table, "hash")
    with world.ports.work() as work:
        for number in range(20):
            note(world, work, str(number))
    sealing.seal(world.ports)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        admin.execute(statement.format(table).replace("hash", column).encode())
    assert len(sealed(world)) == 20
