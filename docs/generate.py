"""Writes docs/reference, and the table of commands, from the code.

    python docs/generate.py           write the pages
    python docs/generate.py --check   end with status 1 if a page is not what the code says

Each page is a function that returns Markdown; what it says is read off the same tables that the programs run on.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parent))

import command_table

from certctl_adapters import issuers, targets
from certctl_adapters.settings import SettingField, fields_of
from certctl_agent import settings as agent_settings
from certctl_core import __version__, errors
from certctl_core.lifecycle.agent import AGENT
from certctl_core.lifecycle.approval import APPROVAL
from certctl_core.lifecycle.bulk import BULK_OPERATION
from certctl_core.lifecycle.certificate import CERTIFICATE
from certctl_core.lifecycle.discovered import DISCOVERED
from certctl_core.lifecycle.endpoint import ENDPOINT
from certctl_core.lifecycle.job import JOB
from certctl_core.lifecycle.notification import NOTIFICATION
from certctl_mcp import settings as mcp_settings
from certctl_mcp import tools
from certctl_web import __main__ as server_program
from certctl_web import openapi, problems, reference
from certctl_web import settings as server_settings
from certctl_web.operations import TABLE

FOLDER = Path(__file__).resolve().parent / "reference"
COMMAND_TABLE = Path(__file__).resolve().parents[1] / "certctl_cli" / "operations.json"
EVERY = "flags of every command"
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


@page("settings-agent")
def settings_of_the_agent() -> Iterator[str]:
    yield "# Settings of the agent\n"
    yield "Flags win over variables, variables over what `certctl-agent join` wrote into the state folder.\n"
    for command, rows in (("run", agent_settings.RUN_ROWS), ("join", agent_settings.JOIN_ROWS)):
        yield f"## certctl-agent {command}\n"
        yield from table(
            ("flag", "variable", "default", "meaning"),
            ((code(f"--{row.flag}"), code(row.variable), code(row.default), row.help) for row in rows),
        )


@page("commands")
def the_commands() -> Iterator[str]:
    yield "# Commands\n"
    yield "Each answers `--help`.\n"
    from certctl_cli import arguments as cli_arguments  # which is built from a file that is written here

    parsers = (server_program._parser(), agent_settings._parser(), cli_arguments.parser(), mcp_settings._parser())
    for parser in parsers:
        yield from _command(parser, "##")


def _command(parser: argparse.ArgumentParser, level: str) -> Iterator[str]:
    yield f"{level} {parser.prog}\n"
    if parser.description:
        yield f"{parser.description[0].upper()}{parser.description[1:].rstrip('.')}.\n"
    commands = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    below = [sub for command in commands for sub in command.choices.values()]
    repeated = {flag for sub in below for one in _own(sub) for flag in one.option_strings} | {"--help", "--version"}
    shown = [
        one
        for one in (_own(parser) if level == "###" else parser._actions)
        if one.help != argparse.SUPPRESS and one not in commands and not repeated.intersection(one.option_strings)
    ]
    if shown:
        expand = parser._get_formatter()._expand_help
        rows = ((code(_spelling(one)), expand(one) if one.help else "") for one in shown)
        yield from table(("argument", "meaning"), rows)
    if parser.epilog:
        yield f"```text\n{parser.epilog.strip()}\n```\n"
    for sub in below:
        yield from _command(sub, "###")


def _own(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What may be given to this command, without the flags that every command has: those are told once."""
    common = [one for group in parser._action_groups if group.title == EVERY for one in group._group_actions]
    return [one for one in parser._actions if one not in common]


def _spelling(action: argparse.Action) -> str:
    name = max(action.option_strings, default=action.dest, key=len)
    values = " or ".join(map(str, action.choices)) if action.choices else str(action.metavar or action.dest.upper())
    return f"{name} {values}" if action.option_strings and action.nargs != 0 else name


@page("api")
def the_interface() -> Iterator[str]:
    yield "# API\n"
    yield "What can be asked of the server over HTTPS. A running server shows the same at `/docs`, and describes it for"
    yield "programs at `/api/v1/openapi.json`; `certctl-server openapi` prints that document. Keys are presented as"
    yield "`Authorization: Bearer KEY`. [Errors](errors.md) have a page of their own; what every operation may answer"
    yield "beside them is not repeated below: 400 and 413 for a request that is malformed or too large, 401 and 403 for"
    yield "callers who may not, 429 for too many, 500 and 503 when the server itself is in trouble.\n"
    document = openapi.document(TABLE, __version__)
    found = reference.sections(document)
    for section in found:
        yield f"- [{section.title}](#{section.title.lower().replace(' ', '-')})"
    yield "- [Schemas](#schemas)\n"
    for section in found:
        yield f"## {section.title}\n"
        for entry in section.entries:
            yield from _entry(entry)
    yield "## Schemas\n"
    for kind in reference.kinds(document):
        yield f"### {kind.name}\n"
        if kind.about:
            yield f"{' '.join(kind.about.split())}\n"
        if kind.values:
            yield f"One of {', '.join(map(code, kind.values))}.\n"
        if kind.members:
            yield from _members(kind.members)


