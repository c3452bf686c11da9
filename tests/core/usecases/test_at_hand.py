"""A CA that is at hand: order, signature and record are one transaction, and nobody can tell from what is on record."""

from typing import Any, Final

import pytest
from attrs import asdict, evolve

from certctl_core.errors import UpstreamRejected, UpstreamUnavailable
from certctl_core.models.agents import Agent
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.jobs import JobStatus
from certctl_core.pki import ca
from certctl_core.ports.issuer import Issued, IssueRequest
from certctl_core.ports.store import Query
from certctl_core.usecases import issuance, renewal
from certctl_core.usecases.issuance import SubmitCsr, Submitted
from tests.core.usecases.test_issuance import Crash, calm, crash_at, versions_of
from tests.core.usecases.world import ADMIN, World, as_agent, make_world

MADE_ANEW: Final = frozenset({"id", "revision", "serial_number", "attempt_id", "job_id", "version_id", "details"})
"""What two that are issued in the same way do not share either."""


@pytest.fixture
def world() -> World:
    return make_world(at_hand=True)


def asked_for(world: World, count: int = 1) -> tuple[Agent, list[ManagedCertificate]]:
    """An agent and certificates that it is asked for CSRs of."""
    agent = world.agent()
    made = [world.certificate(world.target(agent, f"t{n}"), name=f"site-{n}") for n in range(count)]
    for certificate in made:
        renewal.renew(world.ports, ADMIN, certificate.id)
    return agent, made


def submit_all(world: World, agent: Agent, certificates: list[ManagedCertificate]) -> list[Any]:
    asked = [SubmitCsr(agent_id=agent.id, certificate_id=one.id, csr=world.csr(one, one.name)) for one in certificates]
    return list(issuance.submit_csrs(world.ports, as_agent(agent), agent.id, asked))


def shown(fact: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in asdict(fact, recurse=False).items()
        if (name not in MADE_ANEW and not isinstance(value, str | bytes | tuple)) or name in ("status", "action")
    }


def on_record(world: World, certificate: ManagedCertificate) -> dict[str, Any]:
    """Everything there is about a certificate, without what is random."""
    everything = Query(limit=500)
    with world.ports.work() as work:
        versions = work.versions.page(certificate.id, 10).items
        jobs = [job for job in work.jobs.page(everything).items if job.certificate_id == certificate.id]
        attempts = work.attempts.many({version.attempt_id for version in versions if version.attempt_id}).values()
        events = work.audit.page(evolve(everything, sort="timestamp")).items
        owed = work.notifications.page(everything).items
    return {
        "certificate": shown(world.now_is(certificate)),
        "versions": [shown(evolve(version, certificate=None, csr=None)) for version in versions],
        "jobs": sorted((shown(job) for job in jobs), key=lambda job: str(job["type"])),
        "attempts": [shown(evolve(attempt, csr=None)) for attempt in attempts],
        "events": sorted(event.action for event in events),
        "notices": sorted(f"{notice.type} {notice.status}" for notice in owed),
    }


def test_what_is_on_record_is_what_a_ca_that_was_called_leaves(world: World) -> None:
    records = []
    for each in (world, make_world(at_hand=False)):
        agent, (certificate,) = asked_for(each)
        (outcome,) = submit_all(each, agent, [certificate])
        assert isinstance(outcome, Submitted)
        assert outcome.version is not None
        records.append(on_record(each, certificate))

    assert records[0] == records[1]
    assert records[0]["versions"]
    assert records[0]["attempts"]


def test_it_takes_one_transaction(world: World) -> None:
    agent, certificates = asked_for(world, 3)
    opened = world.count_transactions()
    outcomes = submit_all(world, agent, certificates)

    assert all(one.version is not None for one in outcomes)
    assert len(opened) == 1


@pytest.mark.parametrize("point", ["issue:1", "issue:2"])
def test_a_crash_before_the_commit_leaves_jobs_that_wait_as_before(world: World, point: str) -> None:
    agent, certificates = asked_for(world, 2)
    crash_at(world, point)
    with pytest.raises(Crash):
        submit_all(world, agent, certificates)
    calm(world)

    assert len(world.jobs(JobStatus.AWAITING_CSR)) == 2
    assert [world.now_is(one).generation for one in certificates] == [0, 0]
    assert "csr_submitted" not in world.actions()

    outcomes = submit_all(world, agent, certificates)
    assert all(one.version is not None for one in outcomes)
    for certificate in certificates:
        (version,) = versions_of(world, certificate)
        assert version.generation == 1
        assert world.now_is(certificate).status is CertificateStatus.ACTIVE


@pytest.mark.parametrize("trouble", [UpstreamUnavailable("asleep"), UpstreamRejected("no"), ZeroDivisionError()])
def test_trouble_with_one_order_is_written_down_and_the_others_are_issued(world: World, trouble: Exception) -> None:
    agent, (bad, good) = asked_for(world, 2)

    def moody(request: IssueRequest) -> Issued:
        if request.plan.common_name == bad.common_name:
            raise trouble
        return Issued(ca.sign_leaf(world.ca.authority, request.plan), world.ca.authority.chain)

    world.ca.answer = moody
    if isinstance(trouble, ZeroDivisionError):
        with pytest.raises(ZeroDivisionError):
            submit_all(world, agent, [bad, good])
    else:
        submit_all(world, agent, [bad, good])

    assert world.now_is(good).status is CertificateStatus.ACTIVE
    (job,) = [job for job in world.jobs() if job.certificate_id == bad.id]
    assert job.status is (JobStatus.RUNNING if isinstance(trouble, ZeroDivisionError) else JobStatus.FAILED)
    assert job.attempt_id is not None
    assert not versions_of(world, bad)


def test_a_certificate_that_is_on_record_already_fails_its_own_order_only(world: World) -> None:
    agent, (first, second, third) = asked_for(world, 3)

    def forgetful(request: IssueRequest) -> Issued:
        numbered = (
            request.plan
            if request.plan.common_name == third.common_name
            else evolve(request.plan, serial_number="5" * 32)
        )
        return Issued(ca.sign_leaf(world.ca.authority, numbered), world.ca.authority.chain)

    world.ca.answer = forgetful
    outcomes = submit_all(world, agent, [first, second, third])

    assert [type(outcome) for outcome in outcomes] == [Submitted, UpstreamRejected, Submitted]
    assert "on record already" in str(outcomes[1])
    assert [job.certificate_id for job in world.jobs(JobStatus.FAILED)] == [second.id]
