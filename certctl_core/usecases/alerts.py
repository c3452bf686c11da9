"""Alerts: the owner of a certificate is told in time that it ends, once for each threshold of its policy.

Theory of operation. `next_alert_at` of a certificate is when the next of its thresholds is crossed. Whoever finds it
past writes a row of `expiration_alerts`, whose key is certificate, end and threshold; who added that row tells, in the
same transaction. So nobody is told twice, whatever is killed, repeated or rescheduled, and nobody is left out: until
the transaction has ended `next_alert_at` stays in the past.

A certificate whose first threshold is crossed shows as Expiring, unless its renewal is under way.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from certctl_core.lifecycle import certificate as life
from certctl_core.lifecycle.certificate import CertificateEvent
from certctl_core.models.access import SYSTEM
from certctl_core.models.catalog import RenewalPolicy
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.records import AuditEvent, ExpirationAlert, Notification
from certctl_core.policy import alerts as policy_of_alerts
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import audit, notices, notifications

BATCH: Final = 500
KEPT: Final = timedelta(days=90)
"""How long it is remembered, after the end, that it was told of. Nobody is told of an end that is past."""


@frozen
class Told:
    """What follows from telling: the certificates as they are now, in the order given, and events. Not written yet."""

    certificates: tuple[ManagedCertificate, ...]
    events: tuple[AuditEvent, ...]


def sweep(ports: Ports) -> int:
    """Tell of every threshold that has been crossed. Returns how many certificates were looked at."""
    done = 0
    while True:
        now = ports.clock.now()
        with ports.work() as work:
            due = work.certificates.due_for_alert(now, BATCH)
            told = tell(work, due, now)
            work.certificates.save_many(told.certificates)
            work.audit.add(*told.events)
        done += len(due)
        if len(due) < BATCH:
            return done


def tell(work: Work, certificates: Sequence[ManagedCertificate], now: datetime) -> Told:
    """Owe the owners of these certificates, which the caller holds and saves, what they have to be told by now: alerts
    and messages are written, the rest is returned."""
    if not certificates:
        return Told((), ())
    policies = work.renewal_policies.many({certificate.renewal_policy_id for certificate in certificates})
    after, crossed = [], []
    for certificate in certificates:
        policy = policies[certificate.renewal_policy_id]
        moved, alert = _look(certificate, policy, now)
        after.append(moved)
        crossed += [alert] if alert else []
    by_id = {certificate.id: certificate for certificate in after}
    new = [(alert, by_id[alert.certificate_id]) for alert in work.alerts.add_new(crossed)]
    owed = notifications.owe(work, now, *(_notice(alert, held, policies, now) for alert, held in new))
    events = (_event(alert, held, sent, now) for (alert, held), sent in zip(new, owed, strict=True))
    return Told(tuple(after), tuple(events))


def forget(ports: Ports) -> int:
    """Forget what was told of ends that are long past. Returns how many."""
    done = 0
    while True:
        with ports.work() as work:
            removed = work.alerts.forget(ports.clock.now() - KEPT, BATCH)
        done += removed
        if removed < BATCH:
            return done


def _look(
    certificate: ManagedCertificate, policy: RenewalPolicy, now: datetime
) -> tuple[ManagedCertificate, ExpirationAlert | None]:
    """The certificate with its next time, and the alert that is due; none when a changed policy has no such threshold
    any more."""
    end = certificate.expires_at
    if end is None:
        return evolve(certificate, next_alert_at=None), None
    counting = policy_of_alerts.thresholds(policy, certificate.valid_from, end)
    following = policy_of_alerts.next_alert_at(counting, end, now)
    threshold = policy_of_alerts.threshold_crossed(counting, end, now)
    if threshold is None:
        return evolve(certificate, next_alert_at=following), None
    if certificate.status is CertificateStatus.ACTIVE:
        reason = certificate.status_reason
        moved = life.step(certificate, CertificateEvent.APPROACH_EXPIRY, now, reason, next_alert_at=following)
    else:
        moved = evolve(certificate, next_alert_at=following)
    return moved, ExpirationAlert(certificate_id=certificate.id, expires_at=end, threshold_days=threshold, told_at=now)


def _notice(
    alert: ExpirationAlert, certificate: ManagedCertificate, policies: Mapping[str, RenewalPolicy], now: datetime
) -> notifications.Notice:
    policy = policies[certificate.renewal_policy_id]
    return notices.ending(certificate, policy, policy_of_alerts.severity(policy, alert.threshold_days), now)


def _event(
    alert: ExpirationAlert, certificate: ManagedCertificate, sent: Sequence[Notification], now: datetime
) -> AuditEvent:
    """Nobody being told is on record, too: a policy that names no channel for a severity says so on purpose, or by
    mistake."""
    return audit.event(
        SYSTEM,
        now,
        "expiration_alert_sent" if sent else "expiration_alert_skipped_no_channels",
        "certificate",
        certificate.id,
        threshold_days=alert.threshold_days,
        days_until_expiry=notices.days_left(certificate, now),
        **({"channels": [each.channel for each in sent]} if sent else {}),
    )
