"""Discovery, network scans, health checks and the digest over HTTP, as the established clients ask for them."""

from typing import Any

from certctl_core.models.access import Role
from tests.web.api import EVERY_STORE, Api

pytestmark = EVERY_STORE


def entry(**more: Any) -> dict[str, Any]:
    """What the established agent reports: all fourteen keys, always."""
    return {
        "fingerprint_sha256": "ab" * 32,
        "common_name": "old.example.com",
        "sans": None,
        "serial_number": "0f",
        "issuer_dn": "CN=Old CA",
        "subject_dn": "CN=old.example.com",
        "not_before": "2030-01-01T00:00:00Z",
        "not_after": "not a time",
        "key_algorithm": "RSA",
        "key_size": 2048,
        "is_ca": False,
        "pem_data": "",
        "source_path": "/etc/ssl/old.pem",
        "source_format": "PEM",
    } | more


def test_an_agent_reports_what_it_found(api: Api) -> None:
    agent = api.agent()
    body = {
        "agent_id": "somebody else",
        "directories": ["/etc/ssl"],
        "certificates": [entry()],
        "errors": None,
        "scan_duration_ms": 12,
    }
    reply = api.post(f"/api/v1/agents/{agent.id}/discoveries", body, by=agent.key)
    assert reply.status == 202
    assert (reply.json["agent_id"], reply.json["certificates_new"], reply.json["errors_count"]) == (agent.id, 1, 0)
    (found,) = api.get(f"/api/v1/discovered-certificates?agent_id={agent.id}&status=Unmanaged").json["data"]
    assert (found["sans"], found["serial_number"], "not_after" in found) == ([], "f", False)
    assert api.get(f"/api/v1/discovered-certificates/{found['id']}").json == found
    assert api.get("/api/v1/discovery-summary").json == {"Unmanaged": 1}
    scans = api.get(f"/api/v1/discovery-scans?agent_id={agent.id}").json
    assert (scans["total"], scans["data"][0]["id"]) == (1, reply.json["id"])
    one = f"/api/v1/discovered-certificates/{found['id']}"
    assert api.post(f"{one}/claim", {"managed_certificate_id": "mc-nobody"}).fields == ["managed_certificate_id"]
    assert api.post(f"{one}/dismiss").json["status"] == "dismissed"
    assert api.get(one).json["status"] == "Dismissed"


def test_a_claimed_certificate_is_managed(api: Api) -> None:
    api.foundations()
    api.certificate()
    agent = api.agent()
    api.post(f"/api/v1/agents/{agent.id}/discoveries", {"certificates": [entry()]}, by=agent.key)
    (found,) = api.get("/api/v1/discovered-certificates").json["data"]
    one = f"/api/v1/discovered-certificates/{found['id']}"
    assert api.post(f"{one}/claim", {"managed_certificate_id": "mc-site"}).json["status"] == "claimed"
    assert api.get(one).json["managed_certificate_id"] == "mc-site"


def test_bad_entries_are_named(api: Api) -> None:
    agent = api.agent()
    path = f"/api/v1/agents/{agent.id}/discoveries"
    assert api.post(path, {}, by=agent.key).status == 400
    wrong = entry(fingerprint_sha256="xyz", key_size=-1)
    assert set(api.post(path, {"certificates": [entry(), wrong]}, by=agent.key).fields) == {
        "certificates[1].fingerprint_sha256",
        "certificates[1].key_size",
    }
    assert api.post(path, {"errors": ["x"]}, by=api.agent().key).status == 403


def test_network_scan_targets_are_kept_and_not_scanned(api: Api) -> None:
    made = api.made("/api/v1/network-scan-targets", {"id": "ignored", "name": "dmz", "cidrs": ["10.0.0.0/24"]})
    assert (made["ports"], made["enabled"], made["scan_interval_hours"], made["timeout_ms"]) == ([443], True, 6, 5000)
    one = f"/api/v1/network-scan-targets/{made['id']}"
    assert api.put(one, {"enabled": False, "ports": []}).json["ports"] == [443]
    assert api.get("/api/v1/network-scan-targets").json["total"] == 1
    assert api.post("/api/v1/network-scan-targets", {"name": "all", "cidrs": ["10.0.0.0/8"]}).fields == ["cidrs[0]"]
    refused = api.post(f"{one}/scan")
    assert (refused.status, refused.json["title"]) == (503, "Not configured")
    assert api.delete(one).status == 204
    assert api.post(f"{one}/scan").status == 404


def test_health_checks_are_kept(api: Api) -> None:
    made = api.made("/api/v1/health-checks", {"id": "hc-www", "endpoint": "www.example.org:443", "status": "unknown"})
    assert (made["status"], made["enabled"], made["check_interval_seconds"]) == ("unknown", True, 300)
    assert api.post("/api/v1/health-checks", {"id": "hc-www", "endpoint": "x.example:443"}).status == 409
    one = "/api/v1/health-checks/hc-www"
    assert api.put(one, {"id": "hc-www", "enabled": False, "down_threshold": 9}).json["down_threshold"] == 9
    assert api.get("/api/v1/health-checks?enabled=false&status=unknown").json["total"] == 1
    assert api.get("/api/v1/health-checks/summary").json["unknown"] == 1
    assert api.get(f"{one}/history?limit=100000").json == []
    assert api.post(f"{one}/acknowledge", {"actor": "mallory"}).status == 204
    assert api.get(one).json["acknowledged_by"] == "admin-person"
    assert api.delete(one, by=Role.OPERATOR).status == 204
    assert api.get(f"{one}/history").status == 404


def test_the_digest_says_what_is_missing(api: Api) -> None:
    for reply in (api.get("/api/v1/digest/preview"), api.post("/api/v1/digest/send")):
        assert (reply.status, reply.json["message"]) == (503, "digest service not configured")
