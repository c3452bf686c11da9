"""`certctl import`: certificates in files, brought under management with their dates, serial numbers and fingerprints.

PEM, DER and PKCS #12 files, and folders of them. Private keys are left where they are and never read from PEM; what
leaves this machine is certificates.
"""

import getpass
import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from certctl_cli.client import Server
from certctl_cli.command import Argument, Command, Record, Result, Table, View, argument
from certctl_cli.operations import flags
from certctl_cli.profiles import SettingsError
from certctl_cli.progress import bar
from certctl_cli.wording import text
from certctl_core.errors import CertctlError, Invalid

SUFFIXES: Final = (".pem", ".crt", ".cer", ".cert", ".der", ".p12", ".pfx")
"""What is looked at in folders. Files that are named are looked at whatever they are called."""

_PKCS12: Final = (".p12", ".pfx")
_LARGEST_FILE: Final = 16 << 20
_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 900_000
"""Under the server's limit for a body, with room for what JSON adds."""

_LISTED: Final = 20

_ABOUT: Final = {
    "owner_id": "who they belong to",
    "team_id": "whose team looks after them",
    "issuer_id": "who signs their successors",
    "renewal_policy_id": "when they are renewed",
    "certificate_profile_id": "what their successors may be",
    "environment": "default: imported",
    "name_template": "what they are called; default: {cn}",
}
_NEEDED: Final = ("owner_id", "team_id", "issuer_id", "renewal_policy_id")


def _flag(one: Argument) -> Argument:
    name = one.how["dest"]
    about = {"help": _ABOUT[name]} if name in _ABOUT else {}
    return Argument(one.name, {**one.how, **about, "required": name in _NEEDED})


_FLAGS: Final = tuple(_flag(one) for one in flags("import_certificates") if one.name != "--certificates")
_FIELDS: Final = tuple(one.how["dest"] for one in _FLAGS)


@frozen
class Entry:
    """A certificate with what is above it, PEM, and where it was found."""

    pem: str
    source: str


@frozen
class Unread:
    """A file that holds nothing to import, and why."""

    source: str
    why: str


@frozen
class Outcome:
    """What became of the entries."""

    imported: list[dict[str, Any]] = field(factory=list)
    skipped: list[dict[str, Any]] = field(factory=list)
    failed: list[dict[str, Any]] = field(factory=list)


def run(server: Server, given: Namespace) -> Result:
    found, unread = read(given.files, _password(given))
    if given.dry_run:
        rows = [(entry.source, _named(entry)) for entry in found]
        data = [{"source": source, "subject": subject} for source, subject in rows]
        return Result(data=data, views=(Table(("FILE", "SUBJECT"), rows), *_complaints(unread)))
    outcome = Outcome()
    fixed = {name: value for name in _FIELDS if (value := getattr(given, name, None))}
    if given.tags:
        fixed["tags"] = dict(given.tags)
    done = 0
    with bar("importing", len(found)) as advance:
        for batch in _batches(found):
            told = server.post("/certificates/import", {**fixed, "certificates": [_sent(entry) for entry in batch]})
            for kind in ("imported", "skipped", "failed"):
                told_of = ({**row, "source": batch[row["index"]].source} for row in told.get(kind) or [])
                getattr(outcome, kind).extend(told_of)
            done += len(batch)
            advance(done)
    return _shown(outcome, unread)


def _sent(entry: Entry) -> dict[str, str]:
    return {"pem": entry.pem, "source": entry.source}


def _shown(outcome: Outcome, unread: Sequence[Unread]) -> Result:
    counts = [
        ("Imported", str(len(outcome.imported))),
        ("Skipped", str(len(outcome.skipped))),
        ("Failed", str(len(outcome.failed) + len(unread))),
    ]
    views: list[View] = [Record(counts)]
    if outcome.skipped:
        views.append(_listed("SKIPPED", [(row["source"], text(row.get("reason"))) for row in outcome.skipped]))
    if outcome.failed:
        views.append(_listed("FAILED", [(row["source"], text(row.get("error"))) for row in outcome.failed]))
    data = {
        "imported": outcome.imported,
        "skipped": outcome.skipped,
        "failed": [*outcome.failed, *({"source": one.source, "error": one.why} for one in unread)],
    }
    return Result(data=data, views=(*views, *_complaints(unread)), failed=bool(data["failed"]))


