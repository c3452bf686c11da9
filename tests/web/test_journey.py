"""One certificate's whole life over HTTP."""

import base64
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certctl_core.models.access import Role
from certctl_core.usecases import crls
from tests.web.api import EVERY_STORE, NGINX, AnAgent, Api, csr_pem

pytestmark = EVERY_STORE

LIFE = "/api/v1/certificates/mc-site"


@pytest.fixture
def agent(fleet: Api) -> AnAgent:
    return fleet.agent()


@pytest.fixture
def issued(fleet: Api, agent: AnAgent) -> x509.Certificate:
    """The certificate mc-site for one target, issued and not yet deployed."""
    fleet.certificate(fleet.target(agent), sans=["www.site.example.com"])
    assert fleet.issue(agent, "mc-site").status == 202
    picked = fleet.get(f"/api/v1/agents/{agent.id}/certificates/mc-site", by=agent.key).json
    return x509.load_pem_x509_certificate(picked["certificate_pem"].encode())


def test_a_certificate_is_requested_signed_deployed_verified_and_revoked(fleet: Api, agent: AnAgent) -> None:
    target = fleet.target(agent)
    created = fleet.certificate(target)
    assert created["status"] == "Pending"
    assert created["expires_at"] == "0001-01-01T00:00:00Z"
    assert created["target_ids"] == [target]

    triggered = fleet.post(f"{LIFE}/renew", {"force": False})
    assert triggered.status == 202
    assert triggered.json["status"] == "renewal_triggered"
    asked = fleet.get(f"/api/v1/agents/{agent.id}/work", by=agent.key).json
    assert asked["count"] == 1
    assert asked["jobs"][0]["id"] == triggered.json["job_id"]
    assert asked["jobs"][0]["status"] == "AwaitingCSR"
    assert asked["jobs"][0]["common_name"] == "site.example.com"
    assert "target_config" not in asked["jobs"][0]

    assert fleet.submit(agent, "mc-site").json["status"] == "csr_signed"
    assert fleet.get(LIFE).json["status"] == "Active"

    offered = fleet.get(f"/api/v1/agents/{agent.id}/work", by=agent.key).json["jobs"][0]
    assert offered["type"] == "Deployment"
    assert offered["target_type"] == "NGINX"
    assert offered["target_config"].items() >= {**NGINX, "validate_command": "nginx -t"}.items()
    picked = fleet.get(f"/api/v1/agents/{agent.id}/certificates/mc-site", by=agent.key).json
    leaf = x509.load_pem_x509_certificate(picked["certificate_pem"].encode())
    assert leaf.fingerprint(hashes.SHA256()).hex() == picked["fingerprint_sha256"]

    status = f"/api/v1/agents/{agent.id}/jobs/{offered['id']}/status"
    for step in ("Running", "Completed", "Completed"):
        assert fleet.post(status, {"status": step}, by=agent.key).json == {"status": "updated"}
    probe = {
        "target_id": target,
        "expected_fingerprint": picked["fingerprint_sha256"],
        "actual_fingerprint": picked["fingerprint_sha256"],
        "verified": True,
        "error": "",
    }
    verified = fleet.post(f"/api/v1/jobs/{offered['id']}/verify", probe, by=agent.key)
    assert verified.json["verified"] is True
    seen = fleet.get(f"/api/v1/jobs/{offered['id']}/verification").json
    assert seen["expected_fingerprint"] == seen["actual_fingerprint"] == picked["fingerprint_sha256"]
    deployed = fleet.get(f"{LIFE}/deployments").json
    assert deployed["total"] == 1
    assert deployed["data"][0]["deployment"]["served_fingerprint"] == picked["fingerprint_sha256"]

    assert fleet.post(f"{LIFE}/revoke", {"reason": "keyCompromise"}).json == {"status": "revoked"}
    revoked = fleet.get(LIFE).json
    assert (revoked["status"], revoked["revocation_reason"]) == ("Revoked", "keyCompromise")
    actions = {event["action"] for event in fleet.get("/api/v1/audit?resource_id=mc-site").json["data"]}
    assert {"certificate_created", "csr_submitted", "certificate_retrieved", "certificate_revoked"} <= actions


def test_versions_come_newest_first(fleet: Api, agent: AnAgent, issued: x509.Certificate) -> None:
    assert fleet.issue(agent, "mc-site").status == 202
    page = fleet.get(f"{LIFE}/versions").json
    assert page["total"] == 2
    newest, oldest = page["data"]
    assert oldest["serial_number"] == f"{issued.serial_number:x}"
    assert newest["serial_number"] != oldest["serial_number"]
    assert oldest["csr_pem"].startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert oldest["agent_id"] == agent.id


