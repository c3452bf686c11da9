"""Files that change together or not at all.

    with installer.install([certificate, key]) as installed:
        ...validate, reload...      # an exception here, or a kill at any moment, and the old files are back

Theory of operation. Every file gets its new content beside it (a fresh name in the same folder, owner and mode right
before the first byte is written), and what is there keeps its inode under a second name. Then each new file is renamed
over the old one, which is atomic for that file. What makes the set atomic is a journal, itself replaced by rename:

    staging    nothing has been swapped; the names beside the files can go
    swapping   any subset may be swapped: put the kept inodes back
    done       all are swapped and the caller is content: the names beside the files can go

`recover` does what the journal's word asks for, and may be interrupted and done again. It runs at start and before
every installation. One installation runs at a time for a journal folder (flock), across threads and processes.

A file that is replaced keeps its owner, group, mode and extended attributes unless the caller names others. The last
part of a path is never followed when it is a symbolic link: whoever may write the folder could make a privileged agent
write anywhere.
"""

import errno
import fcntl
import grp
import json
import os
import pwd
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

from certctl_core.errors import CertctlError, DeploymentFailed
from certctl_core.ports.world import Nowhere, Tripwire

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
_MAX_JOURNAL_BYTES: Final = 1 << 20
_NAME_IN_FULL: Final = 180
"""How much of a file's name its neighbours carry: names end at 255 bytes."""


@frozen
class NewFile:
    """A file as it is to be. `mode`, `owner` and `group` of None keep what is there; a file that is not there yet gets
    `mode_if_new` and belongs to whoever writes it. A `secret` file is never readable by others, whatever was there."""

    path: Path
    content: bytes = field(repr=False)
    mode: int | None = None
    mode_if_new: int = PUBLIC
    owner: str | None = None
    group: str | None = None
    secret: bool = False


@frozen
class Installed:
    """What an installation did. `changed` is False when every file was already as it is to be."""

    changed: bool


@frozen
class _Attributes:
    mode: int
    uid: int
    gid: int


_Identity = tuple[int, int]
"""Tells a file from another one of its name: inode number and time of modification, because the number alone may have
been given to the next file already."""


@frozen
class _Swap:
    """One file of a set: where it belongs, its new content beside it, and the second name of what was there."""

    path: Path
    fresh: Path
    kept: Path
    existed: bool
    identity: _Identity = (0, 0)


class FileInstaller:
    """Installs sets of files. `journals` is a folder of the caller's own, made when it is missing (0700).

    `tripwire` is told every numbered point between two steps, `install:1` upwards.
    """

    def __init__(self, journals: Path, tripwire: Tripwire | None = None) -> None:
        self._journals = journals
        self._tripwire = tripwire or Nowhere()

    def recover(self) -> tuple[Path, ...]:
        """Finish or undo what an interrupted installation left. Returns the files that were put back.

        Raises `DeploymentFailed` when a file cannot be put back; the journal stays and the next call tries again.
        """
        with self._alone():
            return self._recover()

    @contextmanager
    def install(self, files: Sequence[NewFile]) -> Iterator[Installed]:
        """Put all files in place, and take all back when the block raises. Blocks while another installation runs.

        Raises `DeploymentFailed` naming the path when a file cannot be written; nothing has changed then.
        """
        with self._alone():
            self._recover()
            targets = [(_located(one), one) for one in files]
            _refuse_doubles([path for path, _ in targets])
            wanted = [(path, one, _wanted_attributes(path, one)) for path, one in targets]
            if all(_is_already(*each) for each in wanted):
                yield Installed(changed=False)
                return
            journal = _Journal(self._journals / f"{secrets.token_hex(8)}.json", self._tripwire)
            try:
                journal.swap_in(wanted)
                yield Installed(changed=True)
                journal.keep()
            except BaseException as reason:
                journal.swap_back(reason)
                raise

    def _recover(self) -> tuple[Path, ...]:
        restored: list[Path] = []
        for path in sorted(self._journals.glob("*.json")):
            restored += _Journal(path, self._tripwire).recover()
        for leftover in self._journals.glob("*.tmp"):
            leftover.unlink(missing_ok=True)
        return tuple(restored)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with _explained(self._journals):
            self._journals.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._journals / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


