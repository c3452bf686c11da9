"""What holds for rows of every kind: they come back as they were written, and unique and referring fields are kept."""

from datetime import timedelta
from enum import Enum
from typing import Any

import attrs
import pytest
from attrs import evolve

from certctl_core.errors import Duplicate, InUse, Invalid, NotFound, StaleWrite
from certctl_core.models import catalog
from certctl_core.models.access import Role
from certctl_core.models.agents import SENTINEL_AGENTS, AgentStatus
from certctl_core.models.approvals import ApprovalState
from certctl_core.models.bulk import BulkAction, BulkStatus
from certctl_core.models.catalog import ConfigSource, KeyAlgorithmRule
from certctl_core.models.certificates import CertificateSource, CertificateStatus, RevocationReason
from certctl_core.models.jobs import JobStatus, JobType, VerificationStatus
from certctl_core.models.observed import DiscoveryStatus, HealthStatus
from certctl_core.models.policies import Severity
from certctl_core.models.records import AlertSeverity, Channel, NotificationStatus
from certctl_core.ports.store import Query, Table, Work
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, OpenWork

ROWS: dict[str, tuple[Any, dict[str, Any]]] = {
    "teams": (facts.team("new"), {"description": "they run things", "updated_at": AT + DAY}),
    "owners": (facts.owner("new"), {"email": "them@example.org", "team_id": None}),
    "profiles": (
        facts.profile("new"),
        {
            "allowed_key_algorithms": (KeyAlgorithmRule("Ed25519"), KeyAlgorithmRule("RSA", 3072)),
            "max_ttl": timedelta(days=47, seconds=1, microseconds=5),
            "allowed_ekus": ("clientAuth", "emailProtection"),
            "required_san_patterns": (r".*\.example\.org",),
            "spiffe_uri_pattern": "spiffe://example/",
            "allow_short_lived": True,
            "must_staple": True,
            "requires_approval": True,
            "enabled": False,
        },
    ),
    "renewal_policies": (
        facts.policy("new"),
        {
            "renewal_window": timedelta(days=30, hours=5),
            "auto_renew": False,
            "max_retries": 7,
            "retry_interval": timedelta(minutes=1),
            "alert_thresholds_days": (60, 1),
            "alert_channels": {AlertSeverity.CRITICAL: (Channel.PAGER_DUTY, Channel.EMAIL), AlertSeverity.WARNING: ()},
            "alert_severity_map": {60: AlertSeverity.INFORMATIONAL, 1: AlertSeverity.CRITICAL},
            "profile_id": "prof-1",
        },
    ),
    "issuers": (
        facts.issuer("new"),
        {
            "config": {"url": "https://ca.example", "nested": {"list": [1, None, "x"]}},
            "sealed_config": b"\x02\x00\xff",
            "enabled": False,
            "source": ConfigSource.ENVIRONMENT,
            "test_status": catalog.TestStatus.FAILED,
            "last_tested_at": AT,
            "team_ids": ("team-1",),
        },
    ),
    "targets": (
        facts.target("new"),
        {
            "config": {"path": "/etc/nginx"},
            "sealed_config": b"\x02\x00\xff",
            "agent_id": "a-2",
            "enabled": False,
            "source": ConfigSource.ENVIRONMENT,
            "test_status": catalog.TestStatus.SUCCESS,
            "last_tested_at": AT,
            "team_ids": ("team-1",),
            "retired_at": AT,
            "retired_reason": "gone",
        },
    ),
    "agents": (
        facts.agent("new"),
        {
            "status": AgentStatus.DEGRADED,
            "os": "linux",
            "architecture": "aarch64",
            "ip_address": "2001:db8::1",
            "version": "1.2.3",
            "clock_offset": timedelta(seconds=-3, microseconds=4),
            "team_ids": ("team-1",),
            "last_heartbeat_at": AT,
            "retired_at": AT + HOUR,
            "retired_reason": "replaced",
        },
    ),
    "certificates": (
        facts.certificate("new"),
        {
            "sans": ("a.example", "*.b.example", "ünïcode"),
            "environment": "production",
            "profile_id": "prof-1",
            "target_ids": ("t-2", "t-1"),
            "tags": {"cost-centre": "42", "": "%s {} \\"},
            "source": CertificateSource.EST,
            "enrolment_label": "phones",
            "ordered_by": "alice",
            "ordered_by_key": "key-1",
            "status": CertificateStatus.REVOKED,
            "status_reason": "because",
            "generation": 3,
            "valid_from": AT - DAY,
            "expires_at": AT + DAY,
            "renew_at": AT,
            "next_alert_at": AT,
            "overdue_at": AT,
            "overdue_reported_at": AT,
            "next_policy_check_at": AT,
            "last_renewal_at": AT,
            "last_deployment_at": AT,
            "revoked_at": AT,
            "revocation_reason": RevocationReason.KEY_COMPROMISE,
        },
    ),
    "jobs": (
        facts.job("new", certificate_id="mc-0"),
        {
            "type": JobType.DEPLOYMENT,
            "target_id": "t-1",
            "agent_id": None,
            "approval_id": "ar-0",
            "attempt_id": "attempt-0",
            "version_id": "certver-0",
            "status": JobStatus.RUNNING,
            "attempts": 2,
            "max_attempts": 5,
            "last_error": "no",
            "requested_by": "admin",
            "started_at": AT,
            "acknowledged_at": AT,
            "completed_at": AT,
            "lease_until": AT + HOUR,
            "next_attempt_at": AT + DAY,
            "verification_status": VerificationStatus.SKIPPED,
            "verified_at": AT,
            "verification_fingerprint": "ab",
            "verification_error": "not seen",
        },
    ),
    "notifications": (
        facts.notification("new"),
        {
            "certificate_id": "mc-0",
            "channel": "Slack",
            "status": NotificationStatus.DEAD,
            "retry_count": 5,
            "next_retry_at": AT,
            "last_error": "refused",
            "sent_at": AT,
        },
    ),
    "agent_groups": (
        facts.agent_group("new"),
        {
            "description": "the edge",
            "match_os": "linux",
            "match_architecture": "amd64",
            "match_ip_cidr": "2001:db8::/32",
            "match_version": ">=1.2,<2",
            "enabled": False,
        },
    ),
    "policy_rules": (
        facts.policy_rule("new"),
        {
            "config": {"allowed": ["production", "staging"]},
            "enabled": False,
            "severity": Severity.CRITICAL,
            "team_ids": ("team-1",),
            "environments": ("production", ""),
            "agent_group_ids": ("ag-0",),
        },
    ),
    "violations": (
        facts.violation("new"),
        {"message": "other words", "severity": Severity.ERROR, "resolved_at": AT + HOUR},
    ),
    "approvals": (
        facts.approval("new", requested_by_key="key-1", ordered_by="bob", ordered_by_key="key-2", profile_id="gone"),
        {
            "state": ApprovalState.EXPIRED,
            "decided_by": "carol",
            "decided_at": AT,
            "decision_note": "looks right",
            "closed_reason": "it was changed",
        },
    ),
    "enrolments": (
        facts.enrolment("new"),
        {"client": "CN=other", "updated_at": AT + HOUR, "key_sha256": "cd"},
    ),
    "enrolment_secrets": (
        facts.enrolment_secret("new"),
        {
            "description": "for the workshop",
            "common_name": "press-1.example",
            "sans": ("192.0.2.1", "press.example"),
            "single_use": False,
            "last_used_at": AT,
            "used_for": "transaction 9",
        },
    ),
    "bulk_operations": (
        facts.bulk_operation("new"),
        {
            "action": BulkAction.REASSIGN,
            "status": BulkStatus.CANCELLED,
            "criteria": {"environment": "production", "certificate_ids": ["mc-0"]},
            "reason": "Olga left",
            "force": True,
            "new_owner_id": "owner-1",
            "new_team_id": "team-1",
            "requested_by_key": "key-1",
            "role": Role.OPERATOR,
            "team_ids": ("team-1", "team-2"),
            "environments": ("production", ""),
            "request_id": "req-1",
            "next_batch": 7,
            "total_matched": 5_000_000_000,
            "total_done": 4,
            "total_skipped": 5,
            "total_failed": 6,
            "lease_until": AT + HOUR,
            "completed_at": AT + DAY,
        },
    ),
    "api_keys": (
        facts.api_key("new"),
        {
            "team_ids": ("team-1",),
            "environments": ("production", "été"),
            "expires_at": AT,
            "last_used_at": AT,
            "revoked_at": AT,
            "created_by": "me",
        },
    ),
    "join_tokens": (
        facts.join_token("new"),
        {"agent_name": "web-1", "team_ids": ("team-1",), "used_at": AT, "used_by": "a-1"},
    ),
    "discovered": (
        facts.discovered("new"),
        {
            "common_name": "x.example",
            "sans": ("x.example", "*.y.example"),
            "serial_number": "1f",
            "issuer_dn": "CN=Some CA",
            "subject_dn": "CN=x.example",
            "not_before": AT,
            "not_after": AT + DAY,
            "key_algorithm": "RSA",
            "key_size": 2048,
            "is_ca": True,
            "pem_data": "-----BEGIN CERTIFICATE-----",
            "source_format": "DER",
            "status": DiscoveryStatus.MANAGED,
            "managed_certificate_id": "mc-0",
            "last_seen_at": AT + DAY,
            "dismissed_at": AT,
        },
    ),
    "scan_targets": (
        facts.scan_target("new"),
        {
            "cidrs": ("10.0.0.0/24", "2001:db8::/120"),
            "ports": (443, 8443),
            "enabled": False,
            "scan_interval_hours": 24,
            "timeout_ms": 100,
            "next_scan_at": AT,
            "last_scan_at": AT,
            "last_scan_duration_ms": 7,
            "last_scan_certs_found": 3,
        },
    ),
    "endpoints": (
        facts.endpoint("new"),
        {
            "certificate_id": "mc-0",
            "expected_fingerprint": "aa",
            "observed_fingerprint": "bb",
            "status": HealthStatus.CERT_MISMATCH,
            "consecutive_failures": 2,
            "response_time_ms": 12,
            "tls_version": "TLSv1.3",
            "cipher_suite": "TLS_AES_128_GCM_SHA256",
            "cert_subject": "CN=x",
            "cert_issuer": "CN=y",
            "cert_expiry": AT + DAY,
            "next_check_at": AT,
            "last_checked_at": AT,
            "last_success_at": AT,
            "last_failure_at": AT,
            "last_transition_at": AT,
            "failure_reason": "no route",
            "degraded_threshold": 1,
            "down_threshold": 3,
            "check_interval_seconds": 60,
            "enabled": False,
            "acknowledged": True,
            "acknowledged_by": "alice",
            "acknowledged_at": AT,
        },
    ),
}
KINDS = sorted(ROWS)


