"""Valid facts for the store, with names that tell them apart and whatever a test wants to be different."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certctl_core.ids import (
    AgentGroupId,
    AgentId,
    ApiKeyId,
    ApprovalId,
    AttemptId,
    AuditEventId,
    BulkOperationId,
    CertificateId,
    DiscoveredId,
    EndpointId,
    EnrolmentId,
    EnrolmentSecretId,
    IssuerId,
    JobId,
    JoinTokenId,
    NotificationId,
    OwnerId,
    PolicyRuleId,
    ProfileId,
    RenewalPolicyId,
    RevocationId,
    ScanId,
    ScanTargetId,
    TargetId,
    TeamId,
    VersionId,
    ViolationId,
)
from certctl_core.models.access import ActorType, ApiKey, Role, Session
from certctl_core.models.agents import Agent, AgentGroup, AgentGroupMembership, JoinToken
from certctl_core.models.approvals import ApprovalRequest
from certctl_core.models.authorities import CertificateAuthority
from certctl_core.models.bulk import BulkAction, BulkOperation
from certctl_core.models.catalog import (
    CertificateProfile,
    ConfiguredIssuer,
    ConfiguredTarget,
    Owner,
    RenewalPolicy,
    Team,
)
from certctl_core.models.certificates import (
    CertificateVersion,
    IssuanceAttempt,
    ManagedCertificate,
    Revocation,
    RevocationReason,
)
from certctl_core.models.crls import CrlDuty, CrlGeneration, CrlScope, StoredCrl
from certctl_core.models.delegates import Delegate, Purpose
from certctl_core.models.enrolment import Enrolment, EnrolmentProtocol, EnrolmentSecret
from certctl_core.models.jobs import Job, JobType
from certctl_core.models.observed import DiscoveredCertificate, DiscoveryScan, EndpointHealth, NetworkScanTarget
from certctl_core.models.policies import PolicyRule, PolicyType, PolicyViolation, Severity
from certctl_core.models.records import AuditEvent, Notification, NotificationType
from certctl_core.ports.store import ApiCall, Work

OpenWork = Callable[[], AbstractContextManager[Work]]

AT = datetime(2031, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
"""When everything is, unless a test says otherwise. In microseconds, the finest a store must keep."""

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def seed(work: Work) -> None:
    """What certificates need to exist: two agents with a target each, and one of everything else."""
    work.teams.add(team())
    work.owners.add(owner())
    work.profiles.add(profile())
    work.issuers.add(issuer())
    for name in ("a-1", "a-2"):
        work.agents.add(agent(name))
    work.targets.add(target("t-1", agent_id="a-1"))
    work.targets.add(target("t-2", agent_id="a-2"))


def team(identity: str = "team-1", **fields: Any) -> Team:
    return Team(**_named(TeamId(identity), fields))


def owner(identity: str = "owner-1", **fields: Any) -> Owner:
    return Owner(**{"team_id": "team-1"} | _named(OwnerId(identity), fields))


def profile(identity: str = "prof-1", **fields: Any) -> CertificateProfile:
    return CertificateProfile(**_named(ProfileId(identity), fields))


def policy(identity: str = "rp-1", **fields: Any) -> RenewalPolicy:
    return RenewalPolicy(**_named(RenewalPolicyId(identity), fields))


def issuer(identity: str = "iss-1", **fields: Any) -> ConfiguredIssuer:
    return ConfiguredIssuer(**{"type": "GenericCA"} | _named(IssuerId(identity), fields))


def agent(identity: str = "a-1", **fields: Any) -> Agent:
    return Agent(
        **{"id": AgentId(identity), "name": identity, "hostname": f"{identity}.example", "registered_at": AT} | fields
    )


def target(identity: str = "t-1", **fields: Any) -> ConfiguredTarget:
    return ConfiguredTarget(**{"type": "NGINX", "agent_id": "a-1"} | _named(TargetId(identity), fields))


def certificate(identity: str = "mc-1", **fields: Any) -> ManagedCertificate:
    return ManagedCertificate(
        **{
            "common_name": f"{identity}.example",
            "owner_id": "owner-1",
            "team_id": "team-1",
            "issuer_id": "iss-1",
            "renewal_policy_id": "rp-default",
        }
        | _named(CertificateId(identity), fields)
    )


def discovered(identity: str = "dcert-1", **fields: Any) -> DiscoveredCertificate:
    return DiscoveredCertificate(
        **{
            "id": DiscoveredId(identity),
            "fingerprint_sha256": sha256(identity.encode()).hexdigest(),
            "agent_id": "a-1",
            "source_path": f"/srv/{identity}.pem",
            "first_seen_at": AT,
            "last_seen_at": AT,
            "created_at": AT,
            "updated_at": AT,
        }
        | fields
    )


def scan(identity: str = "dscan-1", **fields: Any) -> DiscoveryScan:
    return DiscoveryScan(**{"id": ScanId(identity), "agent_id": "a-1", "started_at": AT} | fields)


def scan_target(identity: str = "nst-1", **fields: Any) -> NetworkScanTarget:
    return NetworkScanTarget(**{"cidrs": ("192.0.2.0/24",)} | _named(ScanTargetId(identity), fields))


def endpoint(identity: str = "hc-1", **fields: Any) -> EndpointHealth:
    return EndpointHealth(
        **{"id": EndpointId(identity), "endpoint": f"{identity}.example:443", "created_at": AT, "updated_at": AT}
        | fields
    )


def job(identity: str = "job-1", **fields: Any) -> Job:
    return Job(
        **{
            "id": JobId(identity),
            "type": JobType.RENEWAL,
            "certificate_id": "mc-1",
            "agent_id": "a-1",
            "scheduled_at": AT,
            "created_at": AT,
            "updated_at": AT,
        }
        | fields
    )


def deployment_job(identity: str = "job-1", **fields: Any) -> Job:
    return job(identity, **{"type": JobType.DEPLOYMENT, "target_id": "t-1"} | fields)


def attempt(identity: str = "attempt-1", **fields: Any) -> IssuanceAttempt:
    return IssuanceAttempt(
        **{
            "id": AttemptId(identity),
            "certificate_id": "mc-1",
            "generation": 1,
            "job_id": None,
            "agent_id": "a-1",
            "issuer_id": "iss-1",
            "csr": csr(),
            "serial_number": serial(identity),
            "not_before": AT,
            "not_after": AT + 90 * DAY,
            "created_at": AT,
        }
        | fields
    )


def version(identity: str = "certver-1", **fields: Any) -> CertificateVersion:
    return CertificateVersion(
        **{
            "id": VersionId(identity),
            "certificate_id": "mc-1",
            "generation": 1,
            "agent_id": "a-1",
            "issuer_id": "iss-1",
            "serial_number": serial(identity),
            "not_before": AT,
            "not_after": AT + 90 * DAY,
            "fingerprint_sha256": sha256(identity.encode()).hexdigest(),
            "certificate": leaf(),
            "chain": (root(),),
            "key_algorithm": "ECDSA",
            "key_size": 256,
            "created_at": AT,
        }
        | fields
    )


def revocation(identity: str = "rev-1", **fields: Any) -> Revocation:
    return Revocation(
        **{
            "id": RevocationId(identity),
            "certificate_id": "mc-1",
            "issuer_id": "iss-1",
            "serial_number": serial(identity),
            "reason": RevocationReason.SUPERSEDED,
            "revoked_by": "admin",
            "revoked_at": AT,
            "not_after": AT + 90 * DAY,
        }
        | fields
    )


def notification(identity: str = "notif-1", **fields: Any) -> Notification:
    return Notification(
        **{
            "id": NotificationId(identity),
            "type": NotificationType.RENEWAL_FAILURE,
            "recipient": "owner@example.org",
            "message": "it failed",
            "created_at": AT,
        }
        | fields
    )


def enrolment(identity: str = "enrolment-1", **fields: Any) -> Enrolment:
    return Enrolment(
        **{
            "id": EnrolmentId(identity),
            "protocol": EnrolmentProtocol.EST,
            "label": "phones",
            "transaction": f"transaction of {identity}",
            "key_sha256": "ab",
            "csr": csr(),
            "certificate_id": "mc-0",
            "job_id": "job-0",
            "client": "CN=phone-1",
            "created_at": AT,
            "updated_at": AT,
        }
        | fields
    )


def enrolment_secret(identity: str = "es-1", **fields: Any) -> EnrolmentSecret:
    return EnrolmentSecret(
        **{
            "id": EnrolmentSecretId(identity),
            "protocol": EnrolmentProtocol.SCEP,
            "label": "phones",
            "secret_hash": sha256(identity.encode()).hexdigest(),
            "created_by": "alice",
            "created_at": AT,
            "expires_at": AT + DAY,
        }
        | fields
    )


def agent_group(identity: str = "ag-1", **fields: Any) -> AgentGroup:
    return AgentGroup(**_named(AgentGroupId(identity), fields))


def membership(group: str = "ag-1", agent_id: str = "a-1", **fields: Any) -> AgentGroupMembership:
    return AgentGroupMembership(**{"agent_group_id": group, "agent_id": agent_id, "created_at": AT} | fields)


def policy_rule(identity: str = "pr-1", **fields: Any) -> PolicyRule:
    return PolicyRule(**{"type": PolicyType.ALLOWED_ENVIRONMENTS} | _named(PolicyRuleId(identity), fields))


def violation(identity: str = "violation-1", **fields: Any) -> PolicyViolation:
    return PolicyViolation(
        **{
            "id": ViolationId(identity),
            "certificate_id": "mc-0",
            "rule_id": "pr-1",
            "message": "environment is empty",
            "severity": Severity.WARNING,
            "opened_at": AT,
        }
        | fields
    )


def approval(identity: str = "ar-1", **fields: Any) -> ApprovalRequest:
    content = fields.get("content", '{"common_name":"a.example"}')
    return ApprovalRequest(
        **{
            "id": ApprovalId(identity),
            "certificate_id": "mc-0",
            "job_id": "job-0",
            "content": content,
            "content_sha256": sha256(content.encode()).hexdigest(),
            "requested_by": "alice",
            "created_at": AT,
            "updated_at": AT,
        }
        | fields
    )


def bulk_operation(identity: str = "bulk-1", **fields: Any) -> BulkOperation:
    return BulkOperation(
        **{
            "id": BulkOperationId(identity),
            "action": BulkAction.REVOKE,
            "requested_by": "admin",
            "role": Role.ADMIN,
            "created_at": AT,
            "updated_at": AT,
        }
        | fields
    )


def api_key(identity: str = "key-1", **fields: Any) -> ApiKey:
    return ApiKey(
        **{
            "id": ApiKeyId(identity),
            "name": identity,
            "key_hash": sha256(identity.encode()).hexdigest(),
            "role": Role.ADMIN,
            "created_at": AT,
        }
        | fields
    )


def join_token(identity: str = "join-1", **fields: Any) -> JoinToken:
    return JoinToken(
        **{
            "id": JoinTokenId(identity),
            "token_hash": sha256(identity.encode()).hexdigest(),
            "created_by": "admin",
            "created_at": AT,
            "expires_at": AT + HOUR,
        }
        | fields
    )


def session(identity: str = "cookie", **fields: Any) -> Session:
    return Session(
        **{
            "id_hash": sha256(identity.encode()).hexdigest(),
            "api_key_id": "key-1",
            "csrf_token": "csrf",
            "created_at": AT,
            "expires_at": AT + HOUR,
        }
        | fields
    )


def authority(identity: str = "iss-1", **fields: Any) -> CertificateAuthority:
    return CertificateAuthority(
        **{
            "id": identity,
            "issuer_id": None,
            "name": identity,
            "subject": "CN=Root",
            "chain": (b"nearest", b"root"),
            "sealed_key": b"\x02sealed",
            "created_at": AT,
            "updated_at": AT,
        }
        | fields
    )


def delegate(identity: str = "del-1", **fields: Any) -> Delegate:
    return Delegate(
        **{
            "id": identity,
            "issuer_id": "iss-1",
            "authority": "aa",
            "purpose": Purpose.OCSP,
            "serial_number": serial(identity),
            "chain": (b"nearest", b"root"),
            "sealed_key": b"\x02sealed",
            "not_before": AT,
            "not_after": AT + 30 * DAY,
            "created_at": AT,
        }
        | fields
    )


SCOPE = CrlScope(IssuerId("iss-1"), "ab" * 20)


def crl(number: int = 1, **fields: Any) -> StoredCrl:
    return StoredCrl(
        **{
            "scope": SCOPE,
            "number": number,
            "digest": sha256(str(number).encode()).hexdigest(),
            "size": 2,
            "entries": 3,
            "changes": 4,
            "this_update": AT,
            "next_update": AT + DAY,
            "made_at": AT,
            "took": SECOND,
        }
        | fields
    )


def duty(**fields: Any) -> CrlDuty:
    return CrlDuty(**{"scope": SCOPE, "due_at": AT} | fields)


def making(number: int = 1, **fields: Any) -> CrlGeneration:
    return CrlGeneration(
        **{
            "scope": SCOPE,
            "number": number,
            "started_at": AT,
            "took": SECOND,
            "entries": 3,
            "changes": 4,
            "next_update": AT + DAY,
        }
        | fields
    )


def event(identity: str = "audit-1", **fields: Any) -> AuditEvent:
    return AuditEvent(
        **{
            "id": AuditEventId(identity),
            "actor": "admin",
            "actor_type": ActorType.USER,
            "action": "certificate_created",
            "resource_type": "certificate",
            "resource_id": "mc-1",
            "timestamp": AT,
        }
        | fields
    )


def call(**fields: Any) -> ApiCall:
    return ApiCall(
        **{
            "at": AT,
            "actor": "admin",
            "method": "GET",
            "path": "/api/v1/jobs",
            "status": 200,
            "took": timedelta(milliseconds=12),
            "request_id": "req-1",
        }
        | fields
    )


def serial(text: str) -> str:
    """A serial number in its canonical form, the same for the same text."""
    return f"{int(sha256(text.encode()).hexdigest()[:30], 16):x}"


@cache
def root() -> x509.Certificate:
    return _certificate("Root", x509.random_serial_number())


@cache
def leaf() -> x509.Certificate:
    return _certificate("leaf.example", x509.random_serial_number())


@cache
def csr() -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder(_name("leaf.example"))
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def _certificate(name: str, number: int) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    return (x509.CertificateBuilder(_name(name), _name(name), key.public_key(), number, AT, AT + 90 * DAY)).sign(
        key, hashes.SHA256()
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _named(identity: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"id": identity, "name": identity, "created_at": AT, "updated_at": AT} | fields
