"""What is on stage: the control plane, the agent, the web server, and the words to ask them with."""

import os
import re
import time
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from demo.processes import Failure, Program, certctl, free_port, wait_for
from demo.rest import Api
from demo.servers import Site, WebServer, choose
from demo.show import Show

READY_WITHIN: Final = 5.0
"""Seconds that a first start may take, database and all."""

ADMIN_KEY: Final = re.compile(r"\bcck_[A-Za-z0-9_-]{43}\b")

FAST: Final = {
    # The same loops as in production, looked at more often: nobody wants to watch for half an hour.
    "CERTCTL_SCHEDULER_JOB_PROCESSOR_INTERVAL": "1s",
    "CERTCTL_SCHEDULER_RETRY_INTERVAL": "1s",
    "CERTCTL_JOB_HAND_OUT_TIMEOUT": "5s",
    "CERTCTL_JOB_LEASE": "5s",
    # The demo asks more often in a minute than a person does in a day.
    "CERTCTL_RATE_LIMIT_RPS": "500",
    "CERTCTL_RATE_LIMIT_BURST": "1000",
}


@define
class Stage:
    """One folder with everything in it, and every process that was started."""

    home: Path
    show: Show
    ready_within: float = READY_WITHIN
    port: int = field(factory=free_port)
    key: str = ""
    agent_id: str = ""
    server: Program = field(init=False)
    agent: Program | None = None
    web: WebServer = field(init=False)
    site: Site = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            # PostgreSQL does not run as root: the account it runs as must be able to reach its own folder below.
            self.home.chmod(0o711)
        self.server = Program("certctl-server", certctl("certctl_web"), self.home / "server.log", self.environment())
        self.web = choose(self.home / "web")

    def environment(self) -> dict[str, str]:
        return {
            "CERTCTL_DATA_DIR": str(self.home / "control-plane"),
            "CERTCTL_SERVER_HOST": "127.0.0.1",
            "CERTCTL_SERVER_PORT": str(self.port),
            "CERTCTL_PUBLIC_URL": self.url,
            **FAST,
        }

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.home / "control-plane" / "tls" / "ca.pem"

    @property
    def api(self) -> Api:
        return Api(self.url, self.ca_file, self.key)

    # --- control plane ---

    def start_server(self) -> float:
        """Start it and wait until it is ready. Returns how many seconds that took."""
        begun = time.monotonic()
        self.server.start()
        wait_for("the control plane's readiness", self.is_ready)
        return time.monotonic() - begun

    def is_ready(self) -> bool | None:
        """True once `/ready` says so. Raises `Failure` when the server has ended."""
        self.server.must_run()
        if not self.ca_file.exists():
            return None
        try:
            status, _ = self.api.raw("GET", "/ready")
        except OSError:
            return None
        return True if status == 200 else None

    def read_admin_key(self) -> None:
        """The key that a first start prints once."""
        kept = self.home / "admin.key"
        if kept.exists():
            self.key = kept.read_text()
            return
        match = wait_for("the admin key", lambda: ADMIN_KEY.search(self.server.log.read_text()))
        self.key = match.group()
        kept.touch(mode=0o600)
        kept.write_text(self.key)

    # --- agent ---

    def run_agent(self) -> None:
        state = self.home / "agent"
        argv = certctl(
            "certctl_agent", "run", "--state-dir", str(state), "--poll-interval", "1s", "--heartbeat-interval", "2s"
        )
        self.agent = Program("certctl-agent", argv, self.home / "agent.log")
        self.agent.start()

    @property
    def agent_pid(self) -> int:
        if self.agent is None:
            raise Failure("the agent was not started")
        return self.agent.pid

    # --- asking ---

    def certificate(self, certificate_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/api/v1/certificates/{certificate_id}")
        return found

    def versions(self, certificate_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"/api/v1/certificates/{certificate_id}/versions")["data"]
        return found

    def jobs(self, certificate_id: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get("/api/v1/jobs?per_page=500")["data"]
        return [job for job in found if certificate_id in (None, job["certificate_id"])]

    def newest_deployment(self, certificate_id: str) -> dict[str, Any] | None:
        jobs = [job for job in self.jobs(certificate_id) if job["type"] == "Deployment"]
        return max(jobs, key=lambda job: (str(job["created_at"]), str(job["id"])), default=None)

    def deployed(self, certificate_id: str, serial: str | None = None) -> dict[str, Any]:
        """The newest version (other than `serial`), as soon as it is deployed and seen to be served."""

        def look() -> dict[str, Any] | None:
            for program in (self.server, self.agent):
                if program is not None:
                    program.must_run()
            versions = self.versions(certificate_id)
            if not versions or versions[0]["serial_number"] == serial:
                return None
            job = self.newest_deployment(certificate_id)
            if job is None or job["status"] == "Failed":
                said = job["last_error"] if job else "no deployment job"
                raise Failure(f"the deployment of {certificate_id} failed: {said}")
            done = job["status"] == "Completed" and job["verification_status"] == "success"
            return versions[0] if done else None

        return wait_for(f"the deployment of {certificate_id}", look, pause=0.2)

    def add_certificate(self, site: Site, target_id: str) -> str:
        certificate = self.api.post(
            "/api/v1/certificates",
            {
                "name": site.name,
                "common_name": site.name,
                "owner_id": "o-demo",
                "team_id": "t-demo",
                "issuer_id": "iss-local",
                "renewal_policy_id": "rp-default",
                "environment": "demo",
                "target_ids": [target_id],
            },
        )
        return str(certificate["id"])

    def add_target(self, site: Site) -> str:
        target = self.api.post(
            "/api/v1/targets",
            {
                "name": site.name,
                "type": "NGINX",
                "agent_id": self.agent_id,
                "config": self.web.target_settings(site),
            },
        )
        return str(target["id"])

    def stop(self) -> None:
        """Everything that was started ends, the agent first, the web server last."""
        for program in (self.agent, self.server):
            if program is not None:
                program.stop()
        self.web.stop()
