"""The machine's clock, as the core wants it."""

import time
from datetime import UTC

from certctl_adapters.clock import SystemClock


def test_now_is_the_present_in_utc() -> None:
    before = time.time()
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert before <= now.timestamp() <= time.time()
