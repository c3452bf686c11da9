"""A token bucket for each caller.

A caller is an API key once it has been seen to be valid, and a client address before: otherwise whoever invents keys
would get a fresh bucket with each. An unknown key is paid for by the address it comes from, which gets that back when
the key turns out to be valid; when the address's bucket is empty, the next unknown key is not even looked up. Agents
have a budget of their own. An IPv6 address stands for its /64, of which one host has every address.

The buckets are per process and bounded in number: the one least recently used is forgotten, and starts full when it
comes back.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import falcon
from attrs import define

from certctl_core.errors import TooMany
from certctl_core.models.access import Principal, Role
from certctl_core.usecases import access
from certctl_web.addresses import network
from certctl_web.middleware import facts
from certctl_web.options import Rate

MAX_BUCKETS: Final = 20_000
UNLIMITED: Final = frozenset({"/health", "/ready"})
"""A supervisor that asks often must not be told that the server is unwell."""

BEARER: Final = "Bearer"


def bearer(req: falcon.Request) -> str:
    """The key in the Authorization header; empty when there is none."""
    scheme, _, key = (req.get_header("Authorization") or "").partition(" ")
    return key.strip() if scheme == BEARER else ""


@define
class _Bucket:
    rate: Rate
    tokens: float
    at: float

    def fill(self, now: float) -> None:
        self.tokens = min(float(self.rate.burst), self.tokens + (now - self.at) * self.rate.per_second)
        self.at = now

    def wait(self) -> float:
        """Seconds until there is a token; 0 when there is one."""
        return max(0.0, (1 - self.tokens) / self.rate.per_second)


class Buckets:
    """A bucket for each name, all of one rate unless a name was given another."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def __contains__(self, name: str) -> bool:
        return name in self._buckets

    def take(self, name: str) -> bool:
        """Take a token out of the bucket, if there is one."""
        bucket = self.of(name)
        if bucket.wait() > 0:
            return False
        bucket.tokens -= 1
        return True

    def of(self, name: str, rate: Rate | None = None) -> _Bucket:
        """The bucket as it is now; a new one, of this rate, is full."""
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            chosen = rate or self._rate
            bucket = self._buckets[name] = _Bucket(chosen, float(chosen.burst), now)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
            bucket.fill(now)
        return bucket


class RateLimit:
    def __init__(self, people: Rate, agents: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._people = people
        self._agents = agents
        self._buckets = Buckets(people, clock)

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        known = facts.of(req)
        if req.path in UNLIMITED or req.method == "OPTIONS":
            return
        presented = bearer(req)
        key = access.digest(presented) if presented else ""
        self._take(key if key in self._buckets else network(known.client))

    def accepted(self, client: str, presented: str, caller: Principal) -> None:
        """The key is valid: from now on it has a bucket of its own."""
        key = access.digest(presented)
        if key not in self._buckets:
            self._buckets.of(network(client)).tokens += 1
            self._buckets.of(key, self._agents if caller.role is Role.AGENT else self._people).tokens -= 1

    def _take(self, name: str) -> None:
        if self._buckets.take(name):
            return
        bucket = self._buckets.of(name)
        raise TooMany(
            "Rate limit exceeded",
            retry_after=max(1, math.ceil(bucket.wait())),
            hint=f"At most {bucket.rate.per_second:g} requests a second, {bucket.rate.burst} at once.",
        )
