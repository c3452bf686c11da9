"""What administrators see and do about the doors of SCEP."""

from collections.abc import Sequence
from datetime import datetime

from attrs import frozen
from cryptography import x509

from certctl_core.errors import Conflict, NotConfigured
from certctl_core.models.access import Actor
from certctl_core.ports import Ports
from certctl_core.usecases import audit, scep_challenges, scope
from certctl_core.usecases.scep_doors import Door, Doors


@frozen
class DoorStatus:
    """A door, the certificate of its RA if somebody speaks for the CA there, how many signed challenges are remembered
    as used, and the certificates that such challenges may be signed with."""

    door: Door
    ra: x509.Certificate | None
    remembered: int = 0
    trusted: tuple[x509.Certificate, ...] = ()


def doors(ports: Ports, caller: Actor, known: Doors) -> Sequence[DoorStatus]:
    """Every door. Raises `Forbidden` for a caller whose key is limited: doors belong to no team."""
    scope.must_reach_everything(caller)
    return tuple(_status(ports, known, door) for door in known.by_label.values())


def _status(ports: Ports, known: Doors, door: Door) -> DoorStatus:
    try:
        ra = known.standing(ports, door).signer.certificate
    except NotConfigured:
        ra = None
    if door.signed is None:
        return DoorStatus(door, ra)
    with ports.work() as work:
        remembered = work.presented.count(scep_challenges.REALM + door.label)
    return DoorStatus(door, ra, remembered, tuple(door.signed.trusted()))


def reload_trust(ports: Ports, caller: Actor, known: Doors, label: str) -> datetime:
    """Read the certificates that a connector signs with anew. Returns when. Every process does so by itself when the
    file changes; this says whether what is in it can be used.

    Raises `NotFound` for a label without a door, `Conflict` for a door without signed challenges, `NotConfigured` for a
    file that cannot be used, and as `doors`.
    """
    scope.must_reach_everything(caller)
    door, now = known.get(label), ports.clock.now()
    if door.signed is None:
        raise Conflict("this door accepts no signed challenges", hint="See CERTCTL_SCEP_INTUNE_ENABLED.")
    found = door.signed.trusted.reload()
    if problems := scep_challenges.trust_problems(found, now):
        raise NotConfigured("; ".join(problems), hint=f"Look at {door.signed.path}.")
    with ports.work() as work:
        audit.record(
            work, caller, now, "trust_anchors_reloaded", "scep_profile", label or "scep", certificates=len(found)
        )
    return now
