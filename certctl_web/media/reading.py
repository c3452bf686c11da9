"""Bodies and query strings as classes of the wire, strictly, with every problem named at once.

A body is a JSON object; null is the same as absent; an unknown field, a missing one, a wrong type and a value out of
bounds are each named with their path, such as `sans[2]`. Times are RFC 3339 with an offset. Query strings are read into
classes in the same way, from text.
"""

import base64
import binascii
import difflib
import json
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, TypeVar, get_args, get_origin

import attrs
import cattrs
import orjson
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from certctl_core.errors import FieldProblem, Invalid, Unreadable
from certctl_web.media.bounds import Bound, Fallback

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]

MAX_QUERY_PARAMETERS: Final = 100


class Accepts:
    """Mixed into a class that is received, for what clients of the established API send.

    `ignored` are fields that make no difference: clients send an object back as they read it. `blank` are fields whose
    empty text is the same as none. `anything` accepts every unknown field.
    """

    ignored: ClassVar[frozenset[str]] = frozenset()
    blank: ClassVar[frozenset[str]] = frozenset()
    anything: ClassVar[bool] = False


def fields_of(*kinds: type[Any], but: Iterable[str] = ()) -> frozenset[str]:
    """The wire names of the fields of these classes."""
    return frozenset(a.name for kind in kinds for a in attrs.fields(kind)) - frozenset(but)


def read_object(raw: bytes) -> dict[str, Any]:
    """A body as a JSON object. No body is an empty object. Raises `Invalid` with line and column."""
    if not raw.strip():
        return {}
    try:
        value = orjson.loads(raw)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Invalid(
            f"the body is not JSON: {error.msg} at {where}", hint="Mend the JSON and send it again."
        ) from None
    if not isinstance(value, dict):
        raise Invalid(f"the body must be a JSON object, not {_called(value)}")
    if _NUL.search(raw):
        raise Invalid("the body has a text with a NUL character (\\u0000) in it", hint="Leave the character out.")
    return value


def read_body(kind: type[T], raw: bytes, *, identity: str | None = None) -> T:
    """What was asked. `identity` is the id in the path, which a body may repeat but not change. Raises `Invalid`."""
    value = read_object(raw)
    if identity is not None and value.get("id") not in (None, "", identity):
        raise Invalid.field("id", f"is {identity} in the path and cannot be changed")
    return _structured(_JSON, kind, value, "the request")


def read_query(kind: type[T], text: str) -> T:
    """The query string. An empty value is the same as none, of several values the first counts. Raises `Invalid`."""
    try:
        pairs = urllib.parse.parse_qsl(text, max_num_fields=MAX_QUERY_PARAMETERS, errors="strict")
    except ValueError:
        raise Invalid(f"the query has more than {MAX_QUERY_PARAMETERS} parameters or is not UTF-8") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        given.setdefault(name, value)
    if bad := [name for name, value in given.items() if "\0" in name + value]:
        raise Invalid.field(bad[0].replace("\0", "\\0"), "has a NUL character in it")
    return _structured(_TEXT, kind, given, "the query")


def read_base64(text: str) -> bytes:
    """Base64 as it stands in a path, percent-encoded or not. Raises `Unreadable`."""
    try:
        return base64.b64decode(urllib.parse.unquote(text), validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("the path does not end in base64") from None


def in_wire_names(error: Invalid, kind: type[Any]) -> Invalid:
    """The error with fields called as the body of this class calls them; the core knows its own names only."""
    if "certificate_profile_id" not in fields_of(kind):
        return error

    def renamed(text: str) -> str:
        return re.sub(r"\bprofile_id\b", "certificate_profile_id", text)

    fields = (FieldProblem(renamed(problem.field), problem.message) for problem in error.fields)
    return Invalid(renamed(error.message), fields=fields, hint=error.hint)


# --- values -----------------------------------------------------------------------------------------------------------

_RFC3339: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,15}")
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TRUE: Final = frozenset({"1", "t", "T", "true", "True", "TRUE"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "False", "FALSE"})
_WORDS: Final = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "a truth value",
    int: "a number",
    float: "a number",
}


