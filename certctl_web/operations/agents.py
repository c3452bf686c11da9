"""Agents: joining, heartbeats, work, CSRs, pick-up, retirement."""

from typing import Any, Final

from certctl_core.errors import (
    Conflict,
    Duplicate,
    Forbidden,
    Gone,
    InUse,
    NotAuthenticated,
    Refused,
    StaleWrite,
    UpstreamRejected,
)
from certctl_core.ids import AgentId
from certctl_core.models.jobs import JobStatus
from certctl_core.ports.store import Is, Where
from certctl_core.usecases import agents, deployment, issuance
from certctl_web.access import AGENTS, ANYONE, OPERATORS, PEOPLE
from certctl_web.media.agents import (
    Agent,
    AgentList,
    AgentRetirement,
    CsrsTaken,
    CsrTaken,
    Heartbeat,
    IssuedJoinToken,
    IssueJoinToken,
    JoinAgent,
    Joined,
    PickedUp,
    RegisterAgent,
    RegisteredAgent,
    ReportStatus,
    Retire,
    SubmitCsr,
    SubmitCsrs,
    UpdateAgent,
    WorkResponse,
)
from certctl_web.media.certificates import pem_chain
from certctl_web.media.paging import PagedResponse, Paging, paged
from certctl_web.media.records import StatusResponse
from certctl_web.media.writing import ZERO_TIME
from certctl_web.operation import Answer, Call, Operation, Row

_PATH: Final = "/api/v1/agents"
_ONE: Final = f"{_PATH}/{{id}}"


def page(call: Call[AgentList], _: None) -> PagedResponse[Agent]:
    status = call.query.status
    wanted = [Where("retired_at", None)] + ([Where("status", status)] if status else [])
    found = agents.page(call.ports, call.caller, call.query.ask(*wanted, sort="registered_at"))
    return paged(call.query, found, Agent.of)


def page_retired(call: Call[Paging], _: None) -> PagedResponse[Agent]:
    retired = Where("retired_at", ZERO_TIME, Is.AFTER)
    return paged(
        call.query, agents.page(call.ports, call.caller, call.query.ask(retired, sort="registered_at")), Agent.of
    )


def register(call: Call[None], asked: RegisterAgent) -> RegisteredAgent:
    return RegisteredAgent.of_registered(agents.register(call.ports, call.caller, asked.wish()))


def get(call: Call[None], _: None) -> Agent:
    return Agent.of(agents.get(call.ports, call.caller, call.path["id"]))


def update(call: Call[None], asked: UpdateAgent) -> Agent:
    return Agent.of(agents.update(call.ports, call.caller, call.path["id"], asked.wish()))


def retire(call: Call[Retire], _: None) -> AgentRetirement | Answer[Any]:
    retired = agents.retire(
        call.ports, call.caller, AgentId(call.path["id"]), force=call.query.force, reason=call.query.reason
    )
    if retired.already:
        return Answer(status=204)
    return AgentRetirement.of(retired, call.ports.clock.now())


def issue_join_token(call: Call[None], asked: IssueJoinToken) -> IssuedJoinToken:
    issued = agents.issue_join_token(call.ports, call.caller, asked.agent_name, asked.ttl, asked.teams)
    return IssuedJoinToken.of(issued, call.options.server_ca())


def join(call: Call[None], asked: JoinAgent) -> Joined:
    registered = agents.join(call.ports, asked.token, asked.wish(), call.caller.request_id)
    return Joined(agent_id=registered.agent.id, api_key=registered.api_key)


def heartbeat(call: Call[None], asked: Heartbeat) -> StatusResponse:
    agents.heartbeat(call.ports, call.caller, AgentId(call.path["id"]), asked.wish())
    return StatusResponse(status="heartbeat_recorded")


def work(call: Call[None], _: None) -> WorkResponse:
    items = deployment.work(call.ports, call.caller, AgentId(call.path["id"]), hand_out=call.options.hand_out)
    return WorkResponse.of(items, call.ports.clock.now())


def submit_csr(call: Call[None], asked: SubmitCsr) -> CsrTaken:
    submitted = issuance.submit_csr(call.ports, call.caller, asked.wish(call.path["id"]))
    return CsrTaken(status="csr_signed" if submitted.version else "csr_accepted", job_id=submitted.job.id)


def submit_csrs(call: Call[None], asked: SubmitCsrs) -> CsrsTaken:
    agent_id = AgentId(call.path["id"])
    return CsrsTaken.of(asked, issuance.submit_csrs(call.ports, call.caller, agent_id, asked.wishes(agent_id)))


def pick_up(call: Call[None], _: None) -> PickedUp:
    version = deployment.pick_up(call.ports, call.caller, AgentId(call.path["id"]), call.path["certificate_id"])
    return PickedUp(
        certificate_pem=pem_chain(version),
        fingerprint_sha256=version.fingerprint_sha256,
        serial_number=version.serial_number,
    )


