"""The audit trail as a file that can be verified without the server it came from: JSON lines.

    {"type":"trail", "version":1, "origin":..., "verifier_key":..., "exported_at":..., "filters":{...}}
    {"type":"event", "seq":..., "leaf_index":..., "leaf_hash":..., "event":{...}}
    {"type":"checkpoint", "note":...}
    {"type":"proof", "tree_size":..., "hashes":[...]}
    {"type":"end", "events":...}

`event` is the text that is sealed, byte for byte (`models.trail`). A line is an object like any other: whoever formats
it anew loses nothing, since the text can be written again from what it says. An event that is not sealed yet has no
`leaf_index` and no `leaf_hash`, one that is not of the audit trail no `seq` either.

Without filters an export is whole: its sealed events are all leaves of the tree, in order, and a checkpoint stands
behind the last leaf that it is of. So the roots can be computed as the file is read. With filters it is a part: it
begins with a checkpoint, and behind every few events comes what must be known beside their leaves to compute the root
of that checkpoint (`merkle.beside`).
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from attrs import field, frozen

from certctl_core.errors import Unreadable
from certctl_core.models.trail import Checkpoint, Entry, canonical_json, time_text
from certctl_core.pki.checkpoint import Verifier
from certctl_core.pki.merkle import HASH_SIZE

VERSION: Final = 1
MAX_LINE: Final = 1 << 20

_LARGEST: Final = (1 << 53) - 1


@frozen
class Proof:
    """What is beside the events since the last proof in the tree of this size."""

    tree_size: int
    hashes: tuple[bytes, ...] = field(repr=False)


Item = Entry | Checkpoint | Proof


@frozen
class Head:
    """Which log an export says it is of, by which key, and what was left out."""

    origin: str
    verifier_key: str
    filters: Mapping[str, str]

    @property
    def is_whole(self) -> bool:
        return not self.filters


@frozen
class Event:
    """An event as an export tells it."""

    id: str
    text: bytes = field(repr=False)
    timestamp: str
    seq: int | None = None
    leaf_index: int | None = None
    leaf_hash: bytes | None = None


@frozen
class Note:
    """A checkpoint that has yet to be verified."""

    text: str


@frozen
class End:
    """The last line: how many events there are."""

    events: int


Line = Head | Event | Note | Proof | End


# Writing


def head(verifier: Verifier, at: datetime, filters: Mapping[str, str]) -> str:
    return _line(
        type="trail",
        version=VERSION,
        origin=verifier.name,
        verifier_key=str(verifier),
        exported_at=time_text(at),
        filters=dict(filters),
    )


def line(item: Item) -> str:
    match item:
        case Entry(seq=seq, leaf_index=int(index), leaf_hash=bytes(value)):
            return (
                f'{{"type":"event","seq":{seq},"leaf_index":{index},"leaf_hash":"{value.hex()}","event":{item.text}}}\n'
            )
        case Entry(seq=0):
            return f'{{"type":"event","event":{item.text}}}\n'
        case Entry(seq=seq):
            return f'{{"type":"event","seq":{seq},"event":{item.text}}}\n'
        case Checkpoint(note=note):
            return _line(type="checkpoint", note=note)
        case Proof(tree_size, hashes):
            return _line(type="proof", tree_size=tree_size, hashes=[one.hex() for one in hashes])


def end(events: int) -> str:
    return _line(type="end", events=events)


def _line(**members: Any) -> str:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False) + "\n"


# Reading


def read(text: str) -> Line:
    """What a line says. Raises `Unreadable`."""
    if len(text) > MAX_LINE:
        raise Unreadable(f"the line is longer than {MAX_LINE} characters")
    try:
        said = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the line is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise Unreadable("the line is no JSON object")
    try:
        return _said(said)
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"the line is not as an export has it: {error}") from None


def _said(said: Mapping[str, Any]) -> Line:
    match said["type"]:
        case "trail":
            if said["version"] != VERSION:
                raise Unreadable(f"the export is of version {said['version']}, which this program does not know")
            filters = {str(name): str(value) for name, value in said["filters"].items()}
            return Head(_text(said["origin"]), _text(said["verifier_key"]), filters)
        case "event":
            return _event(said)
        case "checkpoint":
            return Note(_text(said["note"]))
        case "proof":
            return Proof(_number(said["tree_size"]), tuple(_hash(one) for one in said["hashes"]))
        case "end":
            return End(_number(said["events"]))
        case other:
            raise Unreadable(f"{other!r} is no type of line")


def _event(said: Mapping[str, Any]) -> Event:
    event = said["event"]
    if not isinstance(event, dict):
        raise TypeError("event is no object")
    return Event(
        id=_text(event["id"]),
        text=canonical_json(event).encode(),
        timestamp=_text(event["timestamp"]),
        seq=_number(said["seq"]) if "seq" in said else None,
        leaf_index=_number(said["leaf_index"]) if "leaf_index" in said else None,
        leaf_hash=_hash(said["leaf_hash"]) if "leaf_index" in said else None,
    )


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two members of one name programs see one or the other: what is meant to be proof must not leave it open."""
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a name occurs twice in an object")
    return found


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError(f"{value!r} is no number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _hash(value: Any) -> bytes:
    raw = bytes.fromhex(_text(value))
    if len(raw) != HASH_SIZE:
        raise ValueError(f"{value!r} is no SHA-256")
    return raw
