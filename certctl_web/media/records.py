"""The audit trail, the loops, the figures, keys and the server's own state on the wire."""

from datetime import datetime
from typing import Self

import attrs
from attrs import frozen

from certctl_core.ids import TeamId
from certctl_core.models import access as access_facts
from certctl_core.models import records as facts
from certctl_core.models.access import Role
from certctl_core.models.agents import AgentStatus
from certctl_core.models.certificates import CertificateStatus
from certctl_core.models.jobs import JobStatus
from certctl_core.models.records import LoopOutcome
from certctl_core.ports.store import CrlTrouble, Endings, JobsOfDay
from certctl_core.usecases.access import NewKey, UpdateKey
from certctl_core.usecases.status import Summary
from certctl_web.media.bounds import Identity, Name, Word
from certctl_web.media.reading import Accepts, fields_of


@frozen(kw_only=True)
class StatusResponse:
    """What was done."""

    status: str
    message: str | None = None


@frozen(kw_only=True)
class Loop:
    """One scheduler loop and its last run. `last_items` is how many objects that run worked on."""

    name: str
    interval_seconds: float
    next_run_at: datetime
    last_started_at: datetime | None = None
    last_finished_at: datetime | None = None
    last_duration_ms: int | None = None
    last_outcome: LoopOutcome
    last_error: str | None = None
    last_items: int
    last_worker: str | None = None
    runs: int
    failures: int

    @classmethod
    def of(cls, fact: facts.LoopState) -> Self:
        took = fact.last_duration
        return cls(
            name=fact.name,
            interval_seconds=fact.interval.total_seconds(),
            next_run_at=fact.next_run_at,
            last_started_at=fact.last_started_at,
            last_finished_at=fact.last_finished_at,
            last_duration_ms=None if took is None else round(took.total_seconds() * 1000),
            last_outcome=fact.last_outcome,
            last_error=fact.last_error or None,
            last_items=fact.last_items,
            last_worker=fact.last_worker or None,
            runs=fact.runs,
            failures=fact.failures,
        )


@frozen(kw_only=True)
class Loops:
    data: tuple[Loop, ...]
    total: int


@frozen(kw_only=True)
class DashboardSummary:
    """The state of the fleet at `completed_at`. Retired agents and archived certificates are not counted.
    `overdue_renewals` are certificates that should have been renewed by now and have not been."""

    total_certificates: int
    expiring_certificates: int
    expired_certificates: int
    overdue_renewals: int
    revoked_certificates: int
    active_agents: int
    offline_agents: int
    total_agents: int
    pending_jobs: int
    failed_jobs: int
    complete_jobs: int
    notifications_dead: int
    completed_at: datetime

    @classmethod
    def of(cls, summary: Summary) -> Self:
        waiting = (JobStatus.PENDING, JobStatus.AWAITING_CSR, JobStatus.AWAITING_APPROVAL)
        return cls(
            total_certificates=summary.total_certificates,
            expiring_certificates=summary.expiring_soon,
            overdue_renewals=summary.overdue,
            expired_certificates=summary.certificates.get(CertificateStatus.EXPIRED, 0),
            revoked_certificates=summary.certificates.get(CertificateStatus.REVOKED, 0),
            active_agents=summary.agents.get(AgentStatus.ONLINE.value, 0),
            offline_agents=summary.agents.get(AgentStatus.OFFLINE.value, 0),
            total_agents=sum(summary.agents.values()),
            pending_jobs=sum(summary.jobs.get(status, 0) for status in waiting),
            failed_jobs=summary.jobs.get(JobStatus.FAILED, 0),
            complete_jobs=summary.jobs.get(JobStatus.COMPLETED, 0),
            notifications_dead=summary.dead_notifications,
            completed_at=summary.at,
        )


@frozen(kw_only=True)
class MetricsGauge:
    """The present. `certificate_active` are those in use that do not end within 30 days. `crl_failing` are CRLs that
    could not be made when it was last tried, `crl_ended` those published whose nextUpdate is over, and
    `crl_late_seconds` is for how long the one that has waited longest has been due."""

    certificate_total: int
    certificate_active: int
    certificate_expiring_soon: int
    certificate_expired: int
    certificate_revoked: int
    certificate_overdue: int
    agent_total: int
    agent_online: int
    job_pending: int
    crl_failing: int
    crl_ended: int
    crl_late_seconds: int


@frozen(kw_only=True)
class MetricsCounter:
    """What has ever ended so; these never fall."""

    job_completed_total: int
    job_failed_total: int
    notifications_dead_total: int


@frozen(kw_only=True)
class UptimeMetric:
    uptime_seconds: int
    server_started: datetime
    measured_at: datetime


