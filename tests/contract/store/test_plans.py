"""What statements cost: how many there are, and that sweeps read what is due and not the inventory."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import psycopg
import pytest
from attrs import evolve
from psycopg_pool import ConnectionPool

from certctl_adapters.postgres import listing
from certctl_adapters.postgres.work import PostgresWork
from certctl_core.models.access import ActorType
from certctl_core.models.approvals import ApprovalState
from certctl_core.models.certificates import CertificateStatus
from certctl_core.models.jobs import JobStatus
from certctl_core.models.records import NotificationStatus, NotificationType
from certctl_core.pki import merkle
from certctl_core.ports.store import Is, Query, Where, Work
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, MINUTE, seed
from tests.databases import DatabaseServer

pytestmark = pytest.mark.integration


class Watched(psycopg.Cursor[Any]):
    """A cursor that remembers what it was asked, and how the database was going to find it."""

    statements: ClassVar[list[str]] = []
    plans: ClassVar[list[dict[str, Any]]] = []

    def execute(self, query: Any, params: Any = None, **options: Any) -> "Watched":
        text = query if isinstance(query, bytes) else query.as_bytes(self)
        is_planned = text.split()[0].upper() in (b"SELECT", b"WITH", b"UPDATE", b"DELETE")
        if is_planned:
            super().execute(b"EXPLAIN (FORMAT JSON) " + text, params)
            (answer,) = self.fetchone() or ("[]",)
            plan = json.loads(answer) if isinstance(answer, str) else answer
            Watched.plans.append(plan[0]["Plan"])
        if text.split()[0] not in (b"BEGIN", b"COMMIT"):
            Watched.statements.append(text.decode())
        super().execute(query, params, **options)
        return self


@pytest.fixture(scope="module")
def crowd(database_server: DatabaseServer, database_template: str) -> Iterator[PostgresWork]:
    """The store on PostgreSQL with a few thousand rows of everything, under observation."""
    url = database_server.create(database_template)
    try:
        with ConnectionPool(
            url, min_size=1, max_size=1, kwargs={"autocommit": True, "cursor_factory": Watched}
        ) as pool:
            with PostgresWork(pool)() as work:
                seed(work)
            with pool.connection() as connection:
                connection.execute(CROWD)
                connection.execute(b"VACUUM ANALYZE")
            yield PostgresWork(pool)
    finally:
        database_server.drop(url)


@pytest.fixture
def work(crowd: PostgresWork) -> Iterator[Work]:
    """A transaction that is undone."""
    with suppress(Undo), crowd() as work:
        yield work
        raise Undo


class Undo(Exception):
    """Leaves nothing behind for the next test."""


@contextmanager
def observed() -> Iterator[type[Watched]]:
    Watched.statements.clear()
    Watched.plans.clear()
    yield Watched


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def whole_tables(plans: list[dict[str, Any]]) -> set[str]:
    """Tables that would be read from end to end."""
    found = (node for plan in plans for node in nodes(plan))
    return {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}


def indexes(plans: list[dict[str, Any]]) -> set[str]:
    return {node["Index Name"] for plan in plans for node in nodes(plan) if "Index Name" in node}


# Ten thousand certificates and thirty thousand jobs, of which a handful is due at any time, as in a quiet fleet.
CROWD = b"""
    INSERT INTO agents (id, name, hostname, status, last_heartbeat_at)
    SELECT 'agent-' || n, 'agent-' || n, 'h', 'Online', '2031-03-04T05:00:00Z'::timestamptz + n * interval '1 second'
    FROM generate_series(1, 3000) AS n;

    INSERT INTO deployment_targets (id, name, type, agent_id)
    SELECT 'target-' || n, 'target', 'NGINX', 'agent-' || n FROM generate_series(1, 3000) AS n;

    INSERT INTO managed_certificates (
        id, name, common_name, environment, owner_id, team_id, issuer_id, renewal_policy_id, status, target_ids,
        expires_at, renew_at, next_policy_check_at, next_alert_at, overdue_at, created_at, updated_at
    )
    SELECT 'mc-' || n, 'name ' || md5(n::text), md5((n / 3)::text) || '.example', 'env-' || n % 7, 'owner-1', 'team-1',
           'iss-1', 'rp-default', (ARRAY['Active', 'Active', 'Active', 'Pending', 'RenewalInProgress'])[n % 5 + 1],
           ARRAY['target-' || n % 3000 + 1], at + n * interval '10 minutes', at + n * interval '5 minutes',
           at + n * interval '5 minutes', at + n * interval '5 minutes', at + n * interval '7 minutes',
           at - n * interval '1 minute', at - n * interval '30 seconds'
    FROM generate_series(1, 10000) AS n, (SELECT '2031-03-04T00:00:00Z'::timestamptz AS at) AS start;

    INSERT INTO policy_violations (id, certificate_id, rule_id, message, severity, opened_at, resolved_at)
    SELECT 'violation-' || n, 'mc-' || n, 'pr-' || n % 20, 'm', 'Warning', at + n * interval '1 minute',
           CASE WHEN n % 3 = 0 THEN at + n * interval '2 minutes' END
    FROM generate_series(1, 10000) AS n, (SELECT '2031-03-04T00:00:00Z'::timestamptz AS at) AS start;

    INSERT INTO jobs (
        id, type, certificate_id, target_id, agent_id, status, scheduled_at, lease_until, next_attempt_at, created_at
    )
    SELECT 'job-' || n, type, 'mc-' || n / 3 + 1, CASE type WHEN 'Deployment' THEN 'target-' || n % 3000 + 1 END,
           'agent-' || n % 3000 + 1, status, at + n * interval '1 minute',
           CASE status WHEN 'Running' THEN at + n * interval '1 minute' END,
           CASE status WHEN 'Failed' THEN at + n * interval '1 minute' END, at + n * interval '1 minute'
    FROM generate_series(1, 29990) AS n, (SELECT '2031-03-04T00:00:00Z'::timestamptz AS at) AS start,
    LATERAL (SELECT (ARRAY['Renewal', 'Deployment', 'Deployment'])[n % 3 + 1] AS type,
        (ARRAY['Completed', 'Completed', 'Pending', 'Running', 'Failed', 'AwaitingCSR', 'AwaitingApproval'])[n % 7 + 1]
        AS status) AS chosen;

    INSERT INTO notification_events (id, type, certificate_id, channel, recipient, message, status, created_at)
    SELECT 'notif-' || n, (ARRAY['RenewalSuccess', 'Revocation'])[CASE WHEN n % 500 = 0 THEN 2 ELSE 1 END], 'mc-' || n,
           'Email', 'somebody', 'm', CASE WHEN n % 300 = 0 THEN 'dead' ELSE 'sent' END, at + n * interval '1 minute'
    FROM generate_series(1, 8000) AS n, (SELECT '2031-03-04T00:00:00Z'::timestamptz AS at) AS start;

    INSERT INTO issuance_approval_requests (
        id, certificate_id, job_id, content, content_sha256, requested_by, state, created_at
    )
    SELECT 'ar-' || n, 'mc-' || n / 3 + 1, 'job-' || n, '{}', encode(sha256('{}'), 'hex'), 'person-' || n % 50,
           (ARRAY['approved', 'approved', 'rejected', 'expired', 'pending'])[least(n % 100 + 1, 5)], created_at
    FROM jobs, LATERAL (SELECT substr(jobs.id, 5)::integer AS n) AS number WHERE n < 10000 AND n % 100 < 4 OR n < 100;
    INSERT INTO bulk_operations (id, action, status, requested_by, role, created_at, completed_at)
    SELECT 'bulk-' || n, 'revoke', CASE WHEN n % 100 = 0 THEN 'Running' ELSE 'Completed' END, 'admin', 'admin',
           at + n * interval '1 minute', CASE WHEN n % 100 > 0 THEN at + n * interval '1 minute' END
    FROM generate_series(1, 3000) AS n, (SELECT '2031-03-04T00:00:00Z'::timestamptz AS at) AS start;

    INSERT INTO bulk_operation_batches (operation_id, number, certificate_ids)
    SELECT 'bulk-' || n, m, ARRAY['mc-' || n, 'mc-' || m]
    FROM generate_series(1, 3000) AS n, generate_series(0, 5) AS m;

    INSERT INTO bulk_operation_failures (operation_id, certificate_id, error)
    SELECT 'bulk-' || n, 'mc-' || m, 'no' FROM generate_series(1, 3000) AS n, generate_series(0, 5) AS m;

    INSERT INTO certificate_versions (
        id, certificate_id, generation, agent_id, issuer_id, serial_number, not_before, not_after, fingerprint_sha256,
        certificate_der, chain_sha256
    )
    SELECT 'certver-' || n, 'mc-' || n / 2 + 1, n, 'agent-1', 'iss-1', to_hex(n), now(), now(),
           encode(sha256(n::text::bytea), 'hex'), '', chain.sha256
    FROM generate_series(1, 10000) AS n,
         (SELECT sha256('') AS sha256) AS chain WHERE n > 0 AND EXISTS (SELECT FROM certificate_chains);

    INSERT INTO certificate_revocations (id, certificate_id, issuer_id, serial_number, revoked_by, not_after, authority,
        partition, entry, change, released_at, has_left)
    SELECT 'rev-' || n, 'mc-7', 'iss-1', to_hex(n), 'admin', '2031-03-01Z'::timestamptz + n * interval '1 minute',
        repeat('ab', 20), n % 50, '0', n, CASE WHEN n % 100 = 0 THEN '2031-03-01Z'::timestamptz END, n < 10000
    FROM generate_series(1, 20000) AS n;
    INSERT INTO crl_scopes (issuer_id, authority, partition, due_at)
    SELECT 'iss-1', repeat('ab', 20), n, '2031-03-04Z'::timestamptz + n * interval '1 hour'
    FROM generate_series(0, 1000) AS n;
    INSERT INTO crl_generation_events (issuer_id, authority, partition, is_delta, crl_number, started_at, took, entries,
        changes, next_update, succeeded)
    SELECT 'iss-1', repeat('ab', 20), n % 50, false, n, '2031-03-01Z'::timestamptz + n * interval '1 second',
        '1 second', 1, 1, '2031-03-05Z', true FROM generate_series(1, 10000) AS n;
