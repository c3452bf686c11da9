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
        command: Sequence[str] = [self.program, *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, input=given, capture_output=True, timeout=60, check=False)
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        assert (done.returncode != 0) == fails, f"{' '.join(command)} exited with {done.returncode}:\n{said}"
        return said


def peer(name: str) -> Peer:
    """The program of this name. Without it the test is skipped by name, or fails where CI is set."""
    program = shutil.which(name)
    if program is None:
        words = f"{name} is not on this machine"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    return Peer(program)
