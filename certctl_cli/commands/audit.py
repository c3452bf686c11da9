"""`certctl audit export`, `checkpoint` and `verify`: taking the audit trail away, and judging what was taken.

`verify` asks no server. What it needs is the export and, for its word to count against the server's own, a public key
or a checkpoint that was kept elsewhere.
"""

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from certctl_cli.client import Server
from certctl_cli.command import Command, Record, Result, Text, argument
from certctl_cli.profiles import SettingsError
from certctl_cli.wording import NOTHING, flag

if TYPE_CHECKING:
    from certctl_core.pki.checkpoint import Verifier
    from certctl_core.policy.evidence import Verdict

FILTERS: Final = ("actor", "actor_type", "action", "resource_type", "resource_id", "since", "until")
STANDARD: Final = "-"
_SMALL: Final = 1 << 20
"""Bytes that a file with a key or a checkpoint may have."""

_EVERY: Final = 0.2
"""Seconds between two signs of progress."""


# Taking away


def export(server: Server, given: Namespace) -> Result:
    filters = {name: getattr(given, name) for name in FILTERS}
    began, size = time.monotonic(), 0
    with _receiving(given.output, replace=given.force) as file:
        with server.stream("/audit/export", format=given.export_format, **filters) as parts:
            tick = _ticker("{:,.1f} MB received")
            for part in parts:
                file.write(part)
                size += len(part)
                tick(size / 1e6)
        tick(None)
    if given.output == STANDARD:
        return Result(data=None, views=())
    took = time.monotonic() - began
    said = f"{given.output}: {size:,} bytes in {took:.1f} s."
    return Result(data={"file": given.output, "bytes": size, "seconds": round(took, 3)}, views=(Text(said),))


@contextmanager
def _receiving(name: str, *, replace: bool) -> Iterator[IO[bytes]]:
    """A file that is there under its name when it is whole, and not before."""
    if name == STANDARD:
        yield sys.stdout.buffer
        return
    target = Path(name)
    if target.exists() and not replace:
        raise SettingsError(f"{target} exists", hint="Choose another name, or replace it with --force.")
    draft = target.with_name(f".{target.name}.part")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as problem:
        raise SettingsError(f"cannot write {target}: {problem.strerror}") from problem
    finally:
        draft.unlink(missing_ok=True)


def _ticker(words: str) -> Callable[[float | None], None]:
    """Shows on a terminal how far it is, now and then; None ends it."""
    shown = [time.monotonic()]

    def tick(amount: float | None) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and (amount is None or now - shown[0] > _EVERY):
            shown[0] = now
            sys.stderr.write("\r\033[K" if amount is None else f"\r{words.format(amount)}")
            sys.stderr.flush()

    return tick


def checkpoint(server: Server, _given: Namespace) -> Result:
    told = server.get("/audit/checkpoints/latest")
    newest = told.get("checkpoint")
    waiting = f"{told.get('waiting', 0)} events are not sealed yet."
    if newest is None:
        return Result(data=told, views=(Text("There is no checkpoint yet."),), notes=(waiting,), failed=True)
    notes = (f"Key: {told['verifier_key']}", waiting, "Keep both where the server's administrators cannot write.")
    return Result(data=told, views=(Text(newest["note"].rstrip("\n")),), notes=notes)


# Judging


def verify(_server: Server, given: Namespace) -> Result:
    from certctl_core.policy import evidence

    key = _key(given.public_key) if given.public_key else None
    kept = [_note(name) for name in given.checkpoint or ()]
    with _reading(given.export) as file:
        verdict = evidence.verify(_lines(file), key, kept)
    return Result(data=_told(verdict), views=(Record(_rows(verdict)),), notes=_advice(verdict), failed=not _ok(verdict))


def _ok(verdict: "Verdict") -> bool:
    return verdict.flaw is None


def _key(text: str) -> "Verifier":
    """A verifier key, as it stands or in a file; or a file with a public key in PEM."""
    from certctl_core.pki import checkpoint as notes

    return notes.verifier(_small(text) if Path(text).is_file() else text)


def _note(name: str) -> str:
    """A file with a checkpoint: the note itself, or the JSON that the API says it in."""
    text = _small(name)
    try:
        said = json.loads(text)
    except ValueError:
        return text if text.endswith("\n") else text + "\n"
    said = said.get("checkpoint", said) if isinstance(said, dict) else said
    if not isinstance(said, dict) or not isinstance(said.get("note"), str):
        raise SettingsError(f"{name} holds no checkpoint")
    return str(said["note"])


def _small(name: str) -> str:
    try:
        with Path(name).open(encoding="utf-8") as file:
            return file.read(_SMALL)
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"cannot read {name}: {getattr(problem, 'strerror', problem)}") from problem


