"""Policies, violations and agent groups over HTTP, as the established clients ask for them."""

from typing import Any

from certctl_core.models.access import Role
from certctl_core.usecases import reviews
from tests.web.api import EVERY_STORE, AnAgent, Api, certificate

pytestmark = EVERY_STORE


def policy(api: Api, **fields: Any) -> Any:
    usual = {"id": "pr-1", "name": "environments", "type": "AllowedEnvironments", "config": {"allowed": ["production"]}}
    return api.made("/api/v1/policies", usual | fields)


def group(api: Api, **fields: Any) -> Any:
    return api.made("/api/v1/agent-groups", {"id": "ag-1", "name": "edge"} | fields)


def beat(api: Api, agent: AnAgent, **fields: str) -> None:
    assert api.post(f"/api/v1/agents/{agent.id}/heartbeat", fields, by=agent.key).status == 200


def test_a_policy_is_made_listed_changed_and_removed(api: Api) -> None:
    api.foundations()
    made = policy(api, severity="Error", team_ids=["t-1"])
    assert (made["enabled"], made["severity"], made["team_ids"], made["environments"]) == (True, "Error", ["t-1"], [])
    assert api.get("/api/v1/policies").json["data"] == [made]
    changed = api.put("/api/v1/policies/pr-1", made | {"severity": "Warning"})
    assert changed.json | {"updated_at": made["updated_at"]} == made | {"severity": "Warning"}
    merged = api.put("/api/v1/policies/pr-1", {"enabled": False})
    assert (merged.json["config"], merged.json["enabled"]) == ({"allowed": ["production"]}, False)
    assert api.get("/api/v1/policies/pr-1").json == merged.json
    assert api.delete("/api/v1/policies/pr-1").status == 204
    for reply in (
        api.get("/api/v1/policies/pr-1"),
        api.put("/api/v1/policies/pr-1", {}),
        api.delete("/api/v1/policies/pr-1"),
    ):
        assert reply.status == 404
    assert api.get("/api/v1/policies").json["data"] == []


def test_what_is_wrong_with_a_policy_is_named(api: Api) -> None:
    asked = {"name": "domains", "type": "AllowedDomains", "config": {"allowed_domains": ["a.example", "a b"], "x": 1}}
    reply = api.post("/api/v1/policies", asked)
    assert (reply.status, reply.fields) == (400, ["config.allowed_domains[1]", "config.x"])
    assert api.post("/api/v1/policies", {"name": "x", "type": "Nonsense"}).fields == ["type"]
    assert api.post("/api/v1/policies", {"name": "x", "type": "AllowedIssuers", "team_ids": ["t-x"]}).fields == [
        "team_ids"
    ]
    assert api.post("/api/v1/policies", {"name": "x", "type": "AllowedIssuers"}, by=Role.VIEWER).status == 403


def test_a_name_is_taken_once(api: Api) -> None:
    policy(api)
    reply = api.post("/api/v1/policies", {"name": "environments", "type": "AllowedIssuers"})
    assert reply.status == 409


def test_violations_are_listed_by_policy_by_certificate_and_by_state(api: Api) -> None:
    api.foundations()
    policy(api)
    policy(api, id="pr-2", name="tags", type="RequiredMetadata", config={}, severity="Error")
    api.certificate(name="one")
    api.certificate(name="two", environment="production")
    found = api.get("/api/v1/policies/pr-1/violations").json
    assert (found["total"], found["page"], found["per_page"]) == (1, 1, 50)
    (violation,) = found["data"]
    assert (violation["certificate_id"], violation["rule_id"], violation["severity"]) == ("mc-one", "pr-1", "Warning")
    assert violation["message"] == "it has no environment"
    assert set(violation) == {"id", "certificate_id", "rule_id", "message", "severity", "created_at"}
    every = "/api/v1/policy-violations"
    assert api.get(every).json["total"] == 3
    assert api.get(f"{every}?certificate_id=mc-two").json["total"] == 1
    assert api.get(f"{every}?severity=Error&rule_id=pr-2&per_page=1").json["total"] == 2
    api.put("/api/v1/certificates/mc-one", {"environment": "production"})
    assert api.get("/api/v1/policies/pr-1/violations").json["data"] == []
    (resolved,) = api.get("/api/v1/policies/pr-1/violations?state=resolved").json["data"]
    assert resolved["id"] == violation["id"]
    assert resolved["resolved_at"] >= resolved["created_at"]
    assert api.get(f"{every}?state=all").json["total"] == 3
    assert api.get("/api/v1/policies/pr-9/violations").status == 404
    assert api.get(f"{every}?state=some").fields == ["state"]


