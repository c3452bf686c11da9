"""Every operation of the API as a command, read off the table that ships with the program (`operations.json`).

Commands that were written by hand come first; what they cover is left out here.
"""

import json
from argparse import ArgumentTypeError, Namespace
from collections.abc import Collection, Mapping, Sequence
from functools import cache, partial
from importlib import resources
from typing import Any, Final
from urllib.parse import quote

from certctl_cli.client import Server
from certctl_cli.command import Argument, Command, Json, Result, Text, View, argument
from certctl_cli.profiles import SettingsError
from certctl_cli.shapes import view_of
from certctl_cli.wording import ALL, note_of

Operation = Mapping[str, Any]

_LONGEST_FILE: Final = 1 << 20
_BODY: Final = "body_of_the_request"


@cache
def table() -> Sequence[Operation]:
    """The operations, in the order of the server's table."""
    found: list[Operation] = json.loads((resources.files(__package__) / "operations.json").read_bytes())
    return found


def commands(covered: Collection[str]) -> tuple[Command, ...]:
    """A command for each operation that is not `covered`."""
    return tuple(_command(one) for one in table() if one["name"] not in covered)


_PAGING: Final = ("page", "per_page", "page_size", "cursor")


def filters(name: str) -> tuple[Argument, ...]:
    """The flags by which the list of this operation is narrowed and ordered."""
    return tuple(_flag(one) for one in _named(name)["query"] if one["name"] not in _PAGING)


def narrowed(name: str, given: Namespace) -> dict[str, Any]:
    """What was given of `filters`."""
    return {one["name"]: getattr(given, one["name"]) for one in _named(name)["query"] if one["name"] not in _PAGING}


def flags(name: str) -> tuple[Argument, ...]:
    """The flags for the fields of this operation's body."""
    return tuple(_flag(one) for one in _named(name)["body"])


_TAKEN: Final = ("--server", "--format", "--query", "--profile")
"""Flags that every command has already."""


def _named(name: str) -> Operation:
    return next(one for one in table() if one["name"] == name)


def _command(operation: Operation) -> Command:
    parameters = [word[1:-1].partition(":")[0] for word in operation["path"].split("/") if word.startswith("{")]
    arguments = [argument(name, metavar=name.upper()) for name in parameters]
    query = [one for one in operation["query"] if not (operation["pages"] and one["name"] == "cursor")]
    arguments += [_flag(one, required=one.get("needed", False)) for one in query]
    # What the path says already need not be said again.
    body = [one for one in operation["body"] if one["name"] not in parameters]
    arguments += [_flag(one) for one in body]
    if operation["body"]:
        words = "a file with the whole body in JSON, - for standard input; flags win over it"
        arguments.append(argument("--body", dest=_BODY, metavar="FILE", help=words))
    if operation["pages"]:
        arguments.append(ALL)
    return Command(
        name=operation["command"],
        help=operation["help"],
        run=partial(_run, operation, tuple(parameters)),
        arguments=tuple(arguments),
        covers=(operation["name"],),
    )


def _flag(one: Mapping[str, Any], *, required: bool = False) -> Argument:
    name = f"--{one['name'].replace('_', '-')}"
    name = f"--answer-{name[2:]}" if name in _TAKEN else name
    about = one.get("help", "").rstrip(".").replace("%", "%%")
    how: dict[str, Any] = {"help": about[:1].lower() + about[1:] or None, "dest": one["name"]}
    match one["type"]:
        case "boolean":
            how |= {"type": _boolean, "metavar": "true|false", "nargs": "?", "const": True}
        case "integer":
            how |= {"type": _integer, "metavar": "N"}
        case "number":
            how |= {"type": float, "metavar": "X"}
        case "list":
            how |= {"action": "append", "metavar": "VALUE", "help": _more(about, "may be repeated")}
        case "map":
            how |= {"action": "append", "type": _pair, "metavar": "NAME=VALUE", "help": _more(about, "may be repeated")}
        case "json":
            how |= {"type": _json, "metavar": "JSON", "help": _more(about, "JSON, or @FILE")}
        case _:
            how["metavar"] = one["name"].rpartition("_")[2].upper()
    if required:
        how["required"] = True
    if choices := one.get("choices"):
        how |= {"choices": choices, "metavar": how["metavar"], "help": _more(about, f"one of {', '.join(choices)}")}
    return Argument(name, how)


