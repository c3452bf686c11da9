"""Revocation, and what tells the world of it: CRLs and OCSP responses from our own records.

Revoking never waits for a CRL to be made: it writes rows. A stored CRL made at another count of revocations than the
issuer's present one is out of date and is made again when it is next asked for.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from certctl_core.errors import CertctlError, Conflict, IllegalTransition, NotConfigured
from certctl_core.ids import CertificateId, IssuerId, RevocationId, mint
from certctl_core.lifecycle import certificate as life
from certctl_core.lifecycle import job as job_life
from certctl_core.lifecycle.certificate import CertificateEvent
from certctl_core.models.access import Actor, Principal
from certctl_core.models.certificates import (
    CertificateVersion,
    ManagedCertificate,
    Revocation,
    RevocationReason,
)
from certctl_core.models.records import AuditEvent
from certctl_core.pki.plan import CrlPlan, OcspAnswer, OcspQuestion, RevokedEntry
from certctl_core.policy import schedule
from certctl_core.ports import Ports
from certctl_core.ports.issuer import AnswersOcsp, SignsCrls
from certctl_core.ports.store import StoredCrl, Work
from certctl_core.usecases import audit, consent, notices, notifications, scope

CRL_LIFE: Final = timedelta(hours=24)
CRL_REFRESH: Final = timedelta(hours=12)
"""A CRL is made again when this much of its life is left, so that a relying party never meets an expired one."""

OCSP_LIFE: Final = timedelta(hours=1)

BACKDATE: Final = timedelta(minutes=5)
"""How far thisUpdate lies in the past, for relying parties and replicas whose clocks are wrong by minutes."""


@frozen
class Revoked:
    """What became of a certificate that was to be revoked, or why it was not."""

    certificate: ManagedCertificate
    problem: CertctlError | None = None


def revoke(ports: Ports, caller: Principal, certificate_id: str, reason: RevocationReason) -> ManagedCertificate:
    """Revoke every version that has not expired. Raises `NotFound` for what the caller cannot see, `IllegalTransition`
    when revoked or archived already, and `Conflict` when nothing was ever issued, or only by a foreign CA."""
    now = ports.clock.now()
    with ports.work() as work:
        held = scope.lock(work, caller, certificate_id)
        (revoked,) = revoke_many(work, caller, (held,), reason, now)
        if revoked.problem is not None:
            raise revoked.problem
    return revoked.certificate


def revoke_many(
    work: Work, actor: Actor, certificates: Sequence[ManagedCertificate], reason: RevocationReason, now: datetime
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
    _enter_all(work, actor, versions, reason, now)
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
    try:
        step = life.step(certificate, CertificateEvent.REVOKE, now)
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
    return Revoked(evolve(over, revoked_at=now, revocation_reason=reason))


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
) -> None:
    """Of each certificate these versions, but for those that are revoked already or that a foreign CA answers for."""
    known = {(revocation.issuer_id, revocation.serial_number) for revocation in work.revocations.of(versions)}
    work.revocations.add_many(
        [
            Revocation(
                id=RevocationId(mint("rev", now)),
                certificate_id=version.certificate_id,
                issuer_id=version.issuer_id,
                serial_number=version.serial_number,
                reason=reason,
                revoked_by=actor.name,
                revoked_at=now,
                not_after=version.not_after,
            )
            for of_it in versions.values()
            for version in of_it
            if not version.is_foreign and (version.issuer_id, version.serial_number) not in known
        ]
    )


def crl(ports: Ports, issuer_id: str) -> StoredCrl:
    """The issuer's present CRL, signed anew only when it is out of date. Raises `NotFound`, and `NotConfigured` for an
    issuer whose CRL is published by its own CA."""
    now = ports.clock.now()
    with ports.work() as work:
        configured = work.issuers.get(issuer_id)
        stored = work.crls.find(configured.id)
        if stored and stored.revocations == work.revocations.count(configured.id) and _is_fresh(stored, now):
            return stored
    signer = ports.issuers.connect(configured)
    if not isinstance(signer, SignsCrls):
        raise NotConfigured(f"issuer {issuer_id} publishes its own CRL", hint="See the CDP in its certificates.")
    with ports.work() as work:
        number = work.crls.next_number(configured.id)
        revocations = work.revocations.count(configured.id)
        entries = [
            RevokedEntry(revocation.serial_number, revocation.revoked_at, revocation.reason)
            # An entry stays until it was on a CRL made after its certificate's end (RFC 5280 section 3.3).
            for revocation in work.revocations.unexpired(configured.id, now - CRL_LIFE)
        ]
    plan = CrlPlan(number, now - BACKDATE, now + CRL_LIFE, entries)
    signed = StoredCrl(
        issuer_id=configured.id,
        number=number,
        der=signer.sign_crl(plan),
        revocations=revocations,
        this_update=plan.this_update,
        next_update=plan.next_update,
    )
    with ports.work() as work:
        work.crls.save(signed)
    return signed


def _is_fresh(stored: StoredCrl, now: datetime) -> bool:
    return now < stored.next_update - CRL_REFRESH


def answer_ocsp(ports: Ports, issuer_id: str, question: OcspQuestion) -> bytes:
    """A signed response (DER). Only serial numbers that this issuer's CA issued are good; any other is unknown, also
    that of a foreign certificate which was imported under this issuer."""
    now = ports.clock.now()
    with ports.work() as work:
        configured = work.issuers.get(issuer_id)
        version = work.versions.with_serial(IssuerId(issuer_id), question.serial_number)
        revocation = work.revocations.find(IssuerId(issuer_id), question.serial_number)
    responder = ports.issuers.connect(configured)
    if not isinstance(responder, AnswersOcsp):
        raise NotConfigured(f"issuer {issuer_id} runs its own OCSP responder", hint="See the AIA of its certificates.")
    answer = OcspAnswer(
        known=version is not None,
        this_update=now - BACKDATE,
        next_update=now + OCSP_LIFE,
        revoked_at=revocation.revoked_at if revocation else None,
        reason=revocation.reason if revocation else None,
    )
    return responder.answer_ocsp(question, answer)
