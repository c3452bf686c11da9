"""The store: repositories inside one transaction.

`with ports.work() as work:` is one connection and one transaction; leaving the block commits, an exception rolls back.
No method blocks on anything but the database. Methods named `lock_...`, `claim_...` or `due_...` take row locks and
skip rows that others hold where the name says `claim` or `due`, so that any number of workers share the work without
waiting for one another. `save` is optimistic: it writes only if the stored revision is the one that was read.
"""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from attrs import field, frozen

from certctl_core.errors import StaleWrite
from certctl_core.ids import (
    AgentGroupId,
    AgentId,
    ApiKeyId,
    AuthorityId,
    CertificateId,
    DelegateId,
    EndpointId,
    EnrolmentSecretId,
    IssuerId,
    JobId,
    RenewalPolicyId,
    TargetId,
    VersionId,
)
from certctl_core.models.access import ApiKey, Session
from certctl_core.models.agents import Agent, AgentCounts, AgentGroup, AgentGroupMembership, AgentTraits, JoinToken
from certctl_core.models.approvals import ApprovalRequest
from certctl_core.models.authorities import CertificateAuthority
from certctl_core.models.bulk import BulkFailure, BulkOperation
from certctl_core.models.catalog import (
    CertificateProfile,
    ConfiguredIssuer,
    ConfiguredTarget,
    Owner,
    RenewalPolicy,
    Rescheduling,
    Team,
)
from certctl_core.models.certificates import (
    CertificateStatus,
    CertificateVersion,
    Deployment,
    IssuanceAttempt,
    ManagedCertificate,
    Revocation,
)
from certctl_core.models.crls import CrlDuty, CrlGeneration, CrlScope, StoredCrl
from certctl_core.models.delegates import Delegate, Purpose
from certctl_core.models.enrolment import Enrolment, EnrolmentProtocol, EnrolmentSecret
from certctl_core.models.jobs import Job, JobStatus
from certctl_core.models.observed import (
    DiscoveredCertificate,
    DiscoveryScan,
    DiscoveryStatus,
    EndpointHealth,
    HealthStatus,
    NetworkScanTarget,
    ProbeRecord,
)
from certctl_core.models.policies import PolicyReview, PolicyRule, PolicyViolation, ReviewKind
from certctl_core.models.records import AuditEvent, ExpirationAlert, LoopState, Notification
from certctl_core.models.standings import Standing, StatusChanges
from certctl_core.models.trail import Checkpoint, Entry
from certctl_core.pki.merkle import Subtree

F = TypeVar("F")


class Is(Enum):
    """How a filter compares. `CONTAINS` looks for text inside of text, whatever the case.

    `OPEN_TO` and `WITHIN` are about fields that say what a row is limited to: it is limited to nothing or to one of the
    given values, and it is limited to some of them and nothing else.
    """

    EQUAL = "="
    BEFORE = "<"
    AFTER = ">"
    ONE_OF = "in"
    CONTAINS = "contains"
    OPEN_TO = "open to"
    WITHIN = "within"


@frozen
class Where:
    """One condition on a field of the fact, by the fact's own name. Values are the fact's own types."""

    field: str
    value: Any
    how: Is = Is.EQUAL


@frozen
class Query:
    """What to list. `after` is the (sort value, id) of the last row of the page before; it wins over `offset`."""

    where: tuple[Where, ...] = ()
    sort: str = "created_at"
    descending: bool = False
    limit: int = 50
    offset: int = 0
    after: tuple[Any, str] | None = None
    count: bool = True


@frozen
class Place:
    """Behind which row of a list in which order: its sort value, enumerations as their word, and its id."""

    sort: str
    descending: bool
    value: Any
    id: str


@frozen
class Page(Generic[F]):
    """A page, how many rows match altogether (0 when the query did not ask to count), whether there are more behind it,
    and then where they begin, for a query's `after`."""

    items: tuple[F, ...]
    total: int
    more: bool = False
    next: Place | None = None


def page_of(
    items: Sequence[F], total: int, more: bool, sort: str, identity: str = "id", *, descending: bool = False
) -> Page[F]:
    """A page of a list that has but one order."""
    last = items[-1] if items and more else None
    begins = None if last is None else Place(sort, descending, getattr(last, sort), getattr(last, identity))
    return Page(tuple(items), total, more, begins)


class Table(Protocol[F]):
    """Rows of one kind, by id."""

    @abstractmethod
    def find(self, identity: str) -> F | None: ...

    @abstractmethod
    def get(self, identity: str) -> F:
        """Raises `NotFound`."""

    @abstractmethod
    def lock(self, identity: str) -> F:
        """As `get`, and holds the row until the transaction ends. Waits for others."""

    def lock_unchanged(self, identity: str) -> F:
        """As `lock`, for what somebody asks to change: raises `StaleWrite` when another changed it meanwhile, who had
        been asked first. Who is asked later, by somebody who may have seen the change, goes on from it."""
        seen: Any = self.get(identity)
        held: Any = self.lock(identity)
        if held.revision != seen.revision:
            raise StaleWrite(
                f"{identity!r} was changed by somebody else meanwhile", hint="Read it again and repeat the change."
            )
        locked: F = held
        return locked

    @abstractmethod
    def many(self, identities: Iterable[str]) -> Mapping[str, F]:
        """Those that exist, by id, in one statement."""

    @abstractmethod
    def lock_many(self, identities: Iterable[str]) -> Mapping[str, F]:
        """As `many`, and holds them until the transaction ends. They are locked in the order of their ids, so that two
        transactions that want several do not wait in a circle."""

    @abstractmethod
    def add(self, fact: F) -> None:
        """Raises `Duplicate` for a taken key and `Invalid` naming the field for a reference to nothing."""

    @abstractmethod
    def save(self, fact: F) -> F:
        """Write a changed fact; returns it with its new revision. Raises `StaleWrite`, `NotFound`, or as `add`."""

    @abstractmethod
    def add_many(self, facts: Sequence[F]) -> None:
        """As `add` for each, sent together. Which of them was refused is said as far as the store can tell."""

    @abstractmethod
    def save_many(self, facts: Sequence[F]) -> Sequence[F]:
        """As `save` for each, sent together; all of them or none."""

    @abstractmethod
    def remove(self, identity: str) -> None:
        """Raises `NotFound`, or `InUse` while others refer to it."""

    @abstractmethod
    def page(self, query: Query) -> Page[F]:
        """Raises `Invalid` for a field that cannot be filtered or sorted by."""

    @abstractmethod
    def count(self, *where: Where) -> int:
        """How many rows match. Raises as `page`."""


