"""Keys that are limited to teams and environments, taken through the whole table of operations.

There is a company with everything of a team in it: what belongs to certificates has the word okapi in it, what is
limited to the team the word zebra. Nothing that another team's keys ask shows one of these words or changes anything,
and asking for what is there is answered as asking for what is not.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from attrs import define, evolve

from certctl_adapters.memory import MemoryStore
from certctl_core.ids import CertificateId, NotificationId
from certctl_core.models.access import SYSTEM, ApiKey, Role
from certctl_core.models.records import Notification, NotificationType
from certctl_core.ports.store import Query
from certctl_core.usecases import access
from certctl_web.operation import Row
from certctl_web.operations import TABLE
from certctl_web.options import Options
from tests.stand_ins import MovableClock
from tests.web.api import GIVEN, NGINX, AnAgent, Api, Reply, certificate, csr_pem, make_api, make_ports
from tests.web.test_table import BODIES, path_of

TEAMS: Final = {"team_ids": ["t-zebra"]}
OF_CERTIFICATES: Final = re.compile(rb"[Oo]kapi")
OF_THE_TEAM: Final = re.compile(rb"[Oo]kapi|[Zz]ebra")
NOBODYS: Final = "nobodys"

LIMITS: Mapping[str, tuple[Mapping[str, list[str]], re.Pattern[bytes]]] = {
    "by team": ({"team_ids": ["t-own"]}, OF_THE_TEAM),
    "by environment": ({"environments": ["own"]}, OF_CERTIFICATES),
    "by both": ({"team_ids": ["t-own"], "environments": ["own"]}, OF_THE_TEAM),
}
ROLES: Final = (Role.ADMIN, Role.OPERATOR, Role.VIEWER)
UNTOUCHED: Final = frozenset({"audit_events", "api_calls", "quotas"})
"""Tables to which asking may add."""


@define
class Company:
    """The application, the keys of callers from elsewhere, and the ids of what is there, by the path it is under."""

    api: Api
    store: MemoryStore
    keys: dict[tuple[str, Role], str]
    ids: dict[str, str]

    def snapshot(self) -> dict[tuple[str, Any], Any]:
        """Every row, without what asking itself leaves behind."""
        return {
            (table, key): _lasting(row)
            for table, rows in self.store._tables.items()
            if table not in UNTOUCHED
            for key, row in rows.items()
        }


def _lasting(row: Any) -> str:
    """The row as text, without when it was last used."""
    return repr(evolve(row, last_used_at=None) if isinstance(row, ApiKey) else row)


def fill(api: Api) -> dict[str, str]:
    """Everything a team can have. Returns the ids of some of it."""
    api.made("/api/v1/teams", {"id": "t-own", "name": "own"})
    api.made("/api/v1/teams", {"id": "t-zebra", "name": "zebra crew"})
    owner = {"id": "o-zebra", "name": "Zebra", "email": "zebra@example.com", "team_id": "t-zebra"}
    api.made("/api/v1/owners", owner)
    api.made("/api/v1/issuers", {"id": "iss-zebra", "name": "zebra CA", "type": "local", **TEAMS})
    agent = _agent(api)
    target = {"id": "tgt-zebra", "name": "zebra nginx", "type": "nginx", "agent_id": agent.id, "config": NGINX, **TEAMS}
    api.made("/api/v1/targets", target)
    rule = {"id": "pr-zebra", "name": "zebra environments", "type": "AllowedEnvironments", **TEAMS}
    api.made("/api/v1/policies", {**rule, "config": {"allowed": ["production"]}})
    api.made("/api/v1/profiles", {"id": "prof-strict", "name": "Strict", "requires_approval": True})
    for name, more in (("okapi", {}), ("okapi-2", {"certificate_profile_id": "prof-strict"})):
        body = certificate(
            name,
            owner_id="o-zebra",
            team_id="t-zebra",
            issuer_id="iss-zebra",
            environment="okapi-land",
            target_ids=["tgt-zebra"],
            tags={"animal": "okapi"},
        )
        api.made("/api/v1/certificates", body | more)
        api.made(f"/api/v1/certificates/mc-{name}/renew", {})
    api.submit(agent, "mc-okapi")
    check = {"id": "hc-okapi", "endpoint": "okapi.example.com:443", "certificate_id": "mc-okapi"}
    api.made("/api/v1/health-checks", check)
    api.made("/api/v1/network-scan-targets", {"name": "zebra net", "cidrs": ["192.0.2.0/24"]})
    found = {"fingerprint_sha256": "ab" * 32, "common_name": "zebra.example.com", "source_path": "/srv/zebra.pem"}
    api.made(f"/api/v1/agents/{agent.id}/discoveries", {"certificates": [found]}, by=agent.key)
    api.made("/api/v1/agent-groups", {"id": "ag-edge", "name": "edge"})
    api.put(f"/api/v1/agent-groups/ag-edge/members/{agent.id}", {"membership_type": "include"})
    api.made("/api/v1/api-keys", {"name": "zebra key", **TEAMS})
    api.made("/api/v1/certificates/bulk-renew", {"certificate_ids": ["mc-okapi-2"], "force": True})
    with api.ports.work() as work:
        work.notifications.add(
            Notification(
                id=NotificationId("notif-okapi"),
                type=NotificationType.EXPIRATION_WARNING,
                channel="Email",
                recipient="zebra@example.com",
                message="okapi.example.com ends",
                certificate_id=CertificateId("mc-okapi"),
                created_at=api.clock.now(),
            )
        )
    return {
        "certificates": "mc-okapi",
        "issuers": "iss-zebra",
        "intermediates": "iss-zebra",
        "targets": "tgt-zebra",
        "teams": "t-zebra",
        "owners": "o-zebra",
        "policies": "pr-zebra",
        "profiles": "prof-strict",
        "renewal-policies": "rp-default",
        "agents": agent.id,
        "agent-groups": "ag-edge",
        "health-checks": "hc-okapi",
        "notifications": "notif-okapi",
        "jobs": _first(api, "jobs?type=Deployment"),
        "approvals": _first(api, "approvals"),
        "audit": _first(api, "audit?action=certificate_created"),
        "discovered-certificates": _first(api, "discovered-certificates"),
        "network-scan-targets": _first(api, "network-scan-targets"),
        "bulk-operations": _first(api, "bulk-operations"),
        "api-keys": _first(api, "api-keys"),
    }


SHARED: Final = frozenset({"profiles", "renewal-policies", "agent-groups"})
"""What is everybody's."""


