"""Agents, their work and what they report, on the wire."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Self

import attrs
from attrs import frozen
from cryptography import x509

from certctl_core.errors import CertctlError, Refused
from certctl_core.ids import AgentId, CertificateId, JobId, TeamId
from certctl_core.models import agents as facts
from certctl_core.models.agents import AgentStatus
from certctl_core.models.jobs import ISSUING, JobStatus, JobType
from certctl_core.pki import csr, reading
from certctl_core.usecases import agents as usecases
from certctl_core.usecases.deployment import WorkItem as OfferedWork
from certctl_core.usecases.issuance import SubmitCsr as CsrWish
from certctl_core.usecases.issuance import Submitted
from certctl_web import problems
from certctl_web.media.bounds import PLAIN, Count, Identity, Length, Name, Prose, Range, Reference, Report, Word
from certctl_web.media.paging import Paging
from certctl_web.media.reading import Accepts, fields_of

AgentName = Annotated[str, Length(1, 128), PLAIN]

MOST_CSRS: Final = 200
"""In one request: a tenth of a second of signing, and a fifth of what a body may be."""


@frozen(kw_only=True)
class Agent:
    """`clock_offset_seconds` is the agent's clock minus the server's, as of its last heartbeat. `team_ids` are the
    teams whose hosts it serves; none: everybody's."""

    id: str
    name: str
    hostname: str
    status: AgentStatus
    last_heartbeat_at: datetime | None = None
    registered_at: datetime
    os: str
    architecture: str
    ip_address: str
    version: str
    team_ids: tuple[str, ...]
    clock_offset_seconds: float | None = None
    retired_at: datetime | None = None
    retired_reason: str | None = None

    @classmethod
    def of(cls, fact: facts.Agent) -> Self:
        return cls(
            id=fact.id,
            name=fact.name,
            hostname=fact.hostname,
            status=fact.status,
            last_heartbeat_at=fact.last_heartbeat_at,
            registered_at=fact.registered_at,
            os=fact.os,
            architecture=fact.architecture,
            ip_address=fact.ip_address,
            version=fact.version,
            team_ids=fact.team_ids,
            clock_offset_seconds=None if fact.clock_offset is None else fact.clock_offset.total_seconds(),
            retired_at=fact.retired_at,
            retired_reason=fact.retired_reason or None,
        )


@frozen(kw_only=True)
class RegisteredAgent(Agent):
    """A new agent. `api_key` is its own and is shown this once."""

    api_key: str

    @classmethod
    def of_registered(cls, registered: usecases.Registered) -> Self:
        shown = attrs.asdict(Agent.of(registered.agent), recurse=False)
        return cls(**shown, api_key=registered.api_key)


@frozen(kw_only=True)
class AgentList(Paging):
    status: AgentStatus | None = None


@frozen(kw_only=True)
class RegisterAgent(Accepts):
    name: AgentName
    hostname: Name
    os: Word = ""
    architecture: Word = ""
    ip_address: Word = ""
    version: Word = ""
    team_ids: tuple[Identity, ...] | None = None

    def wish(self) -> usecases.RegisterAgent:
        return usecases.RegisterAgent(**attrs.asdict(self, recurse=False))


RegisterAgent.ignored = fields_of(Agent) - fields_of(RegisterAgent)


@frozen(kw_only=True)
class UpdateAgent(Accepts):
    """Whose hosts the agent serves; an empty list: everybody's. What an agent says of itself is not for others to
    change."""

    team_ids: tuple[Identity, ...] | None = None

    ignored: ClassVar = fields_of(Agent, but=("team_ids",))

    def wish(self) -> usecases.UpdateAgent:
        return usecases.UpdateAgent(**attrs.asdict(self, recurse=False))


@frozen(kw_only=True)
class Heartbeat:
    """What an agent says of itself. `sent_at` is its own clock, from which the offset is measured."""

    hostname: Word = ""
    os: Word = ""
    architecture: Word = ""
    ip_address: Word = ""
    version: Word = ""
    sent_at: datetime | None = None

    def wish(self) -> usecases.Heartbeat:
        return usecases.Heartbeat(**attrs.asdict(self))


