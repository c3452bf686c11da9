"""What a caller may see and change: keys can be limited to teams and environments.

What is out of reach does not exist for the caller: it is not found rather than forbidden, so that asking tells nothing.
Every use case that shows, lists, changes or refers to something on somebody's behalf passes through here. There are two
sorts of things:

Certificates belong to a team and an environment, and so does what belongs to a certificate: versions, jobs, violations.
Within reach they are seen and changed alike.

Issuers, targets, agents, owners and teams may be limited to teams. What is limited to none is everybody's: each caller
sees and uses it, and only keys without limits change it. What is limited is changed by whoever reaches all of its teams
in every environment, since nobody else may feel the change.
"""

from collections.abc import Iterable

from certctl_core.errors import FieldProblem, Forbidden, Invalid, NotFound
from certctl_core.ids import CertificateId, TeamId
from certctl_core.models.access import Actor
from certctl_core.models.agents import Agent
from certctl_core.models.catalog import ConfiguredIssuer, ConfiguredTarget, Owner, Team
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.policies import PolicyRule
from certctl_core.ports.store import Is, Where, Work

Limited = Team | Owner | ConfiguredIssuer | ConfiguredTarget | Agent
"""What may be limited to teams."""


# --- certificates, and what belongs to one ----------------------------------------------------------------------------


def certificates(caller: Actor) -> tuple[Where, ...]:
    """Conditions that leave of a list of certificates, or of what belongs to them, what the caller may see."""
    limits = (("team_id", caller.scope.team_ids), ("environment", caller.scope.environments))
    return tuple(_one_of(name, values) for name, values in limits if values)


def _one_of(name: str, values: frozenset[str] | frozenset[TeamId]) -> Where:
    """An index can have rows with one value in order, and not those with one of several."""
    one, *others = sorted(values)
    return Where(name, (one, *others), Is.ONE_OF) if others else Where(name, one)


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


def must_put_within(
    work: Work, caller: Actor, certificate: ManagedCertificate, before: ManagedCertificate | None = None
) -> None:
    """A certificate that a caller with a limited key makes or changes stays within its reach, and refers to nothing
    beyond it, nor to what is limited to other teams than the certificate's, that it did not refer to already. Raises
    `Invalid` naming each field; what is out of reach is said not to exist."""
    limits = caller.scope
    if limits.is_everything:
        return
    problems: list[FieldProblem] = []
    if limits.team_ids and certificate.team_id not in limits.team_ids:
        problems.append(FieldProblem("team_id", f"must be within reach of your key: {_listed(limits.team_ids)}"))
    if limits.environments and certificate.environment not in limits.environments:
        problems.append(
            FieldProblem("environment", f"must be within reach of your key: {_listed(limits.environments)}")
        )
    problems += _beyond(work, caller, certificate, before)
    if problems:
        said = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
        raise Invalid(f"the certificate is not valid: {said}", fields=problems)


def _beyond(
    work: Work, caller: Actor, certificate: ManagedCertificate, before: ManagedCertificate | None
) -> Iterable[FieldProblem]:
    """References that are new, or the certificate's team is, and lead nowhere the caller or the team may go: at most
    three statements."""
    kept = before if before is not None and before.team_id == certificate.team_id else None
    if kept is None or certificate.issuer_id != kept.issuer_id:
        issuer = work.issuers.find(certificate.issuer_id)
        yield from _must_serve(caller, certificate.team_id, issuer, "issuer_id", certificate.issuer_id)
    if kept is None or certificate.owner_id != kept.owner_id:
        owner = work.owners.find(certificate.owner_id)
        if owner is None or not reaches(caller, owner):
            yield _dangling("owner_id", certificate.owner_id)
    new = set(certificate.target_ids) - set(kept.target_ids if kept else ())
    targets = work.targets.many(sorted(new))
    for index, identity in enumerate(certificate.target_ids):
        if identity in new:
            target = targets.get(identity)
            yield from _must_serve(caller, certificate.team_id, target, f"target_ids[{index}]", identity)


def _must_serve(
    caller: Actor, team_id: TeamId, fact: ConfiguredIssuer | ConfiguredTarget | None, field: str, identity: str
) -> Iterable[FieldProblem]:
    """What is wrong with using it for something of this team."""
    if fact is None or not reaches(caller, fact):
        yield _dangling(field, identity)
    elif fact.team_ids and team_id not in fact.team_ids:
        yield FieldProblem(field, f"{identity!r} is limited to other teams than {team_id!r}")


