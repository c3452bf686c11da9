"""Small ports: the clock, the box that seals secrets, TLS probing, measuring, and points
where a test may stop the world."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from attrs import frozen
from cryptography import x509

A = TypeVar("A")
R = TypeVar("R")


class Clock(Protocol):
    """The only source of "now". Never blocks."""

    @abstractmethod
    def now(self) -> datetime:
        """The present as aware UTC."""


class SecretBox(Protocol):
    """Authenticated encryption of values at rest. Never blocks on the network.

    `open(seal(x)) == x`. Sealing the same value twice gives different bytes.
    """

    @abstractmethod
    def seal(self, plain: bytes) -> bytes: ...

    @abstractmethod
    def open(self, sealed: bytes) -> bytes:
        """Raises `Unreadable` when the bytes are not a sealed value or the key is another one."""


@frozen
class Seen:
    """What a TLS endpoint presented. `fingerprint` is lower-case hex SHA-256 of the leaf."""

    fingerprint: str
    certificate: x509.Certificate
    tls_version: str
    cipher_suite: str
    took: timedelta


class Prober(Protocol):
    """Looks at what an endpoint serves, trusting nothing of it. Blocks for at most `timeout`."""

    @abstractmethod
    def probe(self, host: str, port: int, *, server_name: str | None = None, timeout: timedelta) -> Seen:
        """Raises `UpstreamUnavailable` with the reason when no certificate was seen."""


class Tripwire(Protocol):
    """Told each numbered point between two durable steps."""

    @abstractmethod
    def __call__(self, point: str, /) -> None: ...


class Together(Protocol):
    """Has what several callers ask for at the same time done in one go. Blocks while others have their turn, and never
    for longer than it takes to do what was there before."""

    @abstractmethod
    def ask(self, line: str, do: Callable[[Sequence[A]], Sequence[R]], item: A, /) -> R:
        """The outcome of `item`. `do` is given items of all callers of this `line`, and answers each in its place. It
        must bear items in any mixture, those of other callers than its own among them. What it raises about several
        says nothing: it is then asked for each alone. `UpstreamUnavailable` alone is told to all of them."""


class Alone(Together):
    """Everybody by themselves."""

    def ask(self, _line: str, do: Callable[[Sequence[A]], Sequence[R]], item: A, /) -> R:
        (outcome,) = do([item])
        return outcome


class Meter(Protocol):
    """Told how long what matters took. Never blocks and never raises."""

    @abstractmethod
    def issued(self, issuer_type: str, outcome: str, took: timedelta, /) -> None:
        """A CA has answered, or did not. `outcome` is `issued`, `pending` or `failed`."""

    @abstractmethod
    def deployed(self, outcome: str, took: timedelta, /) -> None:
        """A deployment has ended, so long after it was handed out. `outcome` is `completed` or `failed`."""

    @abstractmethod
    def challenged(self, label: str, verdict: str, /) -> None:
        """The challenge of a connector was judged at a door of SCEP, in the word of `policy.intune.Verdict`."""

    @abstractmethod
    def crl_made(self, kind: str, outcome: str, took: timedelta, /) -> None:
        """A CRL was made, or could not be. `kind` is `complete` or `delta`, `outcome` is `made` or `failed`."""


class Unmeasured(Meter):
    """The meter where nobody asks."""

    def issued(self, _issuer_type: str, _outcome: str, _took: timedelta, /) -> None:
        return None

    def deployed(self, _outcome: str, _took: timedelta, /) -> None:
        return None

    def challenged(self, _label: str, _verdict: str, /) -> None:
        return None

    def crl_made(self, _kind: str, _outcome: str, _took: timedelta, /) -> None:
        return None


class Nowhere(Tripwire):
    """The tripwire of production: it never stops anything."""

    def __call__(self, _point: str, /) -> None:
        return None
