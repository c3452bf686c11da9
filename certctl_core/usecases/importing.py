"""Import: certificates that were issued elsewhere are managed from now on.

A certificate is kept as it is: dates, names, serial number, fingerprint. It is managed under an issuer, which will
issue its successor; that its CA also issued this one is believed only if its key did sign it. Otherwise the version is
foreign: the issuer neither answers for it nor revokes it.

What is there already is skipped, so running an import again imports nothing. Two imports of the same certificates at
the same time meet at the database's unique keys; the one that loses reads again and finds them there.

Nothing is issued because of an import: a certificate has no target until somebody gives it one.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from attrs import evolve, field, frozen

from certctl_core.errors import Duplicate, FieldProblem, Invalid
from certctl_core.ids import (
    CertificateId,
    IssuerId,
    OwnerId,
    ProfileId,
    RenewalPolicyId,
    TeamId,
    VersionId,
    mint,
)
from certctl_core.lifecycle import certificate as life
from certctl_core.lifecycle.certificate import CertificateEvent
from certctl_core.models.access import Principal
from certctl_core.models.catalog import ConfiguredIssuer, RenewalPolicy
from certctl_core.models.certificates import (
    CertificateSource,
    CertificateStatus,
    CertificateVersion,
    ManagedCertificate,
)
from certctl_core.models.records import AuditEvent
from certctl_core.pki import uploads
from certctl_core.policy import schedule
from certctl_core.policy.naming import NameTemplate
from certctl_core.ports import Ports
from certctl_core.ports.issuer import ShowsChain
from certctl_core.ports.store import Work
from certctl_core.usecases import audit, candidates, scope
from certctl_core.usecases.candidates import Candidate, Entry, Failed, Skipped

MOST: Final = 500
"""Certificates in a request."""

SOURCE_TAG: Final = "imported_from"
TRIES: Final = 3
_LIVING: Final = tuple(status for status in CertificateStatus if status is not CertificateStatus.ARCHIVED)


@frozen(kw_only=True)
class ImportCertificates:
    """Whose the certificates are to be, who is to issue their successors, and what they are to be called."""

    owner_id: OwnerId
    team_id: TeamId
    issuer_id: IssuerId
    renewal_policy_id: RenewalPolicyId
    profile_id: ProfileId | None = None
    environment: str = "imported"
    name_template: str = "{cn}"
    tags: Mapping[str, str] = field(factory=dict)
    entries: tuple[Entry, ...] = ()


@frozen
class Imported:
    index: int
    certificate: ManagedCertificate
    version: CertificateVersion


@frozen
class Result:
    """What became of each entry, by its index."""

    imported: tuple[Imported, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    failed: tuple[Failed, ...] = ()


@frozen
class _Order:
    """What the imported certificates have in common."""

    blank: ManagedCertificate
    policy: RenewalPolicy
    template: NameTemplate


def import_certificates(ports: Ports, caller: Principal, asked: ImportCertificates) -> Result:
    """Import what can be, and say of each entry what became of it.

    Raises `Invalid` for what all have in common: an owner, team, issuer, policy or profile that does not exist or that
    the caller cannot see, and a template that is none. Raises what connecting to the issuer raises.
    """
    template = NameTemplate.of(asked.name_template)
    blank = _blank(asked, caller, ports.clock.now())
    with ports.work() as work:
        configured, policy = _references(work, caller, blank)
    issuer = ports.issuers.connect(configured)
    # By these the issuer's own certificates are known; none are when it does not show them.
    authorities = issuer.chain() if isinstance(issuer, ShowsChain) else ()
    found, skipped, failed = candidates.read(asked.entries, authorities)
    order = _Order(blank, policy, template)
    for _ in range(TRIES - 1):
        with suppress(Duplicate):
            return _write(ports, caller, order, found, Result((), skipped, failed))
    return _write(ports, caller, order, found, Result((), skipped, failed))


def _references(work: Work, caller: Principal, blank: ManagedCertificate) -> tuple[ConfiguredIssuer, RenewalPolicy]:
    """Raises `Invalid` naming each reference to nothing, or to what is out of the caller's reach."""
    issuer, policy = work.issuers.find(blank.issuer_id), work.renewal_policies.find(blank.renewal_policy_id)
    found: dict[str, object] = {
        "owner_id": work.owners.find(blank.owner_id),
        "team_id": work.teams.find(blank.team_id),
        "issuer_id": issuer,
        "renewal_policy_id": policy,
        "profile_id": blank.profile_id is None or work.profiles.find(blank.profile_id),
    }
    problems = [
        FieldProblem(name, f"refers to {getattr(blank, name)!r}, which does not exist")
        for name, fact in found.items()
        if fact is None
    ]
    if problems or issuer is None or policy is None:
        raise Invalid("; ".join(f"{one.field}: {one.message}" for one in problems), fields=problems)
    scope.must_put_within(work, caller, blank)
    return issuer, policy


