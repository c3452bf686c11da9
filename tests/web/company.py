"""A small company's certificates, jobs and agents, for tests of the pages that show them."""

import hashlib
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_adapters.memory.store import MemoryStore
from certctl_core.ids import (
    AgentId,
    AuditEventId,
    AuthorityId,
    CertificateId,
    IssuerId,
    JobId,
    OwnerId,
    RenewalPolicyId,
    RevocationId,
    TargetId,
    TeamId,
    VersionId,
)
from certctl_core.models.access import SYSTEM, Actor, Role
from certctl_core.models.agents import Agent, AgentStatus
from certctl_core.models.authorities import AuthorityState, CertificateAuthority
from certctl_core.models.catalog import ConfiguredIssuer, ConfiguredTarget, Owner, Team
from certctl_core.models.certificates import (
    CertificateStatus,
    CertificateVersion,
    Deployment,
    ManagedCertificate,
    Revocation,
    RevocationReason,
)
from certctl_core.models.jobs import Job, JobStatus, JobType, VerificationStatus
from certctl_core.models.records import AuditEvent
from certctl_core.pki import ca, constraints, names
from certctl_core.pki.keys import KeyKind
from certctl_core.ports import Ports
from certctl_core.ports.store import Work
from certctl_core.usecases import access
from tests.authority import Authority
from tests.web.api import START

S: Final = CertificateStatus

NGINX_SAYS: Final = (
    'nginx: [emerg] unknown directive "sssl_protocols" in /etc/nginx/sites-enabled/shop.conf:14\n'
    "nginx: configuration file /etc/nginx/nginx.conf test failed"
)


def key_of(ports: Ports, role: Role, name: str = "") -> str:
    """A new API key with this role."""
    return access.create_key(ports, SYSTEM, name or f"{role.value}-key", role).plain


def leaf() -> x509.Certificate:
    """Some certificate; what pages show of a version stands beside it."""
    return Authority().leaf("shop.example.org").certificate


