"""The program as a process, spoken to over stdio as a model's host does."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
from mcp import Client, StdioServerParameters, stdio_client

from tests.mcp.conftest import within_fence
from tests.serving import Plane

ROOT = Path(__file__).parents[2]
COMMAND = ["-W", "error", "-m", "certctl_mcp"]


def test_a_host_lists_and_calls_over_stdio(plane: Plane, tmp_path: Path) -> None:
    plane.api.certificate(name="shop")
    program = StdioServerParameters(
        command=sys.executable, args=[*COMMAND, "--read-only"], env=plane.environment(), cwd=ROOT
    )

    async def talk() -> tuple[set[str], str, str]:
        with (tmp_path / "stderr").open("w") as errors:
            async with Client(stdio_client(program, errlog=errors)) as client:
                names = {tool.name for tool in (await client.list_tools()).tools}
                result = await client.call_tool("certctl_get_certificate", {"id": "mc-shop"})
                return names, within_fence(result), client.server_info.name if client.server_info else ""

    names, told, called = anyio.run(talk)
    assert called == "certctl"
    assert "certctl_list_jobs" in names
    assert "certctl_cancel_job" not in names
    assert json.loads(told)["id"] == "mc-shop"
    assert (tmp_path / "stderr").read_text() == ""


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *COMMAND, *words],
        env={"PATH": "/usr/bin:/bin"} | environment,
        cwd=ROOT,
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_settings_that_lead_nowhere_end_it_at_once(tmp_path: Path) -> None:
    done = _run(CERTCTL_SERVER_URL="http://localhost:8443")
    assert (done.returncode, done.stdout) == (1, "")
    assert "'http://localhost:8443' is not an https URL" in done.stderr
    done = _run(CERTCTL_SERVER_CA_BUNDLE_PATH=str(tmp_path / "none.pem"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot read the CA bundle" in done.stderr


def test_it_ends_when_its_host_closes_stdin() -> None:
    assert _run().returncode == 0


def test_help_names_the_variables_without_loading_the_protocol() -> None:
    done = _run("--help")
    assert done.returncode == 0
    assert "CERTCTL_SERVER_CA_BUNDLE_PATH" in done.stdout
    loaded = "import sys, certctl_mcp.__main__; sys.exit('mcp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, check=False).returncode == 0