"""
# Twenty thousand events, three quarters of them sealed. Some actors, kinds and actions are of the first days only.
CROWD += b""";
    INSERT INTO audit_events (id, actor, actor_type, action, resource_type, resource_id, timestamp)
    SELECT 'event-' || n, CASE WHEN n < 500 THEN 'rare' ELSE 'user-' || n % 50 END,
           CASE WHEN n < 500 THEN 'Agent' ELSE 'System' END, CASE WHEN n < 500 THEN 'rare' ELSE 'action-' || n % 9 END,
           CASE WHEN n < 500 THEN 'rare' ELSE 'certificate' END, 'mc-' || n % 50,
           '2031-03-04T00:00:00Z'::timestamptz + n * interval '1 minute'
    FROM generate_series(1, 20000) AS n;

    INSERT INTO audit_leaves (leaf_index, seq, hash)
    SELECT n - 1, seq, sha256(id::bytea) FROM (SELECT seq, id, row_number() OVER (ORDER BY seq) AS n FROM audit_events)
    AS e WHERE n <= 15000;
    INSERT INTO audit_subtrees (level, position, hash)
    SELECT level, n, sha256('') FROM (VALUES (4), (8), (12)) AS l (level), generate_series(0, 9999) AS n;
    DELETE FROM audit_unsealed AS u USING audit_leaves AS l WHERE l.seq = u.seq;
    INSERT INTO audit_checkpoints (tree_size, root_hash, created_at, note)
    SELECT n * 5, sha256(''), now(), 'note' FROM generate_series(1, 3000) AS n;
