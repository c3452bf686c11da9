"""Usages have short names, and OIDs without one are shown as they are."""

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from certctl_core.errors import Invalid
from certctl_core.pki import usages


@pytest.mark.parametrize("name", usages.EKUS)
def test_a_short_name_and_its_oid_stand_for_each_other(name: str) -> None:
    assert usages.name_of(usages.oid_of(name)) == name


def test_any_usage_is_no_usage_here() -> None:
    dotted = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string
    assert usages.name_of(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE) == dotted
    for wrong in ("anyExtendedKeyUsage", dotted, "serverauth", ""):
        with pytest.raises(Invalid):
            usages.oid_of(wrong)
