"""A token bucket for each caller.

A caller is an API key once it has been seen to be valid, and a client address before: otherwise whoever invents keys
would get a fresh bucket with each. Keys that turn out wrong are paid for by the address they came from, and when its
bucket is empty the next unknown key is not even looked up. Agents have a budget of their own.

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
from certctl_web.middleware import facts
from certctl_web.options import Rate

MAX_BUCKETS: Final = 20_000
UNLIMITED: Final = frozenset({"/health", "/ready"})
"""A supervisor that asks often must not be told that the server is unwell."""

BEARER: Final = "Bearer "


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


class RateLimit:
    def __init__(self, people: Rate, agents: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._people = people
        self._agents = agents
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        known = facts.of(req)
        if req.path in UNLIMITED or req.method == "OPTIONS":
            return
        header = req.get_header("Authorization") or ""
        key = access.digest(header.removeprefix(BEARER)) if header.startswith(BEARER) else ""
        if key and key in self._buckets:
            self._take(key)
        elif key:
            self._must_have(known.client)
        else:
            self._take(known.client)

    def accepted(self, key_hash: str, caller: Principal) -> None:
        """The key is valid: from now on it has a bucket of its own."""
        if key_hash not in self._buckets:
            self._bucket(key_hash, self._agents if caller.role is Role.AGENT else self._people).tokens -= 1

    def rejected(self, client: str) -> None:
        """The key was wrong: the address pays."""
        self._bucket(client, self._people).tokens -= 1

    def _take(self, name: str) -> None:
        self._must_have(name).tokens -= 1

    def _must_have(self, name: str) -> _Bucket:
        bucket = self._bucket(name, self._people)
        if bucket.wait() > 0:
            raise TooMany(
                "Rate limit exceeded",
                retry_after=max(1, math.ceil(bucket.wait())),
                hint=f"At most {bucket.rate.per_second:g} requests a second, {bucket.rate.burst} at once.",
            )
        return bucket

    def _bucket(self, name: str, rate: Rate) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(rate, float(rate.burst), now)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
            bucket.fill(now)
        return bucket
