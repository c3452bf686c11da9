"""Keeping totals cheap: what has changed is added to what is counted, and days that are over are counted once.

Nothing here changes what a total says, only how long it takes to say it.
"""

from datetime import timedelta
from typing import Final

from certctl_core.ports import Ports

BATCH: Final = 20_000
DAYS: Final = 30
SETTLED_AFTER: Final = timedelta(hours=1)
"""No transaction lasts so long: what was issued on a day is there an hour after its end."""


def tally(ports: Ports) -> int:
    """Take in the changes since the last time. Returns how many there were."""
    taken = 0
    while True:
        with ports.work() as work:
            found = work.tallies.tally(BATCH)
        taken += found
        if found < BATCH:
            return taken


def close_days(ports: Ports) -> None:
    """Count what was issued on days that are over, and forget counts of what there is none of."""
    until = (ports.clock.now() - SETTLED_AFTER).date()
    with ports.work() as work:
        work.tallies.tidy()
    while True:
        with ports.work() as work:
            if work.tallies.close_days(until, DAYS) < DAYS:
                return
