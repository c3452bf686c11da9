"""Notifications over HTTP."""

from typing import Any

import pytest
from attrs import evolve

from certctl_core.ids import CertificateId, NotificationId
from certctl_core.lifecycle import notification as life
from certctl_core.models.access import Role
from certctl_core.models.records import Notification, NotificationType
from certctl_web.media.notifications import NotificationEvent
from tests.web.api import EVERY_STORE, Api

pytestmark = EVERY_STORE

PATH = "/api/v1/notifications"


@pytest.fixture
def told(fleet: Api) -> Api:
    """With a pending, a failed and a dead message."""
    fleet.certificate()
    pending = Notification(
        id=NotificationId("pending"),
        type=NotificationType.RENEWAL_FAILURE,
        certificate_id=CertificateId("mc-site"),
        recipient="olga@example.com",
        message="it failed",
        created_at=fleet.clock.now(),
    )
    failed = life.failed(evolve(pending, id=NotificationId("failed"), channel="Slack"), fleet.clock.now(), "no route")
    dead = evolve(failed, id=NotificationId("dead"), type=NotificationType.REVOCATION, certificate_id=None)
    for _ in range(life.MAX_TRIES - 1):
        dead = life.failed(dead, fleet.clock.now(), "refused")
    with fleet.ports.work() as work:
        for message in (pending, failed, dead):
            work.notifications.add(message)
    return fleet


def listed(api: Api, **filters: str) -> Any:
    page = api.get(PATH + "?" + "&".join(f"{name}={value}" for name, value in filters.items())).json
    assert page["total"] == len(page["data"])
    return {message["id"]: message for message in page["data"]}


def test_they_are_listed_by_what_they_are(told: Api) -> None:
    assert listed(told).keys() == {"pending", "failed", "dead"}
    assert listed(told, status="dead").keys() == {"dead"}
    assert listed(told, type="RenewalFailure").keys() == {"pending", "failed"}
    assert listed(told, channel="Email").keys() == {"pending"}
    assert listed(told, certificate_id="mc-site", status="failed").keys() == {"failed"}
    assert told.get(f"{PATH}?status=lost").fields == ["status"]


def test_each_says_why_it_has_not_been_sent(told: Api) -> None:
    waiting = told.get(f"{PATH}/pending", by=Role.VIEWER).json
    assert waiting["error"] == "nothing is set up to send over Email: it waits until something is"
    assert ("last_error" in waiting, "sent_at" in waiting, waiting["status"]) == (False, False, "pending")
    failed = told.get(f"{PATH}/failed").json
    assert (failed["error"], failed["last_error"], failed["retry_count"]) == ("no route", "no route", 1)
    assert failed["next_retry_at"] == "2031-03-04T05:08:07Z"
    dead = told.get(f"{PATH}/dead").json
    assert (dead["error"], dead["retry_count"], "next_retry_at" in dead) == ("refused", 5, False)
    with told.ports.work() as work:
        fact = work.notifications.get("pending")
    assert NotificationEvent.of(fact, {"Email"}).error is None
    assert NotificationEvent.of(life.sent(fact, fact.created_at), ()).error is None


def test_a_dead_one_is_sent_again_and_leaves_the_summary(told: Api) -> None:
    assert told.get("/api/v1/stats/summary").json["notifications_dead"] == 1
    assert told.post(f"{PATH}/dead/requeue").json == {"status": "requeued"}
    again = told.get(f"{PATH}/dead").json
    assert (again["status"], again["retry_count"], "last_error" in again) == ("pending", 0, False)
    assert told.get("/api/v1/stats/summary").json["notifications_dead"] == 0


def test_one_is_marked_as_read(told: Api) -> None:
    assert told.post(f"{PATH}/pending/read").json == {"status": "marked_as_read"}
    assert listed(told, status="read").keys() == {"pending"}
    assert told.post(f"{PATH}/pending/read", by=Role.VIEWER).status == 403
    assert told.post(f"{PATH}/nobody/read").status == 404