@frozen(kw_only=True)
class MetricsResponse:
    """The fleet in figures for monitoring."""

    gauge: MetricsGauge
    counter: MetricsCounter
    uptime: UptimeMetric

    @classmethod
    def of(cls, summary: Summary, endings: Endings, crls: CrlTrouble, started_at: datetime | None) -> Self:
        started_at = started_at or summary.at
        fleet = DashboardSummary.of(summary)
        gone = fleet.expiring_certificates + fleet.expired_certificates + fleet.revoked_certificates
        return cls(
            gauge=MetricsGauge(
                certificate_total=fleet.total_certificates,
                certificate_active=max(0, fleet.total_certificates - gone),
                certificate_expiring_soon=fleet.expiring_certificates,
                certificate_expired=fleet.expired_certificates,
                certificate_revoked=fleet.revoked_certificates,
                certificate_overdue=fleet.overdue_renewals,
                agent_total=fleet.total_agents,
                agent_online=fleet.active_agents,
                job_pending=fleet.pending_jobs,
                crl_failing=crls.failing,
                crl_ended=crls.ended,
                crl_late_seconds=int((summary.at - (crls.oldest_due or summary.at)).total_seconds()),
            ),
            counter=MetricsCounter(
                job_completed_total=endings.jobs_completed,
                job_failed_total=endings.jobs_failed,
                notifications_dead_total=endings.notifications_dead,
            ),
            uptime=UptimeMetric(
                uptime_seconds=max(0, int((summary.at - started_at).total_seconds())),
                server_started=started_at,
                measured_at=summary.at,
            ),
        )


@frozen(kw_only=True)
class CertificateStatusCount:
    status: str
    count: int


@frozen(kw_only=True)
class ExpirationBucket:
    """`date` is a day, YYYY-MM-DD, in UTC."""

    date: str
    count: int


@frozen(kw_only=True)
class JobTrendDataPoint:
    """Jobs that came to their end on a day (UTC): a job counts when it is Completed, or Failed without another attempt
    to come. `success_rate` is in percent, 0 on a day without any."""

    date: str
    completed_count: int
    failed_count: int
    success_rate: float

    @classmethod
    def of(cls, fact: JobsOfDay) -> Self:
        ended = fact.completed + fact.failed
        return cls(
            date=fact.day.isoformat(),
            completed_count=fact.completed,
            failed_count=fact.failed,
            success_rate=round(100 * fact.completed / ended, 2) if ended else 0.0,
        )


@frozen(kw_only=True)
class IssuanceRateDataPoint:
    """Certificates issued on a day (UTC)."""

    date: str
    issued_count: int


@frozen(kw_only=True)
class CreateApiKey:
    """A key for a person or a program. Agents get theirs by joining.

    `team_ids` and `environments` limit what it reaches; an empty list does not limit, and one that is not given limits
    as the caller's own key is limited.
    """

    name: Name
    role: Role = Role.OPERATOR
    expires_at: datetime | None = None
    team_ids: tuple[Identity, ...] | None = None
    environments: tuple[Word, ...] | None = None

    @property
    def teams(self) -> tuple[TeamId, ...] | None:
        return None if self.team_ids is None else tuple(map(TeamId, self.team_ids))


@frozen(kw_only=True)
class UpdateApiKey(Accepts):
    """What is not given stays. An `expires_at` of 0001-01-01T00:00:00Z takes the expiry away, an empty list the
    limit."""

    name: Name | None = None
    expires_at: datetime | None = None
    team_ids: tuple[Identity, ...] | None = None
    environments: tuple[Word, ...] | None = None

    def wish(self) -> UpdateKey:
        return UpdateKey(**attrs.asdict(self, recurse=False))


@frozen(kw_only=True)
class ApiKey:
    """A key's record; the key itself is kept nowhere."""

    id: str
    name: str
    role: Role
    agent_id: str | None = None
    team_ids: tuple[str, ...]
    environments: tuple[str, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    @classmethod
    def of(cls, fact: access_facts.ApiKey) -> Self:
        return cls(**{a.name: getattr(fact, a.name) for a in attrs.fields(ApiKey)})


UpdateApiKey.ignored = fields_of(ApiKey) - fields_of(UpdateApiKey)


@frozen(kw_only=True)
class CreatedApiKey(ApiKey):
    """`key` is shown this once."""

    key: str

    @classmethod
    def of_new(cls, made: NewKey) -> Self:
        return cls(**attrs.asdict(ApiKey.of(made.record), recurse=False), key=made.plain)


@frozen(kw_only=True)
class AuthInfo:
    auth_type: str
    required: bool


@frozen(kw_only=True)
class AuthCheck:
    """Who the caller is, and what its key is limited to; empty lists do not limit."""

    status: str
    user: str
    admin: bool
    role: Role
    agent_id: str | None = None
    team_ids: tuple[str, ...]
    environments: tuple[str, ...]


@frozen(kw_only=True)
class Health:
    status: str
    timestamp: datetime | None = None


@frozen(kw_only=True)
class Readiness:
    """`db` says whether the database answered; `error` why not."""

    status: str
    db: str | None = None
    error: str | None = None


@frozen(kw_only=True)
class Version:
    version: str
    commit: str = ""
    modified: bool = False
    build_time: str = ""
    go_version: str = ""
