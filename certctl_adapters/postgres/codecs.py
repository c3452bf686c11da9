"""From the type of a fact's field to the value of a column, and back."""

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

import attrs
import orjson
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from psycopg.types.json import Jsonb


def same(value: Any) -> Any:
    return value


@frozen
class Codec:
    """`dump` makes what the driver sends, `load` takes what it received. Neither sees None."""

    dump: Callable[[Any], Any] = same
    load: Callable[[Any], Any] = same


_PLAIN: Final = Codec()
_LISTED: Final = Codec(list, tuple)
_JSON: Final = Codec(lambda value: Jsonb(dict(value)))
_BYTES: Final = Codec(load=bytes)
_DER: Final[Mapping[type, Codec]] = {
    x509.Certificate: Codec(lambda value: value.public_bytes(Encoding.DER), x509.load_der_x509_certificate),
    x509.CertificateSigningRequest: Codec(lambda value: value.public_bytes(Encoding.DER), x509.load_der_x509_csr),
}


def codec_for(declared: Any) -> Codec:
    """The codec of a field declared with this type; a type that may be None has the codec of the rest."""
    declared = plain_type(declared)
    if typing.get_origin(declared) is tuple:
        return _sequence(typing.get_args(declared)[0])
    if typing.get_origin(declared) is not None:
        return _mapping(*typing.get_args(declared))
    if declared in _DER:
        return _DER[declared]
    if isinstance(declared, type) and issubclass(declared, Enum):
        return Codec(lambda value: value.value, declared)
    return _BYTES if declared is bytes else _PLAIN


def _sequence(item: Any) -> Codec:
    """Arrays for what PostgreSQL has a type for, JSON for tuples of facts."""
    if attrs.has(item):
        return Codec(
            lambda values: Jsonb([attrs.asdict(value) for value in values]),
            lambda values: tuple(item(**value) for value in values),
        )
    inner = codec_for(item)
    if inner is _PLAIN:
        return _LISTED
    return Codec(
        lambda values: [inner.dump(value) for value in values], lambda values: tuple(inner.load(v) for v in values)
    )


def _mapping(key: Any, item: Any) -> Codec:
    """A JSON object, whose names are texts whatever the keys are."""
    if key is str and typing.get_origin(item) is None:
        return _JSON
    name = codec_for(key) if key is not int else Codec(str, int)
    inner = codec_for(item)
    return Codec(
        lambda value: Jsonb({name.dump(k): inner.dump(v) for k, v in value.items()}),
        lambda value: {name.load(k): inner.load(v) for k, v in value.items()},
    )


def plain_type(declared: Any) -> Any:
    """The type without `| None` and without the new name that `NewType` gave it."""
    if isinstance(declared, types.UnionType) or typing.get_origin(declared) is typing.Union:
        (declared,) = (part for part in typing.get_args(declared) if part is not types.NoneType)
    return getattr(declared, "__supertype__", declared)


def is_optional_time(declared: Any) -> bool:
    return plain_type(declared) is datetime and declared is not datetime


def is_several(declared: Any) -> bool:
    return typing.get_origin(plain_type(declared)) is tuple


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of dumped values as one text for `json_populate_recordset`."""
    return orjson.dumps(rows, default=_json_value).decode()


def _json_value(value: Any) -> Any:
    """What PostgreSQL reads back as the value, for what JSON has no word for."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, Jsonb):
        return value.obj
    if isinstance(value, timedelta):
        return f"{value // timedelta(microseconds=1)} microseconds"
    raise TypeError(f"{type(value).__name__} is no value of a column")
