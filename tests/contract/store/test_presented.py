"""What may be presented once, in any store."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from certctl_core.ports.store import Presentation
from tests.contract.store.facts import AT, DAY, HOUR, OpenWork


def present(
    store: OpenWork, used_for: bytes, *, realm: str = "nonces", value: bytes = b"n", hours: int = 0
) -> Presentation:
    with store() as work:
        return work.presented.present(realm, value, used_for, AT + hours * HOUR, AT + DAY)


def test_the_first_to_present_it_is_remembered(store: OpenWork) -> None:
    assert present(store, b"first") == Presentation(b"first", AT)
    assert present(store, b"second", hours=1) == Presentation(b"first", AT)
    assert present(store, b"first", hours=2) == Presentation(b"first", AT)


def test_what_is_presented_elsewhere_is_something_else(store: OpenWork) -> None:
    present(store, b"first")
    assert present(store, b"second", realm="challenges").used_for == b"second"
    assert present(store, b"third", value=b"m").used_for == b"third"
    with store() as work:
        assert (work.presented.count("nonces"), work.presented.count("none")) == (2, 0)


def test_what_is_over_is_forgotten_and_no_more(store: OpenWork) -> None:
    for number in range(5):
        with store() as work:
            work.presented.present("nonces", bytes([number]), b"first", AT, AT + number * HOUR)
    with store() as work:
        assert work.presented.forget(AT + 2 * HOUR, 2) == 2
        assert work.presented.forget(AT + 2 * HOUR, 2) == 1
        assert work.presented.forget(AT + 2 * HOUR, 2) == 0
        assert work.presented.count("nonces") == 2


def test_a_transaction_that_fails_has_presented_nothing(store: OpenWork) -> None:
    def fail() -> None:
        with store() as work:
            work.presented.present("nonces", b"n", b"first", AT, AT + DAY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert present(store, b"second").used_for == b"second"


def test_of_those_who_present_it_at_once_one_is_first(store: OpenWork) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda number: present(store, bytes([number])).used_for, range(40)))
    assert len(found) == 1
