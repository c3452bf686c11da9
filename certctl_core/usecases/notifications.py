"""Messages owed to people, written in the transaction of the change that they tell of.

A message goes to the owner of its certificate, over the channels that the certificate's renewal policy names for its
severity. Sending is not done here: what is owed is a row, and stays one until it was sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from certctl_core.ids import NotificationId, mint
from certctl_core.models.catalog import Owner, RenewalPolicy
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.records import AlertSeverity, Notification, NotificationType
from certctl_core.policy import alerts
from certctl_core.ports.store import Is, Query, Where, Work

_TROUBLE: Final = (NotificationType.RENEWAL_FAILURE, NotificationType.DEPLOYMENT_FAILURE)
ENOUGH: Final = timedelta(days=1)
"""How soon the same trouble is worth another message."""


@frozen(kw_only=True)
class Notice:
    """Something to tell the owner of a certificate: `what` happened, in words that are the same when it happens again,
    and what to do `next`."""

    type: NotificationType
    severity: AlertSeverity
    certificate: ManagedCertificate
    what: str
    next: str


def owe(work: Work, now: datetime, *notices: Notice) -> tuple[tuple[Notification, ...], ...]:
    """Write down what is owed in the open transaction, in a constant number of statements. Returns what was written for
    each notice: a message for each of its channels. Nothing is, when the policy names none, and for trouble of which
    the owner was told in the same words within a day: what comes back every hour is not news.

    The caller holds the certificates, so that nobody says the same meanwhile."""
    if not notices:
        return ()
    certificates = [notice.certificate for notice in notices]
    policies = work.renewal_policies.many({certificate.renewal_policy_id for certificate in certificates})
    owners = work.owners.many({certificate.owner_id for certificate in certificates})
    said = _said(work, now, [notice for notice in notices if notice.type in _TROUBLE])
    owed = tuple(
        () if _is_said(notice, said) else tuple(_messages(notice, policies, owners, now)) for notice in notices
    )
    work.notifications.add_many([message for messages in owed for message in messages])
    return owed


def _said(work: Work, now: datetime, notices: Sequence[Notice]) -> Mapping[str | None, Sequence[Notification]]:
    """What was said about the certificates of these notices within a day."""
    if not notices:
        return {}
    lately = Query(
        (
            Where("certificate_id", tuple({notice.certificate.id for notice in notices}), Is.ONE_OF),
            Where("type", tuple(_TROUBLE), Is.ONE_OF),
            Where("created_at", now - ENOUGH, Is.AFTER),
        ),
        limit=100 * len(notices),
        count=False,
    )
    said: dict[str | None, list[Notification]] = {}
    for known in work.notifications.page(lately).items:
        said.setdefault(known.certificate_id, []).append(known)
    return said


def _is_said(notice: Notice, said: Mapping[str | None, Sequence[Notification]]) -> bool:
    known = said.get(notice.certificate.id, ())
    return any(message.type is notice.type and message.message.startswith(notice.what) for message in known)


def _messages(
    notice: Notice, policies: Mapping[str, RenewalPolicy], owners: Mapping[str, Owner], now: datetime
) -> Iterable[Notification]:
    certificate = notice.certificate
    owner = owners[certificate.owner_id]
    for channel in alerts.channels(policies[certificate.renewal_policy_id], notice.type, notice.severity):
        yield Notification(
            id=NotificationId(mint("notif", now)),
            type=notice.type,
            certificate_id=certificate.id,
            channel=channel.value,
            recipient=owner.email or owner.id,
            message=f"{notice.what} {notice.next} Owner: {owner.name}.",
            created_at=now,
        )
