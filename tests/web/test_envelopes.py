"""Names, statuses and envelopes as clients of the established API know them."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from certctl_core.models.access import Role
from tests.web.api import EVERY_STORE, NGINX, START, Api, certificate

pytestmark = EVERY_STORE

CATALOG: dict[str, dict[str, Any]] = {
    "teams": {"name": "A", "description": "first"},
    "owners": {"name": "A", "email": "a@example.com"},
    "profiles": {
        "name": "A",
        "max_ttl_seconds": 3600,
        "allowed_key_algorithms": [{"algorithm": "RSA", "min_size": 3072}],
    },
    "renewal-policies": {"name": "A", "renewal_window_days": 14, "certificate_profile_id": ""},
    "issuers": {"name": "A", "type": "local", "config": {"validity_days": 30}},
}

LISTS = (
    "certificates",
    "issuers",
    "targets",
    "agents",
    "agents/retired",
    "jobs",
    "owners",
    "teams",
    "profiles",
    "renewal-policies",
    "audit",
    "api-keys",
)


@pytest.mark.parametrize("path", LISTS)
def test_every_list_has_the_page_envelope(api: Api, path: str) -> None:
    page = api.get(f"/api/v1/{path}?page=7&per_page=9999").json
    assert page["data"] == []
    assert (page["page"], page["per_page"]) == (7, 50)
    assert isinstance(page["total"], int)


@pytest.mark.parametrize("kind", CATALOG)
def test_catalog_objects_are_created_read_changed_and_deleted(api: Api, kind: str) -> None:
    created = api.post(f"/api/v1/{kind}", {"id": "x-1", **CATALOG[kind]})
    assert created.status == 201
    assert created.json["id"] == "x-1"
    path = f"/api/v1/{kind}/x-1"
    assert api.get(path).json == created.json
    assert api.get(f"/api/v1/{kind}").json["data"][-1] == created.json or kind == "renewal-policies"

    # A client may send back the whole object as it read it, with one change.
    changed = api.put(path, {**created.json, "name": "B"})
    assert changed.status == 200
    assert changed.json == {**created.json, "name": "B", "updated_at": changed.json["updated_at"]}
    assert api.put(path, {"id": "x-2"}).fields == ["id"]
    assert api.put(path, {}).json["name"] == "B"

    assert api.delete(path).status == 204
    assert api.get(path).status == 404
    assert api.delete(path).status == 404


@pytest.mark.parametrize("kind", [kind for kind in CATALOG if kind != "owners"])
def test_a_taken_name_is_a_conflict(api: Api, kind: str) -> None:
    api.made(f"/api/v1/{kind}", CATALOG[kind])
    reply = api.post(f"/api/v1/{kind}", CATALOG[kind])
    assert reply.status == 409
    assert reply.json["type"] == "urn:certctl:problem:duplicate"


def test_profiles_have_defaults_for_empty_lists(api: Api) -> None:
    made = api.made("/api/v1/profiles", {"name": "A", "allowed_ekus": [], "allowed_key_algorithms": None})
    assert made["allowed_ekus"] == ["serverAuth"]
    assert made["allowed_key_algorithms"] == [
        {"algorithm": "ECDSA", "min_size": 256},
        {"algorithm": "RSA", "min_size": 2048},
    ]
    assert made["max_ttl_seconds"] == 0


def test_a_profile_that_makes_no_sense_names_its_fields(api: Api) -> None:
    reply = api.post("/api/v1/profiles", {"name": "A", "allow_short_lived": True, "allowed_ekus": ["everything"]})
    assert reply.status == 400
    assert reply.fields


def test_what_is_in_use_cannot_be_deleted(fleet: Api) -> None:
    fleet.certificate()
    for path in ("teams/t-1", "owners/o-1", "issuers/iss-local", "renewal-policies/rp-default"):
        reply = fleet.delete(f"/api/v1/{path}")
        assert reply.status == 409, path
        assert reply.json["hint"]


def test_secrets_in_settings_are_written_and_never_read(fleet: Api) -> None:
    agent = fleet.agent()
    target = fleet.target(agent)
    assert fleet.get(f"/api/v1/targets/{target}").json["config"].items() >= NGINX.items()
    changed = fleet.put(f"/api/v1/targets/{target}", {"config": {"cert_path": "/other.pem"}}).json
    assert changed["config"]["key_path"] == NGINX["key_path"]
    wrong = fleet.put(f"/api/v1/targets/{target}", {"config": {"no_such_setting": 1}})
    assert wrong.status == 400
    assert fleet.post("/api/v1/issuers", {"name": "x", "type": "Unheard"}).fields == ["type"]
    assert fleet.post("/api/v1/targets", {"name": "x", "type": "NGINX", "agent_id": "nobody"}).status == 400


def test_connections_are_tested(fleet: Api) -> None:
    assert fleet.post("/api/v1/issuers/iss-local/test").json == {"status": "connection_successful"}
    assert fleet.get("/api/v1/issuers/iss-local").json["test_status"] == "success"
    target = fleet.target(fleet.agent())
    assert fleet.post(f"/api/v1/targets/{target}/test").json["status"] == "success"
    fleet.clock.advance(timedelta(minutes=6))
    assert fleet.post(f"/api/v1/targets/{target}/test").json["status"] == "failed"


# --- certificates ----------------------------------------------------------------------------------------------------


def test_creating_accepts_every_field_of_a_certificate_and_what_importers_send(fleet: Api) -> None:
    first = fleet.certificate()
    again = {**first, "id": "mc-2", "name": "two", "status": "Active", "serial_number": "ab", "updated_at": "whenever"}
    created = fleet.post("/api/v1/certificates", again)
    assert created.status == 201
    assert created.json["status"] == "Pending"


def test_creating_names_everything_that_is_missing(fleet: Api) -> None:
    reply = fleet.post("/api/v1/certificates", {})
    assert reply.fields == ["name", "common_name", "owner_id", "team_id", "issuer_id", "renewal_policy_id"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"common_name": "-bad-.example.com"}, "common_name"),
        ({"sans": ["ok.example.com", "not ok"]}, "sans[1]"),
        ({"owner_id": "nobody"}, "owner_id"),
        ({"certificate_profile_id": "nothing"}, "certificate_profile_id"),
        ({"target_ids": ["nowhere"]}, "target_ids"),
        ({"id": "a/b"}, "id"),
        ({"tags": {"a": None}}, "tags.a"),
    ],
)
def test_a_certificate_that_cannot_be_is_refused_by_field(fleet: Api, change: dict[str, Any], named: str) -> None:
    reply = fleet.post("/api/v1/certificates", certificate(**{"name": "x", **change}))
    assert reply.status == 400
    assert reply.fields == [named]


def test_a_duplicate_id_or_name_is_a_conflict(fleet: Api) -> None:
    fleet.certificate()
    assert fleet.post("/api/v1/certificates", certificate()).status == 409
    assert fleet.post("/api/v1/certificates", certificate(id="mc-other")).status == 409


def test_updating_applies_what_is_not_empty(fleet: Api) -> None:
    before = fleet.certificate(tags={"a": "1"}, environment="production")
    after = fleet.put(
        "/api/v1/certificates/mc-site", {"id": "mc-site", "environment": "", "tags": {}, "name": "renamed"}
    )
    assert after.status == 200
    assert (after.json["environment"], after.json["tags"], after.json["name"]) == ("production", {}, "renamed")
    whole = fleet.put("/api/v1/certificates/mc-site", {**after.json, "sans": ["www.example.com"]})
    assert whole.json["sans"] == ["www.example.com"]
    assert whole.json["created_at"] == before["created_at"]


def test_a_status_cannot_be_dictated(fleet: Api) -> None:
    fleet.certificate()
    reply = fleet.put("/api/v1/certificates/mc-site", {"status": "Active"})
    assert reply.status == 409
    assert "Pending" in reply.json["message"]
    assert fleet.put("/api/v1/certificates/mc-site", {"status": "Nonsense"}).fields == ["status"]


@pytest.fixture
def three(fleet: Api) -> Api:
    for name, environment in (("a", "production"), ("b", "staging"), ("c", "production")):
        fleet.certificate(name=name, environment=environment)
        fleet.clock.advance(timedelta(seconds=1))
    return fleet


def names(api: Api, query: str) -> list[str]:
    return [one["name"] for one in api.get(f"/api/v1/certificates?{query}").json["data"]]


def test_certificates_are_filtered(three: Api) -> None:
    assert names(three, "environment=production") == ["a", "c"]
    assert names(three, "environment=production&status=Active") == []
    assert names(three, "created_after=2031-03-04T05:06:07Z") == ["b", "c"]
    assert names(three, "owner_id=o-1&team_id=t-1&issuer_id=iss-local&environment=staging") == ["b"]
    assert names(three, "agent_id=nobody") == []


def test_certificates_are_found_by_the_agent_of_a_target(three: Api) -> None:
    agent = three.agent()
    three.certificate(three.target(agent), name="d")
    assert names(three, f"agent_id={agent.id}") == ["d"]


def test_certificates_are_sorted(three: Api) -> None:
    assert names(three, "") == ["a", "b", "c"]
    assert names(three, "sort=-createdAt") == ["c", "b", "a"]
    assert names(three, "sort=commonName&sort_desc=true") == ["c", "b", "a"]
    assert names(three, "sort=environment&per_page=2") == ["a", "c"]


def test_only_the_fields_asked_for_are_sent(three: Api) -> None:
    page = three.get("/api/v1/certificates?fields=id,name&per_page=1").json
    assert page["data"] == [{"id": "mc-a", "name": "a"}]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("expires_before=tomorrow", "expires_before"),
        ("status=Splendid", "status"),
        ("sort=shoe_size", "sort"),
        ("fields=id,shoe_size", "fields"),
        ("cursor=garbage", "cursor"),
        ("cursor=garbage&sort=name", "cursor"),
        ("page_size=501", "page_size"),
        ("sort_desc=maybe", "sort_desc"),
    ],
)
def test_a_bad_filter_is_named(three: Api, query: str, named: str) -> None:
    reply = three.get(f"/api/v1/certificates?{query}")
    assert reply.status == 400
    assert reply.fields == [named]


SORTS = ("createdAt", "updatedAt", "expiresAt", "notAfter", "commonName", "name", "status", "environment")


@pytest.mark.parametrize("order", [*SORTS, *(f"-{sort}" for sort in SORTS)])
def test_certificates_are_read_to_their_end_by_cursor_in_every_order(three: Api, order: str) -> None:
    path = f"/api/v1/certificates?per_page=1&sort={order}"
    page = three.get(path).json
    seen = [page["data"][0]["name"]]
    while cursor := page.get("next_cursor"):
        page = three.get(f"{path}&page_size=1&cursor={cursor}").json
        assert set(page) <= {"data", "total", "next_cursor", "page_size"}
        assert page["total"] == 3
        seen += [one["name"] for one in page["data"]]
    whole = three.get(f"/api/v1/certificates?sort={order}").json
    assert seen == [one["name"] for one in whole["data"]]
    assert sorted(seen) == ["a", "b", "c"]
    assert "next_cursor" not in whole


def test_every_list_is_read_to_its_end_by_cursor(three: Api) -> None:
    for name in ("x", "y"):
        three.post("/api/v1/teams", {"id": f"t-{name}", "name": name})
    for path in (
        "teams",
        "owners",
        "issuers",
        "profiles",
        "renewal-policies",
        "agents",
        "targets",
        "audit",
        "api-keys",
    ):
        whole = three.get(f"/api/v1/{path}").json
        seen: list[str] = []
        page = three.get(f"/api/v1/{path}?per_page=1").json
        while True:
            seen += [one["id"] for one in page["data"]]
            if "next_cursor" not in page:
                break
            assert page["total"] >= whole["total"]
            page = three.get(f"/api/v1/{path}?per_page=1&cursor={page['next_cursor']}").json
        assert seen == [one["id"] for one in whole["data"]]


@pytest.mark.parametrize("place", [["created_at", False, "no time", "x"], ["created_at", False, 3, "x"]])
def test_a_cursor_that_was_made_up_is_refused(three: Api, place: list[Any]) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
    reply = three.get(f"/api/v1/certificates?cursor={cursor}")
    assert (reply.status, reply.fields) == (400, ["cursor"])


@pytest.mark.parametrize("value", [1, "one", 10**30, -1], ids=str)
def test_a_cursor_of_versions_is_one_of_a_generation(three: Api, value: Any) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(["generation", True, value, "v"]).encode()).decode()
    reply = three.get(f"/api/v1/certificates/mc-a/versions?cursor={cursor}")
    assert (reply.status, reply.fields) == ((400, ["cursor"]) if value in ("one", 10**30) else (200, []))


# --- agents ----------------------------------------------------------------------------------------------------------


def test_a_registered_agent_gets_its_key_once(api: Api) -> None:
    asked = {"id": "ignored", "name": "web-1", "hostname": "web-1.test", "os": "linux"}
    made = api.post("/api/v1/agents", asked)
    assert made.status == 201
    assert made.json["status"] == "Online"
    key = made.json["api_key"]
    shown = api.get(f"/api/v1/agents/{made.json['id']}").json
    assert "api_key" not in shown
    assert "api_key_hash" not in shown
    assert api.get("/api/v1/auth/check", by=key).json["agent_id"] == made.json["id"]
    assert api.post("/api/v1/agents", asked).status == 409


def test_a_join_token_is_used_once(api: Api) -> None:
    issued = api.made("/api/v1/agents/join-tokens", {"agent_name": "web-7", "ttl_seconds": 60}, by=Role.OPERATOR)
    assert issued["expires_at"] == "2031-03-04T05:07:07Z"
    asked = {"token": issued["token"], "name": "other", "hostname": "h"}
    joined = api.post("/api/v1/agents/join", asked, by=None)
    assert joined.status == 201
    assert api.get(f"/api/v1/agents/{joined.json['agent_id']}").json["name"] == "web-7"
    assert api.post("/api/v1/agents/join", asked, by=None).status == 401
    assert api.post("/api/v1/agents/join-tokens", {"ttl_seconds": 10**9}).fields == ["ttl_seconds"]


def test_a_heartbeat_measures_the_clock(api: Api) -> None:
    agent = api.agent()
    path = f"/api/v1/agents/{agent.id}"
    assert api.post(f"{path}/heartbeat", by=agent.key).json == {"status": "heartbeat_recorded"}
    said = {"version": "1.0.0", "hostname": "h", "os": "linux", "architecture": "amd64", "ip_address": ""}
    assert api.post(f"{path}/heartbeat", {**said, "sent_at": "2031-03-04T05:06:10Z"}, by=agent.key).status == 200
    shown = api.get(path).json
    assert shown["clock_offset_seconds"] == 3.0
    assert (shown["version"], shown["hostname"]) == ("1.0.0", "h")


def test_a_retired_agent_is_told_to_go(api: Api) -> None:
    """With its own key, which is revoked, and with anybody else's."""
    agent = api.agent()
    path = f"/api/v1/agents/{agent.id}"
    retired = api.delete(path)
    assert retired.status == 200
    assert retired.json["retired_at"] == "2031-03-04T05:06:07Z"
    assert (retired.json["already_retired"], retired.json["cascade"]) == (False, False)
    assert api.delete(path).status == 204
    assert api.post(f"{path}/heartbeat", {}).status == 410
    assert api.get(f"{path}/work").status == 410
    assert api.post(f"{path}/heartbeat", {}, by=agent.key).status == 410
    assert agent.id not in [one["id"] for one in api.get("/api/v1/agents").json["data"]]
    assert [one["id"] for one in api.get("/api/v1/agents/retired").json["data"]] == [agent.id]


