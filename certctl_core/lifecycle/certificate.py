"""The life of a managed certificate.

    Pending ──renew──▶ RenewalInProgress ──issue──▶ Active ──lapse──▶ Expired
                         ▲   │                       │ │ ▲              │
                         │   └──fail──▶ Failed       │ └─approach─▶ Expiring
                         └──────renew─────┴──────────┴──────renew───────┘

Revoke and archive lead out of the circle; only what was revoked as being on hold can be released into it again, or be
revoked for good. An Expired certificate may be renewed: what has to be proved is the name,
and a fleet that was switched off for a month must recover without a human. A Revoked one may not: its names were
withdrawn on purpose, and reviving them takes a new certificate.
"""

from datetime import datetime
from enum import Enum
from typing import Any

from attrs import evolve

from certctl_core.lifecycle.machine import Machine, from_each
from certctl_core.models.certificates import CertificateStatus as S
from certctl_core.models.certificates import ManagedCertificate


class CertificateEvent(Enum):
    RENEW = "renew"
    ISSUE = "issue"
    FAIL = "fail"
    APPROACH_EXPIRY = "mark as expiring"
    LAPSE = "expire"
    REVOKE = "revoke"
    CONFIRM = "revoke for good"
    RELEASE = "release"
    ARCHIVE = "archive"
    ABANDON = "abandon renewal of"


_LIVING = (S.PENDING, S.ACTIVE, S.EXPIRING, S.EXPIRED, S.RENEWAL_IN_PROGRESS, S.FAILED)

CERTIFICATE: Machine[S, CertificateEvent] = Machine(
    "certificate",
    {
        **from_each(
            (S.PENDING, S.ACTIVE, S.EXPIRING, S.EXPIRED, S.FAILED), CertificateEvent.RENEW, S.RENEWAL_IN_PROGRESS
        ),
        **from_each(_LIVING, CertificateEvent.ISSUE, S.ACTIVE),
        **from_each((S.RENEWAL_IN_PROGRESS, S.FAILED), CertificateEvent.FAIL, S.FAILED),
        **from_each((S.ACTIVE, S.EXPIRING), CertificateEvent.APPROACH_EXPIRY, S.EXPIRING),
        **from_each((S.ACTIVE, S.EXPIRING, S.FAILED), CertificateEvent.LAPSE, S.EXPIRED),
        **from_each(_LIVING, CertificateEvent.REVOKE, S.REVOKED),
        (S.REVOKED, CertificateEvent.CONFIRM): S.REVOKED,
        (S.REVOKED, CertificateEvent.RELEASE): S.ACTIVE,
        **from_each((*_LIVING, S.REVOKED), CertificateEvent.ARCHIVE, S.ARCHIVED),
        (S.RENEWAL_IN_PROGRESS, CertificateEvent.ABANDON): S.FAILED,
    },
)


def step(
    certificate: ManagedCertificate, event: CertificateEvent, at: datetime, reason: str = "", **changes: Any
) -> ManagedCertificate:
    """The certificate after `event` at `at`, and with whatever else changes with it. Raises `IllegalTransition`."""
    return evolve(
        certificate,
        status=CERTIFICATE.next(certificate.status, event),
        status_reason=reason,
        updated_at=at,
        **changes,
    )
