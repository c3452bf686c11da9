"""Who has shown wrong credentials lately: guessing is slowed down before it costs anything.

For protocols whose clients show passwords. Counted for each address (an IPv6 address stands for its /64), in each
process, for at most so many addresses: the one that failed longest ago is forgotten.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from attrs import define, field

from certctl_core.errors import NotAuthenticated, TooMany
from certctl_web.addresses import network

MOST: Final = 10
"""Failures that an address has at once."""

ANOTHER_EVERY: Final = 30.0
"""Seconds after which one of them is forgotten."""

MAX_ADDRESSES: Final = 10_000


@define
class Failures:
    """`debts` are, for each address, the time at which nothing is held against it any more."""

    clock: Callable[[], float] = time.monotonic
    debts: OrderedDict[str, float] = field(factory=OrderedDict)

    @contextmanager
    def watched(self, address: str) -> Iterator[None]:
        """For what raises `NotAuthenticated` when credentials are wrong. Raises `TooMany`."""
        self.must_not_be_too_many(address)
        try:
            yield
        except NotAuthenticated:
            self.note(address)
            raise

    def must_not_be_too_many(self, address: str) -> None:
        """Raises `TooMany`."""
        if not self.debts:
            return
        left = self.debts.get(network(address), 0.0) - self.clock() - (MOST - 1) * ANOTHER_EVERY
        if left > 0:
            raise TooMany(
                "too many wrong credentials from this address",
                retry_after=max(1, math.ceil(left)),
                hint="Wait as long as Retry-After says, and show the right ones.",
            )

    def note(self, address: str) -> None:
        """Wrong credentials came from there."""
        whose, now = network(address), self.clock()
        self.debts[whose] = max(self.debts.get(whose, now), now) + ANOTHER_EVERY
        self.debts.move_to_end(whose)
        if len(self.debts) > MAX_ADDRESSES:
            self.debts.popitem(last=False)
