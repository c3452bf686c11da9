"""When to try again: exponential back-off with a cap and jitter."""

from datetime import datetime, timedelta
from typing import Final

from certctl_core.policy.jitter import fraction

CAP: Final = timedelta(days=1)
"""However often something has failed, a day later it is tried again."""


def delay(attempt: int, interval: timedelta, fraction_of_spread: float, cap: timedelta = CAP) -> timedelta:
    """How long to wait after the `attempt`-th failure (from 1).

    `interval` doubles with every failure up to `cap`. The upper half of that is jitter: `fraction_of_spread` in [0, 1)
    chooses a place in it, so that whatever failed together does not come back together.
    """
    doublings = max(attempt - 1, 0)
    # Asked before it is done, because a billionth doubling is no time any more.
    reaches_cap = doublings >= (cap // interval).bit_length()
    longest = cap if reaches_cap else interval * 2**doublings
    return longest * ((1 + fraction_of_spread) / 2)


def next_attempt_at(now: datetime, *, attempt: int, interval: timedelta, key: str, cap: timedelta = CAP) -> datetime:
    """When to try again after the `attempt`-th failure at `now`. `key` is the id of what is retried."""
    return now + delay(attempt, interval, fraction(key, str(attempt)), cap)
