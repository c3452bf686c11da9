"""Sealing: the audit trail becomes the leaves of a Merkle tree, whose root is signed again and again.

Theory of operation. An event is written in the transaction of the change that it tells of, and the database notes in
the same transaction that it waits to be sealed. A loop takes what waits, in the order of writing, appends it to the
tree as the next leaves, and signs a checkpoint: so many leaves, this root, this time.

Writing never waits for sealing: the two touch no row in common but the notes, which one adds and the other removes. And
sealing never passes over an event. The numbers that the database gives to events (`seq`) say nothing about that: a
transaction with a low number may commit long after one with a higher number, and one that is rolled back leaves a gap
that looks the same until then. So nothing is concluded from numbers. A note becomes visible with its event, in one
commit, however late, and is removed in the transaction that makes the event a leaf. The place of an event in the tree
(`leaf_index`) is the order in which events were sealed, and has no gaps.

    take       what waits, at most `BATCH`; holds the tree
    append     leaf hashes, and the subtrees that they complete
    sign       a checkpoint of the tree as it is now
               all of it in one transaction: killed anywhere, nothing is sealed twice and nothing is lost

Before it appends, it computes the root of the tree from the stored hashes and compares it with the last checkpoint, so
that a tree somebody has changed is not built upon. That the events themselves are unchanged is for those to see who
read them: each has its leaf hash, an inclusion proof leads from there to a root, and a consistency proof shows that one
checkpoint's tree begins with another's (RFC 9162 section 2). Whoever keeps the public key and a checkpoint elsewhere
can tell whether anything that was sealed before it has been changed since, without trusting this server.

The key is made once, by whoever starts first, and kept sealed in the database.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from certctl_core.errors import Conflict, Invalid, NotFound, Unreadable
from certctl_core.models.access import Actor
from certctl_core.models.trail import Checkpoint, Entry
from certctl_core.pki import checkpoint as notes
from certctl_core.pki import keys, merkle
from certctl_core.pki.checkpoint import Verifier
from certctl_core.pki.merkle import Edge, Range, Subtree
from certctl_core.ports import Ports
from certctl_core.ports.store import Page, Query, StoredSigner, Work
from certctl_core.usecases import scope

BATCH: Final = 5000


@frozen
class _Signer:
    """The private key of the log and the name it signs by."""

    key: Ed25519PrivateKey
    name: str


@frozen(kw_only=True)
class Sealed:
    """The newest checkpoint, None before the first, and how many events are not under it yet."""

    verifier: Verifier
    checkpoint: Checkpoint | None
    waiting: int


@frozen(kw_only=True)
class Inclusion:
    """What shows that an event is in the tree of a checkpoint."""

    entry: Entry
    leaf_index: int
    leaf_hash: bytes
    path: tuple[bytes, ...]
    checkpoint: Checkpoint


@frozen(kw_only=True)
class Consistency:
    """What shows that the tree of the second checkpoint begins with that of the first."""

    first: Checkpoint
    second: Checkpoint
    path: tuple[bytes, ...]


def ensure_signer(ports: Ports) -> tuple[Verifier, bool]:
    """The public key of the log, and whether it was made now."""
    with ports.work() as work:
        known = work.seals.find_signer()
    return _verifier(known or _make(ports)), known is None


def _make(ports: Ports) -> StoredSigner:
    key = Ed25519PrivateKey.generate()
    mine = StoredSigner(
        name=notes.origin_of(key.public_key()),
        public_key=key.public_key().public_bytes_raw(),
        sealed_key=ports.secrets.seal(keys.to_der(key)),
        created_at=ports.clock.now(),
    )
    with ports.work() as work:
        return work.seals.lock_or_add_signer(mine)


def _verifier(stored: StoredSigner) -> Verifier:
    return Verifier(Ed25519PublicKey.from_public_bytes(stored.public_key), stored.name)


def _open(ports: Ports, stored: StoredSigner) -> _Signer:
    key = keys.from_der(ports.secrets.open(stored.sealed_key))
    if not isinstance(key, Ed25519PrivateKey):
        raise Unreadable("the key that signs checkpoints is not one of Ed25519")
    return _Signer(key, stored.name)


def seal(ports: Ports) -> int:
    """Seal everything that waits. Returns how many events were sealed. Raises `Conflict` when the stored tree is not
    what was signed: then nothing is sealed until somebody has looked into it.

    Within a run each batch begins behind the one before, so as not to pass by the notes that were removed. An event
    whose transaction commits late, with a number that is behind, is for the next run, which begins from the start."""
    with ports.work() as work:
        if work.seals.longest_waiting() is None:
            return 0
        known = work.seals.find_signer()
    signer = _open(ports, known or _make(ports))
    done, seq = 0, 0
    while sealed := _seal_batch(ports, signer, seq):
        done += len(sealed)
        seq = sealed[-1] + 1
        ports.tripwire("seal:1")
    return done


def _seal_batch(ports: Ports, signer: _Signer, seq: int) -> Sequence[int]:
    """Seal what waits, written from `seq` on, at most `BATCH`. Returns the numbers of the events, in order."""
    now = ports.clock.now()
    with ports.work() as work:
        taken = [(entry.seq, merkle.leaf_hash(entry.text.encode())) for entry in work.seals.take(BATCH, seq)]
        if not taken:
            return ()
        edge = _edge(work)
        first = edge.size
        completed: dict[Subtree, bytes] = {}
        for _, leaf in taken:
            completed.update(edge.add(leaf))
        numbers = [number for number, _ in taken]
        work.seals.append(first, numbers, [leaf for _, leaf in taken], completed)
        work.seals.add_checkpoint(notes.sign(signer.key, signer.name, edge.size, edge.root(), now))
    return numbers


def _edge(work: Work) -> Edge:
    """The right edge of the tree. Raises `Conflict` when it does not give the root that was signed."""
    last = work.seals.latest()
    if last is None:
        return Edge()
    edge = Edge(last.tree_size, hashes(work, merkle.cover((0, last.tree_size))))
    if edge.root() != last.root_hash:
        raise _tampered(f"the tree of {last.tree_size} leaves has not the root that was signed")
    return edge


def hashes(work: Work, subtrees: Sequence[Subtree]) -> list[bytes]:
    """The stored hashes of complete subtrees, in one statement. Raises `Conflict` when one is not there."""
    known = work.seals.hashes(subtrees)
    if missing := [subtree for subtree in subtrees if subtree not in known]:
        raise _tampered("leaves {} to {} are not all there".format(*missing[0].leaves))
    return [known[subtree] for subtree in subtrees]


def _tampered(what: str) -> Conflict:
    return Conflict(
        f"the sealed audit trail has been changed: {what}",
        hint="Export the trail and run certctl audit verify with a checkpoint that was kept elsewhere.",
    )


def latest(ports: Ports, caller: Actor) -> Sealed:
    """What is sealed, and the key to verify it by."""
    scope.must_reach_everything(caller)
    with ports.work() as work:
        signer = work.seals.find_signer()
        checkpoint, waiting = work.seals.latest(), work.seals.waiting()
    return Sealed(verifier=_verifier(signer or _make(ports)), checkpoint=checkpoint, waiting=waiting)


def page(ports: Ports, caller: Actor, query: Query) -> Page[Checkpoint]:
    scope.must_reach_everything(caller)
    with ports.work() as work:
        return work.seals.checkpoints(query)


def prove(ports: Ports, caller: Actor, event_id: str, tree_size: int | None = None) -> Inclusion:
    """That an event is in the tree of the checkpoint of this size, by default the newest. Raises `NotFound` for what
    does not exist, and `Conflict` for an event that is not sealed yet, or was not when the checkpoint was signed."""
    scope.must_reach_everything(caller)
    with ports.work() as work:
        entry = work.seals.entry(event_id)
        checkpoint = work.seals.latest() if tree_size is None else work.seals.checkpoint(tree_size)
        if entry.leaf_index is None or entry.leaf_hash is None or checkpoint is None:
            raise Conflict(f"event {event_id} is not sealed yet", hint="Ask again in a moment.")
        if entry.leaf_index >= checkpoint.tree_size:
            raise Conflict(
                f"event {event_id} is leaf {entry.leaf_index}, and the checkpoint is of {checkpoint.tree_size} leaves",
                hint="Ask for a newer checkpoint.",
            )
        ranges = merkle.inclusion_path(entry.leaf_index, checkpoint.tree_size)
        path = _roots(work, ranges)
    return Inclusion(
        entry=entry, leaf_index=entry.leaf_index, leaf_hash=entry.leaf_hash, path=path, checkpoint=checkpoint
    )


def compare(ports: Ports, caller: Actor, first: int, second: int | None = None) -> Consistency:
    """That the tree of the checkpoint of size `second`, by default the newest, begins with that of size `first`. Raises
    `NotFound` for a size of which there is no checkpoint, and `Invalid` when the second is the smaller one."""
    scope.must_reach_everything(caller)
    with ports.work() as work:
        older = work.seals.checkpoint(first)
        newer = work.seals.latest() if second is None else work.seals.checkpoint(second)
        if newer is None:
            raise NotFound("there is no checkpoint yet")
        if newer.tree_size < older.tree_size:
            raise Invalid.field("second", f"is smaller than first, and a tree of {first} leaves does not shrink")
        path = _roots(work, merkle.consistency_path(older.tree_size, newer.tree_size))
    return Consistency(first=older, second=newer, path=path)


def _roots(work: Work, ranges: Iterable[Range]) -> tuple[bytes, ...]:
    """The root of each range, from the stored subtrees, in one statement."""
    covers = [merkle.cover(one) for one in ranges]
    found = iter(hashes(work, [subtree for cover in covers for subtree in cover]))
    return tuple(merkle.fold([next(found) for _ in cover]) for cover in covers)
