"""All the times at which something is to happen to a certificate by itself, kept in step with one another."""

from datetime import datetime

from attrs import evolve

from certctl_core.models.catalog import RenewalPolicy
from certctl_core.models.certificates import CertificateStatus as S
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.policy import alerts, renewal

_OVER = (S.REVOKED, S.ARCHIVED)


def first(certificate: ManagedCertificate, policy: RenewalPolicy, now: datetime) -> ManagedCertificate:
    """The times of a certificate that has yet to be issued: at once, if its policy renews by itself and there is
    somewhere to issue it for."""
    if not policy.auto_renew or not certificate.target_ids:
        return evolve(certificate, renew_at=None, overdue_at=None)
    return evolve(certificate, renew_at=now, overdue_at=now + renewal.FIRST_ISSUE, overdue_reported_at=None)


def issued(
    certificate: ManagedCertificate, policy: RenewalPolicy, not_before: datetime, not_after: datetime, now: datetime
) -> ManagedCertificate:
    """The times that follow from a version just recorded, which may not be the one that ends first: then nothing
    changes, what was promised and told is still so."""
    if (certificate.valid_from, certificate.expires_at) == (not_before, not_after):
        return certificate
    counting = alerts.thresholds(policy, not_before, not_after)
    return evolve(
        certificate,
        valid_from=not_before,
        expires_at=not_after,
        renew_at=renewal.renew_at(policy, not_before, not_after, certificate.id),
        next_alert_at=alerts.next_alert_at(counting, not_after, now),
        overdue_at=renewal.overdue_at(policy, not_before, not_after) if policy.auto_renew else None,
        overdue_reported_at=None,
    )


def changed(certificate: ManagedCertificate, policy: RenewalPolicy, now: datetime) -> ManagedCertificate:
    """The times of a certificate whose policy has changed, or that follows another one from now on.

    A threshold that the new policy puts behind it is told of at once, unless it was told of before. A renewal that is
    under way goes on, one that waits to try again keeps its time.
    """
    if certificate.status in _OVER:
        return none(certificate)
    if certificate.valid_from is None or certificate.expires_at is None:
        return _unissued(certificate, policy, now)
    not_before, not_after = certificate.valid_from, certificate.expires_at
    counting = alerts.thresholds(policy, not_before, not_after)
    is_behind = not_after > now and alerts.threshold_crossed(counting, not_after, now) is not None
    overdue_at = renewal.overdue_at(policy, not_before, not_after) if policy.auto_renew else None
    is_late = overdue_at is not None and overdue_at <= now
    return evolve(
        certificate,
        renew_at=_renew_at(certificate, policy, not_before, not_after, now),
        next_alert_at=now if is_behind else alerts.next_alert_at(counting, not_after, now),
        overdue_at=overdue_at,
        overdue_reported_at=certificate.overdue_reported_at if is_late else None,
    )


def none(certificate: ManagedCertificate) -> ManagedCertificate:
    """Nothing more is to happen to it."""
    return evolve(certificate, renew_at=None, next_alert_at=None, overdue_at=None, overdue_reported_at=None)


def _unissued(certificate: ManagedCertificate, policy: RenewalPolicy, now: datetime) -> ManagedCertificate:
    if certificate.status is S.RENEWAL_IN_PROGRESS or (certificate.renew_at is not None and policy.auto_renew):
        return certificate
    return first(certificate, policy, now)


def _renew_at(
    certificate: ManagedCertificate, policy: RenewalPolicy, not_before: datetime, not_after: datetime, now: datetime
) -> datetime | None:
    due = renewal.renew_at(policy, not_before, not_after, certificate.id)
    match certificate.status:
        case S.RENEWAL_IN_PROGRESS:
            return certificate.renew_at
        case S.ACTIVE:
            return due
        case S.EXPIRING:
            return due if policy.auto_renew else None
        case _:
            return (certificate.renew_at or now) if policy.auto_renew else None
