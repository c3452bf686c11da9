"""Serial numbers are random, positive, at most 20 octets, and have one text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid
from certctl_core.pki import asn1, serials
from tests import plans


def test_new_serials_fit_into_20_octets_and_differ() -> None:
    made = [serials.new_serial() for _ in range(200)]
    assert len(set(made)) == 200
    assert all(len(asn1.integer(serials.to_int(one))) <= 22 for one in made)
    assert max(serials.to_int(one).bit_length() for one in made) == 159


@given(st.integers(1, serials.MAX_OURS))
def test_the_canonical_text_is_a_fixed_point_and_keeps_the_number(number: int) -> None:
    text = serials.canonical(number)
    assert serials.canonical(text) == text == text.lower()
    assert not text.startswith("0")
    assert serials.to_int(text) == number


@pytest.mark.parametrize("spelling", ["0A:BC", "0a-bc", "ABC", "0000abc", "abc"])
def test_spellings_of_one_number_have_one_canonical_text(spelling: str) -> None:
    assert serials.canonical(spelling) == "abc"


@pytest.mark.parametrize("wrong", ["", "0", "00", "xyz", "0x1", " 1", "1 ", "-", "1" * 129, 0, -1, "１"])
def test_what_is_no_positive_number_is_refused(wrong: int | str) -> None:
    with pytest.raises(Invalid):
        serials.canonical(wrong)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with plans.only_typed_errors():
        assert serials.to_int(text) > 0
