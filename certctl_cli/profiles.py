"""Addresses and keys of control planes, stored by `certctl login` in a file that only its owner can read."""

import json
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import field, frozen

from certctl_core.errors import NotConfigured

DEFAULT: Final = "default"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MAX_BYTES: Final = 1 << 20


class SettingsError(NotConfigured):
    """The settings lead nowhere. The message says which and why."""


@frozen(kw_only=True)
class Profile:
    """A control plane and the key to it. `ca_pem` are the only CAs to believe; without, those of the machine."""

    server_url: str
    api_key: str = field(repr=False)
    ca_pem: str = field(default="", repr=False)


def load(file: Path, name: str = "", *, may_be_new: bool = False) -> Profile | None:
    """The profile of this name, or the default one if there is one. Raises `SettingsError` for a name that nothing is
    stored under, unless it may be new, and for a file that others can read."""
    known = everything(file)
    if name and name not in known and not may_be_new:
        raise SettingsError(
            f"there is no profile {name!r} in {file}", hint=f"certctl login --profile {name} stores one."
        )
    return known.get(name or DEFAULT)


def everything(file: Path) -> Mapping[str, Profile]:
    """All profiles, by name. Raises `SettingsError`."""
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & _OTHERS:
                raise SettingsError(f"{file} can be read by others", hint=f"It holds API keys: chmod 600 {file}")
            text = opened.read(_MAX_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise SettingsError(f"cannot read {file}: {problem.strerror}") from problem
    try:
        found: Mapping[str, Any] = json.loads(text)
        return {name: Profile(**values) for name, values in found.items()}
    except (ValueError, TypeError, AttributeError):
        raise SettingsError(f"{file} holds no profiles", hint="Remove it and log in again.") from None


def store(file: Path, name: str, profile: Profile) -> None:
    """Keep a profile under this name, in place of the one before it."""
    _write(file, {**everything(file), name: profile})


def forget(file: Path, name: str) -> bool:
    """Remove a profile. Whether there was one."""
    known = dict(everything(file))
    removed = known.pop(name, None)
    if removed is not None:
        _write(file, known)
    return removed is not None


def _write(file: Path, known: Mapping[str, Profile]) -> None:
    """All or nothing, and readable by nobody else from the first byte on."""
    text = json.dumps({name: attrs.asdict(profile) for name, profile in known.items()}, indent=2)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".profiles-")
    except OSError as problem:
        raise SettingsError(f"cannot write {file}: {problem.strerror}") from problem
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text + "\n")
            opened.flush()
            os.fsync(descriptor)
        Path(temporary).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
