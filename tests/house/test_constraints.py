"""constraints.txt pins everything that can be installed, and nothing in it contradicts pyproject.toml."""

import importlib.metadata
import re
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.project import ROOT, pyproject


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in found}


def asked() -> Iterator[Requirement]:
    """Every requirement of pyproject.toml: the base, all extras, all groups."""
    project = pyproject()
    yield from map(Requirement, project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        yield from map(Requirement, extra)
    for group in project["dependency-groups"].values():
        yield from (Requirement(entry) for entry in group if isinstance(entry, str))


def test_everything_asked_for_is_pinned_within_its_range() -> None:
    pinned = pins()
    wrong = [str(one) for one in asked() if pinned.get(canonicalize_name(one.name), "") not in one.specifier]
    assert wrong == []


def test_what_installed_packages_require_is_pinned() -> None:
    """Follow the requirements of everything we ask for through the packages installed here."""
    pinned = pins()
    seen: set[tuple[str, str]] = set()
    queue = [(canonicalize_name(one.name), extra) for one in asked() for extra in ("", *one.extras)]
    while queue:
        name, extra = queue.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            requirements = importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        for one in map(Requirement, requirements):
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                queue += [(canonicalize_name(one.name), more) for more in ("", *one.extras)]
    assert {name for name, _ in seen if name not in pinned} == set()


def test_pins_are_exact_and_name_no_place() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.+]*( ; .+)?", line)] == []
