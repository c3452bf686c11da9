"""The OpenAPI 3.1 document, built from the table of operations and the classes of the wire."""

import inspect
import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

import attrs
from attrs import define, field

from certctl_web import problems
from certctl_web.media.bounds import Fallback
from certctl_web.media.reading import Accepts, fields_of
from certctl_web.operation import JSON, Row

_SIMPLE: Final[Mapping[Any, dict[str, Any]]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
    Any: {},
    object: {},
}

_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "What went wrong and what to do next (RFC 9457).",
    "required": ["type", "title", "status", "detail", "error", "message", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string", "description": "What to do next."},
        "error": {"type": "string"},
        "message": {"type": "string"},
        "request_id": {"type": "string"},
        "fields": {
            "type": "array",
            "description": "Every part of the request that is wrong.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "reasons": {"type": "array", "items": {"type": "string"}},
        "retry_after_seconds": {"type": "integer"},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
}


@define
class Schemas:
    """Collects the components that operations refer to. Of `received` classes the schema says what the reader of bodies
    accepts: nothing unknown, and null or, for some texts, an empty one, where a field may be left out."""

    received: frozenset[type] = frozenset()
    components: dict[str, dict[str, Any]] = field(factory=lambda: {"Problem": _PROBLEM})

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type: a reference when it is a class of the wire or an enumeration."""
        if kind in _SIMPLE:
            return dict(_SIMPLE[kind])
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self._bounded(*arguments)
        if origin in (Union, types.UnionType):
            parts = [self.of(part) for part in arguments if part is not type(None)]
            return parts[0] if len(parts) == 1 else {"anyOf": parts}
        if origin is tuple:
            return {"type": "array", "items": self.of(arguments[0])}
        if inspect.isclass(origin) and issubclass(origin, Mapping):
            named = {} if arguments[0] is str else {"propertyNames": self.of(arguments[0])}
            return {"type": "object", **named, "additionalProperties": self.of(arguments[1])}
        if inspect.isclass(kind) and issubclass(kind, Enum):
            self.components[kind.__name__] = {"type": "string", "enum": [member.value for member in kind]}
            return _reference(kind.__name__)
        return self._of_class(origin or kind, arguments)

    def _bounded(self, inner: Any, *notes: Any) -> dict[str, Any]:
        schema = self.of(inner)
        for note in notes:
            if isinstance(note, Fallback):
                schema = note.schema()
            elif hasattr(note, "schema"):
                schema |= note.schema()
        return schema

    def _of_class(self, kind: type, arguments: tuple[Any, ...]) -> dict[str, Any]:
        name = kind.__name__ + "".join(f"Of{argument.__name__}" for argument in arguments)
        if name not in self.components:
            self.components[name] = {}  # a class that refers to itself finds its name taken
            bound = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
            self.components[name] = self._object(kind, bound)
        return _reference(name)

    def _object(self, kind: type, bound: Mapping[TypeVar, Any]) -> dict[str, Any]:
        received = kind in self.received
        properties = {a.name: self._property(a, bound, received) for a in attrs.fields(kind)}
        required = [a.name for a in attrs.fields(kind) if a.default is attrs.NOTHING]
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        if kind.__doc__:
            schema["description"] = inspect.cleandoc(kind.__doc__)
        if received:
            rules: type[Accepts] = kind if issubclass(kind, Accepts) else Accepts
            for name in sorted(rules.blank & fields_of(kind)):
                properties[name] = _or_blank(properties[name])
            for name in sorted(rules.ignored - fields_of(kind)):
                properties[name] = {"description": "Accepted and without effect.", "deprecated": True}
            schema["additionalProperties"] = rules.anything
        return schema

    def _property(self, a: "attrs.Attribute[Any]", bound: Mapping[TypeVar, Any], received: bool) -> dict[str, Any]:
        schema = self.of(_resolved(a.type, bound))
        if received:
            schema = _sayable(schema)
            if a.default is not attrs.NOTHING:
                schema = _or_null(schema)
        if isinstance(a.default, (bool, int, str)) and a.default != "" and "$ref" not in schema:
            schema["default"] = a.default
        return schema


_NO_NUL: Final = "^[^\\x00]*$"


def _sayable(schema: dict[str, Any]) -> dict[str, Any]:
    """No text that is received may hold a NUL: databases have no place for one."""
    if schema.get("type") == "string" and not schema.keys() & {"pattern", "format", "enum"}:
        return schema | {"pattern": _NO_NUL}
    inner = [name for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)]
    return schema | {name: _sayable(schema[name]) for name in inner}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or null, which is the same as absent."""
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else {}


def _or_blank(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or an empty text, which is the same as absent."""
    about = {name: schema[name] for name in ("description", "default") if name in schema}
    return {"anyOf": [schema, {"const": ""}]} | about


def _received(table: Iterable[Row]) -> frozenset[type]:
    """The classes that bodies are made of."""
    return frozenset(kind for row in table if row.body is not None for kind in _parts(row.body))


def _parts(kind: Any) -> Iterator[type]:
    for inner in get_args(kind):
        yield from _parts(inner)
    if inspect.isclass(kind) and attrs.has(kind):
        yield kind
        for a in attrs.fields(kind):
            yield from _parts(a.type)


def _resolved(kind: Any, bound: Mapping[TypeVar, Any]) -> Any:
    """`tuple[W, ...]` with W bound to a class."""
    if isinstance(kind, TypeVar):
        return bound[kind]
    if get_origin(kind) is tuple and isinstance(get_args(kind)[0], TypeVar):
        item: Any = bound[get_args(kind)[0]]
        return tuple[item, ...]
    return kind


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def document(table: Iterable[Row], version: str) -> dict[str, Any]:
    """The whole description of the interface."""
    table = tuple(table)
    schemas = Schemas(_received(table))
    paths: dict[str, dict[str, Any]] = {}
    for row in table:
        paths.setdefault(row.path.replace(":path}", "}"), {})[row.method.lower()] = _operation(row, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "certctl",
            "version": version,
            "description": "Certificates: requested, issued, deployed, verified, renewed and revoked.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "An API key."}},
        },
    }


def _operation(row: Row, schemas: Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.summary,
        "tags": [_tag(row.path)],
        "responses": _responses(row, schemas),
        "security": [] if row.is_public else [{"bearer": []}],
    }
    if not row.is_public:
        described["x-certctl-roles"] = sorted(role.value for role in row.who)
    if row.own:
        described["x-certctl-own"] = row.own
    if row.tool_name:
        described["x-certctl-tool"] = row.tool_name
    parameters = [_in_path(name, row) for name in row.parameters]
    if row.query is not None:
        parameters += _query(row.query, schemas)
    if parameters:
        described["parameters"] = parameters
    if row.body is not None:
        needed = any(a.default is attrs.NOTHING for a in attrs.fields(row.body))
        described["requestBody"] = {"required": needed, "content": {JSON: {"schema": schemas.of(row.body)}}}
    elif row.accepts != JSON:
        described["requestBody"] = {"content": {row.accepts: {}}}
    return described


def _in_path(name: str, row: Row) -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    if name in row.arguments:
        parameter["x-certctl-argument"] = row.arguments[name]
    return parameter


def _tag(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", "api", "v1", ".well-known")]
    return parts[0].removesuffix(".json")


def _query(kind: type, schemas: Schemas) -> list[dict[str, Any]]:
    found = []
    for a in attrs.fields(kind):
        schema = _sayable(schemas.of(a.type))
        parameter: dict[str, Any] = {"name": a.name, "in": "query", "schema": schema}
        parameter |= {"required": True} if a.default is attrs.NOTHING else {"allowEmptyValue": True}
        if get_origin(a.type) is tuple:
            parameter |= {"style": "form", "explode": False}
        if isinstance(a.default, (bool, int, str)) and "$ref" not in schema:
            schema["default"] = a.default
        found.append(parameter)
    return found


def _responses(row: Row, schemas: Schemas) -> dict[str, Any]:
    said = {row.status: HTTPStatus(row.status).phrase, **row.also}
    responses: dict[str, Any] = {str(status): {"description": words} for status, words in said.items()}
    if row.status != 204:
        schema = {} if row.answer is None else schemas.of(row.answer)
        kinds_of_media = (row.media_type, *row.media_types)
        for status in said.keys() - {204, 304}:
            responses[str(status)]["content"] = {
                kind: {"schema": schema} if schema and kind == JSON else {} for kind in kinds_of_media
            }
    kinds: dict[int, list[str]] = {}
    for kind in row.all_errors:
        kinds.setdefault(problems.status_of(kind), []).append(_first_sentence(kind))
    for status in sorted(row.statuses - set(said)):
        responses[str(status)] = {
            "description": " ".join(dict.fromkeys(kinds.get(status, ()))) or HTTPStatus(status).phrase,
            "content": {problems.MEDIA_TYPE: {"schema": _reference("Problem")}},
        }
    return responses


def _first_sentence(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or kind.__name__).split(". ")[0].rstrip(".") + "."
