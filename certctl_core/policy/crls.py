"""Judgements about CRLs: how long one lives, when it is made again, when deltas and parts are worth their while."""

from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from certctl_core.models.crls import StoredCrl

MAX_PARTITIONS: Final = 1024
DELTA_CACHE: Final = timedelta(minutes=1)
CACHE: Final = timedelta(hours=1)
"""How long others may keep a copy without asking again, if it does not end before."""


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


def has_deltas(rules: CrlRules, entries: int) -> bool:
    """Whether there are deltas to a complete CRL of so many entries."""
    return rules.deltas_from is not None and entries >= rules.deltas_from


def partitions(rules: CrlRules, present: int, entries: int) -> int:
    """Over how many parts new certificates of an issuer are spread, whose CRLs have so many entries in all and which
    are spread over `present` parts now; 0: they are not. What follows from the size only grows, by doubling, so that
    few certificates are on another part than those that were issued an hour later."""
    if rules.partitions is not None:
        return 0 if rules.partitions < 2 else min(rules.partitions, MAX_PARTITIONS)
    wanted = present
    while entries > rules.partition_size * max(wanted, 1) and wanted < MAX_PARTITIONS:
        wanted = max(wanted * 2, 2)
    return wanted


def partition_of(serial_number: str, partitions: int) -> int:
    """The part that a certificate is put on, from 1 on. Serial numbers are random, so the parts are alike."""
    return 1 + int(serial_number, 16) % partitions if partitions else 0


def full_due_at(rules: CrlRules, made: StoredCrl) -> datetime:
    """When a complete CRL is to be made again although nothing has changed."""
    return made.next_update - rules.refresh


def waits_for_delta(rules: CrlRules, stored: StoredCrl | None, now: datetime) -> bool:
    """Whether a complete CRL may be left as it is for now, its deltas telling what is newer."""
    if stored is None or not has_deltas(rules, stored.entries):
        return False
    return now < stored.made_at + rules.full_pause and now < full_due_at(rules, stored)


def max_age(stored: StoredCrl, now: datetime) -> timedelta:
    """How long a copy may be kept without asking again: never beyond nextUpdate."""
    return max(min(DELTA_CACHE if stored.is_delta else CACHE, stored.next_update - now), timedelta(0))
