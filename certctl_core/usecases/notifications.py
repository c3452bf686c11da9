"""Messages owed to people, written in the transaction of the change that they tell of; and what people do with them.

A message goes to the owner of its certificate, over the channels that the certificate's renewal policy names for its
severity. Sending is not done here: what is owed is a row, and stays one until it was sent. Over a channel that nothing
is set up for it stays pending.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from certctl_core.errors import NotFound
from certctl_core.ids import NotificationId, mint
from certctl_core.lifecycle import notification as life
from certctl_core.models.access import Actor
from certctl_core.models.catalog import Owner, RenewalPolicy
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.records import AlertSeverity, Notification, NotificationStatus, NotificationType
from certctl_core.policy import alerts
from certctl_core.ports import Ports
from certctl_core.ports.store import Is, Page, Query, Where, Work
from certctl_core.usecases import audit, scope

_TROUBLE: Final = (NotificationType.RENEWAL_FAILURE, NotificationType.DEPLOYMENT_FAILURE)
ENOUGH: Final = timedelta(days=1)
"""How soon the same trouble is worth another message."""

BATCH: Final = 500


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


# --- looking and deciding ---------------------------------------------------------------------------------------------


def page(ports: Ports, caller: Actor, query: Query) -> Page[Notification]:
    """Those about certificates that the caller sees; one whose key is not limited sees those about none as well."""
    with ports.work() as work:
        return work.notifications.page(evolve(query, where=(*query.where, *scope.certificates(caller))))


def get(ports: Ports, caller: Actor, notification_id: str) -> Notification:
    """Raises `NotFound` for what does not exist or is out of reach."""
    with ports.work() as work:
        return _seen(work, caller, work.notifications.get(notification_id))


def read(ports: Ports, caller: Actor, notification_id: str) -> Notification:
    """Somebody has seen it: it is not sent any more. Raises `NotFound`."""
    return _change(ports, caller, notification_id, "notification_read", life.read)


def requeue(ports: Ports, caller: Actor, notification_id: str) -> Notification:
    """Have it sent, as if that had never been tried. Raises `NotFound`."""
    return _change(ports, caller, notification_id, "notification_requeued", life.requeue)


def count_dead(work: Work, caller: Actor) -> int:
    """How many that the caller sees could not be sent and are not tried again."""
    dead = (Where("status", NotificationStatus.DEAD), *scope.certificates(caller))
    return work.notifications.page(Query(dead, limit=1)).total


def purge(ports: Ports, keep: timedelta) -> int:
    """Forget messages that are older than `keep`, whatever became of them. Returns how many."""
    done = 0
    while True:
        with ports.work() as work:
            removed = work.notifications.purge(ports.clock.now() - keep, BATCH)
        done += removed
        if removed < BATCH:
            return done


def _change(
    ports: Ports, caller: Actor, notification_id: str, action: str, step: Callable[[Notification], Notification]
) -> Notification:
    now = ports.clock.now()
    with ports.work() as work:
        before = _seen(work, caller, work.notifications.lock(notification_id))
        after = work.notifications.save(step(before))
        audit.record(
            work,
            caller,
            now,
            action,
            "notification",
            after.id,
            old_status=before.status.value,
            new_status=after.status.value,
        )
    return after


def _seen(work: Work, caller: Actor, told: Notification) -> Notification:
    certificate = work.certificates.find(told.certificate_id) if told.certificate_id else None
    is_seen = caller.scope.is_everything if certificate is None else scope.sees(caller, certificate)
    if not is_seen:
        raise NotFound.of("notification", told.id)
    return told
