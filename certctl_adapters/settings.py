"""Settings of connectors: one frozen class each, and everything else is read off that class.

    @settings
    class VaultSettings:
        '''HashiCorp Vault, PKI secrets engine.'''

        addr: str = setting(help="Base URL of Vault.", check=http_url)
        token: str = setting(help="A token that may sign.", secret=True)
        mount: str = setting(help="Where the engine is mounted.", default="pki")

    vault = read(VaultSettings, {"addr": "https://vault:8200", "token": "s.1"})

A field may be `str`, `int`, `float`, `bool`, an `Enum` or `Literal` of strings, `tuple[T, ...]`, `Mapping[str, str]`,
another settings class, or any of these `| None`. What JSON writes in another form (a `timedelta` in seconds, a file
mode in octal) names its `kind`. A check is a function of the value that raises `ValueError` or `Invalid` with words
that continue "field: ...". A class may have a method `problems()` that yields the `FieldProblem`s of fields that do
not fit together.

Reading is strict: the types of JSON are not converted into one another, unknown names are refused, and all problems
are reported at once. Secret fields are never part of a repr.
"""

import re
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, dataclass_transform
from urllib.parse import urlsplit

import attrs
from attrs import frozen

from certctl_core.errors import FieldProblem, Invalid

MASK: Final = "********"
"""What is shown instead of a secret; written back, it means "keep what is stored"."""

MAX_TEXT: Final = 65536
"""The longest text a setting takes, in characters: a PEM bundle fits, a memory exhaustion does not."""

Json = Any
Check = Callable[[Any], object]
S = TypeVar("S")


class Mismatch(ValueError):
    """A value is not of its kind. The words follow "must be"."""


@frozen
class Kind:
    """How a value looks in JSON. `parse` raises `Mismatch`."""

    name: str
    parse: Callable[[Json], Any]
    dump: Callable[[Any], Json]
    schema: Mapping[str, Json]


@frozen
class _Declared:
    """What `setting(...)` was told about a field, kept in the attrs metadata."""

    help: str
    secret: bool
    check: Check | None
    kind: Kind | None


_METADATA: Final = "certctl.setting"
_FACTORY: Final[Any] = attrs.Factory


def setting(
    *,
    help: str,  # noqa: A002 - the word argparse and every form library use
    default: Any = attrs.NOTHING,
    factory: Callable[[], Any] | None = None,
    secret: bool = False,
    check: Check | None = None,
    kind: Kind | None = None,
) -> Any:
    """Declare a field. Without `default` or `factory` it is required, and a required text must not be empty."""
    if factory is not None:
        default = attrs.Factory(factory)
    return attrs.field(
        default=default,
        repr=not secret,
        validator=None if check is None else lambda _instance, _attribute, value: _unless_unset(check, value),
        metadata={_METADATA: _Declared(help, secret, check, kind)},
    )


def _unless_unset(check: Check, value: Any) -> None:
    if value is not None and value != "":
        check(value)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(setting,))
def settings(cls: type[S]) -> type[S]:
    """Make a settings class: frozen, keyword-only, secrets out of its repr."""
    return attrs.frozen(kw_only=True)(cls)


@frozen
class SettingField:
    """One field as documents and forms show it. `name` is the path from the outermost class (`winrm.winrm_host`)."""

    name: str
    type_name: str
    help: str
    required: bool
    default: Json = None
    secret: bool = False
    choices: tuple[str, ...] = ()
    kind: Kind = attrs.field(repr=False, kw_only=True)
    nested: type[Any] | None = None
    optional: bool = False
    check: Check | None = attrs.field(default=None, repr=False)

    @property
    def key(self) -> str:
        """The last part of the path: the key in its own JSON object."""
        return self.name.rpartition(".")[2]


# Reading and writing


def read(cls: type[S], given: Mapping[str, Json], *, ignore_unknown: bool = False) -> S:
    """The settings that `given` (decoded JSON) describes. Raises `Invalid` naming every field that is wrong.

    `ignore_unknown` is for a reader that may be older than the writer: an agent given settings by its control plane.
    """
    problems: list[FieldProblem] = []
    made = _read(cls, given, "", ignore_unknown, problems)
    if problems or made is None:
        words = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
        raise Invalid(words or "settings must be an object", fields=problems)
    return made