def _agent(api: Api) -> AnAgent:
    token = api.made("/api/v1/agents/join-tokens", {"agent_name": "zebra-1", **TEAMS})["token"]
    asked = {"token": token, "name": "x", "hostname": "zebra-1.example.com", "ip_address": "192.0.2.77"}
    joined = api.made("/api/v1/agents/join", asked, by=None)
    return AnAgent(joined["agent_id"], joined["api_key"])


def _first(api: Api, query: str) -> str:
    return str(api.get(f"/api/v1/{query}").json["data"][0]["id"])


@pytest.fixture(scope="module")
def company() -> Iterator[Company]:
    """One for all: nothing that is asked here changes it."""
    clock, store = MovableClock(), MemoryStore()
    options = Options(given_keys=GIVEN, rate=None, record_calls=False)
    api = make_api(options, make_ports(store.work, clock), clock)
    ids = fill(api)
    keys = {
        (name, role): api.made("/api/v1/api-keys", {"name": f"{role.value} {name}", "role": role.value, **limits})[
            "key"
        ]
        for name, (limits, _) in LIMITS.items()
        for role in ROLES
    }
    yield Company(api, store, keys, ids)
    api.app.close()


def _kind(row: Row) -> str:
    """The part of the path behind the prefix: what the row is about."""
    return row.path.removeprefix("/api/v1/").partition("/")[0]


def _ask(company: Company, row: Row, identity: str, body: Any, key: str) -> Reply:
    more = {
        "certificate_id": company.ids["certificates"] if identity != NOBODYS else NOBODYS,
        "job_id": company.ids["jobs"] if identity != NOBODYS else NOBODYS,
        "agent_id": company.ids["agents"] if identity != NOBODYS else NOBODYS,
    }
    return company.api.call(row.method, path_of(row, id=identity, **more), body, by=key)


def _without(reply: Reply, *asked: str) -> bytes:
    """The answer, without what the caller said itself and what differs from request to request."""
    return _blank(re.sub(rb'"request_id":"[^"]*"', b"", reply.content), *asked)


def _blank(content: bytes, *words: str) -> bytes:
    for word in sorted(words, key=len, reverse=True):
        content = content.replace(word.encode(), b"ID")
    return content


