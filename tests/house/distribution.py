"""Proves a built sdist and wheel: what is in them, and that they work where nothing else is installed.

    python tests/house/distribution.py FOLDER

The folder holds one of each. Called by `nox -s dist`.
"""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import virtualenv

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.house.project import PACKAGES, ROOT, files, pyproject

CORE_ALONE = {"attrs", "cattrs", "certctl", "cffi", "cryptography", "pip", "pycparser", "typing-extensions"}
WITHOUT_MCP = [name for name in PACKAGES if name != "certctl_mcp"]
BUILT = "certctl_web/dashboard/static/"
"""Where the front-end build puts what is in the packages but not in git."""

SQL_IN_WHEEL = "certctl_adapters/postgres/sql"
BESIDE_THE_CODE = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore", "hatch_build.py"}
IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def ours(*folders: str) -> set[str]:
    """The project's files in these folders at its top."""
    return {path.as_posix() for path in files() if path.parts[0] in folders}


def check_wheel(wheel: Path) -> None:
    """It holds the packages, the migrations and its own metadata; what the front-end build made may come on top."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = ours(*PACKAGES) | {SQL_IN_WHEEL + name.removeprefix("sql") for name in ours("sql")}
    missing = expected - names
    surplus = {name for name in names - expected if not name.startswith(BUILT)}
    if missing or surplus:
        sys.exit(f"{wheel.name}: missing {sorted(missing)}, surplus {sorted(surplus)}")


def check_sdist(sdist: Path) -> None:
    """It holds what the wheel is made from."""
    with tarfile.open(sdist) as archive:
        names = {str(PurePosixPath(*PurePosixPath(member.name).parts[1:])) for member in archive if member.isfile()}
    missing = ours(*PACKAGES, "sql") - names
    surplus = {
        name for name in names - ours(*PACKAGES, "sql") - BESIDE_THE_CODE if not name.startswith((BUILT, "frontend/"))
    }
    if missing or surplus:
        sys.exit(f"{sdist.name}: missing {sorted(missing)}, surplus {sorted(surplus)}")


def fresh(folder: Path, wheel: Path, extras: str = "") -> Path:
    """A new virtual environment with the wheel installed. Returns its bin folder."""
    virtualenv.cli_run([str(folder), "--no-setuptools"])
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{wheel}{extras}")
    return python.parent


def run(*command: object, cwd: Path | None = None) -> str:
    """The command's output. Ends this program, showing the output, when the command fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def check_core_alone(scratch: Path, wheel: Path) -> None:
    """With no extra, every module of the core imports and the examples of the docs run."""
    programs = fresh(scratch / "core", wheel)
    listed = run(programs / "python", "-m", "pip", "list", "--format=freeze").split()
    surplus = {line.partition("==")[0].lower().replace("_", "-") for line in listed} - CORE_ALONE
    if surplus:
        sys.exit(f"the core alone brought {sorted(surplus)}")
    run(programs / "python", "-I", "-c", IMPORT_EVERYTHING, "certctl_core", cwd=scratch)
    for example in sorted((ROOT / "docs/example").glob("*.py")):
        run(programs / "python", "-I", example, cwd=scratch)


def check_programs(scratch: Path, wheel: Path) -> None:
    """With the programs' extras and nothing else, every module imports and each console script answers --help."""
    programs = fresh(scratch / "programs", wheel, "[server,agent,cli]")
    run(programs / "python", "-I", "-c", IMPORT_EVERYTHING, *WITHOUT_MCP, cwd=scratch)
    for script in pyproject()["project"]["scripts"]:
        if "usage" not in run(programs / script, "--help", cwd=scratch).lower():
            sys.exit(f"{script} --help does not tell its usage")


def main(folder: Path) -> None:
    """Check the one wheel and the one sdist in `folder`."""
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as scratch:
        for check in (check_core_alone, check_programs):
            check(Path(scratch), wheel)
            print(f"{check.__name__}: good")
    check_wheel(wheel)
    check_sdist(sdist)
    print(f"{wheel.name} and {sdist.name} hold what they should")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
