"""Approvals over HTTP."""

import hashlib
import json
from typing import Any

import pytest

from certctl_core.models.access import Role
from tests.web.api import EVERY_STORE, AnAgent, Api

pytestmark = EVERY_STORE

PATH = "/api/v1/approvals"


@pytest.fixture
def agent(fleet: Api) -> AnAgent:
    """With the certificate mc-site, which an administrator has asked for."""
    agent = fleet.agent()
    fleet.made("/api/v1/profiles", {"id": "prof-1", "name": "Strict", "requires_approval": True})
    fleet.certificate(fleet.target(agent), certificate_profile_id="prof-1", sans=["www.site.example.com"])
    fleet.made("/api/v1/certificates/mc-site/renew", {})
    return agent


def the_request(api: Api, **filters: str) -> Any:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    page = api.get(f"{PATH}?{query}").json
    assert page["total"] == len(page["data"]) == 1
    return page["data"][0]


def test_a_request_is_listed_shown_and_approved_by_somebody_else(fleet: Api, agent: AnAgent) -> None:
    listed = the_request(fleet, state="pending", certificate_id="mc-site", requested_by="admin-person")
    assert fleet.get(f"{PATH}/{listed['id']}", by=Role.VIEWER).json == listed
    assert listed["metadata"]["names"] == "site.example.com, www.site.example.com"
    text = json.dumps(listed["content"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == listed["content_sha256"]
    job = fleet.get(f"/api/v1/jobs/{listed['job_id']}").json
    assert (job["status"], job["approval_id"]) == ("AwaitingApproval", listed["id"])
    assert fleet.get(f"/api/v1/agents/{agent.id}/work", by=agent.key).json["jobs"] == []
    assert fleet.submit(agent, "mc-site").status == 409

    approve = f"{PATH}/{listed['id']}/approve"
    assert fleet.post(approve, {}).status == 403
    decided = fleet.post(approve, {"note": "ticket 7"}, by=Role.OPERATOR)
    assert decided.status == 200
    assert decided.json == {"id": listed["id"], "decided_by": "operator-person", "action": "approved"}
    assert fleet.post(approve, {}, by=Role.OPERATOR).status == 409
    assert fleet.submit(agent, "mc-site").json["status"] == "csr_signed"
    shown = the_request(fleet, state="approved")
    assert (shown["decision_note"], shown["decided_by"]) == ("ticket 7", "operator-person")
    assert fleet.get(f"{PATH}?state=pending").json["data"] == []


def test_a_request_is_rejected(fleet: Api, agent: AnAgent) -> None:
    listed = the_request(fleet)
    reply = fleet.post(f"{PATH}/{listed['id']}/reject", {"note": "no"}, by=Role.OPERATOR)
    assert reply.json["action"] == "rejected"
    job = fleet.get(f"/api/v1/jobs/{listed['job_id']}").json
    assert (job["status"], job["last_error"]) == ("Cancelled", "rejected by operator-person: no")


def test_the_established_operations_on_jobs_decide_too(fleet: Api, agent: AnAgent) -> None:
    job = f"/api/v1/jobs/{the_request(fleet)['job_id']}"
    assert fleet.post(f"{job}/approve").status == 403
    assert fleet.post(f"{job}/approve", by=Role.OPERATOR).json == {"status": "job_approved"}
    assert fleet.post(f"{job}/reject", {"reason": "too late"}, by=Role.OPERATOR).status == 409
    fleet.made("/api/v1/certificates/mc-site/renew", {"force": True})
    job = f"/api/v1/jobs/{the_request(fleet, state='pending')['job_id']}"
    assert fleet.post(f"{job}/reject", {"reason": "no"}, by=Role.OPERATOR).json == {"status": "job_rejected"}


def test_a_changed_certificate_is_asked_about_again(fleet: Api, agent: AnAgent) -> None:
    listed = the_request(fleet)
    fleet.put("/api/v1/certificates/mc-site", {"sans": ["evil.example.com"]})
    reply = fleet.post(f"{PATH}/{listed['id']}/approve", {}, by=Role.OPERATOR)
    assert reply.status == 409
    again = the_request(fleet, state="pending")
    assert again["id"] in reply.json["message"]
    assert again["id"] != listed["id"]
    old = fleet.get(f"{PATH}/{listed['id']}").json
    assert (old["state"], "closed_reason" in old) == ("expired", True)


def test_only_operators_and_administrators_decide(fleet: Api, agent: AnAgent) -> None:
    listed = the_request(fleet)
    for caller in (Role.VIEWER, Role.AUDITOR, agent.key):
        assert fleet.post(f"{PATH}/{listed['id']}/approve", {}, by=caller).status == 403


def test_a_filter_that_is_no_state_is_named(api: Api) -> None:
    assert api.get(f"{PATH}?state=maybe").fields == ["state"]
