"""A control plane for agents under test: a real HTTPS server (TLS 1.3) that keeps the wire contract, checks what it is
sent, and remembers it. What it would do next can be overridden call by call.
"""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from attrs import Factory, define, field, frozen
from cryptography import x509

from certctl_core.pki import csr as csr_reading
from tests.authority import Authority, fingerprint, pem

API_KEY = "cck_agent-key"
AGENT_ID = "agent-1"
TOKEN = "cjt_token"


@frozen
class Call:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def what(self) -> str:
        """Method and the path below the agent."""
        return f"{self.method} {self.path.removeprefix(f'/api/v1/agents/{AGENT_ID}')}"


@define
class Job:
    """A job as the control plane holds it. `item` is what an agent is offered."""

    item: dict[str, Any]
    status: str
    error: str = ""
    csrs: list[bytes] = Factory(list)
    verifications: list[dict[str, Any]] = Factory(list)


Reply = tuple[int, Any, dict[str, str]]


@define
class ControlPlane:
    """`overrides` are tried before the ordinary answer: the first whose function returns a reply wins."""

    authority: Authority = Factory(lambda: Authority("Control Plane CA"))
    issuer: Authority = Factory(lambda: Authority("Issuing CA"))
    url: str = ""
    port: int = 0
    retired: bool = False
    takes_many: bool = True
    jobs: dict[str, Job] = Factory(dict)
    certificates: dict[str, x509.Certificate] = Factory(dict)
    calls: list[Call] = Factory(list)
    overrides: list[Callable[[Call], Reply | None]] = Factory(list)
    complaints: list[str] = Factory(list)
    _changed: threading.Condition = field(factory=threading.Condition, repr=False)

    # What a test sets up

    def ask_for_csr(self, job_id: str, certificate_id: str, common_name: str, *sans: str) -> Job:
        item = {
            "id": job_id,
            "type": "Renewal",
            "certificate_id": certificate_id,
            "common_name": common_name,
            "sans": list(sans),
            "status": "AwaitingCSR",
        }
        return self._add(Job(item, "AwaitingCSR"))

    def ask_to_deploy(
        self, job_id: str, certificate_id: str, config: dict[str, Any] | None, *, type_name: str = "NGINX"
    ) -> Job:
        item: dict[str, Any] = {
            "id": job_id,
            "type": "Deployment",
            "certificate_id": certificate_id,
            "status": "Running",
        }
        if config is not None:
            item |= {"target_id": "tgt-1", "target_type": type_name, "target_config": config}
        return self._add(Job(item, "Pending"))

    def _add(self, job: Job) -> Job:
        with self._changed:
            self.jobs[job.item["id"]] = job
        return job

    def override(self, what: str, *replies: Reply) -> None:
        """Answer the next calls of this method and path so."""
        left = list(replies)

        def answer(call: Call) -> Reply | None:
            return left.pop(0) if left and call.what == what else None

        self.overrides.append(answer)

    # What a test looks at

    def wait_for(self, condition: Callable[[], bool], timeout: float = 20) -> bool:
        """Whether the condition comes true; looked at after every call."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def made(self, what: str) -> list[Call]:
        return [call for call in self.calls if call.what == what]

    # What the agent is answered

    def answer(self, call: Call) -> Reply:
        with self._changed:
            self.calls.append(call)
            overridden = next((reply for one in self.overrides if (reply := one(call)) is not None), None)
            reply = overridden or self._answer(call)
            self._changed.notify_all()
            return reply

    def _answer(self, call: Call) -> Reply:
        if call.what == "GET /.well-known/certctl/ca.pem":
            return 200, pem(self.authority.certificate).encode(), {}
        if call.what == "POST /api/v1/agents/join":
            return self._join(call)
        if call.headers.get("authorization") != f"Bearer {API_KEY}":
            return problem(401, "Invalid API key")
        if call.headers.get("content-type") != "application/json":
            self.complaints.append(f"{call.what}: Content-Type {call.headers.get('content-type')}")
        if not call.path.startswith((f"/api/v1/agents/{AGENT_ID}/", "/api/v1/jobs/")):
            return problem(404, f"no such path {call.path}")
        if self.retired:
            return problem(410, "agent agent-1 is retired")
        return self._route(call)

    def _route(self, call: Call) -> Reply:
        match call.what.removeprefix("POST /api/v1").removeprefix("POST ").removeprefix("GET ").split("/")[1:]:
            case ["heartbeat"]:
                return 200, {"status": "heartbeat_recorded"}, {}
            case ["work"]:
                offered = [job.item for job in self.jobs.values() if job.status in ("AwaitingCSR", "Pending")]
                return 200, {"jobs": offered, "count": len(offered), "server_time": "2031-01-01T00:00:00Z"}, {}
            case ["csr"]:
                return self._take_csr(call.body)
            case ["csrs"] if self.takes_many:
                taken = [self._take_csr(one) for one in call.body["csrs"]]
                results = [{**body, "code": status} for status, body, _ in taken]
                return 200, {"results": results, "signed": len(results)}, {}
            case ["certificates", certificate_id]:
                return self._certificate(certificate_id)
            case ["jobs", job_id, "status"]:
                return self._take_status(self.jobs[job_id], call.body)
            case ["jobs", job_id, "verify"]:
                self.jobs[job_id].verifications.append(call.body)
                return 200, {"job_id": job_id, "verified": call.body["verified"]}, {}
        return problem(404, f"no such path {call.path}")

    def _join(self, call: Call) -> Reply:
        if call.body.get("token") != TOKEN:
            return problem(401, "the join token is unknown, used or expired")
        return 201, {"agent_id": AGENT_ID, "api_key": API_KEY}, {}

    def _take_csr(self, body: Any) -> Reply:
        job = self.jobs[body["job_id"]]
        if job.item["common_name"] == "refused.example.com":
            return problem(422, "the profile does not permit it")
        request = csr_reading.read(body["csr_pem"])
        csr_reading.check_matches(request, job.item["common_name"], job.item["sans"])
        job.csrs.append(body["csr_pem"].encode())
        if job.status == "AwaitingCSR":
            names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            certificate = self.issuer.certify(request.public_key(), job.item["common_name"], sans=list(names))
            self.certificates[body["certificate_id"]] = certificate
            job.status = "Completed"
        return 202, {"status": "csr_signed", "job_id": body["job_id"]}, {}

    def _certificate(self, certificate_id: str) -> Reply:
        if certificate_id not in self.certificates:
            return problem(404, f"certificate {certificate_id} not found")
        return 200, {"certificate_pem": pem(self.certificates[certificate_id], self.issuer.certificate)}, {}

    def _take_status(self, job: Job, body: Any) -> Reply:
        if body["status"] not in ("Running", "Completed", "Failed"):
            self.complaints.append(f"status {body['status']}")
        job.status, job.error = body["status"], body.get("error", "")
        return 200, {"status": "updated"}, {}

    def issued(self, certificate_id: str) -> str:
        """The fingerprint of what was issued last."""
        return fingerprint(self.certificates[certificate_id])


def problem(status: int, detail: str, **headers: str) -> Reply:
    """A problem answer."""
    body = {"status": status, "detail": detail, "message": detail}
    return status, body, {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def running(folder: Path) -> Iterator[ControlPlane]:
    """A control plane on a loopback port, its certificate signed by its own CA."""
    plane = ControlPlane()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body, more = plane.answer(Call(self.command, self.path, headers, json.loads(raw) if raw else None))
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do  # noqa: N815 - the names http.server looks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Tests are quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, client_address: Any) -> None:
            request.settimeout(20)
            request.do_handshake()
            super().finish_request(request, client_address)

        def handle_error(self, request: object, client_address: object) -> None:
            """An agent that was killed hangs up in the middle."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(*plane.authority.leaf("localhost", "127.0.0.1").write(folder))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    plane.port = server.server_address[1]
    plane.url = f"https://127.0.0.1:{plane.port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield plane
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
