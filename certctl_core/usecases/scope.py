"""What a caller may see: keys can be limited to teams and environments.

What is out of reach does not exist for the caller: it is not found rather than forbidden, so that asking tells nothing.
Every use case that shows, lists or refers to a certificate on somebody's behalf passes through here.
"""

from certctl_core.errors import Forbidden, NotFound
from certctl_core.ids import CertificateId
from certctl_core.models.access import Actor
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.ports.store import Is, Where, Work


def certificates(caller: Actor) -> tuple[Where, ...]:
    """Conditions that leave of a list of certificates what the caller may see."""
    teams, environments = caller.scope.team_ids, caller.scope.environments
    return (
        *((Where("team_id", tuple(sorted(teams)), Is.ONE_OF),) if teams else ()),
        *((Where("environment", tuple(sorted(environments)), Is.ONE_OF),) if environments else ()),
    )


def sees(caller: Actor, certificate: ManagedCertificate) -> bool:
    return caller.scope.holds(certificate.team_id, certificate.environment)


def must_see(caller: Actor, certificate: ManagedCertificate) -> ManagedCertificate:
    """The certificate itself. Raises `NotFound` when it is out of the caller's reach."""
    if not sees(caller, certificate):
        raise NotFound.of("certificate", certificate.id)
    return certificate


def get(work: Work, caller: Actor, certificate_id: str) -> ManagedCertificate:
    """Raises `NotFound` for what does not exist or is out of reach."""
    return must_see(caller, work.certificates.get(certificate_id))


def lock(work: Work, caller: Actor, certificate_id: str) -> ManagedCertificate:
    """As `get`, and holds the certificate until the transaction ends."""
    return must_see(caller, work.certificates.lock(certificate_id))


def must_see_all(work: Work, caller: Actor, certificate_ids: tuple[CertificateId, ...]) -> None:
    """Raises `NotFound` naming the first certificate that does not exist or is out of reach."""
    found = work.certificates.many(certificate_ids)
    for identity in certificate_ids:
        if identity not in found or not sees(caller, found[identity]):
            raise NotFound.of("certificate", identity)


def must_reach_everything(caller: Actor) -> None:
    """For what belongs to no team. Raises `Forbidden` for a caller whose key is limited."""
    if not caller.scope.is_everything:
        raise Forbidden(
            "a key that is limited to teams or environments cannot do this",
            hint="What this is about belongs to no team. Use a key without such limits.",
        )
