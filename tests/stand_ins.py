"""Stand-ins for the small ports of the world, under the contract of the real ones (tests/contract/test_world.py)."""

from datetime import UTC, datetime, timedelta
from itertools import count

from attrs import define, field

from certctl_core.errors import Unreadable
from certctl_core.ports.world import Clock, SecretBox


@define
class MovableClock(Clock):
    """It stands still until it is moved. It starts at a time with nothing special about it, in whole seconds."""

    present: datetime = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)

    def now(self) -> datetime:
        return self.present

    def advance(self, by: timedelta) -> datetime:
        """Move forward and return the new present."""
        self.present += by
        return self.present


@define(eq=False)
class PlainBox(SecretBox):
    """Not encryption: enough to tell a sealed value from an open one, and one sealing from the next."""

    _numbers: "count[int]" = field(factory=count)

    def seal(self, plain: bytes) -> bytes:
        return b"sealed:%d:" % next(self._numbers) + plain[::-1]

    def open(self, sealed: bytes) -> bytes:
        kind, _, rest = sealed.partition(b":")
        number, _, turned = rest.partition(b":")
        if kind != b"sealed" or not number.isdigit():
            raise Unreadable("not sealed")
        return turned[::-1]
