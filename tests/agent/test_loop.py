"""The rhythm of an agent: beats that go on, polls that back off, and an end that is clean."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

import pytest

from certctl_agent.client import ControlPlane as Client
from certctl_agent.loop import MOST_BACKOFF, AgentLoop, Ended, backoff
from certctl_agent.machine import Machine
from tests.agent.conftest import MakeWorker
from tests.agent.control_plane import Call, ControlPlane, Reply, problem

MACHINE = Machine("host-1", "linux", "amd64", "")
SHORT = timedelta(milliseconds=30)
LONG = timedelta(minutes=10)


class Run:
    """A loop in a thread, and how it ended."""

    def __init__(self, loop: AgentLoop) -> None:
        self.loop = loop
        self.ended: list[Ended] = []
        self._thread = Thread(target=lambda: self.ended.append(loop.run()))
        self._thread.start()

    def join(self) -> Ended:
        self._thread.join(20)
        assert not self._thread.is_alive(), "the agent did not end"
        return self.ended[0]

    def stop(self) -> Ended:
        self.loop.stop()
        return self.join()


@pytest.fixture
def start(control: Client, make_worker: MakeWorker) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(heartbeat: timedelta = SHORT, poll: timedelta = SHORT) -> Run:
        loop = AgentLoop(
            control, make_worker(), lambda: MACHINE, Event(), heartbeat_interval=heartbeat, poll_interval=poll
        )
        runs.append(Run(loop))
        return runs[-1]

    yield begin
    for run in runs:
        run.stop()


@contextmanager
def failing(plane: ControlPlane, what: str, reply: Reply) -> Iterator[None]:
    """Every such call is answered so while the block lasts."""

    def answer(call: Call) -> Reply | None:
        return reply if call.what == what else None

    plane.overrides.append(answer)
    yield
    plane.overrides.remove(answer)


def beats(plane: ControlPlane) -> int:
    return len(plane.made("POST /heartbeat"))


def polls(plane: ControlPlane) -> int:
    return len(plane.made("GET /work"))


def test_the_first_heartbeat_comes_before_the_first_poll(plane: ControlPlane, start: Callable[..., Run]) -> None:
    start(LONG, LONG)
    assert plane.wait_for(lambda: polls(plane) == 1)
    assert [call.what for call in plane.calls] == ["POST /heartbeat", "GET /work"]


def test_beats_and_polls_go_on(plane: ControlPlane, start: Callable[..., Run]) -> None:
    run = start()
    assert plane.wait_for(lambda: beats(plane) >= 3 and polls(plane) >= 3)
    assert run.stop() is Ended.STOPPED


def test_a_stop_in_the_middle_of_a_wait_is_at_once(plane: ControlPlane, start: Callable[..., Run]) -> None:
    run = start(LONG, LONG)
    assert plane.wait_for(lambda: polls(plane) == 1)
    assert run.stop() is Ended.STOPPED


@pytest.mark.parametrize("what", ["POST /heartbeat", "GET /work"])
def test_a_retired_agent_stops(plane: ControlPlane, start: Callable[..., Run], what: str) -> None:
    with failing(plane, what, problem(410, "agent-1 is retired")):
        assert start().join() is Ended.RETIRED


def test_beats_go_on_while_polls_are_put_off(plane: ControlPlane, start: Callable[..., Run]) -> None:
    with failing(plane, "GET /work", problem(503, "starting", retry_after="600")):
        start()
        assert plane.wait_for(lambda: beats(plane) >= 5)
        assert polls(plane) == 1


def test_a_retry_after_of_heartbeats_is_granted(plane: ControlPlane, start: Callable[..., Run]) -> None:
    with failing(plane, "POST /heartbeat", problem(429, "slow down", retry_after="600")):
        start(SHORT, SHORT)
        assert plane.wait_for(lambda: polls(plane) >= 3)
        assert beats(plane) == 1


def test_failures_are_got_over(plane: ControlPlane, start: Callable[..., Run]) -> None:
    plane.override("GET /work", problem(500, "x"), problem(502, "x"), (200, "no object", {}), problem(401, "x"))
    plane.override("POST /heartbeat", problem(500, "x"))
    job = plane.ask_for_csr("job-1", "mc-1", "www.example.test")
    start()
    assert plane.wait_for(lambda: job.status == "Completed")


def test_work_that_brings_more_work_is_followed_up_at_once(plane: ControlPlane, start: Callable[..., Run]) -> None:
    job = plane.ask_for_csr("job-1", "mc-1", "www.example.test")
    start(LONG, LONG)
    assert plane.wait_for(lambda: polls(plane) == 2)
    assert job.status == "Completed"


def test_csrs_of_one_poll_go_together(plane: ControlPlane, start: Callable[..., Run]) -> None:
    jobs = [plane.ask_for_csr(f"job-{number}", f"mc-{number}", "www.example.test") for number in range(5)]
    start(LONG, LONG)
    assert plane.wait_for(lambda: polls(plane) == 2)
    assert {job.status for job in jobs} == {"Completed"}
    assert (len(plane.made("POST /csrs")), len(plane.made("POST /csr"))) == (1, 0)


def test_work_that_fails_is_not_rushed(plane: ControlPlane, start: Callable[..., Run]) -> None:
    with failing(plane, "POST /csr", problem(503, "the CA is down")):
        plane.ask_for_csr("job-1", "mc-1", "www.example.test")
        run = start(LONG, LONG)
        assert plane.wait_for(lambda: len(plane.made("POST /csr")) == 1)
        run.stop()
    assert polls(plane) == 1


def test_offered_work_is_not_begun_after_a_stop(plane: ControlPlane, start: Callable[..., Run]) -> None:
    runs: list[Run] = []

    def stop_meanwhile(call: Call) -> Reply | None:
        if call.what == "POST /csr":
            runs[0].loop.stop()
        return None

    plane.overrides.append(stop_meanwhile)
    first = plane.ask_for_csr("job-1", "mc-1", "www.example.test")
    second = plane.ask_to_deploy("job-2", "mc-2", None)
    # The first poll waits until the run is known.
    known = Event()

    def hold(call: Call) -> Reply | None:
        if call.what == "GET /work":
            known.wait(10)
        return None

    plane.overrides.append(hold)
    runs.append(start(LONG, LONG))
    known.set()
    assert runs[0].join() is Ended.STOPPED
    assert (first.status, second.status) == ("Completed", "Pending")


def test_the_wait_grows_with_the_failures_to_a_limit_and_varies() -> None:
    interval = timedelta(seconds=30)
    for failures in (1, 3, MOST_BACKOFF, 1000):
        waits = {backoff(failures, interval) for _ in range(50)}
        middle = interval * min(failures, MOST_BACKOFF)
        assert all(middle * 0.89 <= wait <= middle * 1.11 for wait in waits)
        assert len(waits) > 10
