"""Doing work: CSRs and deployments, with what the control plane is told of each."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certctl_agent.client import WorkItem
from certctl_agent.keystore import KeyStore
from certctl_agent.work import endpoint_of
from certctl_core.errors import DeploymentFailed, Gone, UpstreamUnavailable
from certctl_core.pki import csr, keys
from certctl_core.ports.target import Delivery, Endpoint, Reloads, Target
from certctl_core.ports.world import Prober, Seen
from tests.agent.conftest import MakeWorker
from tests.agent.control_plane import ControlPlane, Job, problem
from tests.authority import Authority, Leaf, fingerprint, pem
from tests.web_servers import WebServer, own_server


def item_of(job: Job) -> WorkItem:
    told = job.item
    return WorkItem(
        id=told["id"],
        type=told["type"],
        certificate_id=told["certificate_id"],
        status=told["status"],
        common_name=told.get("common_name", ""),
        sans=tuple(told.get("sans", ())),
        target_id=told.get("target_id", ""),
        target_type=told.get("target_type", ""),
        target_config=told.get("target_config", {}),
    )


def sent_csr(job: Job) -> x509.CertificateSigningRequest:
    return csr.read(job.csrs[-1])


# CSRs


def test_a_csr_names_every_kind_of_san(plane: ControlPlane, make_worker: MakeWorker) -> None:
    sans = ("www.example.test", "192.0.2.7", "2001:db8::7", "spiffe://example.test/web", "ops@example.test")
    job = plane.ask_for_csr("job-1", "mc-1", "www.example.test", *sans)
    assert make_worker().do(item_of(job))
    kinds = {type(name) for name in sent_csr(job).extensions[0].value}
    assert kinds == {x509.DNSName, x509.IPAddress, x509.UniformResourceIdentifier, x509.RFC822Name}
    csr.check_matches(sent_csr(job), "www.example.test", sans)


def three_jobs(plane: ControlPlane) -> list[Job]:
    return [
        plane.ask_for_csr(f"job-{number}", f"mc-{number}", name)
        for number, name in enumerate(("a.example.test", "refused.example.com", "b.example.test"))
    ]


def test_many_csrs_go_in_one_request_and_each_refusal_is_reported(plane: ControlPlane, make_worker: MakeWorker) -> None:
    first, refused, last = three_jobs(plane)
    assert make_worker().request_all([item_of(job) for job in (first, refused, last)])
    assert len(plane.made("POST /csrs")) == 1
    assert plane.made("POST /csr") == []
    assert (first.status, last.status) == ("Completed", "Completed")
    assert refused.status == "Failed"
    assert refused.error == "CSR rejected: the profile does not permit it"


def test_an_older_control_plane_is_sent_csrs_one_by_one(plane: ControlPlane, make_worker: MakeWorker) -> None:
    plane.takes_many = False
    first, refused, last = three_jobs(plane)
    assert make_worker().request_all([item_of(job) for job in (first, refused, last)])
    assert len(plane.made("POST /csr")) == 3
    assert [job.status for job in (first, refused, last)] == ["Completed", "Failed", "Completed"]


def test_csrs_that_nobody_takes_now_are_put_off(plane: ControlPlane, make_worker: MakeWorker) -> None:
    jobs = three_jobs(plane)
    plane.override("POST /csrs", problem(503, "the database is away"))
    assert not make_worker().request_all([item_of(job) for job in jobs])
    assert {job.status for job in jobs} == {"AwaitingCSR"}


def test_a_retired_agent_sends_no_more_csrs(plane: ControlPlane, make_worker: MakeWorker) -> None:
    jobs = three_jobs(plane)
    plane.retired = True
    with pytest.raises(Gone):
        make_worker().request_all([item_of(job) for job in jobs])


def test_the_same_job_sends_the_same_csr_again(plane: ControlPlane, make_worker: MakeWorker) -> None:
    job = plane.ask_for_csr("job-1", "mc-1", "www.example.test", "a.example.test")
    make_worker().do(item_of(job))
    make_worker().do(item_of(job))
    assert job.csrs[0] == job.csrs[1]


def test_another_job_has_another_key(plane: ControlPlane, make_worker: MakeWorker) -> None:
    first = plane.ask_for_csr("job-1", "mc-1", "www.example.test")
    second = plane.ask_for_csr("job-2", "mc-1", "www.example.test")
    make_worker().do(item_of(first))
    make_worker().do(item_of(second))
    assert not keys.same_key(sent_csr(first), sent_csr(second))


def test_awaiting_a_csr_wins_over_the_type(plane: ControlPlane, make_worker: MakeWorker) -> None:
    job = plane.ask_for_csr("job-1", "mc-1", "www.example.test")
    job.item["type"] = "Deployment"
    assert make_worker().do(item_of(job))
    assert len(job.csrs) == 1


def test_without_a_common_name_no_key_is_made(plane: ControlPlane, make_worker: MakeWorker, tmp_path: Path) -> None:
    job = plane.ask_for_csr("job-1", "mc-1", "")
    assert not make_worker().do(item_of(job))
    assert (job.status, job.error) == ("Failed", "empty common name")
    assert not list((tmp_path / "keys" / "pending").iterdir())


def test_names_that_no_certificate_has_fail_the_job(plane: ControlPlane, make_worker: MakeWorker) -> None:
    job = plane.ask_for_csr("job-1", "mc-1", "www.example.test", "two words")
    assert not make_worker().do(item_of(job))
    assert job.error.startswith("CSR creation failed: ")


def test_a_rejected_csr_fails_the_job_with_the_reason(plane: ControlPlane, make_worker: MakeWorker) -> None:
    job = plane.ask_for_csr("job-1", "mc-1", "www.example.test")
    plane.override("POST /csr", problem(422, "the key is too weak"))
    assert not make_worker().do(item_of(job))
    assert (job.status, job.error) == ("Failed", "CSR rejected: the key is too weak")


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_a_csr_that_was_not_judged_is_sent_again_later(
    plane: ControlPlane, make_worker: MakeWorker, status: int
) -> None:
    job = plane.ask_for_csr("job-1", "mc-1", "www.example.test")
    plane.override("POST /csr", problem(status, "not now"))
    assert not make_worker().do(item_of(job))
    assert job.status == "AwaitingCSR"
    assert make_worker().do(item_of(job))


def test_an_id_that_is_no_file_name_fails_the_job(plane: ControlPlane, make_worker: MakeWorker) -> None:
    job = plane.ask_for_csr("job-1", "../../etc/cron.d/x", "www.example.test")
    assert not make_worker().do(item_of(job))
    assert job.error.startswith("key storage failed: ")


# Deployments


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    folder = tmp_path / "web"
    folder.mkdir()
    with own_server(folder, *Authority().leaf("placeholder.test").write(folder)) as running:
        yield running


def config_of(server: WebServer, **more: Any) -> dict[str, Any]:
    return {
        "cert_path": str(server.certificate),
        "key_path": str(server.key),
        "validate_command": server.validate_command,
        "reload_command": server.reload_command,
        "verify_host": "127.0.0.1",
        "verify_port": server.port,
    } | more


def certify(plane: ControlPlane, make_worker: MakeWorker, job_id: str = "job-csr") -> None:
    assert make_worker().do(item_of(plane.ask_for_csr(job_id, "mc-1", "www.example.test")))


def statuses(plane: ControlPlane, job_id: str) -> list[str]:
    return [call.body["status"] for call in plane.made(f"POST /jobs/{job_id}/status")]


def test_a_deployment_is_served_verified_and_reported(
    plane: ControlPlane, make_worker: MakeWorker, server: WebServer
) -> None:
    certify(plane, make_worker)
    job = plane.ask_to_deploy("job-1", "mc-1", config_of(server))
    assert make_worker(verify_timeout=timedelta(seconds=10)).do(item_of(job))
    issued = plane.issued("mc-1")
    assert server.served() == issued
    assert server.certificate.read_text() == pem(plane.certificates["mc-1"], plane.issuer.certificate)
    assert statuses(plane, "job-1") == ["Running", "Completed"]
    assert job.verifications == [
        {
            "target_id": "tgt-1",
            "expected_fingerprint": issued,
            "actual_fingerprint": issued,
            "verified": True,
            "error": "",
        }
    ]


def test_deploying_again_is_the_same(plane: ControlPlane, make_worker: MakeWorker, server: WebServer) -> None:
    certify(plane, make_worker)
    for number in (1, 2):
        job = plane.ask_to_deploy(f"job-{number}", "mc-1", config_of(server))
        assert make_worker(verify_timeout=timedelta(seconds=10)).do(item_of(job))
        assert job.verifications[0]["verified"]


def test_the_key_in_use_changes_with_the_certificate(
    plane: ControlPlane, make_worker: MakeWorker, server: WebServer, tmp_path: Path
) -> None:
    current = tmp_path / "keys" / "mc-1.key"
    certify(plane, make_worker)
    assert not current.exists()
    make_worker().do(item_of(plane.ask_to_deploy("job-1", "mc-1", config_of(server))))
    before = current.read_bytes()
    certify(plane, make_worker, "job-csr-2")
    assert current.read_bytes() == before
    make_worker().do(item_of(plane.ask_to_deploy("job-2", "mc-1", config_of(server))))
    assert current.read_bytes() != before


def test_a_refused_deployment_fails_with_the_servers_words(
    plane: ControlPlane, make_worker: MakeWorker, server: WebServer
) -> None:
    certify(plane, make_worker)
    before = server.served()
    files = server.certificate.read_bytes(), server.key.read_bytes()
    broken = config_of(server, validate_command=server.validate_command.replace(str(server.key), "/nowhere.pem"))
    job = plane.ask_to_deploy("job-1", "mc-1", broken)
    assert not make_worker().do(item_of(job))
    assert job.status == "Failed"
    assert job.error.startswith("deployment failed: ")
    assert "cannot load" in job.error
    assert server.served() == before
    assert (server.certificate.read_bytes(), server.key.read_bytes()) == files
    assert job.verifications == []


def test_a_certificate_that_cannot_be_fetched_fails_the_job(plane: ControlPlane, make_worker: MakeWorker) -> None:
    job = plane.ask_to_deploy("job-1", "mc-none", {"cert_path": "/a"})
    assert not make_worker().do(item_of(job))
    assert job.error.startswith("cert fetch failed: certificate mc-none not found")


def test_a_certificate_of_another_key_fails_the_job(
    plane: ControlPlane, make_worker: MakeWorker, server: WebServer
) -> None:
    plane.certificates["mc-1"] = plane.issuer.leaf("www.example.test").certificate
    job = plane.ask_to_deploy("job-1", "mc-1", config_of(server))
    assert not make_worker().do(item_of(job))
    assert job.error.startswith("key read failed: no key of this certificate")


@pytest.mark.parametrize(
    ("type_name", "config", "words"),
    [
        ("Gopher", {}, "connector init failed: unsupported target type: Gopher"),
        ("NGINX", {"cert_path": 5}, "connector init failed: cert_path: must be a string"),
        ("NGINX", {}, "connector init failed: cert_path: is required"),
    ],
)
def test_a_target_that_cannot_be_made_fails_the_job(
    plane: ControlPlane, make_worker: MakeWorker, type_name: str, config: dict[str, Any], words: str
) -> None:
    certify(plane, make_worker)
    job = plane.ask_to_deploy("job-1", "mc-1", config, type_name=type_name)
    assert not make_worker().do(item_of(job))
    assert words in job.error


def test_without_a_target_the_key_is_taken_into_use_and_nothing_deployed(
    plane: ControlPlane, make_worker: MakeWorker, tmp_path: Path
) -> None:
    certify(plane, make_worker)
    job = plane.ask_to_deploy("job-1", "mc-1", None)
    assert make_worker().do(item_of(job))
    assert statuses(plane, "job-1") == ["Running", "Completed"]
    assert (tmp_path / "keys" / "mc-1.key").exists()


def test_a_job_that_is_somebody_elses_now_is_not_begun(
    plane: ControlPlane, make_worker: MakeWorker, server: WebServer
) -> None:
    certify(plane, make_worker)
    before = server.served()
    job = plane.ask_to_deploy("job-1", "mc-1", config_of(server))
    for status in (403, 404, 409, 503):
        plane.override("POST /jobs/job-1/status", problem(status, "cancelled"))
        assert not make_worker().do(item_of(job))
    assert server.served() == before
    assert plane.made("GET /certificates/mc-1") == []


def test_a_lost_report_is_sent_again(plane: ControlPlane, make_worker: MakeWorker) -> None:
    certify(plane, make_worker)
    job = plane.ask_to_deploy("job-1", "mc-1", None)
    replies: Iterator[Any] = iter([None, (503, {}, {}), (503, {}, {})])
    plane.overrides.append(lambda call: next(replies, None) if call.what == "POST /jobs/job-1/status" else None)
    assert make_worker().do(item_of(job))
    assert statuses(plane, "job-1") == ["Running", "Completed", "Completed", "Completed"]
    assert job.status == "Completed"


def test_retirement_in_the_middle_of_a_job_is_passed_on(plane: ControlPlane, make_worker: MakeWorker) -> None:
    job = plane.ask_to_deploy("job-1", "mc-1", None)
    plane.override("GET /certificates/mc-1", problem(410, "retired"))
    with pytest.raises(Gone):
        make_worker().do(item_of(job))


def test_work_of_unknown_kinds_is_left_alone(plane: ControlPlane, make_worker: MakeWorker) -> None:
    assert not make_worker().do(WorkItem(id="job-1", type="Validation", certificate_id="mc-1", status="Pending"))
    assert plane.calls == []


def test_an_accident_in_one_job_is_reported_and_survived(plane: ControlPlane, make_worker: MakeWorker) -> None:
    class Clumsy(KeyStore):
        def for_job(self, certificate_id: str, job_id: str) -> keys.PrivateKey:
            raise ZeroDivisionError

    job = plane.ask_for_csr("job-1", "mc-1", "www.example.test")
    worker = make_worker()
    assert not make_worker(keys=Clumsy(worker.keys.journals.parent)).do(item_of(job))
    assert (job.status, job.error) == ("Failed", "internal error: ZeroDivisionError")


# Verification


class SeeingProber(Prober):
    """Sees these certificates one after the other, then the last again; None is nobody listening."""

    def __init__(self, *sights: Leaf | None) -> None:
        self.sights = list(sights)
        self.asked: list[tuple[str, int, str | None]] = []

    def probe(self, host: str, port: int, *, server_name: str | None = None, timeout: timedelta) -> Seen:
        self.asked.append((host, port, server_name))
        sight = self.sights.pop(0) if len(self.sights) > 1 else self.sights[0]
        if sight is None:
            raise UpstreamUnavailable(f"{host}:{port}: Connection refused")
        return Seen(fingerprint(sight.certificate), sight.certificate, "TLSv1.3", "", timedelta(0))


class LoadingTarget(Target, Reloads):
    """Takes files, and loads them when it is told to; a reload brings what `loads` says into sight."""

    def __init__(self, prober: SeeingProber, loads: Leaf | None = None) -> None:
        self._prober = prober
        self._loads = loads
        self.reloads = 0

    def deploy(self, delivery: Delivery) -> None:
        if delivery.name != "mc-1":
            raise DeploymentFailed("not for us")

    def reload(self) -> None:
        self.reloads += 1
        if self._loads is not None:
            self._prober.sights = [self._loads]


def verified(
    plane: ControlPlane,
    make_worker: MakeWorker,
    prober: SeeingProber,
    target: Target,
) -> dict[str, Any]:
    """The verification of a deployment to this target."""
    job = plane.ask_to_deploy("job-1", "mc-1", {"verify_host": "127.0.0.1", "verify_port": 8443})
    assert make_worker(prober=prober, connect=lambda *_: target).do(item_of(job))
    (verification,) = job.verifications
    return verification


@pytest.fixture
def mine(plane: ControlPlane, make_worker: MakeWorker) -> Leaf:
    """The certificate that is being deployed. Its key is not in it."""
    certify(plane, make_worker)
    return Leaf(plane.certificates["mc-1"], plane.issuer.leaf("unused.test").key)


def test_a_server_that_takes_a_moment_is_waited_for(plane: ControlPlane, make_worker: MakeWorker, mine: Leaf) -> None:
    old = plane.issuer.leaf("www.example.test")
    prober = SeeingProber(old, None, old, mine)
    target = LoadingTarget(prober)
    assert verified(plane, make_worker, prober, target)["verified"]
    assert target.reloads == 0
    assert prober.asked[0] == ("127.0.0.1", 8443, "www.example.test")


def test_right_files_that_were_never_loaded_are_loaded(
    plane: ControlPlane, make_worker: MakeWorker, mine: Leaf
) -> None:
    prober = SeeingProber(plane.issuer.leaf("www.example.test"))
    target = LoadingTarget(prober, loads=mine)
    assert verified(plane, make_worker, prober, target)["verified"]
    assert target.reloads == 1


def test_another_certificate_is_reported_with_what_was_seen(
    plane: ControlPlane, make_worker: MakeWorker, mine: Leaf
) -> None:
    other = plane.issuer.leaf("other.example.test")
    prober = SeeingProber(other)
    seen = verified(plane, make_worker, prober, LoadingTarget(prober))
    assert not seen["verified"]
    assert seen["actual_fingerprint"] == fingerprint(other.certificate)
    assert seen["error"] == "127.0.0.1:8443 serves another certificate (CN=other.example.test)"


def test_nobody_listening_is_reported_with_the_reason(plane: ControlPlane, make_worker: MakeWorker, mine: Leaf) -> None:
    prober = SeeingProber(None)
    target = LoadingTarget(prober)
    seen = verified(plane, make_worker, prober, target)
    assert (seen["verified"], seen["actual_fingerprint"]) == (False, "")
    assert seen["expected_fingerprint"] == fingerprint(mine.certificate)
    assert seen["error"] == "127.0.0.1:8443: Connection refused"
    assert target.reloads == 0


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"verify_host": ""}, None),
        ({"host": 5}, None),
        ({"verify_host": "www.a.test"}, Endpoint("www.a.test", 443, "www.a.test")),
        ({"host": "h.test", "port": 8443}, Endpoint("h.test", 8443, "h.test")),
        ({"hostname": "h.test", "port": 0}, Endpoint("h.test", 443, "h.test")),
        ({"target": "h.test", "port": 70000.0}, Endpoint("h.test", 443, "h.test")),
        ({"address": "h.test", "port": 444.0}, Endpoint("h.test", 444, "h.test")),
        ({"verify_host": "a.test", "host": "b.test", "verify_port": 1, "port": 2}, Endpoint("a.test", 1, "a.test")),
        ({"verify_host": "::1"}, Endpoint("::1", 443, "certctl.example.test")),
        ({"verify_host": "127.0.0.1", "verify_server_name": "x.test"}, Endpoint("127.0.0.1", 443, "x.test")),
    ],
)
def test_where_to_look_is_told_by_the_settings(config: dict[str, Any], expected: Endpoint | None) -> None:
    assert endpoint_of(config, Authority().leaf("*.example.test").certificate) == expected


def test_an_address_without_a_dns_name_is_asked_for_none() -> None:
    assert endpoint_of({"host": "127.0.0.1"}, Authority().leaf("127.0.0.1").certificate) == Endpoint("127.0.0.1", 443)
