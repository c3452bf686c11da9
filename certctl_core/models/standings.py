"""How a serial number stands with the CA that gave it, which is what OCSP tells."""

from datetime import datetime

from attrs import frozen

from certctl_core.ids import IssuerId
from certctl_core.models.certificates import RevocationReason


@frozen
class Standing:
    """A serial number that a CA of the issuer has given. `authority` is the CA's key identifier (hexadecimal), empty
    where it was not noted; `revoked_at` is None for what is to be believed, as far as its dates go."""

    serial_number: str
    authority: str
    not_after: datetime
    revoked_at: datetime | None = None
    reason: RevocationReason | None = None


@frozen
class StatusChanges:
    """What has changed since some position: a position to go on from, and the serial numbers. `more` says that there
    were too many for one answer."""

    position: int
    changed: tuple[tuple[IssuerId, str], ...] = ()
    more: bool = False