def read_time(value: Any) -> datetime:
    """RFC 3339 section 5.6, in upper case. Digits beyond microseconds are dropped. Raises ValueError."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be a time such as 2031-01-02T03:04:05Z (RFC 3339, with an offset)")
    try:
        return datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", value)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a time of the calendar") from None


def _exactly(kind: type, words: str) -> Hook:
    def read(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"must be {words}, not {_called(value)}")
        return value

    return read


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"must be a number, not {_called(value)}")
    return float(value)


def _called(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


def _read_enum(value: Any, kind: type[Enum]) -> Enum:
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"must be one of {', '.join(str(member.value) for member in kind)}") from None


def _text_bool(value: str, _: Any) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ValueError("must be true or false")


def _text_int(value: str, _: Any) -> int:
    if not _WHOLE.fullmatch(value):
        raise ValueError("must be a whole number")
    return int(value)


def _text_list(value: str, _: Any) -> tuple[str, ...]:
    return tuple(item.strip() for item in value.split(",") if item.strip())


# --- the two readers --------------------------------------------------------------------------------------------------


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _is_tuple(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is tuple


def _is_mapping(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Mapping


def _is_bounded(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Annotated and any(isinstance(note, (Bound, Fallback)) for note in get_args(kind)[1:])


def _bounded(reader: cattrs.Converter, kind: Any) -> Hook:
    inner, *notes = get_args(kind)
    if fallback := next((note for note in notes if isinstance(note, Fallback)), None):
        return lambda value, _: fallback.read(value)
    structure = reader.get_structure_hook(inner)
    bounds = [note for note in notes if isinstance(note, Bound)]

    def read(value: Any, _: Any) -> Any:
        structured = structure(value, inner)
        for bound in bounds:
            if said := bound.problem(structured):
                raise ValueError(said)
        return structured

    return read


def _object(reader: cattrs.Converter, kind: type[Any]) -> Hook:
    structure: Hook = make_dict_structure_fn(kind, reader, _cattrs_forbid_extra_keys=True)
    rules: type[Accepts] = kind if issubclass(kind, Accepts) else Accepts
    known = fields_of(kind) if rules.anything else None
    must_be = _exactly(dict, "an object")

    def counts(name: str, part: Any) -> bool:
        if part is None or name in rules.ignored or (part == "" and name in rules.blank):
            return False
        return known is None or name in known

    def read(value: Any, _: Any) -> Any:
        given: dict[str, Any] = must_be(value, dict)
        return structure({name: part for name, part in given.items() if counts(name, part)}, kind)

    return read


def _collection(reader: cattrs.Converter, kind: Any, generic: Any, must_be: Hook) -> Hook:
    """A tuple as a list of the same parts, a mapping as a dict. cattrs takes any iterable for a list; a text or an
    object is none."""
    parts = get_args(kind)[:1] if generic is list else get_args(kind)
    same = generic[parts]
    structure = reader.get_structure_hook(same)
    make: Callable[[Any], Any] = tuple if generic is list else dict
    return lambda value, _: make(structure(must_be(value, same), same))


def _reader() -> cattrs.Converter:
    reader = cattrs.Converter(forbid_extra_keys=True)
    reader.register_structure_hook(datetime, lambda value, _: read_time(value))
    reader.register_structure_hook_func(_is_enum, _read_enum)
    reader.register_structure_hook_factory(_is_bounded, lambda kind: _bounded(reader, kind))
    reader.register_structure_hook_factory(attrs.has, lambda kind: _object(reader, kind))
    return reader


def _json_reader() -> cattrs.Converter:
    reader = _reader()
    reader.register_structure_hook(str, _exactly(str, "a text"))
    reader.register_structure_hook(int, _exactly(int, "a whole number"))
    reader.register_structure_hook(float, _number)
    reader.register_structure_hook(bool, _exactly(bool, "true or false"))
    a_list, an_object = _exactly(list, "a list"), _exactly(dict, "an object")
    reader.register_structure_hook_factory(_is_tuple, lambda kind: _collection(reader, kind, list, a_list))
    reader.register_structure_hook_factory(_is_mapping, lambda kind: _collection(reader, kind, dict, an_object))
    return reader


def _text_reader() -> cattrs.Converter:
    reader = _reader()
    reader.register_structure_hook(str, lambda value, _: value)
    reader.register_structure_hook(int, _text_int)
    reader.register_structure_hook(bool, _text_bool)
    reader.register_structure_hook_func(_is_tuple, _text_list)
    return reader


_JSON: Final = _json_reader()
_TEXT: Final = _text_reader()


def _structured(reader: cattrs.Converter, kind: type[T], value: Mapping[str, Any], what: str) -> T:
    try:
        return reader.structure(value, kind)
    except BaseValidationError as error:
        problems = tuple(_problems(error, ""))
        said = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
        raise Invalid(f"{what} is not valid: {said}", fields=problems) from None


def _problems(error: BaseException, path: str) -> Iterator[FieldProblem]:
    """Walk the tree of what cattrs found, one problem a leaf, each with its path."""
    here = path + _step(error, path)
    match error:
        case BaseValidationError():
            for part in error.exceptions:
                yield from _problems(part, here)
        case ForbiddenExtraKeysError():
            for name in sorted(error.extra_fields):
                yield FieldProblem(f"{here}.{name}" if here else name, _unknown(name, error.cl))
        case KeyError():
            yield FieldProblem(here, "is required")
        case _:
            yield FieldProblem(here, str(error))


def _step(error: BaseException, path: str) -> str:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f".{note.name}" if path else note.name
        if isinstance(note, IterableValidationNote):
            return f"[{note.index}]" if isinstance(note.index, int) else f".{note.index}"
    return ""


def _unknown(name: str, kind: type) -> str:
    near = difflib.get_close_matches(name, fields_of(kind), n=1)
    return f"unknown field; did you mean {near[0]}?" if near else "unknown field"
