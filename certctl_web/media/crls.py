"""CRLs on the wire."""

from datetime import datetime
from typing import Self

from attrs import frozen

from certctl_core.models.crls import CrlGeneration
from certctl_core.usecases.crls import Listed


@frozen(kw_only=True)
class CRLGenerationEvent:
    """How one making went; `crl_number` is 0 when it failed."""

    started_at: datetime
    duration_ms: int
    succeeded: bool
    is_delta: bool
    crl_number: int
    revoked_count: int
    error: str | None = None

    @classmethod
    def of(cls, made: CrlGeneration) -> Self:
        return cls(
            started_at=made.started_at,
            duration_ms=int(made.took.total_seconds() * 1000),
            succeeded=made.succeeded,
            is_delta=made.is_delta,
            crl_number=made.number,
            revoked_count=made.entries,
            error=made.error or None,
        )


@frozen(kw_only=True)
class CRLCacheRow:
    """The CRL of a CA of an issuer, by the CA's key identifier, and of a part of its certificates (0: those that name
    no part). It is stale when it is due to be made again, or failed to be."""

    issuer_id: str
    authority_key_id: str
    partition: int
    cache_present: bool
    crl_number: int | None = None
    this_update: datetime | None = None
    next_update: datetime | None = None
    generated_at: datetime | None = None
    generation_duration_ms: int | None = None
    revoked_count: int | None = None
    size_bytes: int | None = None
    delta_crl_number: int | None = None
    delta_base_number: int | None = None
    is_stale: bool
    due_at: datetime
    failures: int
    last_error: str | None = None
    recent_events: tuple[CRLGenerationEvent, ...] = ()

    @classmethod
    def of(cls, listed: Listed, now: datetime) -> Self:
        duty, crl, delta = listed.duty, listed.complete, listed.delta
        return cls(
            issuer_id=duty.scope.issuer_id,
            authority_key_id=duty.scope.authority,
            partition=duty.scope.partition,
            cache_present=crl is not None,
            crl_number=crl.number if crl else None,
            this_update=crl.this_update if crl else None,
            next_update=crl.next_update if crl else None,
            generated_at=crl.made_at if crl else None,
            generation_duration_ms=int(crl.took.total_seconds() * 1000) if crl else None,
            revoked_count=crl.entries if crl else None,
            size_bytes=crl.size if crl else None,
            delta_crl_number=delta.number if delta else None,
            delta_base_number=delta.base if delta else None,
            is_stale=crl is None or duty.due_at <= now or duty.failures > 0,
            due_at=duty.due_at,
            failures=duty.failures,
            last_error=duty.last_error or None,
            recent_events=tuple(map(CRLGenerationEvent.of, listed.history)),
        )


@frozen(kw_only=True)
class CRLCache:
    """Every CRL that is made here, at most 1,000."""

    cache_rows: tuple[CRLCacheRow, ...]
    row_count: int
    generated_at: datetime
