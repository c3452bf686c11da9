"""What the command line has to know of the API: each operation as a command, in the file that ships with it.

The command line may not import the server, and has to start at once and without one. So what it offers is read off the
table of operations here, and written down.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from certctl_core import __version__
from certctl_web import openapi
from certctl_web.operation import JSON, Row
from certctl_web.operations import TABLE

PREFIX: Final = "/api/v1/"
GROUPS: Final[Mapping[str, str]] = {"certificates": "certs"}
"""Words people type where the path has longer ones."""

LEFT_OUT: Final = frozenset({"get_openapi", "get_api_health"})
Schema = Mapping[str, Any]


def table() -> list[dict[str, Any]]:
    """Every operation of the API that is a command, in the order of the rows."""
    document = openapi.document(TABLE, __version__)
    schemas = document["components"]["schemas"]
    rows = [row for row in TABLE if row.path.startswith(PREFIX) and row.name not in LEFT_OUT]
    names = _names(rows)
    found = []
    for row in rows:
        described = document["paths"][row.path.replace(":path}", "}")][row.method.lower()]
        found.append(
            {
                "name": row.name,
                "command": names[row.name],
                "method": row.method,
                "path": row.path.removeprefix("/api/v1"),
                "help": row.summary[0].lower() + row.summary[1:],
                "query": [_in_query(one, schemas) for one in _query(described)],
                "body": list(_body(described, schemas)),
                "pages": any(one["name"] == "page" for one in _query(described)),
            }
        )
    return found


def _in_query(parameter: Mapping[str, Any], schemas: Mapping[str, Schema]) -> dict[str, Any]:
    return _argument(parameter["name"], parameter["schema"], schemas, bool(parameter.get("required")))


def _query(described: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in described.get("parameters", ()) if one["in"] == "query"]


def _names(rows: list[Row]) -> dict[str, str]:
    """What is typed for each: the short form, or the operation's own name where two have the same."""
    short = {row.name: _short(row) for row in rows}
    often = Counter(short.values())
    return {
        name: words if often[words] == 1 else f"{words.split()[0]} {name.replace('_', '-')}"
        for name, words in short.items()
    }


def _short(row: Row) -> str:
    first, *rest = row.path.removeprefix(PREFIX).split("/")
    group = GROUPS.get(first, first)
    words = [part for part in rest if not part.startswith("{")]
    if words:
        return f"{group} {'-'.join(words)}"
    verb = row.name.partition("_")[0]
    if not rest and row.method == "GET" and verb != "list":
        verb = "show"
    return f"{group} {verb}"


def _body(described: Mapping[str, Any], schemas: Mapping[str, Schema]) -> Iterator[dict[str, Any]]:
    media = described.get("requestBody", {}).get("content", {}).get(JSON)
    if not media:
        return
    schema = schemas[media["schema"]["$ref"].rpartition("/")[2]]
    needed = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        if not part.get("deprecated"):
            yield _argument(name, part, schemas, name in needed)


def _argument(name: str, schema: Schema, schemas: Mapping[str, Schema], needed: bool) -> dict[str, Any]:
    plain = _resolved(schema, schemas)
    made: dict[str, Any] = {"name": name, "type": _type(plain)}
    if needed:
        made["needed"] = True
    if about := plain.get("description", ""):
        made["help"] = about
    if choices := plain.get("enum"):
        made["choices"] = choices
    return made


def _resolved(schema: Schema, schemas: Mapping[str, Schema]) -> dict[str, Any]:
    """The schema without null and references."""
    whole = dict(schema)
    if "anyOf" in whole:
        parts = [one for one in whole.pop("anyOf") if one not in ({"type": "null"}, {"const": ""}, {})]
        whole = _resolved(parts[0], schemas) | whole if len(parts) == 1 else whole
    if "$ref" in whole:
        whole = _resolved(schemas[whole.pop("$ref").rpartition("/")[2]], schemas) | whole
    if isinstance(whole.get("type"), list):
        (whole["type"],) = (kind for kind in whole["type"] if kind != "null")
    return whole


def _type(schema: Schema) -> str:
    """`text`, `integer`, `boolean`, `number`, `list` (of texts), `map` (of texts), or `json` for all that is deeper."""
    kind = schema.get("type", "")
    if kind == "array":
        return "list" if schema.get("items", {}).get("type") == "string" else "json"
    if kind == "object":
        of = schema.get("additionalProperties")
        return "map" if isinstance(of, dict) and of.get("type") == "string" else "json"
    return {"string": "text", "integer": "integer", "boolean": "boolean", "number": "number"}.get(kind, "json")
