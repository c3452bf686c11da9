"""`certctl jobs`: the work."""

from argparse import Namespace
from typing import Final

from certctl_cli import operations
from certctl_cli.client import Server, one
from certctl_cli.command import Command, Record, Result, Text
from certctl_cli.wording import ID, NOTHING, PAGING, listed, moment, of, text


def page(server: Server, given: Namespace) -> Result:
    told = server.pages(given, "/jobs", **operations.narrowed("list_jobs", given))
    columns = {
        "ID": of("id"),
        "TYPE": of("type"),
        "CERTIFICATE": of("certificate_id"),
        "STATUS": of("status"),
        "ATTEMPTS": of("attempts"),
    }
    return listed(told, given, columns)


def get(server: Server, given: Namespace) -> Result:
    told = server.get(one("jobs", given.id))
    rows = [
        ("ID", text(told.get("id"))),
        ("Type", text(told.get("type"))),
        ("Certificate ID", text(told.get("certificate_id"))),
        ("Status", text(told.get("status"))),
        ("Attempts", text(told.get("attempts"))),
        ("Max Attempts", text(told.get("max_attempts"))),
        ("Last Error", text(told.get("last_error"))),
    ]
    further = [
        ("Target ID", text(told.get("target_id"))),
        ("Agent ID", text(told.get("agent_id"))),
        ("Requested By", text(told.get("requested_by"))),
        ("Next Attempt At", moment(told.get("next_attempt_at"))),
        ("Completed At", moment(told.get("completed_at"))),
        ("Verified At", moment(told.get("verified_at"))),
        ("Verification Error", text(told.get("verification_error"))),
    ]
    return Result(data=told, views=(Record(rows + [row for row in further if row[1] != NOTHING]),))


def cancel(server: Server, given: Namespace) -> Result:
    told = server.post(one("jobs", given.id, "cancel"))
    return Result(data=told, views=(Text(f"Job {given.id} cancelled."),))


def retry(server: Server, given: Namespace) -> Result:
    told = server.post(one("jobs", given.id, "retry"))
    return Result(data=told, views=(Text(f"Job {given.id} will be tried again now."),))


COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        name="jobs list",
        help="list jobs, newest first",
        run=page,
        arguments=(*operations.filters("list_jobs"), *PAGING),
        covers=("list_jobs",),
    ),
    Command(name="jobs get", covers=("get_job",), help="show one job", run=get, arguments=(ID,)),
    Command(
        name="jobs cancel", covers=("cancel_job",), help="cancel a job that has not ended", run=cancel, arguments=(ID,)
    ),
    Command(name="jobs retry", covers=("retry_job",), help="try a failed job again now", run=retry, arguments=(ID,)),
)
