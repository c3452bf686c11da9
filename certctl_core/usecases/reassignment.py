"""Giving certificates to another owner, and with that to another team."""

from collections.abc import Sequence
from datetime import datetime

from attrs import evolve, frozen

from certctl_core.errors import CertctlError, Conflict, Invalid
from certctl_core.ids import OwnerId, TeamId
from certctl_core.models.access import Actor
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.records import AuditEvent
from certctl_core.ports.store import Work
from certctl_core.usecases import audit, compliance, scope


@frozen
class Reassigned:
    """What became of a certificate that was to be reassigned: changed, left as it was because it was theirs already,
    or why not."""

    certificate: ManagedCertificate
    is_changed: bool = False
    problem: CertctlError | None = None


def must_reach(work: Work, caller: Actor, owner_id: OwnerId, team_id: TeamId | None) -> None:
    """Raises `Invalid` for an owner or a team that does not exist or that the caller cannot see."""
    owner = work.owners.find(owner_id)
    if owner is None or not scope.reaches(caller, owner):
        raise Invalid.field("owner_id", f"refers to {owner_id!r}, which does not exist")
    team = None if team_id is None else work.teams.find(team_id)
    if team_id is not None and (team is None or not scope.reaches(caller, team)):
        raise Invalid.field("team_id", f"refers to {team_id!r}, which does not exist")


def reassign_many(
    work: Work,
    actor: Actor,
    certificates: Sequence[ManagedCertificate],
    owner_id: OwnerId,
    team_id: TeamId | None,
    now: datetime,
) -> tuple[Reassigned, ...]:
    """Give certificates to this owner and, unless it is None, this team, in the open transaction: a constant number of
    statements, and an outcome for each in the order given. The caller holds the certificates and has seen to it that
    they may be seen."""
    try:
        must_reach(work, actor, owner_id, team_id)
    except Invalid as problem:
        return tuple(Reassigned(certificate, problem=problem) for certificate in certificates)
    before = {certificate.id: certificate for certificate in certificates}
    judged = [_judged(certificate, owner_id, team_id, now) for certificate in certificates]
    admitted, refused = compliance.admit_many(work, [one.certificate for one in judged if one.is_changed], now)
    written = {certificate.id: certificate for certificate in work.certificates.save_many(admitted.certificates)}
    work.audit.add(*(_event(actor, before[identity], after, now) for identity, after in written.items()))
    compliance.record(work, actor, admitted)
    return tuple(
        Reassigned(before[one.certificate.id], problem=refused[one.certificate.id])
        if one.certificate.id in refused
        else evolve(one, certificate=written.get(one.certificate.id, one.certificate))
        for one in judged
    )


def _judged(certificate: ManagedCertificate, owner_id: OwnerId, team_id: TeamId | None, now: datetime) -> Reassigned:
    if certificate.status is CertificateStatus.ARCHIVED:
        return Reassigned(certificate, problem=Conflict(f"certificate {certificate.id} is archived"))
    theirs = evolve(certificate, owner_id=owner_id, team_id=team_id or certificate.team_id)
    return Reassigned(certificate) if theirs == certificate else Reassigned(evolve(theirs, updated_at=now), True)


def _event(actor: Actor, before: ManagedCertificate, after: ManagedCertificate, now: datetime) -> AuditEvent:
    pairs = {"owner_id": (before.owner_id, after.owner_id), "team_id": (before.team_id, after.team_id)}
    changed = {name: new for name, (old, new) in pairs.items() if old != new}
    return audit.event(actor, now, "certificate_updated", "certificate", after.id, changed=changed)