def test_what_a_critical_policy_forbids_is_refused_with_every_reason(api: Api) -> None:
    api.foundations()
    policy(api, severity="Critical")
    policy(api, id="pr-2", name="tags", type="RequiredMetadata", config={}, severity="Critical")
    reply = api.post("/api/v1/certificates", certificate())
    assert reply.status == 422
    assert reply.json["reasons"] == [
        "policy rule environments (pr-1): it has no environment",
        "policy rule tags (pr-2): it has no tags",
    ]
    api.made("/api/v1/certificates", certificate(environment="production", tags={"a": "b"}))
    assert api.put("/api/v1/certificates/mc-site", {"environment": "test"}).status == 422
    assert api.get("/api/v1/certificates/mc-site").json["environment"] == "production"


def test_a_policy_is_about_agent_groups(api: Api) -> None:
    api.foundations()
    agent = api.agent()
    group(api, match_os="linux")
    policy(api, agent_group_ids=["ag-1"])
    api.certificate(api.target(agent))
    assert api.get("/api/v1/policy-violations").json["total"] == 0
    beat(api, agent, os="linux")
    reviews.sweep(api.ports)
    assert api.get("/api/v1/policy-violations").json["total"] == 1
    reply = api.delete("/api/v1/agent-groups/ag-1")
    assert (reply.status, reply.json["counts"]) == (409, {"policy rule": 1})


def test_a_group_is_made_listed_changed_and_removed(api: Api) -> None:
    made = group(api, match_os="linux", match_ip_cidr="10.0.0.0/8", match_version=">=1.2,<2", description="d")
    assert api.get("/api/v1/agent-groups").json["data"] == [made]
    changed = api.put("/api/v1/agent-groups/ag-1", {"match_os": "", "enabled": False}).json
    assert (changed["match_os"], changed["match_version"], changed["enabled"]) == ("", ">=1.2,<2", False)
    assert api.get("/api/v1/agent-groups/ag-1").json == changed
    reply = api.put("/api/v1/agent-groups/ag-1", {"match_ip_cidr": "10.0.0.1/8", "match_version": "1.x"})
    assert (reply.status, reply.fields) == (400, ["match_ip_cidr", "match_version"])
    assert api.delete("/api/v1/agent-groups/ag-1").status == 204
    assert api.delete("/api/v1/agent-groups/ag-1").status == 404


def test_members_are_agents_on_a_page(api: Api) -> None:
    group(api, match_os="linux")
    web = [api.agent(f"web-{number}") for number in range(5)]
    for number, agent in enumerate(web):
        beat(api, agent, os="linux" if number < 4 else "windows")
    everybody = api.get("/api/v1/agent-groups/ag-1/members").json
    assert (everybody["page"], everybody["per_page"], everybody["total"]) == (1, 4, 4)
    assert {agent["id"] for agent in everybody["data"]} == {agent.id for agent in web[:4]}
    second = api.get("/api/v1/agent-groups/ag-1/members?page=2&per_page=3").json
    assert (second["page"], second["per_page"], second["total"]) == (2, 3, 4)
    assert second["data"] == everybody["data"][3:]
    members = "/api/v1/agent-groups/ag-1/members"
    put = api.put(f"{members}/{web[4].id}", {"membership_type": "include"})
    assert (put.status, put.json["membership_type"]) == (200, "include")
    assert api.put(f"{members}/{web[0].id}", {"membership_type": "exclude"}).status == 200
    assert api.put(f"{members}/{web[0].id}", {"membership_type": "maybe"}).fields == ["membership_type"]
    assert api.put(f"{members}/nobody", {}).status == 404
    now = {agent["id"] for agent in api.get(members).json["data"]}
    assert now == {agent.id for agent in web[1:]}
    assert api.get("/api/v1/agent-groups/ag-1/memberships").json["total"] == 2
    assert api.delete(f"{members}/{web[0].id}").status == 204
    assert api.delete(f"{members}/{web[0].id}").status == 404
    assert api.get(members).json["total"] == 5
    assert api.get("/api/v1/agent-groups/nothing/members").status == 404
