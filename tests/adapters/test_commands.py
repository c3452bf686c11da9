"""Commands: refused when only a shell would understand them, ended when they take too long, quoted when they fail."""

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl_adapters.commands import (
    MAX_COMMAND,
    MAX_OUTPUT,
    PROGRAM_FOLDERS,
    CommandFailed,
    Commands,
    clean_environment,
    parse_command,
)
from certctl_core.errors import Invalid

SOON = timedelta(seconds=20)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", code)


def test_what_a_program_says_is_returned() -> None:
    said = Commands().run(python("import sys; print('out'); print('err', file=sys.stderr)"), timeout=SOON)
    assert sorted(said.splitlines()) == ["err", "out"]


def test_a_failing_program_is_quoted_with_its_status() -> None:
    with pytest.raises(CommandFailed, match="status 3: no such directive") as caught:
        Commands().run(python("print('no such directive'); raise SystemExit(3)"), timeout=SOON)
    assert (caught.value.status, caught.value.output) == (3, "no such directive")


def test_a_program_that_dies_of_a_signal_is_said_to() -> None:
    with pytest.raises(CommandFailed, match="signal SIGTERM"):
        Commands().run(python("import os; os.kill(os.getpid(), 15)"), timeout=SOON)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandFailed, match=r"no-such-program -t: cannot be started: No such file") as caught:
        Commands().run(("no-such-program", "-t"), timeout=SOON)
    assert "installed" in caught.value.hint


def test_a_timeout_ends_the_program_and_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(child)!r}, 'w').write(str(p.pid)); print('waiting', flush=True); time.sleep(60)"
    )
    with pytest.raises(CommandFailed, match="no end after 2 s") as caught:
        Commands().run(python(code), timeout=timedelta(seconds=2))
    assert caught.value.output == "waiting"
    assert gone(int(child.read_text()))


def gone(pid: int) -> bool:
    """Whether a process ends, or is a zombie nobody has waited for, within a moment."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_a_program_that_never_stops_talking_is_cut_short() -> None:
    said = Commands().run(python(f"print('x' * {MAX_OUTPUT * 20})"), timeout=SOON)
    assert said == "x" * MAX_OUTPUT


def test_a_daemon_left_behind_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(pid)!r}, 'w').write(str(p.pid)); print('started')"
    )
    began = time.monotonic()
    try:
        assert Commands().run(python(code), timeout=SOON) == "started"
        assert time.monotonic() - began < 15
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_output_that_is_no_text_is_readable_anyway() -> None:
    said = Commands().run(python(r"import sys; sys.stdout.buffer.write(b'a\xffb')"), timeout=SOON)
    assert said == "a\N{REPLACEMENT CHARACTER}b"


def test_a_program_sees_the_environment_it_is_given_and_nothing_else() -> None:
    environment = clean_environment({"PATH": "/opt/x", "HOME": "/root", "CERTCTL_API_KEY": "cck_secret"})
    said = Commands(environment).run(python("import os; print(sorted(os.environ))"), timeout=SOON)
    assert said == "['HOME', 'LC_ALL', 'PATH']"
    assert environment["PATH"] == f"/opt/x:{PROGRAM_FOLDERS}"


def test_a_program_has_nothing_to_read() -> None:
    assert Commands().run(python("import sys; print(repr(sys.stdin.read()))"), timeout=SOON) == "''"


def test_a_command_line_is_split_at_blanks() -> None:
    assert parse_command("  nginx -s\treload ") == ("nginx", "-s", "reload")


@pytest.mark.parametrize("character", list(";|&$`(){}<>\\\"'\n\r\0"))
def test_what_only_a_shell_understands_is_refused(character: str) -> None:
    with pytest.raises(Invalid, match="without a shell"):
        parse_command(f"nginx {character} -t")


@pytest.mark.parametrize("text", ["", "   ", "x" * (MAX_COMMAND + 1)])
def test_empty_and_endless_commands_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="must"):
        parse_command(text)


@given(st.text(max_size=40))
def test_a_parsed_command_has_arguments_without_blanks(text: str) -> None:
    try:
        arguments = parse_command(text)
    except Invalid:
        return
    assert arguments
    assert all(one and one.split() == [one] for one in arguments)
