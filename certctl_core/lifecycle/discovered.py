"""The life of a discovered certificate: unmanaged until somebody claims or dismisses it, and either can be undone."""

from datetime import datetime
from enum import Enum

from attrs import evolve

from certctl_core.ids import CertificateId
from certctl_core.lifecycle.machine import Machine, from_each
from certctl_core.models.observed import DiscoveredCertificate
from certctl_core.models.observed import DiscoveryStatus as S


class DiscoveryEvent(Enum):
    CLAIM = "claim"
    DISMISS = "dismiss"


DISCOVERED: Machine[S, DiscoveryEvent] = Machine(
    "discovered certificate",
    {
        **from_each(tuple(S), DiscoveryEvent.CLAIM, S.MANAGED),
        **from_each(tuple(S), DiscoveryEvent.DISMISS, S.DISMISSED),
    },
)


def claim(found: DiscoveredCertificate, certificate_id: CertificateId, at: datetime) -> DiscoveredCertificate:
    """It is, from now on, the managed certificate of this id that lies there."""
    status = DISCOVERED.next(found.status, DiscoveryEvent.CLAIM)
    return evolve(found, status=status, managed_certificate_id=certificate_id, dismissed_at=None, updated_at=at)


def dismiss(found: DiscoveredCertificate, at: datetime) -> DiscoveredCertificate:
    """Nobody wants to hear of it."""
    status = DISCOVERED.next(found.status, DiscoveryEvent.DISMISS)
    return evolve(found, status=status, managed_certificate_id=None, dismissed_at=at, updated_at=at)
