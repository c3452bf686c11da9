"""What needs attention, in one look: the figures of the dashboard, and the runs of the loops."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from attrs import evolve, frozen

from certctl_core.models.access import Actor
from certctl_core.models.certificates import CertificateStatus
from certctl_core.models.jobs import JobStatus
from certctl_core.models.records import LoopState
from certctl_core.ports import Ports
from certctl_core.ports.store import CrlTrouble, Endings, JobsOfDay, Work
from certctl_core.usecases import notifications, scope, watchdog

EXPIRING_WITHIN = timedelta(days=30)

_KEPT_BACK = "shown to keys without limits only"


@frozen(kw_only=True)
class Summary:
    """The state of the fleet at `at`, as far as the caller sees it. Counts of agents are by status and leave out
    retired ones. `overdue` is how many certificates should have been renewed by then and have not been,
    `dead_notifications` how many messages could not be sent and are not tried again."""

    at: datetime
    certificates: Mapping[CertificateStatus, int]
    expiring_soon: int
    overdue: int
    jobs: Mapping[JobStatus, int]
    agents: Mapping[str, int]
    dead_notifications: int

    @property
    def total_certificates(self) -> int:
        return sum(count for status, count in self.certificates.items() if status is not CertificateStatus.ARCHIVED)


def summary(ports: Ports, caller: Actor) -> Summary:
    with ports.work() as work:
        return _summary(work, caller, ports.clock.now())


def _summary(work: Work, caller: Actor, now: datetime) -> Summary:
    seen = scope.certificates(caller)
    return Summary(
        at=now,
        certificates=work.certificates.count_by_status(seen),
        expiring_soon=work.certificates.ending(now, now + EXPIRING_WITHIN, seen),
        overdue=watchdog.count(work, now, seen),
        jobs=work.jobs.count_by_status(seen),
        agents=work.agents.count_by_status(scope.limited(caller)),
        dead_notifications=notifications.count_dead(work, caller),
    )


def metrics(ports: Ports, caller: Actor) -> tuple[Summary, Endings, CrlTrouble]:
    """The state of the fleet, how much has ever ended, and how CRLs do. Raises as `job_trends`."""
    scope.must_reach_everything(caller)
    now = ports.clock.now()
    with ports.work() as work:
        return _summary(work, caller, now), work.tallies.endings(), work.crls.trouble(now)


def expiration_timeline(ports: Ports, caller: Actor, days: int) -> Sequence[tuple[datetime, int]]:
    """How many certificates in use, of those the caller sees, expire on each of the next `days` days, today first."""
    today = ports.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    with ports.work() as work:
        return work.certificates.expiring_by_day(today, days, scope.certificates(caller))


def job_trends(ports: Ports, caller: Actor, days: int) -> Sequence[JobsOfDay]:
    """How many jobs came to their end on each of the last `days` days, today last. What is kept of them when they are
    gone is not kept by team: raises `Forbidden` for a caller whose key is limited."""
    scope.must_reach_everything(caller)
    with ports.work() as work:
        return work.tallies.jobs_by_day(_first(ports, days), days)


def issuance_rate(ports: Ports, caller: Actor, days: int) -> Sequence[tuple[date, int]]:
    """How many certificates were issued on each of the last `days` days, today last. Raises as `job_trends`."""
    scope.must_reach_everything(caller)
    with ports.work() as work:
        return work.tallies.issued_by_day(_first(ports, days), days)


def _first(ports: Ports, days: int) -> date:
    """The first of so many days (UTC) that end today."""
    return ports.clock.now().date() - timedelta(days=days - 1)


def loops(ports: Ports, caller: Actor) -> Sequence[LoopState]:
    """Loops are everybody's; what went wrong in one may speak of anybody's certificates, so that callers whose keys are
    limited learn only that something did."""
    with ports.work() as work:
        found = work.loops.all()
    if caller.scope.is_everything:
        return found
    return tuple(evolve(loop, last_error=_KEPT_BACK if loop.last_error else "") for loop in found)


def database_answers(ports: Ports) -> None:
    """Raises `UpstreamUnavailable` when the database does not answer."""
    with ports.work() as work:
        work.loops.all()
