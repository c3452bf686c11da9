"""The calls of the agent, as the control plane sees them."""

from datetime import UTC, datetime

import pytest

from certctl_adapters.http import HttpClient, trust
from certctl_adapters.pinning import pinned_ca
from certctl_agent import client
from certctl_agent.client import Verification, WorkItem
from certctl_agent.machine import Machine, describe
from certctl_core import __version__
from certctl_core.errors import Forbidden, Gone, NotAuthenticated, UpstreamUnavailable
from certctl_core.pki import csr, keys, reading
from tests.agent.control_plane import AGENT_ID, API_KEY, TOKEN, ControlPlane
from tests.authority import Authority, pem

MACHINE = Machine("host-1", "linux", "amd64", "127.0.0.1")
AT = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)


def test_a_heartbeat_says_what_the_machine_is(control: client.ControlPlane, plane: ControlPlane) -> None:
    control.heartbeat(MACHINE, AT)
    (call,) = plane.calls
    assert (call.method, call.path) == ("POST", f"/api/v1/agents/{AGENT_ID}/heartbeat")
    assert call.headers["authorization"] == f"Bearer {API_KEY}"
    assert call.headers["content-type"] == "application/json"
    assert call.body == {
        "version": __version__,
        "hostname": "host-1",
        "os": "linux",
        "architecture": "amd64",
        "ip_address": "127.0.0.1",
        "sent_at": "2031-03-04T05:06:07Z",
    }


def test_work_is_asked_for_as_json_too(control: client.ControlPlane, plane: ControlPlane) -> None:
    plane.ask_for_csr("job-1", "mc-1", "www.example.test", "10.0.0.1")
    plane.ask_to_deploy("job-2", "mc-1", {"cert_path": "/a"})
    first, second = control.work()
    assert first == WorkItem(
        id="job-1",
        type="Renewal",
        certificate_id="mc-1",
        status="AwaitingCSR",
        common_name="www.example.test",
        sans=("10.0.0.1",),
    )
    assert (second.target_id, second.target_type, second.target_config) == ("tgt-1", "NGINX", {"cert_path": "/a"})
    assert plane.calls[0].headers["content-type"] == "application/json"
    assert plane.calls[0].body is None


def test_a_count_of_none_means_no_work(control: client.ControlPlane, plane: ControlPlane) -> None:
    plane.override("GET /work", (200, {"jobs": [{"id": "x"}], "count": 0}, {}))
    assert control.work() == ()


@pytest.mark.parametrize(
    "answer", [{}, [], {"jobs": 1, "count": 1}, {"jobs": [{}], "count": 1}, {"jobs": ["x"], "count": 1}]
)
def test_work_that_cannot_be_read_is_no_crash(
    control: client.ControlPlane, plane: ControlPlane, answer: object
) -> None:
    plane.override("GET /work", (200, answer, {}))
    with pytest.raises(UpstreamUnavailable):
        control.work()


def test_a_csr_names_its_job_and_its_certificate(control: client.ControlPlane, plane: ControlPlane) -> None:
    job = plane.ask_for_csr("job-1", "mc-1", "www.example.test")
    (item,) = control.work()
    request = csr.build(keys.generate(keys.KeyKind.ECDSA_P256), "www.example.test", ())
    control.submit_csr(item, request)
    (call,) = plane.made("POST /csr")
    assert set(call.body) == {"csr_pem", "certificate_id", "job_id"}
    assert call.body["csr_pem"].startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert job.status == "Completed"


def test_a_certificate_comes_with_its_chain(control: client.ControlPlane, plane: ControlPlane) -> None:
    leaf = plane.issuer.leaf("www.example.test")
    plane.certificates["mc-1"] = leaf.certificate
    picked = control.certificate("mc-1")
    assert picked.certificate == leaf.certificate
    assert picked.chain == (plane.issuer.certificate,)


def test_ids_cannot_leave_their_place_in_the_path(control: client.ControlPlane, plane: ControlPlane) -> None:
    with pytest.raises(Exception, match="not found"):
        control.certificate("../../certificates?x=1")
    assert plane.calls[0].path == f"/api/v1/agents/{AGENT_ID}/certificates/..%2F..%2Fcertificates%3Fx%3D1"


def test_reports_carry_an_error_only_when_there_is_one(control: client.ControlPlane, plane: ControlPlane) -> None:
    plane.ask_to_deploy("job-1", "mc-1", None)
    control.report("job-1", "Running")
    control.report("job-1", "Failed", "deployment failed: no")
    assert [call.body for call in plane.made("POST /jobs/job-1/status")] == [
        {"status": "Running"},
        {"status": "Failed", "error": "deployment failed: no"},
    ]


def test_a_verification_always_carries_its_error(control: client.ControlPlane, plane: ControlPlane) -> None:
    job = plane.ask_to_deploy("job-1", "mc-1", None)
    control.verified(
        "job-1",
        Verification(target_id="tgt-1", expected_fingerprint="ab", actual_fingerprint="ab", verified=True),
    )
    assert job.verifications == [
        {
            "target_id": "tgt-1",
            "expected_fingerprint": "ab",
            "actual_fingerprint": "ab",
            "verified": True,
            "error": "",
        }
    ]


def test_a_retired_agent_is_told_to_go(control: client.ControlPlane, plane: ControlPlane) -> None:
    plane.retired = True
    with pytest.raises(Gone, match="retired"):
        control.heartbeat(MACHINE, AT)
    with pytest.raises(Gone, match="retired"):
        control.work()


def test_the_pinned_ca_is_taken_and_no_other(plane: ControlPlane) -> None:
    right = reading.fingerprint(plane.authority.certificate)
    assert pinned_ca(plane.url, right) == pem(plane.authority.certificate)
    with pytest.raises(Forbidden, match=f"sha256:{right} and sha256:{'0' * 64} was expected"):
        pinned_ca(plane.url, "0" * 64)


def test_joining_exchanges_the_token(plane: ControlPlane) -> None:
    http = HttpClient(plane.url, tls=trust(pem(plane.authority.certificate).encode()))
    assert client.join(http, TOKEN, "web-1", MACHINE) == (AGENT_ID, API_KEY)
    assert plane.calls[0].body == {
        "token": TOKEN,
        "name": "web-1",
        "version": __version__,
        "hostname": "host-1",
        "os": "linux",
        "architecture": "amd64",
        "ip_address": "127.0.0.1",
    }
    assert "authorization" not in plane.calls[0].headers
    with pytest.raises(NotAuthenticated, match="used or expired"):
        client.join(http, "cjt_wrong", "web-1", MACHINE)
    http.close()


def test_a_stranger_is_not_talked_to(plane: ControlPlane) -> None:
    http = HttpClient(plane.url, tls=trust(pem(Authority().certificate).encode()))
    with pytest.raises(UpstreamUnavailable, match="not to be believed"):
        client.join(http, TOKEN, "web-1", MACHINE)
    assert plane.calls == []
    http.close()


def test_the_machine_is_described_in_the_words_of_the_wire(plane: ControlPlane) -> None:
    here = describe(plane.url)
    assert here.os == "linux"
    assert here.architecture in ("amd64", "arm64", "arm", "386")
    assert here.ip_address == "127.0.0.1"
    assert here.hostname
    assert describe("https://no-such-host.invalid").ip_address == ""
