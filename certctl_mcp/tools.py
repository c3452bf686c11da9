"""From the OpenAPI document of a control plane to tools: what each is called, what it takes, and which call it makes.

The document says which operations are tools (`x-certctl-tool`) and what they call parameters of the path
(`x-certctl-argument`). Values are not checked here: the API does that, and says what is wrong.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from attrs import field, frozen

from certctl_core.errors import Invalid

Json = Any
_JSON: Final = "application/json"
_NOTHING: Final[tuple[Mapping[str, Json], ...]] = ({"type": "null"}, {"const": ""}, {})
_REFERENCE: Final = "#/components/schemas/"


@frozen(kw_only=True)
class Call:
    """One request of the API. `body` is None when there is none."""

    method: str
    path: str
    query: Mapping[str, Json] = field(factory=dict)
    body: Mapping[str, Json] | None = None


@frozen(kw_only=True)
class Tool:
    """One operation. `in_path` and `in_query` map arguments to parameters; what is in neither goes into the body."""

    name: str
    description: str
    method: str
    path: str
    in_path: Mapping[str, str]
    in_query: Mapping[str, str]
    has_body: bool
    schema: Mapping[str, Json]

    @property
    def only_reads(self) -> bool:
        return self.method == "GET"

    def call(self, arguments: Mapping[str, Json]) -> Call:
        """Raises `Invalid` for arguments that the tool does not have, and when the path lacks one."""
        unknown = sorted(set(arguments) - set(self.schema["properties"]))
        if unknown:
            raise Invalid(f"{self.name} has no argument {unknown[0]!r}", hint=self._possible())
        path = self.path
        for argument, parameter in self.in_path.items():
            value = arguments.get(argument)
            if not isinstance(value, str) or not value.strip("."):
                raise Invalid(f"{self.name} needs {argument!r}, a text", hint=self._possible())
            path = path.replace(f"{{{parameter}}}", quote(value, safe=""))
        rest = {name: value for name, value in arguments.items() if name not in self.in_path}
        query = {self.in_query[name]: value for name, value in rest.items() if name in self.in_query}
        body = {name: value for name, value in rest.items() if name not in self.in_query}
        return Call(method=self.method, path=path, query=query, body=body if self.has_body else None)

    def _possible(self) -> str:
        return f"Its arguments: {', '.join(self.schema['properties']) or 'none'}."


def of_document(document: Mapping[str, Json], *, read_only: bool = False) -> dict[str, Tool]:
    """The tools by name. With `read_only` only those that change nothing: an agent's own GETs hand out work."""
    schemas = document.get("components", {}).get("schemas", {})
    found: dict[str, Tool] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "x-certctl-tool" not in operation:
                continue
            tool = _tool(method.upper(), path, operation, schemas)
            if not read_only or (tool.only_reads and "x-certctl-own" not in operation):
                found[tool.name] = tool
    return found


def _tool(method: str, path: str, operation: Mapping[str, Json], schemas: Mapping[str, Json]) -> Tool:
    parameters = operation.get("parameters", [])
    in_path = {_argument(one): one["name"] for one in parameters if one["in"] == "path"}
    in_query = {_argument(one): one["name"] for one in parameters if one["in"] == "query"}
    media = operation.get("requestBody", {}).get("content", {}).get(_JSON)
    body = _inlined(media["schema"], schemas) if media else {}
    properties = {
        **{_argument(one): _inlined(one["schema"], schemas) for one in parameters if one["in"] == "path"},
        **{
            name: _without_null(schema)
            for name, schema in body.get("properties", {}).items()
            if not schema.get("deprecated")
        },
        **{
            _argument(one): _without_null(_inlined(one["schema"], schemas))
            for one in parameters
            if one["in"] == "query"
        },
    }
    needed = [_argument(one) for one in parameters if one["in"] == "query" and one.get("required")]
    needed += [name for name in body.get("required", []) if name in properties]
    required = [*in_path, *(name for name in needed if name not in in_path)]
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return Tool(
        name=operation["x-certctl-tool"],
        description=". ".join(filter(None, [operation["summary"], body.get("description", "")])),
        method=method,
        path=path,
        in_path=in_path,
        in_query=in_query,
        has_body=media is not None,
        schema=schema | ({"required": required} if required else {}),
    )


def _argument(parameter: Mapping[str, Json]) -> str:
    name: str = parameter.get("x-certctl-argument", parameter["name"])
    return name


def _without_null(schema: Mapping[str, Json]) -> dict[str, Json]:
    """The schema without null, the empty text and anything at all, which are other words for leaving an argument
    out."""
    plain = dict(schema)
    if isinstance(plain.get("type"), list):
        (plain["type"],) = (kind for kind in plain["type"] if kind != "null")
    if "anyOf" in plain:
        parts = [_without_null(one) for one in plain.pop("anyOf") if one not in _NOTHING]
        plain = parts[0] | plain if len(parts) == 1 else plain | {"anyOf": parts}
    return plain


def _inlined(schema: Json, schemas: Mapping[str, Json], above: tuple[str, ...] = ()) -> Json:
    """The schema with what it refers to in place; anything goes where it refers to itself."""
    if isinstance(schema, list):
        return [_inlined(one, schemas, above) for one in schema]
    if not isinstance(schema, dict):
        return schema
    whole: dict[str, Json] = {}
    for name in _referred(schema):
        if name not in above:
            whole = _inlined(schemas.get(name, {}), schemas, (*above, name))
    return whole | {name: _inlined(one, schemas, above) for name, one in schema.items() if name != "$ref"}


def _referred(schema: Mapping[str, Json]) -> Iterator[str]:
    if isinstance(reference := schema.get("$ref"), str):
        yield reference.removeprefix(_REFERENCE)
