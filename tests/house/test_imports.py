"""Who may import whom: the contracts of pyproject.toml, and the rules that need a look at the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.house.project import ROOT, imported, modules, tree

CORE_MAY_IMPORT = {
    *("abc", "base64", "binascii", "bisect", "collections", "contextlib", "copy", "dataclasses", "datetime", "decimal"),
    *("enum", "fnmatch", "functools", "graphlib", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math"),
    *("operator", "random", "re", "secrets", "statistics", "string", "struct", "textwrap", "threading"),
    *("types", "typing", "unicodedata", "uuid", "zlib"),
    *("attr", "attrs", "cattrs", "cryptography", "certctl_core"),
}
VENDOR_SDKS = {"acme", "azure", "boto3", "botocore", "hvac", "josepy", "kubernetes", "paramiko", "winrm"}


def test_the_import_contracts_hold() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("path", modules("certctl_core"), ids=str)
def test_the_core_imports_pure_modules_only(path: Path) -> None:
    names = {name.partition(".")[0] for name in imported(ast.walk(tree(path))) if name != "urllib.parse"}
    assert names <= CORE_MAY_IMPORT


def _reads_environment(path: Path) -> bool:
    names = {"environ", "getenv", "environb"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and names & {alias.name for alias in node.names})
        for node in ast.walk(tree(path))
    )


def test_only_settings_modules_read_the_environment() -> None:
    readers = {path for path in modules() if _reads_environment(path)}
    # The one variable of process.py is prometheus-client's own: that knows no other way to share a folder.
    for_others = {Path("certctl_web/process.py")}
    assert {path for path in readers if path.name != "settings.py"} - for_others == set()


def _at_start(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: everything outside functions and `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _at_start(child)


def test_vendor_sdks_are_not_imported_at_start() -> None:
    early = {
        (str(path), name)
        for path in modules()
        for name in imported(_at_start(tree(path)))
        if name.partition(".")[0] in VENDOR_SDKS
    }
    assert early == set()
