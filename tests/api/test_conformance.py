"""A running server does what its own description says, whoever asks: schemathesis with every check it has.

The server is the real program over TLS with a database of its own. The keys of the two roles that could revoke keys
come from the environment, where no call can reach them.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen
from demo.processes import Program, certctl, free_port, wait_for
from demo.rest import Api

from certctl_adapters.postgres.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
GIVEN: Final = {"admin": "an-admin-of-the-conformance-tests", "operator": "an-operator-of-the-conformance-tests"}
EXAMPLES: Final = {"admin": 8}
FEW_EXAMPLES: Final = 3
"""For the other roles: what they may do, the administrator has done in all ways already."""


@frozen
class Server:
    """The program, an agent of it, and a key for each role."""

    url: str
    ca_file: Path
    keys: dict[str, str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("conformance")
    port = free_port()
    named = ",".join(f"{role}:{key}{':admin' if role == 'admin' else ''}" for role, key in GIVEN.items())
    environment = {
        "CERTCTL_DATA_DIR": str(home / "data"),
        "CERTCTL_SERVER_PORT": str(port),
        "CERTCTL_API_KEYS_NAMED": named,
        "CERTCTL_RATE_LIMIT_ENABLED": "false",
        "PYTHONPATH": str(ROOT),
    }
    program = Program("the server", certctl("certctl_web"), home / "server.log", environment)
    program.start()
    api = Api(f"https://127.0.0.1:{port}", home / "data" / "tls" / "ca.pem", GIVEN["admin"])
    try:
        wait_for("the readiness of the server", lambda: _is_ready(program, api))
        yield Server(api.url, home / "data" / "tls" / "ca.pem", GIVEN | _furnish(api))
    finally:
        program.stop()
        EmbeddedPostgres(home / "data" / "postgres").stop()


def _is_ready(program: Program, api: Api) -> bool | None:
    program.must_run()
    try:
        return True if api.raw("GET", "/ready")[0] == 200 else None
    except OSError:
        return None


def _furnish(api: Api) -> dict[str, str]:
    """Something of everything, and keys for the other roles."""
    keys = {role: api.post("/api/v1/api-keys", {"name": role, "role": role})["key"] for role in ("viewer", "auditor")}
    token = api.post("/api/v1/agents/join-tokens", {})["token"]
    joined = api.post("/api/v1/agents/join", {"token": token, "name": "web-1", "hostname": "web-1.test"})
    config = {"cert_path": "/srv/site.pem", "key_path": "/srv/site.key"}
    target = {"name": "nginx", "type": "NGINX", "agent_id": joined["agent_id"], "config": config}
    asked = {
        "id": "mc-site",
        "name": "site",
        "common_name": "site.example.com",
        "owner_id": "o-default",
        "team_id": "t-default",
        "issuer_id": "iss-local",
        "renewal_policy_id": "rp-default",
        "target_ids": [api.post("/api/v1/targets", target)["id"]],
    }
    api.post("/api/v1/certificates", asked)
    return keys | {"agent": joined["api_key"]}


@pytest.mark.parametrize("role", ["viewer", "auditor", "agent", "operator", "admin"])
def test_the_server_is_what_it_says_it_is(server: Server, role: str, tmp_path: Path) -> None:
    phases = "coverage,fuzzing" if role in EXAMPLES else "fuzzing"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")),
        *("run", f"{server.url}/api/v1/openapi.json", "--tls-verify", str(server.ca_file)),
        *("-H", f"Authorization: Bearer {server.keys[role]}", "--checks", "all", "--phases", phases),
        *("--max-examples", str(EXAMPLES.get(role, FEW_EXAMPLES)), "--seed", "1"),
        *("--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off", "--no-color"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.api.hooks", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{ran.stdout[-20000:]}\n{ran.stderr[-4000:]}"
    assert "Fuzzing" in ran.stdout
