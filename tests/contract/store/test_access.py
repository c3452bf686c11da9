"""Agents, keys, tokens and sessions."""

import pytest
from attrs import evolve

from certctl_core.errors import Invalid, NotFound
from certctl_core.ids import AgentId
from certctl_core.models.access import Role
from certctl_core.models.agents import AgentCounts, AgentStatus
from certctl_core.models.certificates import CertificateStatus
from certctl_core.models.jobs import JobStatus
from certctl_core.ports.store import Activity, Is, Where
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, MINUTE, SECOND, OpenWork


class TestAgents:
    def test_a_quiet_agent_is_found(self, store: OpenWork) -> None:
        heard = AT - SECOND
        with store() as work:
            work.agents.add(facts.agent("quiet", last_heartbeat_at=heard))
            work.agents.add(facts.agent("longer", last_heartbeat_at=AT - DAY, status=AgentStatus.DEGRADED))
            work.agents.add(facts.agent("heard", last_heartbeat_at=AT))
            work.agents.add(facts.agent("never heard"))
            work.agents.add(facts.agent("known", last_heartbeat_at=heard, status=AgentStatus.OFFLINE))
            work.agents.add(facts.agent("retired", last_heartbeat_at=heard, retired_at=AT))
        with store() as work:
            assert [agent.id for agent in work.agents.due_for_offline(AT, 10)] == ["longer", "quiet"]
            assert [agent.id for agent in work.agents.due_for_offline(AT, 1)] == ["longer"]

    def test_a_heartbeat_leaves_the_revision_alone(self, seeded: OpenWork) -> None:
        with seeded() as work:
            before = work.agents.get("a-1")
            heard = evolve(
                before,
                status=AgentStatus.DEGRADED,
                last_heartbeat_at=AT,
                hostname="other.example",
                os="linux",
                architecture="x86_64",
                ip_address="192.0.2.1",
                version="2",
                clock_offset=SECOND,
            )
            work.agents.heard(heard)
        with seeded() as work:
            assert work.agents.get("a-1") == heard
            work.agents.save(evolve(before, name="renamed"))

    def test_a_heartbeat_changes_nothing_else(self, seeded: OpenWork) -> None:
        with seeded() as work:
            read_before = work.agents.get("a-1")
            work.agents.save(evolve(read_before, name="renamed"))
            work.agents.heard(evolve(read_before, last_heartbeat_at=AT))
        with seeded() as work:
            found = work.agents.get("a-1")
            assert (found.name, found.last_heartbeat_at, found.revision) == ("renamed", AT, 2)

    def test_a_heartbeat_does_not_revive_a_retired_agent(self, seeded: OpenWork) -> None:
        with seeded() as work:
            read_before = work.agents.get("a-1")
            retired = work.agents.save(evolve(read_before, status=AgentStatus.OFFLINE, retired_at=AT))
            work.agents.heard(evolve(read_before, last_heartbeat_at=AT))
        with seeded() as work:
            assert work.agents.get("a-1") == retired

    def test_what_nobody_changed_meanwhile_is_locked_for_a_change(self, seeded: OpenWork) -> None:
        with seeded() as work:
            held = work.agents.lock_unchanged("a-1")
            assert held == work.agents.get("a-1")
            work.agents.save(evolve(held, name="renamed"))
        with seeded() as work:
            assert work.agents.lock_unchanged("a-1").name == "renamed"
            with pytest.raises(NotFound):
                work.agents.lock_unchanged("nobody")

    def test_heartbeats_of_several_are_written_together(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.agents.add(facts.agent("a-9"))
            one, other = work.agents.get("a-1"), work.agents.get("a-9")
            work.agents.heard(evolve(other, version="9"), evolve(one, version="1"), facts.agent("nobody"))
            work.agents.heard()
        with seeded() as work:
            assert [work.agents.get(each).version for each in ("a-1", "a-9")] == ["1", "9"]
            assert work.agents.find("nobody") is None

    def test_counts_are_what_retiring_the_agent_would_strand(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.targets.add(facts.target("t-3"))
            work.targets.add(facts.target("t-old", retired_at=AT))
            work.certificates.add(facts.certificate("mc-1", target_ids=("t-1", "t-3", "t-2")))
            work.certificates.add(facts.certificate("mc-2", target_ids=("t-2",)))
            work.certificates.add(facts.certificate("mc-3", target_ids=("t-old",)))
            archived = CertificateStatus.ARCHIVED
            work.certificates.add(facts.certificate("mc-4", target_ids=("t-1",), status=archived))
            for number, status in enumerate(JobStatus, 1):
                work.jobs.add(
                    facts.job(f"job-{number}", certificate_id=f"mc-{(number - 1) % 4 + 1}", status=status)
                    if number <= 4
                    else facts.job(f"job-{number}", status=status)
                )
            work.jobs.add(facts.job("another's", agent_id="a-2"))
        with seeded() as work:
            assert work.agents.counts("a-1") == AgentCounts(active_targets=2, active_certificates=1, pending_jobs=4)
            assert work.agents.counts("nobody") == AgentCounts()

    def test_only_installed_agents_are_counted_by_status(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.agents.add(facts.agent("off", status=AgentStatus.OFFLINE))
            work.agents.add(facts.agent("retired", status=AgentStatus.OFFLINE, retired_at=AT))
        with seeded() as work:
            assert work.agents.count_by_status() == {"Online": 2, "Offline": 1, "Degraded": 0}

    def test_counts_are_of_those_for_which_the_conditions_hold(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.agents.add(facts.agent("theirs", team_ids=("team-1",), status=AgentStatus.OFFLINE))
        for team, offline in (("team-1", 1), ("nobody", 0)):
            with seeded() as work:
                counts = work.agents.count_by_status((Where("team_ids", (team,), Is.OPEN_TO),))
                assert counts == {"Online": 2, "Offline": offline, "Degraded": 0}


class TestJoinTokens:
    def test_a_token_is_found_by_its_hash(self, store: OpenWork) -> None:
        token = facts.join_token()
        with store() as work:
            work.join_tokens.add(token)
        with store() as work:
            assert work.join_tokens.lock_by_hash(token.token_hash) == token
            assert work.join_tokens.lock_by_hash("nothing") is None


class TestApiKeys:
    def test_a_key_is_found_by_its_hash(self, store: OpenWork) -> None:
        key = facts.api_key()
        with store() as work:
            work.api_keys.add(key)
        with store() as work:
            assert work.api_keys.by_hashes([key.key_hash, "nothing"]) == {key.key_hash: key}
            assert work.api_keys.by_hashes(["nothing"]) == {}

    def test_the_last_use_is_noted_at_most_once_a_minute(self, store: OpenWork) -> None:
        with store() as work:
            work.api_keys.add(facts.api_key())
        noted = []
        for at in (AT, AT + MINUTE - SECOND, AT + MINUTE, AT + MINUTE + SECOND):
            with store() as work:
                work.api_keys.used(["key-1", "nobody"], at)
                noted.append(work.api_keys.get("key-1").last_used_at)
        assert noted == [AT, AT, AT + MINUTE, AT + MINUTE]
        with store() as work:
            assert work.api_keys.get("key-1").revision == 1
            work.api_keys.used(["nobody"], AT)

    def test_every_role_can_be_written(self, seeded: OpenWork) -> None:
        with seeded() as work:
            for role in Role:
                work.api_keys.add(facts.api_key(role.value, role=role, agent_id="a-1" if role is Role.AGENT else None))
        with seeded() as work:
            assert [work.api_keys.get(role.value).role for role in Role] == list(Role)

    def test_an_agents_key_belongs_to_an_agent_that_exists(self, store: OpenWork) -> None:
        with pytest.raises(Invalid, match="agent_id"), store() as work:
            work.api_keys.add(facts.api_key(role=Role.AGENT, agent_id="nobody"))

    def test_every_change_of_a_key_is_counted_and_no_use_of_one(self, seeded: OpenWork) -> None:
        def counted() -> int:
            with seeded() as work:
                return work.api_keys.changes()

        with seeded() as work:
            for name in ("one", "two"):
                work.api_keys.add(facts.api_key(name, key_hash=name))
            work.api_keys.add(facts.api_key("agent's", key_hash="three", role=Role.AGENT, agent_id="a-1"))
        before = counted()
        with seeded() as work:
            work.api_keys.used([facts.api_key("one").id], AT)
        assert counted() == before
        with seeded() as work:
            work.api_keys.save(evolve(work.api_keys.get("one"), revoked_at=AT))
        saved = counted()
        with seeded() as work:
            work.api_keys.remove("two")
        removed = counted()
        with seeded() as work:
            work.api_keys.revoke_of_agent(AgentId("a-1"), AT)
        assert before < saved < removed < counted()

    def test_revoking_an_agents_keys_leaves_others(self, seeded: OpenWork) -> None:
        with seeded() as work:
            for name, holder in {"one": "a-1", "two": "a-1", "other": "a-2"}.items():
                work.api_keys.add(facts.api_key(name, role=Role.AGENT, agent_id=holder))
            work.api_keys.add(facts.api_key("old", role=Role.AGENT, agent_id="a-1", revoked_at=AT - DAY))
            work.api_keys.add(facts.api_key("person"))
        with seeded() as work:
            work.api_keys.revoke_of_agent("a-1", AT)
        with seeded() as work:
            revoked = {name: work.api_keys.get(name).revoked_at for name in ("one", "two", "old", "other", "person")}
            assert revoked == {"one": AT, "two": AT, "old": AT - DAY, "other": None, "person": None}
            assert work.api_keys.get("one").revision == 2

    def test_keys_of_agents_are_not_keys_for_people(self, seeded: OpenWork) -> None:
        with seeded() as work:
            assert not work.api_keys.any()
            work.api_keys.add(facts.api_key("of an agent", role=Role.AGENT, agent_id="a-1"))
            assert not work.api_keys.any()
            work.api_keys.add(facts.api_key("of a person", role=Role.VIEWER, revoked_at=AT))
            assert work.api_keys.any()


class TestSessions:
    @pytest.fixture
    def logged_in(self, store: OpenWork) -> OpenWork:
        with store() as work:
            work.api_keys.add(facts.api_key(expires_at=AT + DAY))
            work.sessions.add(facts.session())
        return store

    def test_a_session_is_found_with_its_key(self, logged_in: OpenWork) -> None:
        with logged_in() as work:
            expected = (facts.session(), facts.api_key(expires_at=AT + DAY))
            assert work.sessions.find(facts.session().id_hash, AT) == expected
            assert work.sessions.find("nothing", AT) is None

    def test_a_session_ends_with_its_time(self, logged_in: OpenWork) -> None:
        with logged_in() as work:
            assert work.sessions.find(facts.session().id_hash, AT + HOUR - SECOND) is not None
            assert work.sessions.find(facts.session().id_hash, AT + HOUR) is None

    def test_a_session_ends_with_its_key(self, logged_in: OpenWork) -> None:
        with logged_in() as work:
            work.api_keys.save(evolve(work.api_keys.get("key-1"), revoked_at=AT))
            assert work.sessions.find(facts.session().id_hash, AT) is None
        with logged_in() as work:
            key = work.api_keys.get("key-1")
            work.api_keys.save(evolve(key, revoked_at=None, expires_at=AT))
            assert work.sessions.find(facts.session().id_hash, AT) is None

    def test_logging_out_ends_it(self, logged_in: OpenWork) -> None:
        with logged_in() as work:
            work.sessions.remove(facts.session().id_hash)
            work.sessions.remove("nothing")
        with logged_in() as work:
            assert work.sessions.find(facts.session().id_hash, AT) is None

    def test_ended_sessions_are_purged(self, logged_in: OpenWork) -> None:
        with logged_in() as work:
            work.sessions.add(facts.session("longer", expires_at=AT + 2 * HOUR))
        with logged_in() as work:
            assert work.sessions.purge(AT + HOUR) == 1
            assert work.sessions.purge(AT + HOUR) == 0
            assert work.sessions.find(facts.session("longer").id_hash, AT) is not None

    def test_a_session_belongs_to_a_key_that_exists(self, store: OpenWork) -> None:
        with pytest.raises(Invalid, match="api_key_id"), store() as work:
            work.sessions.add(facts.session())


class TestActivity:
    def test_counts_of_an_hour_add_up(self, seeded: OpenWork) -> None:
        begun = AT.replace(minute=0, second=0, microsecond=0)
        with seeded() as work:
            work.agents.add_activity([Activity(AgentId("a-1"), begun, 2, 3), Activity(AgentId("nobody"), begun, 1, 1)])
            work.agents.add_activity([])
        with seeded() as work:
            later = Activity(AgentId("a-1"), begun + HOUR, heartbeats=5)
            work.agents.add_activity([later, Activity(AgentId("a-1"), begun, 1, 1)])
        with seeded() as work:
            assert work.agents.activity(AgentId("a-1"), begun) == [Activity(AgentId("a-1"), begun, 3, 4), later]
            assert work.agents.activity(AgentId("a-1"), begun + HOUR) == [later]
            assert work.agents.activity(AgentId("nobody"), begun) == []
            work.agents.forget_activity(begun + HOUR)
            assert work.agents.activity(AgentId("a-1"), begun) == [later]
