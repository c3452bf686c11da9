"""The first page: what needs attention, what expires when, and whether everything that should run does."""

from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from certctl_core.models.agents import SENTINEL_AGENTS, Agent, AgentStatus
from certctl_core.models.certificates import CertificateStatus
from certctl_core.models.jobs import OPEN_JOB, JobStatus
from certctl_core.ports.store import Is, Query, Where
from certctl_core.usecases import agents, certificates, jobs, naming, status
from certctl_web.dashboard import chart, wording
from certctl_web.dashboard.guard import Asked, Desk, Shown
from certctl_web.dashboard.wording import Tone

DAYS_AHEAD: Final = 100
"""As far as a public TLS certificate issued in 2027 can reach, and past the 90 days of our own CA."""
_LATEST: Final = 8
_NEXT: Final = 6
_SINCE_EVER: Final = datetime(1, 1, 1, tzinfo=UTC)
_IN_USE: Final = (
    CertificateStatus.ACTIVE,
    CertificateStatus.EXPIRING,
    CertificateStatus.RENEWAL_IN_PROGRESS,
    CertificateStatus.FAILED,
)


@frozen
class Concern:
    """Something a person should look at."""

    count: int
    text: str
    href: str


@frozen
class Share:
    """A status, how many certificates have it, and their part of all in percent."""

    status: CertificateStatus
    count: int
    percent: float


def overview(desk: Desk, asked: Asked) -> Shown:
    ports, caller, now = desk.ports, asked.visit.principal, asked.visit.at
    figures = status.summary(ports, caller)
    loops = status.loops(ports, caller)
    latest = jobs.page(ports, caller, Query(descending=True, limit=_LATEST, count=False)).items
    ending = Query(
        (Where("status", _IN_USE, Is.ONE_OF), Where("expires_at", _SINCE_EVER, Is.AFTER)),
        sort="expires_at",
        limit=_NEXT,
        count=False,
    )
    living = Query((Where("retired_at", None),), sort="name", limit=len(SENTINEL_AGENTS) + _LATEST, count=False)
    present = tuple(agent for agent in agents.page(ports, caller, living).items if agent.id not in SENTINEL_AGENTS)
    return Shown(
        "overview.html",
        {
            "figures": figures,
            "shares": _shares(figures),
            "concerns": _concerns(figures, [wording.loop(loop, now).tone for loop in loops]),
            "attention": figures.certificates.get(CertificateStatus.FAILED, 0)
            + figures.certificates.get(CertificateStatus.EXPIRED, 0),
            "open_jobs": sum(figures.jobs.get(state, 0) for state in OPEN_JOB),
            "agents_total": sum(figures.agents.values()),
            "chart": chart.draw(status.expiration_timeline(ports, caller, DAYS_AHEAD), now),
            "days_ahead": DAYS_AHEAD,
            "jobs": latest,
            "names": naming.of_jobs(ports, caller, latest),
            "ending": certificates.page(ports, caller, ending).items,
            "agents": _by_need(present)[:_LATEST],
            "loops": loops,
        },
    )


def _by_need(present: tuple[Agent, ...]) -> list[Agent]:
    """Those that are not well come first."""
    return sorted(present, key=lambda agent: (agent.status is AgentStatus.ONLINE, agent.name))


def _shares(figures: status.Summary) -> list[Share]:
    counts = [(state, figures.certificates.get(state, 0)) for state in CertificateStatus]
    total = figures.total_certificates
    return [
        Share(state, count, round(100 * count / total, 2))
        for state, count in counts
        if count and state is not CertificateStatus.ARCHIVED
    ]


def _concerns(figures: status.Summary, loops: list[Tone]) -> list[Concern]:
    expired = figures.certificates.get(CertificateStatus.EXPIRED, 0)
    failed = figures.certificates.get(CertificateStatus.FAILED, 0)
    failed_jobs = figures.jobs.get(JobStatus.FAILED, 0)
    silent = figures.agents.get(AgentStatus.OFFLINE.value, 0)
    unwell = loops.count(Tone.BAD)
    found = [
        Concern(expired, f"{_plural(expired, 'certificate')} expired", "/certificates?status=Expired"),
        Concern(failed, f"{_plural(failed, 'certificate')} could not be renewed", "/certificates?status=Failed"),
        Concern(
            figures.overdue,
            f"{_plural(figures.overdue, 'certificate')} should have been renewed by now",
            "/certificates?overdue=yes",
        ),
        Concern(failed_jobs, f"{_plural(failed_jobs, 'job')} failed", "/jobs?status=Failed"),
        Concern(silent, f"{_plural(silent, 'agent')} went silent", "/agents"),
        Concern(unwell, f"{_plural(unwell, 'part')} of the scheduler not well", "#loops"),
    ]
    return [concern for concern in found if concern.count]


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