class Certificates(Table[ManagedCertificate], Protocol):
    """Beside the fields, a query may ask for `target_id`, `agent_id` and, with `CONTAINS`, for `names`: what people
    look for, the name and the common name."""

    @abstractmethod
    def due_for_renewal(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        """`renew_at <= now`, oldest first, locked, skipping those that others hold."""

    @abstractmethod
    def due_for_expiry(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        """Active, Expiring or Failed with `expires_at <= now`, locked, skipping."""

    @abstractmethod
    def due_for_alert(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        """`next_alert_at <= now`, oldest first, locked, skipping those that others hold."""

    @abstractmethod
    def newly_overdue(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        """`overdue_at <= now` and not reported, oldest first, locked, skipping those that others hold."""

    @abstractmethod
    def lock_following(self, policy_id: RenewalPolicyId, after: str, limit: int) -> Sequence[ManagedCertificate]:
        """Those of a renewal policy, in order of their ids from behind `after` on, locked. Waits for others."""

    @abstractmethod
    def due_for_policy(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        """`next_policy_check_at <= now`, oldest first, locked, skipping those that others hold."""

    @abstractmethod
    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[CertificateStatus, int]:
        """Of those for which the conditions hold."""

    @abstractmethod
    def ending(self, after: datetime, before: datetime, where: Sequence[Where] = ()) -> int:
        """How many certificates that are in use, and for which the conditions hold, expire between the two times, both
        excluded."""

    @abstractmethod
    def expiring_by_day(
        self, start: datetime, days: int, where: Sequence[Where] = ()
    ) -> Sequence[tuple[datetime, int]]:
        """How many certificates that are in use, and for which the conditions hold, expire on each day (UTC) from the
        one that begins at `start`, days without any included as 0."""


class Versions(Protocol):
    """Issued certificates. Rows are never changed."""

    @abstractmethod
    def add(self, version: CertificateVersion) -> None:
        """Raises `Duplicate` when (certificate, generation), (issuer, serial) or the fingerprint is there already."""

    @abstractmethod
    def add_many(self, versions: Sequence[CertificateVersion]) -> None:
        """As `add` for each, sent together; all of them or none."""

    @abstractmethod
    def get(self, identity: VersionId) -> CertificateVersion: ...

    @abstractmethod
    def page(
        self, certificate_id: CertificateId, limit: int, offset: int = 0, after: tuple[int, str] | None = None
    ) -> Page[CertificateVersion]:
        """Newest first."""

    @abstractmethod
    def latest(self, certificate_id: CertificateId, agent_id: AgentId | None = None) -> CertificateVersion | None:
        """The newest, of one key holder when given."""

    @abstractmethod
    def latest_many(self, holders: Mapping[CertificateId, AgentId]) -> Mapping[CertificateId, CertificateVersion]:
        """The newest of the key holder given here for each certificate that has one."""

    @abstractmethod
    def latest_per_holder(self, certificate_id: CertificateId) -> Sequence[CertificateVersion]:
        """The newest of each key holder: together, what the certificate is today."""

    @abstractmethod
    def latest_per_holder_many(
        self, certificate_ids: Iterable[CertificateId]
    ) -> Mapping[CertificateId, Sequence[CertificateVersion]]:
        """As `latest_per_holder` for each certificate that has any."""

    @abstractmethod
    def unexpired(
        self, certificate_ids: Iterable[CertificateId], now: datetime
    ) -> Mapping[CertificateId, Sequence[CertificateVersion]]:
        """Those that end after `now`, newest first, of each certificate that has any."""

    @abstractmethod
    def owners_of(self, fingerprints: Iterable[str]) -> Mapping[str, CertificateId]:
        """Which certificates have versions with these fingerprints, in one statement; unknown ones are left out."""

    @abstractmethod
    def with_serial(self, issuer_id: IssuerId, serial_number: str) -> CertificateVersion | None:
        """What the issuer's own CA issued under this number; never a foreign certificate."""

    @abstractmethod
    def with_serials(self, wanted: Iterable[tuple[IssuerId, str]]) -> Mapping[tuple[IssuerId, str], CertificateVersion]:
        """As `with_serial` for each, in one statement; unknown ones are left out."""

    @abstractmethod
    def with_fingerprint(self, fingerprint: str) -> CertificateVersion | None: ...

    @abstractmethod
    def owners_of_serials(self, issuer_id: IssuerId, serial_numbers: Iterable[str]) -> Mapping[str, CertificateId]:
        """Which certificates have what the issuer's own CA issued under these numbers, in one statement."""

    @abstractmethod
    def validities(self, certificate_ids: Iterable[str]) -> Mapping[CertificateId, tuple[datetime, datetime]]:
        """`(notBefore, notAfter)` of the newest version of each certificate that has one, in one statement."""


class Attempts(Table[IssuanceAttempt], Protocol):
    """Adding one raises `Duplicate` when (certificate, generation) exists."""

    @abstractmethod
    def issued_since(self, certificate_id: CertificateId, since: datetime) -> int:
        """How many attempts of this certificate ended Issued after `since`."""

    @abstractmethod
    def issued_since_many(
        self, certificate_ids: Iterable[CertificateId], since: datetime
    ) -> Mapping[CertificateId, int]:
        """As `issued_since` for each of several, in one statement. Those without any are left out."""


class Revocations(Protocol):
    """Each change raises the issuer's count and that of the scope it is in, and has the scope's CRL made again."""

    @abstractmethod
    def add(self, revocation: Revocation) -> None:
        """Raises `Duplicate` when the serial number is on record already."""

    @abstractmethod
    def add_many(self, revocations: Sequence[Revocation]) -> None:
        """As `add` for each, sent together; all of them or none."""

    @abstractmethod
    def change_many(self, revocations: Sequence[Revocation]) -> None:
        """Write what has become of revocations that are on record. Raises `NotFound`."""

    @abstractmethod
    def find(self, issuer_id: IssuerId, serial_number: str) -> Revocation | None:
        """None also when it was released."""

    @abstractmethod
    def of(self, certificate_ids: Iterable[CertificateId], *, released: bool = False) -> Sequence[Revocation]:
        """Of all of these certificates, oldest first, in one statement; `released` ones are left out unless asked
        for."""

    @abstractmethod
    def unassigned(self, limit: int) -> Sequence[Revocation]:
        """Those of which nobody has worked out on which CRL they are, held, skipping those that others hold."""

    @abstractmethod
    def leave(self, scope: CrlScope, ended_before: datetime, limit: int) -> int:
        """Take what belongs to certificates that ended before the given time from the complete CRL, that which ended
        first; how many."""

    @abstractmethod
    def listed(self, scope: CrlScope) -> tuple[Sequence[bytes], int]:
        """The entries of the complete CRL, several in each element, in the order of their changes; how many they
        are."""

    @abstractmethod
    def changed(self, scope: CrlScope, since: int) -> tuple[Sequence[bytes], int]:
        """As `listed`, of a delta: what was revoked or released since the scope's count was `since`."""

    @abstractmethod
    def count(self, issuer_id: IssuerId) -> int:
        """How many changes the issuer has ever seen: what was worked out at another count is out of date."""


class Standings(Protocol):
    """Serial numbers that CAs of ours have given, to certificates and to delegates, and whether they are revoked. Of
    those given to CAs only the revoked ones are here."""

    @abstractmethod
    def of(self, issuer_id: IssuerId, serial_numbers: Collection[str]) -> Mapping[str, Standing]:
        """Those that the issuer's CAs gave, by serial number, in one statement; others are left out. Expired ones are
        among them."""

    @abstractmethod
    def unexpired(self, issuer_id: IssuerId, now: datetime) -> Iterator[Standing]:
        """Every one that ends after `now`, in no order, and as if none were revoked. They are read as they are
        wanted."""

    @abstractmethod
    def revoked(self, issuer_id: IssuerId, now: datetime) -> Iterator[Standing]:
        """Those that are revoked and end after `now`, in no order, their CA left out."""

    @abstractmethod
    def position(self) -> int:
        """What has changed up to here is in what is read after this in another transaction or statement."""

    @abstractmethod
    def changes(self, since: int, limit: int = 10_000) -> StatusChanges:
        """Serial numbers that were revoked or released since that position; none that was committed before is ever
        missed, and some may be told twice. Old ones are forgotten: see `forget`."""

    @abstractmethod
    def forget(self, before: datetime, limit: int) -> int:
        """Remove notes of changes from before the given time. Returns how many there were."""


class Deployments(Protocol):
    """What is installed and served where."""

    @abstractmethod
    def of(self, certificate_id: CertificateId) -> Sequence[Deployment]:
        """One for each of the certificate's targets, in their order, blank where nothing is known yet."""

    @abstractmethod
    def find(self, certificate_id: CertificateId, target_id: TargetId) -> Deployment | None:
        """None when the target is not one of the certificate's."""

    @abstractmethod
    def save(self, deployment: Deployment) -> None:
        """Remember it. What is reported about a target that has been taken from the certificate is dropped."""


class Jobs(Table[Job], Protocol):
    """Beside the fields, a query may ask for `team_id` and `environment`, which are the certificate's."""

    @abstractmethod
    def claim_deployments(self, agent_id: AgentId, now: datetime, lease: timedelta, limit: int) -> Sequence[Job]:
        """Deployment jobs of the agent that are due, now Running under a fresh lease, oldest first.

        Due are Pending ones, and Running ones that the agent took or acknowledged at least `lease` ago: an agent does
        its work before it asks for more, so what it asks for while they run is lost to it."""

    @abstractmethod
    def awaiting_csr(self, agent_id: AgentId, now: datetime, limit: int) -> Sequence[Job]:
        """Due issuing jobs that wait for this agent's CSR. Not claimed: they are offered until the CSR arrives."""

    @abstractmethod
    def with_work(self, agent_ids: Iterable[AgentId], now: datetime, lease: timedelta) -> frozenset[AgentId]:
        """Those of these agents for which `awaiting_csr` or `claim_deployments` may have something."""

    @abstractmethod
    def lock_issuing(self, holders: Mapping[CertificateId, AgentId]) -> Mapping[CertificateId, Job]:
        """The open issuing jobs (at most one each) of these certificates and their key holder given here, locked."""

    @abstractmethod
    def newest_issuing(self, certificate_ids: Iterable[CertificateId]) -> Mapping[CertificateId, Sequence[Job]]:
        """The newest issuing job of each key holder of these certificates, whatever became of it."""

    @abstractmethod
    def claim_issuing(self, now: datetime, lease: timedelta, limit: int) -> Sequence[Job]:
        """Pending issuing jobs that are due, now Running under a fresh lease, skipping those that others hold."""

    @abstractmethod
    def due_releases(self, now: datetime, limit: int) -> Sequence[Job]:
        """Running jobs whose lease has lapsed, locked, skipping."""

    @abstractmethod
    def due_retries(self, now: datetime, limit: int) -> Sequence[Job]:
        """Failed jobs with `next_attempt_at <= now`, locked, skipping."""

    @abstractmethod
    def due_timeouts(self, csr_before: datetime, limit: int) -> Sequence[Job]:
        """AwaitingCSR scheduled before `csr_before`, locked, skipping."""

    @abstractmethod
    def purge(self, created_before: datetime, limit: int) -> int:
        """Remove jobs that are over for good and were created before the given time, oldest first. Versions and
        attempts stay and forget which job they came from. Returns how many were removed."""

    @abstractmethod
    def open_of(self, certificate_id: CertificateId) -> Sequence[Job]:
        """Open jobs of a certificate, and Failed ones that will still retry, locked, oldest first."""

    @abstractmethod
    def open_of_many(self, certificate_ids: Iterable[CertificateId]) -> Mapping[CertificateId, Sequence[Job]]:
        """As `open_of` for each of several, in one statement. Those without any are left out."""

    @abstractmethod
    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[JobStatus, int]:
        """Of those for which the conditions hold."""


class BulkOperations(Table[BulkOperation], Protocol):
    """Operations on many certificates, their batches, and what could not be done."""

    @abstractmethod
    def match(self, operation_id: str, where: Sequence[Where], size: int) -> int:
        """Remember, for this operation, the certificates that meet the conditions now, by id in batches of at most
        `size` that are numbered from 0. Returns how many there are."""

    @abstractmethod
    def batch(self, operation_id: str, number: int) -> Sequence[CertificateId]:
        """The certificates of a batch, ordered by id; none when there is no such batch."""

    @abstractmethod
    def forget_batches(self, operation_id: str) -> None:
        """For an operation that has ended."""

    @abstractmethod
    def add_failures(self, operation_id: str, failures: Sequence[BulkFailure]) -> None: ...

    @abstractmethod
    def failures(
        self, operation_id: str, limit: int, offset: int = 0, after: tuple[str, str] | None = None
    ) -> Page[BulkFailure]:
        """Ordered by certificate id. `after` is where the page before ended."""

    @abstractmethod
    def due(self, now: datetime, limit: int) -> Sequence[BulkOperation]:
        """Running ones that nobody holds a lease of, oldest first, locked, skipping."""

    @abstractmethod
    def purge(self, completed_before: datetime, limit: int) -> int:
        """Remove operations that ended before the given time, oldest first. Returns how many were removed."""


@frozen
class Activity:
    """How often an agent was heard within one hour, which is named by its beginning."""

    agent_id: AgentId
    hour: datetime
    heartbeats: int = 0
    polls: int = 0


class Agents(Table[Agent], Protocol):
    @abstractmethod
    def due_for_offline(self, heard_before: datetime, limit: int) -> Sequence[Agent]:
        """Online or Degraded, not retired, last heard before the given time, locked, skipping."""

    @abstractmethod
    def heard(self, *agents: Agent) -> None:
        """Write heartbeats (status, time, address, version, clock offset) without touching the revision. One that was
        retired meanwhile stays as it is."""

    @abstractmethod
    def counts(self, agent_id: AgentId) -> AgentCounts: ...

    @abstractmethod
    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[str, int]:
        """Agents that are not retired and for which the conditions hold, by status value, the control plane's own left
        out."""

    @abstractmethod
    def traits(self, where: Sequence[Where] = ()) -> Sequence[AgentTraits]:
        """Of every agent that is not retired and not a part of the control plane, and for which the conditions hold, in
        order of registration."""

    @abstractmethod
    def add_activity(self, heard: Sequence[Activity]) -> None:
        """Add to what is counted already. Agents that do not exist are passed over."""

    @abstractmethod
    def activity(self, agent_id: AgentId, since: datetime) -> Sequence[Activity]:
        """Hours from the given one on in which the agent was heard, oldest first."""

    @abstractmethod
    def forget_activity(self, before: datetime) -> None:
        """Delete hours that began before the given time."""


class AgentGroups(Table[AgentGroup], Protocol):
    @abstractmethod
    def memberships(self, group_id: AgentGroupId) -> Sequence[AgentGroupMembership]:
        """What was decided by hand about this group, in order of the agents' ids."""

    @abstractmethod
    def memberships_of(self, agent_ids: Iterable[str]) -> Sequence[AgentGroupMembership]:
        """What was decided by hand about these agents, in one statement."""

    @abstractmethod
    def put_membership(self, membership: AgentGroupMembership) -> None:
        """Instead of what was decided before. Raises `Invalid` for an agent or a group that does not exist."""

    @abstractmethod
    def remove_membership(self, group_id: AgentGroupId, agent_id: AgentId) -> None:
        """Raises `NotFound`."""


class PolicyRules(Table[PolicyRule], Protocol):
    """Who judges certificates, and records what comes of it, does so by rules that they hold: whoever waits for all of
    them (`hold`) knows that nobody judges any more by what was before. Certificates are locked before."""

    @abstractmethod
    def in_force(self) -> Sequence[PolicyRule]:
        """Enabled rules, in order of their ids, held until the transaction ends."""

    @abstractmethod
    def hold(self) -> None:
        """Wait for everybody who holds rules; nobody else does until the transaction ends. In a transaction that holds
        nothing else."""


class Violations(Table[PolicyViolation], Protocol):
    """Beside the fields, a query may ask for `team_id` and `environment`, which are the certificate's."""

    @abstractmethod
    def open_of(self, certificate_ids: Iterable[str]) -> Sequence[PolicyViolation]:
        """Those of these certificates that are not resolved, in one statement."""

    @abstractmethod
    def open_under(self, rule_id: str, after: str, limit: int) -> Sequence[PolicyViolation]:
        """Those of a rule that are not resolved, in order of their ids from behind `after` on."""

    @abstractmethod
    def purge(self, resolved_before: datetime, limit: int) -> int:
        """Remove some that were resolved before the given time, oldest first. Returns how many were removed."""


class PolicyReviews(Protocol):
    """What is still to be looked at because a rule, a group or an agent changed."""

    @abstractmethod
    def ask(self, kind: ReviewKind, subject_ids: Iterable[str], at: datetime) -> None:
        """Have these reviewed, from the beginning where a review is under way. It has yet to begin (`begin`)."""

    @abstractmethod
    def waiting(self) -> bool:
        """Whether any has yet to begin."""

    @abstractmethod
    def begin(self) -> None:
        """From now on those that were asked for may be claimed."""

    @abstractmethod
    def claim(self) -> PolicyReview | None:
        """The one that was asked for first, of those that have begun, locked, skipping those that others hold."""

    @abstractmethod
    def advance(self, review: PolicyReview) -> None:
        """Remember how far a claimed one has come."""

    @abstractmethod
    def finish(self, review: PolicyReview) -> None:
        """There is nothing more to look at for a claimed one."""

    @abstractmethod
    def count(self) -> int: ...


class Notifications(Table[Notification], Protocol):
    """Beside the fields, a query may ask for `team_id` and `environment`, which are the certificate's: what is about no
    certificate is of no team."""

    @abstractmethod
    def purge(self, created_before: datetime, limit: int) -> int:
        """Remove some that were created before the given time, oldest first. Returns how many were removed."""


class Approvals(Table[ApprovalRequest], Protocol):
    """Beside the fields, a query may ask for `team_id` and `environment`, which are the certificate's. What a request
    pins is never changed by `save`. Requests go when their job does. At most one of a job is pending."""


class Enrolments(Table[Enrolment], Protocol):
    """They go when their job or their certificate does."""

    @abstractmethod
    def of_transaction(self, protocol: EnrolmentProtocol, label: str, transaction: str) -> Enrolment | None: ...

    @abstractmethod
    def known(self, protocol: EnrolmentProtocol, label: str, transactions: Iterable[str]) -> frozenset[str]:
        """Which of these transactions there are, in one statement."""

    @abstractmethod
    def of_job(self, job_id: JobId) -> Enrolment | None: ...


class EnrolmentSecrets(Table[EnrolmentSecret], Protocol):
    @abstractmethod
    def by_hash(self, secret_hash: str) -> EnrolmentSecret | None: ...

    @abstractmethod
    def used(self, secret_id: EnrolmentSecretId, at: datetime) -> None:
        """Remember the last use, at most once a minute, without waiting for anybody."""

    @abstractmethod
    def purge(self, expired_before: datetime, limit: int) -> int:
        """Remove some that expired before the given time, oldest first. Returns how many were removed."""


class JoinTokens(Table[JoinToken], Protocol):
    @abstractmethod
    def lock_by_hash(self, token_hash: str) -> JoinToken | None: ...


class ApiKeys(Table[ApiKey], Protocol):
    @abstractmethod
    def by_hashes(self, key_hashes: Iterable[str]) -> Mapping[str, ApiKey]:
        """Those there are, by their hashes."""

    @abstractmethod
    def used(self, key_ids: Sequence[ApiKeyId], at: datetime) -> None:
        """Remember the last use of these, at most once a minute."""

    @abstractmethod
    def revoke_of_agent(self, agent_id: AgentId, at: datetime) -> None: ...

    @abstractmethod
    def any(self) -> bool:
        """Whether any key for people exists."""

    @abstractmethod
    def changes(self) -> int:
        """How often a key has been changed or removed, uses apart: keys read before are as they were while this is."""


class Sessions(Protocol):
    @abstractmethod
    def add(self, session: Session) -> None: ...

    @abstractmethod
    def find(self, id_hash: str, now: datetime) -> tuple[Session, ApiKey] | None:
        """The session and its key, when neither has expired or been revoked."""

    @abstractmethod
    def remove(self, id_hash: str) -> None: ...

    @abstractmethod
    def purge(self, now: datetime) -> int: ...


class Authorities(Table[CertificateAuthority], Protocol):
    """Our CAs and their keys, so that every restart and replica signs with the same ones."""

    @abstractmethod
    def lock_or_add(self, authority: CertificateAuthority) -> CertificateAuthority:
        """Store it unless one of this id is there; returns the one that is. Safe for replicas starting together."""

    @abstractmethod
    def of_issuer(self, issuer_id: IssuerId) -> Sequence[CertificateAuthority]:
        """All of an issuer, in whatever state, oldest first."""

    @abstractmethod
    def of_issuers(self, issuer_ids: Iterable[IssuerId]) -> Sequence[CertificateAuthority]:
        """As `of_issuer`, of several at once."""

    @abstractmethod
    def children(self, authority_id: AuthorityId) -> Sequence[CertificateAuthority]:
        """Those that it signed, of whichever issuer, oldest first."""

    @abstractmethod
    def last_end(self, issuer_id: IssuerId, recorded_before: datetime) -> datetime | None:
        """When the last of the certificates ends that the issuer's CAs issued, as far as they were recorded before
        then. Reads all of them that have not ended: for what is rarely asked."""

    @abstractmethod
    def due_drained(self, now: datetime, limit: int) -> Sequence[CertificateAuthority]:
        """Retiring ones with `drains_at <= now`, locked, skipping those that others hold."""

    @abstractmethod
    def any_sealed(self) -> bytes | None:
        """Some sealed value of this database (CA key or configuration), to prove at start that the key opens it."""


class Delegates(Protocol):
    """Delegates of our CAs, with their keys, so that every replica serves with the same ones."""

    @abstractmethod
    def newest(self, issuer_id: IssuerId, authority: str, purpose: Purpose, label: str = "") -> Delegate | None:
        """That of the highest generation."""

    @abstractmethod
    def unexpired(self, issuer_id: IssuerId, now: datetime) -> Sequence[Delegate]:
        """All of an issuer that end after `now`, newest first."""

    @abstractmethod
    def lock_or_add(self, delegate: Delegate) -> Delegate:
        """Store it unless one of this generation is there; returns the one that is. A stored one is the last to be
        renewed: those of earlier generations have no `renew_at` from then on. Safe for replicas that make one at the
        same time. Raises `Invalid` when there is no such issuer."""

    @abstractmethod
    def due_for_renewal(self, now: datetime, limit: int) -> Sequence[Delegate]:
        """`renew_at <= now`, oldest first, locked, skipping those that others hold."""

    @abstractmethod
    def set_renewal(self, identity: DelegateId, renew_at: datetime | None) -> None: ...

    @abstractmethod
    def forget(self, ended_before: datetime, limit: int) -> int:
        """Remove those that ended before the given time. Returns how many there were."""


@frozen
class CrlTrouble:
    """`failing` could not be made when it was last tried, and of those that are due `ended` are over. `oldest_due` is
    since when the one that has waited for longest has been due, `error` what was wrong with one that failed."""

    failing: int = 0
    ended: int = 0
    oldest_due: datetime | None = None
    error: str = ""


class Crls(Protocol):
    """CRLs that are published, when each is next to be made, and how making them went."""

    @abstractmethod
    def find(
        self, issuer_id: IssuerId, authority: str | None = None, partition: int = 0, *, is_delta: bool = False
    ) -> StoredCrl | None:
        """The CRL of a scope that is published now. Without an authority, that of the issuer's first one."""

    @abstractmethod
    def content(self, crl: StoredCrl) -> Iterator[bytes]:
        """Its DER, in parts; none when it has been replaced meanwhile."""

    @abstractmethod
    def next_number(self, issuer_id: IssuerId) -> int:
        """A CRL number that only rises, also across replicas. Whoever else wants one waits until the transaction ends,
        so that what is read with a higher number is never older. Raises `NotFound`."""

    @abstractmethod
    def save(self, crl: StoredCrl, der: bytes) -> bool:
        """Publish it, unless one with its number or a higher one is; whether it was."""

    @abstractmethod
    def ensure(self, duty: CrlDuty) -> CrlDuty:
        """Add the duty to make a scope's CRL. One that is there gets the addresses that it does not have, which counts
        as a change and has it due when the given one is, and whether it is the first."""

    @abstractmethod
    def touch(self, scope: CrlScope, due_at: datetime) -> None:
        """Count a change of the scope that is none of its certificates'."""

    @abstractmethod
    def duty(self, scope: CrlScope) -> CrlDuty | None: ...

    @abstractmethod
    def duties(self, issuer_id: IssuerId) -> Sequence[CrlDuty]:
        """Of all scopes of the issuer, in their order."""

    @abstractmethod
    def all_duties(self, limit: int) -> Sequence[tuple[CrlDuty, StoredCrl | None, StoredCrl | None]]:
        """Of every issuer, in order of scope, with the complete CRL and the delta that are published."""

    @abstractmethod
    def claim(self, scope: CrlScope, now: datetime, lease: timedelta) -> CrlDuty | None:
        """Hold the duty under a lease; None when there is none, or somebody else has it."""

    @abstractmethod
    def claim_due(self, now: datetime, lease: timedelta) -> CrlDuty | None:
        """As `claim`, the one that has been due for longest, skipping those that others hold."""

    @abstractmethod
    def finish(self, scope: CrlScope, changes: int, now: datetime, due_at: datetime) -> None:
        """The CRL was made at this count of changes: the duty is due again at `due_at`, or `now` when something has
        changed meanwhile."""

    @abstractmethod
    def fail(self, scope: CrlScope, error: str, due_at: datetime) -> None:
        """It could not be made and is tried again at `due_at`."""

    @abstractmethod
    def record(self, generation: CrlGeneration) -> None:
        """Remember how a making went."""

    @abstractmethod
    def history(self, scope: CrlScope, limit: int) -> Sequence[CrlGeneration]:
        """Newest first."""

    @abstractmethod
    def histories(self, scopes: int, limit: int) -> Mapping[CrlScope, Sequence[CrlGeneration]]:
        """As `history` of each of the first so many scopes of all issuers, in one statement; those without are left
        out."""

    @abstractmethod
    def forget(self, before: datetime, limit: int) -> int:
        """Delete what is remembered of makings that began before the given time, oldest first; how many."""

    @abstractmethod
    def oldest_in_use(self, scope: CrlScope, now: datetime) -> CrlGeneration | None:
        """The making of the oldest complete CRL that somebody may rely on at `now`."""

    @abstractmethod
    def entries(self, issuer_id: IssuerId) -> int:
        """How many the complete CRLs of the issuer have together."""

    @abstractmethod
    def due_issuers(self, now: datetime, again_at: datetime, limit: int) -> Sequence[IssuerId]:
        """Issuers that nobody has looked at for a while, who are to be looked at again at the later time."""

    @abstractmethod
    def spread(self, issuer_id: IssuerId, partitions: int) -> None:
        """From now on, new certificates of the issuer are spread over so many parts."""

    @abstractmethod
    def trouble(self, now: datetime) -> CrlTrouble:
        """What monitoring should know. A CRL whose CA signs no more, so that nothing is due, is no trouble."""


class Scans(Protocol):
    """What agents said of their searches. Written with what they found, never changed."""

    @abstractmethod
    def page(self, query: Query) -> Page[DiscoveryScan]: ...

    @abstractmethod
    def forget(self, before: datetime, limit: int) -> int:
        """Delete scans that began before the given time, oldest first; how many. What they found stays."""


class Discovered(Table[DiscoveredCertificate], Protocol):
    @abstractmethod
    def report(self, scan: DiscoveryScan, found: Sequence[DiscoveredCertificate]) -> DiscoveryScan:
        """Remember a scan and what it saw. A certificate that is known in its place keeps its id, when it was first
        seen and what somebody decided about it; one that nobody decided about may be found to be managed. Returns the
        scan with the number of those that are new."""

    @abstractmethod
    def count_by_status(self) -> Mapping[DiscoveryStatus, int]:
        """Statuses without any are left out."""


class Endpoints(Table[EndpointHealth], Protocol):
    """Beside the fields, a query may ask for `team_id` and `environment`, which are the certificate's."""

    @abstractmethod
    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[HealthStatus, int]:
        """Of those for which the conditions hold."""


class Probes(Protocol):
    """The history of endpoints."""

    @abstractmethod
    def add(self, probe: ProbeRecord) -> None: ...

    @abstractmethod
    def of(self, endpoint_id: EndpointId, limit: int) -> Sequence[ProbeRecord]:
        """Newest first."""

    @abstractmethod
    def forget(self, before: datetime, limit: int) -> int:
        """Delete probes made before the given time, oldest first; how many."""


class Alerts(Protocol):
    """Who was told of which end."""

    @abstractmethod
    def add_new(self, alerts: Iterable[ExpirationAlert]) -> Sequence[ExpirationAlert]:
        """Remember those that are not there yet, by certificate, end and threshold, in one statement. Returns them, in
        the order given: whoever added one, and nobody else, has to tell."""

    @abstractmethod
    def forget(self, expired_before: datetime, limit: int) -> int:
        """Delete alerts about ends before the given time; how many."""


class Reschedulings(Protocol):
    """Renewal policies whose certificates do not all follow yet."""

    @abstractmethod
    def ask(self, policy_id: RenewalPolicyId, at: datetime) -> None:
        """Have its certificates follow it, from the first on where that is under way."""

    @abstractmethod
    def claim(self) -> Rescheduling | None:
        """The one that was asked for first, of those that have begun, locked, skipping those that others hold."""

    @abstractmethod
    def advance(self, rescheduling: Rescheduling) -> None:
        """Remember how far a claimed one has come."""

    @abstractmethod
    def finish(self, rescheduling: Rescheduling) -> None:
        """All of its certificates follow a claimed one."""


class Pace(Protocol):
    """How fast the schedule goes with each issuer."""

    @abstractmethod
    def take(self, wanted: Mapping[IssuerId, int], pause: timedelta, now: datetime) -> Mapping[IssuerId, datetime]:
        """Take so many places in the queue of each issuer, in one statement; places are `pause` apart, the first is at
        `now` or behind the last that was taken. Returns when the first of those taken is. Waits for others who take."""


class Quotas(Protocol):
    """How often somebody may do something within some time, whichever process they ask."""

    @abstractmethod
    def take(self, what: str, whose: str, most: int, within: timedelta, now: datetime) -> datetime | None:
        """Use one of the `most` that there are in any stretch of time `within`. None when there was one; else when the
        next will be there, and nothing is used. Holds the quota until the transaction ends."""

    @abstractmethod
    def forget(self, before: datetime) -> int:
        """Delete quotas of which nothing was used since; how many."""


@frozen
class Presentation:
    """What something was presented with first, and when."""

    used_for: bytes
    at: datetime


class Presented(Protocol):
    """What may be presented once, whichever process it is presented to: nonces, challenges."""

    @abstractmethod
    def present(self, realm: str, value: bytes, used_for: bytes, now: datetime, until: datetime) -> Presentation:
        """Remember that `value` was presented with `used_for`, at least `until` then, unless it is known: the first
        presentation is returned. Waits for a transaction that presents the same."""

    @abstractmethod
    def count(self, realm: str) -> int:
        """How many are remembered."""

    @abstractmethod
    def forget(self, now: datetime, limit: int) -> int:
        """Remove those that were to be remembered until `now` at most. Returns how many there were."""


class AuditTrail(Protocol):
    """Append-only."""

    @abstractmethod
    def add(self, *events: AuditEvent) -> None: ...

    @abstractmethod
    def get(self, identity: str) -> AuditEvent: ...

    @abstractmethod
    def page(self, query: Query) -> Page[AuditEvent]: ...


@frozen(kw_only=True)
class StoredSigner:
    """The Ed25519 key that signs checkpoints (public: 32 bytes; private: PKCS#8 DER, sealed), and the name of the log
    that they are of."""

    id: str = "audit"
    name: str
    public_key: bytes
    sealed_key: bytes = field(repr=False)
    created_at: datetime


class Seals(Protocol):
    """The audit trail as the leaves of a Merkle tree. An event waits to become a leaf from the moment that its
    transaction commits; leaves, subtrees and checkpoints never change."""

    @abstractmethod
    def find_signer(self) -> StoredSigner | None: ...

    @abstractmethod
    def lock_or_add_signer(self, signer: StoredSigner) -> StoredSigner:
        """Store it unless there is one; returns the one that there is. Safe for replicas starting together."""

    @abstractmethod
    def take(self, limit: int, seq: int = 0) -> Iterable[Entry]:
        """Events that wait, written from `seq` on, in the order of writing, to be read to their end before anything
        else; they wait no more if the transaction commits. Holds the tree until then: whoever else wants it waits,
        writers of events do not."""

    @abstractmethod
    def append(
        self, first: int, seqs: Sequence[int], hashes: Sequence[bytes], subtrees: Mapping[Subtree, bytes]
    ) -> None:
        """The events of these `seqs` become the leaves from `first` on, with these hashes. `subtrees` are all those
        that they completed. Raises `Duplicate` for a leaf or an event that is there already."""

    @abstractmethod
    def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Raises `Duplicate` when there is one of this size."""

    @abstractmethod
    def checkpoint(self, tree_size: int) -> Checkpoint:
        """Raises `NotFound`."""

    @abstractmethod
    def latest(self) -> Checkpoint | None:
        """The one of the largest tree."""

    @abstractmethod
    def checkpoints(self, query: Query) -> Page[Checkpoint]: ...

    @abstractmethod
    def hashes(self, subtrees: Collection[Subtree]) -> Mapping[Subtree, bytes]:
        """The hashes of complete subtrees, single leaves included, in one statement. What is not there is left out."""

    @abstractmethod
    def entry(self, identity: str) -> Entry:
        """An event with its place in the tree. Raises `NotFound`."""

    @abstractmethod
    def entries(self, query: Query) -> Page[Entry]:
        """As `AuditTrail.page`, with the places in the tree."""

    @abstractmethod
    def leaves(self, first: int, limit: int) -> Sequence[Entry]:
        """Events that are leaves, from leaf `first` on, in the order of the tree."""

    @abstractmethod
    def beyond(self, tree_size: int, seq: int, limit: int) -> Sequence[Entry]:
        """Events written from `seq` on that are not among the first `tree_size` leaves, in the order of writing."""

    @abstractmethod
    def waiting(self) -> int:
        """How many events wait to become leaves."""

    @abstractmethod
    def longest_waiting(self) -> Entry | None:
        """Of the events that wait the one with the lowest `seq`."""


class Loops(Protocol):
    """The scheduler's memory: one row a loop."""

    @abstractmethod
    def ensure(self, name: str, interval: timedelta, now: datetime) -> None:
        """Make the row, or give it the configured interval; a shorter interval brings the next run nearer."""

    @abstractmethod
    def claim_due(self, now: datetime, names: Sequence[str]) -> Sequence[str]:
        """Names of the loops that are due, with their next run set: each due run is claimed by exactly one worker."""

    @abstractmethod
    def started(self, name: str, worker: str, at: datetime) -> None: ...

    @abstractmethod
    def finished(self, name: str, at: datetime, took: timedelta, items: int, error: str) -> None: ...

    @abstractmethod
    def all(self) -> Sequence[LoopState]: ...


@frozen(kw_only=True)
class ApiCall:
    """One call of the API, for the record: who, what, with which outcome. The path carries no query."""

    at: datetime
    actor: str
    method: str
    path: str
    status: int
    took: timedelta
    request_id: str
    body_hash: str = ""


class ApiCalls(Protocol):
    """API calls in monthly partitions, written in batches off the request path."""

    @abstractmethod
    def add(self, calls: Sequence[ApiCall]) -> None: ...

    @abstractmethod
    def page(self, query: Query) -> Page[AuditEvent]:
        """As audit events with action `api_<method>` and resource type `api`."""

    @abstractmethod
    def keep_since(self, cutoff: datetime, now: datetime) -> None:
        """Drop whole months before `cutoff`; make this month's and the next month's partitions."""


@frozen
class JobsOfDay:
    """How many jobs came to their end on a day (UTC): Completed, or Failed without another attempt to come. A job that
    is retried by hand ends again."""

    day: date
    completed: int = 0
    failed: int = 0


@frozen
class Endings:
    """How much has ever ended so. These only grow, whatever becomes of the rows."""

    jobs_completed: int = 0
    jobs_failed: int = 0
    notifications_sent: int = 0
    notifications_dead: int = 0


class Tallies(Protocol):
    """Totals that are kept as rows change, and history that outlives its rows. Days are those of UTC."""

    @abstractmethod
    def tally(self, limit: int) -> int:
        """Add the changes since the last time, at most so many of each sort, to what is counted. No total changes by
        that; they become quicker to say. Returns how many changes there were."""

    @abstractmethod
    def tidy(self) -> None:
        """Forget counts of what there is none of any more."""

    @abstractmethod
    def close_days(self, until: date, limit: int) -> int:
        """Count what was issued on each day before `until`, to which nothing can be added any more, unless it is
        counted: oldest first, at most `limit` days. Returns how many days were counted."""

    @abstractmethod
    def jobs_by_day(self, first: date, days: int) -> Sequence[JobsOfDay]:
        """One for each of so many days from `first` on."""

    @abstractmethod
    def issued_by_day(self, first: date, days: int) -> Sequence[tuple[date, int]]:
        """How many certificates were issued on each of so many days from `first` on."""

    @abstractmethod
    def endings(self) -> Endings: ...


class Work(Protocol):
    """One transaction."""

    certificates: Certificates
    versions: Versions
    attempts: Attempts
    revocations: Revocations
    standings: Standings
    deployments: Deployments
    jobs: Jobs
    agents: Agents
    join_tokens: JoinTokens
    issuers: Table[ConfiguredIssuer]
    targets: Table[ConfiguredTarget]
    teams: Table[Team]
    owners: Table[Owner]
    profiles: Table[CertificateProfile]
    renewal_policies: Table[RenewalPolicy]
    notifications: Notifications
    alerts: Alerts
    reschedulings: Reschedulings
    pace: Pace
    agent_groups: AgentGroups
    policy_rules: PolicyRules
    violations: Violations
    policy_reviews: PolicyReviews
    approvals: Approvals
    enrolments: Enrolments
    enrolment_secrets: EnrolmentSecrets
    quotas: Quotas
    presented: Presented
    bulk_operations: BulkOperations
    api_keys: ApiKeys
    sessions: Sessions
    authorities: Authorities
    delegates: Delegates
    crls: Crls
    scans: Scans
    discovered: Discovered
    scan_targets: Table[NetworkScanTarget]
    endpoints: Endpoints
    probes: Probes
    audit: AuditTrail
    seals: Seals
    loops: Loops
    calls: ApiCalls
    tallies: Tallies
