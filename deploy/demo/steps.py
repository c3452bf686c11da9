"""The main job, step by step. Each step returns what was seen, or raises `Failure`."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from demo.handshakes import Watcher, fingerprint, served
from demo.processes import Failure, certctl, wait_for
from demo.servers import Site
from demo.stage import Stage

BATCH: Final = 6
ISSUER: Final = "iss-local"


def start_control_plane(stage: Stage) -> str:
    """Embedded PostgreSQL, a TLS certificate of its own, and ready in time."""
    seconds = stage.start_server()
    stage.read_admin_key()
    if seconds > stage.ready_within:
        raise Failure(f"the control plane was ready after {seconds:.1f} s, not within {stage.ready_within:.0f} s")
    ready = stage.api.get("/ready")
    stage.show.line(f"ready: {ready}")
    me = stage.api.get("/api/v1/auth/check")
    stage.show.line(f"logged in as {me['user']}")
    return f"ready after {seconds:.1f} s, database {ready['db']}"


def join_agent(stage: Stage) -> str:
    """A single-use token, and the fingerprint of the CA to believe."""
    token = stage.api.post("/api/v1/agents/join-tokens", {"agent_name": "demo-agent"})
    stage.show.line(f"join token, CA {token['ca_fingerprint'][:23]}...")
    argv = certctl(
        "certctl_agent",
        *("join", "--server", stage.url, "--token", token["token"]),
        *("--ca-fingerprint", token["ca_fingerprint"], "--state-dir", str(stage.home / "agent")),
    )
    joined = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if joined.returncode != 0:
        raise Failure(f"joining failed: {joined.stdout}{joined.stderr}")
    again = subprocess.run([*argv[:-1], str(stage.home / "second-agent")], capture_output=True, timeout=60, check=False)
    if again.returncode == 0:
        raise Failure("the token was accepted twice")
    stage.show.line("joined; the token was refused the second time")
    stage.run_agent()
    agent = wait_for("the agent's first heartbeat", lambda: _online(stage))
    stage.agent_id = agent["id"]
    return f"{agent['name']} on {agent['os']}/{agent['architecture']} is {agent['status']}"


def _online(stage: Stage) -> dict[str, Any] | None:
    if stage.agent is not None:
        stage.agent.must_run()
    agents: list[dict[str, Any]] = stage.api.get("/api/v1/agents")["data"]
    return next((a for a in agents if a["name"] == "demo-agent" and a["version"] and a["status"] == "Online"), None)


def start_web_server(stage: Stage) -> str:
    """nginx on a loopback port when there is one, else the demo's own TLS server."""
    stage.site = stage.web.add_site("site.demo.test")
    stage.web.start()
    stage.show.line(f"{stage.web.title} answers on port {stage.site.port} with a placeholder")
    stage.api.post("/api/v1/teams", {"id": "t-demo", "name": "Demo"})
    stage.api.post("/api/v1/owners", {"id": "o-demo", "name": "Demo", "email": "demo@demo.test", "team_id": "t-demo"})
    target = stage.add_target(stage.site)
    return f"{stage.web.title} on port {stage.site.port}, target {target}"


def issue_and_deploy(stage: Stage) -> str:
    """Created by REST, keyed on the agent, signed, deployed, and seen in a handshake that verifies everything."""
    target = stage.api.get("/api/v1/targets")["data"][0]["id"]
    certificate = stage.add_certificate(stage.site, target)
    stage.show.line(f"certificate {certificate} created")
    job = stage.api.post(f"/api/v1/certificates/{certificate}/renew", {})
    stage.show.line(f"job {job['job_id']}: the agent is asked for a key and a CSR")
    version = stage.deployed(certificate)
    seen = served(stage.site.port, stage.site.name, _trust(stage))
    if fingerprint(seen) != version["fingerprint_sha256"]:
        raise Failure(f"served is {fingerprint(seen)}, issued is {version['fingerprint_sha256']}")
    stage.show.line(f"served fingerprint {fingerprint(seen)[:32]}... is the issued one")
    key = next((stage.home / "agent").rglob(f"{certificate}.key"))
    if key.stat().st_mode & 0o077 or "PRIVATE" in str(stage.versions(certificate)):
        raise Failure("the private key can be read by others")
    kind = f"{version['key_algorithm']}-{version['key_size']}"
    if kind != "ECDSA-256":
        raise Failure(f"the key is {kind}")
    return f"serial {version['serial_number'][:16]}..., {kind}, served as issued"