def _listed(head: str, rows: Sequence[tuple[str, str]]) -> Table:
    more = [("…", f"and {len(rows) - _LISTED} more; --format json lists them all")] if len(rows) > _LISTED else []
    return Table((head, "WHY"), [*rows[:_LISTED], *more])


def _complaints(unread: Sequence[Unread]) -> tuple[View, ...]:
    return (_listed("NOT READ", [(one.source, one.why) for one in unread]),) if unread else ()


# --- files ------------------------------------------------------------------------------------------------------------


def read(names: Sequence[str], password: str = "") -> tuple[list[Entry], list[Unread]]:
    """What is in these files and folders, each certificate once. Raises `SettingsError` for a name that
    leads nowhere."""
    entries: dict[str, Entry] = {}
    unread: list[Unread] = []
    for path in _files(names):
        try:
            for entry in _entries(path, password):
                entries.setdefault(entry.pem, entry)
        except CertctlError as problem:
            unread.append(Unread(str(path), problem.message))
        except OSError as problem:
            unread.append(Unread(str(path), problem.strerror or str(problem)))
    return list(entries.values()), unread


def _files(names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        path = Path(name)
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
        elif path.exists():
            yield path
        else:
            raise SettingsError(f"there is no file {name}")


def _entries(path: Path, password: str) -> Iterator[Entry]:
    """The certificates of one file: a chain is one entry, a bundle of strangers as many as there are leafs."""
    from certctl_core.pki import bundle

    with path.open("rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise Invalid(f"is over {_LARGEST_FILE >> 20} MiB")
    if path.suffix.lower() in _PKCS12:
        _, certificate, others = bundle.from_pkcs12(content, password)
        if certificate is None:
            raise Invalid("holds no certificate with a key")
        found: tuple[Any, ...] = (certificate, *others)
    else:
        found = _in_pem(content)
    yield from (Entry(pem, str(path)) for pem in _chains(found))


_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def _in_pem(content: bytes) -> tuple[Any, ...]:
    """However many there are; the reader of untrusted bundles has its limits, and this file is the user's own."""
    from certctl_core.pki import bundle, reading

    blocks: list[bytes] = _BLOCK.findall(content)
    return tuple(reading.certificate(block) for block in blocks) or bundle.from_pem(content)


def _chains(certificates: Iterable[Any]) -> Iterator[str]:
    """Each leaf with the certificates above it that follow it in the file."""
    from certctl_core.pki import bundle, reading

    chain: list[Any] = []
    for certificate in certificates:
        if chain and not reading.is_issued_by(chain[-1], certificate):
            yield bundle.to_pem(*chain)
            chain = []
        chain.append(certificate)
    if chain:
        yield bundle.to_pem(*chain)


def _named(entry: Entry) -> str:
    from certctl_core.pki import bundle

    subject = bundle.from_pem(entry.pem)[0].subject.rfc4514_string()
    return subject or "(no subject)"


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """As many at once as the server takes, by number and by bytes."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == _AT_ONCE or size + len(entry.pem) + len(entry.source) > _BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.pem) + len(entry.source) + 40
    if batch:
        yield batch


def _password(given: Namespace) -> str:
    """For PKCS #12 files: from a file, or asked for when there are any and somebody is there to ask."""
    if given.password_file:
        try:
            with open(given.password_file, encoding="utf-8") as file:  # noqa: PTH123 - as typed
                return "".join(islice(file, 1)).rstrip("\n")
        except OSError as problem:
            raise SettingsError(f"cannot read {given.password_file}: {problem.strerror}") from problem
    needed = any(path.suffix.lower() in _PKCS12 for path in _files(given.files))
    return getpass.getpass("Password of the PKCS #12 files: ") if needed and sys.stdin.isatty() else ""


COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        name="import",
        help="bring certificates that are in files under management; keys stay where they are",
        run=run,
        arguments=(
            argument("files", nargs="+", metavar="FILE", help="PEM, DER or PKCS #12 files, or folders of them"),
            *_FLAGS,
            argument("--password-file", metavar="FILE", help="first line: the password of PKCS #12 files"),
            argument("--dry-run", action="store_true", help="say what would be imported, and import nothing"),
        ),
        covers=("import_certificates",),
    ),
)
