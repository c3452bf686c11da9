"""Other people's programs: run from a list of arguments, never through a shell, for a limited time.

A program gets a clean environment (what the caller gives it, never our own secrets), an empty standard input and a
process group of its own, so that a timeout ends its children too. Its output is read as it comes and capped.
"""

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from threading import Thread
from typing import IO, Final

from attrs import field, frozen

from certctl_core.errors import CertctlError, Invalid

MAX_COMMAND: Final = 1024
"""The longest command line a setting may hold, in characters."""

MAX_OUTPUT: Final = 65536
"""How many bytes of a program's output are kept; the rest is read and dropped."""

PROGRAM_FOLDERS: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for: an ordinary user's PATH often lacks the sbin folders, where web servers live."""

_FORBIDDEN: Final = re.compile(r"[;|&$`(){}<>\\\"'\n\r\0]")
_FOR_THE_LAST_WORDS: Final = timedelta(seconds=1)


class CommandFailed(CertctlError):
    """A program could not be started, ran too long, or ended with another status than 0. `output` is what it said."""

    def __init__(self, message: str, *, output: str = "", status: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.output = output
        self.status = status


def parse_command(text: str) -> tuple[str, ...]:
    """A command line from a setting as a list of arguments, split at blanks.

    There is no shell, so what only a shell would understand is refused rather than passed on literally: whoever wrote
    it meant something else. Raises `Invalid`.
    """
    if len(text) > MAX_COMMAND:
        raise Invalid(f"must be at most {MAX_COMMAND} characters long")
    found = _FORBIDDEN.search(text)
    if found is not None:
        raise Invalid(
            f"must not contain {found.group()!r}: commands are run without a shell",
            hint="Put what needs a shell into a script of its own and name that.",
        )
    arguments = tuple(text.split())
    if not arguments:
        raise Invalid("must not be empty")
    return arguments


def command(text: str) -> None:
    """`parse_command` as the check of a setting."""
    parse_command(text)


def clean_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What programs may see of our environment: all but what is certctl's own, and PATH with all usual folders."""
    kept = {name: value for name, value in inherited.items() if not name.startswith("CERTCTL_")}
    folders = [folder for folder in kept.get("PATH", "").split(":") if folder]
    folders += [folder for folder in PROGRAM_FOLDERS.split(":") if folder not in folders]
    return kept | {"PATH": ":".join(folders), "LC_ALL": "C"}


@frozen
class Commands:
    """Runs programs with this environment."""

    environment: Mapping[str, str] = field(factory=lambda: {"PATH": PROGRAM_FOLDERS, "LC_ALL": "C"}, repr=False)

    def run(self, arguments: Sequence[str], *, timeout: timedelta) -> str:
        """Run it to its end and return what it said on both outputs, trimmed. Raises `CommandFailed`."""
        name = " ".join(arguments)
        try:
            process = subprocess.Popen(
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                cwd="/",
                start_new_session=True,
            )
        except OSError as problem:
            raise CommandFailed(
                f"{name}: cannot be started: {problem.strerror}",
                hint=f"Is {arguments[0]} installed, and may the agent run it?",
            ) from problem
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        listener = _Listener(process.stdout)
        try:
            status = process.wait(timeout.total_seconds())
        except subprocess.TimeoutExpired:
            said = _end(process, listener)
            raise CommandFailed(f"{name}: no end after {timeout.total_seconds():g} s", output=said) from None
        except BaseException:
            _end(process, listener)
            raise
        said = listener.heard()
        if status != 0:
            how = f"status {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
            raise CommandFailed(f"{name}: {how}{': ' + said if said else ''}", output=said, status=status)
        return said


class _Listener:
    """Reads a program's output in a thread, so that it never blocks on a full pipe, and keeps the first part."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept = bytearray()
        self._thread = Thread(target=self._listen, name="command output", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with self._stream:
            while chunk := os.read(self._stream.fileno(), 65536):
                self._kept += chunk[: MAX_OUTPUT - len(self._kept)]

    def heard(self) -> str:
        """What was said so far. A daemon that the program left behind may hold the pipe open: do not wait for it."""
        self._thread.join(_FOR_THE_LAST_WORDS.total_seconds())
        return bytes(self._kept).decode(errors="replace").strip()


def _end(process: subprocess.Popen[bytes], listener: _Listener) -> str:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return listener.heard()
