"""Foreign programs that tests talk to: found, or named in the reason for not running."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import frozen


@frozen
class Peer:
    """A program on this machine."""

    program: str

    def run(self, *arguments: str | Path, folder: Path, fails: bool = False, given: bytes = b"") -> str:
        """Standard output and error together; `given` is what it reads. The exit status must say what `fails` says."""
        status, said = self._ran(arguments, folder, given)
        assert (status != 0) == fails, f"{self.program} {' '.join(map(str, arguments))} exited with {status}:\n{said}"
        return said

    def any(self, *arguments: str | Path, folder: Path) -> str:
        """As `run`, whatever the exit status says."""
        return self._ran(arguments, folder, b"")[1]

    def _ran(self, arguments: Sequence[str | Path], folder: Path, given: bytes) -> tuple[int, str]:
        command: Sequence[str] = [self.program, *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, input=given, capture_output=True, timeout=60, check=False)
        return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def peer(name: str) -> Peer:
    """The program of this name. Without it the test is skipped by name, or fails where CI is set."""
    program = shutil.which(name)
    if program is None:
        words = f"{name} is not on this machine"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    return Peer(program)
