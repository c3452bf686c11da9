"""What holds for every row of the table of operations."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
from openapi_spec_validator import validate

from certctl_core.models.access import Role
from certctl_web import openapi, operations, protocols
from certctl_web.operation import Row
from certctl_web.operations import TABLE
from tests.authority import Authority, pem
from tests.web.api import KEYS, Api, certificate, csr_pem, make_api

BODIES: dict[str, Any] = {
    "create_certificate": certificate(),
    "bulk_revoke_certificates": {"reason": "superseded", "certificate_ids": ["no-such-id"]},
    "bulk_renew_certificates": {"certificate_ids": ["no-such-id"]},
    "bulk_reassign_certificates": {"certificate_ids": ["no-such-id"], "owner_id": "o-1"},
    "import_certificates": {
        "owner_id": "o-1",
        "team_id": "t-1",
        "issuer_id": "iss-local",
        "renewal_policy_id": "rp-default",
        "certificates": [{"pem": "-----BEGIN CERTIFICATE-----"}],
    },
    "create_issuer": {"name": "Local", "type": "local"},
    "create_intermediate_ca": {"name": "Issuing CA"},
    "install_intermediate_ca_certificate": {"certificate_pem": pem(Authority().certificate)},
    "create_target": {"name": "nginx", "type": "NGINX", "agent_id": "agent-x", "config": {}},
    "create_team": {"name": "Platform"},
    "create_owner": {"name": "Olga"},
    "create_profile": {"name": "TLS"},
    "create_renewal_policy": {"name": "monthly"},
    "register_agent": {"name": "web-1", "hostname": "web-1.test"},
    "join_agent": {"token": "cjt_x", "name": "web-1", "hostname": "web-1.test"},
    "agent_submit_csr": {"csr_pem": csr_pem("site.example.com", []), "certificate_id": "mc-site"},
    "agent_submit_csrs": {"csrs": [{"csr_pem": csr_pem("site.example.com", []), "certificate_id": "mc-site"}]},
    "agent_report_job_status": {"status": "Completed"},
    "verify_job": {"target_id": "t", "expected_fingerprint": "ab", "actual_fingerprint": "ab", "verified": True},
    "create_api_key": {"name": "ci"},
    "create_enrolment_secret": {"protocol": "EST"},
    "reload_est_trust": {"path_id": ""},
    "report_discoveries": {"errors": ["/root: denied"]},
    "claim_discovered_certificate": {"managed_certificate_id": "mc-site"},
    "create_network_scan_target": {"name": "dmz", "cidrs": ["192.0.2.0/24"]},
    "create_policy": {"name": "domains", "type": "AllowedDomains", "config": {"allowed_domains": ["*.example.com"]}},
    "create_agent_group": {"name": "edge"},
    "create_health_check": {"endpoint": "www.example.org:443"},
}
"""A body for each row that cannot do without one."""

named = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
guarded = pytest.mark.parametrize("row", [row for row in TABLE if not row.is_public], ids=lambda row: row.name)
writing = pytest.mark.parametrize(
    "row",
    [row for row in TABLE if row.body is not None and not getattr(row.body, "anything", False)],
    ids=lambda r: r.name,
)
owned = pytest.mark.parametrize("row", [row for row in TABLE if row.own], ids=lambda row: row.name)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """One for all: what is asked here changes nothing that another test looks at."""
    made = make_api()
    yield made
    made.app.close()


def path_of(row: Row, **given: str) -> str:
    """The row's path with its parameters filled in."""
    return re.sub(r"{([a-z_]+)(:path)?}", lambda found: given.get(found[1], "no-such-id"), row.path)


def a_caller(row: Row) -> Role:
    return min(row.who - {Role.AGENT}, key=lambda role: role.value, default=Role.ADMIN)


def test_names_and_routes_are_unique() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert len({(row.method, row.path) for row in TABLE}) == len(TABLE)


@guarded
def test_without_credentials_nothing_is_answered(api: Api, row: Row) -> None:
    reply = api.call(row.method, path_of(row), BODIES.get(row.name), by=None)
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == 'Bearer realm="certctl"'


@guarded
def test_a_key_that_nobody_has_opens_nothing(api: Api, row: Row) -> None:
    assert api.call(row.method, path_of(row), BODIES.get(row.name), by="cck_invented").status == 401


@guarded
def test_every_other_role_is_refused(api: Api, row: Row) -> None:
    agent = api.agent()
    for role in set(Role) - row.who:
        key = agent.key if role is Role.AGENT else KEYS[role]
        reply = api.call(row.method, path_of(row), BODIES.get(row.name), by=key)
        assert reply.status == 403, role
        assert role.value in reply.json["message"]


