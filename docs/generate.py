"""Writes docs/reference from the code.

    python docs/generate.py           write the pages
    python docs/generate.py --check   end with status 1 if a page is not what the code says

Each page is a function that returns Markdown; what it says is read off the same tables that the programs run on.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from certctl_core import errors
from certctl_core.lifecycle.agent import AGENT
from certctl_core.lifecycle.certificate import CERTIFICATE
from certctl_core.lifecycle.discovered import DISCOVERED
from certctl_core.lifecycle.endpoint import ENDPOINT
from certctl_core.lifecycle.job import JOB
from certctl_core.lifecycle.notification import NOTIFICATION
from certctl_web import settings as server_settings

FOLDER = Path(__file__).resolve().parent / "reference"
PAGES: dict[str, Callable[[], Iterable[str]]] = {}


def page(name: str) -> Callable[[Callable[[], Iterable[str]]], Callable[[], Iterable[str]]]:
    """Register the function below as the lines of `reference/NAME.md`, the first of them being the title."""

    def register(lines: Callable[[], Iterable[str]]) -> Callable[[], Iterable[str]]:
        PAGES[name] = lines
        return lines

    return register


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A Markdown table."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |"
    yield ""


def code(text: str) -> str:
    """As code, or nothing."""
    return f"`{text}`" if text else ""


@page("settings-server")
def settings_of_the_server() -> Iterator[str]:
    yield "# Settings of the server\n"
    yield "Environment variables. `certctl-server config` shows each with its present value and where that came from."
    yield "A setting marked secret may also be given as a file, in the variable of its name with `_FILE` appended."
    yield "Durations are written `30s`, `5m`, `1h30m`.\n"
    secret = {row.variable for _, _, row in server_settings.rows() if row.secret}
    lines = server_settings.describe(server_settings.read({}))
    yield from table(
        ("variable", "default", "meaning"),
        ((code(one.name), code(one.default), one.help + (" *Secret.*" * (one.name in secret))) for one in lines),
    )


@page("errors")
def the_errors() -> Iterator[str]:
    yield "# Errors\n"
    yield "Every failure is `application/problem+json` (RFC 9457). `hint` says what to do next; `error`, `message` and"
    yield "`request_id` are there for older clients.\n"
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, errors.CertctlError)]
    order = sorted(classes, key=lambda one: inspect.getsourcelines(one)[1])
    yield from table(
        ("error", "is a kind of", "meaning"),
        ((code(one.__name__), code(_parent(one)), _sentence(one)) for one in order),
    )


def _parent(error: type[errors.CertctlError]) -> str:
    return error.__bases__[0].__name__ if error is not errors.CertctlError else ""


def _sentence(thing: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


@page("lifecycles")
def the_lives() -> Iterator[str]:
    yield "# Lifecycles\n"
    yield "What may happen to an object in each state, and the state it is in afterwards. Everything else is refused"
    yield "with `IllegalTransition`.\n"
    for life in (CERTIFICATE, JOB, AGENT, NOTIFICATION, ENDPOINT, DISCOVERED):
        yield f"## {life.noun.capitalize()}\n"
        steps = ((str(state.value), str(event.value), str(to.value)) for (state, event), to in life.table.items())
        yield from table(("state", "event", "next state"), steps)


@page("README")
def the_index() -> Iterator[str]:
    yield "# Reference\n"
    yield "Generated from the code by `nox -s docs -- --write`.\n"
    for name, lines in PAGES.items():
        if name != "README":
            title = next(iter(lines())).removeprefix("# ").strip()
            yield f"- [{title}]({name}.md)"


def pages() -> dict[Path, str]:
    """Every page and what it should say."""
    return {FOLDER / f"{name}.md": "\n".join(lines()).rstrip() + "\n" for name, lines in PAGES.items()}


def stale() -> list[str]:
    """The pages that are missing, or are not what the code says, or that nothing generates any more."""
    wanted = pages()
    wrong = {path for path, text in wanted.items() if not path.is_file() or path.read_text() != text}
    return sorted(path.name for path in wrong | (set(FOLDER.glob("*")) - set(wanted)))


def write() -> None:
    """Write every page and remove those that nothing generates."""
    FOLDER.mkdir(exist_ok=True)
    wanted = pages()
    for path in set(FOLDER.glob("*")) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text)


if __name__ == "__main__":
    if "--check" not in sys.argv[1:]:
        write()
    elif names := stale():
        sys.exit(f"stale pages in docs/reference: {', '.join(names)}; run: nox -s docs -- --write")