def _more(about: str, words: str) -> str:
    return f"{about}; {words}" if about else words


def _boolean(given: str) -> bool:
    match given.lower():
        case "true" | "yes" | "1":
            return True
        case "false" | "no" | "0":
            return False
    raise ArgumentTypeError(f"{given!r} is neither true nor false")


def _integer(given: str) -> int:
    try:
        return int(given)
    except ValueError:
        raise ArgumentTypeError(f"{given!r} is not a whole number") from None


def _pair(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"{given!r} is not NAME=VALUE")
    return name, value


def _json(given: str) -> Json:
    """JSON as it stands, or in a file whose name follows an @."""
    try:
        if given.startswith("@"):
            with open(given[1:], "rb") as file:  # noqa: PTH123 - a pathlib.Path would turn an empty name into "."
                return json.loads(file.read(_LONGEST_FILE + 1))
        return json.loads(given)
    except OSError as problem:
        raise ArgumentTypeError(f"{given[1:]}: {problem.strerror}") from None
    except ValueError as problem:
        raise ArgumentTypeError(f"is not JSON: {problem}") from None


def _run(operation: Operation, parameters: tuple[str, ...], server: Server, given: Namespace) -> Result:
    path = operation["path"].replace(":path}", "}")
    for name in parameters:
        path = path.replace(f"{{{name}}}", quote(getattr(given, name), safe=""))
    query = {one["name"]: getattr(given, one["name"], None) for one in operation["query"]}
    if operation["pages"] and given.all:
        return _shown(operation, server.every(path, **query), given)
    needs_body = operation["method"] not in ("GET", "DELETE")
    body = _body(operation, parameters, given) if needs_body else None
    return _shown(operation, server.ask(operation["method"], path, query=query, body=body), given)


def _body(operation: Operation, parameters: tuple[str, ...], given: Namespace) -> dict[str, Json]:
    """What flags say, over what is in the file. Raises `SettingsError` when something that is needed is in neither."""
    asked: dict[str, Json] = {}
    if source := getattr(given, _BODY, None):
        asked = _file(source)
    for one in operation["body"]:
        value = getattr(given, one["name"], None) if one["name"] not in parameters else None
        if value is not None:
            asked[one["name"]] = dict(value) if one["type"] == "map" else value
    missing = [one["name"] for one in operation["body"] if one.get("needed") and one["name"] not in asked]
    if missing and operation["method"] == "POST":
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise SettingsError(f"certctl {operation['command']} needs {flags}", hint="Or give the body with --body FILE.")
    return asked


def _file(name: str) -> dict[str, Json]:
    import sys
    from pathlib import Path

    try:
        text = sys.stdin.read(_LONGEST_FILE) if name == "-" else Path(name).read_text(encoding="utf-8")
        found = json.loads(text)
    except OSError as problem:
        raise SettingsError(f"cannot read {name}: {problem.strerror}") from problem
    except ValueError as problem:
        raise SettingsError(f"{name} is not JSON: {problem}") from problem
    if not isinstance(found, dict):
        raise SettingsError(f"{name} does not hold a JSON object")
    return found


_DONE: Final[Mapping[str, str]] = {"DELETE": "deleted"}


def _shown(operation: Operation, told: Json, given: Namespace) -> Result:
    if told is None:
        status = _DONE.get(operation["method"], "done")
        return Result(data={"status": status}, views=(Text(f"{status.capitalize()}."),))
    views: tuple[View, ...] = view_of(told)
    return Result(data=told, views=views, notes=note_of(told, given))