@frozen(kw_only=True)
class IssueJoinToken:
    """A token for one agent. With `agent_name` the agent gets that name; `team_ids` are the teams whose hosts it will
    serve, those of the caller's key when they are not given."""

    agent_name: Annotated[str, Length(0, 128), PLAIN] = ""
    team_ids: tuple[Identity, ...] | None = None
    ttl_seconds: Annotated[int, Range(1, int(usecases.MAX_TOKEN_LIFE.total_seconds()))] = 3600

    @property
    def teams(self) -> tuple[TeamId, ...] | None:
        return None if self.team_ids is None else tuple(map(TeamId, self.team_ids))

    @property
    def ttl(self) -> timedelta:
        return timedelta(seconds=self.ttl_seconds)


@frozen(kw_only=True)
class IssuedJoinToken:
    """`token` is shown this once. `ca_fingerprint` is what the agent pins, SHA-256 of the control plane's CA; it is
    empty when the server's certificate is from another CA, which the agent then has to trust already or be given."""

    id: str
    token: str
    agent_name: str
    expires_at: datetime
    ca_fingerprint: str

    @classmethod
    def of(cls, issued: usecases.IssuedToken, server_ca: x509.Certificate | None) -> Self:
        return cls(
            id=issued.record.id,
            token=issued.token,
            agent_name=issued.record.agent_name,
            expires_at=issued.record.expires_at,
            ca_fingerprint=f"sha256:{reading.fingerprint(server_ca)}" if server_ca else "",
        )


@frozen(kw_only=True)
class JoinAgent:
    token: Name
    name: AgentName
    hostname: Name
    os: Word = ""
    architecture: Word = ""
    ip_address: Word = ""
    version: Word = ""

    def wish(self) -> usecases.RegisterAgent:
        return usecases.RegisterAgent(**attrs.asdict(self, filter=lambda a, _: a.name != "token"))


@frozen(kw_only=True)
class Joined:
    """`api_key` is the agent's own and is shown this once."""

    agent_id: str
    api_key: str


@frozen(kw_only=True)
class AgentDependencyCounts:
    active_targets: int
    active_certificates: int
    pending_jobs: int


@frozen(kw_only=True)
class Retire:
    """`force` takes the agent's targets and open jobs with it, and needs a `reason`."""

    force: bool = False
    reason: Prose = ""


@frozen(kw_only=True)
class AgentRetirement:
    retired_at: datetime
    already_retired: bool
    cascade: bool
    counts: AgentDependencyCounts

    @classmethod
    def of(cls, retired: usecases.Retired, at: datetime) -> Self:
        return cls(
            retired_at=retired.agent.retired_at or at,
            already_retired=retired.already,
            cascade=retired.cascade,
            counts=AgentDependencyCounts(**attrs.asdict(retired.counts)),
        )


@frozen(kw_only=True)
class SubmitCsr(Accepts):
    """The answer to an AwaitingCSR job, named by its certificate, by itself or by both."""

    csr_pem: Annotated[str, Length(1, 1 << 16)]
    certificate_id: Reference | None = None
    job_id: Reference | None = None

    blank: ClassVar = frozenset({"certificate_id", "job_id"})

    def wish(self, agent_id: str) -> CsrWish:
        """Raises `Unreadable` for what is not a CSR."""
        return CsrWish(
            agent_id=AgentId(agent_id),
            certificate_id=CertificateId(self.certificate_id) if self.certificate_id else None,
            csr=csr.read(self.csr_pem),
            job_id=JobId(self.job_id) if self.job_id else None,
        )


