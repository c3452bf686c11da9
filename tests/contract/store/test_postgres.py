"""What only a database can get wrong: concurrency, lost connections, constraints against our own bugs."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from attrs import evolve
from psycopg import sql

from certctl_adapters import kinds
from certctl_adapters.postgres import migrate
from certctl_adapters.postgres.work import Patience, Pool, PostgresWork, open_pool
from certctl_core.errors import Conflict, StaleWrite, UpstreamUnavailable
from certctl_core.models.certificates import CertificateStatus
from certctl_core.models.jobs import JobStatus
from certctl_core.models.policies import ReviewKind
from certctl_core.ports.store import Work
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, MINUTE, OpenWork
from tests.databases import DatabaseServer, database_name

pytestmark = pytest.mark.integration

LEASE = timedelta(seconds=30)
SOON = 10.0
"""Seconds that something may take which takes next to none."""

LIMITED = ("api_keys", "issuers", "deployment_targets", "agents")
FOLLOWED = {
    "managed_certificates_target_ids_fkey": "certificate_target_mappings_target_id_fkey",
    "policy_rules_team_ids_fkey": "policy_rule_teams_team_id_fkey",
    "policy_rules_agent_group_ids_fkey": "policy_rule_agent_groups_agent_group_id_fkey",
    **{f"{table}_team_ids_fkey": "team_limits_team_id_fkey" for table in LIMITED},
}
"""Fields with several ids, and the constraint of the table that follows each."""


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody with a prompt, logged in as the owner of the tables."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def value(connection: psycopg.Connection[Any], statement: str, *parameters: Any) -> Any:
    row = connection.execute(statement.encode(), parameters).fetchone()
    assert row is not None
    return row[0]


def in_turns(store: OpenWork, first: Callable[[Work], Any], second: Callable[[Work], Any]) -> tuple[Any, Any]:
    """`second` in a transaction of its own while the transaction of `first` is open."""
    with store() as outer, ThreadPoolExecutor(1) as threads:
        mine = first(outer)

        def other() -> Any:
            with store() as work:
                return second(work)

        return mine, threads.submit(other).result(SOON)


def blocked_sessions(admin: psycopg.Connection[Any]) -> int:
    found = value(admin, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return int(found)


def wait_until(condition: Callable[[], bool]) -> None:
    """Look until it is so; fails after `SOON`."""
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


class TestAuditTrail:
    @pytest.fixture
    def trail(self, postgres: OpenWork, admin: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        with postgres() as work:
            work.audit.add(facts.event("audit-1"), facts.event("audit-2"))
        return admin

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit_events SET actor = 'somebody else'",
            "UPDATE audit_events SET details = '{}' WHERE id = 'no such event'",
            "DELETE FROM audit_events WHERE id = 'audit-1'",
            "DELETE FROM audit_events WHERE false",
            "TRUNCATE audit_events",
            "TRUNCATE audit_events CASCADE",
            "INSERT INTO audit_events SELECT * FROM audit_events ON CONFLICT (id) DO UPDATE SET actor = 'other'",
        ],
    )
    def test_even_its_owner_cannot_change_it(self, trail: psycopg.Connection[Any], statement: str) -> None:
        with pytest.raises(psycopg.Error) as refused:
            trail.execute(statement.encode())
        assert refused.value.sqlstate in {"42501", "428C9"}
        assert value(trail, "SELECT string_agg(id || actor, ',' ORDER BY seq) FROM audit_events") == (
            "audit-1admin,audit-2admin"
        )

    def test_no_replication_role_passes_the_trigger_by(self, trail: psycopg.Connection[Any]) -> None:
        enabled = "SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'audit_events_are_final'"
        assert value(trail, enabled) == "A"

    def test_details_are_kept_as_the_text_that_was_written(
        self, postgres: OpenWork, admin: psycopg.Connection[Any]
    ) -> None:
        with postgres() as work:
            work.audit.add(facts.event(details={"b": 1.0, "a": "é", "c": {"z": None, "y": []}}))
        assert value(admin, "SELECT details FROM audit_events") == '{"a":"é","b":1.0,"c":{"y":[],"z":null}}'


class TestApprovals:
    @pytest.fixture
    def asked(self, postgres: OpenWork, admin: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        with postgres() as work:
            work.certificates.add(facts.certificate("mc-0"))
            work.jobs.add(facts.job("job-0", certificate_id="mc-0"))
            work.approvals.add(facts.approval())
        return admin

    @pytest.mark.parametrize(
        "change",
        [
            "content = '{}', content_sha256 = encode(sha256('{}'), 'hex')",
            "requested_by = 'mallory'",
            "requested_by_key = 'key-7'",
            "ordered_by = 'mallory'",
            "job_id = 'job-1'",
            "created_at = now()",
        ],
    )
    def test_what_was_asked_cannot_be_changed(self, asked: psycopg.Connection[Any], change: str) -> None:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            asked.execute(f"UPDATE issuance_approval_requests SET {change}".encode())  # noqa: S608 - literals
        asked.execute(b"UPDATE issuance_approval_requests SET state = 'approved', decided_by = 'bob'")

    def test_a_digest_is_that_of_the_text(self, asked: psycopg.Connection[Any]) -> None:
        copied = b"""
            INSERT INTO issuance_approval_requests (
                id, certificate_id, job_id, requested_by, state, content, content_sha256
            ) SELECT 'ar-2', certificate_id, job_id, requested_by, 'approved', content || ' ', content_sha256
            FROM issuance_approval_requests
        """
        with pytest.raises(psycopg.errors.CheckViolation):
            asked.execute(copied)


class TestSchema:
    def test_every_table_is_there(self, admin: psycopg.Connection[Any]) -> None:
        rows = admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        expected = """
            agent_group_members agent_groups agents audit_events certificate_profiles certificate_revocations
            certificate_target_mappings certificate_versions deployment_targets discovered_certificates discovery_scans
            endpoint_health_checks endpoint_health_history issuers jobs managed_certificates network_scan_targets
            notification_events owners policy_rules policy_violations renewal_policies teams crl_scopes crl_blocks
            crl_generation_events delegates scep_probe_results acme_accounts acme_orders
            acme_authorizations acme_challenges acme_nonces issuance_approval_requests
            issuance_attempts api_keys join_tokens sessions certificate_authorities scheduler_loops api_calls
            agent_activity audit_unsealed audit_leaves audit_subtrees audit_checkpoints audit_signers team_limits
        """
        assert set(expected.split()) - {name for (name,) in rows} == set()

    def test_every_declared_rule_is_one_of_the_database(self, admin: psycopg.Connection[Any]) -> None:
        uniques = {name for (name,) in admin.execute("SELECT indexname FROM pg_indexes WHERE indexdef ~ 'UNIQUE'")}
        assert {unique.constraint for kind in kinds.KINDS for unique in kind.uniques} - uniques == set()
        rules = {"a": kinds.OnDelete.RESTRICT, "c": kinds.OnDelete.CASCADE, "n": kinds.OnDelete.SET_NULL}
        found = {
            name: (target, rules[rule])
            for name, target, rule in admin.execute(
                "SELECT conname, confrelid::regclass::text, confdeltype::text FROM pg_constraint WHERE contype = 'f'"
            )
        }
        for kind in kinds.KINDS:
            for reference in kind.references:
                name = f"{kind.table}_{kind.columns.get(reference.field, reference.field)}_fkey"
                assert found[FOLLOWED.get(name, name)] == (reference.to, reference.on_delete)

    def test_nothing_goes_when_a_team_owner_policy_or_profile_goes(self, admin: psycopg.Connection[Any]) -> None:
        rules = admin.execute(
            """
            SELECT DISTINCT confdeltype::text FROM pg_constraint WHERE contype = 'f'
            AND confrelid::regclass::text IN ('teams', 'owners', 'renewal_policies', 'certificate_profiles')
            """
        ).fetchall()
        assert rules == [("a",)]

    def test_every_reference_from_a_growing_table_to_what_is_deleted_has_an_index(
        self, admin: psycopg.Connection[Any]
    ) -> None:
        """Otherwise deleting one row reads the whole of the other table."""
        missing = admin.execute(
            """
            SELECT c.conrelid::regclass::text || '.' || a.attname FROM pg_constraint AS c
            JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
            WHERE c.contype = 'f' AND c.confdeltype IN ('c', 'n') AND NOT EXISTS (
                SELECT FROM pg_index AS i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1]
            )
            """
        ).fetchall()
        assert missing == [("renewal_policies.agent_group_id",)]  # of which there are never many

    def test_a_server_that_grants_no_extensions_will_do(self, database_server: DatabaseServer) -> None:
        with psycopg.connect(database_server.admin, autocommit=True) as admin:
            admin.execute("CREATE DATABASE test_without_extensions TEMPLATE template0")
            try:
                owner = urlsplit(database_server.owner)._replace(path="/test_without_extensions")
                theirs = urlunsplit(urlsplit(database_server.admin)._replace(path="/test_without_extensions"))
                grant = sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(owner.username or ""))
                with psycopg.connect(theirs, autocommit=True) as connection:
                    connection.execute(grant)
                if database_server.owner == database_server.admin:
                    pytest.skip("the owner of this server's databases may do everything")
                migrate.migrate(urlunsplit(owner))
                with psycopg.connect(urlunsplit(owner)) as connection:
                    assert value(connection, "SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'") == 0
                    assert value(connection, "SELECT count(*) FROM managed_certificates WHERE name ILIKE 'x'") == 0
            finally:
                admin.execute("DROP DATABASE test_without_extensions WITH (FORCE)")

    def test_a_targets_row_follows_its_certificate_whoever_changes_it(
        self, postgres: OpenWork, admin: psycopg.Connection[Any]
    ) -> None:
        with postgres() as work:
            work.certificates.add(facts.certificate(target_ids=("t-1",)))
        admin.execute("UPDATE managed_certificates SET target_ids = '{t-2}'")
        with postgres() as work:
            assert [deployment.target_id for deployment in work.deployments.of("mc-1")] == ["t-2"]

    def test_a_chain_is_stored_once_for_all_certificates(
        self, postgres: OpenWork, admin: psycopg.Connection[Any]
    ) -> None:
        with postgres() as work:
            work.certificates.add(facts.certificate())
            for number in range(1, 4):
                work.versions.add(facts.version(f"certver-{number}", generation=number))
            work.versions.add(facts.version("certver-4", generation=4, chain=()))
        assert value(admin, "SELECT count(*) FROM certificate_chains") == 2

    def test_calls_are_kept_in_a_partition_of_their_month(
        self, postgres: OpenWork, admin: psycopg.Connection[Any]
    ) -> None:
        def partitions() -> set[str]:
            return {name for (name,) in admin.execute("SELECT DISTINCT tableoid::regclass::text FROM api_calls")}

        now = datetime(2031, 12, 31, 23, tzinfo=UTC)
        with postgres() as work:
            work.calls.add([facts.call(at=now)])
        assert partitions() == {"api_calls_default"}
        with postgres() as work:
            work.calls.keep_since(now - 40 * DAY, now)
            work.calls.add([facts.call(at=now + DAY)])
        assert partitions() == {"api_calls_2031_12", "api_calls_2032_01"}
        with postgres() as work:
            work.calls.keep_since(now + DAY, now + DAY)
        assert partitions() == {"api_calls_2032_01"}
        assert value(admin, "SELECT to_regclass('api_calls_2031_12') IS NULL")


class TestConcurrency:
    def test_workers_never_claim_the_same_job(self, postgres: OpenWork) -> None:
        with postgres() as work:
            for number in range(120):
                work.certificates.add(facts.certificate(f"mc-{number}", target_ids=("t-1",)))
                work.jobs.add(facts.job(f"issue-{number}", certificate_id=f"mc-{number}"))
                work.jobs.add(facts.deployment_job(f"deploy-{number}", certificate_id=f"mc-{number}"))
        begin = threading.Barrier(4)

        def take(claim: Callable[[Work], list[str]]) -> list[str]:
            begin.wait(SOON)
            taken: list[str] = []
            while True:
                with postgres() as work:
                    claimed = claim(work)
                if not claimed:
                    return taken
                taken += claimed

        def issue(work: Work) -> list[str]:
            return [job.id for job in work.jobs.claim_issuing(AT, LEASE, 7)]

        def deploy(work: Work) -> list[str]:
            return [job.id for job in work.jobs.claim_deployments("a-1", AT, LEASE, 7)]

        with ThreadPoolExecutor(4) as threads:
            taken = [job for jobs in threads.map(take, [issue, issue, deploy, deploy]) for job in jobs]
        assert sorted(taken) == sorted([*(f"issue-{n}" for n in range(120)), *(f"deploy-{n}" for n in range(120))])

    def test_what_one_holds_another_skips(self, postgres: OpenWork) -> None:
        with postgres() as work:
            for n in range(4):
                work.certificates.add(
                    facts.certificate(f"mc-{n}", renew_at=AT, expires_at=AT, status=CertificateStatus.ACTIVE)
                )
                work.agents.add(facts.agent(f"quiet-{n}", last_heartbeat_at=AT - DAY))

        queues: list[tuple[Callable[[Work, int], Any], list[str]]] = [
            (lambda work, n: work.certificates.due_for_renewal(AT, n), ["mc-0", "mc-1", "mc-2", "mc-3"]),
            (lambda work, n: work.certificates.due_for_expiry(AT, n), ["mc-0", "mc-1", "mc-2", "mc-3"]),
            (lambda work, n: work.agents.due_for_offline(AT, n), ["quiet-0", "quiet-1", "quiet-2", "quiet-3"]),
        ]
        for due, everything in queues:
            mine, others = in_turns(postgres, lambda w, due=due: due(w, 2), lambda w, due=due: due(w, 10))  # type: ignore[misc]
            assert [fact.id for fact in mine] == everything[:2]
            assert [fact.id for fact in others] == everything[2:]

    def test_jobs_that_one_sweep_holds_another_skips(self, postgres: OpenWork) -> None:
        states: dict[str, dict[str, Any]] = {
            "lapsed": {"status": JobStatus.RUNNING, "lease_until": AT},
            "failed": {"status": JobStatus.FAILED, "next_attempt_at": AT},
            "waiting": {"status": JobStatus.AWAITING_CSR, "scheduled_at": AT - DAY},
        }
        with postgres() as work:
            for name, fields in states.items():
                for n in range(2):
                    work.certificates.add(facts.certificate(f"{name}-{n}"))
                    work.jobs.add(facts.job(f"{name}-{n}", certificate_id=f"{name}-{n}", **fields))
        sweeps: dict[str, Callable[[Work, int], Any]] = {
            "lapsed": lambda work, n: work.jobs.due_releases(AT, n),
            "failed": lambda work, n: work.jobs.due_retries(AT, n),
            "waiting": lambda work, n: work.jobs.due_timeouts(AT, n),
        }
        for name, due in sweeps.items():
            mine, others = in_turns(postgres, lambda w, due=due: due(w, 1), lambda w, due=due: due(w, 9))  # type: ignore[misc]
            assert ([job.id for job in mine], [job.id for job in others]) == ([f"{name}-0"], [f"{name}-1"])

    def test_who_waits_for_a_lock_sees_what_was_done_under_it(
        self, postgres: OpenWork, admin: psycopg.Connection[Any]
    ) -> None:
        with postgres() as work:
            work.certificates.add(facts.certificate(target_ids=("t-1",)))

        def wait_for_it() -> Any:
            with postgres() as work:
                return work.certificates.lock("mc-1")

        with ThreadPoolExecutor(1) as threads:
            with postgres() as work:
                held = work.certificates.lock("mc-1")
                waiting = threads.submit(wait_for_it)
                wait_until(lambda: blocked_sessions(admin) == 1)
                saved = work.certificates.save(evolve(held, environment="prod", target_ids=("t-2", "t-1")))
            assert waiting.result(SOON) == saved

    def test_a_save_that_waited_for_another_is_stale(self, postgres: OpenWork, admin: psycopg.Connection[Any]) -> None:
        def save_too() -> None:
            with postgres() as work:
                work.teams.save(facts.team(description="mine"))

        with ThreadPoolExecutor(1) as threads:
            with postgres() as work:
                work.teams.save(facts.team(description="first"))
                waiting = threads.submit(save_too)
                wait_until(lambda: blocked_sessions(admin) == 1)
            with pytest.raises(StaleWrite):
                waiting.result(SOON)

    def test_who_judges_waits_for_who_holds_the_rules_alone_and_sees_what_was_done(
        self, postgres: OpenWork, admin: psycopg.Connection[Any]
    ) -> None:
        def judge() -> list[str]:
            with postgres() as work:
                return [rule.id for rule in work.policy_rules.in_force()]

        with ThreadPoolExecutor(1) as threads:
            with postgres() as work:
                work.policy_rules.hold()
                waiting = threads.submit(judge)
                wait_until(lambda: blocked_sessions(admin) == 1)
                work.policy_rules.add(facts.policy_rule())
            assert waiting.result(SOON) == ["pr-1"]

    def test_who_wants_the_rules_alone_waits_for_those_who_judge_and_they_not_for_each_other(
        self, postgres: OpenWork, admin: psycopg.Connection[Any]
    ) -> None:
        def change() -> None:
            with postgres() as work:
                work.policy_rules.hold()
                work.policy_rules.add(facts.policy_rule())

        in_turns(postgres, lambda work: work.policy_rules.in_force(), lambda work: work.policy_rules.in_force())
        with ThreadPoolExecutor(1) as threads:
            with postgres() as work:
                assert work.policy_rules.in_force() == []
                waiting = threads.submit(change)
                wait_until(lambda: blocked_sessions(admin) == 1)
                assert work.policy_rules.find("pr-1") is None
            waiting.result(SOON)
        with postgres() as work:
            assert work.policy_rules.find("pr-1") is not None

    def test_reviews_and_policy_checks_that_one_holds_another_skips(self, postgres: OpenWork) -> None:
        with postgres() as work:
            work.policy_reviews.ask(ReviewKind.SCOPE, ["pr-1", "pr-2"], AT)
            work.policy_reviews.begin()
            for n in range(2):
                work.certificates.add(facts.certificate(f"mc-{n}", next_policy_check_at=AT))
        mine, other = in_turns(postgres, lambda w: w.policy_reviews.claim(), lambda w: w.policy_reviews.claim())
        assert (mine.subject_id, other.subject_id) == ("pr-1", "pr-2")
        some, rest = in_turns(
            postgres, lambda w: w.certificates.due_for_policy(AT, 1), lambda w: w.certificates.due_for_policy(AT, 9)
        )
        assert ([c.id for c in some], [c.id for c in rest]) == (["mc-0"], ["mc-1"])

    def test_a_due_loop_is_claimed_by_one(self, postgres: OpenWork) -> None:
        with postgres() as work:
            work.loops.ensure("a", HOUR, AT)
            work.loops.ensure("b", HOUR, AT)
        mine, others = in_turns(
            postgres, lambda w: w.loops.claim_due(AT, ["a"]), lambda w: w.loops.claim_due(AT, ["a", "b"])
        )
        assert (mine, others) == (["a"], ["b"])

    def test_replicas_that_start_together_agree_on_one_ca(self, postgres: OpenWork) -> None:
        begin = threading.Barrier(4)

        def start(name: str) -> bytes:
            begin.wait(SOON)
            with postgres() as work:
                return work.authorities.lock_or_add(facts.authority(sealed_key=name.encode())).sealed_key

        with ThreadPoolExecutor(4) as threads:
            assert len(set(threads.map(start, "abcd"))) == 1

    def test_crl_numbers_are_given_once(self, postgres: OpenWork) -> None:
        def number(_: int) -> int:
            with postgres() as work:
                return work.crls.next_number("iss-1")

        with ThreadPoolExecutor(4) as threads:
            assert sorted(threads.map(number, range(20))) == list(range(1, 21))

    def test_revocations_do_not_wait_for_a_crl(self, postgres: OpenWork) -> None:
        with postgres() as work:
            work.certificates.add(facts.certificate())
        number, count = in_turns(
            postgres,
            lambda work: work.crls.next_number("iss-1"),
            lambda work: (
                work.revocations.add(facts.revocation(authority="ab" * 20, partition=0)),
                work.revocations.count("iss-1"),
            )[1],
        )
        assert (number, count) == (1, 1)

    def test_noting_the_use_of_a_key_waits_for_nobody(self, postgres: OpenWork) -> None:
        with postgres() as work:
            work.api_keys.add(facts.api_key())
        _, seen = in_turns(
            postgres,
            lambda work: work.api_keys.used(["key-1"], AT),
            lambda work: (work.api_keys.used(["key-1"], AT + MINUTE), work.api_keys.get("key-1").last_used_at)[1],
        )
        assert seen is None


class TestTrouble:
    def test_connections_that_died_in_the_pool_are_replaced(
        self, postgres: OpenWork, pool: Pool, admin: psycopg.Connection[Any]
    ) -> None:
        with postgres() as one, ThreadPoolExecutor(1) as threads:
            one.teams.find("team-1")
            threads.submit(lambda: in_turns(postgres, lambda w: w.loops.all(), lambda w: w.loops.all())).result(SOON)
        kill_all_others(admin)
        for _ in range(4):
            with postgres() as work:
                assert work.teams.get("team-1").name == "team-1"
        assert pool.get_stats()["pool_size"] <= pool.max_size

    def test_a_connection_that_dies_in_a_transaction_is_reported(
        self, postgres: OpenWork, admin: psycopg.Connection[Any]
    ) -> None:
        def interrupted() -> None:
            with postgres() as work:
                work.teams.add(facts.team("team-2"))
                kill_all_others(admin)
                work.teams.find("team-1")

        with pytest.raises(UpstreamUnavailable, match="database"):
            interrupted()
        with postgres() as work:
            assert work.teams.find("team-2") is None

    def test_a_commit_that_cannot_be_made_is_reported(self, postgres: OpenWork, admin: psycopg.Connection[Any]) -> None:
        def interrupted() -> None:
            with postgres() as work:
                work.teams.add(facts.team("team-2"))
                kill_all_others(admin)

        with pytest.raises(UpstreamUnavailable, match="database"):
            interrupted()
        with postgres() as work:
            assert work.teams.find("team-2") is None

    def test_no_database_is_reported_in_good_time(self) -> None:
        patience = Patience(connection=timedelta(milliseconds=300))
        began = time.monotonic()
        with (
            open_pool("postgresql://nobody@127.0.0.1:1/nothing", patience=patience) as pool,
            pytest.raises(UpstreamUnavailable, match="no connection to the database"),
            PostgresWork(pool)(),
        ):
            pass
        assert time.monotonic() - began < SOON

    def test_a_database_that_is_back_is_used_again_at_once(self, database_server: DatabaseServer) -> None:
        url = database_server.create()
        database_server.drop(url)
        name = database_name(url)
        patience = Patience(connection=timedelta(milliseconds=100))

        def answers() -> bool:
            try:
                with PostgresWork(pool)():
                    return True
            except UpstreamUnavailable:
                return False

        with open_pool(url, patience=patience) as pool:
            gone_until = time.monotonic() + 8
            while time.monotonic() < gone_until:
                assert not answers()
            with psycopg.connect(database_server.admin, autocommit=True) as admin:
                admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
            back = time.monotonic()
            wait_until(answers)
            assert time.monotonic() - back < 4
        database_server.drop(url)

    def test_a_closed_pool_is_no_database(self, database_url: str) -> None:
        with open_pool(database_url) as pool:
            pass
        with pytest.raises(UpstreamUnavailable), PostgresWork(pool)():
            pass

    def test_waiting_for_a_lock_has_an_end(self, database_url: str, postgres: OpenWork) -> None:
        patience = Patience(lock=timedelta(milliseconds=50))
        with open_pool(database_url, patience=patience) as impatient, postgres() as work:
            work.teams.lock("team-1")
            with pytest.raises(Conflict, match="somebody else"), PostgresWork(impatient)() as other:
                other.teams.lock("team-1")

    def test_a_statement_that_takes_too_long_has_an_end(self, database_url: str, postgres: OpenWork) -> None:
        patience = Patience(statement=timedelta(milliseconds=50))
        with open_pool(database_url, patience=patience) as impatient, postgres() as work:
            work.teams.lock("team-1")
            with pytest.raises(UpstreamUnavailable, match="too long"), PostgresWork(impatient)() as other:
                other.teams.lock("team-1")

    def test_a_transaction_that_hangs_is_ended(self, database_url: str, admin: psycopg.Connection[Any]) -> None:
        with open_pool(database_url, patience=Patience(idle=timedelta(milliseconds=50))) as pool:

            def hang() -> None:
                with PostgresWork(pool)() as work:
                    work.teams.add(facts.team())
                    wait_until(
                        lambda: not value(admin, "SELECT count(*) FROM pg_stat_activity WHERE state ~ 'idle in'")
                    )

            with pytest.raises(UpstreamUnavailable):
                hang()

    def test_of_two_in_a_deadlock_one_is_told_to_try_again(self, postgres: OpenWork) -> None:
        with postgres() as work:
            work.teams.add(facts.team("team-2"))
        both = threading.Barrier(2)

        def lock(names: tuple[str, str]) -> bool:
            try:
                with postgres() as work:
                    work.teams.lock(names[0])
                    both.wait(SOON)
                    work.teams.lock(names[1])
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(2) as threads:
            outcomes = sorted(threads.map(lock, [("team-1", "team-2"), ("team-2", "team-1")]))
        assert outcomes == [False, True]

    def test_a_long_list_is_read_in_several_parts(self, postgres: OpenWork, admin: psycopg.Connection[Any]) -> None:
        with postgres() as work:
            work.certificates.add(facts.certificate())
        admin.execute(
            """
            INSERT INTO certificate_revocations (id, certificate_id, issuer_id, serial_number, revoked_by, not_after,
                authority, partition, entry, change)
            SELECT 'rev-' || n, 'mc-1', 'iss-1', to_hex(n), 'admin', '2031-06-01Z', repeat('ab', 20), 0,
                int4send(n), n FROM generate_series(1, 45000) AS n
            """
        )
        with postgres() as work:
            parts, count = work.revocations.listed(facts.SCOPE)
            later, few = work.revocations.changed(facts.SCOPE, 44_998)
        assert (len(parts), count, few) == (3, 45_000, 2)
        assert b"".join(parts) == b"".join(n.to_bytes(4, "big") for n in range(1, 45_001))
        assert b"".join(later) == b"".join(n.to_bytes(4, "big") for n in (44_999, 45_000))

    def test_a_long_crl_comes_back_in_blocks(self, postgres: OpenWork) -> None:
        der = bytes(range(256)) * 4000
        with postgres() as work:
            assert work.crls.save(facts.crl(size=len(der)), der)
        with postgres() as work:
            blocks = list(work.crls.content(facts.crl(size=len(der))))
        assert len(blocks) == 4
        assert b"".join(blocks) == der


def test_greenlets_take_turns_at_the_database(database_url: str) -> None:
    """Two greenlets of one thread: the first waits in the database for what only the second can give."""
    with open_pool(database_url) as pool, PostgresWork(pool)() as work:
        work.teams.add(facts.team())
    program = Path(__file__).with_name("greenlets.py")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), database_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[3],
        env={"PYTHONPATH": "."},
    )
    assert (done.returncode, done.stdout.split()) == (0, ["locked", "waiting", "released", "locked"]), done.stderr


def kill_all_others(admin: psycopg.Connection[Any]) -> None:
    """What a restart of the database does to every connection."""
    admin.execute(
        """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
        """
    )
