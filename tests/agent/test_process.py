"""The program: how it is told what to do, how it ends, and what a kill leaves."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certctl_core.pki import reading
from tests.agent.conftest import ROOT, StartAgent
from tests.agent.control_plane import AGENT_ID, API_KEY, TOKEN, ControlPlane, problem
from tests.authority import Authority, pem
from tests.web_servers import WebServer, own_server


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run to its end, with nothing in the environment but what is given."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "certctl_agent", *arguments],
        env={"PATH": "/usr/bin:/bin"} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    folder = tmp_path / "web"
    folder.mkdir()
    with own_server(folder, *Authority().leaf("placeholder.test").write(folder)) as running:
        yield running


def config_of(server: WebServer) -> dict[str, Any]:
    return {
        "cert_path": str(server.certificate),
        "key_path": str(server.key),
        "validate_command": server.validate_command,
        "reload_command": server.reload_command,
        "verify_host": "127.0.0.1",
        "verify_port": server.port,
    }


# The plain way


def test_the_plain_way_runs_by_variables_alone(plane: ControlPlane, start_agent: StartAgent) -> None:
    agent = start_agent()
    assert plane.wait_for(lambda: len(plane.made("GET /work")) >= 2)
    status, lines = agent.stop()
    assert status == 0
    assert [line["msg"] for line in lines] == ["started", "stopped"]
    assert {line["level"] for line in lines} == {"info"}
    assert not any(API_KEY in json.dumps(line) for line in lines)


@pytest.mark.parametrize("dashes", ["-", "--"])
def test_the_plain_way_runs_by_flags_alone(
    plane: ControlPlane, agent_environment: dict[str, str], start_agent: StartAgent, dashes: str
) -> None:
    given = agent_environment.copy()
    for name in ("SERVER_URL", "API_KEY", "AGENT_ID", "KEY_DIR", "SERVER_CA_BUNDLE_PATH"):
        agent_environment[f"CERTCTL_{name}"] = ""
    flags = {
        "server": given["CERTCTL_SERVER_URL"],
        "api-key": given["CERTCTL_API_KEY"],
        "agent-id": given["CERTCTL_AGENT_ID"],
        "key-dir": given["CERTCTL_KEY_DIR"],
        "ca-bundle": given["CERTCTL_SERVER_CA_BUNDLE_PATH"],
    }
    agent = start_agent(*(f"{dashes}{name}={value}" for name, value in flags.items()))
    assert plane.wait_for(lambda: len(plane.made("GET /work")) >= 1)
    assert agent.stop(signal.SIGINT)[0] == 0
    assert stat.S_IMODE(Path(given["CERTCTL_KEY_DIR"]).stat().st_mode) == 0o700


def test_a_retired_agent_ends_without_an_error(plane: ControlPlane, start_agent: StartAgent) -> None:
    plane.retired = True
    status, lines = start_agent().ended()
    assert status == 0
    assert lines[-1]["msg"] == "retired"


def test_a_stop_in_a_long_wait_is_at_once(plane: ControlPlane, start_agent: StartAgent) -> None:
    agent = start_agent(CERTCTL_AGENT_HEARTBEAT_INTERVAL="1h", CERTCTL_AGENT_POLL_INTERVAL="1h")
    assert plane.wait_for(lambda: len(plane.made("GET /work")) >= 1)
    began = time.monotonic()
    assert agent.stop()[0] == 0
    assert time.monotonic() - began < 10


def test_a_server_that_is_down_is_waited_for(plane: ControlPlane, start_agent: StartAgent) -> None:
    plane.override("POST /heartbeat", problem(503, "starting"))
    plane.override("GET /work", problem(503, "starting"))
    agent = start_agent()
    assert plane.wait_for(lambda: len(plane.made("GET /work")) >= 3)
    status, lines = agent.stop()
    assert status == 0
    assert {line["msg"] for line in lines if line["level"] == "warning"} == {
        "heartbeat failed: starting",
        "poll failed: starting",
    }


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "CERTCTL_API_KEY or -api-key is required"),
        ({"CERTCTL_API_KEY": "k"}, "CERTCTL_AGENT_ID or -agent-id is required"),
        ({"CERTCTL_SERVER_URL": "http://h:1"}, "CERTCTL_SERVER_URL: 'http://h:1' must be an https URL"),
        ({"CERTCTL_AGENT_POLL_INTERVAL": "soon"}, "CERTCTL_AGENT_POLL_INTERVAL: 'soon' must be a duration"),
        (
            {
                "CERTCTL_API_KEY": "k",
                "CERTCTL_AGENT_ID": "a",
                "CERTCTL_SERVER_URL": "https://certctl.example.com",
                "CERTCTL_SERVER_TLS_INSECURE_SKIP_VERIFY": "true",
            },
            "-insecure-skip-verify is refused for https://certctl.example.com",
        ),
        (
            {"CERTCTL_API_KEY": "k", "CERTCTL_AGENT_ID": "a", "CERTCTL_SERVER_CA_BUNDLE_PATH": "/nowhere"},
            "cannot read /nowhere: No such file or directory",
        ),
        (
            {"CERTCTL_API_KEY": "k", "CERTCTL_AGENT_ID": "a", "CERTCTL_KEY_DIR": "/proc/keys/x"},
            "cannot use /proc/keys/x",
        ),
    ],
)
def test_settings_that_make_no_agent_are_explained(tmp_path: Path, environment: dict[str, str], words: str) -> None:
    ended = run(**{"CERTCTL_STATE_DIR": str(tmp_path)} | environment)
    assert ended.returncode == 1
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unchecked_server_on_this_machine_is_reached(plane: ControlPlane, start_agent: StartAgent) -> None:
    agent = start_agent("-insecure-skip-verify", CERTCTL_SERVER_CA_BUNDLE_PATH="")
    assert plane.wait_for(lambda: len(plane.made("GET /work")) >= 1)
    assert agent.stop()[0] == 0


def test_a_server_of_another_ca_is_not_told_the_key(plane: ControlPlane, start_agent: StartAgent) -> None:
    agent = start_agent(CERTCTL_SERVER_CA_BUNDLE_PATH="", SSL_CERT_FILE="/dev/null")
    for line in agent.process.stdout or ():
        if "heartbeat failed" in line:
            assert "not to be believed" in line
            break
    assert agent.stop()[0] == 0
    assert plane.calls == []


def test_help_names_every_command_and_variable() -> None:
    ended = run("--help")
    assert ended.returncode == 0
    for word in ("join", "run", "-server", "CERTCTL_SERVER_URL", "CERTCTL_KEY_DIR", "Exit status"):
        assert word in ended.stdout
    assert "--token" in run("join", "--help").stdout
    assert run("--version").stdout.startswith("certctl-agent ")
    assert run("-no-such-flag").returncode == 2


# Joining


def test_joining_and_running_need_nothing_else(plane: ControlPlane, tmp_path: Path, start_agent: StartAgent) -> None:
    state = tmp_path / "joined"
    fingerprint = f"sha256:{reading.fingerprint(plane.authority.certificate)}"
    how = ("join", "--server", plane.url, "--token", TOKEN, "--ca-fingerprint", fingerprint, "--name", "web-1")
    joined = run(*how, "--state-dir", str(state))
    assert joined.returncode == 0, joined.stderr
    assert json.loads(joined.stdout)["msg"] == "joined"
    assert API_KEY not in joined.stdout
    assert plane.calls[-1].body["name"] == "web-1"
    assert json.loads((state / "agent.json").read_text())["agent_id"] == AGENT_ID
    assert stat.S_IMODE((state / "api-key").stat().st_mode) == 0o600
    assert (state / "ca.pem").read_text() == pem(plane.authority.certificate)
    plane.calls.clear()
    agent = start_agent("run", "--state-dir", str(state), **dict.fromkeys(OF_THE_PLAIN_WAY, ""))
    assert plane.wait_for(lambda: len(plane.made("GET /work")) >= 1)
    assert agent.stop()[0] == 0
    assert (state / "keys").is_dir()
    again = run(*how, "--state-dir", str(state))
    assert again.returncode == 1
    assert "already holds a joined agent" in again.stderr


OF_THE_PLAIN_WAY = (
    "CERTCTL_SERVER_URL",
    "CERTCTL_API_KEY",
    "CERTCTL_AGENT_ID",
    "CERTCTL_SERVER_CA_BUNDLE_PATH",
    "CERTCTL_KEY_DIR",
)


@pytest.mark.parametrize("believed", ["by a bundle", "by the machine"])
def test_a_server_with_a_certificate_of_another_ca_is_joined(
    plane: ControlPlane, tmp_path: Path, start_agent: StartAgent, believed: str
) -> None:
    """It has no CA of its own, and so no fingerprint to pin."""
    plane.override("GET /.well-known/certctl/ca.pem", problem(404, "this server has no CA of its own"))
    state, file = tmp_path / "joined", tmp_path / "corporate.pem"
    file.write_text(pem(plane.authority.certificate))
    how = ["join", "--server", plane.url, "--token", TOKEN, "--state-dir", str(state)]
    machine = {"SSL_CERT_FILE": str(file) if believed == "by the machine" else "/dev/null"}
    if believed == "by a bundle":
        how += ["--ca-bundle", str(file)]
    joined = run(*how, **machine)
    assert joined.returncode == 0, joined.stderr
    assert (state / "ca.pem").exists() is (believed == "by a bundle")
    assert [call.what for call in plane.calls] == ["POST /api/v1/agents/join"]
    agent = start_agent("run", "--state-dir", str(state), **dict.fromkeys(OF_THE_PLAIN_WAY, ""), **machine)
    assert plane.wait_for(lambda: len(plane.made("GET /work")) >= 1)
    assert agent.stop()[0] == 0


def test_a_server_that_nothing_vouches_for_is_not_told_the_token(plane: ControlPlane, tmp_path: Path) -> None:
    how = ("--server", plane.url, "--token", TOKEN, "--state-dir", str(tmp_path / "state"))
    ended = run("join", *how, SSL_CERT_FILE="/dev/null")
    assert ended.returncode == 1
    assert "not to be believed" in ended.stderr
    assert "--ca-fingerprint" in ended.stderr
    assert plane.calls == []


def test_whom_to_believe_is_said_once(plane: ControlPlane, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(pem(plane.authority.certificate))
    how = ("--server", plane.url, "--token", TOKEN, "--state-dir", str(tmp_path / "state"), "--ca-bundle", str(file))
    ended = run("join", *how, "--ca-fingerprint", "0" * 64)
    assert ended.returncode == 1
    assert "both say whom to believe" in ended.stderr


def test_a_state_folder_that_others_may_change_is_not_used(plane: ControlPlane, tmp_path: Path) -> None:
    fingerprint = reading.fingerprint(plane.authority.certificate)
    tmp_path.chmod(0o777)
    how = ("--server", plane.url, "--token", TOKEN, "--state-dir", str(tmp_path), "--ca-fingerprint", fingerprint)
    ended = run("join", *how)
    assert ended.returncode == 1
    assert f"others may write in {tmp_path}" in ended.stderr
    assert plane.calls == []


def test_a_wrong_fingerprint_keeps_the_token_unsaid(plane: ControlPlane, tmp_path: Path) -> None:
    how = ("--server", plane.url, "--token", TOKEN, "--state-dir", str(tmp_path / "state"))
    ended = run("join", *how, "--ca-fingerprint", "sha256:" + "0" * 64)
    assert ended.returncode == 1
    assert "somebody is in between" in ended.stderr
    assert [call.what for call in plane.calls] == ["GET /.well-known/certctl/ca.pem"]
    assert not (tmp_path / "state" / "agent.json").exists()


def test_a_wrong_token_is_explained(plane: ControlPlane, tmp_path: Path) -> None:
    fingerprint = reading.fingerprint(plane.authority.certificate)
    how = ("--server", plane.url, "--token", "cjt_x", "--state-dir", str(tmp_path / "state"))
    ended = run("join", *how, "--ca-fingerprint", f"sha256:{fingerprint}")
    assert ended.returncode == 1
    assert "unknown, used or expired" in ended.stderr


def test_a_state_folder_of_no_use_keeps_the_token_unsaid(plane: ControlPlane) -> None:
    fingerprint = reading.fingerprint(plane.authority.certificate)
    how = ("--server", plane.url, "--token", TOKEN, "--state-dir", "/proc/no/such")
    ended = run("join", *how, "--ca-fingerprint", fingerprint)
    assert ended.returncode == 1
    assert "cannot make /proc/no/such" in ended.stderr
    assert plane.calls == []


# Crashes

CSR_POINTS = ("csr:1", "csr:2")
DEPLOYMENT_POINTS = ("deployment:1", "deployment:2", "deployment:3", "deployment:4", "deployment:5")
# A few of them: tests/adapters/test_files.py tries them all.
INSTALL_POINTS = ("install:1", "install:5", "install:7", "install:8", "install:10", "install:12")


@pytest.mark.parametrize("point", [*CSR_POINTS, *DEPLOYMENT_POINTS, *INSTALL_POINTS])
def test_a_kill_anywhere_between_key_and_report_is_got_over(
    plane: ControlPlane, server: WebServer, start_agent: StartAgent, tmp_path: Path, point: str
) -> None:
    """Issue and deploy once; then again with a kill at the point, and an agent that is started after it."""
    csr_job = plane.ask_for_csr("job-1", "mc-1", "www.example.test")
    deployment = plane.ask_to_deploy("job-2", "mc-1", config_of(server))
    deployment.status = "Held"
    killed = start_agent(CERTCTL_TRIPWIRE=point)
    assert plane.wait_for(lambda: csr_job.status == "Completed" or point == "csr:1")
    deployment.status = "Pending"
    killed.process.wait(30)
    assert killed.process.returncode == -signal.SIGKILL
    before = csr_job.csrs.copy()
    if deployment.status == "Running":
        # Its lease has lapsed: the control plane offers it again.
        deployment.status = "Pending"
    assert served_is_whole(server)
    agent = start_agent()
    assert plane.wait_for(lambda: deployment.status == "Completed", 30), deployment.error
    status, lines = agent.stop()
    assert status == 0
    assert not [line for line in lines if line["level"] == "error"]
    assert set(csr_job.csrs) == set(before or csr_job.csrs), "one job asks with one CSR"
    assert server.served() == plane.issued("mc-1")
    assert deployment.verifications[-1]["verified"]
    assert sorted(path.name for path in server.certificate.parent.iterdir()) == ["cert.pem", "key.pem"]
    assert [path.name for path in (tmp_path / "keys" / "pending" / "mc-1").iterdir()] == []


def served_is_whole(server: WebServer) -> bool:
    """Whether the server still answers at all."""
    return len(server.served()) == 64


def test_a_kill_between_two_files_is_undone_at_the_next_start(
    plane: ControlPlane, server: WebServer, start_agent: StartAgent
) -> None:
    before = server.certificate.read_bytes(), server.key.read_bytes()
    csr_job = plane.ask_for_csr("job-1", "mc-1", "www.example.test")
    killed = start_agent(CERTCTL_TRIPWIRE="install:7")
    assert plane.wait_for(lambda: csr_job.status == "Completed")
    job = plane.ask_to_deploy("job-2", "mc-1", config_of(server))
    killed.process.wait(30)
    assert killed.process.returncode == -signal.SIGKILL
    assert (server.certificate.read_bytes(), server.key.read_bytes()) != before
    assert job.status == "Running"
    agent = start_agent()
    assert plane.wait_for(lambda: len(plane.made("GET /work")) >= 3)
    _, lines = agent.stop()
    assert (server.certificate.read_bytes(), server.key.read_bytes()) == before
    assert "put back after an interrupted deployment" in {line["msg"] for line in lines}


# What it costs


def test_the_start_is_quick_and_small(plane: ControlPlane, start_agent: StartAgent) -> None:
    """Under 0.7 s to the first heartbeat, as processor time because tests share the machine; under 60 MB after work."""
    agent = start_agent(CERTCTL_AGENT_POLL_INTERVAL="1h", CERTCTL_AGENT_HEARTBEAT_INTERVAL="1h")
    assert plane.wait_for(lambda: len(plane.calls) >= 1)
    assert processor_time(agent.process.pid) < 0.7
    assert plane.wait_for(lambda: len(plane.made("GET /work")) >= 1)
    assert peak_memory(agent.process.pid) < 60 * 1024 * 1024
    assert agent.stop()[0] == 0


def processor_time(pid: int) -> float:
    """User and system time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int) -> int:
    """The most a process has had resident, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
