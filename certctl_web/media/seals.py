"""Checkpoints of the audit trail and proofs about them, on the wire. Hashes are SHA-256 in hex."""

from datetime import datetime
from typing import Annotated, Self

from attrs import frozen

from certctl_core.models import trail as facts
from certctl_core.ports.store import Query
from certctl_core.usecases import sealing
from certctl_web.media.bounds import Range
from certctl_web.media.paging import Paging

TreeSize = Annotated[int, Range(1, (1 << 53) - 1)]
"""Of a checkpoint: how many events it is of."""


@frozen(kw_only=True)
class AuditCheckpoint:
    """What the first `tree_size` sealed events were: the root of the Merkle tree above them (RFC 9162 section 2).
    `note` is the same as a signed note, which can be kept and verified anywhere."""

    tree_size: int
    root_hash: str
    created_at: datetime
    note: str

    @classmethod
    def of(cls, fact: facts.Checkpoint) -> Self:
        return cls(tree_size=fact.tree_size, root_hash=fact.root_hash.hex(), created_at=fact.created_at, note=fact.note)


@frozen(kw_only=True)
class CheckpointList(Paging):
    """The largest tree first."""

    def wish(self) -> Query:
        return self.ask(sort="tree_size", descending=True)


@frozen(kw_only=True)
class AuditSeal:
    """The newest checkpoint, none before the first, and the key it is signed with: `verifier_key` as transparency logs
    write theirs, `public_key` the same in PEM. `waiting` is how many events are not sealed yet."""

    origin: str
    verifier_key: str
    public_key: str
    waiting: int
    checkpoint: AuditCheckpoint | None = None

    @classmethod
    def of(cls, sealed: sealing.Sealed) -> Self:
        return cls(
            origin=sealed.verifier.name,
            verifier_key=str(sealed.verifier),
            public_key=sealed.verifier.pem,
            waiting=sealed.waiting,
            checkpoint=AuditCheckpoint.of(sealed.checkpoint) if sealed.checkpoint else None,
        )


@frozen(kw_only=True)
class ProofQuery:
    """`checkpoint` is the tree size of the one to prove by, the newest if not said."""

    checkpoint: TreeSize | None = None


@frozen(kw_only=True)
class AuditProof:
    """That an event is among those of a checkpoint. `text` is the event as it is stored now: it is unchanged when the
    SHA-256 of a zero byte and this text is `leaf_hash`. `path` leads from there to the root (RFC 9162 section
    2.1.3.2)."""

    event_id: str
    text: str
    leaf_index: int
    leaf_hash: str
    path: tuple[str, ...]
    checkpoint: AuditCheckpoint

    @classmethod
    def of(cls, proof: sealing.Inclusion) -> Self:
        return cls(
            event_id=proof.entry.id,
            text=proof.entry.text,
            leaf_index=proof.leaf_index,
            leaf_hash=proof.leaf_hash.hex(),
            path=tuple(one.hex() for one in proof.path),
            checkpoint=AuditCheckpoint.of(proof.checkpoint),
        )


@frozen(kw_only=True)
class ConsistencyQuery:
    """The tree sizes of two checkpoints; the second is the newest if not said."""

    first: TreeSize
    second: TreeSize | None = None


@frozen(kw_only=True)
class AuditConsistency:
    """That the events of the first checkpoint are the first ones of the second (RFC 9162 section 2.1.4.2)."""

    first: AuditCheckpoint
    second: AuditCheckpoint
    path: tuple[str, ...]

    @classmethod
    def of(cls, proof: sealing.Consistency) -> Self:
        return cls(
            first=AuditCheckpoint.of(proof.first),
            second=AuditCheckpoint.of(proof.second),
            path=tuple(one.hex() for one in proof.path),
        )
