"""Versions and ranges of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid
from certctl_core.policy.versions import key, read_range

RELEASES = st.lists(st.integers(0, 40), min_size=1, max_size=4)
ASCENDING = [
    "0.9",
    "1.0.0-1",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-beta",
    "1.0.0rc2",
    "1.0.0rc10",
    "1",
    "1.0.1",
    "1.10",
]


def text(release: list[int]) -> str:
    return ".".join(str(number) for number in release)


@given(RELEASES, RELEASES)
def test_releases_are_ordered_as_their_numbers(one: list[int], other: list[int]) -> None:
    width = max(len(one), len(other))
    padded = [release + [0] * (width - len(release)) for release in (one, other)]
    ours, theirs = key(text(one)), key(text(other))
    assert ours is not None
    assert theirs is not None
    assert (ours < theirs, ours == theirs) == (padded[0] < padded[1], padded[0] == padded[1])


@given(RELEASES, RELEASES, RELEASES)
def test_a_range_holds_what_lies_between_its_ends(low: list[int], version: list[int], high: list[int]) -> None:
    found = read_range(f">={text(low)}, <{text(high)}").holds(text(version))
    bounds = [key(text(release)) for release in (low, version, high)]
    assert found is (bounds[0] <= bounds[1] < bounds[2])  # type: ignore[operator]


def test_pre_releases_come_before_their_release() -> None:
    keys = [key(version) for version in ASCENDING]
    assert None not in keys
    assert keys == sorted(keys)  # type: ignore[type-var]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("wanted", "version", "holds"),
    [
        ("1.4.2", "1.4.2", True),
        ("1.4.2", "v1.4.2", True),
        ("v1.4", "1.4.0", True),
        ("1.4.2", "1.4.20", False),
        ("1.4.2", "1.4.2+build.7", True),
        ("==1.4", "1.4", True),
        ("=1.4", "1.5", False),
        (">=1.2,<2", "1.2.0-rc.1", False),
        (">=1.2,<2", "1.2", True),
        (">=1.2,<2", "2.0.0-rc.1", True),
        (">1,!=1.3.1", "1.3.1", False),
        (">1 , != 1.3.1", "1.3.2", True),
        ("<=2", "2.0.0", True),
        ("<=2", "dev", False),
        ("!=2", "", False),
        ("dev", "DEV", True),
        ("dev", "1.0", False),
        ("1.0", "not a version", False),
        ("1.0", "1" * 200, False),
    ],
)
def test_a_range_says_which_versions_are_in_it(wanted: str, version: str, *, holds: bool) -> None:
    assert read_range(wanted).holds(version) is holds


@pytest.mark.parametrize(
    "text", ["", ",", ">=", "1.2,", "~1.2", "^1.2", "1.x", "1.*", ">=dev", "=>1", "1.2 1.3", "1" * 51]
)
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_range(text)
    assert "1.2" in refused.value.message or "50" in refused.value.message


@given(st.text(max_size=60))
def test_whatever_is_asked_for_is_a_range_or_refused(text: str) -> None:
    try:
        found = read_range(text)
    except Invalid:
        return
    assert found.holds(text) in (True, False)
