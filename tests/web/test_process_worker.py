"""The worker: loops that run when they are due, once, one at a time, whatever the others do."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from certctl_adapters.clock import SystemClock
from certctl_adapters.issuers import InstalledIssuers
from certctl_adapters.memory.store import MemoryStore
from certctl_adapters.postgres.locks import SharedLocks
from certctl_adapters.secretbox import PassphraseBox
from certctl_adapters.targets import Catalog
from certctl_core.models.records import LoopOutcome, LoopState
from certctl_core.ports import Ports
from certctl_web import queues
from certctl_web.loops import LOOPS, Duty, Loop
from certctl_web.queues import JsonMessages, Queue
from certctl_web.settings import Lifecycle, Settings
from certctl_web.worker import LOST_AFTER, Worker, lost

PATIENCE = 15.0
OFTEN = timedelta(milliseconds=100)
NOW = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture
def ports() -> Ports:
    store, clock, secrets = MemoryStore(), SystemClock(), PassphraseBox("a passphrase for tests")
    issuers = InstalledIssuers(store.work, secrets, clock)
    return Ports(work=store.work, clock=clock, secrets=secrets, issuers=issuers, targets=Catalog())


@pytest.fixture
def queue_url(empty_database_url: str) -> str:
    queues.create_tables(empty_database_url)
    return empty_database_url


@contextmanager
def working(ports: Ports, url: str, *loops: Loop, workers: int = 1) -> Iterator[list[Worker]]:
    settings = Settings(lifecycle=Lifecycle(shutdown_timeout=timedelta(seconds=10)))
    started = []
    try:
        for _ in range(workers):
            worker = Worker(ports, settings, url, loops)
            worker.start()
            started.append(worker)
        yield started
    finally:
        for worker in started:
            worker.stop()


def loop(name: str, run: Callable[[Duty], int], every: timedelta = timedelta(hours=1)) -> Loop:
    return Loop(name, lambda _: every, run, "for a test")


def until(holds: Callable[[], bool], *workers: Worker) -> None:
    """Tick the workers until it holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        for worker in workers:
            worker.tick()
        time.sleep(0.02)


def state_of(ports: Ports, name: str) -> LoopState:
    with ports.work() as work:
        return next(state for state in work.loops.all() if state.name == name)


def test_a_due_loop_runs_once_and_says_how_it_went(ports: Ports, queue_url: str) -> None:
    runs: list[int] = []

    def run(_: Duty) -> int:
        runs.append(1)
        return 7

    with working(ports, queue_url, loop("counted", run)) as workers:
        until(lambda: state_of(ports, "counted").last_outcome is LoopOutcome.SUCCESS, *workers)
        workers[0].tick()
    state = state_of(ports, "counted")
    assert len(runs) == 1
    assert (state.last_items, state.runs, state.failures, state.last_error) == (7, 1, 0, "")
    assert state.last_worker == workers[0].name
    assert state.last_duration is not None
    assert state.next_run_at > datetime.now(UTC) + timedelta(minutes=59)


def test_a_failing_loop_says_why_and_runs_again(ports: Ports, queue_url: str) -> None:
    def run(_: Duty) -> int:
        raise RuntimeError("the cat sat on it")

    with working(ports, queue_url, loop("broken", run, OFTEN), loop("sound", lambda _: 1, OFTEN)) as workers:
        until(lambda: state_of(ports, "broken").failures >= 2, *workers)
    assert state_of(ports, "broken").last_error == "the cat sat on it"
    assert state_of(ports, "broken").last_outcome is LoopOutcome.FAILED
    assert state_of(ports, "sound").runs >= 1


def test_a_slow_loop_delays_no_other(ports: Ports, queue_url: str) -> None:
    release = threading.Event()

    def slow(_: Duty) -> int:
        release.wait(PATIENCE)
        return 0

    loops = [loop(f"slow{number}", slow, OFTEN) for number in range(3)]
    with working(ports, queue_url, *loops, loop("quick", lambda _: 0, OFTEN)) as workers:
        try:
            until(lambda: all(state_of(ports, one.name).last_outcome is LoopOutcome.RUNNING for one in loops), *workers)
            before = state_of(ports, "quick").runs
            until(lambda: state_of(ports, "quick").runs >= before + 2, *workers)
            assert {state_of(ports, one.name).last_outcome for one in loops} == {LoopOutcome.RUNNING}
        finally:
            release.set()


