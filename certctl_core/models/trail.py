"""The audit trail as it is sealed: entries, whose text is what is hashed, and checkpoints.

The text of an entry is one JSON object without any freedom: its members are in the order of their names, there is no
space between tokens, no character is escaped that need not be, the time is UTC with six digits of a second, and
`details` is the very text that is stored. So two programs that know the event agree on its bytes, and no part of the
row can be changed without changing them.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any, Self

from attrs import field, frozen

from certctl_core.models.access import ActorType
from certctl_core.models.records import AuditEvent


def canonical_json(value: Mapping[str, Any]) -> str:
    """The one spelling of a JSON object. Raises `TypeError` or `ValueError` for what is not JSON."""
    return json.dumps(dict(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@frozen(kw_only=True)
class Entry:
    """An event as it is stored: `details` is JSON text. `seq` is the order of writing, 0 for what is not of the audit
    trail. `leaf_index` is its place among the leaves of the Merkle tree and `leaf_hash` what was sealed there; None
    until it is."""

    seq: int
    id: str
    actor: str
    actor_type: ActorType
    action: str
    resource_type: str
    resource_id: str
    details: str
    request_id: str = ""
    timestamp: datetime
    leaf_index: int | None = None
    leaf_hash: bytes | None = None

    @classmethod
    def of(cls, event: AuditEvent, seq: int = 0) -> Self:
        return cls(
            seq=seq,
            id=event.id,
            actor=event.actor,
            actor_type=event.actor_type,
            action=event.action,
            resource_type=event.resource_type,
            resource_id=event.resource_id,
            details=canonical_json(event.details),
            request_id=event.request_id,
            timestamp=event.timestamp,
        )

    @property
    def text(self) -> str:
        """What is hashed, in UTF-8."""
        return (
            f'{{"action":{encode_basestring(self.action)},"actor":{encode_basestring(self.actor)}'
            f',"actor_type":{encode_basestring(self.actor_type.value)},"details":{self.details}'
            f',"id":{encode_basestring(self.id)},"request_id":{encode_basestring(self.request_id)}'
            f',"resource_id":{encode_basestring(self.resource_id)}'
            f',"resource_type":{encode_basestring(self.resource_type)},"timestamp":"{time_text(self.timestamp)}"}}'
        )


def time_text(at: datetime) -> str:
    """`2031-03-04T05:06:07.000000Z`."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@frozen(kw_only=True)
class Checkpoint:
    """What the first `tree_size` leaves were at `created_at`, in one hash. `note` is the same, signed."""

    tree_size: int
    root_hash: bytes
    created_at: datetime
    note: str = field(repr=False)
