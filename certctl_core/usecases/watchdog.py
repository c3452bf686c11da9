"""The watchdog: certificates that should have been renewed by now and have not been, whatever the reason.

It asks nobody who renews. When a certificate is recorded it is promised a renewal, and `overdue_at` is the time by
which that must have happened (`policy/renewal.py`); only a new version, or a policy that promises nothing, takes it
away. The schedule, jobs, leases, back-off and the workers' queue may each go wrong, or say that all is well: a
certificate whose time is past and that is still the old one is reported, and counted for whoever looks.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from attrs import evolve

from certctl_core.models.access import SYSTEM, Actor
from certctl_core.models.catalog import RenewalPolicy
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.records import AuditEvent
from certctl_core.ports import Ports
from certctl_core.ports.store import Is, Page, Query, Where, Work
from certctl_core.usecases import audit, notices, notifications, scope

BATCH: Final = 500
_OVER: Final = (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED)


def report(ports: Ports) -> int:
    """Report each certificate that is overdue, once: on the audit trail, and to its owner. Returns how many."""
    reported = 0
    while True:
        now = ports.clock.now()
        with ports.work() as work:
            found = work.certificates.newly_overdue(now, BATCH)
            policies = work.renewal_policies.many({certificate.renewal_policy_id for certificate in found})
            overdue = [each for each in found if _is_promised(each, policies)]
            others = [each for each in found if not _is_promised(each, policies)]
            notifications.owe(work, now, *(notices.renewal_overdue(certificate) for certificate in overdue))
            work.certificates.save_many([evolve(each, overdue_reported_at=now) for each in overdue])
            work.certificates.save_many([evolve(each, overdue_at=None) for each in others])
            work.audit.add(*(_event(certificate, now) for certificate in overdue))
        reported += len(overdue)
        if len(found) < BATCH:
            return reported


def page(ports: Ports, caller: Actor, query: Query) -> Page[ManagedCertificate]:
    """Certificates that are overdue by the clock, reported or not."""
    with ports.work() as work:
        where = (*query.where, *overdue(ports.clock.now()), *scope.certificates(caller))
        return work.certificates.page(evolve(query, where=where))


def count(work: Work, now: datetime, seen: Sequence[Where]) -> int:
    """How many certificates, of those for which `seen` holds, are overdue at `now`, in the open transaction."""
    return work.certificates.page(Query((*overdue(now), *seen), sort="overdue_at", limit=1)).total


def overdue(now: datetime) -> tuple[Where, ...]:
    """What leaves of a list of certificates those that are overdue at `now`."""
    return (Where("overdue_at", now, Is.BEFORE),)


def _is_promised(certificate: ManagedCertificate, policies: Mapping[str, RenewalPolicy]) -> bool:
    return certificate.status not in _OVER and policies[certificate.renewal_policy_id].auto_renew


def _event(certificate: ManagedCertificate, now: datetime) -> AuditEvent:
    ends = certificate.expires_at
    return audit.event(
        SYSTEM,
        now,
        "renewal_overdue",
        "certificate",
        certificate.id,
        overdue_at=certificate.overdue_at.isoformat() if certificate.overdue_at else None,
        expires_at=ends.isoformat() if ends else None,
        status=certificate.status.value,
        reason=certificate.status_reason,
    )
