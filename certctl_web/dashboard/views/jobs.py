"""The list of jobs, and what can be done with one."""

from typing import Any

from certctl_core.errors import Invalid
from certctl_core.models.jobs import OPEN_JOB, JobStatus, JobType
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import jobs, naming
from certctl_web.dashboard import listing
from certctl_web.dashboard.forms import own_path
from certctl_web.dashboard.guard import Asked, Desk, Done, Shown


def all_of_them(desk: Desk, asked: Asked) -> Shown:
    conditions = [
        Where(name, _choice(kind, name, asked.text(name)))
        for name, kind in (("status", JobStatus), ("type", JobType))
        if asked.text(name)
    ]
    if asked.text("certificate"):
        conditions.append(Where("certificate_id", asked.text("certificate")))
    listed = listing.turn(
        lambda query: jobs.page(desk.ports, asked.visit.principal, query),
        Query(tuple(conditions), descending=True),
        asked.fields,
        "/jobs",
        lambda job: (job.created_at, job.id),
        by_time=True,
    )
    return Shown(
        "jobs.html",
        {
            "listed": listed,
            "names": naming.of_jobs(desk.ports, asked.visit.principal, listed.items),
            "chosen": asked.text("status"),
            "chosen_type": asked.text("type"),
            "chosen_certificate": asked.text("certificate"),
            "statuses": list(JobStatus),
            "types": list(JobType),
            "open_statuses": OPEN_JOB,
        },
    )


def retry(desk: Desk, asked: Asked) -> Done:
    jobs.retry(desk.ports, asked.visit.principal, asked.path["job_id"])
    return Done("The job tries again now.", own_path(asked.text("back") or "/jobs"))


def cancel(desk: Desk, asked: Asked) -> Done:
    jobs.cancel(desk.ports, asked.visit.principal, asked.path["job_id"])
    return Done("The job is cancelled.", own_path(asked.text("back") or "/jobs"))


def _choice(kind: Any, name: str, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise Invalid.field(name, f"{text!r} is not one of {', '.join(one.value for one in kind)}") from None
