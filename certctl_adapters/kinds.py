"""The kinds of rows a store keeps: keys, references, and what may be filtered and sorted by.

Every store is built from these declarations, so that a fake refuses exactly what the database refuses. `constraint` of
a `Unique` is the name of its index in `sql/`.
"""

import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, Generic, TypeVar

import attrs
from attrs import evolve, field, frozen

from certctl_core.errors import Duplicate, FieldProblem, InUse, Invalid
from certctl_core.ids import AgentId, RenewalPolicyId
from certctl_core.models.access import ApiKey, Session
from certctl_core.models.agents import SENTINEL_AGENTS, Agent, AgentGroup, JoinToken
from certctl_core.models.approvals import ApprovalRequest, ApprovalState
from certctl_core.models.authorities import CertificateAuthority
from certctl_core.models.bulk import BulkOperation
from certctl_core.models.catalog import (
    CertificateProfile,
    ConfiguredIssuer,
    ConfiguredTarget,
    Owner,
    RenewalPolicy,
    Team,
)
from certctl_core.models.certificates import (
    CertificateStatus,
    CertificateVersion,
    IssuanceAttempt,
    ManagedCertificate,
    Revocation,
)
from certctl_core.models.crls import CrlDuty, StoredCrl
from certctl_core.models.delegates import Delegate
from certctl_core.models.enrolment import Enrolment, EnrolmentSecret
from certctl_core.models.jobs import ISSUING, OPEN_JOB, Job, JobStatus, JobType
from certctl_core.models.observed import (
    DiscoveredCertificate,
    DiscoveryScan,
    EndpointHealth,
    NetworkScanTarget,
    ProbeRecord,
)
from certctl_core.models.policies import PolicyRule, PolicyViolation
from certctl_core.models.records import AuditEvent, LoopState, Notification, NotificationStatus
from certctl_core.models.trail import Checkpoint, Entry
from certctl_core.ports.store import Is, Place, Query, StoredSigner

F = TypeVar("F")


class TransactionAborted(AssertionError):
    """A use case went on after the store had refused a write. The database would have thrown the transaction away."""

    def __init__(self) -> None:
        super().__init__("the transaction was broken by a refused write; let the error leave the block")


class OnDelete(Enum):
    """What becomes of a row when the row it refers to is removed."""

    RESTRICT = "restrict"
    CASCADE = "cascade"
    SET_NULL = "set null"


@frozen
class Reference:
    """A field that holds the id (or a tuple of ids) of rows of another table. `until` names a field that says when the
    row ended: from then on it refers to nothing."""

    field: str
    to: str
    on_delete: OnDelete = OnDelete.RESTRICT
    until: str | None = None

    def holds(self, fact: Any) -> bool:
        """Whether this row refers to anything still."""
        return self.until is None or getattr(fact, self.until) is None


def _always(_: Any) -> bool:
    return True


@frozen
class Unique:
    """Fields no two rows may agree in, among the rows for which `among` holds. None equals None."""

    constraint: str
    fields: tuple[str, ...]
    among: Callable[[Any], bool] = _always

    def key(self, fact: Any) -> tuple[Any, ...] | None:
        """What must be unique about this fact, or None when the rule does not concern it."""
        return tuple(getattr(fact, name) for name in self.fields) if self.among(fact) else None


@frozen
class Ending:
    """How a row has ended, by the word of its status, and when."""

    status: str
    at: datetime