@frozen
class Company:
    """Writes facts into a store, as of `now`."""

    work: Work
    now: datetime
    certificate: x509.Certificate

    def catalog(self) -> None:
        at: dict[str, Any] = {
            "created_at": self.now - timedelta(days=400),
            "updated_at": self.now - timedelta(days=400),
        }
        self.work.teams.add(Team(id=TeamId("team-web"), name="Web platform", **at))
        owner = Owner(
            id=OwnerId("own-mira"), name="Mira Holt", email="mira@example.org", team_id=TeamId("team-web"), **at
        )
        self.work.owners.add(owner)
        self.work.issuers.add(ConfiguredIssuer(id=IssuerId("iss-local"), name="Local CA", type="GenericCA", **at))
        for name, silence in (("edge-1", 4), ("edge-2", 9), ("mail-1", 7), ("lab", 3 * 3600)):
            self.agent(name, timedelta(seconds=silence))
            self.work.targets.add(
                ConfiguredTarget(
                    id=TargetId(f"tgt-{name}"),
                    name=f"nginx on {name}",
                    type="NGINX",
                    agent_id=AgentId(f"agent-{name}"),
                    **at,
                )
            )

    def agent(self, name: str, silence: timedelta) -> None:
        quiet = silence > timedelta(minutes=5)
        self.work.agents.add(
            Agent(
                id=AgentId(f"agent-{name}"),
                name=name,
                hostname=f"{name}.example.org",
                status=AgentStatus.OFFLINE if quiet else AgentStatus.ONLINE,
                os="linux",
                architecture="x86_64",
                ip_address="192.0.2.17",
                version="0.1.0",
                clock_offset=timedelta(seconds=-41) if name == "mail-1" else timedelta(milliseconds=12),
                last_heartbeat_at=self.now - silence,
                registered_at=self.now - timedelta(days=200),
            )
        )

    def managed(
        self, name: str, status: CertificateStatus, left: timedelta | None, *targets: str, **more: Any
    ) -> ManagedCertificate:
        """A certificate that ends after `left`; None: never issued."""
        fact = ManagedCertificate(
            id=CertificateId(f"cert-{name.replace('.', '-')}"),
            name=name,
            common_name=more.pop("common_name", name if "." in name else f"{name}.example.org"),
            owner_id=OwnerId("own-mira"),
            team_id=TeamId("team-web"),
            issuer_id=IssuerId("iss-local"),
            renewal_policy_id=RenewalPolicyId("rp-default"),
            target_ids=tuple(TargetId(f"tgt-{target}") for target in targets),
            environment=more.pop("environment", "production"),
            status=status,
            expires_at=self.now + left if left is not None else None,
            renew_at=self.now + left - timedelta(days=30) if left is not None and status is S.ACTIVE else None,
            last_renewal_at=self.now + left - timedelta(days=90) if left is not None else None,
            last_deployment_at=self.now + left - timedelta(days=90) if left is not None else None,
            created_at=more.pop("created_at", self.now - timedelta(days=180)),
            updated_at=self.now,
            **more,
        )
        self.work.certificates.add(fact)
        return fact

    def version(self, certificate: ManagedCertificate, generation: int, ends_at: datetime, agent: str) -> str:
        """A version of 90 days; its fingerprint."""
        fingerprint = hashlib.sha256(f"{certificate.id} {generation} {agent}".encode()).hexdigest()
        self.work.versions.add(
            CertificateVersion(
                id=VersionId(f"ver-{certificate.id}-{generation}"),
                certificate_id=certificate.id,
                generation=generation,
                agent_id=AgentId(f"agent-{agent}"),
                issuer_id=certificate.issuer_id,
                serial_number=hashlib.sha256(fingerprint.encode()).hexdigest()[:32],
                not_before=ends_at - timedelta(days=90, minutes=5),
                not_after=ends_at,
                fingerprint_sha256=fingerprint,
                certificate=self.certificate,
                key_algorithm="ECDSA",
                key_size=256,
                created_at=ends_at - timedelta(days=90),
            )
        )
        return fingerprint

    def job(self, number: int, certificate: ManagedCertificate, status: JobStatus, **more: Any) -> Job:
        at = self.now - more.pop("ago", timedelta(minutes=number))
        kind = more.pop("type", JobType.DEPLOYMENT)
        target = certificate.target_ids[0] if certificate.target_ids else None
        job = Job(
            id=JobId(f"job-{number:04}"),
            type=kind,
            certificate_id=certificate.id,
            target_id=target if kind is JobType.DEPLOYMENT else None,
            agent_id=AgentId(target.replace("tgt", "agent")) if target else None,
            status=status,
            attempts=more.pop("attempts", 1),
            requested_by=more.pop("requested_by", "system"),
            scheduled_at=at,
            created_at=at,
            updated_at=at,
            **more,
        )
        self.work.jobs.add(job)
        return job

    def event(self, number: int, action: str, certificate: ManagedCertificate, ago: timedelta, **details: Any) -> None:
        actor: Actor = SYSTEM
        self.work.audit.add(
            AuditEvent(
                id=AuditEventId(f"audit-{number:04}"),
                actor=details.pop("actor", actor.name),
                actor_type=actor.actor_type,
                action=action,
                resource_type="certificate",
                resource_id=certificate.id,
                details=details,
                timestamp=self.now - ago,
            )
        )


def fill(store: MemoryStore, now: datetime = START) -> None:
    """A company with something of everything: healthy, ending, failed, revoked, never issued."""
    with store.work() as work:
        company = Company(work, now, leaf())
        company.catalog()
        _cas(company)
        shop = _shop(company)
        _others(company)
        _trouble(company, shop)
        _loops(work, now)