def test_runs_of_one_loop_never_overlap_however_many_workers(ports: Ports, queue_url: str) -> None:
    inside, most, runs = 0, 0, 0
    guard = threading.Lock()

    def run(_: Duty) -> int:
        nonlocal inside, most, runs
        with guard:
            inside, runs = inside + 1, runs + 1
            most = max(most, inside)
        time.sleep(0.3)  # Longer than its interval: the next run is due while this one is at work.
        with guard:
            inside -= 1
        return 0

    with working(ports, queue_url, loop("greedy", run, OFTEN), workers=3) as workers:
        until(lambda: runs >= 4, *workers)
    assert most == 1


def test_a_stopping_worker_finishes_what_it_runs(ports: Ports, queue_url: str) -> None:
    began, ended = threading.Event(), threading.Event()

    def run(_: Duty) -> int:
        began.set()
        time.sleep(0.5)
        ended.set()
        return 3

    with working(ports, queue_url, loop("unhurried", run)) as workers:
        until(began.is_set, *workers)
    assert ended.is_set()
    assert state_of(ports, "unhurried").last_outcome is LoopOutcome.SUCCESS


def test_a_run_that_got_lost_is_run_again(ports: Ports, queue_url: str) -> None:
    with ports.work() as work:
        work.loops.ensure("unlucky", timedelta(hours=1), datetime.now(UTC) - timedelta(minutes=10))
        work.loops.claim_due(datetime.now(UTC) - timedelta(minutes=5), ["unlucky"])  # by a worker that then died
    with working(ports, queue_url, loop("unlucky", lambda _: 0)) as workers:
        workers[0].looked_for_lost_at -= 3600
        until(lambda: state_of(ports, "unlucky").runs == 1, *workers)


STATE = LoopState(name="one", interval=timedelta(hours=1), next_run_at=NOW + timedelta(minutes=30))
CLAIMED = NOW - timedelta(minutes=30)


@pytest.mark.parametrize(
    ("state", "is_lost"),
    [
        (evolve(STATE, last_started_at=CLAIMED, last_outcome=LoopOutcome.SUCCESS), False),
        (evolve(STATE, last_started_at=CLAIMED, last_outcome=LoopOutcome.RUNNING), True),
        (evolve(STATE, last_started_at=CLAIMED - timedelta(hours=1), last_outcome=LoopOutcome.SUCCESS), True),
        (STATE, True),
        (evolve(STATE, next_run_at=NOW - timedelta(seconds=1)), False),
        (evolve(STATE, next_run_at=NOW + timedelta(hours=1) - LOST_AFTER / 2), False),
    ],
    ids=["served", "cut off", "claimed and not begun", "never begun", "due anyway", "just claimed"],
)
def test_a_run_that_was_claimed_and_did_not_end_is_lost_after_a_minute(state: LoopState, is_lost: bool) -> None:
    assert lost([state], NOW) == (["one"] if is_lost else [])


def test_every_loop_has_a_name_and_an_interval_of_its_own() -> None:
    assert len({loop.name for loop in LOOPS}) == len(LOOPS)
    assert {loop.name for loop in LOOPS} >= {
        "renewal_check",
        "job_processor",
        "job_retry",
        "job_timeout",
        "agent_health",
        "short_lived_expiry",
    }
    assert all(loop.interval(Settings().schedule) >= timedelta(seconds=1) for loop in LOOPS)


@pytest.mark.parametrize("each", LOOPS, ids=lambda each: each.name)
def test_every_loop_runs_on_an_empty_installation(each: Loop, ports: Ports) -> None:
    called: list[int] = []
    assert each.run(Duty(ports, Settings(), called.append)) == 0
    assert sum(called) == 0


def test_messages_are_json_and_survive_the_trip(queue_url: str) -> None:
    heard: list[tuple[str, ...]] = []
    queue = Queue(queue_url, "letters", lambda *words: heard.append(words), wait=True)
    queue.start(1, timedelta(seconds=5))
    try:
        queue.put("ünïcode", "2031-03-04T05:06:07+00:00")
        deadline = time.monotonic() + PATIENCE
        while not heard and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        queue.stop()
    assert heard == [("ünïcode", "2031-03-04T05:06:07+00:00")]


def test_a_pickle_in_the_queue_is_not_opened() -> None:
    with pytest.raises(ValueError, match="codec"):
        JsonMessages()._deserialize(b"\x80\x04\x95\x00.")


def test_a_shared_lock_has_one_holder(empty_database_url: str) -> None:
    locks = SharedLocks(empty_database_url)
    with locks.try_hold("door") as first, locks.try_hold("door") as second, locks.try_hold("window") as other:
        assert (first, second, other) == (True, False, True)
    with locks.try_hold("door") as again:
        assert again