def test_deploying_again_makes_a_new_job(fleet: Api, issued: x509.Certificate) -> None:
    """The content type carries a parameter here, which must not hide the body."""
    target = fleet.get(LIFE).json["target_ids"][0]
    headers = {"Content-Type": "application/json; charset=utf-8"}
    reply = fleet.post(f"{LIFE}/deploy", {"target_id": target}, headers=headers)
    assert reply.status == 202
    assert reply.json["status"] == "deployment_triggered"
    wrong = fleet.post(f"{LIFE}/deploy", {"target_id": "elsewhere"}, headers=headers)
    assert wrong.status == 400
    assert wrong.fields == ["target_id"]


def test_a_revocation_reason_is_read_whatever_the_content_type_says(fleet: Api, issued: x509.Certificate) -> None:
    wrong = fleet.post(f"{LIFE}/revoke", body='{"reason": "boredom"}', headers={"Content-Type": "text/plain"})
    assert wrong.status == 400
    assert wrong.fields == ["reason"]
    assert fleet.post(f"{LIFE}/revoke", {"reason": ""}).status == 200
    assert fleet.get(LIFE).json["revocation_reason"] == "unspecified"


def test_what_cannot_be_done_any_more_is_a_conflict(fleet: Api, issued: x509.Certificate) -> None:
    assert fleet.post(f"{LIFE}/revoke").status == 200
    for verb in ("revoke", "renew", "deploy"):
        reply = fleet.post(f"{LIFE}/{verb}", {})
        assert reply.status == 409, verb
        assert "Revoked" in reply.json["message"]
    assert fleet.delete(LIFE).status == 204
    assert fleet.get(LIFE).json["status"] == "Archived"


def test_a_renewal_under_way_is_not_doubled(fleet: Api, agent: AnAgent) -> None:
    fleet.certificate(fleet.target(agent))
    first = fleet.post(f"{LIFE}/renew").json["job_id"]
    again = fleet.post(f"{LIFE}/renew", {"force": False})
    assert again.status == 409
    assert "already in progress" in again.json["message"]
    for forced in (fleet.post(f"{LIFE}/renew?force=1"), fleet.post(f"{LIFE}/renew", {"force": True})):
        assert forced.status == 202
        assert forced.json["job_id"] != first


def test_a_csr_for_other_names_is_refused(fleet: Api, agent: AnAgent) -> None:
    fleet.certificate(fleet.target(agent))
    fleet.made(f"{LIFE}/renew", {})
    asked = {"csr_pem": csr_pem("evil.example.com", []), "certificate_id": "mc-site"}
    reply = fleet.post(f"/api/v1/agents/{agent.id}/csr", asked, by=agent.key)
    assert reply.status == 422
    assert reply.json["reasons"]
    garbage = fleet.post(f"/api/v1/agents/{agent.id}/csr", {**asked, "csr_pem": "garbage"}, by=agent.key)
    assert garbage.status == 400
    neither = fleet.post(f"/api/v1/agents/{agent.id}/csr", {"csr_pem": asked["csr_pem"]}, by=agent.key)
    assert neither.fields == ["certificate_id"]


def test_of_many_csrs_each_has_its_own_outcome(fleet: Api, agent: AnAgent) -> None:
    target = fleet.target(agent)
    for name in ("one", "two"):
        fleet.certificate(target, name=name)
        fleet.made(f"/api/v1/certificates/mc-{name}/renew", {})
    csrs = [
        {"csr_pem": csr_pem("one.example.com", []), "certificate_id": "mc-one"},
        {"csr_pem": csr_pem("evil.example.com", []), "certificate_id": "mc-two"},
        {"csr_pem": "garbage", "certificate_id": "mc-two"},
        {"csr_pem": csr_pem("site.example.com", []), "certificate_id": "mc-nowhere"},
    ]
    reply = fleet.post(f"/api/v1/agents/{agent.id}/csrs", {"csrs": csrs}, by=agent.key)
    assert reply.status == 200
    assert reply.json["signed"] == 1
    assert [(one["status"], one["code"]) for one in reply.json["results"]] == [
        ("csr_signed", 202),
        ("csr_refused", 422),
        ("csr_refused", 400),
        ("csr_refused", 404),
    ]
    assert "evil" in reply.json["results"][1]["reasons"][0]
    assert fleet.post(f"/api/v1/agents/{agent.id}/csrs", {"csrs": csrs * 51}, by=agent.key).status == 400


