"""What is committed reads the same on every machine and has no loose ends."""

import ast
import re
from pathlib import Path

import pytest

from tests.house.project import ROOT, files, modules, tree

VAGUE_NAMES = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "stuff", "util", "utils"}
PICTURES = {".gz", ".ico", ".jpg", ".p12", ".png", ".der", ".woff2"}

# Put together from pieces, so that this file does not find itself.
MACHINE_PATHS = [f"/{root}/" for root in ("work", "root", "tmp", "Users")] + ["/" + r"home/\w+/"]
REGISTRY_HOSTS = [
    name.replace(" ", r"\.")
    for name in ("pypi org", "pythonhosted org", "npmjs org", "npmjs com", "docker io", "ghcr io")
]
LOOSE_ENDS = ["raise NotImplemented" + "Error", "TO" + "DO", "FIX" + "ME", "XX" + "X", "work" + " in progress"]
FORBIDDEN = {
    "a path of one machine": re.compile(rf"(?<![\w.}}$-])(?:{'|'.join(MACHINE_PATHS)})"),
    "the address of a package registry": re.compile("|".join(REGISTRY_HOSTS)),
    "a loose end": re.compile(rf"\b(?:{'|'.join(LOOSE_ENDS)})\b"),
}


def texts() -> list[Path]:
    return [path for path in files() if path.suffix not in PICTURES and path.name != "LICENSE"]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_committed_text_is_free_of(what: str) -> None:
    pattern = FORBIDDEN[what]
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in texts()
        for number, line in enumerate((ROOT / path).read_text().splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


def test_files_are_utf8_and_end_with_one_newline() -> None:
    odd = [str(path) for path in texts() if (data := (ROOT / path).read_bytes()) and not data.decode().endswith("\n")]
    assert odd == []


def test_every_module_has_a_docstring() -> None:
    silent = [
        str(path) for path in files() if path.suffix == ".py" and tree(path).body and not ast.get_docstring(tree(path))
    ]
    assert silent == []


def test_modules_are_named_after_what_they_hold() -> None:
    vague = [str(path) for path in modules() if VAGUE_NAMES & {part.removesuffix(".py") for part in path.parts}]
    assert vague == []


SPEAKS = re.compile(
    r"^\s*assert\b|\braises\(|\bwarns\(|\bfail\(|\b(?:assert|check|enforce|expect|must|only|prove|until)\w*\(",
    re.MULTILINE,
)
BY_NOT_FAILING = {"test_what_a_test_writes_no_other_test_sees"}
"""Tests whose statement is that the same thing succeeds twice."""


def test_every_test_states_something() -> None:
    """A test asserts, expects an error, waits for something, or calls what raises when all is not well."""
    mute = [
        f"{path}::{node.name}"
        for path in files()
        if path.suffix == ".py" and path.parts[0] == "tests"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and node.name not in BY_NOT_FAILING
        if not SPEAKS.search(ast.unparse(node))
    ]
    assert mute == []
