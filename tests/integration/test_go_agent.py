"""An agent of the established kind, unmodified, lives its whole life with our server."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from attrs import define, frozen
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_core.models.access import Role
from tests.integration.go_agent import GoAgent, Response, Retired, same_key
from tests.stand_ins import MovableClock
from tests.web.api import KEYS, Api, Reply, make_api, make_ports

pytestmark = pytest.mark.integration

INSTALLED = "installed"


@define
class Served:
    """What the stand-in's probe finds: nobody, a certificate, or what has been installed."""

    file: Path
    fingerprint: str = ""

    def __call__(self, host: str, port: int) -> str:
        if not self.fingerprint:
            raise ConnectionRefusedError(f"{host}:{port}: connection refused")
        if self.fingerprint == INSTALLED:
            return x509.load_pem_x509_certificate(self.file.read_bytes()).fingerprint(SHA256()).hex()
        return self.fingerprint


@frozen
class Site:
    """An agent with one NGINX target and one certificate for it."""

    api: Api
    agent: GoAgent
    own_key: str
    served: Served
    folder: Path
    target_id: str

    def certificate(self) -> Any:
        return self.api.get("/api/v1/certificates/mc-site").json

    def jobs(self, **wanted: str) -> list[Any]:
        rows = self.api.get("/api/v1/jobs?certificate_id=mc-site&per_page=100").json["data"]
        return [row for row in rows if all(row[name] == value for name, value in wanted.items())]

    def verified(self) -> dict[str, Any]:
        """A report of what is served, as it should be."""
        fingerprint = self.api.get("/api/v1/certificates/mc-site/versions").json["data"][0]["fingerprint_sha256"]
        seen = {"expected_fingerprint": fingerprint, "actual_fingerprint": fingerprint}
        return {"target_id": self.target_id, "verified": True, "error": "", **seen}

    def deployed(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / "site.pem").read_bytes())


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    clock = MovableClock()
    with open_pool(database_url, size=4) as pool:
        made = make_api(ports=make_ports(PostgresWork(pool), clock), clock=clock)
        made.foundations()
        yield made
        made.app.close()