def test_retiring_is_blocked_by_what_depends_on_the_agent(fleet: Api) -> None:
    agent = fleet.agent()
    fleet.certificate(fleet.target(agent))
    path = f"/api/v1/agents/{agent.id}"
    blocked = fleet.delete(path)
    assert blocked.status == 409
    assert blocked.json["error"] == "blocked_by_dependencies"
    assert blocked.json["counts"] == {"active_targets": 1, "active_certificates": 1, "pending_jobs": 0}
    assert fleet.delete(f"{path}?force=true").fields == ["reason"]
    forced = fleet.delete(f"{path}?force=true&reason=scrapped").json
    assert forced["cascade"] is True
    assert forced["counts"]["active_targets"] == 1
    assert fleet.delete("/api/v1/agents/server-scanner").status == 403


def test_agents_are_listed_by_status(api: Api) -> None:
    agent = api.agent()
    assert agent.id in [one["id"] for one in api.get("/api/v1/agents?status=Online").json["data"]]
    assert api.get("/api/v1/agents?status=Degraded").json["data"] == []


# --- the rest --------------------------------------------------------------------------------------------------------


def test_the_trail_is_filtered(fleet: Api) -> None:
    fleet.certificate()
    assert fleet.get("/api/v1/audit?actor=nobody").json["total"] == 0
    found = fleet.get("/api/v1/audit?action=certificate_created&resource_type=certificate").json
    assert [event["resource_id"] for event in found["data"]] == ["mc-site"]
    event = found["data"][0]
    assert event["actor"] == "admin-person"
    assert event["actor_type"] == "User"
    assert fleet.get(f"/api/v1/audit/{event['id']}").json == event
    assert fleet.get("/api/v1/audit?since=2031-03-04T05:06:08Z").json["total"] == 0
    assert fleet.get("/api/v1/audit?until=2031-03-04T05:06:08Z").json["total"] > 0