@owned
def test_an_agent_cannot_act_as_another_one(api: Api, row: Row) -> None:
    mine, other = api.agent(), api.agent()
    reply = api.call(row.method, path_of(row, id=other.id), BODIES.get(row.name), by=mine.key)
    assert reply.status == 403
    assert other.id in reply.json["message"]


@writing
def test_an_unknown_field_is_named(api: Api, row: Row) -> None:
    body = {**BODIES.get(row.name, {}), "no_such_field": 1}
    reply = api.call(row.method, path_of(row), body, by=a_caller(row))
    assert reply.status == 400
    assert "no_such_field" in reply.fields


@writing
def test_bad_json_is_answered_with_its_position(api: Api, row: Row) -> None:
    reply = api.call(row.method, path_of(row), body='{"name": "x",\n  oops', by=a_caller(row))
    assert reply.status == 400
    assert "line 2, column 3" in reply.json["message"]


@pytest.mark.parametrize("row", [r for r in TABLE if r.parameters and not r.is_public], ids=lambda r: r.name)
def test_an_unknown_id_is_not_found(api: Api, row: Row) -> None:
    reply = api.call(row.method, path_of(row), BODIES.get(row.name), by=Role.ADMIN)
    if row.name == "list_certificate_versions":
        assert reply.json["data"] == []
        return
    assert reply.status == 404
    assert reply.json["error"] == "Not Found"


@pytest.mark.parametrize("row", [r for r in TABLE if r.parameters], ids=lambda r: r.name)
@pytest.mark.parametrize("bad", ["%00", "..%2e", "a%20b", "x" * 200])
def test_what_cannot_be_an_id_names_nothing(api: Api, row: Row, bad: str) -> None:
    path = re.sub(r"{[a-z_]+}", bad, row.path).replace("{request:path}", "00")
    assert api.call(row.method, path, BODIES.get(row.name)).status == 404


@pytest.mark.parametrize("row", [r for r in TABLE if r.query is not None], ids=lambda r: r.name)
def test_an_unknown_query_parameter_is_named(api: Api, row: Row) -> None:
    reply = api.call(row.method, path_of(row) + "?no_such_filter=1", BODIES.get(row.name), by=a_caller(row))
    missing = [a.name for a in attrs.fields(row.query) if a.default is attrs.NOTHING]
    assert reply.status == 400
    assert reply.fields == [*missing, "no_such_filter"]


@named
def test_each_row_documents_what_follows_from_it(row: Row) -> None:
    assert {400, 413, 429, 500, 503} <= row.statuses
    assert row.is_public or 401 in row.statuses
    assert (410 in row.statuses) is (Role.AGENT in row.who)
    assert row.summary
    assert not row.summary.endswith(".")


@pytest.mark.parametrize("package", [operations, protocols], ids=lambda package: package.__name__)
def test_operations_catch_nothing(package: ModuleType) -> None:
    """What goes wrong becomes an answer in one place."""
    for file in Path(package.__path__[0]).glob("*.py"):
        tree = ast.walk(ast.parse(file.read_text()))
        caught = [node.lineno for node in tree if isinstance(node, ast.Try) and node.handlers]
        assert not caught, f"{file.name} catches in line {caught[0]}"


def test_the_document_is_valid_openapi(api: Api) -> None:
    document = api.get("/api/v1/openapi.json", by=None).json
    validate(document)
    described = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert described == {row.name for row in TABLE}


def test_the_document_tells_bounds_defaults_and_roles() -> None:
    document = openapi.document(TABLE, "1.2.3")
    creation = document["components"]["schemas"]["CreateCertificate"]
    assert creation["required"] == ["name", "common_name", "owner_id", "team_id", "issuer_id", "renewal_policy_id"]
    name = creation["properties"]["name"]
    assert (name["type"], name["minLength"], name["maxLength"]) == ("string", 1, 255)
    assert re.search(name["pattern"], "Olga's site, №1")
    assert not re.search(name["pattern"], "a\x1bb")
    assert creation["additionalProperties"] is False
    listing = document["paths"]["/api/v1/certificates"]["get"]
    page_size = next(p for p in listing["parameters"] if p["name"] == "page_size")
    assert page_size["schema"] == {"type": "integer", "minimum": 1, "maximum": 500}
    assert document["paths"]["/api/v1/api-keys"]["get"]["x-certctl-roles"] == ["admin"]
    assert document["paths"]["/health"]["get"]["security"] == []