def report(call: Call[None], asked: ReportStatus) -> StatusResponse:
    deployment.report(
        call.ports,
        call.caller,
        AgentId(call.path["id"]),
        call.path["job_id"],
        JobStatus(asked.status.value),
        asked.error,
    )
    return StatusResponse(status="updated")


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_agents",
        method="GET",
        path=_PATH,
        summary="List agents that are not retired",
        who=PEOPLE,
        run=page,
        query=AgentList,
        answer=PagedResponse[Agent],
    ),
    Operation(
        name="register_agent",
        method="POST",
        path=_PATH,
        summary="Register an agent by hand; its key is shown once",
        who=OPERATORS,
        run=register,
        body=RegisterAgent,
        answer=RegisteredAgent,
        status=201,
        errors=(Duplicate,),
    ),
    Operation(
        name="list_retired_agents",
        method="GET",
        path=f"{_PATH}/retired",
        summary="List retired agents",
        who=PEOPLE,
        run=page_retired,
        query=Paging,
        answer=PagedResponse[Agent],
    ),
    Operation(
        name="issue_join_token",
        tool="",
        method="POST",
        path=f"{_PATH}/join-tokens",
        summary="Make a token with which one agent may join, once",
        who=OPERATORS,
        run=issue_join_token,
        body=IssueJoinToken,
        answer=IssuedJoinToken,
        status=201,
    ),
    Operation(
        name="join_agent",
        tool="",
        method="POST",
        path=f"{_PATH}/join",
        summary="Exchange a join token for an agent and its key",
        who=ANYONE,
        run=join,
        body=JoinAgent,
        answer=Joined,
        status=201,
        errors=(NotAuthenticated, Duplicate),
    ),
    Operation(
        name="get_agent",
        method="GET",
        path=_ONE,
        summary="Show one agent",
        who=PEOPLE,
        run=get,
        answer=Agent,
    ),
    Operation(
        name="update_agent",
        tool="",
        method="PUT",
        path=_ONE,
        summary="Say whose hosts an agent serves",
        who=OPERATORS,
        run=update,
        body=UpdateAgent,
        answer=Agent,
        errors=(Conflict, StaleWrite),
    ),
    Operation(
        name="retire_agent",
        method="DELETE",
        path=_ONE,
        summary="Retire an agent for good",
        who=OPERATORS,
        run=retire,
        query=Retire,
        answer=AgentRetirement,
        also={204: "The agent was retired before."},
        errors=(InUse, Forbidden),
    ),
    Operation(
        name="agent_heartbeat",
        method="POST",
        path=f"{_ONE}/heartbeat",
        summary="Say that an agent is there, and what it is",
        who=AGENTS,
        own="id",
        run=heartbeat,
        body=Heartbeat,
        answer=StatusResponse,
        errors=(Gone,),
        recorded=False,
    ),
    Operation(
        name="agent_get_work",
        method="GET",
        path=f"{_ONE}/work",
        summary="Ask what an agent should do now",
        who=AGENTS,
        own="id",
        run=work,
        answer=WorkResponse,
        errors=(Gone,),
        recorded=False,
    ),
    Operation(
        name="agent_submit_csr",
        arguments={"id": "agent_id"},
        method="POST",
        path=f"{_ONE}/csr",
        summary="Answer an AwaitingCSR job; the certificate is signed before the answer",
        who=AGENTS,
        own="id",
        run=submit_csr,
        body=SubmitCsr,
        answer=CsrTaken,
        status=202,
        errors=(Conflict, Gone, Refused, UpstreamRejected),
    ),
    Operation(
        name="agent_submit_csrs",
        tool="",
        method="POST",
        path=f"{_ONE}/csrs",
        summary="Answer many AwaitingCSR jobs at once, each with an outcome of its own",
        who=AGENTS,
        own="id",
        run=submit_csrs,
        body=SubmitCsrs,
        answer=CsrsTaken,
        errors=(Conflict, Gone),
    ),
    Operation(
        name="agent_pickup_certificate",
        arguments={"id": "agent_id", "certificate_id": "cert_id"},
        method="GET",
        path=f"{_ONE}/certificates/{{certificate_id}}",
        summary="Fetch the newest certificate whose key an agent holds",
        who=AGENTS,
        own="id",
        run=pick_up,
        answer=PickedUp,
        errors=(Gone,),
    ),
    Operation(
        name="agent_report_job_status",
        arguments={"id": "agent_id"},
        method="POST",
        path=f"{_ONE}/jobs/{{job_id}}/status",
        summary="Say how a job goes",
        who=AGENTS,
        own="id",
        run=report,
        body=ReportStatus,
        answer=StatusResponse,
        errors=(Gone, Conflict),
    ),
)
