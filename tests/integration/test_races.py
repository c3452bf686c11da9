"""Everybody at once on PostgreSQL: agents, operators and sweeps over the same few certificates.

Whatever the order of events, nobody waits in a circle, nobody's write is stale, nothing that was signed is lost, and no
certificate is left in renewal with nobody renewing it.
"""

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest

from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_core.errors import CertctlError, Conflict, Gone, NotFound, Refused, StaleWrite
from certctl_core.ids import CertificateId, OwnerId, ProfileId
from certctl_core.models.access import SYSTEM, Principal, Role
from certctl_core.models.agents import Agent
from certctl_core.models.approvals import ApprovalState
from certctl_core.models.bulk import BulkAction
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate, RevocationReason
from certctl_core.models.jobs import ISSUING, OPEN_JOB, JobStatus
from certctl_core.pki import names, reading
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import (
    agents,
    approvals,
    bulk,
    bulk_batches,
    catalog,
    certificates,
    deployment,
    issuance,
    jobs,
    renewal,
    revocation,
)
from certctl_core.usecases.bulk import Criteria, StartBulk
from tests.core.usecases.world import ADMIN, World, as_agent, make_world

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CERTIFICATES = 4
TURNS = 60
THREADS = 6
STRICT = ProfileId("prof-strict")
DECIDER = Principal("bob", Role.OPERATOR)


@pytest.fixture(params=["called", "at hand"])
def world(database_url: str, request: pytest.FixtureRequest) -> Iterator[World]:
    with open_pool(database_url, size=THREADS + 1) as pool:
        yield make_world(PostgresWork(pool), at_hand=request.param == "at hand")