def _entry(entry: reference.Entry) -> Iterator[str]:
    yield f"### {entry.name}\n"
    yield f"`{entry.method} {entry.path}`\n"
    tool = f" MCP tool: `{entry.tool}`." if entry.tool else ""
    yield f"{entry.summary}. Who may: {entry.who}.{tool}\n"
    if entry.parameters:
        yield from _members(entry.parameters)
    if entry.body:
        yield f"Body: {code(entry.body)}\n"
    own = [one for one in entry.outcomes if int(one.status) not in _COMMON_STATUSES]
    yield from table(("status", "meaning", "body"), ((one.status, one.words, code(one.type)) for one in own))


_COMMON_STATUSES = frozenset({400, 401, 403, 408, 413, 429, 500, 503})


def _members(found: Iterable[reference.Member]) -> Iterator[str]:
    yield from table(
        ("field", "type", "about"),
        ((code(one.name) + ("*" if one.needed else ""), one.type, one.about) for one in found),
    )


@page("tools")
def the_tools() -> Iterator[str]:
    yield "# MCP tools\n"
    yield "What `python -m certctl_mcp` offers a language model, and the operation behind each tool. Arguments with a"
    yield "star are required. With `--read-only` only the tools marked so are there.\n"
    document = openapi.document(TABLE, __version__)
    reading = tools.of_document(document, read_only=True)
    yield from table(
        ("tool", "arguments", "operation", "read-only"),
        (
            (code(one.name), _arguments(one), code(f"{one.method} {one.path}"), "yes" if one.name in reading else "")
            for one in tools.of_document(document).values()
        ),
    )


def _arguments(tool: tools.Tool) -> str:
    needed = tool.schema.get("required", ())
    return ", ".join(code(f"{name}*" if name in needed else name) for name in tool.schema["properties"])


@page("connectors")
def the_connectors() -> Iterator[str]:
    yield "# Connectors\n"
    yield "The settings of each type of issuer and target: the object `config` in the API. Secrets are sealed before"
    yield "they are stored and never shown again.\n"
    for name, issuer in sorted(issuers.CONNECTORS.items()):
        yield from _connector(f"Issuer {name}", issuer.settings)
    for name, target in sorted(targets.BUILT_IN.items()):
        yield from _connector(f"Target {name}", target.settings_class)


def _connector(title: str, settings: type) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"{_sentence(settings)}\n"
    yield from table(("setting", "type", "default", "meaning"), map(_setting, fields_of(settings)))


def _setting(one: SettingField) -> tuple[str, ...]:
    default = "required" if one.required else code("" if one.default in (None, "") else json.dumps(one.default))
    kind = ", ".join(map(code, one.choices)) or one.type_name
    return code(one.name), kind, default, one.help + (" *Secret.*" * one.secret)


@page("errors")
def the_errors() -> Iterator[str]:
    yield "# Errors\n"
    yield "Every failure is `application/problem+json` (RFC 9457). `hint` says what to do next; `error`, `message` and"
    yield "`request_id` are there for older clients.\n"
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, errors.CertctlError)]
    order = sorted(classes, key=lambda one: inspect.getsourcelines(one)[1])
    yield from table(
        ("error", "is a kind of", "status", "meaning"),
        ((code(one.__name__), code(_parent(one)), str(problems.status_of(one)), _sentence(one)) for one in order),
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
    for life in (CERTIFICATE, JOB, APPROVAL, BULK_OPERATION, AGENT, NOTIFICATION, ENDPOINT, DISCOVERED):
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


def commands() -> str:
    """The table that the command line is built from. It comes before the pages, which tell of the command line."""
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in command_table.table())
    return f"[\n{rows}\n]\n"


def stale() -> list[str]:
    """The files that are missing, or are not what the code says, or that nothing generates any more."""
    if not COMMAND_TABLE.is_file() or COMMAND_TABLE.read_text() != commands():
        return [COMMAND_TABLE.name]
    wanted = pages()
    wrong = {path for path, text in wanted.items() if not path.is_file() or path.read_text() != text}
    return sorted(path.name for path in wrong | (set(FOLDER.glob("*")) - set(wanted)))


def write() -> None:
    """Write every file and remove the pages that nothing generates."""
    COMMAND_TABLE.write_text(commands())
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
        sys.exit(f"stale: {', '.join(names)}; run: nox -s docs -- --write")