def test_a_csr_may_name_its_job_alone(fleet: Api, agent: AnAgent) -> None:
    fleet.certificate(fleet.target(agent))
    job = fleet.made(f"{LIFE}/renew", {})["job_id"]
    asked = {"csr_pem": csr_pem("site.example.com", []), "job_id": job}
    other = fleet.agent("web-2")
    stolen = fleet.post(f"/api/v1/agents/{other.id}/csr", asked, by=other.key)
    assert stolen.status == 403
    assert "mc-site" not in stolen.json["message"], "what the job is for is none of another agent's business"
    assert fleet.post(f"/api/v1/agents/{agent.id}/csr", asked, by=agent.key).json["job_id"] == job


def test_another_agents_job_is_forbidden(fleet: Api, agent: AnAgent, issued: x509.Certificate) -> None:
    other = fleet.agent("web-2")
    job = fleet.get(f"/api/v1/agents/{agent.id}/work", by=agent.key).json["jobs"][0]
    report = fleet.post(f"/api/v1/agents/{other.id}/jobs/{job['id']}/status", {"status": "Completed"}, by=other.key)
    assert report.status == 403
    probe = {"target_id": job["target_id"], "expected_fingerprint": "ab", "actual_fingerprint": "ab", "verified": True}
    assert fleet.post(f"/api/v1/jobs/{job['id']}/verify", probe, by=other.key).status == 403
    assert fleet.get(f"/api/v1/agents/{other.id}/certificates/mc-site", by=other.key).status == 404
    assert fleet.get(f"/api/v1/agents/{other.id}/work", by=other.key).json["count"] == 0


def test_a_failed_probe_is_recorded_with_its_error(fleet: Api, agent: AnAgent, issued: x509.Certificate) -> None:
    job = fleet.get(f"/api/v1/agents/{agent.id}/work", by=agent.key).json["jobs"][0]
    assert fleet.get(f"/api/v1/jobs/{job['id']}/verification").status == 404
    probe = {"target_id": job["target_id"], "expected_fingerprint": "", "actual_fingerprint": "", "error": "refused"}
    assert fleet.post(f"/api/v1/jobs/{job['id']}/verify", probe, by=agent.key).json["verified"] is False
    seen = fleet.get(f"/api/v1/jobs/{job['id']}/verification").json
    assert (seen["verified"], seen["error"]) == (False, "refused")
    assert seen["expected_fingerprint"] == issued.fingerprint(hashes.SHA256()).hex()


def test_failed_jobs_are_retried_and_open_ones_cancelled(fleet: Api, agent: AnAgent, issued: x509.Certificate) -> None:
    job = fleet.get(f"/api/v1/agents/{agent.id}/work", by=agent.key).json["jobs"][0]
    path = f"/api/v1/jobs/{job['id']}"
    assert fleet.post(f"{path}/retry").status == 409
    report = {"status": "Failed", "error": "nginx: emerg"}
    fleet.made(f"/api/v1/agents/{agent.id}/jobs/{job['id']}/status", report, by=agent.key)
    assert fleet.get(path).json["last_error"] == "nginx: emerg"
    assert fleet.post(f"{path}/retry").json == {"status": "job_retried"}
    assert fleet.post(f"{path}/cancel", {}).json == {"status": "job_cancelled"}
    for verb in ("cancel", "approve", "reject"):
        assert fleet.post(f"{path}/{verb}", {}).status == 409
    listed = fleet.get(f"/api/v1/jobs?status=Cancelled&type=Deployment&agent_id={agent.id}").json
    assert [one["id"] for one in listed["data"]] == [job["id"]]


# --- what relying parties see ----------------------------------------------------------------------------------------


CRL = "/.well-known/pki/crl/iss-local"


def test_the_crl_lists_what_was_revoked(fleet: Api, issued: x509.Certificate) -> None:
    before = fleet.get(CRL, by=None)
    assert before.headers["content-type"] == "application/pkix-crl"
    assert before.headers["cache-control"] == "public, max-age=3600, must-revalidate"
    assert len(x509.load_der_x509_crl(before.content)) == 0
    unchanged = fleet.get(CRL, by=None, headers={"If-None-Match": before.headers["etag"]})
    assert (unchanged.status, unchanged.content) == (304, b"")
    fleet.made(f"{LIFE}/revoke", {"reason": "superseded"})
    assert fleet.get(CRL, by=None).content == before.content
    crls.sweep(fleet.ports)
    after = fleet.get(CRL, by=None, headers={"If-None-Match": before.headers["etag"]})
    assert after.status == 200
    crl = x509.load_der_x509_crl(after.content)
    assert crl.get_revoked_certificate_by_serial_number(issued.serial_number) is not None
    authority = _authority(fleet)
    public_key = authority.public_key()
    assert crl.is_signature_valid(public_key)  # type: ignore[arg-type]


