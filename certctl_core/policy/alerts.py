"""When somebody is told that a certificate will end, how much that matters, and over what they are told."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from certctl_core.models.catalog import RenewalPolicy
from certctl_core.models.records import AlertSeverity, Channel, NotificationType
from certctl_core.policy.renewal import MOST_OF_LIFE

EARLY: Final = 30
"""A threshold of so many days or more is for planning."""


def thresholds(policy: RenewalPolicy, not_before: datetime | None, not_after: datetime) -> tuple[int, ...]:
    """The policy's thresholds that mean something for this life, in days before its end, the earliest first.

    30 days before its end a certificate of 47 days is in its first third, and one of 6 days has not begun: a warning
    that comes with every certificate, and before anything could be wrong, is one that nobody reads.
    """
    longest = None if not_before is None else (not_after - not_before) * MOST_OF_LIFE
    counting = {
        days for days in policy.alert_thresholds_days if longest is None or days == 0 or timedelta(days=days) <= longest
    }
    return tuple(sorted(counting, reverse=True))


def next_alert_at(days: Iterable[int], not_after: datetime, now: datetime) -> datetime | None:
    """The next time after `now` at which one of the thresholds is crossed. None when all are behind."""
    times = (not_after - timedelta(days=each) for each in days)
    return min((at for at in times if at > now), default=None)


def threshold_crossed(days: Iterable[int], not_after: datetime, now: datetime) -> int | None:
    """The smallest threshold that has been crossed at `now`, None when none has.

    Only the last one matters to somebody who has not been told of those before it.
    """
    return min((each for each in days if not_after - timedelta(days=each) <= now), default=None)


def severity(policy: RenewalPolicy, threshold_days: int) -> AlertSeverity:
    """How much it matters that this threshold is crossed: as the policy says, or more the nearer the end is."""
    if threshold_days in policy.alert_severity_map:
        return policy.alert_severity_map[threshold_days]
    if threshold_days == 0:
        return AlertSeverity.CRITICAL
    return AlertSeverity.INFORMATIONAL if threshold_days >= EARLY else AlertSeverity.WARNING


def channels(policy: RenewalPolicy, kind: NotificationType, severity_: AlertSeverity) -> tuple[Channel, ...]:
    """Over what a message of this severity goes. What the policy says nothing about is not kept quiet: it goes by
    e-mail, and a revocation, which programs want to know of, by webhook too."""
    if severity_ in policy.alert_channels:
        return policy.alert_channels[severity_]
    return (Channel.EMAIL, Channel.WEBHOOK) if kind is NotificationType.REVOCATION else (Channel.EMAIL,)