guarded = pytest.mark.parametrize("row", [r for r in TABLE if r.who & set(ROLES)], ids=lambda row: row.name)
limited = pytest.mark.parametrize("limits", LIMITS)


@limited
@guarded
def test_what_is_out_of_reach_is_neither_shown_nor_changed_nor_told_from_what_is_not_there(
    company: Company, row: Row, limits: str
) -> None:
    kind, hidden = _kind(row), LIMITS[limits][1]
    identity = company.ids.get(kind, NOBODYS)
    for role in ROLES:
        if role not in row.who:
            continue
        before = company.snapshot()
        key, body = company.keys[limits, role], POINTING.get(row.name, BODIES.get(row.name))
        reply = _ask(company, row, identity, body, key)
        asked = {*_words(body), *SAID.get(row.name, ()), *(company.ids.values() if row.parameters else ())}
        assert not hidden.search(_without(reply, *asked)), reply.content
        after = company.snapshot()
        assert {place: row for place, row in after.items() if place in before} == before
        made = " ".join(row for place, row in after.items() if place not in before)
        assert not hidden.search(_blank(made.encode(), *asked)), made
        if row.parameters and kind not in SHARED and _is_hidden(limits, kind):
            unknown = _ask(company, row, NOBODYS, body, key)
            assert unknown.status == reply.status
            said = _without(reply, *company.ids.values())
            assert said == _without(unknown, NOBODYS), (said, unknown.content)


SAID: Final[Mapping[str, tuple[str, ...]]] = {"list_bulk_operations": ("mc-okapi",)}
"""What callers from elsewhere have said themselves, and is told to them again."""


def _is_hidden(limits: str, kind: str) -> bool:
    """Keys that are limited to environments only see what is limited to teams, and change nothing of it."""
    by_certificate = {"certificates", "jobs", "approvals", "health-checks", "notifications"}
    return limits != "by environment" or kind in by_certificate


def _words(body: Any) -> set[str]:
    """Every text in a body."""
    if isinstance(body, Mapping):
        return set().union(*(_words(value) for value in body.values()))
    if isinstance(body, list | tuple):
        return set().union(*(_words(value) for value in body))
    return {body} if isinstance(body, str) and body else set()


def _certificate(**more: Any) -> dict[str, Any]:
    return certificate("own", owner_id="o-zebra", issuer_id="iss-zebra", **more)


POINTING: Final[Mapping[str, Any]] = {
    "create_certificate": _certificate(team_id="t-own", environment="own", target_ids=["tgt-zebra"]),
    "update_certificate": {"environment": "own", "team_id": "t-own"},
    "trigger_deployment": {"target_id": "tgt-zebra"},
    "revoke_certificate": {"reason": "superseded"},
    "release_certificate": {},
    "bulk_revoke_certificates": {"reason": "superseded", "certificate_ids": ["mc-okapi"]},
    "bulk_renew_certificates": {"certificate_ids": ["mc-okapi"], "force": True},
    "bulk_reassign_certificates": {"certificate_ids": ["mc-okapi"], "owner_id": "o-zebra", "team_id": "t-own"},
    "create_owner": {"name": "Olga", "team_id": "t-zebra"},
    "update_owner": {"name": "Olga", "team_id": "t-own"},
    "create_issuer": {"name": "mine", "type": "local", **TEAMS},
    "update_issuer": {"name": "mine", "team_ids": []},
    "update_target": {"name": "mine", "team_ids": []},
    "update_team": {"name": "mine"},
    "update_profile": {"name": "mine"},
    "update_renewal_policy": {"name": "mine"},
    "create_policy": {**BODIES["create_policy"], **TEAMS},
    "update_policy": {"name": "mine", "team_ids": []},
    "register_agent": {"name": "mine", "hostname": "mine", **TEAMS},
    "issue_join_token": dict(TEAMS),
    "update_agent": {"team_ids": []},
    "create_health_check": {"endpoint": "own.example.org:443", "certificate_id": "mc-okapi"},
    "claim_discovered_certificate": {"managed_certificate_id": "mc-okapi"},
    "create_api_key": {"name": "further", **TEAMS},
    "update_api_key": {"name": "mine", "team_ids": []},
    "put_agent_group_member": {"membership_type": "exclude"},
    "agent_submit_csr": {"csr_pem": csr_pem("okapi.example.com", []), "certificate_id": "mc-okapi"},
}
"""Bodies that refer to what is out of reach where a body can."""


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        (
            "certificates",
            _certificate(team_id="t-own", target_ids=["tgt-zebra"]),
            {"owner_id", "issuer_id", "target_ids[0]"},
        ),
        ("certificates", _certificate(team_id="t-zebra"), {"team_id", "owner_id", "issuer_id"}),
        ("owners", POINTING["create_owner"], {"team_id"}),
        ("issuers", POINTING["create_issuer"], {"team_ids"}),
        ("issuers", {"name": "mine", "type": "local", "team_ids": []}, {"team_ids"}),
        ("agents/join-tokens", TEAMS, {"team_ids"}),
        ("agents", POINTING["register_agent"], {"team_ids"}),
        ("api-keys", POINTING["create_api_key"], {"team_ids"}),
        ("health-checks", POINTING["create_health_check"], {"certificate_id"}),
        ("certificates/bulk-reassign", POINTING["bulk_reassign_certificates"], {"owner_id"}),
    ],
)
def test_a_reference_beyond_reach_is_refused_by_name(
    company: Company, path: str, body: Mapping[str, Any], fields: set[str]
) -> None:
    reply = company.api.post(f"/api/v1/{path}", body, by=company.keys["by team", Role.ADMIN])
    assert reply.status == 400
    assert set(reply.fields) == fields


