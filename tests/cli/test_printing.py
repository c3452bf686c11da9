"""What reaches a terminal, and what reaches a pipe."""

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from certctl_cli.command import Result, Table
from certctl_cli.tables import printable, show
from tests.cli.conftest import Certctl, Terminal
from tests.serving import Plane

ROOT = Path(__file__).parents[2]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str) -> str:
    return COLOUR.sub("", text)


def filled(plane: Plane) -> str:
    """A control plane with something in each list; returns the id of its agent."""
    agent = plane.api.agent()
    target = plane.api.target(agent)
    long = "a-rather-long-name-for-one-of-many-certificates"
    plane.api.certificate(target, name=long, sans=[f"{n}.{long}.example.com" for n in range(9)])
    plane.api.issue(agent, f"mc-{long}")
    return agent.id


LISTS = ["certs list", "agents list", "jobs list", "issuers list", "targets list", "audit list", "loops", "status"]


@pytest.mark.parametrize("columns", [24, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(plane: Plane, certctl: Certctl, columns: int) -> None:
    filled(plane)
    for words in LISTS:
        said = certctl(*words.split(), columns=columns)
        assert said.status == 0, said.err
        printed = plain(said.out)
        table, _, _ = printed.partition("Total")
        assert max(map(len, table.splitlines())) <= columns, words
        assert "…" not in printed


@pytest.mark.parametrize("columns", [80, 200])
def test_every_id_is_there_in_full(plane: Plane, certctl: Certctl, columns: int) -> None:
    agent = filled(plane)
    printed = plain(certctl("agents", "list", columns=columns).out)
    assert agent in "".join(line.split()[0] for line in printed.splitlines() if line.strip())


def test_a_table_with_room_has_a_line_a_row(plane: Plane, certctl: Certctl) -> None:
    filled(plane)
    lines = plain(certctl("jobs", "list", columns=200).out).splitlines()
    assert lines[0].split() == ["ID", "TYPE", "CERTIFICATE", "STATUS", "ATTEMPTS"]
    assert len(lines) == 1 + 2 + 1
    assert lines[-1] == "Total: 2"


def test_a_table_without_room_is_turned(plane: Plane, certctl: Certctl) -> None:
    filled(plane)
    words = ["certs", "versions", "mc-a-rather-long-name-for-one-of-many-certificates"]
    narrow = plain(certctl(*words, columns=80).out).splitlines()
    assert narrow[0].startswith("SERIAL: ")
    assert any(line.startswith("NOT AFTER:") for line in narrow)
    wide = plain(certctl(*words, columns=200).out).splitlines()
    assert wide[0].split()[:3] == ["SERIAL", "NOT", "BEFORE"]


def test_colours_are_for_terminals(plane: Plane, certctl: Certctl, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(plane)
    assert "\x1b[32mActive" in certctl("certs", "list", columns=200).out
    assert "\x1b" not in certctl("certs", "list").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in certctl("certs", "list", columns=200).out


def test_through_a_pipe_a_row_is_a_line_of_tabs(plane: Plane, certctl: Certctl) -> None:
    filled(plane)
    said = certctl("jobs", "list")
    assert {len(row) for row in said.cells} == {5}
    assert "Total" not in said.out


def test_what_others_typed_cannot_move_the_cursor_or_the_columns(plane: Plane, certctl: Certctl) -> None:
    nasty = "x\x1b[2J\x9b31m\ty\nz\u202e"
    plane.api.made("/api/v1/certificates", {**_certificate(), "tags": {"a": nasty}})
    for columns in (0, 80):
        said = certctl("certs", "get", "mc-n", columns=columns)
        assert "x\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}31m y" in plain(said.out)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", plain(said.out).replace("\t", ""))
    assert all(len(row) == 2 for row in certctl("certs", "get", "mc-n").cells)
    said = certctl("--format", "json", "certs", "get", "mc-n")
    assert json.loads(said.out)["tags"] == {"a": nasty}
    assert not re.search(r"[\x1b\x9b\u202e]", said.out)


def _certificate() -> dict[str, str]:
    references = {"owner_id": "o-1", "team_id": "t-1", "issuer_id": "iss-local", "renewal_policy_id": "rp-default"}
    return {"id": "mc-n", "name": "n", "common_name": "n.example.com", **references}


def test_lines_of_an_error_stay_lines() -> None:
    assert printable("one\r\ntwo\x07") == "one\ntwo\N{REPLACEMENT CHARACTER}"


def test_an_empty_table_is_its_headings() -> None:
    found = Result(data={"data": [], "total": 0}, views=(Table(("ID", "NAME"), ()),), notes=("Total: 0",))
    out, beside = Terminal(), io.StringIO()
    show(found, "table", out, beside)
    assert plain(out.getvalue()).split("\n")[0].split() == ["ID", "NAME"]
    assert out.getvalue().endswith("Total: 0\n")
    assert beside.getvalue() == ""


# As a process


def program(*words: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "certctl_cli", *words]


def environment(plane: Plane) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "TERM": "xterm", **plane.environment()}


def test_help_comes_at_once_and_loads_neither_tables_nor_connections() -> None:
    loaded = "import sys; from certctl_cli.arguments import parser; parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"rich", "urllib3", "cryptography", "ssl"} & set(done.stdout.split())


def test_on_a_real_terminal_it_takes_the_terminal_s_width(plane: Plane) -> None:
    filled(plane)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        program("certs", "list"), cwd=ROOT, env=environment(plane), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    printed = _everything(ours)
    assert process.wait(30) == 0, printed
    lines = plain(printed).splitlines()
    assert lines[0].split() == ["ID", "COMMON", "NAME", "STATUS", "EXPIRES", "ISSUER"]
    assert max(map(len, lines)) <= 80
    assert "\x1b[32m" in printed


def _everything(terminal: int) -> str:
    """Until the other side closes, which Linux tells as an error."""
    received = b""
    until = time.monotonic() + 30
    with os.fdopen(terminal, "rb", buffering=0) as reading:
        while time.monotonic() < until:
            try:
                part = reading.read(4096)
            except OSError:
                break
            if not part:
                break
            received += part
    return received.decode()


def test_a_reader_that_has_seen_enough_is_no_error(plane: Plane) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            program("certs", "list"), cwd=ROOT, env=environment(plane), stdout=pipe, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")
