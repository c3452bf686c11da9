"""Many CSRs of one agent at once: as one by one, in two transactions, and no bad one spoils another."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import (
    CertctlError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Refused,
    UpstreamRejected,
    UpstreamUnavailable,
)
from certctl_core.ids import CertificateId, JobId
from certctl_core.models.agents import Agent
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.pki import ca, csr, keys
from certctl_core.pki.keys import KeyKind
from certctl_core.ports.issuer import Issued, IssueRequest, Ordered
from certctl_core.usecases import agents, issuance, jobs, renewal
from certctl_core.usecases.issuance import SubmitCsr, Submitted
from tests.core.usecases.test_issuance import Crash, called, calm, crash_at, versions_of
from tests.core.usecases.world import ADMIN, World, as_agent, make_world


@pytest.fixture(params=["called", "at hand"])
def world(request: pytest.FixtureRequest) -> World:
    return make_world(at_hand=request.param == "at hand")


def fleet(world: World, agent: Agent, count: int) -> list[ManagedCertificate]:
    """Certificates on targets of their own, all asked for."""
    made = [world.certificate(world.target(agent, f"t{n}"), name=f"site-{n}") for n in range(count)]
    for certificate in made:
        renewal.renew(world.ports, ADMIN, certificate.id)
    return made


def wish(world: World, agent: Agent, certificate: ManagedCertificate, key: str = "") -> SubmitCsr:
    request = world.csr(certificate, key or certificate.name)
    return SubmitCsr(agent_id=agent.id, certificate_id=certificate.id, csr=request)


def submit(world: World, agent: Agent, asked: Sequence[SubmitCsr | CertctlError]) -> Sequence[Submitted | CertctlError]:
    return issuance.submit_csrs(world.ports, as_agent(agent), agent.id, asked)


def kinds(outcomes: Sequence[Submitted | CertctlError]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


def test_every_csr_of_a_batch_becomes_an_active_certificate_with_its_deployment(world: World) -> None:
    agent = world.agent()
    certificates = fleet(world, agent, 5)

    outcomes = submit(world, agent, [wish(world, agent, one) for one in certificates])

    for certificate, outcome in zip(certificates, outcomes, strict=True):
        assert isinstance(outcome, Submitted)
        assert outcome.version is not None
        assert outcome.version.certificate_id == certificate.id
        assert outcome.job.status is JobStatus.COMPLETED
        assert jobs.get(world.ports, ADMIN, outcome.job.id) == outcome.job
        assert world.now_is(certificate).status is CertificateStatus.ACTIVE
    deployments = [job for job in world.jobs(JobStatus.PENDING) if job.type is JobType.DEPLOYMENT]
    assert {job.certificate_id for job in deployments} == {one.id for one in certificates}
    assert world.actions().count("renewal_job_completed") == len(certificates)
    assert world.actions().count("csr_submitted") == len(certificates)


def test_what_is_refused_spoils_nothing_else_and_leaves_no_trace(world: World) -> None:
    agent, stranger = world.agent("one"), world.agent("two")
    good, greedy, idle, last = fleet(world, agent, 4)
    theirs = world.certificate(world.target(stranger), name="theirs")
    (their_job,) = renewal.renew(world.ports, ADMIN, theirs.id)
    submit(world, agent, [wish(world, agent, idle)])
    too_much = csr.build(keys.generate(KeyKind.ECDSA_P256), greedy.common_name, ("*.bank.example",))

    outcomes = submit(
        world,
        agent,
        [
            wish(world, agent, good),
            SubmitCsr(agent_id=agent.id, certificate_id=greedy.id, csr=too_much),
            wish(world, agent, idle, "another key"),
            wish(world, agent, theirs),
            SubmitCsr(agent_id=agent.id, job_id=their_job.id, csr=too_much),
            SubmitCsr(agent_id=agent.id, certificate_id=CertificateId("mc-nowhere"), csr=too_much),
            SubmitCsr(agent_id=agent.id, job_id=JobId("job-nowhere"), csr=too_much),
            SubmitCsr(agent_id=agent.id, csr=too_much),
            wish(world, agent, good),
            Invalid("this was no CSR"),
            wish(world, agent, last),
        ],
    )

    assert kinds(outcomes) == [
        Submitted,
        Refused,
        Conflict,
        Conflict,
        Forbidden,
        NotFound,
        NotFound,
        Invalid,
        Conflict,
        Invalid,
        Submitted,
    ]
    assert world.now_is(good).status is world.now_is(last).status is CertificateStatus.ACTIVE
    assert world.now_is(greedy).generation == 0
    (waiting,) = [job for job in world.jobs(JobStatus.AWAITING_CSR) if job.certificate_id == greedy.id]
    assert waiting.attempts == 0


def test_a_csr_is_found_by_its_job_alone(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    (job,) = renewal.renew(world.ports, ADMIN, certificate.id)

    (outcome,) = submit(world, agent, [SubmitCsr(agent_id=agent.id, job_id=job.id, csr=world.csr(certificate))])

    assert isinstance(outcome, Submitted)
    assert outcome.job.id == job.id


@called
@pytest.mark.parametrize("point", ["issue:1", "issue:2"])
def test_a_crash_in_the_middle_of_a_batch_is_made_good_with_the_same_certificates(world: World, point: str) -> None:
    agent = world.agent()
    certificates = fleet(world, agent, 3)
    crash_at(world, point)
    with pytest.raises(Crash):
        submit(world, agent, [wish(world, agent, one) for one in certificates])
    calm(world)

    again = submit(world, agent, [wish(world, agent, one) for one in certificates])
    assert [isinstance(one, Submitted) and one.version is None for one in again] == [True] * 3

    world.clock.advance(world.ports.lease + timedelta(seconds=1))
    assert jobs.release_lapsed(world.ports) == 3
    assert issuance.process_due(world.ports) == 3
    for certificate in certificates:
        (version,) = versions_of(world, certificate)
        signed = {
            ca.sign_leaf(world.ca.authority, request.plan)
            for request in world.ca.requests
            if request.idempotency_key == version.attempt_id
        }
        assert signed == {version.certificate}
        assert world.now_is(certificate).status is CertificateStatus.ACTIVE


def test_a_crash_after_recording_is_answered_with_what_was_issued(world: World) -> None:
    agent = world.agent()
    certificates = fleet(world, agent, 3)
    crash_at(world, "record:1")
    with pytest.raises(Crash):
        submit(world, agent, [wish(world, agent, one) for one in certificates])
    calm(world)

    again = submit(world, agent, [wish(world, agent, one) for one in certificates])

    assert all(isinstance(one, Submitted) and one.version is not None for one in again)
    assert len(world.ca.requests) == 3


def test_each_answer_of_the_ca_counts_for_its_own_order(world: World) -> None:
    agent = world.agent()
    certificates = fleet(world, agent, 4)

    def moody(request: IssueRequest) -> Issued | Ordered:
        match request.plan.common_name:
            case "site-0.example.com":
                raise UpstreamUnavailable("asleep")
            case "site-1.example.com":
                raise UpstreamRejected("account suspended")
            case "site-2.example.com":
                return Ordered("order-7")
        return Issued(ca.sign_leaf(world.ca.authority, request.plan), world.ca.authority.chain)

    world.ca.answer = moody
    asleep, rejected, ordered, signed = submit(world, agent, [wish(world, agent, one) for one in certificates])

    assert isinstance(asleep, Submitted)
    assert asleep.job.status is JobStatus.FAILED
    assert isinstance(rejected, UpstreamRejected)
    assert isinstance(ordered, Submitted)
    assert ordered.job.status is JobStatus.PENDING
    assert isinstance(signed, Submitted)
    assert signed.version is not None


@called
def test_a_certificate_that_is_on_record_already_fails_its_own_order_only(world: World) -> None:
    agent = world.agent()
    first, copy, last = fleet(world, agent, 3)
    serials: list[str] = []

    def copies(request: IssueRequest) -> Issued:
        serials.append(request.plan.serial_number)
        is_copy = request.plan.common_name == copy.common_name
        plan = evolve(request.plan, serial_number=serials[0]) if is_copy else request.plan
        return Issued(ca.sign_leaf(world.ca.authority, plan), world.ca.authority.chain)

    world.ca.answer = copies
    outcomes = submit(world, agent, [wish(world, agent, one) for one in (first, copy, last)])

    assert kinds(outcomes) == [Submitted, UpstreamRejected, Submitted]
    assert [len(versions_of(world, one)) for one in (first, copy, last)] == [1, 0, 1]


@called
def test_what_a_slow_ca_was_not_asked_in_time_is_left_to_the_workers(world: World) -> None:
    agent = world.agent()
    certificates = fleet(world, agent, 4)

    def slow(request: IssueRequest) -> Issued:
        world.clock.advance(world.ports.lease / 5)
        return Issued(ca.sign_leaf(world.ca.authority, request.plan), world.ca.authority.chain)

    world.ca.answer = slow
    outcomes = submit(world, agent, [wish(world, agent, one) for one in certificates])

    statuses = [outcome.job.status for outcome in outcomes if isinstance(outcome, Submitted)]
    assert statuses == [JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.PENDING, JobStatus.PENDING]
    assert issuance.process_due(world.ports) == 2
    assert {world.now_is(one).status for one in certificates} == {CertificateStatus.ACTIVE}


def test_an_accident_with_one_order_is_raised_when_the_others_are_on_record(world: World) -> None:
    agent = world.agent()
    certificates = fleet(world, agent, 3)

    def clumsy(request: IssueRequest) -> Issued:
        if request.plan.common_name == certificates[1].common_name:
            raise ZeroDivisionError
        return Issued(ca.sign_leaf(world.ca.authority, request.plan), world.ca.authority.chain)

    world.ca.answer = clumsy
    with pytest.raises(ZeroDivisionError):
        submit(world, agent, [wish(world, agent, one) for one in certificates])

    assert [world.now_is(one).status for one in certificates] == [
        CertificateStatus.ACTIVE,
        CertificateStatus.RENEWAL_IN_PROGRESS,
        CertificateStatus.ACTIVE,
    ]


def test_a_batch_counts_the_other_key_holders_of_its_certificates(world: World) -> None:
    first, second = world.agent("one"), world.agent("two")
    shared = world.certificate(world.target(first), world.target(second), name="shared")
    alone = world.certificate(world.target(first, "alone"), name="alone")
    for certificate in (shared, alone):
        renewal.renew(world.ports, ADMIN, certificate.id)

    submit(world, first, [wish(world, first, shared, "key one"), wish(world, first, alone)])
    assert world.now_is(shared).status is CertificateStatus.RENEWAL_IN_PROGRESS
    assert world.now_is(alone).status is CertificateStatus.ACTIVE

    submit(world, second, [wish(world, second, shared, "key two")])
    assert world.now_is(shared).status is CertificateStatus.ACTIVE


def test_nothing_of_a_batch_is_taken_of_a_retired_agent_or_for_another_one(world: World) -> None:
    agent, other = world.agent("one"), world.agent("two")
    certificates = fleet(world, agent, 2)
    asked = [wish(world, agent, one) for one in certificates]
    with pytest.raises(Forbidden):
        issuance.submit_csrs(world.ports, as_agent(other), agent.id, asked)
    agents.retire(world.ports, ADMIN, agent.id, force=True, reason="gone")
    with pytest.raises(Gone):
        submit(world, agent, asked)
    assert world.ca.requests == []
