"""A control plane that is reached over HTTPS, and the command line before it."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from attrs import frozen

from certctl_cli import __main__ as program
from tests.serving import Plane, control_plane


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with control_plane(tmp_path) as running:
        yield running


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@frozen
class Said:
    """What came of an invocation."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def cells(self) -> list[list[str]]:
        """Of tab-separated output."""
        return [line.split("\t") for line in self.lines]


class Certctl(Protocol):
    def __call__(self, *words: str, columns: int = 0) -> Said: ...


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Certctl:
    """The command line, told nothing by its environment. With `columns` its output is a terminal that wide."""
    ours = ("CERTCTL_SERVER_URL", "CERTCTL_API_KEY", "CERTCTL_SERVER_CA_BUNDLE_PATH", "CERTCTL_PROFILE")
    for name in (*ours, "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TERM", "xterm")

    def run(*words: str, columns: int = 0) -> Said:
        out, err = Terminal() if columns else io.StringIO(), io.StringIO()
        monkeypatch.setenv("COLUMNS", str(columns or 1))
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", err)
        try:
            status = program.main(words)
        except SystemExit as ended:
            status = int(ended.code or 0)
        return Said(status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def certctl(plane: Plane, anywhere: Certctl, monkeypatch: pytest.MonkeyPatch) -> Certctl:
    """The command line, told by its environment where the control plane is and with an administrator's key."""
    for name, value in plane.environment().items():
        monkeypatch.setenv(name, value)
    return anywhere
