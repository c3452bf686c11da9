"""Bulk operations on the wire: what is asked, the results of the established API, and how far one has got."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Self

from attrs import frozen

from certctl_core.ids import AgentId, CertificateId, IssuerId, OwnerId, ProfileId, TeamId
from certctl_core.models import bulk as facts
from certctl_core.models.bulk import BulkAction, BulkStatus
from certctl_core.models.certificates import CertificateStatus, RevocationReason
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import bulk as usecases
from certctl_core.usecases.bulk_batches import Fate, Outcome, Progress
from certctl_web.media.bounds import Identity, Length, Reference, Word
from certctl_web.media.paging import Paging
from certctl_web.media.reading import Accepts


@frozen(kw_only=True)
class BulkCriteria(Accepts):
    """Certificates that meet everything that is given; at least one thing must be."""

    certificate_ids: tuple[Identity, ...] = ()
    profile_id: Reference | None = None
    agent_id: Reference | None = None
    issuer_id: Reference | None = None
    status: CertificateStatus | None = None
    environment: Word | None = None
    expires_before: datetime | None = None

    def _criteria(self, owner_id: str | None, team_id: str | None) -> usecases.Criteria:
        return usecases.Criteria(
            certificate_ids=tuple(CertificateId(identity) for identity in dict.fromkeys(self.certificate_ids)),
            profile_id=_or_none(ProfileId, self.profile_id),
            agent_id=_or_none(AgentId, self.agent_id),
            issuer_id=_or_none(IssuerId, self.issuer_id),
            owner_id=_or_none(OwnerId, owner_id),
            team_id=_or_none(TeamId, team_id),
            status=self.status,
            environment=self.environment,
            expires_before=self.expires_before,
        )


def _or_none(kind: Any, text: str | None) -> Any:
    return None if text is None else kind(text)


_BLANK: Final = frozenset({"profile_id", "agent_id", "issuer_id", "owner_id", "team_id", "status", "environment"})


@frozen(kw_only=True)
class BulkRevoke(BulkCriteria):
    """Revoke every certificate that meets the criteria."""

    reason: RevocationReason
    owner_id: Reference | None = None
    team_id: Reference | None = None

    blank: ClassVar = _BLANK | {"expires_before"}

    def wish(self) -> usecases.StartBulk:
        criteria = self._criteria(self.owner_id, self.team_id)
        return usecases.StartBulk(action=BulkAction.REVOKE, criteria=criteria, reason=self.reason.value)


@frozen(kw_only=True)
class BulkRenew(BulkCriteria):
    """Renew every certificate that meets the criteria. `force` starts renewals over that are under way; `reason` is
    kept in the audit trail."""

    owner_id: Reference | None = None
    team_id: Reference | None = None
    force: bool = False
    reason: Annotated[str, Length(0, 1000)] = ""

    blank: ClassVar = _BLANK | {"expires_before"}

    def wish(self) -> usecases.StartBulk:
        criteria = self._criteria(self.owner_id, self.team_id)
        return usecases.StartBulk(action=BulkAction.RENEW, criteria=criteria, reason=self.reason, force=self.force)


@frozen(kw_only=True)
class BulkReassign(BulkCriteria):
    """Give every certificate that meets the criteria to the owner `owner_id`, and to the team `team_id` if there is
    one. Whose they are now is said by `from_owner_id` and `from_team_id`."""

    owner_id: Identity
    team_id: Reference | None = None
    from_owner_id: Reference | None = None
    from_team_id: Reference | None = None
    reason: Annotated[str, Length(0, 1000)] = ""

    blank: ClassVar = (_BLANK - {"owner_id"}) | {"expires_before", "from_owner_id", "from_team_id"}

    def wish(self) -> usecases.StartBulk:
        return usecases.StartBulk(
            action=BulkAction.REASSIGN,
            criteria=self._criteria(self.from_owner_id, self.from_team_id),
            reason=self.reason,
            new_owner_id=OwnerId(self.owner_id),
            new_team_id=_or_none(TeamId, self.team_id),
        )


@frozen(kw_only=True)
class BulkError:
    """A certificate to which it could not be done, and why not."""

    certificate_id: str
    error: str

    @classmethod
    def of(cls, fact: facts.BulkFailure) -> Self:
        return cls(certificate_id=fact.certificate_id, error=fact.error)


@frozen(kw_only=True)
class EnqueuedJob:
    certificate_id: str
    job_id: str


@frozen(kw_only=True)
class BulkResult:
    """What has come of it so far. `operation_id` and `status` are there while it goes on, to look at it again."""

    total_matched: int
    total_skipped: int
    total_failed: int
    errors: tuple[BulkError, ...] | None = None
    operation_id: str | None = None
    status: BulkStatus | None = None


@frozen(kw_only=True)
class BulkRevocationResult(BulkResult):
    """What has come of it so far. `operation_id` and `status` are there while it goes on, to look at it again."""

    total_revoked: int

    @classmethod
    def of(cls, made: Progress) -> Self:
        return cls(total_revoked=made.operation.total_done, **_common(made))


@frozen(kw_only=True)
class BulkRenewalResult(BulkResult):
    """What has come of it so far. There is one job for each agent that makes a key. `operation_id` and `status` are
    there while it goes on, to look at it again."""

    total_enqueued: int
    enqueued_jobs: tuple[EnqueuedJob, ...] | None = None

    @classmethod
    def of(cls, made: Progress) -> Self:
        jobs = tuple(
            EnqueuedJob(certificate_id=outcome.certificate_id, job_id=job_id)
            for outcome in made.outcomes
            for job_id in outcome.job_ids
        )
        return cls(total_enqueued=made.operation.total_done, enqueued_jobs=jobs or None, **_common(made))


@frozen(kw_only=True)
class BulkReassignmentResult(BulkResult):
    """What has come of it so far. `operation_id` and `status` are there while it goes on, to look at it again."""

    total_reassigned: int

    @classmethod
    def of(cls, made: Progress) -> Self:
        return cls(total_reassigned=made.operation.total_done, **_common(made))


def _common(made: Progress) -> dict[str, Any]:
    operation = made.operation
    common: dict[str, Any] = {
        "total_matched": operation.total_matched,
        "total_skipped": operation.total_skipped,
        "total_failed": operation.total_failed,
        "errors": _errors(made.outcomes) or None,
    }
    if operation.status is not BulkStatus.COMPLETED:
        common |= {"operation_id": operation.id, "status": operation.status}
    return common


def _errors(outcomes: Iterable[Outcome]) -> tuple[BulkError, ...]:
    return tuple(
        BulkError(certificate_id=one.certificate_id, error=one.error) for one in outcomes if one.fate is Fate.FAILED
    )


@frozen(kw_only=True)
class BulkOperation:
    """An operation on many certificates and how far it has got. The totals done, skipped and failed add up to
    `total_matched` when it is Completed. Of many `certificate_ids` among the criteria only their number is told
    (`certificate_ids_total`)."""

    id: str
    action: BulkAction
    status: BulkStatus
    total_matched: int
    total_done: int
    total_skipped: int
    total_failed: int
    requested_by: str
    reason: str
    criteria: Mapping[str, Any]
    force: bool | None = None
    new_owner_id: str | None = None
    new_team_id: str | None = None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None

    @classmethod
    def of(cls, fact: facts.BulkOperation) -> Self:
        return cls(
            id=fact.id,
            action=fact.action,
            status=fact.status,
            total_matched=fact.total_matched,
            total_done=fact.total_done,
            total_skipped=fact.total_skipped,
            total_failed=fact.total_failed,
            requested_by=fact.requested_by,
            reason=fact.reason,
            criteria=dict(fact.criteria),
            force=fact.force or None,
            new_owner_id=fact.new_owner_id,
            new_team_id=fact.new_team_id,
            created_at=fact.created_at,
            updated_at=fact.updated_at,
            completed_at=fact.completed_at,
        )


@frozen(kw_only=True)
class BulkOperationList(Paging):
    """Newest first."""

    action: BulkAction | None = None
    status: BulkStatus | None = None

    def wish(self) -> Query:
        where = [Where(name, value) for name in ("action", "status") if (value := getattr(self, name)) is not None]
        return self.ask(*where, descending=True)