def table(work: Work, kind: str) -> Table[Any]:
    found: Table[Any] = getattr(work, kind)
    return found


@pytest.fixture
def rich(seeded: OpenWork) -> OpenWork:
    """Seeded, with a certificate `mc-0` that has an attempt, a version and a job, and an agent group."""
    with seeded() as work:
        work.certificates.add(facts.certificate("mc-0"))
        work.attempts.add(facts.attempt("attempt-0", certificate_id="mc-0"))
        work.versions.add(facts.version("certver-0", certificate_id="mc-0"))
        work.agent_groups.add(facts.agent_group("ag-0"))
        work.jobs.add(facts.job("job-0", certificate_id="mc-0", status=JobStatus.COMPLETED))
    return seeded


@pytest.mark.parametrize("kind", KINDS)
class TestTable:
    def test_what_is_added_comes_back_the_same(self, rich: OpenWork, kind: str) -> None:
        plain, changes = ROWS[kind]
        full = evolve(plain, **changes)
        with rich() as work:
            table(work, kind).add(full)
        with rich() as work:
            assert table(work, kind).get(full.id) == full
            assert table(work, kind).find(full.id) == full
            assert table(work, kind).lock(full.id) == full
            assert table(work, kind).many([full.id, "nobody"]) == {full.id: full}
            assert table(work, kind).lock_many([full.id, "nobody", full.id]) == {full.id: full}
            assert table(work, kind).lock_many([]) == {}

    def test_nothing_optional_comes_back_as_nothing(self, rich: OpenWork, kind: str) -> None:
        plain, _ = ROWS[kind]
        with rich() as work:
            table(work, kind).add(plain)
        with rich() as work:
            assert table(work, kind).get(plain.id) == plain

    def test_a_change_of_every_field_is_saved_under_the_next_revision(self, rich: OpenWork, kind: str) -> None:
        plain, changes = ROWS[kind]
        with rich() as work:
            table(work, kind).add(plain)
        with rich() as work:
            saved = table(work, kind).save(evolve(plain, **changes))
            assert saved == evolve(plain, **changes, revision=2)
        with rich() as work:
            assert table(work, kind).get(plain.id) == saved

    def test_a_stale_write_is_refused(self, rich: OpenWork, kind: str) -> None:
        plain, changes = ROWS[kind]
        with rich() as work:
            table(work, kind).add(plain)
            current = table(work, kind).save(plain)
        with pytest.raises(StaleWrite, match="changed by somebody else"), rich() as work:
            table(work, kind).save(evolve(plain, **changes))
        with rich() as work:
            assert table(work, kind).get(plain.id) == current

    def test_several_are_added_and_saved_together(self, rich: OpenWork, kind: str) -> None:
        plain, changes = ROWS[kind]
        with rich() as work:
            table(work, kind).add_many([plain])
            table(work, kind).add_many([])
        with rich() as work:
            assert table(work, kind).save_many([]) == []
            assert list(table(work, kind).save_many([evolve(plain, **changes)])) == [
                evolve(plain, **changes, revision=2)
            ]
        with rich() as work:
            assert table(work, kind).get(plain.id) == evolve(plain, **changes, revision=2)

    def test_a_stale_write_among_several_is_refused(self, rich: OpenWork, kind: str) -> None:
        plain, changes = ROWS[kind]
        with rich() as work:
            table(work, kind).add(plain)
            current = table(work, kind).save(plain)
        with pytest.raises(StaleWrite, match="changed by somebody else"), rich() as work:
            table(work, kind).save_many([evolve(plain, **changes)])
        with rich() as work:
            assert table(work, kind).get(plain.id) == current

    def test_an_identity_is_taken_once(self, rich: OpenWork, kind: str) -> None:
        plain, _ = ROWS[kind]
        with rich() as work:
            table(work, kind).add(plain)
        with pytest.raises(Duplicate, match="exists already"), rich() as work:
            table(work, kind).add(plain)

    def test_what_does_not_exist_is_not_found(self, store: OpenWork, kind: str) -> None:
        plain, _ = ROWS[kind]
        with store() as work:
            assert table(work, kind).find("nobody") is None
            assert table(work, kind).many([]) == {}
            for ask in (table(work, kind).get, table(work, kind).lock, table(work, kind).remove):
                with pytest.raises(NotFound, match="nobody"):
                    ask("nobody")
            with pytest.raises(NotFound, match="new"):
                table(work, kind).save(plain)

    def test_what_is_removed_is_gone(self, rich: OpenWork, kind: str) -> None:
        plain, _ = ROWS[kind]
        with rich() as work:
            table(work, kind).add(plain)
        with rich() as work:
            table(work, kind).remove(plain.id)
        with rich() as work:
            assert table(work, kind).find(plain.id) is None

    def test_every_word_of_every_enumeration_can_be_written(self, rich: OpenWork, kind: str) -> None:
        plain, _ = ROWS[kind]
        for name, declared in attrs.fields_dict(type(plain)).items():
            value = getattr(plain, name)
            if not isinstance(value, Enum):
                continue
            for word in type(value):
                if word is Role.AGENT:
                    continue  # has an agent, see below
                with rich() as work:
                    table(work, kind).add(evolve(plain, **{declared.alias: word}))
                with rich() as work:
                    assert getattr(table(work, kind).get(plain.id), name) is word
                    table(work, kind).remove(plain.id)


