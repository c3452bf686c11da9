"""What the core needs of the world. Each port is a Protocol; its docstring is its contract.

A use case receives `Ports` and asks nothing else of its surroundings.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

from attrs import Factory, field, frozen

from certctl_core.models.crls import CrlRules
from certctl_core.ports.issuer import Issuers
from certctl_core.ports.signer import KeyDrivers, SealedKeys
from certctl_core.ports.store import Work
from certctl_core.ports.target import TargetCatalog
from certctl_core.ports.world import Alone, Clock, Meter, Nowhere, SecretBox, Together, Tripwire, Unmeasured


@frozen
class Ports:
    """`work()` opens one transaction: leaving the block commits, an exception rolls back. Work never nests.

    `tripwire` is called with the name of each numbered point between two durable steps; it does nothing in production
    and lets a test stop the process exactly there. `public_url` is where relying parties reach this control plane (no
    trailing slash); without one, leafs carry no CDP and AIA addresses. `lease` is how long one call of a CA may take
    before its job is given to somebody else. `bypass_approvals` has every approval given at once, for development.
    `crls` is how CRLs are made. `senders` are the channels over which something is set up to send messages. `meter` is
    told how long things took. `keys` are where the keys of our CAs are made and opened.
    `together` has what comes at the same time share a transaction.
    """

    work: Callable[[], AbstractContextManager[Work]]
    clock: Clock
    secrets: SecretBox
    issuers: Issuers
    targets: TargetCatalog
    tripwire: Tripwire = field(factory=Nowhere)
    public_url: str = ""
    lease: timedelta = timedelta(seconds=90)
    bypass_approvals: bool = False
    crls: CrlRules = field(factory=CrlRules)
    senders: frozenset[str] = frozenset()
    meter: Meter = field(factory=Unmeasured)
    keys: KeyDrivers = field(default=Factory(lambda self: SealedKeys(self.secrets), takes_self=True))
    together: Together = field(factory=Alone)