class Crowd:
    """Two agents with a target each, which every certificate has, and what anybody may do to them at any time. Half of
    the certificates need approval."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.agents = [world.agent("one"), world.agent("two")]
        targets = [world.target(agent) for agent in self.agents]
        self.certificates = [world.certificate(*targets, name=f"site-{number}") for number in range(CERTIFICATES)]
        wanted = catalog.CreateProfile(id=STRICT, name="strict", requires_approval=True)
        catalog.create_profile(world.ports, ADMIN, wanted)
        self.strict = self.certificates[::2]
        for certificate in self.strict:
            strict = certificates.UpdateCertificate(profile_id=STRICT)
            certificates.update(world.ports, ADMIN, certificate.id, strict)
        self.accidents: list[Exception] = []

    def acts(self, chance: random.Random) -> Callable[[], object]:
        """Something to do now. What ends a life for good is rarer than the rest."""
        ports, certificate, agent = self.world.ports, chance.choice(self.certificates), chance.choice(self.agents)
        often: list[Callable[[], object]] = [
            lambda: renewal.renew(ports, ADMIN, certificate.id, force=chance.random() < 0.5),
            lambda: self.submit(certificate, agent, f"{agent.name} {chance.random()}"),
            lambda: self.submit(certificate, agent, f"{agent.name} {certificate.name}"),
            lambda: self.deploy(agent, chance),
            lambda: renewal.sweep(ports),
            lambda: jobs.release_lapsed(ports),
            lambda: jobs.retry_due(ports),
            lambda: jobs.time_out(ports, timedelta(0)),
            lambda: issuance.process_due(ports, limit=2),
            lambda: deployment.deploy(ports, ADMIN, certificate.id),
            lambda: self.any_job(chance, jobs.retry),
            lambda: self.any_job(chance, jobs.cancel),
            lambda: self.change(certificate, certificates.UpdateCertificate(environment="x")),
            lambda: self.all_at_once(BulkAction.RENEW, chance),
            lambda: self.all_at_once(BulkAction.REASSIGN, chance),
            lambda: bulk_batches.carry_on(ports),
            lambda: agents.heartbeat(ports, as_agent(agent), agent.id, agents.Heartbeat()),
        ]
        seldom: list[Callable[[], object]] = [
            lambda: revocation.revoke(ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED),
            lambda: certificates.archive(ports, ADMIN, certificate.id),
            lambda: self.all_at_once(BulkAction.REVOKE, chance),
            lambda: agents.retire(ports, ADMIN, self.agents[1].id, force=True, reason="tested"),
        ]
        weighted = ((often, 0.78), (self.approving(chance), 0.2), (seldom, 0.02))
        (chosen,) = chance.choices([acts for acts, _ in weighted], [weight for _, weight in weighted])
        return chance.choice(chosen)

    def approving(self, chance: random.Random) -> list[Callable[[], object]]:
        """Deciders are quicker than those who change what is asked about."""
        ports, certificate, agent = self.world.ports, chance.choice(self.strict), chance.choice(self.agents)
        names = certificates.UpdateCertificate(sans=(f"{chance.choice('ab')}.example",))
        approve: Callable[[], object] = lambda: self.any_request(chance, approvals.approve)  # noqa: E731
        return [
            approve,
            approve,
            approve,
            lambda: self.any_request(chance, approvals.reject),
            lambda: self.submit(certificate, agent, f"{agent.name} {certificate.name}"),
            lambda: self.change(certificate, names),
            lambda: approvals.expire(ports, timedelta(minutes=20)),
        ]

    def change(self, certificate: ManagedCertificate, asked: certificates.UpdateCertificate) -> None:
        """Whoever asks for a change while another changes the same is told, and nothing has happened."""
        with suppress(StaleWrite):
            certificates.update(self.world.ports, ADMIN, certificate.id, asked)

    def submit(self, certificate: ManagedCertificate, agent: Agent, key_name: str) -> None:
        self.world.submit(self.world.now_is(certificate), agent, key_name)

    def deploy(self, agent: Agent, chance: random.Random) -> None:
        ports, me = self.world.ports, as_agent(agent)
        for item in deployment.work(ports, me, agent.id, hand_out=timedelta(0)):
            if item.target is not None:
                deployment.report(ports, me, agent.id, item.job.id, JobStatus.RUNNING)
                outcome = chance.choice((JobStatus.COMPLETED, JobStatus.FAILED))
                deployment.report(ports, me, agent.id, item.job.id, outcome)

    def all_at_once(self, action: BulkAction, chance: random.Random) -> None:
        some = chance.sample(self.certificates, CERTIFICATES - 1)
        wish = StartBulk(
            action=action,
            criteria=Criteria(certificate_ids=tuple(CertificateId(one.id) for one in some)),
            reason="superseded",
            force=chance.random() < 0.3,
            new_owner_id=OwnerId("owner-1") if action is BulkAction.REASSIGN else None,
        )
        bulk.start(self.world.ports, ADMIN, wish)

    def any_job(self, chance: random.Random, change: Callable[..., object]) -> None:
        if there := self.world.jobs():
            change(self.world.ports, ADMIN, chance.choice(there).id)

    def any_request(self, chance: random.Random, decide: Callable[..., object]) -> None:
        undecided = (Where("state", ApprovalState.PENDING),) if chance.random() < 0.8 else ()
        if there := approvals.page(self.world.ports, SYSTEM, Query(undecided, descending=True, limit=5)).items:
            decide(self.world.ports, DECIDER, chance.choice(there).id)

    def member(self, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - chooses what to do, guards nothing
        for _ in range(TURNS):
            self.world.clock.advance(timedelta(seconds=chance.choice((0, 1, 100))))
            try:
                self.acts(chance)()
            except (StaleWrite, NotFound) as accident:
                self.accidents.append(accident)
            except Conflict as refusal:
                if "somebody else" in refusal.message:
                    self.accidents.append(refusal)
            except (Gone, Refused):
                pass
            except CertctlError as accident:
                self.accidents.append(accident)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_at_once_nothing_is_lost_doubled_or_stuck(world: World, seed: int) -> None:
    crowd = Crowd(world)
    with ThreadPoolExecutor(THREADS) as threads:
        members = [threads.submit(crowd.member, seed * 100 + number) for number in range(THREADS)]
    for member in members:
        member.result()
    assert crowd.accidents == []

    world.clock.advance(timedelta(minutes=5))
    jobs.release_lapsed(world.ports)
    while issuance.process_due(world.ports):
        pass
    for certificate in crowd.certificates:
        nothing_is_stuck(world, certificate)
        only_what_was_approved_was_issued(world, certificate)
    everything_signed_is_on_record(world, crowd.certificates)


def nothing_is_stuck(world: World, certificate: ManagedCertificate) -> None:
    now_is = world.now_is(certificate)
    with world.ports.work() as work:
        open_jobs = [job for job in work.jobs.open_of(certificate.id) if job.type in ISSUING]
    if now_is.status is CertificateStatus.RENEWAL_IN_PROGRESS:
        assert open_jobs, "nobody renews it any more"
    if now_is.status in (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED):
        assert not [job for job in open_jobs if job.status in OPEN_JOB]
    if now_is.status in (CertificateStatus.ACTIVE, CertificateStatus.FAILED):
        assert now_is.renew_at is not None, "nobody will look at it again"


def only_what_was_approved_was_issued(world: World, certificate: ManagedCertificate) -> None:
    """What waits has an undecided request of its own, and nothing else has; what was issued says what was approved."""
    with world.ports.work() as work:
        mine = Query((Where("certificate_id", certificate.id),), limit=500)
        all_jobs, requests = work.jobs.page(mine).items, work.approvals.page(mine).items
        issued = work.versions.page(certificate.id, 500, 0).items
    undecided = {request.id for request in requests if request.state is ApprovalState.PENDING}
    waiting = {job.approval_id for job in all_jobs if job.status is JobStatus.AWAITING_APPROVAL}
    assert undecided == waiting
    if world.now_is(certificate).profile_id != STRICT:
        assert not requests
        return
    approved: dict[str, list[list[str]]] = {request.job_id: [] for request in requests}
    for request in requests:
        if request.decided_by == DECIDER.name and request.state is not ApprovalState.REJECTED:
            approved[request.job_id].append(json.loads(request.content)["names"])
    for version in issued:
        assert version.job_id is not None
        said = sorted(names.canonical_text(name) for name in reading.plan_of(version.certificate).sans)
        assert said in approved[version.job_id]


def everything_signed_is_on_record(world: World, all_certificates: list[ManagedCertificate]) -> None:
    signed = {request.plan.serial_number for request in world.ca.requests}
    with world.ports.work() as work:
        recorded = [v for one in all_certificates for v in work.versions.page(one.id, 500, 0).items]
        revoked = {
            version.serial_number
            for version in recorded
            if work.revocations.find(version.issuer_id, version.serial_number)
        }
        gone = {
            found.id
            for found in work.certificates.page(Query(limit=500)).items
            if found.status is CertificateStatus.REVOKED
        }
    assert {version.serial_number for version in recorded} == signed
    assert revoked >= {version.serial_number for version in recorded if version.certificate_id in gone}
