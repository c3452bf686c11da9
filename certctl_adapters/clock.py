"""The clock of the machine."""

from datetime import UTC, datetime

from certctl_core.ports.world import Clock


class SystemClock(Clock):
    """What the operating system says the time is."""

    def now(self) -> datetime:
        return datetime.now(UTC)
