"""When somebody is told that a certificate will end."""

from datetime import datetime, timedelta

from certctl_core.models.catalog import RenewalPolicy


def next_alert_at(policy: RenewalPolicy, not_after: datetime, now: datetime) -> datetime | None:
    """The next time after `now` at which one of the policy's thresholds is crossed. None when all are behind."""
    times = (not_after - timedelta(days=days) for days in policy.alert_thresholds_days)
    return min((at for at in times if at > now), default=None)


def threshold_crossed(policy: RenewalPolicy, not_after: datetime, now: datetime) -> int | None:
    """The smallest threshold (in days before the end) that has been crossed at `now`, None when none has.

    Only the last one matters to somebody who has not been told of those before it.
    """
    crossed = [days for days in policy.alert_thresholds_days if not_after - timedelta(days=days) <= now]
    return min(crossed, default=None)
