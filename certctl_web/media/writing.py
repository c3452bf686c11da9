"""Classes of the wire as JSON.

Times are UTC with a Z, a time that has not come yet is `0001-01-01T00:00:00Z`, lists are never null, and a field whose
default is None is left out when it is None.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, get_origin

import attrs
import orjson
from cattrs.gen import make_dict_unstructure_fn, override
from cattrs.preconf.orjson import OrjsonConverter, make_converter

ZERO_TIME: Final = datetime(1, 1, 1, tzinfo=UTC)


def or_zero(at: datetime | None) -> datetime:
    """For times that the contract always writes: zero until there is one."""
    return at or ZERO_TIME


def write_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def plain(value: Any) -> Any:
    """A sent class as JSON values (times are still `datetime`)."""
    return _WRITER.unstructure(value)


def write_json(value: Any) -> bytes:
    """A sent class, or JSON values, as bytes."""
    return orjson.dumps(_WRITER.unstructure(value), option=orjson.OPT_UTC_Z)


def _writer() -> OrjsonConverter:
    writer = make_converter()

    def leave_out_nothing(kind: Any) -> Callable[[Any], Any]:
        fields: Any = attrs.fields(_plain_class(kind))
        rules: dict[str, Any] = {a.name: override(omit_if_default=True) for a in fields if a.default is None}
        return make_dict_unstructure_fn(kind, writer, **rules)

    writer.register_unstructure_hook_factory(lambda kind: attrs.has(_plain_class(kind)), leave_out_nothing)
    return writer


def _plain_class(kind: Any) -> Any:
    """`PagedResponse` for `PagedResponse[Team]`."""
    origin: Any = get_origin(kind)
    return kind if origin is None else origin


_WRITER: Final = _writer()
