"""The HTTP application over a store, and a client that checks every answer against the OpenAPI document."""

import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jsonschema
import orjson
import pytest
from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from falcon import testing

from certctl_adapters.issuers import InstalledIssuers
from certctl_adapters.memory import MemoryStore
from certctl_adapters.targets import Catalog
from certctl_core.models.access import Role
from certctl_core.pki import csr
from certctl_core.ports import Ports
from certctl_core.ports.world import Clock
from certctl_web import openapi
from certctl_web.app import Application, create_app
from certctl_web.endpoint import Endpoint
from certctl_web.operation import Row
from certctl_web.operations import TABLE
from certctl_web.options import Options
from certctl_web.setting import NamedKey
from tests.stand_ins import MovableClock, PlainBox

START = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)
KEYS: dict[Role, str] = {role: f"{role.value}-key-of-the-tests" for role in Role if role is not Role.AGENT}
GIVEN = tuple(NamedKey(f"{role.value}-person", key, role) for role, key in KEYS.items())
_NUMBERS = itertools.count(1)
NGINX = {"cert_path": "/srv/site.pem", "key_path": "/srv/site.key"}

EVERY_STORE = pytest.mark.parametrize(
    "api", ["memory", pytest.param("postgres", marks=pytest.mark.integration)], indirect=True
)
"""For modules whose tests run over each store."""


def make_ports(work: Any, clock: Clock, **more: Any) -> Ports:
    """Ports over any store, with the Local CA and the installed targets."""
    box = PlainBox()
    return Ports(
        work=work, clock=clock, secrets=box, issuers=InstalledIssuers(work, box, clock), targets=Catalog(), **more
    )


