"""kill -9 at every numbered point of issue, record and deploy, and at random moments: nothing lost, nothing doubled."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo.handshakes import fingerprint, served
from demo.processes import descendants, kill_all, wait_for
from demo.rest import Api
from demo.show import Show
from demo.stage import Stage
from demo.steps import join_agent

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

POINTS = ("issue:1", "issue:2", "record:1", "deploy:1", "deploy:2", "deploy:3")
RANDOM_ROUNDS = 6
BATCH = 3


class Story:
    """A fleet with one agent, and certificates that are added a batch at a time."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.count = 0

    def batch(self) -> list[str]:
        """New certificates, each with a site and a target of its own, all asked for."""
        stage = self.stage
        sites = [stage.web.add_site(f"site-{self.count + number}.crash.test") for number in range(BATCH)]
        self.count += BATCH
        if stage.web.program is None:
            stage.web.start()
        else:
            stage.web.reload()
        # The agent looks away until everything is asked for: a crash it provokes must not hit the asking.
        os.kill(stage.agent_pid, signal.SIGSTOP)
        try:
            certificates = [stage.add_certificate(site, stage.add_target(site)) for site in sites]
            for certificate in certificates:
                stage.api.post(f"/api/v1/certificates/{certificate}/renew", {})
        finally:
            os.kill(stage.agent_pid, signal.SIGCONT)
        return certificates

    def strict_certificate(self, name: str) -> str:
        """A certificate with a site of its own, that is issued when somebody else has approved it."""
        stage = self.stage
        site = stage.web.add_site(name)
        if stage.web.program is None:
            stage.web.start()
        else:
            stage.web.reload()
        certificate = stage.add_certificate(site, stage.add_target(site))
        stage.api.call("PUT", f"/api/v1/certificates/{certificate}", {"certificate_profile_id": "prof-strict"})
        return certificate

    def undecided(self, certificate: str) -> dict[str, Any]:
        """The request that waits for somebody to decide, as soon as there is one."""
        path = f"/api/v1/approvals?state=pending&certificate_id={certificate}"
        found: dict[str, Any] = wait_for(
            "a request for approval", lambda: next(iter(self.stage.api.get(path)["data"]), None), patience=60
        )
        return found

    def restart(self, **environment: str) -> None:
        self.stage.server.environment = {**self.stage.environment(), **environment}
        self.stage.start_server()

    def must_converge(self, certificates: list[str]) -> None:
        """Everything is issued exactly once and served."""
        wait_for("convergence", lambda: True if self._all_served(certificates) else None, patience=90, pause=0.3)
        versions = {certificate: self.stage.versions(certificate) for certificate in certificates}
        assert {certificate: len(issued) for certificate, issued in versions.items()} == dict.fromkeys(certificates, 1)
        serials = [issued[0]["serial_number"] for issued in versions.values()]
        assert len(set(serials)) == len(certificates)
        for certificate in certificates:
            jobs = self.stage.jobs(certificate)
            assert {job["status"] for job in jobs} == {"Completed"}, jobs
            assert sorted(job["type"] for job in jobs) == ["Deployment", "Issuance"]
            assert self.stage.certificate(certificate)["status"] == "Active"

    def _all_served(self, certificates: list[str]) -> bool:
        stage = self.stage
        stage.server.must_run()
        ports = {site.name: site.port for site in stage.web.sites}
        for certificate in certificates:
            job = stage.newest_deployment(certificate)
            if job is None or job["status"] != "Completed":
                return False
            name = stage.certificate(certificate)["name"]
            if fingerprint(served(ports[name], name)) != stage.versions(certificate)[0]["fingerprint_sha256"]:
                return False
        return True


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    home = tmp_path_factory.mktemp("crash")
    _let_others_pass(home)
    stage = Stage(home, Show())
    try:
        stage.start_server()
        stage.read_admin_key()
        stage.api.post("/api/v1/teams", {"id": "t-demo", "name": "Demo"})
        stage.api.post("/api/v1/owners", {"id": "o-demo", "name": "Demo", "team_id": "t-demo"})
        join_agent(stage)
        yield Story(stage)
    finally:
        stage.stop()


def _let_others_pass(folder: Path) -> None:
    """Run by root, the embedded database runs as another account, which must be able to reach its folder."""
    for above in (folder, *folder.parents):
        if above.owner() == "root" and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_this_point_loses_and_doubles_nothing(story: Story, point: str) -> None:
    stage = story.stage
    stage.server.stop()
    story.restart(CERTCTL_TRIPWIRE=point)
    before = set(descendants(stage.server.pid))
    certificates = story.batch()
    wait_for(f"a crash at {point}", lambda: True if before - set(descendants(stage.server.pid)) else None)

    stage.server.kill_with_children()
    story.restart()

    story.must_converge(certificates)


def test_what_changes_after_its_approval_is_not_issued_however_the_server_ends(story: Story) -> None:
    """Killed when the CSR was there and the CA had not been asked; changed before the agent hands its CSR in again."""
    stage = story.stage
    second_person = stage.api.post("/api/v1/api-keys", {"name": "second person", "role": "operator"})
    decider = Api(stage.url, stage.ca_file, second_person["key"])
    stage.api.post("/api/v1/profiles", {"id": "prof-strict", "name": "Strict", "requires_approval": True})
    stage.server.stop()
    story.restart(CERTCTL_TRIPWIRE="issue:1")

    certificate = story.strict_certificate("approved.crash.test")
    stage.api.post(f"/api/v1/certificates/{certificate}/renew", {})
    first = story.undecided(certificate)
    before = set(descendants(stage.server.pid))
    decider.post(f"/api/v1/approvals/{first['id']}/approve", {"note": "as discussed"})
    wait_for("a crash", lambda: True if before - set(descendants(stage.server.pid)) else None)
    os.kill(stage.agent_pid, signal.SIGSTOP)
    try:
        stage.server.kill_with_children()
        story.restart()
        stage.api.call("PUT", f"/api/v1/certificates/{certificate}", {"sans": ["other.crash.test"]})
    finally:
        os.kill(stage.agent_pid, signal.SIGCONT)

    second = story.undecided(certificate)
    assert second["content"]["names"] == ["approved.crash.test", "other.crash.test"]
    assert stage.api.get(f"/api/v1/approvals/{first['id']}")["state"] == "expired"
    assert stage.versions(certificate) == []
    decider.post(f"/api/v1/approvals/{second['id']}/approve", {})
    story.must_converge([certificate])


def test_crashes_at_random_moments_lose_and_double_nothing(story: Story) -> None:
    stage = story.stage
    chance = random.Random()  # noqa: S311 - chooses moments, guards nothing
    for _ in range(RANDOM_ROUNDS):
        certificates = story.batch()
        time.sleep(chance.uniform(0, 1.5))
        stage.server.kill_with_children()
        story.restart()
        story.must_converge(certificates)


def test_a_server_process_that_dies_alone_is_replaced_while_the_others_go_on(story: Story) -> None:
    stage = story.stage
    certificates = story.batch()
    victims = descendants(stage.server.pid)
    kill_all(random.sample(victims, len(victims) // 2))
    wait_for("the server's recovery", stage.is_ready)
    story.must_converge(certificates)