def _trust(stage: Stage) -> Path:
    """The Local CA's certificate, as a file to verify with."""
    path = stage.home / "local-ca.pem"
    status, der = stage.api.raw("GET", f"/.well-known/pki/ca/{ISSUER}")
    if status != 200:
        raise Failure(f"the CA certificate could not be fetched: {status}")
    authority = x509.load_der_x509_certificate(der)
    path.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    return path


def _the_certificate(stage: Stage) -> str:
    found = stage.api.get("/api/v1/certificates")["data"]
    return str(next(c["id"] for c in found if c["name"] == stage.site.name))


def renew_under_load(stage: Stage) -> str:
    """A client shakes hands all the time; none fails, and the serial number it sees changes."""
    certificate = _the_certificate(stage)
    before = stage.versions(certificate)[0]["serial_number"]
    with Watcher(stage.site.port, stage.site.name, _trust(stage)) as watcher:
        wait_for("the first handshakes", lambda: True if watcher.count > 20 else None)
        stage.api.post(f"/api/v1/certificates/{certificate}/renew", {})
        version = stage.deployed(certificate, serial=before)
        wanted = int(version["serial_number"], 16)
        wait_for("the new serial number in a handshake", lambda: True if wanted in watcher.serials else None)
        seen = watcher.count
        wait_for("some more handshakes", lambda: True if watcher.count > seen + 20 else None)
    if watcher.failures:
        raise Failure(f"{len(watcher.failures)} of {watcher.count} handshakes failed: {watcher.failures[0]}")
    if [f"{serial:x}" for serial in watcher.serials] != [before, version["serial_number"]]:
        raise Failure(f"the serial numbers seen were {watcher.serials}")
    return f"{watcher.count} handshakes, 0 failed; serial {before[:8]}... became {version['serial_number'][:8]}..."


def refuse_and_mend(stage: Stage) -> str:
    """The server's validator says no: nothing changes, the job says why; mended, a retry succeeds."""
    certificate = _the_certificate(stage)
    before = _files(stage.site)
    old = served(stage.site.port, stage.site.name)
    stage.web.break_configuration()
    try:
        stage.api.post(f"/api/v1/certificates/{certificate}/renew", {})
        failed = wait_for("the refused deployment", lambda: _failed_deployment(stage, certificate), pause=0.2)
        stage.show.line(f"job {failed['id']}: {failed['last_error'].strip().splitlines()[-1][:110]}")
        if "emerg" not in failed["last_error"]:
            raise Failure(f"the job does not say what the server said: {failed['last_error']}")
        if served(stage.site.port, stage.site.name) != old:
            raise Failure("another certificate is served after a refused deployment")
        if _files(stage.site) != before:
            raise Failure("the files changed although the deployment was refused")
        stage.show.line("the old certificate is served, its files are as they were")
    finally:
        stage.web.mend_configuration()
    stage.api.post(f"/api/v1/jobs/{failed['id']}/retry", {})
    wait_for("the retried deployment", lambda: _completed(stage, failed["id"]), pause=0.2)
    version = stage.versions(certificate)[0]
    if fingerprint(served(stage.site.port, stage.site.name, _trust(stage))) != version["fingerprint_sha256"]:
        raise Failure("the retried deployment is not what is served")
    return "refused, nothing touched; mended, retried, served"


def _failed_deployment(stage: Stage, certificate: str) -> dict[str, Any] | None:
    job = stage.newest_deployment(certificate)
    return job if job is not None and job["status"] == "Failed" else None


def _completed(stage: Stage, job_id: str) -> bool | None:
    return True if stage.api.get(f"/api/v1/jobs/{job_id}")["status"] == "Completed" else None


def _files(site: Site) -> list[tuple[object, ...]]:
    """Everything that can be told about the deployed files."""
    found: list[tuple[object, ...]] = []
    for path in (site.certificate, site.key):
        state = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found.append((digest, state.st_mode, state.st_uid, state.st_gid, state.st_mtime_ns))
    return found


