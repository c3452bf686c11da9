"""Managed certificates as operators see them: create, change, archive, look."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from attrs import asdict, evolve, field, frozen

from certctl_core.errors import CertctlError, Conflict, Duplicate, FieldProblem, Invalid, Unreadable
from certctl_core.ids import (
    CLIENT_ID,
    AgentId,
    CertificateId,
    IssuerId,
    OwnerId,
    ProfileId,
    RenewalPolicyId,
    TargetId,
    TeamId,
    mint,
)
from certctl_core.lifecycle import certificate as life
from certctl_core.lifecycle import job as job_life
from certctl_core.lifecycle.certificate import CertificateEvent
from certctl_core.models.access import Actor, Principal
from certctl_core.models.agents import Agent
from certctl_core.models.catalog import (
    CertificateProfile,
    ConfiguredIssuer,
    ConfiguredTarget,
    Owner,
    RenewalPolicy,
    Team,
)
from certctl_core.models.certificates import (
    CertificateStatus,
    CertificateVersion,
    Deployment,
    ManagedCertificate,
    Revocation,
)
from certctl_core.models.jobs import JobType
from certctl_core.models.records import AuditEvent
from certctl_core.pki import names
from certctl_core.policy import schedule
from certctl_core.ports import Ports
from certctl_core.ports.store import Page, Query, Work
from certctl_core.usecases import audit, compliance, consent, scope

L = TypeVar("L", ConfiguredIssuer, Owner, Team)

_WAITING: Final = (CertificateStatus.PENDING, CertificateStatus.EXPIRING, CertificateStatus.EXPIRED)
"""Statuses in which a certificate that may be renewed by itself is overdue."""


_WHAT_IS_ISSUED: Final = ("common_name", "sans", "issuer_id", "profile_id", "target_ids")


@frozen(kw_only=True)
class CreateCertificate:
    """A name to be proved from now on. `common_name` is always among the names of what is issued."""

    name: str
    common_name: str
    owner_id: OwnerId
    team_id: TeamId
    issuer_id: IssuerId
    renewal_policy_id: RenewalPolicyId
    id: CertificateId | None = None
    profile_id: ProfileId | None = None
    sans: tuple[str, ...] = ()
    environment: str = ""
    target_ids: tuple[TargetId, ...] = ()
    tags: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class UpdateCertificate:
    """What to change; None leaves a field as it is."""

    name: str | None = None
    common_name: str | None = None
    sans: tuple[str, ...] | None = None
    environment: str | None = None
    owner_id: OwnerId | None = None
    team_id: TeamId | None = None
    issuer_id: IssuerId | None = None
    renewal_policy_id: RenewalPolicyId | None = None
    profile_id: ProfileId | None = None
    target_ids: tuple[TargetId, ...] | None = None
    tags: Mapping[str, str] | None = None


@frozen
class DeployedTo:
    """A target of a certificate and what is known of it there; None before the first deployment."""

    target: ConfiguredTarget
    deployment: Deployment | None


@frozen(kw_only=True)
class Surroundings:
    """What a certificate refers to, the newest version of each key holder, and its revocations by serial number."""

    issuer: ConfiguredIssuer | None
    policy: RenewalPolicy | None
    profile: CertificateProfile | None
    owner: Owner | None
    team: Team | None
    newest: Mapping[AgentId | None, CertificateVersion]
    revoked: Mapping[str, Revocation]
    agents: Mapping[str, Agent]


def create(ports: Ports, caller: Principal, asked: CreateCertificate) -> ManagedCertificate:
    """Put a certificate under management. It is Pending until renewed, by hand or, with a policy that renews by itself
    and a target to renew for, by the next renewal sweep. Raises `Invalid` for a team, an environment or a reference out
    of the caller's reach."""
    created = ports.together.ask("creations", partial(_create, ports), (caller, asked))
    if isinstance(created, CertctlError):
        raise created
    return created


def _create(
    ports: Ports, wishes: Sequence[tuple[Principal, CreateCertificate]]
) -> Sequence[ManagedCertificate | CertctlError]:
    """All in one transaction. Raises what the database has against one of them."""
    now = ports.clock.now()
    with ports.work() as work:
        policies = work.renewal_policies.many({asked.renewal_policy_id for _, asked in wishes})
        made = [_made(work, policies, caller, asked, now) for caller, asked in wishes]
        sound = [one for one in made if isinstance(one, ManagedCertificate)]
        if len({one.id for one in sound}) < len(sound):
            raise Duplicate("several of these certificates have one id")
        judged, refused = compliance.admit_many(work, sound, now)
        admitted = {one.id: one for one in judged.certificates}
        # In one order whoever writes them, so that two who add the same names do not wait in a circle.
        work.certificates.add_many(sorted(judged.certificates, key=lambda one: one.name))
        callers = {
            one.id: caller for one, (caller, _) in zip(made, wishes, strict=True) if isinstance(one, ManagedCertificate)
        }
        work.audit.add(*(_created(callers[one.id], one, now) for one in judged.certificates))
        for one in judged.certificates:
            if judged.findings[one.id]:
                compliance.record(work, callers[one.id], evolve(judged, certificates=(one,)))
    return [one if isinstance(one, CertctlError) else refused.get(one.id) or admitted[one.id] for one in made]