def test_a_target_is_put_only_onto_an_agent_of_the_callers_teams(company: Company) -> None:
    body = {"name": "nginx", "type": "nginx", "config": NGINX}
    for agent in (company.ids["agents"], "server-scanner", NOBODYS):
        key = company.keys["by team", Role.OPERATOR]
        reply = company.api.post("/api/v1/targets", {**body, "agent_id": agent}, by=key)
        assert (reply.status, reply.fields) == (400, ["agent_id"])


def test_figures_are_of_what_is_seen(api: Api) -> None:
    fill(api)
    for name, (limits, _) in LIMITS.items():
        key = api.made("/api/v1/api-keys", {"name": name, "role": "viewer", **limits})["key"]
        summary = api.get("/api/v1/stats/summary", by=key).json
        counted = {figure: value for figure, value in summary.items() if figure != "completed_at"}
        agents = {"active_agents", "total_agents"} if name == "by environment" else set()
        assert {figure for figure, value in counted.items() if value} == agents
        by_status = api.get("/api/v1/stats/certificates-by-status", by=key).json
        assert not any(status["count"] for status in by_status)
        timeline = api.get("/api/v1/stats/expiration-timeline?days=365", by=key).json
        assert not any(day["count"] for day in timeline)
    zebra = api.made("/api/v1/api-keys", {"name": "their own", "role": "viewer", **TEAMS})["key"]
    for key in (zebra, Role.ADMIN):
        assert api.get("/api/v1/stats/summary", by=key).json["total_certificates"] == 2
        timeline = api.get("/api/v1/stats/expiration-timeline?days=365", by=key).json
        assert sum(day["count"] for day in timeline) == 1


@pytest.mark.integration
def test_the_same_is_hidden_by_the_database(database_url: str) -> None:
    """The conditions of lists, in SQL."""
    from certctl_adapters.postgres.work import PostgresWork, open_pool

    clock = MovableClock()
    with open_pool(database_url, size=4) as pool:
        options = Options(given_keys=GIVEN, rate=None, record_calls=False)
        api = make_api(options, make_ports(PostgresWork(pool), clock), clock)
        ids = fill(api)
        for limits, hidden in LIMITS.values():
            key = api.made("/api/v1/api-keys", {"name": "elsewhere", "role": "admin", **limits})["key"]
            for row in TABLE:
                if row.method == "GET" and row.who & set(ROLES):
                    path = path_of(row, id=ids.get(_kind(row), NOBODYS))
                    reply = api.call("GET", path, by=key)
                    asked = ids.values() if row.parameters else ()
                    assert not hidden.search(_without(reply, *asked)), (row.name, reply.content)
        api.app.close()


# --- within reach -----------------------------------------------------------------------------------------------------


@pytest.fixture
def own(api: Api) -> str:
    """An operator's key of the team that has everything."""
    fill(api)
    return str(api.made("/api/v1/api-keys", {"name": "zebra operator", **TEAMS})["key"])