@frozen
class Reply:
    """An answer. `json` is its body read as JSON."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.content)

    @property
    def fields(self) -> list[str]:
        """The fields that a problem names."""
        return [problem["field"] for problem in self.json.get("fields", [])]


@frozen
class AnAgent:
    id: str
    key: str


@define
class Api:
    """A client of the application. Keys are named by role, or given as text."""

    app: Application
    ports: Ports
    clock: MovableClock
    client: testing.TestClient = field(init=False)
    seen: set[tuple[str, int]] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.client = testing.TestClient(self.app)

    def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        by: Role | str | None = Role.ADMIN,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Reply:
        sent = dict(headers or {})
        if by is not None:
            sent["Authorization"] = f"Bearer {KEYS[by] if isinstance(by, Role) else by}"
        if json is not None:
            body = json_text(json)
            sent.setdefault("Content-Type", "application/json")
        result = self.client.simulate_request(method, path, body=body, headers=sent, **more)
        reply = Reply(result.status_code, result.headers, result.content)
        self._check(method, path, reply)
        return reply

    def get(self, path: str, **more: Any) -> Reply:
        return self.call("GET", path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> Reply:
        return self.call("POST", path, json, **more)

    def put(self, path: str, json: Any = None, **more: Any) -> Reply:
        return self.call("PUT", path, json, **more)

    def delete(self, path: str, **more: Any) -> Reply:
        return self.call("DELETE", path, **more)

    def made(self, path: str, json: Any, **more: Any) -> Any:
        """Post what must be accepted; returns what came back."""
        reply = self.post(path, json, **more)
        assert reply.status in (200, 201, 202), reply.content
        return reply.json

    def _check(self, method: str, path: str, reply: Reply) -> None:
        found = self.row(method, path)
        if found is None:
            return
        self.seen.add((found.name, reply.status))
        assert reply.status in found.statuses, f"{found.name} does not document {reply.status}: {reply.content!r}"
        kind = reply.headers.get("content-type", "")
        if not reply.content:
            return
        if kind == "application/problem+json":
            assert reply.status >= 400
            SCHEMA.check({"$ref": "#/components/schemas/Problem"}, reply.json)
            assert reply.json["hint"], f"{found.name} does not say what to do next: {reply.json}"
            assert reply.json["request_id"] == reply.headers["x-request-id"]
        elif found.answer is not None and kind not in found.media_types and "fields=" not in path:
            described = openapi.Schemas().of(found.answer)
            SCHEMA.check(described, reply.json)

    def row(self, method: str, path: str) -> Row | None:
        """The row that answers, if the path leads to one."""
        found = self.app.falcon._router.find(path.partition("?")[0])
        resource = found[0] if found else None
        return resource.rows.get(method) if isinstance(resource, Endpoint) else None

    # --- what must be there first ------------------------------------------------------------------------------------

    def agent(self, name: str = "") -> AnAgent:
        name = name or f"web-{next(_NUMBERS)}"
        token = self.made("/api/v1/agents/join-tokens", {})["token"]
        joined = self.made("/api/v1/agents/join", {"token": token, "name": name, "hostname": f"{name}.test"}, by=None)
        return AnAgent(joined["agent_id"], joined["api_key"])

    def target(self, agent: AnAgent, name: str = "nginx") -> str:
        asked = {"name": name, "type": "nginx", "agent_id": agent.id, "config": NGINX}
        return str(self.made("/api/v1/targets", asked)["id"])

    def foundations(self) -> None:
        """A team, an owner and the Local CA."""
        self.made("/api/v1/teams", {"id": "t-1", "name": "Platform"})
        self.made("/api/v1/owners", {"id": "o-1", "name": "Olga", "email": "olga@example.com", "team_id": "t-1"})
        self.made("/api/v1/issuers", {"id": "iss-local", "name": "Local", "type": "local"})

    def certificate(self, *targets: str, name: str = "site", **more: Any) -> Any:
        return self.made("/api/v1/certificates", certificate(name, target_ids=list(targets), **more))

    def issue(self, agent: AnAgent, certificate_id: str) -> Reply:
        """Renew, and answer with a CSR as the agent does."""
        self.made(f"/api/v1/certificates/{certificate_id}/renew", {})
        return self.submit(agent, certificate_id)

    def submit(self, agent: AnAgent, certificate_id: str) -> Reply:
        wanted = self.get(f"/api/v1/certificates/{certificate_id}").json
        asked = {"csr_pem": csr_pem(wanted["common_name"], wanted["sans"]), "certificate_id": certificate_id}
        return self.post(f"/api/v1/agents/{agent.id}/csr", asked, by=agent.key)


def certificate(name: str = "site", **more: Any) -> dict[str, Any]:
    """A body that creates a certificate."""
    return {
        "id": f"mc-{name}",
        "name": name,
        "common_name": f"{name}.example.com",
        "owner_id": "o-1",
        "team_id": "t-1",
        "issuer_id": "iss-local",
        "renewal_policy_id": "rp-default",
        **more,
    }


def json_text(value: Any) -> bytes:
    """As JSON, numbers of any size included."""
    return json.dumps(value).encode()


def csr_pem(common_name: str, sans: list[str]) -> str:
    request = csr.build(ec.generate_private_key(ec.SECP256R1()), common_name, sans)
    return request.public_bytes(Encoding.PEM).decode()


class _Schema:
    """The document's schemas, closed: in tests an answer has no field that is not documented."""

    def __init__(self) -> None:
        components = openapi.document(TABLE, "test")["components"]
        for name, schema in components["schemas"].items():
            if "properties" in schema and name != "Problem":
                schema["additionalProperties"] = False
        self._components = components

    def check(self, schema: Mapping[str, Any], value: Any) -> None:
        jsonschema.Draft202012Validator({**schema, "components": self._components}).validate(value)


SCHEMA = _Schema()


def make_api(options: Options | None = None, ports: Ports | None = None, clock: MovableClock | None = None) -> Api:
    """An application over a fresh store in memory, unless ports are given; nothing is limited unless asked for."""
    clock = clock or MovableClock()
    ports = ports or make_ports(MemoryStore().work, clock)
    return Api(create_app(ports, options or Options(given_keys=GIVEN, rate=None)), ports, clock)
