"""Wrong credentials are counted for each address, and forgotten one after the other."""

import pytest

from certctl_core.errors import NotAuthenticated, TooMany
from certctl_web import failures
from certctl_web.failures import Failures


def fail(found: Failures, address: str) -> None:
    with pytest.raises(NotAuthenticated), found.watched(address):
        raise NotAuthenticated("wrong")


def test_ten_at_once_and_then_one_every_half_minute() -> None:
    now = 0.0
    found = Failures(lambda: now)
    for _ in range(failures.MOST):
        fail(found, "192.0.2.1")
    with pytest.raises(TooMany) as refused, found.watched("192.0.2.1"):
        raise AssertionError("nobody looks at what it shows")
    assert refused.value.retry_after == failures.ANOTHER_EVERY
    now = failures.ANOTHER_EVERY
    fail(found, "192.0.2.1")
    with pytest.raises(TooMany), found.watched("192.0.2.1"):
        raise AssertionError("nobody looks at what it shows")


def test_others_are_not_held_back() -> None:
    found = Failures(lambda: 0.0)
    for number in range(failures.MOST):
        fail(found, f"2001:db8::{number}")
    with found.watched("192.0.2.2"), found.watched("2001:db8:0:1::1"):
        pass
    with pytest.raises(TooMany), found.watched("2001:db8::ffff"):
        raise AssertionError("one host has all of a /64")


def test_only_so_many_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "MAX_ADDRESSES", 2)
    found = Failures(lambda: 0.0)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        fail(found, address)
    assert set(found.debts) == {"192.0.2.2", "192.0.2.3"}