def _read(
    cls: type[S], given: Mapping[str, Json], path: str, ignore_unknown: bool, problems: list[FieldProblem]
) -> S | None:
    """Add what is wrong to `problems`; None when anything is."""
    before = len(problems)
    known = {one.key: one for one in _fields(cls)}
    if not ignore_unknown:
        expected = ", ".join(known)
        unknown = (name for name in given if name not in known)
        problems += (FieldProblem(f"{path}{name}", f"is not a setting; there are: {expected}") for name in unknown)
    values: dict[str, Any] = {}
    for name, one in known.items():
        try:
            if name in given:
                values[name] = _parse(one, given[name], path, ignore_unknown, problems)
            elif one.required:
                raise ValueError("is required")
        except (ValueError, Invalid) as problem:
            problems.append(FieldProblem(path + name, _words(problem)))
    if len(problems) > before:
        return None
    made = cls(**values)
    unfit: Iterable[FieldProblem] = getattr(made, "problems", tuple)()
    problems += (FieldProblem(path + one.field, one.message) for one in unfit)
    return made


def _parse(one: SettingField, value: Json, path: str, ignore_unknown: bool, problems: list[FieldProblem]) -> Any:
    if value is None:
        if one.optional:
            return None
        raise ValueError("must not be null")
    if one.nested is not None:
        if not isinstance(value, Mapping):
            raise Mismatch("must be an object")
        return _read(one.nested, value, f"{path}{one.key}.", ignore_unknown, problems)
    try:
        parsed = one.kind.parse(value)
    except Mismatch as problem:
        raise ValueError(f"must be {problem}") from None
    if one.required and parsed == "":
        raise ValueError("must not be empty")
    if one.check is not None:
        _unless_unset(one.check, parsed)
    return parsed


def _words(problem: Exception) -> str:
    if isinstance(problem, Invalid) and problem.fields:
        return problem.fields[0].message
    return problem.message if isinstance(problem, Invalid) else str(problem)


def write(instance: Any) -> dict[str, Json]:
    """As a JSON object, secrets in plain, defaults filled in: what `read` makes equal settings of."""
    written: dict[str, Json] = {}
    for one in _fields(type(instance)):
        value = getattr(instance, one.key)
        if value is None:
            if one.default is not None:
                written[one.key] = None
        elif one.nested is not None:
            written[one.key] = write(value)
        else:
            written[one.key] = one.kind.dump(value)
    return written


# Secrets


def secret_fields(cls: type[Any]) -> frozenset[str]:
    """Paths of the secret fields, those of nested classes with a dot (`winrm.winrm_password`)."""
    return frozenset(one.name for one in fields_of(cls) if one.secret)


def redact(cls: type[Any], stored: Mapping[str, Json]) -> dict[str, Json]:
    """The same object with `MASK` for every secret that is set, and for whatever the class does not know."""
    known = {one.key: one for one in _fields(cls)}
    shown: dict[str, Json] = {}
    for name, value in stored.items():
        one = known.get(name)
        if one is not None and one.nested is not None and isinstance(value, Mapping):
            shown[name] = redact(one.nested, value)
        elif (one is None or one.secret) and value not in (None, ""):
            shown[name] = MASK
        else:
            shown[name] = value
    return shown


def merge_secrets(cls: type[Any], stored: Mapping[str, Json], incoming: Mapping[str, Json]) -> dict[str, Json]:
    """`incoming` with each masked secret replaced by what is stored; one that is not stored is left out."""
    merged = dict(incoming)
    for one in _fields(cls):
        value = incoming.get(one.key)
        if one.nested is not None and isinstance(value, Mapping):
            before = stored.get(one.key)
            merged[one.key] = merge_secrets(one.nested, before if isinstance(before, Mapping) else {}, value)
        elif one.secret and value == MASK:
            del merged[one.key]
            if one.key in stored:
                merged[one.key] = stored[one.key]
    return merged


# Description


def fields_of(cls: type[Any]) -> tuple[SettingField, ...]:
    """Every field in the order of declaration, those of a nested class after the field that holds it."""
    return tuple(_walk(cls, ""))