def _cas(company: Company) -> None:
    """An old root that is retiring, a new one with a CA below it, and a CA that waits for its certificate."""
    now, day = company.now, timedelta(days=1)
    old = ca.create_root("Example Root 2021", KeyKind.ED25519, now - 900 * day, 1200 * day)
    new = ca.create_root("Example Root 2031", KeyKind.ED25519, now - 30 * day, 3650 * day, path_length=1)
    limits = constraints.extension(("example.org", "IP:10.0.0.0/8"), ("secret.example.org",))
    below = ca.create_intermediate(new, "Example Web CA", KeyKind.ED25519, now, 900 * day, name_constraints=limits)
    states = AuthorityState
    for identity, authority, more in (
        ("iss-local", old, {"state": states.RETIRING, "drains_at": now + 60 * day, "note": "second generation"}),
        ("ica-new", new, {"signs_from": None}),
        ("ica-web", below, {"parent_id": AuthorityId("ica-new"), "signs_from": now - day}),
        ("ica-far", None, {"state": states.PENDING, "csr": b"asked"}),
    ):
        chain = authority.chain if authority else ()
        company.work.authorities.add(
            CertificateAuthority(
                id=AuthorityId(identity),
                issuer_id=IssuerId("iss-local"),
                name=names.common_name_of(chain[0].subject) if chain else "Partner CA",
                subject=chain[0].subject.rfc4514_string() if chain else "CN=Partner CA,O=Example",
                chain=tuple(one.public_bytes(Encoding.DER) for one in chain),
                sealed_key=b"sealed",
                created_at=now,
                updated_at=now,
                **more,  # type: ignore[arg-type]
            )
        )


def _shop(company: Company) -> ManagedCertificate:
    """The one with a history: three versions, two targets, one of them behind."""
    now = company.now
    shop = company.managed(
        "shop",
        S.ACTIVE,
        timedelta(days=71, hours=4),
        "edge-1",
        "lab",
        common_name="shop.example.org",
        sans=("shop.example.org", "www.shop.example.org", "192.0.2.44"),
        tags={"tier": "1", "service": "shop"},
    )
    ends = shop.expires_at or now
    old = [company.version(shop, n, ends - timedelta(days=60 * (3 - n)), "edge-1") for n in (1, 2)]
    newest = company.version(shop, 3, ends, "edge-1")
    other = company.version(shop, 4, ends, "lab")
    at = now - timedelta(days=18, hours=20)
    company.work.deployments.save(
        Deployment(
            certificate_id=shop.id,
            target_id=TargetId("tgt-edge-1"),
            installed_fingerprint=newest,
            installed_at=at,
            served_fingerprint=newest,
            served_at=at + timedelta(seconds=2),
        )
    )
    company.work.deployments.save(
        Deployment(
            certificate_id=shop.id,
            target_id=TargetId("tgt-lab"),
            installed_fingerprint=other,
            installed_at=at,
            served_fingerprint=old[1],
            served_at=at - timedelta(days=61),
            last_error=NGINX_SAYS,
        )
    )
    steps: tuple[tuple[str, timedelta, dict[str, Any]], ...] = (
        ("certificate_created", timedelta(days=180), {"actor": "mira", "common_name": "shop.example.org"}),
        ("renewal_triggered", timedelta(days=19), {"actor": "mira", "reason": "asked for in the dashboard"}),
        ("renewal_job_created", timedelta(days=19), {"job_id": "job-0031", "agent_id": "agent-edge-1"}),
        ("renewal_job_completed", timedelta(days=18, hours=21), {"serial": "3f9a01c2"}),
        ("deployment_jobs_created", timedelta(days=18, hours=21), {"jobs": ["job-0032", "job-0033"]}),
        ("deployment_job_completed", timedelta(days=18, hours=20), {"target_id": "tgt-edge-1"}),
        ("job_verification_success", timedelta(days=18, hours=20), {"target_id": "tgt-edge-1"}),
        ("deployment_job_failed", timedelta(days=18, hours=20), {"target_id": "tgt-lab", "error": NGINX_SAYS}),
    )
    for number, (action, ago, details) in enumerate(steps):
        company.event(number, action, shop, ago - timedelta(seconds=number), **details)
    return shop