def test_a_certificate_is_held_and_released(fleet: Api, issued: x509.Certificate) -> None:
    since = "2026-10-01T00:00:00Z"
    fleet.made(f"{LIFE}/revoke", {"reason": "certificateHold", "invalid_since": since})
    crls.sweep(fleet.ports)
    (entry,) = x509.load_der_x509_crl(fleet.get(CRL, by=None).content)
    assert entry.extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date_utc.isoformat() == (
        "2026-10-01T00:00:00+00:00"
    )
    assert fleet.made(f"{LIFE}/release", {}) == {"status": "released"}
    assert fleet.get(LIFE).json["status"] == "Active"
    assert fleet.post(f"{LIFE}/release", {}).status == 409
    crls.sweep(fleet.ports)
    assert len(x509.load_der_x509_crl(fleet.get(CRL, by=None).content)) == 0


def _authority(fleet: Api) -> x509.Certificate:
    reply = fleet.get("/.well-known/pki/ca/iss-local", by=None)
    assert reply.headers["content-type"] == "application/pkix-cert"
    return x509.load_der_x509_certificate(reply.content)


def test_ocsp_answers_by_post_get_and_serial_number(fleet: Api, issued: x509.Certificate) -> None:
    question = (
        ocsp.OCSPRequestBuilder().add_certificate(issued, _authority(fleet), hashes.SHA1()).build()  # noqa: S303
    )
    der = question.public_bytes(Encoding.DER)
    path = "/.well-known/pki/ocsp/iss-local"
    in_path = urllib.parse.quote(base64.b64encode(der).decode(), safe="")

    def answers() -> list[ocsp.OCSPResponse]:
        post = fleet.post(path, body=der, by=None, headers={"Content-Type": "application/ocsp-request"})
        get = fleet.get(f"{path}/{in_path}", by=None)
        serial = fleet.get(f"{path}/{issued.serial_number:X}", by=None)
        for reply in (post, get, serial):
            assert reply.status == 200
            assert reply.headers["content-type"] == "application/ocsp-response"
        return [ocsp.load_der_ocsp_response(reply.content) for reply in (post, get, serial)]

    assert {answer.certificate_status for answer in answers()} == {ocsp.OCSPCertStatus.GOOD}
    fleet.made(f"{LIFE}/revoke", {"reason": "keyCompromise"})
    for answer in answers():
        assert answer.certificate_status is ocsp.OCSPCertStatus.REVOKED
        assert answer.revocation_reason is x509.ReasonFlags.key_compromise


def test_an_ocsp_answer_to_a_nonce_is_not_cached(fleet: Api, issued: x509.Certificate) -> None:
    builder = ocsp.OCSPRequestBuilder().add_certificate(issued, _authority(fleet), hashes.SHA256())
    der = builder.add_extension(x509.OCSPNonce(b"n" * 16), critical=False).build().public_bytes(Encoding.DER)
    in_path = urllib.parse.quote(base64.b64encode(der).decode(), safe="")
    reply = fleet.get(f"/.well-known/pki/ocsp/iss-local/{in_path}", by=None)
    answer = ocsp.load_der_ocsp_response(reply.content)
    assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 16
    assert reply.headers["cache-control"] == "no-store"


def test_ocsp_says_what_is_wrong_in_its_own_words(fleet: Api) -> None:
    path = "/.well-known/pki/ocsp/iss-local"
    for reply in (fleet.post(path, body=b"garbage", by=None), fleet.get(f"{path}/not*base64", by=None)):
        assert reply.status == 200
        answer = ocsp.load_der_ocsp_response(reply.content)
        assert answer.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    unknown = ocsp.load_der_ocsp_response(fleet.get(f"{path}/ff", by=None).content)
    assert unknown.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
    assert fleet.post(path, body=b"x", by=None, headers={"Content-Type": "text/plain"}).status == 415


def test_viewers_look_and_do_not_touch(fleet: Api, issued: x509.Certificate) -> None:
    assert fleet.get(LIFE, by=Role.VIEWER).status == 200
    assert fleet.get("/api/v1/audit", by=Role.VIEWER).status == 403
    assert fleet.get("/api/v1/audit", by=Role.AUDITOR).status == 200
    for path in (LIFE, "/api/v1/certificates", "/api/v1/stats/summary", "/api/v1/loops", "/api/v1/teams"):
        assert fleet.get(path, by=Role.AUDITOR).status == 403
    assert fleet.post(f"{LIFE}/renew", by=Role.AUDITOR).status == 403
    assert fleet.get("/api/v1/auth/check", by=Role.AUDITOR).json["role"] == "auditor"