class _Journal:
    """One set of files on its way in, and the record on disk that says how far it is."""

    def __init__(self, path: Path, tripwire: Tripwire) -> None:
        self._path = path
        self._tripwire = tripwire
        self._point = 0
        self._swaps: tuple[_Swap, ...] = ()
        self._done = False

    def swap_in(self, files: Sequence[tuple[Path, NewFile, _Attributes]]) -> None:
        token = self._path.stem
        self._swaps = tuple(_planned(path, token) for path, _, _ in files)
        self._record("staging")
        staged = []
        for swap, (_, one, attributes) in zip(self._swaps, files, strict=True):
            with _explained(swap.path):
                staged.append(evolve(swap, identity=_write_beside(swap, one.content, attributes)))
                self._passed()
                if swap.existed:
                    _keep(swap)
                    self._passed()
        self._swaps = tuple(staged)
        self._record("swapping")
        for swap in self._swaps:
            with _explained(swap.path):
                swap.fresh.rename(swap.path)
            self._passed()
        _sync_folders(self._swaps)
        self._passed()

    def keep(self) -> None:
        """The new files stay: from here on nothing is undone, and what cannot be tidied up now is left to `recover`."""
        self._record("done")
        self._done = True
        with suppress(DeploymentFailed):
            self._clear()

    def swap_back(self, reason: BaseException) -> None:
        """Everything as it was. What cannot be put back is added to the reason's notes and left to `recover`."""
        try:
            if not self._done and self._path.exists():
                _put_back(self._swaps)
                self._clear()
        except (OSError, CertctlError) as problem:
            reason.add_note(f"and the files could not be put back: {problem}")

    def recover(self) -> tuple[Path, ...]:
        state, self._swaps = _read_journal(self._path)
        restored: tuple[Path, ...] = ()
        if state == "swapping":
            restored = _put_back(self._swaps)
            self._passed()
        self._clear()
        return restored

    def _clear(self) -> None:
        for swap in self._swaps:
            with _explained(swap.path):
                swap.fresh.unlink(missing_ok=True)
                swap.kept.unlink(missing_ok=True)
            self._passed()
        with _explained(self._path):
            self._path.unlink(missing_ok=True)
            _sync_folder(self._path.parent)
        self._passed()

    def _record(self, state: str) -> None:
        rows = [
            {
                "path": str(swap.path),
                "fresh": swap.fresh.name,
                "kept": swap.kept.name,
                "existed": swap.existed,
                "identity": swap.identity,
            }
            for swap in self._swaps
        ]
        with _explained(self._path):
            _replace_whole(self._path, json.dumps({"state": state, "files": rows}).encode())
        self._passed()

    def _passed(self) -> None:
        self._point += 1
        self._tripwire(f"install:{self._point}")


def _planned(path: Path, token: str) -> _Swap:
    stem = f".{os.fsencode(path.name)[:_NAME_IN_FULL].decode(errors='ignore')}.certctl-{token}"
    return _Swap(path, path.with_name(f"{stem}.new"), path.with_name(f"{stem}.old"), existed=path.exists())


def _read_journal(path: Path) -> tuple[str, tuple[_Swap, ...]]:
    with _explained(path):
        raw = path.read_bytes()[:_MAX_JOURNAL_BYTES]
    try:
        told: dict[str, Any] = json.loads(raw)
        swaps = tuple(
            _Swap(
                Path(row["path"]),
                Path(row["path"]).with_name(row["fresh"]),
                Path(row["path"]).with_name(row["kept"]),
                bool(row["existed"]),
                _identity_in(row["identity"]),
            )
            for row in told["files"]
        )
        return str(told["state"]), swaps
    except (ValueError, TypeError, KeyError) as problem:
        raise DeploymentFailed(
            f"the journal {path} cannot be read: {problem!r}",
            hint="Look at the files it names, put right what is wrong, and delete it.",
        ) from problem


def _put_back(swaps: Sequence[_Swap]) -> tuple[Path, ...]:
    """Undo every swap that was made. Doing it again changes nothing more."""
    restored = []
    for swap in reversed(swaps):
        # Only what we put there is taken away: somebody may have replaced the file since.
        if _identity(swap.path) != swap.identity:
            continue
        with _explained(swap.path):
            if swap.existed:
                swap.kept.rename(swap.path)
            else:
                swap.path.unlink()
        restored.append(swap.path)
    _sync_folders(swaps)
    return tuple(reversed(restored))


# Before anything is changed


def _located(one: NewFile) -> Path:
    """The path with its folder resolved. Raises `DeploymentFailed` when no regular file can be there."""
    if not one.path.is_absolute():
        raise DeploymentFailed(f"{one.path} is not an absolute path")
    with _explained(one.path):
        path = one.path.parent.resolve(strict=True) / one.path.name
        found = _lstat(path)
    if found is not None and stat.S_ISLNK(found.st_mode):
        raise DeploymentFailed(
            f"{one.path} is a symbolic link, and links are not followed", hint="Name the file it points to instead."
        )
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise DeploymentFailed(f"{one.path} is not a regular file")
    return path