def _others(company: Company) -> None:
    names = "api login static mail git wiki status metrics vpn registry search ldap"
    for number, name in enumerate(f"{name}.example.org" for name in names.split()):
        left = timedelta(days=(number * 37 + 11) % 88, hours=number)
        edge = ("edge-1", "edge-2", "mail-1")[number % 3]
        fact = company.managed(name, S.ACTIVE if left.days > 12 else S.EXPIRING, left, edge)
        company.version(fact, 1, company.now + left, edge)
    for number in range(40):
        left = timedelta(days=(number * number * 7 + 33) % 90, hours=3)
        company.managed(f"device-{number:03}.iot.example.org", S.ACTIVE, left, "edge-2", environment="devices")
    company.managed("new-portal", S.PENDING, None, "edge-2", created_at=company.now - timedelta(minutes=2))
    withdrawn = company.now - timedelta(days=3)
    gone = company.managed(
        "old-shop",
        S.REVOKED,
        timedelta(days=20),
        "edge-1",
        revoked_at=withdrawn,
        revocation_reason=RevocationReason.KEY_COMPROMISE,
    )
    company.version(gone, 1, company.now + timedelta(days=20), "edge-1")
    serial = company.work.versions.page(gone.id, 1, 0).items[0].serial_number
    company.work.revocations.add(
        Revocation(
            id=RevocationId("rev-1"),
            certificate_id=gone.id,
            issuer_id=gone.issuer_id,
            serial_number=serial,
            reason=RevocationReason.KEY_COMPROMISE,
            revoked_by="mira",
            revoked_at=withdrawn,
            not_after=company.now + timedelta(days=20),
        )
    )


def _trouble(company: Company, shop: ManagedCertificate) -> None:
    renewing = company.managed("cdn.example.org", S.RENEWAL_IN_PROGRESS, timedelta(days=26), "edge-1")
    company.version(renewing, 1, company.now + timedelta(days=26), "edge-1")
    failed = company.managed(
        "billing.example.org",
        S.FAILED,
        timedelta(days=4, hours=2),
        "lab",
        status_reason="agent agent-lab sent no CSR",
        overdue_at=company.now - timedelta(days=18),
        overdue_reported_at=company.now - timedelta(days=18),
    )
    company.version(failed, 1, company.now + timedelta(days=4, hours=2), "lab")
    company.managed("intranet.example.org", S.EXPIRED, timedelta(days=-2), "lab")
    done, kind = JobStatus.COMPLETED, JobType
    company.job(1, renewing, JobStatus.AWAITING_CSR, type=kind.RENEWAL, ago=timedelta(seconds=8), requested_by="mira")
    company.job(
        2,
        shop,
        JobStatus.FAILED,
        attempts=3,
        max_attempts=5,
        last_error=NGINX_SAYS,
        next_attempt_at=company.now + timedelta(minutes=3),
        ago=timedelta(minutes=3, seconds=30),
    )
    company.job(3, failed, JobStatus.FAILED, type=kind.RENEWAL, attempts=3, last_error="agent agent-lab sent no CSR")
    company.job(
        4,
        shop,
        done,
        verification_status=VerificationStatus.SUCCESS,
        verified_at=company.now - timedelta(minutes=3),
        completed_at=company.now - timedelta(minutes=3),
    )
    company.job(5, shop, done, type=kind.RENEWAL, requested_by="mira")
    with_certificates = company.work.certificates.many(
        [f"cert-{n}-example-org" for n in ("api", "login", "mail", "git")]
    )
    for number, fact in enumerate(with_certificates.values(), start=6):
        company.job(number, fact, done, ago=timedelta(hours=number))
        company.job(number + 30, fact, done, type=kind.RENEWAL, ago=timedelta(hours=number, seconds=9))


def _loops(work: Work, now: datetime) -> None:
    names = "renewal_check job_processor job_retry job_timeout agent_health short_lived housekeeping"
    for number, name in enumerate(names.split()):
        every = timedelta(seconds=30 * (number + 1))
        work.loops.ensure(name, every, now - timedelta(seconds=11))
        work.loops.claim_due(now - timedelta(seconds=10), [name])
        work.loops.started(name, "worker-1", now - timedelta(seconds=10))
        error = "the database did not answer within 5 s" if name == "job_timeout" else ""
        took = timedelta(milliseconds=14 * (number + 1))
        work.loops.finished(name, now - timedelta(seconds=10) + took, took, number, error)
