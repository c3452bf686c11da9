"""Logs say what happened, and neither keep secrets nor move a terminal."""

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from certctl_web import logs
from certctl_web.settings import Log

SECRET = "cck_" + "s" * 43


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], io.StringIO]]:
    """Configures the logs as a process does, into a text."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def configure(form: str) -> io.StringIO:
        into = io.StringIO()
        monkeypatch.setattr("sys.stderr", into)
        logs.configure(Log(format=form), "web")
        return into

    yield configure
    root.handlers[:], root.level = before, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def fail_with(api_key: str) -> None:
    """Whatever went wrong, the caller's key was at hand."""
    header = {"Authorization": f"Bearer {api_key}"}
    raise RuntimeError(f"{len(header)} headers")


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_tells_where_and_not_with_which_values(logged: Callable[[str], io.StringIO], form: str) -> None:
    into = logged(form)
    try:
        fail_with(SECRET)
    except RuntimeError as error:
        structlog.get_logger("certctl.http").error("request", exc_info=error)
    assert "RuntimeError: 1 headers" in into.getvalue()
    assert "fail_with" in into.getvalue()
    assert SECRET not in into.getvalue()


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_others_say_does_not_move_the_terminal(logged: Callable[[str], io.StringIO], form: str) -> None:
    into = logged(form)
    structlog.get_logger("x").warning("refused\x1b[2J", actor="eve\x1b]0;owned\x07", error="one\r\ntwo\x9b31m")
    logging.getLogger("y").warning("said: %s", "\x1b[31mred")
    written = into.getvalue()
    assert not set(written) & {"\x1b", "\x07", "\r", "\x9b"}
    assert "owned" in written
    assert len(written.splitlines()) == 2, "nobody else begins a line"


def test_a_line_of_json_begins_with_when_and_how_bad(logged: Callable[[str], io.StringIO]) -> None:
    into = logged("json")
    structlog.get_logger("x").info("listening", address="https://localhost")
    assert list(json.loads(into.getvalue()))[:4] == ["timestamp", "level", "process", "message"]