@frozen
class Kind(Generic[F]):
    """One kind of row. `columns` names the columns that are not called like their field.

    `extra_filters` are filters on something that is not a field of the fact, with the comparisons they know. `limits`
    are fields that say what the row is limited to, which have comparisons of their own.
    `sorts` maps what may be sorted by to the field it means. `ending` says how a row has ended and when, or None; how
    many ended how is kept when the rows are gone.
    """

    table: str
    noun: str
    fact: type[F]
    identity: str = "id"
    columns: Mapping[str, str] = field(factory=dict)
    uniques: tuple[Unique, ...] = ()
    references: tuple[Reference, ...] = ()
    filters: frozenset[str] = frozenset()
    extra_filters: Mapping[str, Collection[Is]] = field(factory=dict)
    limits: frozenset[str] = frozenset()
    sorts: Mapping[str, str] = field(factory=dict)
    ending: Callable[[F], Ending | None] | None = None

    @property
    def fields(self) -> Mapping[str, "attrs.Attribute[Any]"]:
        """The fact's fields, their types resolved."""
        fact: Any = self.fact
        return attrs.fields_dict(attrs.resolve_types(fact))

    def identify(self, fact: F) -> str:
        return str(getattr(fact, self.identity))

    def place(self, query: Query, last: F, *, more: bool) -> Place | None:
        """Where the rows behind the last one of a page begin, if there are any."""
        value = getattr(last, self.sorts[query.sort])
        value = value.value if isinstance(value, Enum) else value
        return Place(query.sort, query.descending, value, self.identify(last)) if more else None

    def check(self, query: Query) -> None:
        """Raises `Invalid` naming every field of `query` that cannot be filtered or sorted by."""
        problems = [
            FieldProblem(where.field, f"{self.noun}s cannot be filtered by this")
            for where in query.where
            if where.field not in self.filters | self.extra_filters.keys() | self.limits
        ]
        if query.sort not in self.sorts:
            problems.append(FieldProblem("sort", f"{self.noun}s cannot be sorted by {query.sort!r}"))
        problems += [
            FieldProblem(where.field, f"cannot be compared by {where.how.value!r}")
            for where in query.where
            if where.how not in self._comparisons(where.field)
        ]
        if query.after is not None and query.sort in self.sorts and not self._can_stand_at(query):
            problems.append(FieldProblem("cursor", "is not a cursor"))
        problems += [FieldProblem(n, "must not be negative") for n in ("limit", "offset") if getattr(query, n) < 0]
        if problems:
            possible = ", ".join(sorted(self.sorts))
            raise Invalid("; ".join(p.message for p in problems), fields=problems, hint=f"Sort by one of: {possible}.")

    def _can_stand_at(self, query: Query) -> bool:
        """Whether the place that the page begins behind is one of the order's: cursors come from outside."""
        value = query.after[0] if query.after else None
        declared = self.fields[self.sorts[query.sort]].type
        among = set(typing.get_args(declared)) or {declared}
        if value is None:
            return types.NoneType in among
        kind = datetime if datetime in among else int if int in among else (str, Enum)
        return isinstance(value, kind)

    def _comparisons(self, name: str) -> Collection[Is]:
        if name in self.extra_filters:
            return self.extra_filters[name]
        known = [Is.OPEN_TO, Is.WITHIN] if name in self.limits else []
        if name not in self.limits or name in self.filters:
            is_text = name in self.fields and self.fields[name].type is str
            known += [Is.EQUAL, Is.BEFORE, Is.AFTER, Is.ONE_OF, *([Is.CONTAINS] if is_text else [])]
        return known

    def taken(self, unique: Unique, fact: F) -> Duplicate:
        """The error for a fact whose key another row has."""
        values = " and ".join(f"{name} {_shown(getattr(fact, name))}" for name in unique.fields)
        return Duplicate(f"a {self.noun} with {values} exists already", hint=f"Choose another {unique.fields[-1]}.")

    def taken_identity(self, fact: F) -> Duplicate:
        return Duplicate(
            f"a {self.noun} with {self.identity} {self.identify(fact)!r} exists already",
            hint=f"Choose another {self.identity}.",
        )

    def dangling(self, name: str, value: object) -> Invalid:
        """The error for a reference to nothing."""
        return Invalid.field(name, f"refers to {value!r}, which does not exist")

    def in_use(self, identity: str, counts: Mapping[str, int]) -> InUse:
        """The error for removing a row that others refer to; `counts` by noun."""
        users = ", ".join(f"{count} {noun}{'s' if count != 1 else ''}" for noun, count in sorted(counts.items()))
        return InUse(
            f"{self.noun} {identity!r} is still used by {users}",
            counts=dict(counts),
            hint=f"Point them at another {self.noun} first.",
        )


def _shown(value: object) -> str:
    return repr(value.value if isinstance(value, Enum) else value)


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _sorts(*names: str, **meanings: str) -> dict[str, str]:
    return {name: name for name in names} | meanings


def _named(table: str, among: Callable[[Any], bool] = _always) -> Unique:
    return Unique(f"{table}_name_key", ("name",), among)


def _is_living(certificate: ManagedCertificate) -> bool:
    return certificate.status is not CertificateStatus.ARCHIVED


def _is_not_retired(fact: Agent | ConfiguredTarget) -> bool:
    return fact.retired_at is None


def _is_own(version: CertificateVersion) -> bool:
    return not version.is_foreign


def _is_open_issuing(job: Job) -> bool:
    return job.type in ISSUING and job.status in OPEN_JOB


