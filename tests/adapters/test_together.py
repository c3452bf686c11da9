"""Lines: what comes at the same time is done in one go."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from certctl_adapters.together import InLines
from certctl_core.errors import UpstreamUnavailable


class Doer:
    """Doubles numbers, notes in what company each came, and is held up at will."""

    def __init__(self) -> None:
        self.companies: list[list[int]] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.companies.append(list(items))
        self.begun.set()
        assert self.go_on.wait(10)
        if 13 in items:
            raise ValueError("unlucky")
        return [2 * item for item in items]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def until_waiting(lines: InLines, line: str, count: int) -> None:
    waiting = lines._lines[line].waiting
    while len(waiting) < count:
        threading.Event().wait(0.001)


def test_one_caller_alone_waits_for_nobody() -> None:
    doer, lines = Doer(), InLines()
    assert [lines.ask("a", doer, number) for number in (1, 2)] == [2, 4]
    assert doer.companies == [[1], [2]]


def test_who_comes_meanwhile_goes_together_and_each_gets_its_own_outcome(threads: ThreadPoolExecutor) -> None:
    doer, lines = Doer(), InLines()
    doer.go_on.clear()
    first = threads.submit(lines.ask, "a", doer, 1)
    assert doer.begun.wait(10)
    others = [threads.submit(lines.ask, "a", doer, number) for number in (2, 3, 4)]
    until_waiting(lines, "a", 3)
    doer.go_on.set()
    assert [each.result(10) for each in (first, *others)] == [2, 4, 6, 8]
    assert [sorted(company) for company in doer.companies] == [[1], [2, 3, 4]]


def test_what_one_does_wrong_is_not_the_others_error(threads: ThreadPoolExecutor) -> None:
    doer, lines = Doer(), InLines()
    doer.go_on.clear()
    first = threads.submit(lines.ask, "a", doer, 1)
    assert doer.begun.wait(10)
    others = [threads.submit(lines.ask, "a", doer, number) for number in (2, 13)]
    until_waiting(lines, "a", 2)
    doer.go_on.set()
    assert (first.result(10), others[0].result(10)) == (2, 4)
    with pytest.raises(ValueError, match="unlucky"):
        others[1].result(10)


def test_a_database_that_does_not_answer_is_asked_once_for_all(threads: ThreadPoolExecutor) -> None:
    companies: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def do(items: Sequence[int]) -> Sequence[int]:
        companies.append(list(items))
        if len(companies) == 1:
            begun.set()
            assert go_on.wait(10)
            return list(items)
        raise UpstreamUnavailable("the database is not available")

    lines = InLines()
    first = threads.submit(lines.ask, "a", do, 1)
    assert begun.wait(10)
    others = [threads.submit(lines.ask, "a", do, number) for number in (2, 3, 4)]
    until_waiting(lines, "a", 3)
    go_on.set()

    assert first.result(10) == 1
    for other in others:
        with pytest.raises(UpstreamUnavailable):
            other.result(10)
    assert [sorted(company) for company in companies] == [[1], [2, 3, 4]]


def test_lines_do_not_wait_for_each_other(threads: ThreadPoolExecutor) -> None:
    slow, quick, lines = Doer(), Doer(), InLines()
    slow.go_on.clear()
    held_up = threads.submit(lines.ask, "slow", slow, 1)
    assert slow.begun.wait(10)
    assert lines.ask("quick", quick, 5) == 10
    slow.go_on.set()
    assert held_up.result(10) == 2


def test_no_more_than_so_many_go_together(threads: ThreadPoolExecutor) -> None:
    doer, lines = Doer(), InLines(most=2)
    doer.go_on.clear()
    asked = [threads.submit(lines.ask, "a", doer, 0)]
    assert doer.begun.wait(10)
    asked += [threads.submit(lines.ask, "a", doer, number) for number in (1, 2, 3)]
    until_waiting(lines, "a", 3)
    doer.go_on.set()
    assert sorted(each.result(10) for each in asked) == [0, 2, 4, 6]
    assert sorted(map(len, doer.companies)) == [1, 1, 2]


def test_who_is_stopped_in_its_turn_leaves_it_to_the_next(threads: ThreadPoolExecutor) -> None:
    lines, calls = InLines(), []

    class Stopped(BaseException):
        pass

    begun, go_on = threading.Event(), threading.Event()

    def do(items: Sequence[int]) -> Sequence[int]:
        calls.append(list(items))
        if len(calls) == 1:
            begun.set()
            assert go_on.wait(10)
        if len(calls) == 2:
            raise Stopped
        return list(items)

    first = threads.submit(lines.ask, "a", do, 1)
    assert begun.wait(10)
    others = [threads.submit(lines.ask, "a", do, number) for number in (2, 3)]
    until_waiting(lines, "a", 2)
    go_on.set()
    assert first.result(10) == 1
    outcomes = [each.exception(10) or each.result() for each in others]
    assert sorted(map(str, outcomes)) in (["", "2"], ["", "3"])
