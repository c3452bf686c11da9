"""Jobs: look, cancel, try again, approve, reject, verify."""

from typing import Final

from certctl_core.errors import Conflict, Forbidden, IllegalTransition
from certctl_core.usecases import approvals, certificates, deployment, jobs
from certctl_web.access import AGENTS, OPERATORS, PEOPLE
from certctl_web.media.jobs import Job, JobList, Reject, VerificationResult, Verified, Verify
from certctl_web.media.paging import PagedResponse, paged
from certctl_web.media.records import StatusResponse
from certctl_web.operation import Call, Operation, Row

_PATH: Final = "/api/v1/jobs"
_ONE: Final = f"{_PATH}/{{id}}"
_MOST_VERSIONS: Final = 500


def page(call: Call[JobList], _: None) -> PagedResponse[Job]:
    return paged(call.query, jobs.page(call.ports, call.caller, call.query.wish()), Job.of)


def get(call: Call[None], _: None) -> Job:
    return Job.of(jobs.get(call.ports, call.caller, call.path["id"]))


def cancel(call: Call[None], _: None) -> StatusResponse:
    jobs.cancel(call.ports, call.caller, call.path["id"])
    return StatusResponse(status="job_cancelled")


def retry(call: Call[None], _: None) -> StatusResponse:
    jobs.retry(call.ports, call.caller, call.path["id"])
    return StatusResponse(status="job_retried")


def approve(call: Call[None], _: None) -> StatusResponse:
    approvals.approve_job(call.ports, call.caller, call.path["id"])
    return StatusResponse(status="job_approved")


def reject(call: Call[None], asked: Reject) -> StatusResponse:
    approvals.reject_job(call.ports, call.caller, call.path["id"], asked.reason)
    return StatusResponse(status="job_rejected")


def verify(call: Call[None], asked: Verify) -> Verified:
    return Verified.of(deployment.verify(call.ports, call.caller, call.path["id"], asked.wish()))


def verification(call: Call[None], _: None) -> VerificationResult:
    job = jobs.get(call.ports, call.caller, call.path["id"])
    issued = certificates.versions(call.ports, call.caller, job.certificate_id, _MOST_VERSIONS, 0)
    return VerificationResult.of(job, issued.items)


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_jobs",
        method="GET",
        path=_PATH,
        summary="List jobs, newest first",
        who=PEOPLE,
        run=page,
        query=JobList,
        answer=PagedResponse[Job],
    ),
    Operation(name="get_job", method="GET", path=_ONE, summary="Show one job", who=PEOPLE, run=get, answer=Job),
    Operation(
        name="cancel_job",
        method="POST",
        path=f"{_ONE}/cancel",
        summary="Cancel a job that has not ended",
        who=OPERATORS,
        run=cancel,
        answer=StatusResponse,
        errors=(IllegalTransition,),
    ),
    Operation(
        name="retry_job",
        method="POST",
        path=f"{_ONE}/retry",
        summary="Try a failed job again now",
        who=OPERATORS,
        run=retry,
        answer=StatusResponse,
        errors=(IllegalTransition,),
    ),
    Operation(
        name="approve_job",
        method="POST",
        path=f"{_ONE}/approve",
        summary="Approve a job that waits for it",
        who=OPERATORS,
        run=approve,
        answer=StatusResponse,
        errors=(Conflict,),
    ),
    Operation(
        name="reject_job",
        method="POST",
        path=f"{_ONE}/reject",
        summary="Reject a job that waits for approval",
        who=OPERATORS,
        run=reject,
        body=Reject,
        answer=StatusResponse,
        errors=(Conflict,),
    ),
    Operation(
        name="verify_job",
        method="POST",
        path=f"{_ONE}/verify",
        summary="Report what a probe of the target saw after a deployment",
        who=AGENTS,
        run=verify,
        body=Verify,
        answer=Verified,
        errors=(Forbidden,),
    ),
    Operation(
        name="get_job_verification",
        method="GET",
        path=f"{_ONE}/verification",
        summary="Show what was to be served and what was",
        who=PEOPLE,
        run=verification,
        answer=VerificationResult,
    ),
)