"""
CROWD = b"INSERT INTO certificate_chains (sha256, certificates) VALUES (sha256(''), '{}');" + CROWD

LEASE = MINUTE / 2

SWEEPS: dict[str, tuple[Callable[[Work], Any], str]] = {
    "due_for_renewal": (lambda w: w.certificates.due_for_renewal(AT, 100), "managed_certificates_renew_idx"),
    "due_for_expiry": (lambda w: w.certificates.due_for_expiry(AT, 100), "managed_certificates_lapse_idx"),
    "due_for_policy": (
        lambda w: w.certificates.due_for_policy(AT, 100),
        "managed_certificates_policy_check_idx",
    ),
    "violations of a rule": (lambda w: w.violations.open_under("pr-7", "", 100), "policy_violations_open_of_rule_idx"),
    "due_for_alert": (lambda w: w.certificates.due_for_alert(AT, 100), "managed_certificates_alert_idx"),
    "newly_overdue": (lambda w: w.certificates.newly_overdue(AT, 100), "managed_certificates_overdue_idx"),
    "due_releases": (lambda w: w.jobs.due_releases(AT, 100), "jobs_lease_idx"),
    "due_retries": (lambda w: w.jobs.due_retries(AT, 100), "jobs_retry_idx"),
    "due_timeouts": (lambda w: w.jobs.due_timeouts(AT, 100), "jobs_awaiting_csr_idx"),
    "claim_issuing": (lambda w: w.jobs.claim_issuing(AT, LEASE, 100), "jobs_issuing_due_idx"),
    "claim_deployments": (lambda w: w.jobs.claim_deployments("agent-7", AT, LEASE, 100), "jobs_of_agent_idx"),
    "awaiting_csr": (lambda w: w.jobs.awaiting_csr("agent-7", AT, 100), "jobs_of_agent_idx"),
    "lock_issuing": (lambda w: w.jobs.lock_issuing({"mc-7": "agent-7", "mc-8": "agent-7"}), "jobs_open_issuing_key"),
    "bulk operations due": (lambda w: w.bulk_operations.due(AT, 100), "bulk_operations_running_idx"),
    "due_for_offline": (lambda w: w.agents.due_for_offline(AT, 100), "agents_heard_idx"),
}

LOOKUPS: dict[str, Callable[[Work], Any]] = {
    "get": lambda w: w.certificates.get("mc-7"),
    "lock": lambda w: w.certificates.lock("mc-7"),
    "many": lambda w: w.certificates.many([f"mc-{n}" for n in range(1, 50)]),
    "open_of": lambda w: w.jobs.open_of("mc-7"),
    "deployments": lambda w: w.deployments.of("mc-7"),
    "overdue": lambda w: w.certificates.page(Query((Where("overdue_at", AT, Is.BEFORE),), sort="overdue_at")),
    "those of a policy": lambda w: w.certificates.lock_following("rp-default", "mc-7", 100),
    "jobs of many": lambda w: w.jobs.open_of_many([f"mc-{n}" for n in range(1, 50)]),
    "issued to many": lambda w: w.attempts.issued_since_many([f"mc-{n}" for n in range(1, 50)], AT),
    "agent counts": lambda w: w.agents.counts("agent-7"),
    "jobs of a certificate": lambda w: w.jobs.page(Query(where=(Where("certificate_id", "mc-7"),))),
    "certificates of an agent": lambda w: w.certificates.page(Query(where=(Where("agent_id", "agent-7"),))),
    "certificates of a target": lambda w: w.certificates.page(Query(where=(Where("target_id", "target-7"),))),
    "a part of a name": lambda w: w.certificates.page(Query(where=(Where("names", "c4ca4238", Is.CONTAINS),))),
    "failed jobs": lambda w: w.jobs.page(Query(where=(Where("status", JobStatus.FAILED),), count=False)),
    "issued since": lambda w: w.attempts.issued_since("mc-7", AT),
    "entries of a CRL": lambda w: w.revocations.listed(facts.SCOPE),
    "entries of a delta": lambda w: w.revocations.changed(facts.SCOPE, 19_990),
    "entries that leave": lambda w: w.revocations.leave(facts.SCOPE, AT, 100),
    "revocations that nobody has assigned": lambda w: w.revocations.unassigned(100),
    "the CRL that is due": lambda w: w.crls.claim_due(AT, LEASE),
    "making of CRLs": lambda w: w.crls.history(facts.SCOPE, 5),
    "the base of a delta": lambda w: w.crls.oldest_in_use(facts.SCOPE, AT),
    "old makings of CRLs": lambda w: w.crls.forget(AT - 30 * DAY, 100),
    "revocation count": lambda w: w.revocations.count("iss-1"),
    "by serial number": lambda w: w.versions.with_serial("iss-1", "no such"),
    "by serial numbers": lambda w: w.versions.with_serials([("iss-1", "no such"), ("iss-1", "nor this")]),
    "newest issuing": lambda w: w.jobs.newest_issuing([f"mc-{n}" for n in range(1, 50)]),
    "latest of a holder, several": lambda w: w.versions.latest_many({f"mc-999{n}": "agent-1" for n in range(50)}),
    "latest of each holder": lambda w: w.versions.latest_per_holder_many([f"mc-999{n}" for n in range(50)]),
    "latest of a holder": lambda w: w.versions.latest("mc-99999", "agent-1"),
    "dead notifications": lambda w: w.notifications.page(Query((Where("status", NotificationStatus.DEAD),), limit=1)),
    "newest notifications of a type": lambda w: w.notifications.page(
        Query((Where("type", NotificationType.REVOCATION),), descending=True, limit=20, count=False)
    ),
    "old notifications": lambda w: w.notifications.purge(AT, 100),
    "overdue approvals": lambda w: w.approvals.page(
        Query((Where("state", ApprovalState.PENDING), Where("created_at", AT, Is.BEFORE)), limit=200, count=False)
    ),
    "newest approvals": lambda w: w.approvals.page(Query(descending=True, limit=20, count=False)),
    "approvals somebody asked for": lambda w: w.approvals.page(Query((Where("requested_by", "person-7"),))),
    "approvals of a certificate": lambda w: w.approvals.page(Query((Where("certificate_id", "mc-7"),))),
    "open violations": lambda w: w.violations.open_of([f"mc-{n}" for n in range(1, 50)]),
    "validities": lambda w: w.versions.validities([f"mc-{n}" for n in range(1, 50)]),
    "locking several": lambda w: w.certificates.lock_many([f"mc-{n}" for n in range(1, 50)]),
    "violations of a certificate": lambda w: w.violations.page(Query((Where("certificate_id", "mc-7"),), "opened_at")),
    "owners of serials": lambda w: w.versions.owners_of_serials("iss-1", ["1f", "2f"]),
    "unexpired": lambda w: w.versions.unexpired([f"mc-{n}" for n in range(1, 50)], AT),
    "a batch": lambda w: w.bulk_operations.batch("bulk-7", 3),
    "failures": lambda w: w.bulk_operations.failures("bulk-7", 50, 0),
    "versions": lambda w: w.versions.page("mc-99999", 50, 0),
}

BIG = {
    "agents",
    "deployment_targets",
    "managed_certificates",
    "jobs",
    "certificate_versions",
    "certificate_target_mappings",
    "policy_violations",
    "issuance_approval_requests",
    "bulk_operations",
    "bulk_operation_batches",
    "bulk_operation_failures",
    "notification_events",
    "certificate_revocations",
    "crl_scopes",
    "crl_generation_events",
}


class TestIndexes:
    @pytest.mark.parametrize("name", SWEEPS)
    def test_a_sweep_reads_what_is_due(self, work: Work, name: str) -> None:
        sweep, index = SWEEPS[name]
        with observed() as seen:
            sweep(work)
        assert len(seen.statements) == 1
        assert whole_tables(seen.plans) & BIG == set()
        assert index in indexes(seen.plans)

    @pytest.mark.parametrize("name", LOOKUPS)
    def test_a_look_up_reads_what_it_asks_for(self, work: Work, name: str) -> None:
        with observed() as seen:
            LOOKUPS[name](work)
        assert seen.plans
        assert whole_tables(seen.plans) & BIG == set()

    @pytest.mark.parametrize(
        "sort", ["id", "expires_at", "created_at", "updated_at", "common_name", "name", "status", "environment"]
    )
    @pytest.mark.parametrize("descending", [False, True])
    def test_a_page_by_key_starts_where_the_last_one_ended(self, work: Work, sort: str, descending: bool) -> None:
        """No sort and no row read twice: an index delivers the order, from the key on, and has nothing to leave out."""
        query = Query(sort=sort, descending=descending, limit=20, count=False)
        last = work.certificates.page(query).items[-1]
        with observed() as seen:
            work.certificates.page(evolve(query, after=(getattr(last, sort), last.id)))
        (plan,) = seen.plans
        (limit,) = (node for node in nodes(plan) if node["Node Type"] == "Limit")
        (scan,) = limit["Plans"]
        assert scan["Node Type"] == "Index Only Scan"
        assert "Index Cond" in scan
        assert "Filter" not in scan

    @pytest.mark.parametrize("sort", ["common_name", "name", "status", "environment", "expires_at", "updated_at"])
    def test_rows_that_do_not_match_are_left_behind_in_the_index(
        self, work: Work, monkeypatch: pytest.MonkeyPatch, sort: str
    ) -> None:
        """Where many match, what is filtered by is compared in the index that has the order, which is several times as
        fast as bringing out each row of it."""
        monkeypatch.setattr(listing, "FEW", 0)
        monkeypatch.setattr(listing, "MANY", 0)
        everything = {
            "created_at": Where("created_at", AT - 5000 * DAY, Is.AFTER),
            "updated_at": Where("updated_at", AT - 5000 * DAY, Is.AFTER),
            "owner_id": Where("owner_id", "owner-1"),
            "issuer_id": Where("issuer_id", "iss-1"),
        }
        for field in everything.keys() - {sort}:
            with observed() as seen:
                work.certificates.page(Query((everything[field],), sort=sort, limit=20))
            (scan,) = (node for node in nodes(seen.plans[-1]) if node["Node Type"] == "Index Only Scan")
            assert f"managed_certificates_{sort.removesuffix('_at')}_idx" == scan["Index Name"]
            assert "Index Cond" in scan
            assert "Filter" not in scan

    def test_figures_read_no_certificate(self, work: Work) -> None:
        midnight = AT.replace(hour=0, minute=0, second=0, microsecond=0)
        with observed() as seen:
            work.certificates.expiring_by_day(midnight, 365)
            work.certificates.count_by_status()
            work.jobs.count_by_status()
            work.tallies.jobs_by_day(midnight.date(), 365)
            work.certificates.count(Where("owner_id", "owner-1"))
        relations = {node.get("Relation Name") for plan in seen.plans for node in nodes(plan)}
        assert relations & BIG == set()


AUDIT = {"audit_events", "audit_leaves", "audit_subtrees", "audit_checkpoints", "audit_unsealed"}

TREE: dict[str, Callable[[Work], Any]] = {
    "hashes": lambda w: w.seals.hashes(
        [subtree for one in merkle.inclusion_path(7777, 15000) for subtree in merkle.cover(one)]
    ),
    "latest": lambda w: w.seals.latest(),
    "one checkpoint": lambda w: w.seals.checkpoint(5000),
    "checkpoints": lambda w: w.seals.checkpoints(
        Query((Where("tree_size", 5000, Is.AFTER), Where("tree_size", 5050, Is.BEFORE)), sort="tree_size", count=False)
    ),
    "an entry": lambda w: w.seals.entry("event-7777"),
    "leaves": lambda w: w.seals.leaves(7777, 20),
    "what is beyond": lambda w: w.seals.beyond(15000, 19900, 20),
    "what waits longest": lambda w: w.seals.longest_waiting(),
}


class TestAuditTrail:
    @pytest.mark.parametrize(
        "where",
        [
            (),
            (Where("actor", "rare"),),
            (Where("actor_type", ActorType.AGENT),),
            (Where("action", "rare"),),
            (Where("resource_type", "rare"),),
            (Where("resource_id", "mc-7"),),
            (Where("resource_id", "mc-7"), Where("resource_type", "certificate")),
            (Where("timestamp", AT + 7 * DAY, Is.BEFORE), Where("timestamp", AT + 6 * DAY, Is.AFTER)),
            (Where("actor", "user-7"), Where("timestamp", AT + 7 * DAY, Is.BEFORE)),
        ],
        ids=lambda where: " ".join(one.field for one in where),
    )
    @pytest.mark.parametrize("descending", [False, True])
    def test_a_page_is_the_beginning_of_a_range_of_an_index(
        self, work: Work, where: tuple[Where, ...], descending: bool
    ) -> None:
        """However rare it is what is looked for, and however long ago."""
        query = Query(where, sort="timestamp", descending=descending, limit=20, count=False)
        for page in (work.audit.page, work.seals.entries):
            with observed() as seen:
                page(query)
            (plan,) = seen.plans
            scans = [node for node in nodes(plan) if node.get("Relation Name") == "audit_events"]
            assert [node["Node Type"] for node in scans] == ["Index Scan"]
            assert not where or "Index Cond" in scans[0]
            assert not {"Sort", "Incremental Sort"} & {node["Node Type"] for node in nodes(plan)}

    @pytest.mark.parametrize("name", TREE)
    def test_the_tree_is_read_where_it_is_asked_for(self, work: Work, name: str) -> None:
        with observed() as seen:
            TREE[name](work)
        assert len(seen.plans) == 1
        assert whole_tables(seen.plans) & AUDIT == set()

    def test_sealing_reads_what_waits(self, work: Work) -> None:
        with observed() as seen:
            work.seals.take(500)
        assert whole_tables(seen.plans) & AUDIT - {"audit_unsealed"} == set()


class TestNumberOfStatements:
    def test_a_list_takes_the_same_statements_whatever_is_on_it(self, work: Work) -> None:
        work.audit.add(facts.event())
        for page in (
            lambda limit: work.certificates.page(Query((Where("status", CertificateStatus.ACTIVE),), limit=limit)),
            lambda limit: work.jobs.page(Query(limit=limit)),
            lambda limit: work.agents.page(Query(limit=limit)),
            lambda limit: work.audit.page(Query(limit=limit)),
            lambda limit: work.calls.page(Query(limit=limit)),
        ):
            taken = set()
            for limit in (1, 10, 200):
                with observed() as seen:
                    page(limit)
                taken.add(len(seen.statements))
            assert len(taken) == 1
            assert taken <= {1, 2}

    def test_most_writes_and_reads_are_one_statement(self, work: Work) -> None:
        once: list[Callable[[Work], Any]] = [
            lambda w: w.certificates.add(facts.certificate("new", target_ids=("t-1", "t-2"))),
            lambda w: w.certificates.save(facts.certificate("new", target_ids=("t-2",))),
            lambda w: w.certificates.lock("new"),
            lambda w: w.jobs.add(facts.job("new", certificate_id="new")),
            lambda w: w.jobs.save(facts.job("new", certificate_id="new", completed_at=AT + HOUR)),
            lambda w: w.audit.add(facts.event()),
            lambda w: w.agents.heard(facts.agent("agent-1", last_heartbeat_at=AT + DAY)),
            lambda w: w.agents.counts("agent-1"),
        ]
        for step in once:
            with observed() as seen:
                step(work)
            assert len(seen.statements) == 1
