"""Judgements about CRLs: how long one lives, when it is made again, when deltas and parts are worth their while."""

from datetime import datetime, timedelta
from typing import Final

from certctl_core.models.crls import MAX_PARTITIONS, CrlRules, StoredCrl

DELTA_CACHE: Final = timedelta(minutes=1)
CACHE: Final = timedelta(hours=1)
"""How long others may keep a copy without asking again, if it does not end before."""


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