def _refuse_doubles(paths: Sequence[Path]) -> None:
    for path in paths:
        if paths.count(path) > 1:
            raise DeploymentFailed(f"{path} is named twice", hint="Certificate, key and chain need a file each.")


def _wanted_attributes(path: Path, one: NewFile) -> _Attributes:
    found = _lstat(path)
    inherited = one.mode_if_new if found is None else stat.S_IMODE(found.st_mode)
    mode = inherited if one.mode is None else one.mode
    return _Attributes(
        mode=mode & ~stat.S_IRWXO if one.secret else mode,
        uid=_numbered(one.owner, _uid_of, os.geteuid() if found is None else found.st_uid),
        gid=_numbered(one.group, _gid_of, -1 if found is None else found.st_gid),
    )


def _numbered(name: str | None, look_up: Callable[[str], int], otherwise: int) -> int:
    if not name:
        return otherwise
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return look_up(name)
    except KeyError:
        raise DeploymentFailed(f"there is no user or group {name!r} on this machine") from None


def _uid_of(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _gid_of(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def _is_already(path: Path, one: NewFile, wanted: _Attributes) -> bool:
    found = _lstat(path)
    if found is None or found.st_size != len(one.content):
        return False
    same_group = wanted.gid in (-1, found.st_gid)
    if (stat.S_IMODE(found.st_mode), found.st_uid) != (wanted.mode, wanted.uid) or not same_group:
        return False
    with _explained(path):
        return path.read_bytes() == one.content


# Single steps


def _write_beside(swap: _Swap, content: bytes, wanted: _Attributes) -> _Identity:
    """Write the new content under its fresh name, durably."""
    # 0600 and empty until owner and mode are right: no byte of a key is ever readable by anybody else.
    handle = os.open(swap.fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
    with os.fdopen(handle, "wb") as file:
        made = os.fstat(handle)
        if made.st_uid != wanted.uid or wanted.gid not in (-1, made.st_gid):
            os.fchown(handle, wanted.uid, wanted.gid)
        if swap.existed:
            _copy_extended_attributes(swap.path, handle)
        os.fchmod(handle, wanted.mode)
        file.write(content)
        file.flush()
        os.fsync(handle)
        return _identity_of(os.fstat(handle))


def _copy_extended_attributes(source: Path, handle: int) -> None:
    """Labels and access lists as far as the file system and our rights allow: a web server may need them to read."""
    with suppress(OSError):
        for name in os.listxattr(source, follow_symlinks=False):
            with suppress(OSError):
                os.setxattr(handle, name, os.getxattr(source, name, follow_symlinks=False))


def _keep(swap: _Swap) -> None:
    """Give what is there a second name; where there are no hard links, keep a copy of it."""
    try:
        os.link(swap.path, swap.kept, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
            raise
        found = swap.path.stat()
        attributes = _Attributes(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
        _write_beside(evolve(swap, fresh=swap.kept), swap.path.read_bytes(), attributes)


def _replace_whole(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".tmp")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)
    beside.rename(path)
    _sync_folder(path.parent)


def _sync_folders(swaps: Sequence[_Swap]) -> None:
    for folder in {swap.path.parent for swap in swaps}:
        with suppress(FileNotFoundError):
            _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _identity(path: Path) -> _Identity | None:
    with _explained(path):
        found = _lstat(path)
    return None if found is None else _identity_of(found)


def _identity_of(found: os.stat_result) -> _Identity:
    return found.st_ino, found.st_mtime_ns


def _identity_in(row: Sequence[int]) -> _Identity:
    inode, modified = row
    return int(inode), int(modified)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `DeploymentFailed` that says which path and why."""
    try:
        yield
    except OSError as problem:
        raise DeploymentFailed(f"cannot write {path}: {_reason(path, problem)}", hint=_advice(problem)) from problem


def _reason(path: Path, problem: OSError) -> str:
    if isinstance(problem, FileNotFoundError):
        return f"the folder {path.parent} does not exist"
    if isinstance(problem, NotADirectoryError):
        return f"{path.parent} is not a folder"
    if isinstance(problem, PermissionError):
        return f"no permission ({problem.strerror})"
    return problem.strerror or str(problem)


def _advice(problem: OSError) -> str:
    if isinstance(problem, FileNotFoundError):
        return "Make the folder, or correct the path in the target's settings."
    if isinstance(problem, PermissionError):
        return "Run the agent as a user who may write there and give files to the owner of the present ones."
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space; nothing has been changed."
    return ""
