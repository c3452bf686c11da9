"""When a certificate is renewed.

The answer is worked out once, when a certificate is recorded, and stored as `renew_at`; nobody has to look at a
certificate before that.
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

LONGEST_PAUSE: Final = timedelta(days=1)


def lead(policy: RenewalPolicy, not_before: datetime, not_after: datetime) -> timedelta:
    """How long before its end a certificate is due: the policy's window, or the last third of its life."""
    life = not_after - not_before
    if policy.renewal_window is None:
        return life / 3
    return min(policy.renewal_window, life * MOST_OF_LIFE)


def renew_at(policy: RenewalPolicy, not_before: datetime, not_after: datetime, key: str) -> datetime:
    """When a certificate with this validity is due. `key` is its id, which chooses its place in the first tenth of the
    window, so that ten thousand certificates made in an afternoon are not all due in one second."""
    window = lead(policy, not_before, not_after)
    return not_after - window + window * SPREAD * fraction(key, "renewal")


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