@contextmanager
def _reading(name: str) -> Iterator[IO[str]]:
    if name == STANDARD:
        yield sys.stdin
        return
    try:
        # What is no UTF-8 is for the judge to name, with its line.
        with Path(name).open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            yield file
    except OSError as problem:
        raise SettingsError(f"cannot read {name}: {problem.strerror}") from problem


def _lines(file: IO[str]) -> Iterator[str]:
    """The lines, one that is longer than any may be in pieces."""
    from certctl_core.pki.export import MAX_LINE

    tick = _ticker("{:,.0f} lines verified")
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        tick(number)
        yield line
    tick(None)


def _told(verdict: "Verdict") -> dict[str, Any]:
    last = verdict.last
    return {
        "ok": _ok(verdict),
        "flaw": None if verdict.flaw is None else {"line": verdict.flaw.line, "message": verdict.flaw.what},
        "whole": verdict.is_whole,
        "sealed": verdict.sealed,
        "unsealed": verdict.unsealed,
        "checkpoints": verdict.checkpoints,
        "kept_checkpoints": verdict.kept,
        "pinned": verdict.is_pinned,
        "verifier_key": verdict.verifier_key,
        "tree_size": last.tree_size if last else 0,
        "root_hash": last.root_hash.hex() if last else "",
        "signed_at": last.created_at.isoformat() if last else None,
    }


def _rows(verdict: "Verdict") -> list[tuple[str, str]]:
    last = verdict.last
    rows = [("Verdict", "verified" if _ok(verdict) else "NOT VERIFIED")]
    if verdict.flaw is not None:
        where = f"line {verdict.flaw.line}: " if verdict.flaw.line else ""
        rows.append(("First Flaw", where + verdict.flaw.what))
    return [
        *rows,
        ("Export", "the whole trail" if verdict.is_whole else "a part of the trail"),
        ("Sealed Events", f"{verdict.sealed:,}"),
        ("Not Sealed Yet", f"{verdict.unsealed:,}"),
        ("Checkpoints", f"{verdict.checkpoints:,}"),
        ("Kept Checkpoints", f"{verdict.kept:,}"),
        ("Last Checkpoint", f"{last.tree_size:,} events, {last.created_at:%Y-%m-%dT%H:%M:%SZ}" if last else NOTHING),
        ("Root Hash", last.root_hash.hex() if last else NOTHING),
        ("Key", verdict.verifier_key or NOTHING),
    ]


def _advice(verdict: "Verdict") -> tuple[str, ...]:
    notes = []
    if _ok(verdict) and not verdict.is_pinned:
        notes.append(
            "The key is the one that the file names, so all this says is that it agrees with itself. Bring a key or a "
            "checkpoint that was kept elsewhere (--public-key, --checkpoint) to know more."
        )
    if _ok(verdict) and not verdict.is_whole:
        notes.append("Every event in it is proved; that none was left out can be told of a whole export only.")
    if _ok(verdict) and verdict.unsealed:
        notes.append("Events that are not sealed yet are told by the file alone.")
    return tuple(notes)


COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        name="audit export",
        help="write the audit trail into a file",
        run=export,
        arguments=(
            argument(
                "--format",
                dest="export_format",
                choices=("jsonl", "csv"),
                default="jsonl",
                help="jsonl, which can be verified without the server, or csv for spreadsheets; default: %(default)s",
            ),
            argument("--output", metavar="FILE", required=True, help="where to; - for standard output"),
            argument("--force", action="store_true", help="replace the file"),
            flag("actor", "only what this key, agent or person did"),
            flag("actor-type", "only what was done by a User, Agent or System"),
            flag("action", "only this, such as certificate_revoked"),
            flag("resource-type", "only about this kind, such as certificate"),
            flag("resource-id", "only about this object"),
            flag("since", "only at this time or later, such as 2031-03-04T05:06:07Z"),
            flag("until", "only before this time"),
        ),
        covers=("export_audit_events",),
    ),
    Command(
        name="audit checkpoint",
        help="print the newest signed checkpoint of the audit trail, to be kept elsewhere",
        run=checkpoint,
        covers=("get_latest_audit_checkpoint",),
    ),
    Command(
        name="audit verify",
        help="verify an export of the audit trail, without the server",
        run=verify,
        arguments=(
            argument("export", metavar="FILE", help="an export in JSON lines; - for standard input"),
            argument(
                "--checkpoint",
                action="append",
                metavar="FILE",
                help="a checkpoint that was kept elsewhere; may be given more than once",
            ),
            argument(
                "--public-key",
                metavar="KEY",
                help="the key of the log: the text that certctl-server auditkey prints, or a file with it or in PEM",
            ),
        ),
    ),
)
