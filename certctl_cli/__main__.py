"""`certctl`: one command, asked of the control plane."""

# PYTHON_ARGCOMPLETE_OK

import io
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Final

from certctl_cli import arguments as typed
from certctl_cli import formats, settings, tables
from certctl_cli.client import Server
from certctl_cli.command import Result
from certctl_cli.profiles import SettingsError
from certctl_cli.settings import Settings
from certctl_core.errors import CertctlError, Conflict, Forbidden, InUse, Invalid, NotAuthenticated, NotFound, Refused

REFUSED: Final = 1
MISUSED: Final = 2
UNREACHABLE: Final = 3
NOT_ALLOWED: Final = 4
NOT_FOUND: Final = 5
CONFLICT: Final = 6
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status. Exits for `--help` and for what cannot be parsed, as argparse does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What others typed may hold characters that an old terminal has not.
        sys.stdout.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if arguments is None else arguments
    if settings.is_completing():
        import argcomplete

        argcomplete.autocomplete(typed.parser())
    given = typed.parser(words).parse_args(words)
    try:
        found = settings.read(given)
        result = ask(found, given)
        if found.query:
            result = formats.chosen(result, found.query)
        tables.show(result, found.format, sys.stdout, sys.stderr)
        sys.stdout.flush()
    except CertctlError as problem:
        print(tables.printable(complaint(problem)), file=sys.stderr)
        return status_of(problem)
    except ModuleNotFoundError as problem:
        print(f"certctl: {problem.name} is not installed; pip install 'certctl[cli]' does", file=sys.stderr)
        return REFUSED
    except BrokenPipeError:
        # Who reads the output has seen enough. Python must not complain of it either when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    return REFUSED if result.failed else 0


def ask(found: Settings, given: Namespace) -> Result:
    """Run the command that was typed."""
    server = Server(found)
    try:
        result: Result = given.run(server, given)
    finally:
        server.close()
    return result


def status_of(problem: CertctlError) -> int:
    """The exit status for an error."""
    from certctl_adapters.control_plane import Unreachable

    match problem:
        case SettingsError():
            return MISUSED
        case Unreachable():
            return UNREACHABLE
        case NotAuthenticated() | Forbidden():
            return NOT_ALLOWED
        case NotFound():
            return NOT_FOUND
        case Conflict():
            return CONFLICT
    return REFUSED


def complaint(problem: CertctlError) -> str:
    """What is wrong, everything that was said about it, and what to do next."""
    lines = [f"certctl: {problem.message}"]
    match problem:
        case Invalid(fields=fields):
            lines += [f"  {one.field}: {one.message}" for one in fields if one.message not in problem.message]
        case Refused(reasons=reasons):
            lines += [f"  {reason}" for reason in reasons if reason not in problem.message]
        case InUse(counts=counts):
            lines += [f"  {count} {name.replace('_', ' ')}" for name, count in counts.items() if count]
        case _:
            pass
    return "\n".join(lines + ([problem.hint] if problem.hint else []))


if __name__ == "__main__":
    sys.exit(main())