def revoke_and_prove(stage: Stage) -> str:
    """The CRL and the OCSP answer say that it is revoked; others verify both."""
    certificate = _the_certificate(stage)
    version = stage.versions(certificate)[0]
    leaf = x509.load_pem_x509_certificates(version["pem_chain"].encode())[0]
    authority = x509.load_pem_x509_certificate(_trust(stage).read_bytes())
    if _ocsp(stage, leaf, authority).certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise Failure("before its revocation the certificate is not good")
    stage.api.post(f"/api/v1/certificates/{certificate}/revoke", {"reason": "keyCompromise"})
    crl = wait_for("the serial number on the CRL", lambda: _crl_with(stage, leaf.serial_number))
    if not crl.is_signature_valid(authority.public_key()):  # type: ignore[arg-type]
        raise Failure("the CRL is not signed by the CA")
    stage.show.line(f"CRL with {len(crl)} entries, next update {crl.next_update_utc}")
    answer = _ocsp(stage, leaf, authority)
    if answer.certificate_status is not ocsp.OCSPCertStatus.REVOKED:
        raise Failure(f"OCSP says {answer.certificate_status}")
    stage.show.line(f"OCSP: revoked at {answer.revocation_time_utc}, {answer.revocation_reason}")
    by = "cryptography"
    if shutil.which("openssl"):
        _ask_openssl(stage, leaf, crl)
        by += " and openssl"
    else:
        stage.show.line("there is no openssl on this machine; cryptography alone has checked")
    return f"revoked by CRL and OCSP, checked with {by}"


def _crl_with(stage: Stage, serial_number: int) -> x509.CertificateRevocationList | None:
    """The published CRL, once it lists the serial number."""
    crl = x509.load_der_x509_crl(_fetch(stage, f"/.well-known/pki/crl/{ISSUER}"))
    return crl if crl.get_revoked_certificate_by_serial_number(serial_number) else None


def _fetch(stage: Stage, path: str) -> bytes:
    status, content = stage.api.raw("GET", path)
    if status != 200:
        raise Failure(f"{path} answered {status}")
    return content


def _ocsp(stage: Stage, leaf: x509.Certificate, authority: x509.Certificate) -> ocsp.OCSPResponse:
    request = ocsp.OCSPRequestBuilder().add_certificate(leaf, authority, hashes.SHA256()).build()
    der = request.public_bytes(serialization.Encoding.DER)
    status, content = stage.api.raw("POST", f"/.well-known/pki/ocsp/{ISSUER}", der, "application/ocsp-request")
    if status != 200:
        raise Failure(f"OCSP answered {status}")
    return ocsp.load_der_ocsp_response(content)


def _ask_openssl(stage: Stage, leaf: x509.Certificate, crl: x509.CertificateRevocationList) -> None:
    """`openssl verify -crl_check` and `openssl ocsp`, on files and by way of files: it speaks no TLS 1.3-only HTTPS."""
    leaf_file, crl_file = stage.home / "leaf.pem", stage.home / "crl.pem"
    leaf_file.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    crl_file.write_bytes(crl.public_bytes(serialization.Encoding.PEM))
    ca_file = str(stage.home / "local-ca.pem")
    verified = _run("openssl", "verify", "-crl_check", "-CAfile", ca_file, "-CRLfile", str(crl_file), str(leaf_file))
    if verified.returncode == 0 or "certificate revoked" not in verified.stdout + verified.stderr:
        raise Failure(f"openssl verify: {verified.stdout}{verified.stderr}")
    stage.show.line("openssl verify -crl_check: certificate revoked")
    request, answer = str(stage.home / "ocsp.req"), stage.home / "ocsp.der"
    _run("openssl", "ocsp", "-issuer", ca_file, "-cert", str(leaf_file), "-reqout", request, "-no_nonce")
    status, der = stage.api.raw(
        "POST", f"/.well-known/pki/ocsp/{ISSUER}", Path(request).read_bytes(), "application/ocsp-request"
    )
    if status != 200:
        raise Failure(f"OCSP answered {status}")
    answer.write_bytes(der)
    checked = _run(
        *("openssl", "ocsp", "-issuer", ca_file, "-cert", str(leaf_file), "-respin", str(answer)),
        *("-CAfile", ca_file, "-no_nonce"),
    )
    said = checked.stdout + checked.stderr
    if "Response verify OK" not in said or ": revoked" not in said:
        raise Failure(f"openssl ocsp: {said}")
    stage.show.line("openssl ocsp: Response verify OK, revoked")


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def kill_and_recover(stage: Stage) -> str:
    """kill -9 of every process of the server, database included, in mid-batch; nothing is lost or doubled."""
    sites = [stage.web.add_site(f"batch-{number}.demo.test") for number in range(BATCH)]
    stage.web.reload()
    certificates = [stage.add_certificate(site, stage.add_target(site)) for site in sites]
    for certificate in certificates:
        stage.api.post(f"/api/v1/certificates/{certificate}/renew", {})
    progress = wait_for("a batch in the middle", lambda: _between(stage, certificates), pause=0.01)
    killed = stage.server.kill_with_children()
    stage.show.line(f"kill -9 of {killed} processes: {progress}")
    seconds = stage.start_server()
    stage.show.line(f"ready again after {seconds:.1f} s")
    wait_for("the convergence of the batch", lambda: _all_served(stage, sites, certificates), pause=0.5)
    for certificate in certificates:
        issued = stage.versions(certificate)
        if len(issued) != 1:
            raise Failure(f"{certificate} was issued {len(issued)} times")
    serials = {stage.versions(certificate)[0]["serial_number"] for certificate in certificates}
    if len(serials) != BATCH:
        raise Failure("two certificates share a serial number")
    return f"killed with {progress}; ready after {seconds:.1f} s; {BATCH} of {BATCH} served, each issued once"