def _made(
    work: Work, policies: Mapping[str, RenewalPolicy], caller: Principal, asked: CreateCertificate, now: datetime
) -> ManagedCertificate | CertctlError:
    """The certificate as it is asked for, or what is wrong with it."""
    certificate = ManagedCertificate(
        **{name: value for name, value in asdict(asked, recurse=False).items() if name != "id"},
        id=asked.id or CertificateId(mint("cert", now)),
        ordered_by=caller.name,
        ordered_by_key=caller.key_id,
        created_at=now,
        updated_at=now,
    )
    try:
        _must_be_sound(certificate)
        scope.must_put_within(work, caller, certificate)
    except Invalid as problem:
        return problem
    policy = policies.get(certificate.renewal_policy_id)
    return certificate if policy is None else schedule.first(certificate, policy, now)


def _created(caller: Principal, certificate: ManagedCertificate, now: datetime) -> AuditEvent:
    return audit.event(
        caller,
        now,
        "certificate_created",
        "certificate",
        certificate.id,
        name=certificate.name,
        common_name=certificate.common_name,
        sans=list(certificate.sans),
        issuer_id=certificate.issuer_id,
    )


def update(ports: Ports, caller: Principal, certificate_id: str, asked: UpdateCertificate) -> ManagedCertificate:
    """Change what is given. New names, issuers and targets take effect with the next renewal; a certificate that waits
    for somebody to renew it, and gets a target or a policy that may, is due at once. What was still to be deployed to a
    target that it loses is not. Raises `Conflict` for an archived certificate, and as `create`."""
    now = ports.clock.now()
    changes = {name: value for name, value in asdict(asked, recurse=False).items() if value is not None}
    with ports.work() as work:
        before = scope.must_see(caller, work.certificates.lock_unchanged(certificate_id))
        if before.status is CertificateStatus.ARCHIVED:
            raise Conflict(f"certificate {before.id} is archived", hint="Create a new one; the name is free again.")
        after = _ordered(before, evolve(before, **changes, updated_at=now), caller)
        _must_be_sound(after, before)
        scope.must_put_within(work, caller, after, before)
        policy = work.renewal_policies.find(after.renewal_policy_id)
        if policy is not None and after.renewal_policy_id != before.renewal_policy_id:
            after = schedule.changed(after, policy, now)
        if after.status in _WAITING and after.target_ids and policy is not None and policy.auto_renew:
            after = evolve(after, renew_at=now)
        for job in work.jobs.open_of(after.id):
            if job.type is JobType.DEPLOYMENT and job.target_id not in after.target_ids:
                work.jobs.save(job_life.cancel(job, now, "the target was taken from the certificate"))
        judged = compliance.admit(work, after, now)
        after = work.certificates.save(judged.certificate)
        audit.record(work, caller, now, "certificate_updated", "certificate", after.id, changed=_changed(before, after))
        compliance.record(work, caller, judged)
    return after


def archive(ports: Ports, caller: Principal, certificate_id: str) -> None:
    """Take a certificate out of management. What was issued stays on record and can still be looked up and verified;
    what was about to happen does not. Archiving an archived certificate changes nothing."""
    now = ports.clock.now()
    with ports.work() as work:
        certificate = scope.lock(work, caller, certificate_id)
        if certificate.status is CertificateStatus.ARCHIVED:
            return
        cancel_open_jobs(work, certificate.id, now, f"certificate {certificate.id} was archived")
        archived = life.step(certificate, CertificateEvent.ARCHIVE, now)
        work.certificates.save(evolve(schedule.none(archived), next_policy_check_at=now))
        audit.record(work, caller, now, "certificate_archived", "certificate", certificate.id)


def get(ports: Ports, caller: Actor, certificate_id: str) -> ManagedCertificate:
    with ports.work() as work:
        return scope.get(work, caller, certificate_id)


def page(ports: Ports, caller: Actor, query: Query) -> Page[ManagedCertificate]:
    with ports.work() as work:
        return work.certificates.page(evolve(query, where=(*query.where, *scope.certificates(caller))))


