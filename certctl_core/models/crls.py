"""CRLs: what each is about, the one that is published now, and the history of making them.

A *scope* is what one CRL is about: a CA of an issuer, and the part of its certificates whose distribution point names
it. Each scope has a complete CRL, and a delta where those are in use.
"""

from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from certctl_core.ids import IssuerId

MAX_PARTITIONS: Final = 1024


@frozen
class CrlRules:
    """How CRLs are made.

    `life` is how long one may be relied upon. Deltas are there from `deltas_from` entries on (None: never, 0: always);
    then a complete one is made at most every `full_pause`, and only its deltas tell of what is newer. `partitions` is
    over how many parts new certificates are spread; None: as many as it takes for a part to have at most
    `partition_size` entries.
    """

    life: timedelta = timedelta(hours=24)
    deltas_from: int | None = 50_000
    full_pause: timedelta = timedelta(0)
    partitions: int | None = None
    partition_size: int = 100_000

    @property
    def refresh(self) -> timedelta:
        """A CRL is made again when this much of its life is left, so that a relying party never meets one that has
        ended."""
        return self.life / 2


@frozen(order=True)
class CrlScope:
    """`authority` is the CA's key identifier in hex. The certificates of part 0 have a distribution point that names no
    part, or none at all."""

    issuer_id: IssuerId
    authority: str
    partition: int = 0

    @property
    def key(self) -> str:
        """All of it as one text."""
        return f"{self.issuer_id}/{self.authority}/{self.partition}"


@frozen(kw_only=True)
class StoredCrl:
    """A CRL that is published; its bytes are kept apart. `digest` is the SHA-256 of the DER in hex, `base` the number
    of the complete CRL that a delta adds to. `changes` is the scope's count of changes that it was made at, or
    earlier."""

    scope: CrlScope
    is_delta: bool = False
    number: int
    base: int | None = None
    digest: str
    size: int
    entries: int
    changes: int
    this_update: datetime
    next_update: datetime
    made_at: datetime
    took: timedelta = timedelta(0)

    @property
    def key(self) -> str:
        """What one replaces the other by."""
        return f"{self.scope.key}/{'delta' if self.is_delta else 'full'}"

    @property
    def issuer_id(self) -> IssuerId:
        return self.scope.issuer_id


@frozen(kw_only=True)
class CrlDuty:
    """When the CRL of a scope is next to be made.

    `changes` counts what was revoked and released in it, `due_at` is when the loop must make it again, `lease_until`
    until when somebody is at it. `failures` counts those in a row. `addresses` are the URLs by which certificates have
    named it; `is_first` is the CA that is meant where no CA is named.
    """

    scope: CrlScope
    changes: int = 0
    due_at: datetime
    lease_until: datetime | None = None
    failures: int = 0
    last_error: str = ""
    addresses: tuple[str, ...] = ()
    is_first: bool = False

    @property
    def key(self) -> str:
        return self.scope.key

    @property
    def issuer_id(self) -> IssuerId:
        return self.scope.issuer_id


@frozen(kw_only=True)
class CrlGeneration:
    """One making of a CRL, or the failure to. `number` is 0 when it failed before it had one."""

    scope: CrlScope
    is_delta: bool = False
    number: int = 0
    started_at: datetime
    took: timedelta
    entries: int = 0
    changes: int = 0
    next_update: datetime | None = None
    succeeded: bool = True
    error: str = ""