def _between(stage: Stage, certificates: list[str]) -> str | None:
    """A moment in which some CSR has been signed and some deployment is still to come."""
    jobs = [job for job in stage.jobs() if job["certificate_id"] in certificates]
    issued = sum(job["type"] != "Deployment" and job["status"] == "Completed" for job in jobs)
    deployed = sum(job["type"] == "Deployment" and job["status"] == "Completed" for job in jobs)
    if deployed == len(certificates):
        raise Failure("the whole batch was deployed before it could be interrupted")
    return f"{issued} issued, {deployed} deployed of {len(certificates)}" if issued else None


def _all_served(stage: Stage, sites: list[Site], certificates: list[str]) -> bool | None:
    for program in (stage.server, stage.agent):
        if program is not None:
            program.must_run()
    for site, certificate in zip(sites, certificates, strict=True):
        versions = stage.versions(certificate)
        job = stage.newest_deployment(certificate)
        if not versions or job is None or job["status"] != "Completed":
            return None
        if fingerprint(served(site.port, site.name)) != versions[0]["fingerprint_sha256"]:
            return None
    return True


def print_audit_trail(stage: Stage) -> str:
    """Who did what, as the database has it, which lets nobody change it."""
    events: list[dict[str, Any]] = []
    page = 1
    while len(events) < (answer := stage.api.get(f"/api/v1/audit?per_page=200&page={page}"))["total"]:
        events += answer["data"]
        page += 1
        if not answer["data"]:
            break
    events.sort(key=lambda event: (event["timestamp"], event["id"]))
    for event in events:
        moment = datetime.fromisoformat(event["timestamp"]).astimezone(UTC)
        resource = f"{event['resource_type']} {event['resource_id']}"
        stage.show.line(f"{moment:%H:%M:%S}  {event['actor'][:34]:<34}  {event['action']:<28}  {resource}")
    actions = {event["action"] for event in events}
    wanted = {
        "agent_registered",
        "certificate_created",
        "csr_submitted",
        "deployment_job_failed",
        "certificate_revoked",
    }
    if not wanted <= actions:
        raise Failure(f"the trail does not tell of {', '.join(sorted(wanted - actions))}")
    return f"{len(events)} events of {len({event['actor'] for event in events})} actors"


Step = Callable[[Stage], str]

STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("The control plane starts", start_control_plane),
    ("An agent joins", join_agent),
    ("A web server to deploy to", start_web_server),
    ("Issue, deploy, look", issue_and_deploy),
    ("Renew under load", renew_under_load),
    ("A refused deployment", refuse_and_mend),
    ("Revoke, prove it", revoke_and_prove),
    ("kill -9 in mid-batch", kill_and_recover),
    ("The audit trail", print_audit_trail),
)
