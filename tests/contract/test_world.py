"""The contracts of the small ports, on what production uses and on the stand-ins of the tests."""

from collections.abc import Callable
from datetime import UTC, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl_adapters.clock import SystemClock
from certctl_adapters.secretbox import PassphraseBox
from certctl_core.errors import Unreadable
from certctl_core.ports.world import Clock, Nowhere, SecretBox
from tests.stand_ins import MovableClock, PlainBox


@pytest.mark.parametrize("clock", [SystemClock(), MovableClock()], ids=lambda clock: type(clock).__name__)
class TestClock:
    def test_the_present_is_aware_utc(self, clock: Clock) -> None:
        assert clock.now().tzinfo is not None
        assert clock.now().utcoffset() == timedelta(0)
        assert clock.now().astimezone(UTC) == clock.now() or isinstance(clock, SystemClock)

    def test_it_never_goes_back(self, clock: Clock) -> None:
        times = [clock.now() for _ in range(50)]
        assert times == sorted(times)


PASSPHRASE_BOX = PassphraseBox("a passphrase of the tests, long enough")


@pytest.mark.parametrize("box", [PASSPHRASE_BOX, PlainBox()], ids=lambda box: type(box).__name__)
class TestSecretBox:
    @pytest.mark.parametrize("plain", [b"", b"secret", b"\x00\xff" * 5000], ids=["empty", "short", "long"])
    def test_what_is_sealed_opens_again(self, box: SecretBox, plain: bytes) -> None:
        assert box.open(box.seal(plain)) == plain

    def test_sealing_twice_gives_different_bytes(self, box: SecretBox) -> None:
        assert box.seal(b"secret") != box.seal(b"secret")

    def test_a_sealed_value_does_not_show_what_is_in_it(self, box: SecretBox) -> None:
        assert b"s3cret-token" not in box.seal(b"s3cret-token")

    @given(junk=st.binary(max_size=200))
    def test_bytes_that_are_not_sealed_are_unreadable(self, box: SecretBox, junk: bytes) -> None:
        with pytest.raises(Unreadable):
            box.open(b"\x7f" + junk)


def test_the_tripwire_of_production_stops_nothing() -> None:
    passed: list[str] = []
    tripwire: Callable[[str], None] = Nowhere()
    for point in ("issue:1", "deploy:3"):
        tripwire(point)
        passed.append(point)
    assert passed == ["issue:1", "deploy:3"]