LISTS: Final = [row for row in TABLE if row.method == "GET" and not row.parameters and Role.OPERATOR in row.who]


@pytest.mark.parametrize("row", LISTS, ids=lambda row: row.name)
def test_every_list_shows_a_team_its_own(api: Api, own: str, row: Row) -> None:
    if row.name == "prove_audit_consistency":
        assert api.get(f"{row.path}?first=1", by=own).status == 403
        return
    if row.name in UNLIMITED:
        assert api.get(row.path, by=own).status == 403
        return
    reply = api.get(row.path, by=own)
    assert reply.status == UNCONFIGURED.get(row.name, 200)
    if row.name in OF_TEAMS:
        assert OF_THE_TEAM.search(reply.content), reply.content


UNLIMITED: Final = {
    *(
        "list_enrolment_secrets",
        "list_audit_events",
        "export_audit_events",
        "list_audit_checkpoints",
        "get_latest_audit_checkpoint",
    ),
    *("list_discovered_certificates", "list_discovery_scans", "get_discovery_summary"),
    *("list_network_scan_targets", "get_job_trends", "get_metrics", "get_prometheus_metrics", "get_issuance_rate"),
}
"""What belongs to no team, and is shown to keys without limits only."""

UNCONFIGURED: Final = {"preview_digest": 503}
OF_TEAMS: Final = {
    *("list_certificates", "list_issuers", "list_targets", "list_teams", "list_owners", "list_policies"),
    *("list_violations", "list_agents", "list_jobs", "list_approvals", "list_health_checks"),
}


def test_a_team_brings_its_own_hosts_and_works_on_them(api: Api, own: str) -> None:
    token = api.made("/api/v1/agents/join-tokens", {}, by=own)["token"]
    joined = api.made("/api/v1/agents/join", {"token": token, "name": "n", "hostname": "h"}, by=None)
    assert api.get(f"/api/v1/agents/{joined['agent_id']}").json["team_ids"] == ["t-zebra"]
    body = {"id": "tgt-new", "name": "nginx", "type": "nginx", "agent_id": joined["agent_id"], "config": NGINX}
    assert api.made("/api/v1/targets", body, by=own)["team_ids"] == ["t-zebra"]
    renamed = api.put("/api/v1/targets/tgt-new", {"name": "renamed"}, by=own)
    assert (renamed.status, renamed.json["team_ids"]) == (200, ["t-zebra"])
    assert api.put("/api/v1/targets/tgt-new", {"team_ids": []}, by=own).fields == ["team_ids"]
    assert api.put(f"/api/v1/agents/{joined['agent_id']}", {"team_ids": []}, by=own).fields == ["team_ids"]
    made = certificate("mine", owner_id="o-zebra", team_id="t-zebra", issuer_id="iss-zebra", target_ids=["tgt-new"])
    api.made("/api/v1/certificates", made, by=own)
    assert api.post("/api/v1/certificates/mc-mine/renew", {}, by=own).status == 202
    moved = api.put("/api/v1/certificates/mc-mine", {"team_id": "t-own"}, by=own)
    assert (moved.status, moved.fields) == (400, ["team_id", "issuer_id", "target_ids[0]"])
    assert api.delete("/api/v1/targets/tgt-new", by=own).status == 409
    assert api.delete("/api/v1/certificates/mc-mine", by=own).status == 204
    assert api.delete("/api/v1/targets/tgt-new", by=own).status == 204


def test_what_others_use_too_is_used_and_not_changed(api: Api, own: str) -> None:
    api.made("/api/v1/issuers", {"id": "iss-all", "name": "everybody's", "type": "local"})
    api.made("/api/v1/issuers", {"id": "iss-two", "name": "two", "type": "local", "team_ids": ["t-own", "t-zebra"]})
    api.made("/api/v1/owners", {"id": "o-all", "name": "everybody's"})
    for issuer in ("iss-all", "iss-two"):
        assert api.get(f"/api/v1/issuers/{issuer}", by=own).status == 200
        made = certificate(issuer, owner_id="o-all", team_id="t-zebra", issuer_id=issuer)
        api.made("/api/v1/certificates", made, by=own)
        for reply in (
            api.put(f"/api/v1/issuers/{issuer}", {"enabled": False}, by=own),
            api.delete(f"/api/v1/issuers/{issuer}", by=own),
            api.post(f"/api/v1/issuers/{issuer}/test", by=own),
        ):
            assert reply.status == 403
            assert "not your teams' alone" in reply.json["message"]
    assert api.put("/api/v1/owners/o-all", {"email": "x@example.com"}, by=own).status == 403
    assert api.delete("/api/v1/agents/server-scanner", by=own).status == 403
    assert api.post("/api/v1/teams", {"name": "another"}, by=own).status == 403


