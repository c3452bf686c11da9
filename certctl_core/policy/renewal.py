"""When a certificate is renewed.

The answer is worked out once, when a certificate is recorded or its policy changes, and stored as `renew_at`; nobody
has to look at a certificate before that. How the times of one certificate follow one another, as shares of the lead
time that are left until its end:

    1.00 to 0.90   due: `renew_at`, each certificate at a place of its own
    0.75           `overdue_at`: had it gone as planned, with failures and tries, it would have been renewed by now
    0.50           `floor`: what made it wait for others does so no longer
    0.00           its end
"""

from datetime import datetime, timedelta
from typing import Final

from attrs import evolve

from certctl_core.models.catalog import RenewalPolicy
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.policy.jitter import fraction

MOST_OF_LIFE: Final = 2 / 3
"""No lead time is longer than this share of a life: 30 days before the end of a 6-day certificate is before it began,
and a certificate that is due as soon as it is issued is issued for ever."""

SPREAD: Final = 1 / 10
"""The share of the lead time over which certificates issued together are renewed."""

OVERDUE: Final = 3 / 4
FLOOR: Final = 1 / 2
LONGEST_PAUSE: Final = timedelta(days=1)
FIRST_ISSUE: Final = timedelta(days=1)
"""How long after it was asked for the first certificate may be in coming before that is remarkable."""


def lead(policy: RenewalPolicy, not_before: datetime, not_after: datetime) -> timedelta:
    """How long before its end a certificate is due: the policy's window, in days or as a share of its life, or the last
    third of its life."""
    life = not_after - not_before
    if policy.renewal_window_share is not None:
        return life * min(policy.renewal_window_share, MOST_OF_LIFE)
    if policy.renewal_window is None:
        return life / 3
    return min(policy.renewal_window, life * MOST_OF_LIFE)


def renew_at(policy: RenewalPolicy, not_before: datetime, not_after: datetime, key: str) -> datetime:
    """When a certificate with this validity is due. `key` is its id, which chooses its place in the first tenth of the
    window, so that ten thousand certificates made in an afternoon are not all due in one second."""
    window = lead(policy, not_before, not_after)
    return not_after - window + window * SPREAD * fraction(key, "renewal")


def overdue_at(policy: RenewalPolicy, not_before: datetime, not_after: datetime) -> datetime:
    """From when on a certificate that has not been renewed is reported, whatever the reason."""
    return not_after - lead(policy, not_before, not_after) * OVERDUE


def floor(policy: RenewalPolicy, certificate: ManagedCertificate) -> datetime | None:
    """Until when the renewal of a certificate may be put off for the sake of others; None: not at all, because it has
    nothing to lose its time from."""
    if certificate.valid_from is None or certificate.expires_at is None:
        return None
    return certificate.expires_at - lead(policy, certificate.valid_from, certificate.expires_at) * FLOOR


def after_failure(certificate: ManagedCertificate, policy: RenewalPolicy, now: datetime) -> ManagedCertificate:
    """The certificate with `renew_at` set for another round, after every attempt of a round has failed.

    A round that failed must not be the last: the next comes when an eighth of the remaining life has passed, within a
    day at the latest and not before the policy's retry interval. It begins afresh, with a new order.
    """
    if not policy.auto_renew:
        return evolve(certificate, renew_at=None)
    left = certificate.expires_at - now if certificate.expires_at else timedelta(0)
    pause = min(max(left / 8, policy.retry_interval), LONGEST_PAUSE)
    spread = 1 + SPREAD * fraction(certificate.id, str(certificate.generation), "round")
    return evolve(certificate, renew_at=now + pause * spread)