def _walk(cls: type[Any], path: str) -> Iterable[SettingField]:
    for one in _fields(cls):
        yield attrs.evolve(one, name=path + one.name)
        if one.nested is not None:
            yield from _walk(one.nested, f"{path}{one.name}.")


def json_schema(cls: type[Any]) -> dict[str, Json]:
    """JSON Schema (draft 2020-12) of what `read` accepts, as far as a schema can say it."""
    properties: dict[str, Json] = {}
    for one in _fields(cls):
        schema = json_schema(one.nested) if one.nested is not None else dict(one.kind.schema)
        if one.check is not None:
            schema |= getattr(one.check, "schema", {})
        if one.optional:
            schema = {"anyOf": [schema, {"type": "null"}]}
        schema["description"] = one.help
        if one.secret:
            schema["writeOnly"] = True
        if one.default is not None and not one.secret:
            schema["default"] = one.default
        properties[one.key] = schema
    return {
        "type": "object",
        "description": (cls.__doc__ or "").strip(),
        "properties": properties,
        "required": [one.key for one in _fields(cls) if one.required],
        "additionalProperties": False,
    }


_described: Final[dict[type[Any], tuple[SettingField, ...]]] = {}
"""Classes of settings are few, and describing one takes as long as reading ten."""


def _fields(cls: type[Any]) -> tuple[SettingField, ...]:
    if cls not in _described:
        hints = typing.get_type_hints(cls)
        _described[cls] = tuple(_describe(attribute, hints[attribute.name]) for attribute in attrs.fields(cls))
    return _described[cls]


def _describe(attribute: "attrs.Attribute[Any]", hint: Any) -> SettingField:
    declared: _Declared = attribute.metadata[_METADATA]
    optional = NoneType in typing.get_args(hint) and typing.get_origin(hint) in (typing.Union, UnionType)
    if optional:
        (hint,) = (part for part in typing.get_args(hint) if part is not NoneType)
    nested = hint if isinstance(hint, type) and attrs.has(hint) else None
    kind = declared.kind or (_NESTED if nested is not None else _kind_of(hint))
    return SettingField(
        name=attribute.name,
        type_name=kind.name,
        help=declared.help,
        required=attribute.default is attrs.NOTHING,
        default=_default(attribute.default, kind, nested),
        secret=declared.secret,
        choices=tuple(str(choice) for choice in kind.schema.get("enum", ())),
        kind=kind,
        nested=nested,
        optional=optional,
        check=declared.check,
    )


def _default(default: Any, kind: Kind, nested: type[Any] | None) -> Json:
    if default is attrs.NOTHING or default is None:
        return None
    value = default.factory() if isinstance(default, _FACTORY) else default
    return write(value) if nested is not None else kind.dump(value)


# Kinds


def _same(value: Any) -> Any:
    return value


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise Mismatch("a string")
    if len(value) > MAX_TEXT:
        raise Mismatch(f"at most {MAX_TEXT} characters long")
    if "\0" in value:
        raise Mismatch("text without NUL characters")
    return value


def _exactly(kind: type, words: str) -> Callable[[Json], Any]:
    def parse(value: Json) -> Any:
        # Not isinstance: True is an int in Python and is none in JSON.
        if type(value) is not kind:
            raise Mismatch(words)
        return value

    return parse


def _number(value: Json) -> float:
    if type(value) not in (int, float):
        raise Mismatch("a number")
    return float(value)


_TEXT: Final = Kind("string", _text, _same, {"type": "string"})
_NESTED: Final = Kind("object", _same, _same, {"type": "object"})
_KINDS: Final[Mapping[Any, Kind]] = {
    str: _TEXT,
    int: Kind("integer", _exactly(int, "an integer"), _same, {"type": "integer"}),
    float: Kind("number", _number, _same, {"type": "number"}),
    bool: Kind("boolean", _exactly(bool, "true or false"), _same, {"type": "boolean"}),
}