class TestUniqueness:
    @pytest.mark.parametrize(
        "kind",
        [
            "teams",
            "profiles",
            "renewal_policies",
            "issuers",
            "agents",
            "certificates",
            "agent_groups",
            "policy_rules",
        ],
    )
    def test_a_name_is_taken_once(self, seeded: OpenWork, kind: str) -> None:
        plain, _ = ROWS[kind]
        with seeded() as work:
            table(work, kind).add(plain)
        with pytest.raises(Duplicate, match="name 'new'"), seeded() as work:
            table(work, kind).add(evolve(plain, id="another"))

    @pytest.mark.parametrize("kind", ["teams", "certificates"])
    def test_a_name_cannot_be_changed_to_a_taken_one(self, seeded: OpenWork, kind: str) -> None:
        plain, _ = ROWS[kind]
        other = evolve(plain, id="other", name="other")
        with seeded() as work:
            table(work, kind).add(plain)
            table(work, kind).add(other)
        with pytest.raises(Duplicate, match="name 'new'"), seeded() as work:
            table(work, kind).save(evolve(other, name="new"))

    def test_a_name_that_was_given_up_is_free(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.teams.add(facts.team("new"))
        with seeded() as work:
            work.teams.save(evolve(work.teams.get("new"), name="renamed"))
            work.teams.add(facts.team("another", name="new"))
        with seeded() as work:
            assert work.teams.get("another").name == "new"

    def test_an_archived_certificate_gives_its_name_back(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.certificates.add(facts.certificate("mc-1", name="web", status=CertificateStatus.ARCHIVED))
            work.certificates.add(facts.certificate("mc-2", name="web", status=CertificateStatus.ARCHIVED))
            work.certificates.add(facts.certificate("mc-3", name="web"))
        with pytest.raises(Duplicate, match="name 'web'"), seeded() as work:
            work.certificates.add(facts.certificate("mc-4", name="web"))

    def test_a_retired_agent_gives_its_name_back(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.agents.save(evolve(work.agents.get("a-1"), retired_at=AT))
            work.agents.add(facts.agent("again", name="a-1"))
        with pytest.raises(Duplicate, match="name 'a-1'"), seeded() as work:
            work.agents.add(facts.agent("once more", name="a-1"))

    def test_targets_are_named_within_their_agent(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.targets.add(facts.target("new", agent_id="a-1", name="web"))
            work.targets.add(facts.target("other", agent_id="a-2", name="web"))
        with pytest.raises(Duplicate, match="name 'web'"), seeded() as work:
            work.targets.add(facts.target("third", agent_id="a-1", name="web"))

    def test_hashes_of_keys_and_tokens_are_taken_once(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.api_keys.add(facts.api_key("one"))
            work.join_tokens.add(facts.join_token("one"))
        with pytest.raises(Duplicate), seeded() as work:
            work.api_keys.add(evolve(facts.api_key("one"), id="two"))
        with pytest.raises(Duplicate), seeded() as work:
            work.join_tokens.add(evolve(facts.join_token("one"), id="two"))


REFERENCES = [
    ("owners", "team_id"),
    ("renewal_policies", "profile_id"),
    ("targets", "agent_id"),
    ("certificates", "owner_id"),
    ("certificates", "team_id"),
    ("certificates", "issuer_id"),
    ("certificates", "renewal_policy_id"),
    ("certificates", "profile_id"),
    ("jobs", "certificate_id"),
    ("jobs", "target_id"),
    ("jobs", "agent_id"),
    ("jobs", "attempt_id"),
    ("jobs", "version_id"),
    ("notifications", "certificate_id"),
    ("violations", "certificate_id"),
    ("join_tokens", "used_by"),
]

LIMITED = {"issuers": "", "targets": "retired_at", "agents": "retired_at", "api_keys": "revoked_at"}
"""What may be limited to teams, and the field that says when a row has ended."""


class TestReferences:
    @pytest.mark.parametrize(("kind", "name"), REFERENCES)
    def test_a_reference_to_nothing_is_refused_by_name(self, rich: OpenWork, kind: str, name: str) -> None:
        plain, _ = ROWS[kind]
        with pytest.raises(Invalid) as refused, rich() as work:
            table(work, kind).add(evolve(plain, **{name: "nobody"}))
        assert [problem.field for problem in refused.value.fields] == [name]
        assert "nobody" in refused.value.message
        with rich() as work:
            table(work, kind).add(plain)
        with pytest.raises(Invalid, match="nobody"), rich() as work:
            table(work, kind).save(evolve(plain, **{name: "nobody"}))

    def test_a_target_that_does_not_exist_is_refused_by_name(self, seeded: OpenWork) -> None:
        with pytest.raises(Invalid, match="'nobody'") as refused, seeded() as work:
            work.certificates.add(facts.certificate(target_ids=("t-1", "nobody")))
        assert [problem.field for problem in refused.value.fields] == ["target_ids"]

    @pytest.mark.parametrize("name", ["team_ids", "agent_group_ids"])
    def test_a_rule_about_nobody_is_refused_by_name(self, seeded: OpenWork, name: str) -> None:
        with pytest.raises(Invalid, match="'nobody'") as refused, seeded() as work:
            work.policy_rules.add(facts.policy_rule(**{name: ("nobody",)}))
        assert [problem.field for problem in refused.value.fields] == [name]

    @pytest.mark.parametrize("kind", LIMITED)
    def test_a_limit_to_nobody_is_refused_by_name(self, seeded: OpenWork, kind: str) -> None:
        plain, _ = ROWS[kind]
        with pytest.raises(Invalid, match="'nobody'") as refused, seeded() as work:
            table(work, kind).add(evolve(plain, team_ids=("team-1", "nobody")))
        assert [problem.field for problem in refused.value.fields] == ["team_ids"]
        with seeded() as work:
            table(work, kind).add(plain)
        with pytest.raises(Invalid, match="'nobody'"), seeded() as work:
            table(work, kind).save(evolve(plain, team_ids=("nobody",)))

    @pytest.mark.parametrize(("kind", "end"), LIMITED.items())
    def test_a_team_stays_while_something_is_limited_to_it(self, seeded: OpenWork, kind: str, end: str) -> None:
        plain, _ = ROWS[kind]
        with seeded() as work:
            work.teams.add(facts.team("team-2"))
            table(work, kind).add(evolve(plain, team_ids=("team-2", "team-1")))
        with pytest.raises(InUse) as refused, seeded() as work:
            work.teams.remove("team-2")
        assert list(refused.value.counts.values()) == [1]
        with seeded() as work:
            held = table(work, kind).get("new")
            table(work, kind).save(evolve(held, **({end: AT} if end else {"team_ids": ("team-1",)})))
            work.teams.remove("team-2")
            assert table(work, kind).get("new").team_ids == (held.team_ids if end else ("team-1",))

    def test_what_is_removed_holds_no_team(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.teams.add(facts.team("team-2"))
            work.issuers.add(facts.issuer("new", team_ids=("team-2",)))
            work.targets.add(facts.target("new", team_ids=("team-2",)))
        with seeded() as work:
            work.issuers.remove("new")
            work.targets.remove("new")
            work.teams.remove("team-2")
        with seeded() as work:
            assert work.teams.find("team-2") is None

    @pytest.mark.parametrize(
        ("kind", "identity", "counts"),
        [
            ("teams", "team-1", {"certificate": 1, "owner": 1, "policy rule": 1}),
            ("owners", "owner-1", {"certificate": 1}),
            ("profiles", "prof-1", {"certificate": 1, "renewal policy": 1}),
            ("renewal_policies", "rp-1", {"certificate": 1}),
            ("issuers", "iss-1", {"certificate": 1}),
            ("targets", "t-1", {"certificate": 1}),
            ("agents", "a-1", {"target": 1}),
            ("agent_groups", "ag-1", {"policy rule": 1}),
        ],
    )
    def test_what_is_in_use_cannot_be_removed(
        self, seeded: OpenWork, kind: str, identity: str, counts: dict[str, int]
    ) -> None:
        with seeded() as work:
            work.renewal_policies.add(facts.policy(profile_id="prof-1"))
            work.agent_groups.add(facts.agent_group())
            work.policy_rules.add(facts.policy_rule(team_ids=("team-1",), agent_group_ids=("ag-1",)))
            work.certificates.add(facts.certificate(renewal_policy_id="rp-1", profile_id="prof-1", target_ids=("t-1",)))
        with pytest.raises(InUse) as refused, seeded() as work:
            table(work, kind).remove(identity)
        assert refused.value.counts == counts
        with seeded() as work:
            assert table(work, kind).find(identity) is not None
            assert work.certificates.find("mc-1") is not None

    def test_deleting_a_team_takes_neither_owners_nor_certificates(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.owners.save(evolve(work.owners.get("owner-1"), team_id=None))
            work.certificates.add(facts.certificate())
        with pytest.raises(InUse, match="1 certificate"), seeded() as work:
            work.teams.remove("team-1")
        with seeded() as work:
            assert work.certificates.get("mc-1").team_id == "team-1"

    def test_a_certificate_that_was_ever_issued_cannot_be_removed(self, rich: OpenWork) -> None:
        with pytest.raises(InUse, match="certificate version"), rich() as work:
            work.certificates.remove("mc-0")

    def test_a_certificate_takes_its_jobs_notifications_and_violations_with_it(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.certificates.add(facts.certificate())
            work.jobs.add(facts.job())
            work.notifications.add(facts.notification(certificate_id="mc-1"))
            work.violations.add(facts.violation(certificate_id="mc-1"))
        with seeded() as work:
            work.certificates.remove("mc-1")
        with seeded() as work:
            assert work.jobs.find("job-1") is None
            assert work.notifications.find("notif-1") is None
            assert work.violations.find("violation-1") is None

    def test_jobs_outlive_their_target(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.certificates.add(facts.certificate())
            work.jobs.add(facts.deployment_job(status=JobStatus.COMPLETED))
        with seeded() as work:
            work.targets.remove("t-1")
        with seeded() as work:
            assert work.jobs.get("job-1").target_id is None

    def test_an_archived_certificate_lets_go_of_a_target_that_is_removed(self, seeded: OpenWork) -> None:
        with seeded() as work:
            archived = CertificateStatus.ARCHIVED
            work.certificates.add(facts.certificate(status=archived, target_ids=("t-2", "t-1")))
        with seeded() as work:
            work.targets.remove("t-1")
        with seeded() as work:
            assert work.certificates.get("mc-1").target_ids == ("t-2",)

    def test_an_issuer_takes_its_ca_and_crl_with_it(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.authorities.lock_or_add(facts.authority(issuer_id="iss-1"))
            work.crls.save(facts.crl(work.crls.next_number("iss-1")), b"der")
            work.crls.ensure(facts.duty())
        with seeded() as work:
            work.issuers.remove("iss-1")
        with seeded() as work:
            assert work.authorities.find("iss-1") is None
            assert work.crls.find("iss-1", facts.SCOPE.authority) is None
            assert work.crls.duties("iss-1") == []


class TestSeeds:
    def test_there_is_a_default_renewal_policy(self, store: OpenWork) -> None:
        with store() as work:
            policy = work.renewal_policies.get("rp-default")
        assert policy.auto_renew
        assert policy.renewal_window is None
        assert policy.alert_thresholds_days == (30, 14, 7, 0)

    def test_the_control_planes_own_agents_are_there(self, store: OpenWork) -> None:
        with store() as work:
            found = work.agents.page(Query(sort="name"))
        assert sorted(agent.id for agent in found.items) == sorted(SENTINEL_AGENTS)
        assert {agent.hostname for agent in found.items} == {"control-plane"}