def _write(ports: Ports, caller: Principal, order: _Order, found: Sequence[Candidate], read: Result) -> Result:
    """One transaction, in a number of statements that does not depend on how many there are. Raises `Duplicate` when
    somebody else was faster with one of them, or with its name."""
    now = ports.clock.now()
    with ports.work() as work:
        fresh, known = candidates.sift(work, caller, order.blank.issuer_id, found)
        names = candidates.name(work, order.template, fresh)
        imported = tuple(_imported(candidate, names[candidate.index], order, now) for candidate in fresh)
        # In one order whoever imports, so that two who import the same do not wait in a circle.
        work.certificates.add_many([one.certificate for one in sorted(imported, key=lambda one: one.certificate.name)])
        work.versions.add_many(
            [one.version for one in sorted(imported, key=lambda one: one.version.fingerprint_sha256)]
        )
        skipped = tuple(sorted((*read.skipped, *known), key=lambda one: one.index))
        result = Result(imported, skipped, read.failed)
        work.audit.add(*_events(caller, order.blank, result, now))
    return result


def _blank(asked: ImportCertificates, caller: Principal, now: datetime) -> ManagedCertificate:
    """What is the same in each of them."""
    return ManagedCertificate(
        id=CertificateId(""),
        name="",
        common_name="",
        environment=asked.environment,
        owner_id=asked.owner_id,
        team_id=asked.team_id,
        issuer_id=asked.issuer_id,
        renewal_policy_id=asked.renewal_policy_id,
        profile_id=asked.profile_id,
        tags=dict(asked.tags),
        source=CertificateSource.IMPORT,
        ordered_by=caller.name,
        ordered_by_key=caller.key_id,
        generation=1,
        next_policy_check_at=now,
        created_at=now,
        updated_at=now,
    )


# --- what is written --------------------------------------------------------------------------------------------------


def _imported(candidate: Candidate, name: str, order: _Order, now: datetime) -> Imported:
    facts = candidate.upload.facts
    source = {SOURCE_TAG: candidate.source} if candidate.source else {}
    certificate = evolve(
        order.blank,
        id=CertificateId(mint("cert", now)),
        name=name,
        common_name=candidate.upload.common_name,
        sans=facts.sans,
        tags=source | dict(order.blank.tags),
        valid_from=facts.not_before,
        expires_at=facts.not_after,
    )
    version = CertificateVersion(
        id=VersionId(mint("certver", now)),
        certificate_id=certificate.id,
        generation=certificate.generation,
        issuer_id=certificate.issuer_id,
        serial_number=facts.serial_number,
        not_before=facts.not_before,
        not_after=facts.not_after,
        fingerprint_sha256=facts.fingerprint_sha256,
        certificate=candidate.upload.certificate,
        chain=candidate.upload.above,
        key_algorithm=facts.key.algorithm,
        key_size=facts.key.size,
        is_foreign=candidate.is_foreign,
        created_at=now,
    )
    return Imported(candidate.index, _aged(certificate, order.policy, now), version)


def _aged(certificate: ManagedCertificate, policy: RenewalPolicy, now: datetime) -> ManagedCertificate:
    """In the state that its dates put it in. What has expired is kept as it is: nobody is told, nothing is begun."""
    issued = life.step(certificate, CertificateEvent.ISSUE, now)
    if issued.expires_at is not None and issued.expires_at <= now:
        return schedule.none(life.step(issued, CertificateEvent.LAPSE, now))
    scheduled = schedule.changed(issued, policy, now)
    is_due = scheduled.renew_at is not None and scheduled.renew_at <= now
    return life.step(scheduled, CertificateEvent.APPROACH_EXPIRY, now) if is_due else scheduled


def _events(caller: Principal, blank: ManagedCertificate, result: Result, now: datetime) -> Sequence[AuditEvent]:
    begin = audit.event(
        caller,
        now,
        "certificate_import_initiated",
        "certificate",
        "import",
        owner_id=blank.owner_id,
        team_id=blank.team_id,
        issuer_id=blank.issuer_id,
        total_imported=len(result.imported),
        total_skipped=len(result.skipped),
        total_failed=len(result.failed),
    )
    return [begin, *(_event(caller, one, now) for one in result.imported)]


def _event(caller: Principal, one: Imported, now: datetime) -> AuditEvent:
    certificate, version = one.certificate, one.version
    details: dict[str, Any] = {
        "name": certificate.name,
        "common_name": certificate.common_name,
        "serial": version.serial_number,
        "fingerprint": version.fingerprint_sha256,
        "not_after": version.not_after.isoformat(),
    }
    if version.is_foreign:
        details["issued_by"] = uploads.shown(version.certificate.issuer.rfc4514_string())
    return audit.event(caller, now, "certificate_imported", "certificate", certificate.id, **details)
