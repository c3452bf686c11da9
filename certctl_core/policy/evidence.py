"""Whether an export of the audit trail is what was sealed: judged from the file, a key, and checkpoints kept elsewhere.

What a good verdict says depends on what was brought along. The signatures in a file show that whoever had the key of
the log signed it; the key that the file itself names shows no more than that the file agrees with itself. A key that
was kept elsewhere shows that it is of the log meant. And a checkpoint that was kept elsewhere shows that nothing which
was sealed before it has been changed since by anybody, the server and its key included.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from attrs import define, field, frozen

from certctl_core.errors import Unreadable
from certctl_core.models.trail import Checkpoint
from certctl_core.pki import checkpoint, export, merkle
from certctl_core.pki.checkpoint import Verifier
from certctl_core.pki.export import End, Event, Head, Line, Note, Proof
from certctl_core.pki.merkle import Edge

MAX_RUN: Final = 10_000
"""Events between two proofs, which are in memory together."""


@frozen
class Flaw:
    """The first thing that does not fit: in which line, counted from 1, and what. Line 0 is what is missing at the
    end."""

    line: int
    what: str


@frozen(kw_only=True)
class Verdict:
    """`sealed` events were proved by `checkpoints` signed ones in the file, the last of which is `last`; `unsealed`
    events are told by the file alone. `kept` is how many of the checkpoints that were brought along agree. `is_pinned`:
    a key or a checkpoint was brought along. `flaw` is None when all is well; with one, the rest is what was found until
    then."""

    flaw: Flaw | None
    verifier_key: str
    is_pinned: bool
    is_whole: bool
    sealed: int
    unsealed: int
    checkpoints: int
    kept: int
    last: Checkpoint | None


def verify(lines: Iterable[str], verifier: Verifier | None = None, kept: Sequence[str] = ()) -> Verdict:
    """Read an export to its end, or to the first flaw. `kept` are notes of checkpoints that were kept elsewhere. A long
    file needs no more memory than a short one."""
    judge = _Judge(verifier=verifier, is_pinned=verifier is not None, notes=tuple(kept))
    number = 0
    try:
        for text in lines:
            number += 1
            judge.hear(export.read(text))
        number = 0
        judge.conclude()
    except (_Unfit, Unreadable) as flaw:
        return judge.verdict(Flaw(number, str(flaw)))
    return judge.verdict(None)


class _Unfit(Exception):
    """A line says what cannot be."""


@define(kw_only=True)
class _Judge:
    """What is known so far. `edge` grows with the leaves of a whole export; `run` holds those of a part since the last
    proof; `kept` the checkpoints that were brought along, by size, until they are compared."""

    verifier: Verifier | None
    is_pinned: bool
    notes: tuple[str, ...]
    has_begun: bool = False
    is_whole: bool = True
    last: Checkpoint | None = None
    edge: Edge = field(factory=Edge)
    run: dict[int, bytes] = field(factory=dict)
    before: tuple[str, str] = ("", "")
    kept: dict[int, Checkpoint] = field(factory=dict)
    agreed: int = 0
    events: int = 0
    sealed: int = 0
    unsealed: int = 0
    checkpoints: int = 0
    is_over: bool = False

    def verdict(self, flaw: Flaw | None) -> Verdict:
        return Verdict(
            flaw=flaw,
            verifier_key=str(self.verifier or ""),
            is_pinned=self.is_pinned or self.agreed > 0,
            is_whole=self.is_whole,
            sealed=self.sealed,
            unsealed=self.unsealed,
            checkpoints=self.checkpoints,
            kept=self.agreed,
            last=self.last,
        )

    def hear(self, line: Line) -> None:
        if self.is_over:
            raise _Unfit("there is more behind the end")
        if not self.has_begun:
            self._begin(line)
            return
        match line:
            case Head():
                raise _Unfit("the export begins a second time")
            case Event(leaf_index=None):
                self.events += 1
                self.unsealed += 1
            case Event():
                self.events += 1
                self._sealed(line)
            case Note(text):
                self._checkpoint(self._checked(text))
            case Proof():
                self._proof(line)
            case End(events):
                self._end(events)

    def conclude(self) -> None:
        if not self.is_over:
            raise _Unfit(
                "the export is cut off: its last line is missing" if self.has_begun else "there is no export in it"
            )

    def _begin(self, line: Line) -> None:
        if not isinstance(line, Head):
            raise _Unfit("this is no export of an audit trail: it does not begin like one")
        self.has_begun, self.is_whole = True, line.is_whole
        if self.verifier is None:
            self.verifier = checkpoint.verifier(line.verifier_key)
        if line.origin != (self.verifier.name or line.origin):
            raise _Unfit(f"the export is of the log {line.origin}, and the key of {self.verifier.name}")
        for note in self.notes:
            known = self._checked(note)
            self.kept[known.tree_size] = known

    def _checked(self, note: str) -> Checkpoint:
        if self.verifier is None:
            raise AssertionError("the key is known from the first line on")
        return self.verifier.check(note)

    def _sealed(self, event: Event) -> None:
        leaf, index = merkle.leaf_hash(event.text), event.leaf_index or 0
        if leaf != event.leaf_hash:
            raise _Unfit(f"event {event.id}, leaf {index}, is not what was sealed")
        if not self.is_whole:
            self._in_part(event, index, leaf)
            return
        if index > self.edge.size:
            raise _Unfit(f"event {event.id} is leaf {index}, and leaf {self.edge.size} is missing before it")
        if index < self.edge.size:
            raise _Unfit(f"event {event.id} says that it is leaf {index}, which was there before")
        for _ in self.edge.add(leaf):
            pass
        self._compare(self.edge.size, self.edge.root)

    def _in_part(self, event: Event, index: int, leaf: bytes) -> None:
        if self.last is None or index >= self.last.tree_size:
            raise _Unfit(f"event {event.id} says that it is leaf {index}, which is under no checkpoint")
        if index in self.run:
            raise _Unfit(f"event {event.id} says that it is leaf {index}, which was there before")
        if (event.timestamp, event.id) <= self.before:
            raise _Unfit(f"event {event.id} is out of order")
        self.before = event.timestamp, event.id
        self.run[index] = leaf
        if len(self.run) > MAX_RUN:
            raise _Unfit(f"more than {MAX_RUN} events have no proof")

    def _compare(self, size: int, root: Callable[[], bytes]) -> None:
        """With the checkpoint of this size that was brought along, if one was."""
        known = self.kept.pop(size, None)
        if known is not None:
            if known.root_hash != root():
                raise _Unfit(f"the first {size} events are not those of the checkpoint that was kept")
            self.agreed += 1

    def _checkpoint(self, found: Checkpoint) -> None:
        before = self.last.tree_size if self.last else 0
        if self.is_whole:
            if found.tree_size != self.edge.size:
                raise _Unfit(f"a checkpoint of {found.tree_size} events stands behind {self.edge.size} of them")
            if found.root_hash != self.edge.root():
                raise _Unfit(f"one of the leaves {before} to {found.tree_size - 1} is not what was sealed")
            self.sealed = found.tree_size
        elif self.last is not None:
            raise _Unfit("a part has one checkpoint only")
        else:
            self._compare(found.tree_size, lambda: found.root_hash)
        self.last = found
        self.checkpoints += 1

    def _proof(self, proof: Proof) -> None:
        if self.last is None or self.last.tree_size != proof.tree_size:
            raise _Unfit("the proof is for a tree of which there is no checkpoint")
        try:
            root = merkle.root_above(self.run, proof.tree_size, proof.hashes)
        except ValueError as error:
            raise _Unfit(str(error)) from None
        if root != self.last.root_hash:
            raise _Unfit(f"of the {len(self.run)} events since the proof before one was changed, added or removed")
        self.sealed += len(self.run)
        self.run.clear()

    def _end(self, events: int) -> None:
        self.is_over = True
        if events != self.events:
            raise _Unfit(f"there should be {events} events, and there are {self.events}")
        if self.run:
            raise _Unfit(f"the last {len(self.run)} events have no proof")
        if self.is_whole:
            covered = self.last.tree_size if self.last else 0
            if covered != self.edge.size:
                raise _Unfit(f"the last {self.edge.size - covered} sealed events are under no checkpoint")
        for size in sorted(self.kept):
            raise _Unfit(self._not_compared(size))

    def _not_compared(self, size: int) -> str:
        if self.is_whole:
            return f"{size} events were sealed when the checkpoint that was kept was signed, {self.edge.size} are there"
        return (
            f"a checkpoint of {size} events was kept, and this is a part with a checkpoint of another size: export the "
            "whole trail, or ask for a proof of consistency"
        )
