"""The project as its files: what belongs to it, and its modules as syntax trees."""

import ast
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("certctl_core", "certctl_adapters", "certctl_web", "certctl_agent", "certctl_mcp", "certctl_cli")
_NOT_OURS = {".git", ".nox", ".venv", "build", "dist", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache"}


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project, relative to its root: what git tracks, or what lies there if this is no git clone."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)  # noqa: S607
    if listing.returncode == 0:
        names = [Path(name) for name in listing.stdout.decode().split("\0") if name]
        return tuple(sorted(name for name in names if (ROOT / name).is_file()))
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return tuple(sorted(path for path in found if not _NOT_OURS & set(path.parts)))


def modules(*packages: str) -> list[Path]:
    """The Python files of `packages` (all of ours by default), relative to the root."""
    wanted = packages or PACKAGES
    return [path for path in files() if path.suffix == ".py" and path.parts[0] in wanted]


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a module given relative to the root."""
    return ast.parse((ROOT / path).read_bytes(), filename=str(path))


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Full names of the modules that these nodes import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def pyproject() -> dict[str, Any]:
    """The parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())
