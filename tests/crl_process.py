"""A process that makes the CRLs that are due, to be killed by a test.

    python -m tests.crl_process URL MOMENT CA [POINT]

`MOMENT` is its clock, which stands still: a later one lets leases of earlier processes lapse. `CA` is a file with the
certificate and the key of the CA. `POINT` is where it kills itself, as in CERTCTL_TRIPWIRE.
"""

import sys
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from certctl_adapters.memory import MemoryStore
from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_adapters.tripwire import tripwire
from certctl_core.models.crls import CrlRules
from certctl_core.pki import keys, reading
from certctl_core.pki.ca import Authority
from certctl_core.ports import Ports
from certctl_core.ports.world import Nowhere
from certctl_core.usecases import crls
from tests.core.usecases.world import OneIssuer, TestCa
from tests.stand_ins import MovableClock, PlainBox


def main() -> None:
    url, moment, file, *point = sys.argv[1:]
    pem = Path(file).read_text()
    authority = Authority((reading.certificate(pem),), keys.from_pem(pem[pem.index("-----BEGIN PRIVATE") :].encode()))
    with open_pool(url, size=2) as pool:
        ports = Ports(
            work=PostgresWork(pool),
            clock=MovableClock(datetime.fromisoformat(moment)),
            secrets=PlainBox(),
            issuers=OneIssuer(TestCa(authority, MemoryStore())),
            targets=cast("Any", None),  # no target has a part in it
            tripwire=tripwire(point[0]) if point else Nowhere(),
            crls=CrlRules(deltas_from=0),
        )
        crls.sweep(ports)


if __name__ == "__main__":
    main()
