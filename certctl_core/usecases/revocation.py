"""Revocation, and what tells the world of it: CRLs and OCSP responses from our own records.

Revoking never waits for a CRL to be made: it writes rows. A stored CRL made at another count of revocations than the
issuer's present one is out of date and is made again when it is next asked for.
"""

from datetime import datetime, timedelta
from typing import Final

from attrs import evolve

from certctl_core.errors import Conflict, NotConfigured
from certctl_core.ids import IssuerId, RevocationId, mint
from certctl_core.lifecycle import certificate as life
from certctl_core.lifecycle.certificate import CertificateEvent
from certctl_core.models.access import Actor, Principal
from certctl_core.models.certificates import (
    CertificateVersion,
    ManagedCertificate,
    Revocation,
    RevocationReason,
)
from certctl_core.pki.plan import CrlPlan, OcspAnswer, OcspQuestion, RevokedEntry
from certctl_core.ports import Ports
from certctl_core.ports.issuer import AnswersOcsp, SignsCrls
from certctl_core.ports.store import StoredCrl, Work
from certctl_core.usecases import audit
from certctl_core.usecases.certificates import cancel_open_jobs

CRL_LIFE: Final = timedelta(hours=24)
CRL_REFRESH: Final = timedelta(hours=12)
"""A CRL is made again when this much of its life is left, so that a relying party never meets an expired one."""

OCSP_LIFE: Final = timedelta(hours=1)

BACKDATE: Final = timedelta(minutes=5)
"""How far thisUpdate lies in the past, for relying parties and replicas whose clocks are wrong by minutes."""


def revoke(ports: Ports, caller: Principal, certificate_id: str, reason: RevocationReason) -> ManagedCertificate:
    """Revoke every version that has not expired. Raises `IllegalTransition` when revoked or archived already, and
    `Conflict` when nothing was ever issued."""
    now = ports.clock.now()
    with ports.work() as work:
        certificate = work.certificates.lock(certificate_id)
        revoked = life.step(certificate, CertificateEvent.REVOKE, now)
        versions = work.versions.unexpired(certificate.id, now)
        if not versions and work.versions.latest(certificate.id) is None:
            raise Conflict(
                f"cannot revoke {certificate.id}: nothing has been issued", hint="Archive it if it is not needed."
            )
        for version in versions:
            enter(work, caller, version, reason, now)
        cancel_open_jobs(work, certificate.id, now, f"certificate {certificate.id} was revoked")
        revoked = work.certificates.save(
            evolve(revoked, revoked_at=now, revocation_reason=reason, renew_at=None, next_alert_at=None)
        )
        audit.record(
            work,
            caller,
            now,
            "certificate_revoked",
            "certificate",
            certificate.id,
            common_name=certificate.common_name,
            serials=[version.serial_number for version in versions],
            reason=reason.value,
        )
    return revoked


def enter(work: Work, actor: Actor, version: CertificateVersion, reason: RevocationReason, now: datetime) -> None:
    """Write in the open transaction that a version is not to be believed; one that is revoked already stays as it
    is."""
    if work.revocations.find(version.issuer_id, version.serial_number) is not None:
        return
    work.revocations.add(
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
    """A signed response (DER). Only serial numbers that we issued are good; one we did not is unknown."""
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
