"""The documentation is in step with the code."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.project import PACKAGES, ROOT, files

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^python3 -m pip install nox && (nox .*)$", README, re.MULTILINE)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 100


def test_the_readme_gives_the_two_commands() -> None:
    assert COMMANDS == ["nox -s demo", "nox -s tests"]


def test_the_sessions_the_pages_name_exist() -> None:
    sessions = set(re.findall(r"^@nox\.session\ndef (\w+)\(", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    pages = [path for path in files() if path.suffix == ".md"]
    named = {name for page in pages for name in re.findall(r"nox -s (\w+)", (ROOT / page).read_text())}
    assert named <= sessions


def test_continuous_integration_calls_the_readmes_test_command() -> None:
    assert f"python3 -m pip install nox && {COMMANDS[1]}" in (ROOT / ".ci/run").read_text()


def test_every_link_leads_somewhere() -> None:
    assert runpy.run_path(str(ROOT / "docs/links.py"))["broken"]() == []


def test_the_reference_is_what_the_code_says() -> None:
    assert runpy.run_path(str(ROOT / "docs/generate.py"))["stale"]() == []


def test_the_architecture_page_names_every_package() -> None:
    page = (ROOT / "docs/explanation/architecture.md").read_text()
    packages = {path.parent for path in files() if path.name == "__init__.py" and path.parts[0] in PACKAGES}
    missing = sorted(str(path) for path in packages if f"`{path}/`" not in page)
    assert missing == []


def test_every_decision_is_listed_in_the_index() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text()
    missing = [page.name for page in folder.glob("0*.md") if f"({page.name})" not in index]
    assert missing == []


@pytest.mark.parametrize("example", sorted((ROOT / "docs/example").glob("*.py")), ids=lambda path: path.name)
def test_the_examples_of_the_docs_run(example: Path) -> None:
    command = [sys.executable, "-m", f"docs.example.{example.stem}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "BEGIN CERTIFICATE" in done.stdout
