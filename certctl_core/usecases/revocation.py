"""Revocation, holds and their release, and OCSP responses from our own records.

Revoking never waits for a CRL to be made: it writes rows, among them the entry as it will stand in the list, and the
loop makes the list (`crls`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from certctl_core.errors import CertctlError, Conflict, IllegalTransition, Invalid
from certctl_core.ids import CertificateId, RevocationId, mint
from certctl_core.lifecycle import certificate as life
from certctl_core.lifecycle import job as job_life
from certctl_core.lifecycle.certificate import CertificateEvent
from certctl_core.models.access import Actor, Principal
from certctl_core.models.certificates import (
    CertificateStatus,
    CertificateVersion,
    ManagedCertificate,
    Revocation,
    RevocationReason,
)
from certctl_core.models.records import AuditEvent
from certctl_core.policy import schedule
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import audit, consent, crl_scopes, notices, notifications, scope

_FIRST_TIME: Final = datetime(1950, 1, 1, tzinfo=UTC)

BACKDATE: Final = timedelta(minutes=5)
"""How far thisUpdate lies in the past, for relying parties and replicas whose clocks are wrong by minutes."""


@frozen
class Revoked:
    """What became of a certificate that was to be revoked, or why it was not."""

    certificate: ManagedCertificate
    problem: CertctlError | None = None


def revoke(
    ports: Ports,
    caller: Principal,
    certificate_id: str,
    reason: RevocationReason,
    invalid_since: datetime | None = None,
) -> ManagedCertificate:
    """Revoke every version that has not expired. What is on hold can be revoked for good, and keeps the time of its
    hold. `invalid_since` is when the key was lost, as far as is known. Raises `NotFound` for what the caller cannot
    see, `IllegalTransition` when revoked or archived already, `Conflict` when nothing was ever issued, or only by a
    foreign CA, and `Invalid` for an `invalid_since` that lies in the future."""
    now = ports.clock.now()
    if invalid_since is not None and not _FIRST_TIME <= invalid_since <= now:
        raise Invalid.field("invalid_since", "must be a time from 1950 on that does not lie in the future")
    with ports.work() as work:
        held = scope.lock(work, caller, certificate_id)
        (revoked,) = revoke_many(work, caller, (held,), reason, now, invalid_since)
        if revoked.problem is not None:
            raise revoked.problem
    return revoked.certificate


def release(ports: Ports, caller: Principal, certificate_id: str) -> ManagedCertificate:
    """Take a certificate off hold: its versions are to be believed again, and it is renewed as its policy says. Raises
    `NotFound` for what the caller cannot see, and `Conflict` when it is not on hold."""
    now = ports.clock.now()
    with ports.work() as work:
        held = scope.lock(work, caller, certificate_id)
        if not is_on_hold(held):
            raise Conflict(
                f"certificate {held.id} is not on hold",
                hint="Only what was revoked as certificateHold can be released; for anything else, make a new one.",
            )
        policy = work.renewal_policies.get(held.renewal_policy_id)
        released = [_released(each, now) for each in work.revocations.of([held.id]) if _is_hold(each)]
        work.revocations.change_many(released)
        believed = evolve(life.step(held, CertificateEvent.RELEASE, now), revoked_at=None, revocation_reason=None)
        living = evolve(schedule.changed(believed, policy, now), next_policy_check_at=now)
        saved = work.certificates.save(living)
        audit.record(
            work,
            caller,
            now,
            "certificate_released",
            "certificate",
            held.id,
            common_name=held.common_name,
            serials=[each.serial_number for each in released],
        )
    return saved


def _released(revocation: Revocation, now: datetime) -> Revocation:
    gone = evolve(revocation, released_at=now)
    return evolve(gone, entry=crl_scopes.entry(evolve(gone, revoked_at=now)))


def _is_hold(revocation: Revocation) -> bool:
    return revocation.reason is RevocationReason.CERTIFICATE_HOLD


def is_on_hold(certificate: ManagedCertificate) -> bool:
    """Whether it can be released, or revoked for good."""
    is_revoked = certificate.status is CertificateStatus.REVOKED
    return is_revoked and certificate.revocation_reason is RevocationReason.CERTIFICATE_HOLD


def revoke_many(
    work: Work,
    actor: Actor,
    certificates: Sequence[ManagedCertificate],
    reason: RevocationReason,
    now: datetime,
    invalid_since: datetime | None = None,
) -> tuple[Revoked, ...]:
    """As `revoke`, for many, in the open transaction: a constant number of statements, and an outcome for each in the
    order given. What cannot be revoked is not touched and keeps no other from it. The caller holds the certificates
    (`work.certificates.lock_many`) and has seen to it that they may be seen."""
    ids = [certificate.id for certificate in certificates]
    unexpired = work.versions.unexpired(ids, now)
    ever_issued = work.versions.validities(ids)
    judged = [
        _judged(certificate, unexpired.get(certificate.id, ()), certificate.id in ever_issued, reason, now)
        for certificate in certificates
    ]
    revoked = [one.certificate for one in judged if one.problem is None]
    versions = {certificate.id: unexpired.get(certificate.id, ()) for certificate in revoked}
    _enter_all(work, actor, versions, reason, now, invalid_since)
    jobs = work.jobs.open_of_many(versions)
    ended = work.jobs.save_many(
        [
            job_life.cancel(job, now, f"certificate {certificate_id} was revoked")
            for certificate_id, of_it in jobs.items()
            for job in of_it
        ]
    )
    consent.withdraw(work, ended, now)
    written = {certificate.id: certificate for certificate in work.certificates.save_many(revoked)}
    work.audit.add(*(_event(actor, certificate, versions[certificate.id], now) for certificate in revoked))
    told = (_notice(actor, written[certificate.id], versions[certificate.id], reason) for certificate in revoked)
    notifications.owe(work, now, *told)
    return tuple(one if one.problem else Revoked(written[one.certificate.id]) for one in judged)


def _judged(
    certificate: ManagedCertificate,
    unexpired: Sequence[CertificateVersion],
    was_issued: bool,
    reason: RevocationReason,
    now: datetime,
) -> Revoked:
    is_confirmed = is_on_hold(certificate) and reason is not RevocationReason.CERTIFICATE_HOLD
    try:
        step = life.step(certificate, CertificateEvent.CONFIRM if is_confirmed else CertificateEvent.REVOKE, now)
    except IllegalTransition as problem:
        return Revoked(certificate, problem)
    if not was_issued:
        nothing = f"cannot revoke {certificate.id}: nothing has been issued"
        return Revoked(certificate, Conflict(nothing, hint="Archive it if it is not needed."))
    if unexpired and all(version.is_foreign for version in unexpired):
        authority = unexpired[0].certificate.issuer.rfc4514_string()
        foreign = (
            f"cannot revoke {certificate.id}: it was issued by {authority!r}, and not with {certificate.issuer_id}"
        )
        return Revoked(certificate, Conflict(foreign, hint="Have that CA revoke it, then archive it here."))
    over = evolve(schedule.none(step), next_policy_check_at=now)
    since = certificate.revoked_at if is_confirmed else now
    return Revoked(evolve(over, revoked_at=since, revocation_reason=reason))


def _notice(
    actor: Actor,
    certificate: ManagedCertificate,
    versions: Sequence[CertificateVersion],
    reason: RevocationReason,
) -> notifications.Notice:
    serials = [version.serial_number for version in versions if not version.is_foreign]
    return notices.revoked(certificate, reason, serials, actor.name)


def _event(
    actor: Actor, certificate: ManagedCertificate, versions: Sequence[CertificateVersion], now: datetime
) -> AuditEvent:
    foreign = [version.serial_number for version in versions if version.is_foreign]
    more = {"foreign_serials": foreign} if foreign else {}
    return audit.event(
        actor,
        now,
        "certificate_revoked",
        "certificate",
        certificate.id,
        common_name=certificate.common_name,
        serials=[version.serial_number for version in versions if not version.is_foreign],
        reason=certificate.revocation_reason.value if certificate.revocation_reason else "",
        **more,
    )


def enter(work: Work, actor: Actor, version: CertificateVersion, reason: RevocationReason, now: datetime) -> None:
    """Write in the open transaction that a version is not to be believed; one that is revoked already stays as it
    is."""
    _enter_all(work, actor, {version.certificate_id: (version,)}, reason, now)


def _enter_all(
    work: Work,
    actor: Actor,
    versions: Mapping[CertificateId, Sequence[CertificateVersion]],
    reason: RevocationReason,
    now: datetime,
    invalid_since: datetime | None = None,
) -> None:
    """Of each certificate these versions, but for those that are revoked already or that a foreign CA answers for."""
    known = {
        (revocation.issuer_id, revocation.serial_number): revocation
        for revocation in work.revocations.of(versions, released=True)
    }
    new: list[Revocation] = []
    changed: list[Revocation] = []
    for version in (version for of_it in versions.values() for version in of_it if not version.is_foreign):
        before = known.get((version.issuer_id, version.serial_number))
        if before is not None and before.released_at is None and not _is_hold(before):
            continue
        revocation = Revocation(
            id=before.id if before else RevocationId(mint("rev", now)),
            certificate_id=version.certificate_id,
            issuer_id=version.issuer_id,
            serial_number=version.serial_number,
            reason=reason,
            revoked_by=actor.name,
            # What is revoked for good was not to be believed since its hold (X.509, CRL reason certificateHold).
            revoked_at=before.revoked_at if before and before.released_at is None else now,
            not_after=version.not_after,
            invalid_since=invalid_since,
        )
        (changed if before else new).append(crl_scopes.entered(revocation, version))
    work.revocations.add_many(new)
    work.revocations.change_many(changed)