def _is_unresolved(violation: PolicyViolation) -> bool:
    return violation.resolved_at is None


def _is_undecided(request: ApprovalRequest) -> bool:
    return request.state is ApprovalState.PENDING


def _is_open_deployment(job: Job) -> bool:
    return job.type is JobType.DEPLOYMENT and job.status in OPEN_JOB


def _end_of_job(job: Job) -> Ending | None:
    is_over = job.status is JobStatus.COMPLETED or (job.status is JobStatus.FAILED and job.next_attempt_at is None)
    return Ending(job.status.value, job.completed_at or job.updated_at) if is_over else None


def _end_of_notification(notification: Notification) -> Ending | None:
    is_over = notification.status in (NotificationStatus.SENT, NotificationStatus.DEAD)
    return Ending(notification.status.value, notification.sent_at or notification.created_at) if is_over else None


_CREATED: Final = ("created_at", "updated_at", "name")
_OF_CERTIFICATE: Final = {"team_id": (Is.EQUAL, Is.ONE_OF), "environment": (Is.EQUAL, Is.ONE_OF)}

TEAMS: Final = Kind(
    "teams",
    "team",
    Team,
    uniques=(_named("teams"),),
    filters=_names("id name created_at updated_at"),
    limits=_names("id"),
    sorts=_sorts(*_CREATED),
)
OWNERS: Final = Kind(
    "owners",
    "owner",
    Owner,
    references=(Reference("team_id", "teams"),),
    filters=_names("id name email team_id created_at updated_at"),
    limits=_names("team_id"),
    sorts=_sorts(*_CREATED, "email"),
)
PROFILES: Final = Kind(
    "certificate_profiles",
    "profile",
    CertificateProfile,
    uniques=(_named("certificate_profiles"),),
    filters=_names("id name enabled allow_short_lived created_at updated_at"),
    sorts=_sorts(*_CREATED),
)
RENEWAL_POLICIES: Final = Kind(
    "renewal_policies",
    "renewal policy",
    RenewalPolicy,
    columns={"profile_id": "certificate_profile_id"},
    uniques=(_named("renewal_policies"),),
    references=(Reference("profile_id", "certificate_profiles"),),
    filters=_names("id name auto_renew profile_id created_at updated_at"),
    sorts=_sorts(*_CREATED),
)
AGENTS: Final = Kind(
    "agents",
    "agent",
    Agent,
    uniques=(_named("agents", _is_not_retired),),
    references=(Reference("team_ids", "teams", until="retired_at"),),
    filters=_names(
        "id name hostname status os architecture version ip_address last_heartbeat_at registered_at retired_at"
    ),
    limits=_names("team_ids"),
    sorts=_sorts("registered_at", "name", "last_heartbeat_at", "status", created_at="registered_at"),
)
ISSUERS: Final = Kind(
    "issuers",
    "issuer",
    ConfiguredIssuer,
    columns={"sealed_config": "encrypted_config"},
    uniques=(_named("issuers"),),
    references=(Reference("team_ids", "teams"),),
    filters=_names("id name type enabled source created_at updated_at"),
    limits=_names("team_ids"),
    sorts=_sorts(*_CREATED, "type"),
)
TARGETS: Final = Kind(
    "deployment_targets",
    "target",
    ConfiguredTarget,
    columns={"sealed_config": "encrypted_config"},
    uniques=(Unique("deployment_targets_agent_id_name_key", ("agent_id", "name"), _is_not_retired),),
    references=(Reference("agent_id", "agents"), Reference("team_ids", "teams", until="retired_at")),
    filters=_names("id name type agent_id enabled source retired_at created_at updated_at"),
    limits=_names("team_ids"),
    sorts=_sorts(*_CREATED, "type"),
)
CERTIFICATES: Final = Kind(
    "managed_certificates",
    "certificate",
    ManagedCertificate,
    columns={"profile_id": "certificate_profile_id"},
    uniques=(_named("managed_certificates", _is_living),),
    references=(
        Reference("owner_id", "owners"),
        Reference("team_id", "teams"),
        Reference("issuer_id", "issuers"),
        Reference("renewal_policy_id", "renewal_policies"),
        Reference("profile_id", "certificate_profiles"),
        Reference("target_ids", "deployment_targets"),
    ),
    filters=_names(
        "id name common_name status environment source owner_id team_id issuer_id renewal_policy_id "
        "profile_id expires_at renew_at overdue_at created_at updated_at"
    ),
    extra_filters={
        "agent_id": (Is.EQUAL, Is.ONE_OF),
        "target_id": (Is.EQUAL, Is.ONE_OF),
        "names": (Is.CONTAINS,),
    },
    sorts=_sorts(*_CREATED, "id", "expires_at", "overdue_at", "common_name", "status", "environment"),
)
JOBS: Final = Kind(
    "jobs",
    "job",
    Job,
    uniques=(
        Unique("jobs_open_issuing_key", ("certificate_id", "agent_id"), _is_open_issuing),
        Unique("jobs_open_deployment_key", ("certificate_id", "target_id"), _is_open_deployment),
    ),
    references=(
        Reference("certificate_id", "managed_certificates", OnDelete.CASCADE),
        Reference("target_id", "deployment_targets", OnDelete.SET_NULL),
        Reference("agent_id", "agents"),
        Reference("attempt_id", "issuance_attempts"),
        Reference("version_id", "certificate_versions"),
    ),
    filters=_names(
        "id type status certificate_id target_id agent_id requested_by scheduled_at next_attempt_at completed_at"
        " created_at updated_at"
    ),
    extra_filters=_OF_CERTIFICATE,
    sorts=_sorts("created_at"),
    ending=_end_of_job,
)
ATTEMPTS: Final = Kind(
    "issuance_attempts",
    "issuance attempt",
    IssuanceAttempt,
    columns={"csr": "csr_der"},
    uniques=(Unique("issuance_attempts_generation_key", ("certificate_id", "generation")),),
    references=(
        Reference("certificate_id", "managed_certificates"),
        Reference("job_id", "jobs", OnDelete.SET_NULL),
        Reference("agent_id", "agents"),
        Reference("issuer_id", "issuers"),
    ),
)
VERSIONS: Final = Kind(
    "certificate_versions",
    "certificate version",
    CertificateVersion,
    columns={"certificate": "certificate_der", "csr": "csr_der"},
    uniques=(
        Unique("certificate_versions_generation_key", ("certificate_id", "generation")),
        Unique("certificate_versions_serial_key", ("issuer_id", "serial_number"), _is_own),
        Unique("certificate_versions_fingerprint_key", ("fingerprint_sha256",)),
    ),
    references=(
        Reference("certificate_id", "managed_certificates"),
        Reference("attempt_id", "issuance_attempts"),
        Reference("job_id", "jobs", OnDelete.SET_NULL),
        Reference("agent_id", "agents"),
        Reference("issuer_id", "issuers"),
    ),
)
REVOCATIONS: Final = Kind(
    "certificate_revocations",
    "revocation",
    Revocation,
    uniques=(Unique("certificate_revocations_serial_key", ("issuer_id", "serial_number")),),
    references=(Reference("certificate_id", "managed_certificates"), Reference("issuer_id", "issuers")),
)
NOTIFICATIONS: Final = Kind(
    "notification_events",
    "notification",
    Notification,
    references=(Reference("certificate_id", "managed_certificates", OnDelete.CASCADE),),
    filters=_names("id type status channel recipient certificate_id next_retry_at created_at"),
    extra_filters=_OF_CERTIFICATE,
    sorts=_sorts("created_at"),
    ending=_end_of_notification,
)
AGENT_GROUPS: Final = Kind(
    "agent_groups",
    "agent group",
    AgentGroup,
    uniques=(_named("agent_groups"),),
    filters=_names("id name enabled created_at updated_at"),
    sorts=_sorts(*_CREATED),
)
POLICY_RULES: Final = Kind(
    "policy_rules",
    "policy rule",
    PolicyRule,
    uniques=(_named("policy_rules"),),
    references=(Reference("team_ids", "teams"), Reference("agent_group_ids", "agent_groups")),
    filters=_names("id name type severity enabled created_at updated_at"),
    limits=_names("team_ids environments"),
    sorts=_sorts(*_CREATED, "type", "severity"),
)
VIOLATIONS: Final = Kind(
    "policy_violations",
    "policy violation",
    PolicyViolation,
    uniques=(Unique("policy_violations_open_key", ("certificate_id", "rule_id"), _is_unresolved),),
    references=(Reference("certificate_id", "managed_certificates", OnDelete.CASCADE),),
    filters=_names("id certificate_id rule_id severity opened_at resolved_at"),
    extra_filters=_OF_CERTIFICATE,
    sorts=_sorts("opened_at", created_at="opened_at"),
)
APPROVALS: Final = Kind(
    "issuance_approval_requests",
    "approval request",
    ApprovalRequest,
    uniques=(Unique("issuance_approval_requests_open_key", ("job_id",), _is_undecided),),
    references=(
        Reference("certificate_id", "managed_certificates", OnDelete.CASCADE),
        Reference("job_id", "jobs", OnDelete.CASCADE),
    ),
    filters=_names("id certificate_id job_id profile_id requested_by state decided_by created_at"),
    extra_filters=_OF_CERTIFICATE,
    sorts=_sorts("created_at"),
)
ENROLMENTS: Final = Kind(
    "enrolments",
    "enrolment",
    Enrolment,
    columns={"csr": "csr_der"},
    uniques=(Unique("enrolments_transaction_key", ("protocol", "label", "transaction")),),
    references=(
        Reference("certificate_id", "managed_certificates", OnDelete.CASCADE),
        Reference("job_id", "jobs", OnDelete.CASCADE),
    ),
    filters=_names("id protocol label certificate_id job_id created_at"),
    sorts=_sorts("created_at"),
)
ENROLMENT_SECRETS: Final = Kind(
    "enrolment_secrets",
    "enrolment secret",
    EnrolmentSecret,
    uniques=(Unique("enrolment_secrets_hash_key", ("secret_hash",)),),
    filters=_names("id protocol label single_use common_name created_by created_at expires_at"),
    sorts=_sorts("created_at", "expires_at"),
)
API_KEYS: Final = Kind(
    "api_keys",
    "API key",
    ApiKey,
    uniques=(Unique("api_keys_key_hash_key", ("key_hash",)),),
    references=(
        Reference("agent_id", "agents", OnDelete.CASCADE),
        Reference("team_ids", "teams", until="revoked_at"),
    ),
    filters=_names("id name role agent_id created_by created_at expires_at revoked_at"),
    limits=_names("team_ids environments"),
    sorts=_sorts("created_at", "name"),
)
JOIN_TOKENS: Final = Kind(
    "join_tokens",
    "join token",
    JoinToken,
    uniques=(Unique("join_tokens_token_hash_key", ("token_hash",)),),
    references=(Reference("used_by", "agents", OnDelete.CASCADE),),
    filters=_names("id agent_name created_by created_at expires_at used_at used_by"),
    sorts=_sorts("created_at", "expires_at"),
)
SESSIONS: Final = Kind(
    "sessions",
    "session",
    Session,
    identity="id_hash",
    references=(Reference("api_key_id", "api_keys", OnDelete.CASCADE),),
)
AUTHORITIES: Final = Kind(
    "certificate_authorities",
    "certificate authority",
    CertificateAuthority,
    columns={"chain": "chain_der", "csr": "csr_der", "links": "links_der"},
    uniques=(Unique("certificate_authorities_name_key", ("issuer_id", "name")),),
    references=(
        Reference("issuer_id", "issuers", OnDelete.CASCADE),
        Reference("parent_id", "certificate_authorities", OnDelete.SET_NULL),
    ),
    filters=_names("id issuer_id parent_id name state created_at"),
    sorts=_sorts("created_at", "name"),
)
DELEGATES: Final = Kind(
    "delegates",
    "delegate",
    Delegate,
    columns={"chain": "chain_der"},
    uniques=(
        Unique("delegates_generation_key", ("issuer_id", "authority", "purpose", "label", "generation")),
        Unique("delegates_serial_key", ("issuer_id", "serial_number")),
    ),
    references=(Reference("issuer_id", "issuers", OnDelete.CASCADE),),
)
CRLS: Final = Kind(
    "crls", "CRL", StoredCrl, identity="key", references=(Reference("issuer_id", "issuers", OnDelete.CASCADE),)
)
CRL_DUTIES: Final = Kind(
    "crl_scopes", "CRL", CrlDuty, identity="key", references=(Reference("issuer_id", "issuers", OnDelete.CASCADE),)
)
BULK_OPERATIONS: Final = Kind(
    "bulk_operations",
    "bulk operation",
    BulkOperation,
    filters=_names("id action status requested_by created_at completed_at"),
    limits=_names("team_ids environments"),
    sorts=_sorts("created_at"),
)
SCANS: Final = Kind(
    "discovery_scans",
    "discovery scan",
    DiscoveryScan,
    references=(Reference("agent_id", "agents"),),
    filters=_names("id agent_id started_at"),
    sorts=_sorts("started_at", created_at="started_at"),
)
DISCOVERED: Final = Kind(
    "discovered_certificates",
    "discovered certificate",
    DiscoveredCertificate,
    uniques=(Unique("discovered_certificates_place_key", ("fingerprint_sha256", "agent_id", "source_path")),),
    references=(
        Reference("agent_id", "agents"),
        Reference("discovery_scan_id", "discovery_scans", OnDelete.SET_NULL),
        Reference("managed_certificate_id", "managed_certificates", OnDelete.SET_NULL),
    ),
    filters=_names(
        "id fingerprint_sha256 common_name status agent_id managed_certificate_id not_after last_seen_at created_at"
    ),
    sorts=_sorts("created_at"),
)
SCAN_TARGETS: Final = Kind(
    "network_scan_targets",
    "network scan target",
    NetworkScanTarget,
    filters=_names("id name enabled created_at"),
    sorts=_sorts("created_at", "name"),
)
ENDPOINTS: Final = Kind(
    "endpoint_health_checks",
    "health check",
    EndpointHealth,
    references=(
        Reference("certificate_id", "managed_certificates", OnDelete.SET_NULL),
        Reference("network_scan_target_id", "network_scan_targets", OnDelete.SET_NULL),
    ),
    filters=_names("id endpoint status certificate_id network_scan_target_id enabled created_at"),
    extra_filters=_OF_CERTIFICATE,
    sorts=_sorts("created_at"),
)
PROBES: Final = Kind(
    "endpoint_health_history",
    "probe",
    ProbeRecord,
    references=(Reference("health_check_id", "endpoint_health_checks", OnDelete.CASCADE),),
)
AUDIT_EVENTS: Final = Kind(
    "audit_events",
    "audit event",
    AuditEvent,
    filters=_names("id actor actor_type action resource_type resource_id request_id timestamp"),
    sorts=_sorts("timestamp", created_at="timestamp"),
)
API_CALLS: Final = evolve(AUDIT_EVENTS, table="api_calls", noun="API call")
"""API calls are read as audit events."""

