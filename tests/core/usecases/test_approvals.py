"""Approvals: nothing is issued that somebody else has not agreed to, exactly as it was asked for."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from certctl_core.errors import Conflict, Forbidden, IllegalTransition, NotFound, UpstreamUnavailable
from certctl_core.ids import ApiKeyId, ProfileId, TeamId
from certctl_core.models.access import SYSTEM, Principal, Role, Scope
from certctl_core.models.agents import Agent
from certctl_core.models.approvals import ApprovalRequest, ApprovalState
from certctl_core.models.certificates import AttemptStatus, CertificateStatus, ManagedCertificate, RevocationReason
from certctl_core.models.jobs import Job, JobStatus
from certctl_core.policy import approval as policy
from certctl_core.ports.store import Query, Where
from certctl_core.usecases import (
    agents,
    approvals,
    catalog,
    certificates,
    deployment,
    issuance,
    jobs,
    renewal,
    revocation,
)
from tests.core.usecases.world import ADMIN, World

BOB = Principal("bob", Role.OPERATOR)
CAROL = Principal("carol", Role.ADMIN)
WEEK = timedelta(days=7)
STRICT = ProfileId("prof-strict")


@pytest.fixture
def agent(world: World) -> Agent:
    return world.agent()


@pytest.fixture
def certificate(world: World, agent: Agent) -> ManagedCertificate:
    return strict(world, world.certificate(world.target(agent)))


def strict(world: World, certificate: ManagedCertificate) -> ManagedCertificate:
    """The certificate under a profile that requires approval."""
    with world.ports.work() as work:
        known = work.profiles.find(STRICT)
    if known is None:
        asked = catalog.CreateProfile(id=STRICT, name="strict", requires_approval=True)
        catalog.create_profile(world.ports, ADMIN, asked)
    return change(world, certificate, profile_id=STRICT)


def change(world: World, certificate: ManagedCertificate, by: Principal = ADMIN, **fields: Any) -> ManagedCertificate:
    return certificates.update(world.ports, by, certificate.id, certificates.UpdateCertificate(**fields))


def requests(world: World, state: ApprovalState | None = None) -> tuple[ApprovalRequest, ...]:
    where = () if state is None else (Where("state", state),)
    return approvals.page(world.ports, SYSTEM, Query(where)).items


def pending(world: World) -> ApprovalRequest:
    (request,) = requests(world, ApprovalState.PENDING)
    return request


def job_of(world: World, request: ApprovalRequest) -> Job:
    return jobs.get(world.ports, ADMIN, request.job_id)


def asked(world: World, certificate: ManagedCertificate) -> ApprovalRequest:
    """Renewed by alice; the request that she made of it."""
    renewal.renew(world.ports, ADMIN, certificate.id)
    return pending(world)


def events(world: World, request: ApprovalRequest) -> list[tuple[str, str]]:
    with world.ports.work() as work:
        page = work.audit.page(Query((Where("resource_id", request.id),), "timestamp"))
    return [(event.actor, event.action) for event in page.items]


def read(request: ApprovalRequest) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(request.content)
    return content


def offered(world: World, agent: Agent) -> int:
    return len(deployment.work(world.ports, Principal(agent.id, Role.AGENT, agent.id), agent.id))


class TestAsking:
    def test_a_job_waits_and_its_agent_hears_nothing_of_it(
        self, world: World, agent: Agent, certificate: ManagedCertificate
    ) -> None:
        request = asked(world, certificate)
        assert job_of(world, request).status is JobStatus.AWAITING_APPROVAL
        assert job_of(world, request).approval_id == request.id
        assert world.now_is(certificate).status is CertificateStatus.RENEWAL_IN_PROGRESS
        assert offered(world, agent) == 0
        with pytest.raises(Conflict, match="waits for approval"):
            world.submit(certificate, agent)
        assert world.ca.requests == []

    def test_what_is_known_of_the_certificate_is_pinned(self, world: World, certificate: ManagedCertificate) -> None:
        change(world, certificate, sans=("B.Example.com", "10.0.0.1"))
        request = asked(world, certificate)
        content = read(request)
        assert content["names"] == ["10.0.0.1", "b.example.com", "site.example.com"]
        assert content["issuer"]["id"] == "iss-local"
        assert content["life_seconds"] == 90 * 86400
        assert content["ekus"] == ["serverAuth"]
        assert content["key_holder"] == "agent-web-1"
        assert content["key_holders"] == ["agent-web-1"]
        assert content["requester"] == {"name": "alice", "key_id": None}
        assert request.content_sha256 == policy.digest(request.content)
        assert events(world, request) == [("alice", "approval_requested")]

    def test_the_schedule_asks_as_system_and_once(self, world: World, certificate: ManagedCertificate) -> None:
        renewal.sweep(world.ports)
        renewal.sweep(world.ports)
        assert pending(world).requested_by == "system"

    def test_each_key_holder_is_asked_about(self, world: World, certificate: ManagedCertificate, agent: Agent) -> None:
        targets = (*certificate.target_ids, world.target(world.agent("web-2")).id)
        change(world, certificate, target_ids=targets)
        renewal.renew(world.ports, ADMIN, certificate.id)
        assert {read(one)["key_holder"] for one in requests(world)} == {"agent-web-1", "agent-web-2"}

    def test_without_a_profile_that_wants_it_nobody_is_asked(self, world: World, agent: Agent) -> None:
        assert world.issued(world.certificate(world.target(agent)), agent).version is not None
        assert requests(world) == ()

    def test_bypassed_it_is_issued_at_once_and_the_trail_says_by_whom(
        self, world: World, agent: Agent, certificate: ManagedCertificate
    ) -> None:
        bypassing = evolve(world, ports=evolve(world.ports, bypass_approvals=True))
        assert bypassing.issued(certificate, agent).version is not None
        (request,) = requests(world, ApprovalState.APPROVED)
        assert request.decided_by == "system-bypass"
        assert events(world, request) == [("alice", "approval_requested"), ("system-bypass", "approval_bypassed")]
        change(bypassing, certificate, sans=("other.example.com",))
        renewal.renew(bypassing.ports, ADMIN, certificate.id, force=True)
        change(bypassing, certificate, sans=("another.example.com",))
        assert bypassing.submit(bypassing.now_is(certificate), agent, "second").version is not None
        assert len(requests(world, ApprovalState.APPROVED)) == 2
        assert len(requests(world, ApprovalState.EXPIRED)) == 1


class TestDeciding:
    def test_approved_it_is_issued(self, world: World, agent: Agent, certificate: ManagedCertificate) -> None:
        request = asked(world, certificate)
        decided = approvals.approve(world.ports, BOB, request.id, "checked")
        assert (decided.state, decided.decided_by, decided.decision_note) == (ApprovalState.APPROVED, "bob", "checked")
        assert offered(world, agent) == 1
        assert world.submit(certificate, agent).version is not None
        assert events(world, request) == [("alice", "approval_requested"), ("bob", "approval_approved")]
        assert "job_approved" in world.actions()

    def test_rejected_it_is_not(self, world: World, agent: Agent, certificate: ManagedCertificate) -> None:
        request = asked(world, certificate)
        approvals.reject(world.ports, BOB, request.id, "wrong names")
        job = job_of(world, request)
        assert (job.status, job.last_error) == (JobStatus.CANCELLED, "rejected by bob: wrong names")
        assert world.now_is(certificate).status is CertificateStatus.FAILED
        assert "wrong names" in world.now_is(certificate).status_reason
        assert requests(world, ApprovalState.REJECTED)

    @pytest.mark.parametrize("first", [approvals.approve, approvals.reject])
    @pytest.mark.parametrize("second", [approvals.approve, approvals.reject])
    def test_it_is_decided_once(
        self, world: World, certificate: ManagedCertificate, first: Callable[..., Any], second: Callable[..., Any]
    ) -> None:
        request = asked(world, certificate)
        first(world.ports, BOB, request.id)
        with pytest.raises(IllegalTransition):
            second(world.ports, CAROL, request.id)

    def test_a_job_is_decided_about_by_its_request(
        self, world: World, certificate: ManagedCertificate, agent: Agent
    ) -> None:
        request = asked(world, certificate)
        with pytest.raises(Forbidden):
            approvals.approve_job(world.ports, ADMIN, request.job_id)
        approvals.approve_job(world.ports, BOB, request.job_id)
        assert requests(world, ApprovalState.APPROVED)
        with pytest.raises(IllegalTransition):
            approvals.reject_job(world.ports, BOB, request.job_id)
        renewal.renew(world.ports, ADMIN, certificate.id, force=True)
        approvals.reject_job(world.ports, BOB, pending(world).job_id, "no")
        assert requests(world, ApprovalState.REJECTED)

    def test_whoever_asked_cannot_decide(self, world: World, certificate: ManagedCertificate) -> None:
        request = asked(world, certificate)
        for caller in (ADMIN, Principal("ALICE", Role.OPERATOR)):
            with pytest.raises(Forbidden):
                approvals.approve(world.ports, caller, request.id)
            with pytest.raises(Forbidden):
                approvals.reject(world.ports, caller, request.id)

    def test_another_name_on_the_same_key_is_the_same_person(
        self, world: World, certificate: ManagedCertificate
    ) -> None:
        dave = Principal("dave", Role.OPERATOR, key_id=ApiKeyId("key-7"))
        renewal.renew(world.ports, dave, certificate.id)
        with pytest.raises(Forbidden):
            approvals.approve(world.ports, evolve(dave, name="david"), pending(world).id)

    def test_whoever_ordered_it_cannot_have_the_schedule_ask_for_them(
        self, world: World, certificate: ManagedCertificate
    ) -> None:
        change(world, certificate, BOB, sans=("admin.example.com",))
        renewal.sweep(world.ports)
        with pytest.raises(Forbidden, match="what the certificate is to say"):
            approvals.approve(world.ports, BOB, pending(world).id)
        approvals.approve(world.ports, ADMIN, pending(world).id)

    def test_a_change_that_is_not_issued_makes_nobody_the_orderer(
        self, world: World, certificate: ManagedCertificate
    ) -> None:
        change(world, certificate, BOB, tags={"seen": "yes"})
        decided = approvals.approve(world.ports, BOB, asked(world, certificate).id)
        assert decided.ordered_by == "alice"

    @pytest.mark.parametrize("name", ["olga", "Olga@Example.com"])
    def test_the_owner_cannot_approve(self, world: World, certificate: ManagedCertificate, name: str) -> None:
        request = asked(world, certificate)
        with pytest.raises(Forbidden, match="own the certificate"):
            approvals.approve(world.ports, Principal(name, Role.ADMIN), request.id)
        approvals.reject(world.ports, Principal(name, Role.ADMIN), request.id)

    def test_what_is_out_of_reach_is_not_there(self, world: World, certificate: ManagedCertificate) -> None:
        request = asked(world, certificate)
        elsewhere = evolve(BOB, scope=Scope(team_ids=frozenset({TeamId("team-9")})))
        for call in (approvals.get, approvals.approve, approvals.reject):
            with pytest.raises(NotFound, match="approval request"):
                call(world.ports, elsewhere, request.id)
        with pytest.raises(NotFound, match="job"):
            approvals.approve_job(world.ports, elsewhere, request.job_id)
        assert approvals.page(world.ports, elsewhere, Query()).total == 0
        here = evolve(BOB, scope=Scope(team_ids=frozenset({TeamId("team-1")})))
        assert approvals.page(world.ports, here, Query()).total == 1


CHANGES: dict[str, Callable[[World, ManagedCertificate], object]] = {
    "another name": lambda w, c: change(w, c, sans=("evil.example.com",)),
    "another common name": lambda w, c: change(w, c, common_name="evil.example.com"),
    "another host": lambda w, c: change(w, c, target_ids=(*c.target_ids, w.target(w.agent("web-2")).id)),
    "another profile": lambda w, c: change(
        w, c, profile_id=catalog.create_profile(w.ports, ADMIN, catalog.CreateProfile(name="lax")).id
    ),
    "longer life": lambda w, c: catalog.update_issuer(
        w.ports, ADMIN, c.issuer_id, catalog.UpdateIssuer(config={"validity_days": 900})
    ),
    "more usages": lambda w, c: catalog.update_profile(
        w.ports, ADMIN, STRICT, catalog.UpdateProfile(allowed_ekus=("serverAuth", "codeSigning"))
    ),
    "weaker keys": lambda w, c: catalog.update_profile(
        w.ports, ADMIN, STRICT, catalog.UpdateProfile(required_san_patterns=(".*",))
    ),
}


class TestExactlyWhatWasApproved:
    @pytest.mark.parametrize("name", CHANGES)
    def test_a_change_after_the_approval_voids_it(
        self, world: World, agent: Agent, certificate: ManagedCertificate, name: str
    ) -> None:
        first = asked(world, certificate)
        approvals.approve(world.ports, BOB, first.id)
        CHANGES[name](world, certificate)
        with pytest.raises(Conflict, match="waits for approval"):
            world.submit(world.now_is(certificate), agent)
        assert world.ca.requests == []
        old = approvals.get(world.ports, BOB, first.id)
        assert (old.state, old.decided_by) == (ApprovalState.EXPIRED, "bob")
        assert "not what was asked for" in old.closed_reason
        assert (old.content, old.content_sha256) == (first.content, first.content_sha256)
        second = pending(world)
        assert second.content != first.content
        assert second.requested_by == "alice"
        assert job_of(world, second).status is JobStatus.AWAITING_APPROVAL
        approvals.approve(world.ports, BOB, second.id)
        world.submit(world.now_is(certificate), agent)
        assert len(world.ca.requests) == 1

    @pytest.mark.parametrize("name", CHANGES)
    def test_a_change_before_the_approval_is_shown_before_it_is_approved(
        self, world: World, certificate: ManagedCertificate, name: str
    ) -> None:
        first = asked(world, certificate)
        CHANGES[name](world, certificate)
        with pytest.raises(Conflict) as refusal:
            approvals.approve(world.ports, BOB, first.id)
        second = pending(world)
        assert second.id in refusal.value.message
        assert approvals.get(world.ports, BOB, first.id).state is ApprovalState.EXPIRED
        approvals.approve(world.ports, BOB, second.id)

    def test_whoever_made_the_change_cannot_approve_it(
        self, world: World, agent: Agent, certificate: ManagedCertificate
    ) -> None:
        approvals.approve(world.ports, BOB, asked(world, certificate).id)
        change(world, certificate, BOB, sans=("evil.example.com",))
        with pytest.raises(Conflict):
            world.submit(world.now_is(certificate), agent)
        with pytest.raises(Forbidden):
            approvals.approve(world.ports, BOB, pending(world).id)

    def test_what_is_not_issued_may_change(self, world: World, agent: Agent, certificate: ManagedCertificate) -> None:
        approvals.approve(world.ports, BOB, asked(world, certificate).id)
        change(world, certificate, name="renamed", tags={"a": "b"})
        catalog.update_profile(world.ports, ADMIN, STRICT, catalog.UpdateProfile(description="as before"))
        assert world.submit(world.now_is(certificate), agent).version is not None

    def test_a_change_while_the_ca_was_away_voids_it_too(
        self, world: World, agent: Agent, certificate: ManagedCertificate
    ) -> None:
        approvals.approve(world.ports, BOB, asked(world, certificate).id)
        world.ca.trouble = UpstreamUnavailable("gone fishing")
        job = world.submit(certificate, agent).job
        asked_for = len(world.ca.requests)
        world.ca.trouble = None
        change(world, certificate, sans=("evil.example.com",))
        world.clock.advance(timedelta(hours=2))
        jobs.retry_due(world.ports)
        issuance.process_due(world.ports)
        assert len(world.ca.requests) == asked_for
        waiting = job_of(world, pending(world))
        assert (waiting.id, waiting.status, waiting.attempt_id) == (job.id, JobStatus.AWAITING_APPROVAL, None)
        with world.ports.work() as work:
            assert work.attempts.get(job.attempt_id or "").status is AttemptStatus.FAILED
        approvals.approve(world.ports, BOB, pending(world).id)
        assert world.submit(world.now_is(certificate), agent, "another key").version is not None

    def test_an_upstream_failure_needs_no_second_approval(
        self, world: World, agent: Agent, certificate: ManagedCertificate
    ) -> None:
        approvals.approve(world.ports, BOB, asked(world, certificate).id)
        world.ca.trouble = UpstreamUnavailable("gone fishing")
        world.submit(certificate, agent)
        world.ca.trouble = None
        world.clock.advance(timedelta(hours=2))
        jobs.retry_due(world.ports)
        issuance.process_due(world.ports)
        assert world.now_is(certificate).status is CertificateStatus.ACTIVE

    def test_a_profile_that_wants_approval_only_now_is_obeyed(self, world: World, agent: Agent) -> None:
        plain = world.certificate(world.target(agent))
        renewal.renew(world.ports, ADMIN, plain.id)
        strict(world, plain)
        with pytest.raises(Conflict, match="waits for approval"):
            world.submit(plain, agent)
        with pytest.raises(Forbidden):
            approvals.approve(world.ports, ADMIN, pending(world).id)
        approvals.approve(world.ports, BOB, pending(world).id)
        assert world.submit(plain, agent).version is not None

    def test_in_a_batch_only_what_is_not_approved_waits(
        self, world: World, agent: Agent, certificate: ManagedCertificate
    ) -> None:
        free = world.certificate(world.target(agent, "other"), name="free")
        approvals.approve(world.ports, BOB, asked(world, certificate).id)
        renewal.renew(world.ports, ADMIN, free.id)
        changed = change(world, certificate, sans=())
        outcomes = issuance.submit_csrs(
            world.ports,
            Principal(agent.id, Role.AGENT, agent.id),
            agent.id,
            [
                issuance.SubmitCsr(agent_id=agent.id, certificate_id=one.id, csr=world.csr(one, one.name))
                for one in (changed, free)
            ],
        )
        assert isinstance(outcomes[0], Conflict)
        assert isinstance(outcomes[1], issuance.Submitted)
        assert outcomes[1].version is not None


class TestEnding:
    def test_nobody_decides_for_a_week(self, world: World, certificate: ManagedCertificate) -> None:
        request = asked(world, certificate)
        world.clock.advance(WEEK)
        assert approvals.expire(world.ports, WEEK) == 0
        world.clock.advance(timedelta(seconds=1))
        assert approvals.expire(world.ports, WEEK) == 1
        assert approvals.expire(world.ports, WEEK) == 0
        assert approvals.get(world.ports, BOB, request.id).state is ApprovalState.EXPIRED
        job = job_of(world, request)
        assert (job.status, job.next_attempt_at) == (JobStatus.FAILED, None)
        assert "nobody approved it within 7 days" in job.last_error
        assert world.now_is(certificate).status is CertificateStatus.FAILED
        assert events(world, request)[-1] == ("system", "approval_expired")
        with pytest.raises(IllegalTransition):
            approvals.approve(world.ports, BOB, request.id)

    def test_a_request_made_anew_is_waited_for_anew(self, world: World, certificate: ManagedCertificate) -> None:
        first = asked(world, certificate)
        world.clock.advance(timedelta(days=6))
        change(world, certificate, sans=())
        with pytest.raises(Conflict):
            approvals.approve(world.ports, BOB, first.id)
        world.clock.advance(timedelta(days=6))
        assert approvals.expire(world.ports, WEEK) == 0
        approvals.approve(world.ports, BOB, pending(world).id)

    def test_a_retry_asks_again_as_whoever_retries(
        self, world: World, agent: Agent, certificate: ManagedCertificate
    ) -> None:
        request = asked(world, certificate)
        world.clock.advance(WEEK + timedelta(seconds=1))
        approvals.expire(world.ports, WEEK)
        assert jobs.retry(world.ports, BOB, request.job_id).status is JobStatus.AWAITING_APPROVAL
        assert pending(world).requested_by == "bob"
        approvals.approve(world.ports, CAROL, pending(world).id)
        assert world.submit(certificate, agent).version is not None

    @pytest.mark.parametrize(
        "end",
        [
            lambda w, c, r: revocation.revoke(w.ports, BOB, c.id, RevocationReason.SUPERSEDED),
            lambda w, c, r: certificates.archive(w.ports, BOB, c.id),
            lambda w, c, r: jobs.cancel(w.ports, BOB, r.job_id),
            lambda w, c, r: renewal.renew(w.ports, BOB, c.id, force=True),
            lambda w, c, r: agents.retire(w.ports, BOB, "agent-web-1", force=True, reason="broken"),
        ],
        ids=["revoked", "archived", "cancelled", "renewed anew", "agent retired"],
    )
    def test_what_ends_the_job_ends_the_request(
        self, world: World, agent: Agent, certificate: ManagedCertificate, end: Callable[..., object]
    ) -> None:
        approvals.approve(world.ports, BOB, asked(world, certificate).id)
        world.submit(certificate, agent)
        request = asked(world, certificate)
        end(world, certificate, request)
        closed = approvals.get(world.ports, BOB, request.id)
        assert closed.state is ApprovalState.EXPIRED
        assert closed.closed_reason == job_of(world, request).last_error
        with pytest.raises(IllegalTransition):
            approvals.approve(world.ports, BOB, request.id)