@frozen(kw_only=True)
class SubmitCsrs:
    """The answers to many AwaitingCSR jobs of one agent, each for a certificate of its own."""

    csrs: Annotated[tuple[SubmitCsr, ...], Count(1, MOST_CSRS)]

    def wishes(self, agent_id: str) -> tuple[CsrWish | CertctlError, ...]:
        """What is no CSR, or one for a weak key, is an error of its own and keeps no other from being taken."""
        return tuple(_wish_or_error(one, agent_id) for one in self.csrs)


def _wish_or_error(asked: SubmitCsr, agent_id: str) -> CsrWish | CertctlError:
    try:
        return asked.wish(agent_id)
    except CertctlError as error:
        return error


@frozen(kw_only=True)
class CsrOutcome:
    """What became of one of the CSRs: `csr_signed` when the certificate is there, `csr_accepted` when the CA will
    answer later, else `csr_refused`. `code` is the status that the CSR by itself would have been answered with,
    `message` and `reasons` say why it was refused."""

    status: str
    code: int
    certificate_id: str | None = None
    job_id: str | None = None
    message: str | None = None
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, asked: SubmitCsr, outcome: Submitted | CertctlError) -> Self:
        if isinstance(outcome, Submitted):
            return cls(
                status="csr_signed" if outcome.version else "csr_accepted",
                code=202,
                certificate_id=outcome.job.certificate_id,
                job_id=outcome.job.id,
            )
        return cls(
            status="csr_refused",
            code=problems.status_of(type(outcome)),
            certificate_id=asked.certificate_id,
            job_id=asked.job_id,
            message=str(outcome),
            reasons=outcome.reasons if isinstance(outcome, Refused) else (),
        )


@frozen(kw_only=True)
class CsrsTaken:
    """One outcome for each CSR, in their order. `signed` is how many have their certificate."""

    results: tuple[CsrOutcome, ...]
    signed: int

    @classmethod
    def of(cls, asked: SubmitCsrs, outcomes: Sequence[Submitted | CertctlError]) -> Self:
        results = tuple(CsrOutcome.of(one, outcome) for one, outcome in zip(asked.csrs, outcomes, strict=True))
        return cls(results=results, signed=sum(1 for one in results if one.status == "csr_signed"))


@frozen(kw_only=True)
class CsrTaken:
    """`csr_signed` when the certificate is there, `csr_accepted` when the CA will answer later."""

    status: str
    job_id: str


@frozen(kw_only=True)
class PickedUp:
    """The certificate, leaf first, then its chain."""

    certificate_pem: str
    fingerprint_sha256: str
    serial_number: str


@frozen(kw_only=True)
class WorkItem:
    """One thing to do: make a key and send a CSR when `status` is AwaitingCSR, else deploy. `target_config` is
    complete, secrets included."""

    id: str
    type: JobType
    certificate_id: str
    common_name: str | None = None
    sans: tuple[str, ...] | None = None
    target_id: str | None = None
    target_type: str | None = None
    target_config: Mapping[str, Any] | None = None
    status: JobStatus

    @classmethod
    def of(cls, item: OfferedWork) -> Self:
        asks = item.job.type in ISSUING
        return cls(
            id=item.job.id,
            type=item.job.type,
            certificate_id=item.job.certificate_id,
            common_name=item.certificate.common_name if asks else None,
            sans=item.certificate.sans if asks else None,
            target_id=item.target.id if item.target else None,
            target_type=item.target.type if item.target else None,
            target_config=dict(item.target_config) if item.target else None,
            status=item.job.status,
        )


@frozen(kw_only=True)
class WorkResponse:
    """`count` is the number of `jobs`; `server_time` lets an agent measure its clock."""

    jobs: tuple[WorkItem, ...]
    count: int
    server_time: datetime

    @classmethod
    def of(cls, items: Sequence[OfferedWork], now: datetime) -> Self:
        return cls(jobs=tuple(WorkItem.of(item) for item in items), count=len(items), server_time=now)


class ReportedStatus(Enum):
    """What an agent may say of its job."""

    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"


@frozen(kw_only=True)
class ReportStatus:
    """How a job goes, and why it failed."""

    status: ReportedStatus
    error: Report = ""
