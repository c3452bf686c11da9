"""Bulk revoke, renew and reassign over HTTP, as the established clients ask for them, and how far they have got."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from certctl_adapters.memory import MemoryStore
from certctl_core.models.access import Role
from certctl_core.usecases import bulk, bulk_batches
from certctl_web.options import Options
from tests.stand_ins import MovableClock
from tests.web.api import EVERY_STORE, GIVEN, Api, make_api, make_ports

REVOKE = "/api/v1/certificates/bulk-revoke"
RENEW = "/api/v1/certificates/bulk-renew"
REASSIGN = "/api/v1/certificates/bulk-reassign"
OPERATIONS = "/api/v1/bulk-operations"


def fleet(api: Api, count: int = 3) -> list[str]:
    """Issued certificates, one to an agent's target."""
    api.foundations()
    agent = api.agent()
    made = [f"mc-{n}" for n in range(count)]
    for n, certificate in enumerate(made):
        api.certificate(api.target(agent, name=f"t-{n}"), name=str(n))
        api.issue(agent, certificate)
    return made


class TestEveryStore:
    pytestmark = EVERY_STORE

    def test_revocation_answers_with_the_totals_of_the_established_api(self, api: Api) -> None:
        made = fleet(api)
        api.made(f"/api/v1/certificates/{made[0]}/revoke", {"reason": "keyCompromise"})
        api.certificate(name="blank")
        body = {"reason": "superseded", "certificate_ids": [*made, "mc-blank"], "owner_id": "", "team_id": "t-1"}

        reply = api.post(REVOKE, body)

        assert reply.status == 200
        (error,) = reply.json["errors"]
        assert (error.keys(), error["certificate_id"]) == ({"certificate_id", "error"}, "mc-blank")
        totals = {"total_matched": 4, "total_revoked": 2, "total_skipped": 1, "total_failed": 1}
        assert reply.json == totals | {"errors": [error]}
        again = api.post(REVOKE, {"reason": "superseded", "certificate_ids": made})
        assert again.json == {"total_matched": 3, "total_revoked": 0, "total_skipped": 3, "total_failed": 0}

    def test_renewal_answers_with_the_jobs(self, api: Api) -> None:
        made = fleet(api)
        reply = api.post(RENEW, {"issuer_id": "iss-local", "status": "Active"}, by=Role.OPERATOR)
        totals = {"total_matched": 3, "total_enqueued": 3, "total_skipped": 0, "total_failed": 0}
        jobs = {job["certificate_id"]: job["job_id"] for job in reply.json["enqueued_jobs"]}
        assert {name: reply.json[name] for name in totals} == totals
        assert reply.json.keys() == {*totals, "enqueued_jobs"}
        waiting = api.get("/api/v1/jobs?status=AwaitingCSR").json["data"]
        assert jobs == {job["certificate_id"]: job["id"] for job in waiting}
        assert set(jobs) == set(made)
        busy = api.post(RENEW, {"certificate_ids": made}).json
        assert busy == {"total_matched": 3, "total_enqueued": 0, "total_skipped": 3, "total_failed": 0}
        assert api.post(RENEW, {"certificate_ids": made, "force": True}).json["total_enqueued"] == 3

    def test_reassignment_takes_ids_or_whose_they_are(self, api: Api) -> None:
        made = fleet(api)
        api.made("/api/v1/teams", {"id": "t-2", "name": "Two"})
        api.made("/api/v1/owners", {"id": "o-2", "name": "Paula", "team_id": "t-2"})
        first = api.post(REASSIGN, {"certificate_ids": made[:1], "owner_id": "o-2", "team_id": "t-2"})
        assert first.json == {"total_matched": 1, "total_reassigned": 1, "total_skipped": 0, "total_failed": 0}
        rest = api.post(REASSIGN, {"from_owner_id": "o-1", "owner_id": "o-2"}, by=Role.OPERATOR)
        assert rest.json["total_reassigned"] == 2
        shown = [api.get(f"/api/v1/certificates/{one}").json for one in made]
        assert [(one["owner_id"], one["team_id"]) for one in shown] == [("o-2", "t-2"), ("o-2", "t-1"), ("o-2", "t-1")]
        assert api.post(REASSIGN, {"certificate_ids": made, "owner_id": "o-none"}).fields == ["owner_id"]
        assert api.post(REASSIGN, {"owner_id": "o-2"}).status == 400

    def test_an_operation_can_be_looked_at_afterwards(self, api: Api) -> None:
        made = fleet(api, 1)
        api.certificate(name="blank")
        before = "2040-01-01T00:00:00Z"
        api.made(REVOKE, {"reason": "superseded", "certificate_ids": [*made, "mc-blank"], "environment": ""})
        api.made(RENEW, {"environment": "nowhere", "expires_before": before, "reason": "a drill"})
        newest, oldest = api.get(OPERATIONS, by=Role.VIEWER).json["data"]
        assert newest["criteria"] == {"environment": "nowhere", "expires_before": "2040-01-01T00:00:00+00:00"}
        assert (newest["action"], newest["reason"], newest["total_matched"]) == ("renew", "a drill", 0)
        assert oldest["criteria"] == {"certificate_ids": [*made, "mc-blank"]}
        totals = {"total_matched": 2, "total_done": 1, "total_skipped": 0, "total_failed": 1}
        assert {name: oldest[name] for name in totals} == totals
        assert (oldest["status"], oldest["requested_by"]) == ("Completed", "admin-person")
        one = f"{OPERATIONS}/{oldest['id']}"
        assert api.get(one).json == oldest
        failures = api.get(f"{one}/failures?per_page=1").json
        assert (failures["total"], failures["data"][0]["certificate_id"]) == (1, "mc-blank")
        assert api.get(f"{OPERATIONS}?action=revoke&status=Completed").json["data"] == [oldest]
        assert api.post(f"{one}/cancel").status == 409
        event = api.get("/api/v1/audit?action=bulk_revocation_initiated").json["data"][0]
        assert (event["resource_type"], event["resource_id"]) == ("certificate", "bulk")
        assert event["details"]["criteria"] == oldest["criteria"]
        assert event["details"]["reason"] == "superseded"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (REVOKE, {"certificate_ids": ["mc-1"]}, "reason"),
        (REVOKE, {"certificate_ids": ["mc-1"], "reason": ""}, "reason"),
        (REVOKE, {"certificate_ids": ["mc-1"], "reason": "removeFromCRL"}, "reason"),
        (RENEW, {"certificate_ids": ["../etc"]}, "certificate_ids[0]"),
        (RENEW, {"certificate_ids": "mc-1"}, "certificate_ids"),
        (RENEW, {"status": "active"}, "status"),
        (RENEW, {"expires_before": "tomorrow"}, "expires_before"),
        (REASSIGN, {"certificate_ids": ["mc-1"]}, "owner_id"),
        (REASSIGN, {"certificate_ids": ["mc-1"], "owner_id": ""}, "owner_id"),
    ],
)
def test_what_is_wrong_is_named(path: str, body: dict[str, Any], field: str) -> None:
    reply = make_api().post(path, body)
    assert (reply.status, reply.fields) == (400, [field])