def test_recorded_calls_are_listed_like_the_trail(api: Api) -> None:
    api.get("/api/v1/teams?page=2", by=Role.VIEWER)
    api.app.close()
    page = api.get("/api/v1/audit?resource_type=api&actor=viewer-person").json
    assert page["total"] == 1
    event = page["data"][0]
    assert (event["action"], event["resource_id"]) == ("api_get", "/api/v1/teams")
    assert event["details"].items() >= {"method": "GET", "path": "/api/v1/teams", "status": 200}.items()


def test_keys_are_made_shown_once_and_revoked(api: Api) -> None:
    made = api.made("/api/v1/api-keys", {"name": "ci", "role": "viewer", "expires_at": "2031-03-05T00:00:00Z"})
    assert made["key"].startswith("cck_")
    listed = api.get("/api/v1/api-keys").json["data"]
    assert [key["name"] for key in listed] == ["ci"]
    assert "key" not in listed[0]
    assert api.get("/api/v1/auth/check", by=made["key"]).json == {
        "status": "authenticated",
        "user": "ci",
        "admin": False,
        "role": "viewer",
        "team_ids": [],
        "environments": [],
    }
    assert api.delete(f"/api/v1/api-keys/{made['id']}").status == 204
    assert api.get("/api/v1/auth/check", by=made["key"]).status == 401
    assert api.post("/api/v1/api-keys", {"name": "x", "role": "agent"}).fields == ["role"]
    assert api.post("/api/v1/api-keys", {"name": "x", "role": "king"}).fields == ["role"]


