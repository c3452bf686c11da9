"""The fake keeps the contract of what it stands for."""

import pytest

from tests import plans
from tests.contract.issuers.contract import IssuerContract, PollsContract, RevokesContract, ShowsChainContract
from tests.contract.issuers.fake import PatientCa


class TestPatientCa(IssuerContract, PollsContract, RevokesContract, ShowsChainContract):
    """An asynchronous CA."""

    @pytest.fixture
    def issuer(self) -> PatientCa:
        return PatientCa(plans.authority())