@pytest.mark.parametrize("body", [{}, {"certificate_ids": []}, {"owner_id": "", "certificate_ids": None}])
def test_without_a_criterion_nothing_is_meant(body: dict[str, Any]) -> None:
    reply = make_api().post(RENEW, body)
    assert (reply.status, "certificate_ids" in reply.json["hint"]) == (400, True)


class TestSlow:
    @pytest.fixture
    def api(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
        """A server on which a certificate takes a second."""
        monkeypatch.setattr(bulk, "BATCH", 1)
        clock = MovableClock()
        ports = make_ports(
            MemoryStore().work, clock, tripwire=lambda _point, /: clock.advance(timedelta(seconds=1)) and None
        )
        made = make_api(Options(given_keys=GIVEN, rate=None), ports, clock)
        yield made
        made.app.close()

    def test_what_takes_long_goes_on_and_can_be_followed(self, api: Api) -> None:
        made = fleet(api, 4)
        reply = api.post(REVOKE, {"reason": "superseded", "certificate_ids": made})
        assert reply.status == 202
        so_far = {"total_matched": 4, "total_revoked": 2, "total_skipped": 0, "total_failed": 0}
        assert reply.json == so_far | {"operation_id": reply.json["operation_id"], "status": "Running"}
        one = f"{OPERATIONS}/{reply.json['operation_id']}"
        assert reply.headers["location"] == one
        assert "completed_at" not in api.get(one).json
        bulk_batches.carry_on(api.ports)
        done = api.get(one).json
        assert (done["status"], done["total_done"]) == ("Completed", 4)

    def test_what_goes_on_can_be_stopped(self, api: Api) -> None:
        made = fleet(api, 4)
        running = api.made(REVOKE, {"reason": "superseded", "certificate_ids": made})
        one = f"{OPERATIONS}/{running['operation_id']}"
        assert api.post(f"{one}/cancel", by=Role.OPERATOR).status == 403
        stopped = api.made(f"{one}/cancel", {})
        assert (stopped["status"], stopped["total_matched"], stopped["total_done"]) == ("Cancelled", 4, 2)
        bulk_batches.carry_on(api.ports)
        statuses = [api.get(f"/api/v1/certificates/{certificate}").json["status"] for certificate in made]
        assert statuses == ["Revoked", "Revoked", "Active", "Active"]