def versions(
    ports: Ports,
    caller: Actor,
    certificate_id: str,
    limit: int,
    offset: int = 0,
    after: tuple[int, str] | None = None,
) -> Page[CertificateVersion]:
    """Newest first, `after` a generation or from an offset on. An unknown certificate has none."""
    with ports.work() as work:
        if not caller.scope.is_everything:
            certificate = work.certificates.find(certificate_id)
            if certificate is None or not scope.sees(caller, certificate):
                return Page((), 0)
        return work.versions.page(CertificateId(certificate_id), limit, offset, after)


def deployments(ports: Ports, caller: Actor, certificate_id: str) -> tuple[DeployedTo, ...]:
    """Each target of the certificate that the caller may see, in the order they were given."""
    with ports.work() as work:
        certificate = scope.get(work, caller, certificate_id)
        targets = work.targets.many(certificate.target_ids)
        known = {deployment.target_id: deployment for deployment in work.deployments.of(certificate.id)}
    seen = [targets[t] for t in certificate.target_ids if t in targets and scope.reaches(caller, targets[t])]
    return tuple(DeployedTo(target, known.get(target.id)) for target in seen)


def surroundings(ports: Ports, caller: Actor, certificate: ManagedCertificate) -> Surroundings:
    """Everything that is shown beside a certificate that the caller sees, in one transaction."""
    with ports.work() as work:
        targets = work.targets.many(certificate.target_ids)
        agents = work.agents.many({target.agent_id for target in targets.values()})
        return Surroundings(
            issuer=_if_seen(caller, work.issuers.find(certificate.issuer_id)),
            policy=work.renewal_policies.find(certificate.renewal_policy_id),
            profile=work.profiles.find(certificate.profile_id) if certificate.profile_id else None,
            owner=_if_seen(caller, work.owners.find(certificate.owner_id)),
            team=_if_seen(caller, work.teams.find(certificate.team_id)),
            newest={version.agent_id: version for version in work.versions.latest_per_holder(certificate.id)},
            revoked={revocation.serial_number: revocation for revocation in work.revocations.of([certificate.id])},
            agents={identity: agent for identity, agent in agents.items() if scope.reaches(caller, agent)},
        )


def _if_seen(caller: Actor, fact: L | None) -> L | None:
    return fact if fact is not None and scope.reaches(caller, fact) else None


def cancel_open_jobs(work: Work, certificate_id: CertificateId, now: datetime, reason: str) -> None:
    """Nothing more is to happen to this certificate. The caller holds it."""
    ended = work.jobs.save_many([job_life.cancel(job, now, reason) for job in work.jobs.open_of(certificate_id)])
    consent.withdraw(work, ended, now)


def _must_be_sound(certificate: ManagedCertificate, before: ManagedCertificate | None = None) -> None:
    """Raises `Invalid` naming every field that is wrong. Names that it had `before` are not asked about: an imported
    certificate may have some that certctl would not issue for."""
    problems: list[FieldProblem] = []
    if not CLIENT_ID.fullmatch(certificate.id):
        problems.append(FieldProblem("id", "must be 1 to 128 letters, digits, dots, dashes or underscores"))
    if not certificate.name.strip():
        problems.append(FieldProblem("name", "must not be empty"))
    elif len(certificate.name) > 255:
        problems.append(FieldProblem("name", "must be at most 255 characters"))
    had = frozenset() if before is None else frozenset((before.common_name, *before.sans))
    try:
        if certificate.common_name not in had:
            names.common_name(certificate.common_name)
    except (Invalid, Unreadable) as error:
        problems.append(FieldProblem("common_name", error.message))
    for index, san in enumerate(certificate.sans):
        try:
            if san not in had:
                names.general_name(san)
        except (Invalid, Unreadable) as error:
            problems.append(FieldProblem(f"sans[{index}]", error.message))
    if problems:
        raise Invalid(
            "the certificate is not valid: " + "; ".join(f"{p.field}: {p.message}" for p in problems), fields=problems
        )


def _ordered(before: ManagedCertificate, after: ManagedCertificate, caller: Principal) -> ManagedCertificate:
    """Remembers whose order it is, when what is to be issued has changed."""
    if all(getattr(before, name) == getattr(after, name) for name in _WHAT_IS_ISSUED):
        return after
    return evolve(after, ordered_by=caller.name, ordered_by_key=caller.key_id)


def _changed(before: ManagedCertificate, after: ManagedCertificate) -> dict[str, Any]:
    old, new = asdict(before, recurse=False), asdict(after, recurse=False)
    shown = ("name", "common_name", "sans", "environment", "owner_id", "team_id", "issuer_id", "renewal_policy_id")
    return {
        name: list(new[name]) if isinstance(new[name], tuple) else new[name]
        for name in (*shown, "profile_id", "target_ids", "tags")
        if old[name] != new[name]
    }