def _kind_of(hint: Any) -> Kind:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _KINDS:
        return _KINDS[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _choice({str(member.value): member for member in hint}, lambda member: str(member.value))
    if origin is Literal:
        return _choice({text: text for text in arguments}, _same)
    if origin is tuple and arguments[1:] == (...,):
        return _list_of(_kind_of(arguments[0]))
    if origin in (Mapping, dict) and arguments == (str, str):
        return Kind("map of strings", _map, dict, {"type": "object", "additionalProperties": {"type": "string"}})
    raise TypeError(f"{hint!r} is no type for a setting; give it a kind")


def _choice(choices: Mapping[str, Any], dump: Callable[[Any], str]) -> Kind:
    def parse(value: Json) -> Any:
        if not isinstance(value, str) or value not in choices:
            raise Mismatch("one of " + ", ".join(text or '""' for text in choices))
        return choices[value]

    return Kind("string", parse, dump, {"type": "string", "enum": list(choices)})


def _list_of(item: Kind) -> Kind:
    def parse(value: Json) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Mismatch(f"a list of {item.name}s")
        try:
            return tuple(item.parse(one) for one in value)
        except Mismatch as problem:
            raise Mismatch(f"a list in which each item is {problem}") from None

    def dump(value: tuple[Any, ...]) -> list[Json]:
        return [item.dump(one) for one in value]

    return Kind(f"list of {item.name}s", parse, dump, {"type": "array", "items": dict(item.schema)})


def _map(value: Json) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise Mismatch("an object whose values are strings")
    return dict(value)


def _whole(value: Json, unit: str) -> int:
    if type(value) is not int or value < 0:
        raise Mismatch(f"a whole number of {unit}, not negative")
    return value


def _timedelta(microseconds: int) -> timedelta:
    try:
        return timedelta(microseconds=microseconds)
    except OverflowError:
        raise Mismatch("a shorter time") from None


SECONDS: Final = Kind(
    "integer",
    lambda value: _timedelta(_whole(value, "seconds") * 1_000_000),
    lambda value: int(value.total_seconds()),
    {"type": "integer", "minimum": 0},
)
"""A `timedelta` written as whole seconds."""

NANOSECONDS: Final = Kind(
    "integer",
    lambda value: _timedelta(_whole(value, "nanoseconds") // 1000),
    lambda value: value // timedelta(microseconds=1) * 1000,
    {"type": "integer", "minimum": 0},
)
"""A `timedelta` written as whole nanoseconds, as clients written in Go have it."""

MAX_FILE_MODE: Final = 0o7777


def _file_mode(value: Json) -> int:
    words = 'a file mode such as "0640" (octal text) or 416 (the same as a number)'
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3,4}", value):
        return int(value, 8)
    if type(value) is not int or not 0 <= value <= MAX_FILE_MODE:
        raise Mismatch(words)
    return value


FILE_MODE: Final = Kind(
    "integer", _file_mode, _same, {"type": ["integer", "string"], "minimum": 0, "maximum": MAX_FILE_MODE}
)
"""An `int` of permission bits, read from a number or from octal text, written as a number."""

OCTAL: Final = Kind("string", _file_mode, lambda value: f"{value:04o}", {"type": ["string", "integer"]})
"""The same, written as octal text."""


# Checks


@frozen
class Must:
    """A check with words for the reader and a part of a JSON Schema for programs."""

    words: str
    holds: Callable[[Any], bool]
    schema: Mapping[str, Json] = attrs.field(factory=dict)

    def __call__(self, value: Any) -> None:
        if not self.holds(value):
            raise ValueError(f"must {self.words}")


def between(low: int, high: int) -> Must:
    """For numbers, both ends included."""
    return Must(f"be between {low} and {high}", lambda value: low <= value <= high, {"minimum": low, "maximum": high})


def matches(pattern: str, words: str) -> Must:
    """For texts that `pattern` matches as a whole. `words` follow "must"."""
    compiled = re.compile(pattern)
    return Must(words, lambda value: compiled.fullmatch(value) is not None, {"pattern": f"^(?:{pattern})$"})


def _is_url(*schemes: str) -> Callable[[str], bool]:
    def holds(value: str) -> bool:
        try:
            parts = urlsplit(value)
            return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and parts.username is None
        except ValueError:
            return False

    return holds


port: Final = between(1, 65535)
http_url: Final = Must("be an http or https URL without user name", _is_url("http", "https"), {"format": "uri"})
https_url: Final = Must("be an https URL without user name", _is_url("https"), {"format": "uri"})
absolute_path: Final = Must(
    "be an absolute path without '..'", lambda value: value.startswith("/") and ".." not in value.split("/")
)