AUDIT_ENTRIES: Final = Kind(
    AUDIT_EVENTS.table, AUDIT_EVENTS.noun, Entry, filters=AUDIT_EVENTS.filters, sorts=AUDIT_EVENTS.sorts
)
"""Audit events as they are stored and sealed."""

CHECKPOINTS: Final = Kind(
    "audit_checkpoints",
    "checkpoint",
    Checkpoint,
    identity="tree_size",
    filters=_names("tree_size created_at"),
    sorts=_sorts("tree_size", "created_at"),
)
SIGNERS: Final = Kind("audit_signers", "signer", StoredSigner)

LOOPS: Final = Kind("scheduler_loops", "loop", LoopState, identity="name", columns={"interval": "run_interval"})

KINDS: Final[tuple[Kind[Any], ...]] = (
    TEAMS,
    OWNERS,
    PROFILES,
    RENEWAL_POLICIES,
    AGENTS,
    ISSUERS,
    TARGETS,
    CERTIFICATES,
    JOBS,
    ATTEMPTS,
    VERSIONS,
    REVOCATIONS,
    NOTIFICATIONS,
    AGENT_GROUPS,
    POLICY_RULES,
    VIOLATIONS,
    APPROVALS,
    ENROLMENTS,
    ENROLMENT_SECRETS,
    API_KEYS,
    JOIN_TOKENS,
    SESSIONS,
    AUTHORITIES,
    DELEGATES,
    CRLS,
    CRL_DUTIES,
    BULK_OPERATIONS,
    SCANS,
    DISCOVERED,
    SCAN_TARGETS,
    ENDPOINTS,
    PROBES,
)
"""Kinds that are referred to or refer to others."""


def referrers(table: str) -> Iterable[tuple[Kind[Any], Reference]]:
    """Who refers to rows of `table`, and how."""
    return ((kind, reference) for kind in KINDS for reference in kind.references if reference.to == table)


_SEEDED_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)


def seeded_policies() -> tuple[RenewalPolicy, ...]:
    """The renewal policy every installation starts with, as `sql/` seeds it."""
    return (
        RenewalPolicy(id=RenewalPolicyId("rp-default"), name="Default", created_at=_SEEDED_AT, updated_at=_SEEDED_AT),
    )


def seeded_agents() -> tuple[Agent, ...]:
    """The parts of the control plane that act as agents, as `sql/` seeds them. They send no heartbeats."""
    return tuple(
        Agent(id=AgentId(name), name=name, hostname="control-plane", registered_at=_SEEDED_AT)
        for name in SENTINEL_AGENTS
    )
