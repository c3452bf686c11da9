"""Quotas in any store."""

from concurrent.futures import ThreadPoolExecutor

from tests.contract.store.facts import AT, HOUR, MINUTE, SECOND, OpenWork


def test_what_there_is_is_given_out_once_in_any_hour(store: OpenWork) -> None:
    def take(minutes: int, whose: str = "me", what: str = "export") -> object:
        with store() as work:
            return work.quotas.take(what, whose, 3, HOUR, AT + minutes * MINUTE)

    assert [take(minutes) for minutes in (0, 10, 20)] == [None, None, None]
    assert take(30) == AT + HOUR
    assert take(30, whose="you") is None
    assert take(30, what="other") is None
    assert take(59) == AT + HOUR
    assert take(60) is None
    assert take(61) == AT + HOUR + 10 * MINUTE
    assert take(1000) is None


def test_fewer_than_were_used_are_permitted_again_when_enough_are_past(store: OpenWork) -> None:
    with store() as work:
        for minutes in range(5):
            assert work.quotas.take("export", "me", 5, HOUR, AT + minutes * MINUTE) is None
    with store() as work:
        assert work.quotas.take("export", "me", 2, HOUR, AT + 10 * MINUTE) == AT + HOUR + 3 * MINUTE
        assert work.quotas.take("export", "me", 2, HOUR, AT + HOUR + 3 * MINUTE - SECOND) is not None
        assert work.quotas.take("export", "me", 2, HOUR, AT + HOUR + 3 * MINUTE) is None


def test_those_of_which_nothing_was_used_are_forgotten(store: OpenWork) -> None:
    with store() as work:
        work.quotas.take("export", "old", 1, HOUR, AT)
        work.quotas.take("export", "new", 1, HOUR, AT + HOUR)
    with store() as work:
        assert work.quotas.forget(AT + HOUR) == 1
        assert work.quotas.take("export", "old", 1, HOUR, AT + SECOND) is None
        assert work.quotas.take("export", "new", 1, HOUR, AT + HOUR + SECOND) is not None


def test_who_asks_at_once_gets_no_more(store: OpenWork) -> None:
    def take(_: int) -> bool:
        with store() as work:
            return work.quotas.take("export", "me", 5, HOUR, AT) is None

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(take, range(40))) == 5
