"""The description of the interface, read for people: what the page `/docs` shows and the reference in docs/ says.

Everything is taken from the OpenAPI document, so that nobody is told anything else than a generated client is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from certctl_web.operation import JSON
from certctl_web.problems import MEDIA_TYPE

Document = Mapping[str, Any]
Schema = Mapping[str, Any]

_OUTCOME = 300
_NOTHING: tuple[Mapping[str, str], ...] = ({"type": "null"}, {"const": ""}, {})
"""Other words for leaving a field out, which people need not be told with every field."""


@frozen
class Member:
    """A field of an object, or a parameter. `kinds` are the schemas its type speaks of."""

    name: str
    type: str
    needed: bool
    about: str
    kinds: tuple[str, ...] = ()


@frozen
class Outcome:
    """One status an operation answers with, what it means, and what comes with it."""

    status: str
    words: str
    type: str
    kinds: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        return int(self.status) < _OUTCOME


@frozen
class Entry:
    """One operation. `body` is the name of the schema it is sent."""

    name: str
    method: str
    path: str
    summary: str
    who: str
    tool: str
    parameters: tuple[Member, ...]
    body: str
    fields: tuple[Member, ...]
    outcomes: tuple[Outcome, ...]


@frozen
class Section:
    """The operations about one subject."""

    title: str
    anchor: str
    entries: tuple[Entry, ...]


@frozen
class Kind:
    """A class of the wire, or an enumeration with its `values`."""

    name: str
    about: str
    members: tuple[Member, ...]
    values: tuple[str, ...]


def sections(document: Document) -> tuple[Section, ...]:
    """Every operation, by subject, in the order of the table."""
    found: dict[str, list[Entry]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            found.setdefault(operation["tags"][0], []).append(_entry(document, method.upper(), path, operation))
    return tuple(Section(_title(tag), tag, tuple(entries)) for tag, entries in found.items())


def kinds(document: Document) -> tuple[Kind, ...]:
    """Every schema that has a name, in alphabetical order."""
    return tuple(
        Kind(name, schema.get("description", ""), _members(schema), tuple(map(str, schema.get("enum", ()))))
        for name, schema in document["components"]["schemas"].items()
    )


def _title(tag: str) -> str:
    words = tag.replace("-", " ").replace("_", " ")
    special = {"crl": "CRL", "ocsp": "OCSP", "ca": "CA certificates", "api keys": "API keys", "openapi": "OpenAPI"}
    return special.get(words, words.capitalize())


def _entry(document: Document, method: str, path: str, operation: Mapping[str, Any]) -> Entry:
    body, fields = _body(document, operation.get("requestBody"))
    return Entry(
        name=operation["operationId"],
        method=method,
        path=path,
        summary=operation["summary"],
        who=_who(operation),
        tool=operation.get("x-certctl-tool", ""),
        parameters=tuple(map(_parameter, operation.get("parameters", ()))),
        body=body,
        fields=fields,
        outcomes=tuple(_outcome(status, said) for status, said in sorted(operation["responses"].items())),
    )


def _who(operation: Mapping[str, Any]) -> str:
    roles = operation.get("x-certctl-roles")
    if not roles:
        return "anyone, without a key"
    own = " (an agent's key: as itself only)" if operation.get("x-certctl-own") else ""
    return ", ".join(roles) + own


def _parameter(parameter: Mapping[str, Any]) -> Member:
    schema = parameter["schema"]
    words, named = type_of(schema)
    place = "in the path" if parameter["in"] == "path" else ""
    about = _sentences(place, *_limits(schema), schema.get("description", ""))
    return Member(parameter["name"], words, bool(parameter.get("required")), about, named)


def _body(document: Document, body: Mapping[str, Any] | None) -> tuple[str, tuple[Member, ...]]:
    if body is None:
        return "", ()
    ((media_type, content),) = body["content"].items()
    if media_type != JSON:
        return media_type, ()
    name = content["schema"]["$ref"].rpartition("/")[2]
    return name, _members(document["components"]["schemas"][name])


def _members(schema: Schema) -> tuple[Member, ...]:
    """The fields of an object, those that are needed first and those that are ignored last."""
    needed = set(schema.get("required", ()))
    found = schema.get("properties", {}).items()
    in_order = sorted(found, key=lambda one: (one[0] not in needed, bool(one[1].get("deprecated"))))
    return tuple(_member(name, part, name in needed) for name, part in in_order)


def _member(name: str, schema: Schema, needed: bool) -> Member:
    words, named = type_of(schema)
    about = _sentences(*_limits(schema), "" if "$ref" in schema else schema.get("description", ""))
    return Member(name, words, needed, about, named)


def _sentences(*parts: str) -> str:
    return "; ".join(part.rstrip(".") for part in parts if part)


def _outcome(status: str, said: Mapping[str, Any]) -> Outcome:
    words = ""
    named: tuple[str, ...] = ()
    for media_type, content in said.get("content", {}).items():
        if media_type == MEDIA_TYPE:
            break
        words, named = type_of(content["schema"]) if "schema" in content else (media_type, ())
    return Outcome(status, said["description"], words, named)


def type_of(schema: Schema) -> tuple[str, tuple[str, ...]]:
    """The type in words, and the schemas it speaks of by name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return name, (name,)
    if "anyOf" in schema:
        parts = [type_of(part) for part in schema["anyOf"] if part not in _NOTHING]
        return " or ".join(words for words, _ in parts), tuple(name for _, named in parts for name in named)
    kind = schema.get("type", "any value")
    if isinstance(kind, list):
        (kind,) = (one for one in kind if one != "null")
    if kind == "array":
        words, named = type_of(schema.get("items", {}))
        return f"array of {words}", named
    if kind == "object":
        words, named = type_of(schema.get("additionalProperties") or {})
        return f"object of {words}", named
    return str(schema.get("format", kind)), ()


def _limits(schema: Schema) -> Iterator[str]:
    """What a value must be beyond its type, in words."""
    if "default" in schema:
        default = schema["default"]
        yield f"default {str(default).lower() if isinstance(default, bool) else default}"
    if "minimum" in schema:
        yield f"{schema['minimum']} to {schema['maximum']}"
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if most is not None:
        yield f"{least} to {most} characters" if least else f"at most {most} characters"
    if "pattern" in schema and len(schema["pattern"]) < 80:
        yield f"matches {schema['pattern']}"


def example(entry: Entry) -> str:
    """A call of the operation with curl."""
    lines = [f"curl --cacert ca.pem -X {entry.method} https://localhost:8443{entry.path}"]
    if not entry.who.startswith("anyone"):
        lines.append('-H "Authorization: Bearer $CERTCTL_API_KEY"')
    if entry.fields:
        needed = ", ".join(f'"{one.name}": …' for one in entry.fields if one.needed)
        lines.append(f"--json '{{{needed}}}'")
    return " \\\n  ".join(lines)
