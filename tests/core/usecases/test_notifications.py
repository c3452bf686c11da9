"""What people do with the messages that are owed to them."""

from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import NotFound
from certctl_core.ids import CertificateId, NotificationId, TeamId
from certctl_core.lifecycle import notification as life
from certctl_core.models.access import Scope
from certctl_core.models.records import Notification, NotificationStatus, NotificationType
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import notifications, status
from tests.core.usecases.world import ADMIN, World


def told(world: World, identity: str, certificate_id: str | None = None, tries: int = 0) -> Notification:
    """A message that could not be sent so often."""
    message = Notification(
        id=NotificationId(identity),
        type=NotificationType.RENEWAL_FAILURE,
        certificate_id=CertificateId(certificate_id) if certificate_id else None,
        recipient="olga@example.com",
        message="it failed",
        created_at=world.clock.now(),
    )
    for _ in range(tries):
        message = life.failed(message, world.clock.now(), "no route to host")
    with world.ports.work() as work:
        work.notifications.add(message)
    return message


def test_the_dead_are_counted_and_can_be_sent_again(world: World) -> None:
    dead = told(world, "n-1", tries=life.MAX_TRIES)
    told(world, "n-2", tries=1)
    told(world, "n-3")
    assert dead.status is NotificationStatus.DEAD
    assert status.summary(world.ports, ADMIN).dead_notifications == 1
    again = notifications.requeue(world.ports, ADMIN, "n-1")
    assert (again.status, again.retry_count, again.next_retry_at, again.last_error) == (
        NotificationStatus.PENDING,
        0,
        None,
        "",
    )
    assert status.summary(world.ports, ADMIN).dead_notifications == 0
    assert world.actions() == ["notification_requeued"]


def test_what_was_sent_and_is_owed_again_has_not_been_sent(world: World) -> None:
    told(world, "n-1")
    with world.ports.work() as work:
        work.notifications.save(life.sent(work.notifications.get("n-1"), world.clock.now()))
    assert notifications.requeue(world.ports, ADMIN, "n-1").sent_at is None


def test_what_is_read_is_not_sent_any_more(world: World) -> None:
    told(world, "n-1")
    assert notifications.read(world.ports, ADMIN, "n-1").status is NotificationStatus.READ
    assert notifications.get(world.ports, ADMIN, "n-1").status is NotificationStatus.READ
    assert world.actions() == ["notification_read"]


def test_a_limited_key_sees_what_is_about_its_certificates(world: World) -> None:
    certificate = world.certificate()
    told(world, "about", certificate.id)
    told(world, "at large")
    mine = evolve(ADMIN, scope=Scope(team_ids=frozenset({TeamId("team-1")})))
    other = evolve(ADMIN, scope=Scope(team_ids=frozenset({TeamId("team-9")})))
    assert [one.id for one in notifications.page(world.ports, mine, Query()).items] == ["about"]
    assert notifications.page(world.ports, other, Query()).total == 0
    assert notifications.page(world.ports, ADMIN, Query()).total == 2
    assert notifications.get(world.ports, mine, "about").id == "about"
    for caller, identity in ((mine, "at large"), (other, "about"), (other, "at large"), (ADMIN, "none")):
        for call in (notifications.get, notifications.read, notifications.requeue):
            with pytest.raises(NotFound, match="notification"):
                call(world.ports, caller, identity)


def test_old_messages_are_forgotten(world: World) -> None:
    told(world, "old")
    world.clock.advance(timedelta(days=90))
    told(world, "new", tries=1)
    world.clock.advance(timedelta(seconds=1))
    assert notifications.purge(world.ports, timedelta(days=90)) == 1
    left = notifications.page(world.ports, ADMIN, Query((Where("status", NotificationStatus.FAILED),))).items
    assert [one.id for one in left] == ["new"]