def test_an_expired_key_opens_nothing(api: Api) -> None:
    made = api.made("/api/v1/api-keys", {"name": "ci", "expires_at": "2031-03-04T05:06:08Z"})
    api.clock.advance(timedelta(seconds=1))
    assert api.get("/api/v1/auth/check", by=made["key"]).status == 401


def test_the_server_says_how_it_is(api: Api) -> None:
    assert api.get("/health", by=None).json == {"status": "healthy"}
    assert api.get("/api/v1/health", by=None).json == {"status": "healthy", "timestamp": "2031-03-04T05:06:07Z"}
    assert api.get("/ready", by=None).json == {"status": "ready", "db": "reachable"}
    assert api.get("/api/v1/auth/info", by=None).json == {"auth_type": "api-key", "required": True}
    assert set(api.get("/api/v1/version", by=None).json) == {
        "version",
        "commit",
        "modified",
        "build_time",
        "go_version",
    }


def test_the_loops_are_shown(api: Api) -> None:
    with api.ports.work() as work:
        work.loops.ensure("renewal check", timedelta(hours=1), START)
        work.loops.started("renewal check", "worker-1", START)
        work.loops.finished("renewal check", START, timedelta(milliseconds=12), 3, "")
    shown = api.get("/api/v1/loops").json
    assert shown["total"] == 1
    assert shown["data"][0].items() >= {"interval_seconds": 3600.0, "last_duration_ms": 12, "last_items": 3}.items()


def test_the_fleet_is_summarised(fleet: Api) -> None:
    fleet.certificate(fleet.target(fleet.agent()))
    fleet.made("/api/v1/certificates/mc-site/renew", {})
    summary = fleet.get("/api/v1/stats/summary").json
    assert (
        summary.items() >= {"total_certificates": 1, "active_agents": 1, "total_agents": 1, "pending_jobs": 1}.items()
    )
    counted = {one["status"]: one["count"] for one in fleet.get("/api/v1/stats/certificates-by-status").json}
    assert counted["RenewalInProgress"] == 1
    timeline = fleet.get("/api/v1/stats/expiration-timeline?days=3").json
    assert [bucket["date"] for bucket in timeline] == ["2031-03-04", "2031-03-05", "2031-03-06"]
    assert fleet.get("/api/v1/stats/expiration-timeline?days=366").fields == ["days"]
