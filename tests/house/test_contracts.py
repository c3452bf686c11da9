"""Every connector is under the contract of its port."""

import pytest

from certctl_adapters import issuers, targets
from tests.house.project import ROOT, files


def imported_by_contract_tests(module: str) -> bool:
    package, _, name = module.rpartition(".")
    wanted = (f"from {module} import", f"import {module}", f"from {package} import {name}")
    tests = [path for path in files() if path.parts[:2] == ("tests", "contract") and path.suffix == ".py"]
    return any(words in (ROOT / path).read_text() for path in tests for words in wanted)


@pytest.mark.parametrize("name", issuers.CONNECTORS)
def test_every_issuer_is_under_contract(name: str) -> None:
    assert imported_by_contract_tests(issuers.CONNECTORS[name].connect.__module__)


@pytest.mark.parametrize("name", targets.BUILT_IN)
def test_every_target_is_under_contract(name: str) -> None:
    assert imported_by_contract_tests(targets.BUILT_IN[name].__module__)
