"""How serial numbers stand, in a few bytes each."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from certctl_core.models.certificates import RevocationReason
from certctl_core.models.standings import Standing
from certctl_web.ocsp.register import Register

AT = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)
SERIALS = st.integers(1, 2**160 - 1).map(lambda number: f"{number:x}")
TIMES = st.integers(1, 2**37).map(lambda seconds: AT.replace(year=1970) + timedelta(seconds=seconds))
STANDINGS = st.builds(
    Standing,
    SERIALS,
    st.sampled_from(["", "aa", "bb"]),
    TIMES,
    *[st.none()] * 2,
) | st.builds(Standing, SERIALS, st.sampled_from(["", "aa", "bb"]), TIMES, TIMES, st.sampled_from(RevocationReason))


@given(st.lists(STANDINGS, max_size=60))
def test_what_was_put_in_last_is_what_is_found(standings: list[Standing]) -> None:
    register = Register()
    for standing in standings:
        assert register.put(standing)
    expected = {standing.serial_number: standing for standing in standings}
    assert {number: register.get(number) for number in expected} == expected
    assert register.count == len(expected)
    good = {number for number, standing in expected.items() if standing.revoked_at is None}
    assert set(register.serial_numbers(0, register.slots)) == good


def test_it_grows_and_neighbours_do_not_get_in_each_others_way() -> None:
    """Serial numbers that follow one another, and such as fall on the same slot however many there are."""
    register = Register()
    numbers = [*range(1, 4000), *(2**120 + 5376 * n for n in range(500))]
    for number in numbers:
        register.put(Standing(f"{number:x}", "aa", AT + timedelta(seconds=number % 1000)))
    assert register.count == len(numbers)
    for number in numbers:
        found = register.get(f"{number:x}")
        assert found is not None
        assert found.not_after == AT + timedelta(seconds=number % 1000)
    assert register.get(f"{2**121:x}") is None
    assert register.slots < 3 * len(numbers)


def test_a_revocation_leaves_the_ca_as_it_is() -> None:
    register = Register()
    register.put(Standing("ab", "the ca", AT))
    register.revoke(Standing("ab", "", AT, AT, RevocationReason.SUPERSEDED))
    assert register.get("ab") == Standing("ab", "the ca", AT, AT, RevocationReason.SUPERSEDED)
    assert register.serial_numbers(0, register.slots) == []
    register.put(Standing("ab", "the ca", AT))
    assert register.get("ab") == Standing("ab", "the ca", AT)


def test_a_serial_number_that_x509_has_no_room_for_is_not_remembered() -> None:
    register = Register()
    assert not register.put(Standing("1" + "0" * 40, "", AT))
    assert register.get("1" + "0" * 40) is None
    assert register.count == 0