def test_a_narrowed_key_reaches_less_from_the_next_request_on(api: Api) -> None:
    fill(api)
    made = api.made("/api/v1/api-keys", {"name": "wide", "role": "viewer"})
    assert api.get("/api/v1/certificates", by=made["key"]).json["total"] == 2
    narrowed = api.put(f"/api/v1/api-keys/{made['id']}", {"team_ids": ["t-own"], "expires_at": "2032-01-01T00:00:00Z"})
    assert (narrowed.status, narrowed.json["team_ids"]) == (200, ["t-own"])
    assert api.get("/api/v1/certificates", by=made["key"]).json["total"] == 0
    assert api.get("/api/v1/auth/check", by=made["key"]).json["team_ids"] == ["t-own"]
    wide = api.put(f"/api/v1/api-keys/{made['id']}", {"team_ids": [], "expires_at": "0001-01-01T00:00:00Z"})
    assert "expires_at" not in wide.json
    assert api.get("/api/v1/certificates", by=made["key"]).json["total"] == 2


def test_a_limited_administrator_makes_keys_that_reach_no_further(api: Api) -> None:
    fill(api)
    limits = {"team_ids": ["t-zebra", "t-own"], "environments": ["a", "b"]}
    admin = api.made("/api/v1/api-keys", {"name": "limited", "role": "admin", **limits})["key"]
    inherited = api.made("/api/v1/api-keys", {"name": "same", "role": "admin"}, by=admin)
    assert {name: sorted(inherited[name]) for name in limits} == {name: sorted(value) for name, value in limits.items()}
    narrower = api.made("/api/v1/api-keys", {"name": "less", "team_ids": ["t-own"], "environments": ["a"]}, by=admin)
    for wider in ({"team_ids": []}, {"environments": ["a", "c"]}, {"environments": []}):
        reply = api.post("/api/v1/api-keys", {"name": "more", **wider}, by=admin)
        assert (reply.status, reply.fields) == (400, list(wider))
        reply = api.put(f"/api/v1/api-keys/{narrower['id']}", wider, by=admin)
        assert (reply.status, reply.fields) == (400, list(wider))
    names = {key["name"] for key in api.get("/api/v1/api-keys", by=admin).json["data"]}
    assert names == {"limited", "same", "less"}
    assert api.delete(f"/api/v1/api-keys/{narrower['id']}", by=admin).status == 204
    assert api.put(f"/api/v1/api-keys/{narrower['id']}", {"name": "again"}, by=admin).status == 409


def test_a_key_for_a_team_that_does_not_exist_is_refused(api: Api) -> None:
    reply = api.post("/api/v1/api-keys", {"name": "x", "team_ids": ["t-nobody"]})
    assert (reply.status, reply.fields) == (400, ["team_ids"])
    agent = api.agent()
    with api.ports.work() as work:
        (key,) = work.api_keys.page(Query()).items
    assert key.agent_id == agent.id
    assert api.put(f"/api/v1/api-keys/{key.id}", {"team_ids": []}).status == 409


def test_a_session_reaches_as_far_as_its_key(api: Api) -> None:
    fill(api)
    for limits, hidden in LIMITS.values():
        key = access.create_key(api.ports, SYSTEM, "visitor", Role.OPERATOR, **limits).plain  # type: ignore[arg-type]
        cookie = access.log_in(api.ports, key).cookie
        headers = {"Cookie": f"__Host-certctl={cookie}"}
        for path in ("/", "/certificates", "/certificates?q=okapi", "/jobs", "/agents"):
            reply = api.call("GET", path, by=None, headers=headers)
            assert reply.status == 200
            shown = reply.content.replace(b'value="okapi"', b"")
            assert not hidden.search(shown.replace(b"q=okapi", b"")), path
            assert b'href="/audit"' not in reply.content
        for path in ("/certificates/mc-okapi", "/certificates/mc-okapi/revoke"):
            assert api.call("GET", path, by=None, headers=headers).status == 404
        assert api.call("GET", "/audit", by=None, headers=headers).status == 403
