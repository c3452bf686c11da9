"""Renewals that should have happened, on the wire."""

from datetime import datetime
from typing import Self

from attrs import frozen

from certctl_core.models import certificates as facts
from certctl_core.models.certificates import CertificateStatus
from certctl_web.media.writing import or_zero


@frozen(kw_only=True)
class OverdueRenewal:
    """A certificate that should have been renewed by `overdue_at` and has not been. `expires_at` is
    `0001-01-01T00:00:00Z` if nothing was ever issued; `reported_at` is when its owner was told."""

    certificate_id: str
    name: str
    common_name: str
    environment: str
    owner_id: str
    team_id: str
    issuer_id: str
    status: CertificateStatus
    status_reason: str | None = None
    expires_at: datetime
    overdue_at: datetime
    reported_at: datetime | None = None

    @classmethod
    def of(cls, fact: facts.ManagedCertificate) -> Self:
        return cls(
            certificate_id=fact.id,
            name=fact.name,
            common_name=fact.common_name,
            environment=fact.environment,
            owner_id=fact.owner_id,
            team_id=fact.team_id,
            issuer_id=fact.issuer_id,
            status=fact.status,
            status_reason=fact.status_reason or None,
            expires_at=or_zero(fact.expires_at),
            overdue_at=or_zero(fact.overdue_at),
            reported_at=fact.overdue_reported_at,
        )