@pytest.fixture(params=["the agent's own key", "an operator's key"])
def site(api: Api, tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    """An operator registers the agent, as the contract says: name and host name, and the id comes back."""
    registered = api.made("/api/v1/agents", {"name": "web-1", "hostname": "web-1.test"}, by=Role.OPERATOR)
    own_key = str(registered["api_key"])
    key = own_key if "own" in request.param else KEYS[Role.OPERATOR]
    served = Served(tmp_path / "site.pem")
    agent = GoAgent(sender(api), registered["id"], key, tmp_path / "keys", served)
    config = {"cert_path": f"{tmp_path}/site.pem", "key_path": f"{tmp_path}/site.key", "host": "127.0.0.1"}
    asked = {"name": "nginx", "type": "NGINX", "agent_id": agent.agent_id, "config": config}
    target_id = str(api.made("/api/v1/targets", asked)["id"])
    return Site(api, agent, own_key, served, tmp_path, target_id)


def sender(api: Api) -> Any:
    def send(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        return api.call(method, path, body=body or None, headers=headers, by=None)

    return send


def test_a_whole_life(site: Site) -> None:
    api, agent = site.api, site.agent
    names = ["site.example.com", "*.site.example.com", "ops@example.com", "192.0.2.44", "spiffe://example.com/site"]
    api.certificate(site.target_id, sans=names)

    agent.tick()
    assert (agent.failures, site.jobs()) == (0, [])
    seen = api.get(f"/api/v1/agents/{agent.agent_id}").json
    assert (seen["status"], seen["version"], seen["os"], seen["hostname"]) == ("Online", "1.0.0", "linux", "web-1")

    first = renewed(site)
    names_in_it = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names_in_it.get_values_for_type(x509.IPAddress) == [ip_address("192.0.2.44")]
    assert names_in_it.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.com/site"]
    assert agent.commands == ["nginx -t", "nginx -s reload"]
    assert same_key((site.folder / "site.key").read_bytes(), (site.folder / "site.pem").read_bytes())
    (deployment,) = site.jobs(type="Deployment")
    assert (deployment["status"], deployment["verification_status"]) == ("Completed", "failed")
    assert "connection refused" in deployment["verification_error"]

    site.served.fingerprint = first.fingerprint(SHA256()).hex()
    second = renewed(site)
    assert second.serial_number != first.serial_number
    wrong = site.jobs(type="Deployment", status="Completed")[0]
    assert (wrong["verification_status"], wrong["verification_fingerprint"]) == ("failed", site.served.fingerprint)

    site.served.fingerprint = INSTALLED
    third = renewed(site)
    deployments = site.jobs(type="Deployment", status="Completed")
    assert [job["verification_status"] for job in deployments] == ["success", "failed", "failed"]
    assert deployments[0]["verification_fingerprint"] == third.fingerprint(SHA256()).hex()
    assert {job["status"] for job in site.jobs()} == {"Completed"}
    assert site.agent.failures == 0
    assert {call.status for call in agent.calls} == {200, 202}
    retire(site)


def renewed(site: Site) -> x509.Certificate:
    """An operator renews; the agent answers with a CSR at its next poll and deploys at the one after."""
    site.api.made("/api/v1/certificates/mc-site/renew", {"force": False}, by=Role.OPERATOR)
    site.agent.tick()
    assert [(call.method, call.status) for call in site.agent.calls[-2:]] == [("GET", 200), ("POST", 202)]
    assert site.certificate()["status"] == "Active"
    site.agent.tick()
    reports = [call.body["status"] for call in site.agent.calls[-6:] if call.path.endswith("/status")]
    assert reports == ["Running", "Completed"]
    return site.deployed()


def test_a_poll_that_is_repeated_finds_the_same_csr_to_make(site: Site) -> None:
    site.api.certificate(site.target_id)
    site.api.made("/api/v1/certificates/mc-site/renew", {}, by=Role.OPERATOR)
    path = f"/api/v1/agents/{site.agent.agent_id}/work"
    seen = [site.api.get(path, by=site.agent.api_key).json["jobs"] for _ in range(2)]
    assert seen[0] == seen[1] != []
    assert seen[0][0]["status"] == "AwaitingCSR"


def test_a_deployment_is_handed_out_once(site: Site) -> None:
    site.api.certificate(site.target_id)
    site.api.made("/api/v1/certificates/mc-site/renew", {}, by=Role.OPERATOR)
    site.agent.tick()
    path = f"/api/v1/agents/{site.agent.agent_id}/work"
    first, second = (site.api.get(path, by=site.agent.api_key).json for _ in range(2))
    assert (first["count"], second) == (1, {**second, "jobs": [], "count": 0})
    config = first["jobs"][0]["target_config"]
    assert config["validate_command"] == "nginx -t", "what the operator left out is filled in"


def test_a_failure_is_heard_with_its_words(site: Site) -> None:
    """Its key folder was emptied in between."""
    site.api.certificate(site.target_id)
    site.api.made("/api/v1/certificates/mc-site/renew", {}, by=Role.OPERATOR)
    site.agent.tick()
    (site.folder / "keys" / "mc-site.key").unlink()
    site.agent.tick()
    (job,) = site.jobs(type="Deployment")
    assert job["status"] == "Failed"
    assert job["last_error"].startswith("key read failed: ")


def test_reports_about_ended_jobs_change_nothing(site: Site) -> None:
    site.api.certificate(site.target_id)
    renewed(site)
    before = site.jobs()
    for job in before:
        for said in ({"status": "Running"}, {"status": "Failed", "error": "late"}, {"status": "Completed"}):
            site.agent._report(job, said)
            assert site.agent.calls[-1].status == 200
    assert site.jobs() == before


def test_the_key_of_one_agent_is_of_no_use_to_another(site: Site) -> None:
    site.api.certificate(site.target_id)
    site.api.made("/api/v1/certificates/mc-site/renew", {}, by=Role.OPERATOR)
    site.agent.tick()
    stranger = site.api.agent("stranger")
    job = site.jobs(type="Deployment")[0]["id"]
    seen = site.verified()
    own, theirs = f"/api/v1/agents/{stranger.id}", f"/api/v1/agents/{site.agent.agent_id}"
    tried = [
        site.api.get(f"{theirs}/work", by=stranger.key),
        site.api.post(f"{theirs}/heartbeat", {}, by=stranger.key),
        site.api.get(f"{theirs}/certificates/mc-site", by=stranger.key),
        site.api.get(f"{own}/certificates/mc-site", by=stranger.key),
        site.api.post(f"{theirs}/jobs/{job}/status", {"status": "Completed"}, by=stranger.key),
        site.api.post(f"{own}/jobs/{job}/status", {"status": "Completed"}, by=stranger.key),
        site.api.post(f"/api/v1/jobs/{job}/verify", seen, by=stranger.key),
        site.api.get("/api/v1/certificates/mc-site", by=stranger.key),
        site.api.get(f"/api/v1/jobs/{job}", by=stranger.key),
    ]
    assert [one.status for one in tried] == [403, 403, 403, 404, 403, 403, 403, 403, 403]
    assert site.jobs(type="Deployment")[0]["status"] == "Pending"


def test_an_unknown_agent_is_a_failure_and_no_retirement(site: Site) -> None:
    site.agent.agent_id = "agent-nobody"
    site.agent.tick()
    assert site.agent.failures == 2
    assert {call.status for call in site.agent.calls} <= {403, 404}


def test_a_retired_agent_ends_at_its_next_call(site: Site) -> None:
    site.api.certificate(site.target_id)
    site.agent.tick()
    retire(site)
    with pytest.raises(Retired):
        site.agent.tick()
    assert site.agent.calls[-1].path.endswith("/heartbeat")
    with pytest.raises(Retired):
        site.agent._poll()


def retire(site: Site) -> None:
    path = f"/api/v1/agents/{site.agent.agent_id}"
    assert site.api.delete(path).json["error"] == "blocked_by_dependencies"
    gone: Reply = site.api.delete(f"{path}?force=true&reason=replaced")
    assert gone.status == 200
    assert re.fullmatch(r"\d{4}-.*Z", gone.json["retired_at"])
    assert site.api.delete(path).status == 204