def _dangling(field: str, identity: str) -> FieldProblem:
    return FieldProblem(field, f"refers to {identity!r}, which does not exist")


# --- what may be limited to teams -------------------------------------------------------------------------------------


def limited(caller: Actor, field: str = "team_ids") -> tuple[Where, ...]:
    """Conditions that leave of a list of what may be limited to teams what the caller may see. `field` holds the
    limit."""
    teams = caller.scope.team_ids
    return (Where(field, tuple(sorted(teams)), Is.OPEN_TO),) if teams else ()


def teams_of(fact: Limited) -> tuple[TeamId, ...]:
    """The teams it is limited to; none: it is everybody's."""
    if isinstance(fact, Team):
        return (fact.id,)
    if isinstance(fact, Owner):
        return () if fact.team_id is None else (fact.team_id,)
    return fact.team_ids


def reaches(caller: Actor, fact: Limited) -> bool:
    """Whether the caller may see it and refer to it."""
    return caller.scope.is_open_to(teams_of(fact))


def must_change(caller: Actor, noun: str, fact: Limited) -> None:
    """Raises `NotFound` for what the caller does not see, and `Forbidden` for what it sees and others would miss."""
    if not reaches(caller, fact):
        raise NotFound.of(noun, fact.id)
    if not caller.scope.owns(teams_of(fact)):
        raise Forbidden(
            f"{noun} {fact.id} is not your teams' alone",
            hint="What others use too, or in other environments, is changed with a key that reaches all of it.",
        )


def own_teams(caller: Actor, asked: Iterable[TeamId] | None, field: str = "team_ids") -> tuple[TeamId, ...]:
    """The teams that something new, or changed, is to be limited to. Nothing asked: those of the caller's key. Raises
    `Invalid` for what is beyond the caller's reach, `Forbidden` for a key that is limited to environments."""
    must_not_be_limited_to_environments(caller)
    teams = tuple(sorted(caller.scope.team_ids)) if asked is None else tuple(dict.fromkeys(asked))
    if not caller.scope.owns(teams):
        raise Invalid.field(field, f"must be within reach of your key: {_listed(caller.scope.team_ids)}")
    return teams


def must_exist(work: Work, team_ids: tuple[TeamId, ...], field: str = "team_ids") -> None:
    """Raises `Invalid` naming the first team that does not exist."""
    found = work.teams.many(team_ids)
    for identity in team_ids:
        if identity not in found:
            raise Invalid.field(field, f"refers to {identity!r}, which does not exist")


def must_not_be_limited_to_environments(caller: Actor) -> None:
    """For what is in no environment. Raises `Forbidden`."""
    if caller.scope.environments:
        raise Forbidden(
            "a key that is limited to environments cannot do this",
            hint="What this is about is used in every environment. Use a key that is limited to teams at most.",
        )


def must_reach_everything(caller: Actor) -> None:
    """For what belongs to no team. Raises `Forbidden` for a caller whose key is limited."""
    if not caller.scope.is_everything:
        raise Forbidden(
            "a key that is limited to teams or environments cannot do this",
            hint="What this is about belongs to no team. Use a key without such limits.",
        )


def covered(caller: Actor) -> tuple[Where, ...]:
    """Conditions that leave of a list of what has a reach of its own, such as keys, what reaches no further than the
    caller."""
    limits = (("team_ids", caller.scope.team_ids), ("environments", caller.scope.environments))
    return tuple(Where(name, tuple(sorted(mine)), Is.WITHIN) for name, mine in limits if mine)


# --- policy rules, which may be limited to both -----------------------------------------------------------------------


def rules(caller: Actor) -> tuple[Where, ...]:
    """Conditions that leave of a list of policy rules those that are about something within the caller's reach."""
    environments = tuple(sorted(caller.scope.environments))
    return (*limited(caller), *((Where("environments", environments, Is.OPEN_TO),) if environments else ()))


def must_see_rule(caller: Actor, rule: PolicyRule) -> PolicyRule:
    """The rule itself. Raises `NotFound` when it is about nothing within the caller's reach."""
    mine, about = caller.scope.environments, rule.environments
    if not caller.scope.is_open_to(rule.team_ids) or (mine and about and mine.isdisjoint(about)):
        raise NotFound.of("policy rule", rule.id)
    return rule


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "nothing"
