"""Joining, heartbeats, retirement; keys and sessions."""

from datetime import timedelta

import pytest

from certctl_core.errors import Duplicate, Forbidden, Gone, InUse, Invalid, NotAuthenticated
from certctl_core.models.access import SYSTEM, Role
from certctl_core.models.agents import AgentStatus
from certctl_core.models.certificates import CertificateStatus
from certctl_core.models.jobs import JobStatus
from certctl_core.usecases import access, agents, deployment, jobs, renewal
from certctl_core.usecases.agents import Heartbeat, RegisterAgent
from tests.core.usecases.world import ADMIN, World, as_agent

NEW = RegisterAgent(name="web-9", hostname="web-9.example.com")


def test_a_join_token_admits_one_agent_once(world: World) -> None:
    issued = agents.issue_join_token(world.ports, ADMIN)
    joined = agents.join(world.ports, issued.token, NEW)

    principal = access.authenticate(world.ports, joined.api_key)
    assert (principal.role, principal.agent_id) == (Role.AGENT, joined.agent.id)
    with pytest.raises(NotAuthenticated, match="used"):
        agents.join(world.ports, issued.token, RegisterAgent(name="web-10", hostname="x"))


def test_a_join_token_expires_and_an_unknown_one_never_worked(world: World) -> None:
    issued = agents.issue_join_token(world.ports, ADMIN, ttl=timedelta(minutes=1))
    world.clock.advance(timedelta(minutes=1))
    for token in (issued.token, "cjt_guess"):
        with pytest.raises(NotAuthenticated):
            agents.join(world.ports, token, NEW)


def test_a_token_that_failed_to_make_an_agent_is_not_used_up(world: World) -> None:
    world.agent("taken")
    issued = agents.issue_join_token(world.ports, ADMIN)
    with pytest.raises(Duplicate):
        agents.join(world.ports, issued.token, RegisterAgent(name="taken", hostname="h"))
    assert agents.join(world.ports, issued.token, NEW).agent.name == "web-9"


def test_a_token_made_for_a_name_gives_that_name(world: World) -> None:
    issued = agents.issue_join_token(world.ports, ADMIN, agent_name="db-1")
    assert agents.join(world.ports, issued.token, NEW).agent.name == "db-1"


def test_a_heartbeat_brings_an_offline_agent_back_and_measures_its_clock(world: World) -> None:
    agent = world.agent()
    world.clock.advance(timedelta(minutes=10))
    assert agents.mark_offline(world.ports, timedelta(minutes=2)) == 1
    assert agents.get(world.ports, ADMIN, agent.id).status is AgentStatus.OFFLINE

    late = Heartbeat(version="2.0", sent_at=world.clock.now() - timedelta(seconds=90))
    agents.heartbeat(world.ports, as_agent(agent), agent.id, late)

    heard = agents.get(world.ports, ADMIN, agent.id)
    assert (heard.status, heard.version, heard.clock_offset) == (AgentStatus.ONLINE, "2.0", timedelta(seconds=-90))
    assert heard.hostname == agent.hostname
    assert agents.mark_offline(world.ports, timedelta(minutes=2)) == 0


def test_retiring_an_agent_that_is_needed_is_blocked_with_counts(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)

    with pytest.raises(InUse) as blocked:
        agents.retire(world.ports, ADMIN, agent.id)
    assert blocked.value.counts == {"active_targets": 1, "active_certificates": 1, "pending_jobs": 1}
    with pytest.raises(Invalid):
        agents.retire(world.ports, ADMIN, agent.id, force=True)

    retired = agents.retire(world.ports, ADMIN, agent.id, force=True, reason="rack removed")
    assert retired.cascade
    assert [job.status for job in world.jobs()] == [JobStatus.CANCELLED]
    assert agents.retire(world.ports, ADMIN, agent.id).already


def test_a_sentinel_agent_cannot_be_retired(world: World) -> None:
    with pytest.raises(Forbidden):
        agents.retire(world.ports, ADMIN, "server-scanner")  # type: ignore[arg-type]


def test_a_retired_agents_key_opens_nothing_and_its_holder_is_told_to_stop(world: World) -> None:
    joined = agents.join(world.ports, agents.issue_join_token(world.ports, ADMIN).token, NEW)
    agents.retire(world.ports, ADMIN, joined.agent.id)
    with pytest.raises(Gone):
        access.authenticate(world.ports, joined.api_key)


def test_a_key_is_kept_hashed_and_dies_when_revoked_or_expired(world: World) -> None:
    made = access.create_key(world.ports, ADMIN, "ci", Role.OPERATOR, expires_at=world.clock.now() + timedelta(days=1))
    assert made.plain not in repr(made.record)
    assert made.record.key_hash == access.digest(made.plain)
    assert access.authenticate(world.ports, made.plain).name == "ci"

    world.clock.advance(timedelta(days=1))
    with pytest.raises(NotAuthenticated):
        access.authenticate(world.ports, made.plain)
    other = access.create_key(world.ports, ADMIN, "other", Role.VIEWER)
    access.revoke_key(world.ports, ADMIN, other.record.id)
    with pytest.raises(NotAuthenticated):
        access.authenticate(world.ports, other.plain)


def test_the_first_key_is_made_once(world: World) -> None:
    first = access.ensure_first_key(world.ports, SYSTEM)
    assert first is not None
    assert access.authenticate(world.ports, first.plain).role is Role.ADMIN
    assert access.ensure_first_key(world.ports, SYSTEM) is None


def test_agent_keys_are_made_by_joining_only_and_do_not_log_in(world: World) -> None:
    with pytest.raises(Invalid):
        access.create_key(world.ports, ADMIN, "x", Role.AGENT)
    joined = agents.join(world.ports, agents.issue_join_token(world.ports, ADMIN).token, NEW)
    with pytest.raises(NotAuthenticated):
        access.log_in(world.ports, joined.api_key)


def test_a_session_ends_with_log_out_with_time_and_with_its_key(world: World) -> None:
    made = access.create_key(world.ports, ADMIN, "me", Role.VIEWER)
    one, two, three = (access.log_in(world.ports, made.plain) for _ in range(3))
    found = access.session(world.ports, one.cookie)
    assert found is not None
    assert found[1].name == "me"

    access.log_out(world.ports, one.cookie)
    assert access.session(world.ports, one.cookie) is None
    access.revoke_key(world.ports, ADMIN, made.record.id)
    assert access.session(world.ports, two.cookie) is None
    world.clock.advance(access.SESSION_LIFE)
    assert access.session(world.ports, three.cookie) is None


def test_a_certificate_whose_last_key_holder_is_retired_is_failed_and_looked_at_again(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    renewal.renew(world.ports, ADMIN, certificate.id)

    agents.retire(world.ports, ADMIN, agent.id, force=True, reason="rack removed")

    failed = world.now_is(certificate)
    assert failed.status is CertificateStatus.FAILED
    assert "rack removed" in failed.status_reason
    assert failed.renew_at is not None


def test_jobs_of_a_retired_agent_that_would_try_again_end_too(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    (job,) = renewal.renew(world.ports, ADMIN, certificate.id)
    deployment.report(world.ports, as_agent(agent), agent.id, job.id, JobStatus.FAILED, "disk full")

    agents.retire(world.ports, ADMIN, agent.id, force=True, reason="rack removed")

    world.clock.advance(timedelta(days=2))
    assert jobs.retry_due(world.ports) == 0
    assert world.now_is(certificate).status is CertificateStatus.FAILED
