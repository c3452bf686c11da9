"""A process that asks for a bulk revocation, or carries on with what was asked for, to be killed by a test.

    python -m tests.bulk_process URL MOMENT start|carry_on [POINT]

`MOMENT` is its clock, which stands still: a later one lets leases of earlier processes lapse. `POINT` is where it kills
itself, as in CERTCTL_TRIPWIRE.
"""

import sys
from datetime import datetime, timedelta
from typing import Any, cast

from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_core.ids import IssuerId
from certctl_core.models.access import Principal, Role
from certctl_core.models.bulk import BulkAction
from certctl_core.ports import Ports
from certctl_core.ports.world import Nowhere
from certctl_core.usecases import bulk, bulk_batches
from certctl_core.usecases.bulk import Criteria, StartBulk
from certctl_web.bootstrap import KillAt
from tests.stand_ins import MovableClock, PlainBox


def main() -> None:
    url, moment, what, *point = sys.argv[1:]
    nobody = cast("Any", None)  # no CA and no target has a part in it
    with open_pool(url, size=2) as pool:
        ports = Ports(
            work=PostgresWork(pool),
            clock=MovableClock(datetime.fromisoformat(moment)),
            secrets=PlainBox(),
            issuers=nobody,
            targets=nobody,
            tripwire=_tripwire(point[0]) if point else Nowhere(),
        )
        if what == "start":
            criteria = Criteria(issuer_id=IssuerId("iss-1"))
            wish = StartBulk(action=BulkAction.REVOKE, criteria=criteria, reason="superseded")
            bulk.start(ports, Principal("alice", Role.ADMIN), wish, patience=timedelta(hours=1))
        else:
            bulk_batches.carry_on(ports)


def _tripwire(text: str) -> KillAt:
    name, number, nth = text.split(":")
    return KillAt(f"{name}:{number}", int(nth))


if __name__ == "__main__":
    main()
