"""A small world for use cases: a clock that moves when told, a store in memory, a CA that can fail or be slow."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta

from attrs import define, evolve, field
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certctl_adapters.memory import MemoryStore
from certctl_core.errors import Invalid
from certctl_core.ids import AgentId, CertificateId, IssuerId, OwnerId, RenewalPolicyId, TargetId, TeamId
from certctl_core.models.access import Principal, Role
from certctl_core.models.agents import Agent
from certctl_core.models.catalog import ConfiguredIssuer, ConfiguredTarget, Owner, RenewalPolicy, Team
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.jobs import Job, JobStatus
from certctl_core.pki import ca, cms, crl, csr, delegate, keys
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import CrlPlan, DelegatePlan
from certctl_core.ports import Ports
from certctl_core.ports.issuer import (
    AuthorityFacts,
    CertifiesDelegates,
    Issued,
    Issuer,
    IssueRequest,
    Issuers,
    Ordered,
    ShowsChain,
    SignsCrls,
    SignsMessages,
)
from certctl_core.ports.store import Query, Work
from certctl_core.ports.target import TargetCatalog
from certctl_core.usecases import certificates, issuance, renewal
from tests.stand_ins import MovableClock, PlainBox

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
ADMIN = Principal("alice", Role.ADMIN)


@define
class TestCa(Issuer, ShowsChain, SignsCrls, CertifiesDelegates, SignsMessages):
    """Signs what it is asked, unless `trouble` says otherwise. Refuses to be called inside a transaction, unless it is
    at hand and asked for a leaf."""

    __test__ = False

    authority: ca.Authority
    store: MemoryStore
    requests: list[IssueRequest] = field(factory=list)
    is_at_hand: bool = False
    trouble: Exception | None = None
    answer: Callable[[IssueRequest], Issued | Ordered] | None = None
    older: list[ca.Authority] = field(factory=list)
    """Other CAs of the issuer that still sign, though no leafs."""
    coming: list[ca.Authority] = field(factory=list)
    """Those that are there to sign leafs some day."""

    def issue(self, request: IssueRequest) -> Issued | Ordered:
        assert self.is_at_hand or not self.store.in_transaction, "a CA was called while a transaction was open"
        self.requests.append(request)
        if self.trouble:
            raise self.trouble
        if self.answer:
            return self.answer(request)
        return Issued(ca.sign_leaf(self.authority, request.plan), self.authority.chain)

    def chain(self) -> Sequence[x509.Certificate]:
        assert not self.store.in_transaction, "a CA was called while a transaction was open"
        return self.authority.chain

    def sign_crl(self, plan: CrlPlan, authority: bytes | None = None) -> bytes:
        assert not self.store.in_transaction, "a CA was called while a transaction was open"
        if self.trouble:
            raise self.trouble
        wanted = authority or self.authority.key_identifier
        (mine,) = (one for one in (self.authority, *self.coming, *self.older) if one.key_identifier == wanted)
        return crl.sign_crl(mine, plan)

    def sign_message(self, content: bytes) -> bytes:
        assert not self.store.in_transaction, "a CA was called while a transaction was open"
        return cms.sign(content, cms.Signer(self.authority.certificate, self.authority.private_key))

    def authorities(self) -> Sequence[AuthorityFacts]:
        assert not self.store.in_transaction, "a CA was called while a transaction was open"
        found = (self.authority, *self.coming, *self.older)
        return [
            AuthorityFacts(one.key_identifier.hex(), one.chain, is_plain=one is found[-1], is_next=one in self.coming)
            for one in found
        ]

    def certify_delegate(self, plan: DelegatePlan, authority: bytes | None = None) -> x509.Certificate:
        assert not self.store.in_transaction, "a CA was called while a transaction was open"
        if self.trouble:
            raise self.trouble
        wanted = authority or self.authority.key_identifier
        (mine,) = (one for one in (self.authority, *self.coming, *self.older) if one.key_identifier == wanted)
        return delegate.certify(mine, plan)


@define
class OneIssuer(Issuers):
    issuer: Issuer

    def connect(self, configured: ConfiguredIssuer) -> Issuer:
        return self.issuer

    def at_hand(self, configured: ConfiguredIssuer) -> Issuer | None:
        return self.issuer if isinstance(self.issuer, TestCa) and self.issuer.is_at_hand else None

    def check(self, issuer_id: IssuerId, type_name: str, config: dict[str, object]) -> tuple[str, dict[str, object]]:
        if type_name.lower() != "genericca":
            raise Invalid.field("type", f"there is no issuer type {type_name}")
        return "GenericCA", {"validity_days": 90, **config}

    def secret_keys(self, type_name: str) -> frozenset[str]:
        return frozenset({"token"})


class AnyTarget(TargetCatalog):
    def check(self, type_name: str, config: dict[str, object]) -> tuple[str, dict[str, object]]:
        return type_name, dict(config)

    def secret_keys(self, type_name: str) -> frozenset[str]:
        return frozenset({"password"})


@define
class World:
    """Everything a use case needs, and shorthands for what must be there first."""

    clock: MovableClock
    store: MemoryStore
    ca: TestCa
    ports: Ports
    keys: dict[str, ec.EllipticCurvePrivateKey] = field(factory=dict)

    def agent(self, name: str = "web-1") -> Agent:
        agent = Agent(
            id=AgentId(f"agent-{name}"),
            name=name,
            hostname=f"{name}.example.com",
            registered_at=self.clock.now(),
            last_heartbeat_at=self.clock.now(),
        )
        with self.ports.work() as work:
            work.agents.add(agent)
        return agent

    def target(self, agent: Agent, name: str = "nginx") -> ConfiguredTarget:
        target = ConfiguredTarget(
            id=TargetId(f"target-{agent.name}-{name}"),
            name=name,
            type="NGINX",
            agent_id=agent.id,
            config={"cert_path": "/srv/site.pem"},
            created_at=self.clock.now(),
            updated_at=self.clock.now(),
        )
        with self.ports.work() as work:
            work.targets.add(target)
        return target

    def certificate(self, *targets: ConfiguredTarget, name: str = "site") -> ManagedCertificate:
        asked = certificates.CreateCertificate(
            id=CertificateId(f"mc-{name}"),
            name=name,
            common_name=f"{name}.example.com",
            sans=(f"www.{name}.example.com",),
            owner_id=OwnerId("owner-1"),
            team_id=TeamId("team-1"),
            issuer_id=IssuerId("iss-local"),
            renewal_policy_id=RenewalPolicyId("rp-test"),
            target_ids=tuple(target.id for target in targets),
        )
        return certificates.create(self.ports, ADMIN, asked)

    def csr(self, certificate: ManagedCertificate, key_name: str = "key") -> x509.CertificateSigningRequest:
        key = self.keys.setdefault(key_name, ec.generate_private_key(ec.SECP256R1()))
        return csr.build(key, certificate.common_name, certificate.sans)

    def issued(self, certificate: ManagedCertificate, agent: Agent, key_name: str = "key") -> issuance.Submitted:
        """Renew now and answer as the agent does."""
        renewal.renew(self.ports, ADMIN, certificate.id)
        return self.submit(certificate, agent, key_name)

    def submit(self, certificate: ManagedCertificate, agent: Agent, key_name: str = "key") -> issuance.Submitted:
        asked = issuance.SubmitCsr(
            agent_id=agent.id, certificate_id=certificate.id, csr=self.csr(certificate, key_name)
        )
        return issuance.submit_csr(self.ports, as_agent(agent), asked)

    def count_transactions(self) -> list[int]:
        """Grows by one with each that is opened from now on."""
        opened: list[int] = []
        inner = self.ports.work

        @contextmanager
        def counted() -> Iterator[Work]:
            opened.append(1)
            with inner() as work:
                yield work

        self.ports = evolve(self.ports, work=counted)
        return opened

    def now_is(self, certificate: ManagedCertificate) -> ManagedCertificate:
        return certificates.get(self.ports, ADMIN, certificate.id)

    def jobs(self, status: JobStatus | None = None) -> list[Job]:
        with self.ports.work() as work:
            page = work.jobs.page(Query(limit=500))
        return [job for job in page.items if status in (None, job.status)]

    def actions(self) -> list[str]:
        with self.ports.work() as work:
            return [event.action for event in work.audit.page(Query(sort="timestamp", limit=500)).items]


def as_agent(agent: Agent) -> Principal:
    return Principal(agent.id, Role.AGENT, agent.id)


def make_world(open_work: Callable[[], AbstractContextManager[Work]] | None = None, *, at_hand: bool = False) -> World:
    """A world over `open_work`, or over a store in memory, whose CA is at hand or has to be called."""
    clock = MovableClock(START)
    store = MemoryStore()
    authority = ca.create_root("Test CA", KeyKind.ECDSA_P256, START - timedelta(days=1), timedelta(days=3650))
    test_ca = TestCa(authority, store, is_at_hand=at_hand)
    ports = Ports(
        work=open_work or store.work,
        clock=clock,
        secrets=PlainBox(),
        issuers=OneIssuer(test_ca),
        targets=AnyTarget(),
    )
    now = clock.now()
    with ports.work() as work:
        work.teams.add(Team(id=TeamId("team-1"), name="platform", created_at=now, updated_at=now))
        work.owners.add(
            Owner(id=OwnerId("owner-1"), name="Olga", email="olga@example.com", created_at=now, updated_at=now)
        )
        work.renewal_policies.add(
            RenewalPolicy(id=RenewalPolicyId("rp-test"), name="test", created_at=now, updated_at=now)
        )
        work.issuers.add(
            ConfiguredIssuer(
                id=IssuerId("iss-local"), name="Local CA", type="GenericCA", created_at=now, updated_at=now
            )
        )
    return World(clock, store, test_ca, ports)


__all__ = ["ADMIN", "START", "World", "as_agent", "keys", "make_world"]
