"""Certificates and what hangs on them: sweeps, counts, versions, attempts, revocations, deployments, CAs and CRLs."""

from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import Duplicate, Invalid, NotFound, StaleWrite
from certctl_core.models.certificates import (
    AttemptStatus,
    CertificateStatus,
    CertificateVersion,
    Deployment,
    RevocationReason,
)
from certctl_core.ports.store import Is, Query, Where
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, SECOND, OpenWork


class TestSweeps:
    def test_due_for_renewal_is_what_has_come_due_oldest_first(self, seeded: OpenWork) -> None:
        with seeded() as work:
            for name, renew_at in {"later": AT + SECOND, "now": AT, "long ago": AT - DAY, "never": None}.items():
                work.certificates.add(facts.certificate(name, renew_at=renew_at))
        with seeded() as work:
            assert [c.id for c in work.certificates.due_for_renewal(AT, 10)] == ["long ago", "now"]
            assert [c.id for c in work.certificates.due_for_renewal(AT, 1)] == ["long ago"]

    def test_due_for_expiry_is_what_is_in_use_and_over(self, seeded: OpenWork) -> None:
        with seeded() as work:
            for number, status in enumerate(CertificateStatus):
                work.certificates.add(
                    facts.certificate(f"over-{status.value}", status=status, expires_at=AT - number * SECOND)
                )
                work.certificates.add(
                    facts.certificate(f"not yet-{status.value}", status=status, expires_at=AT + SECOND)
                )
            work.certificates.add(facts.certificate("never issued", status=CertificateStatus.ACTIVE))
        with seeded() as work:
            due = work.certificates.due_for_expiry(AT, 10)
            assert [c.id for c in due] == ["over-Failed", "over-Expiring", "over-Active"]
            assert [c.id for c in work.certificates.due_for_expiry(AT, 1)] == ["over-Failed"]

    def test_due_for_an_alert_is_whose_time_has_come(self, seeded: OpenWork) -> None:
        with seeded() as work:
            for name, at in {"later": AT + SECOND, "now": AT, "long ago": AT - DAY, "never": None}.items():
                work.certificates.add(facts.certificate(name, next_alert_at=at))
        with seeded() as work:
            assert [c.id for c in work.certificates.due_for_alert(AT, 10)] == ["long ago", "now"]
            assert [c.id for c in work.certificates.due_for_alert(AT, 1)] == ["long ago"]

    def test_newly_overdue_is_what_was_not_reported(self, seeded: OpenWork) -> None:
        with seeded() as work:
            for name, at in {"later": AT + SECOND, "now": AT, "long ago": AT - DAY, "never": None}.items():
                work.certificates.add(facts.certificate(name, overdue_at=at))
            work.certificates.add(facts.certificate("reported", overdue_at=AT - 2 * DAY, overdue_reported_at=AT - DAY))
        with seeded() as work:
            assert [c.id for c in work.certificates.newly_overdue(AT, 10)] == ["long ago", "now"]
            assert [c.id for c in work.certificates.newly_overdue(AT, 1)] == ["long ago"]
            overdue = work.certificates.page(Query((Where("overdue_at", AT, Is.BEFORE),), sort="overdue_at"))
            assert [c.id for c in overdue.items] == ["reported", "long ago"]

    def test_those_of_a_policy_follow_in_order_of_their_ids(self, seeded: OpenWork) -> None:
        with seeded() as work:
            work.renewal_policies.add(facts.policy("rp-2"))
            for name in ("mc-c", "mc-a", "mc-d", "mc-b"):
                work.certificates.add(facts.certificate(name, renewal_policy_id="rp-2"))
            work.certificates.add(facts.certificate("mc-bb"))
        with seeded() as work:
            assert [c.id for c in work.certificates.lock_following("rp-2", "", 3)] == ["mc-a", "mc-b", "mc-c"]
            assert [c.id for c in work.certificates.lock_following("rp-2", "mc-b", 3)] == ["mc-c", "mc-d"]
            assert list(work.certificates.lock_following("nobody's", "", 3)) == []

    def test_counts_name_every_status(self, issued: OpenWork) -> None:
        with issued() as work:
            work.certificates.add(facts.certificate("mc-3", status=CertificateStatus.ARCHIVED))
        with issued() as work:
            counts = work.certificates.count_by_status()
        assert set(counts) == set(CertificateStatus)
        assert {status: n for status, n in counts.items() if n} == {
            CertificateStatus.PENDING: 2,
            CertificateStatus.ARCHIVED: 1,
        }

    def test_counts_are_of_those_for_which_the_conditions_hold(self, seeded: OpenWork) -> None:
        active = {"status": CertificateStatus.ACTIVE, "expires_at": AT}
        with seeded() as work:
            work.teams.add(facts.team("team-2"))
            work.certificates.add(facts.certificate("mine", environment="prod", **active))
            work.certificates.add(facts.certificate("mine too", environment="test", **active))
            work.certificates.add(facts.certificate("theirs", team_id="team-2", environment="prod", **active))
        mine = Where("team_id", ("team-1",), Is.ONE_OF)
        for where, count in (((), 3), ((mine,), 2), ((mine, Where("environment", ("prod",), Is.ONE_OF)), 1)):
            with seeded() as work:
                assert work.certificates.count_by_status(where)[CertificateStatus.ACTIVE] == count
                today = AT.replace(hour=0, minute=0, second=0, microsecond=0)
                assert work.certificates.expiring_by_day(today, 1, where) == [(today, count)]
                assert work.certificates.ending(today, today + DAY, where) == count
                assert work.certificates.ending(today - 9 * DAY, today + 9 * DAY, where) == count
        with pytest.raises(Invalid), seeded() as work:
            work.certificates.count_by_status((Where("tags", {}),))

    def test_expiries_are_counted_by_day_from_the_start(self, seeded: OpenWork) -> None:
        start = AT.replace(hour=0, minute=0, second=0, microsecond=0)
        ends = {
            "before": start - timedelta(microseconds=1),
            "first moment": start,
            "last moment": start + DAY - timedelta(microseconds=1),
            "third day": start + 2 * DAY,
            "after the end": start + 3 * DAY,
        }
        with seeded() as work:
            for name, end in ends.items():
                work.certificates.add(facts.certificate(name, status=CertificateStatus.ACTIVE, expires_at=end))
            for status in set(CertificateStatus) - {CertificateStatus.ACTIVE}:
                work.certificates.add(facts.certificate(status.value, status=status, expires_at=start + 2 * DAY))
            work.certificates.add(facts.certificate("never issued"))
        with seeded() as work:
            # On the third day: the active one, and those Expiring, Failed and in renewal, which serve as well.
            assert work.certificates.expiring_by_day(start, 3) == [
                (start, 2),
                (start + DAY, 0),
                (start + 2 * DAY, 4),
            ]
            assert work.certificates.expiring_by_day(AT, 0) == []


class TestVersions:
    def test_a_version_comes_back_the_same(self, issued: OpenWork) -> None:
        full = facts.version(
            attempt_id="attempt-1", job_id="job-1", csr=facts.csr(), chain=(facts.leaf(), facts.root()), key_size=384
        )
        plain = facts.version(
            "certver-2",
            generation=2,
            agent_id=None,
            chain=(),
            key_algorithm="",
            key_size=0,
        )
        with issued() as work:
            work.jobs.add(facts.job())
            work.attempts.add(facts.attempt())
            work.versions.add(full)
            work.versions.add(plain)
        with issued() as work:
            assert work.versions.get(full.id) == full
            assert work.versions.get(plain.id) == plain
            assert work.versions.with_serial(full.issuer_id, full.serial_number) == full
            assert work.versions.with_serial(full.issuer_id, "1") is None
            own = (full.issuer_id, full.serial_number)
            strange = [(full.issuer_id, "1"), ("another", full.serial_number)]
            assert work.versions.with_serials([own, *strange]) == {own: full}
            assert work.versions.with_serials([]) == {}
            with pytest.raises(NotFound, match="nobody"):
                work.versions.get("nobody")

    @pytest.mark.parametrize(
        "field", ["id", "certificate_id generation", "issuer_id serial_number", "fingerprint_sha256"]
    )
    def test_a_certificate_is_recorded_once(self, issued: OpenWork, field: str) -> None:
        first = facts.version()
        other = facts.version("certver-2", certificate_id="mc-2", generation=2)
        same = evolve(other, **{name: getattr(first, name) for name in field.split()})
        with issued() as work:
            work.versions.add(first)
        with pytest.raises(Duplicate, match="exists already"), issued() as work:
            work.versions.add(same)

    @pytest.mark.parametrize("field", ["certificate_id", "issuer_id", "agent_id", "attempt_id", "job_id"])
    def test_a_version_refers_to_what_exists(self, issued: OpenWork, field: str) -> None:
        with pytest.raises(Invalid, match=field), issued() as work:
            work.versions.add(evolve(facts.version(), **{field: "nobody"}))

    def test_pages_show_the_newest_first(self, issued: OpenWork) -> None:
        versions = [facts.version(f"certver-{n}", generation=n) for n in range(1, 6)]
        with issued() as work:
            for version in (versions[2], versions[0], versions[4], versions[1], versions[3]):
                work.versions.add(version)
            work.versions.add(facts.version("other", certificate_id="mc-2"))
        with issued() as work:
            first = work.versions.page("mc-1", 2, 0)
            last = work.versions.page("mc-1", 3, 2)
            assert (first.items, first.total, first.more) == ((versions[4], versions[3]), 5, True)
            assert (last.items, last.total, last.more) == (tuple(reversed(versions[:3])), 5, False)
            assert first.next is not None
            assert last.next is None
            behind = work.versions.page("mc-1", 3, after=(first.next.value, first.next.id))
            assert (behind.items, behind.total) == (last.items, 5)
            assert work.versions.page("nobody", 10, 0).total == 0

    def test_the_newest_of_each_key_holder_is_what_a_certificate_is_today(self, issued: OpenWork) -> None:
        def version(generation: int, holder: str | None) -> CertificateVersion:
            return facts.version(f"certver-{generation}", generation=generation, agent_id=holder)

        old_1, new_2, new_1, ours = version(1, "a-1"), version(2, "a-2"), version(3, "a-1"), version(4, None)
        with issued() as work:
            for one in (old_1, new_2, new_1, ours):
                work.versions.add(one)
        with issued() as work:
            assert work.versions.latest_per_holder("mc-1") == [ours, new_1, new_2]
            assert work.versions.latest("mc-1") == ours
            assert work.versions.latest("mc-1", "a-1") == new_1
            assert work.versions.latest("mc-1", "a-2") == new_2
            assert work.versions.latest("mc-2") is None
            assert work.versions.latest("mc-1", "nobody") is None

    def test_the_newest_of_several_certificates_are_found_together(self, issued: OpenWork) -> None:
        old = facts.version("old", generation=1, agent_id="a-1")
        new = facts.version("new", generation=2, agent_id="a-1")
        theirs = facts.version("theirs", generation=3, agent_id="a-2")
        other = facts.version("other", certificate_id="mc-2", agent_id="a-1")
        with issued() as work:
            work.versions.add_many([old, new, theirs, other])
            work.versions.add_many([])
        with issued() as work:
            of_one = {"mc-1": "a-1", "mc-2": "a-1", "mc-3": "a-1"}
            assert work.versions.latest_many(of_one) == {"mc-1": new, "mc-2": other}
            assert work.versions.latest_many({**of_one, "mc-1": "a-2"}) == {"mc-1": theirs, "mc-2": other}
            assert work.versions.latest_per_holder_many(["mc-1", "mc-2", "mc-3"]) == {
                "mc-1": [theirs, new],
                "mc-2": [other],
            }

    def test_several_versions_are_added_all_or_none(self, issued: OpenWork) -> None:
        with pytest.raises(Duplicate), issued() as work:
            work.versions.add_many([facts.version("one", generation=1), facts.version("two", generation=1)])
        with issued() as work:
            assert work.versions.page("mc-1", 10, 0).total == 0

    def test_unexpired_is_what_could_still_be_believed(self, issued: OpenWork) -> None:
        with issued() as work:
            work.versions.add(facts.version("gone", generation=1, not_after=AT))
            work.versions.add(facts.version("here", generation=2, not_after=AT + SECOND))
            work.versions.add(facts.version("longer", generation=3, not_after=AT + DAY))
            work.versions.add(facts.version("other", certificate_id="mc-2"))
        with issued() as work:
            found = work.versions.unexpired(["mc-1", "mc-2", "nobody"], AT)
            assert {identity: [v.id for v in versions] for identity, versions in found.items()} == {
                "mc-1": ["longer", "here"],
                "mc-2": ["other"],
            }
            assert work.versions.unexpired([], AT) == {}
            assert work.versions.unexpired(["mc-1", "mc-2"], AT + 90 * DAY) == {}

    def test_a_foreign_certificate_takes_no_serial_number_from_the_issuer(self, issued: OpenWork) -> None:
        own = facts.version("own", generation=1, serial_number="ab")
        foreign = [
            facts.version(f"foreign-{n}", generation=n, serial_number="ab", agent_id=None, is_foreign=True)
            for n in (2, 3)
        ]
        with issued() as work:
            work.versions.add_many(foreign)
        with issued() as work:
            assert work.versions.with_serial("iss-1", "ab") is None
            assert work.versions.with_serials([("iss-1", "ab")]) == {}
            assert work.versions.owners_of_serials("iss-1", ["ab"]) == {}
            work.versions.add(own)
        with issued() as work:
            assert work.versions.with_serial("iss-1", "ab") == own
            assert work.versions.owners_of_serials("iss-1", ["ab", "cd"]) == {"ab": "mc-1"}
            assert work.versions.owners_of_serials("iss-2", ["ab"]) == {}
        again = evolve(foreign[0], id="again", generation=9)
        with pytest.raises(Duplicate), issued() as work:
            work.versions.add(again)

    def test_versions_outlive_the_job_that_made_them(self, issued: OpenWork) -> None:
        with issued() as work:
            work.jobs.add(facts.job())
            work.attempts.add(facts.attempt(job_id="job-1"))
            work.versions.add(facts.version(job_id="job-1"))
        with issued() as work:
            work.jobs.remove("job-1")
        with issued() as work:
            assert work.versions.get("certver-1").job_id is None
            assert work.attempts.get("attempt-1").job_id is None


class TestAttempts:
    def test_an_attempt_comes_back_the_same(self, issued: OpenWork) -> None:
        plain = facts.attempt()
        with issued() as work:
            work.jobs.add(facts.job())
            work.attempts.add(plain)
        with issued() as work:
            assert work.attempts.get("attempt-1") == plain
            assert work.attempts.lock("attempt-1") == plain
            full = evolve(
                plain,
                job_id="job-1",
                agent_id=None,
                status=AttemptStatus.ORDERED,
                upstream_order_id="order-7",
                error="soon",
                finished_at=AT,
            )
            assert work.attempts.save(full) == evolve(full, revision=2)
        with issued() as work:
            assert work.attempts.get("attempt-1") == evolve(full, revision=2)
        with pytest.raises(StaleWrite), issued() as work:
            work.attempts.save(full)
        with pytest.raises(NotFound), issued() as work:
            work.attempts.get("nobody")

    def test_every_status_can_be_written(self, issued: OpenWork) -> None:
        with issued() as work:
            for generation, status in enumerate(AttemptStatus):
                work.attempts.add(facts.attempt(status.value, generation=generation, status=status))
        with issued() as work:
            assert [work.attempts.get(status.value).status for status in AttemptStatus] == list(AttemptStatus)

    def test_a_generation_is_begun_once(self, issued: OpenWork) -> None:
        with issued() as work:
            work.attempts.add(facts.attempt())
            work.attempts.add(facts.attempt("attempt-2", generation=2))
            work.attempts.add(facts.attempt("attempt-3", certificate_id="mc-2"))
        with pytest.raises(Duplicate, match="generation 2"), issued() as work:
            work.attempts.add(facts.attempt("attempt-4", generation=2))

    def test_only_what_was_issued_since_counts(self, issued: OpenWork) -> None:
        cases = [
            ("mc-1", AttemptStatus.ISSUED, AT + SECOND),
            ("mc-1", AttemptStatus.ISSUED, AT + HOUR),
            ("mc-1", AttemptStatus.ISSUED, AT),
            ("mc-1", AttemptStatus.FAILED, AT + HOUR),
            ("mc-1", AttemptStatus.REQUESTED, None),
            ("mc-2", AttemptStatus.ISSUED, AT + HOUR),
        ]
        with issued() as work:
            for number, (certificate, status, finished_at) in enumerate(cases):
                work.attempts.add(
                    facts.attempt(
                        f"attempt-{number}",
                        certificate_id=certificate,
                        generation=number,
                        status=status,
                        finished_at=finished_at,
                    )
                )
        with issued() as work:
            assert work.attempts.issued_since("mc-1", AT) == 2
            assert work.attempts.issued_since_many(["mc-1", "mc-2", "nobody"], AT) == {"mc-1": 2, "mc-2": 1}
            assert work.attempts.issued_since_many(["mc-1"], AT + HOUR) == {}


class TestDeployments:
    def test_there_is_one_for_each_target_in_the_certificates_order(self, issued: OpenWork) -> None:
        with issued() as work:
            assert work.deployments.of("mc-1") == [
                Deployment(certificate_id="mc-1", target_id="t-2"),
                Deployment(certificate_id="mc-1", target_id="t-1"),
            ]
            assert work.deployments.of("mc-2") == []
            assert work.deployments.of("nobody") == []
            assert work.deployments.find("mc-1", "t-1") == Deployment(certificate_id="mc-1", target_id="t-1")
            assert work.deployments.find("mc-2", "t-1") is None

    def test_what_is_known_of_a_target_is_kept(self, issued: OpenWork) -> None:
        known = Deployment(
            certificate_id="mc-1",
            target_id="t-1",
            installed_fingerprint="ab",
            installed_at=AT,
            served_fingerprint="cd",
            served_at=AT + SECOND,
            last_error="nginx said no",
        )
        with issued() as work:
            work.deployments.save(known)
        with issued() as work:
            assert work.deployments.find("mc-1", "t-1") == known
            assert work.deployments.of("mc-1")[1] == known

    def test_a_target_that_is_taken_away_is_forgotten(self, issued: OpenWork) -> None:
        known = Deployment(certificate_id="mc-1", target_id="t-1", installed_fingerprint="ab", installed_at=AT)
        with issued() as work:
            work.deployments.save(known)
            alone = work.certificates.save(evolve(work.certificates.get("mc-1"), target_ids=("t-2",)))
        with issued() as work:
            work.deployments.save(known)
            assert work.deployments.find("mc-1", "t-1") is None
            work.certificates.save(evolve(alone, target_ids=("t-1", "t-2")))
        with issued() as work:
            blank = Deployment(certificate_id="mc-1", target_id="t-1")
            assert work.deployments.of("mc-1")[0] == blank

    def test_reordering_targets_keeps_what_is_known(self, issued: OpenWork) -> None:
        known = Deployment(certificate_id="mc-1", target_id="t-1", installed_fingerprint="ab", installed_at=AT)
        with issued() as work:
            work.deployments.save(known)
            work.certificates.save(evolve(work.certificates.get("mc-1"), target_ids=("t-1", "t-2")))
        with issued() as work:
            assert work.deployments.of("mc-1")[0] == known


class TestRevocations:
    def test_a_revocation_comes_back_the_same(self, issued: OpenWork) -> None:
        one = facts.revocation(reason=RevocationReason.KEY_COMPROMISE, issuer_notified=True)
        with issued() as work:
            work.revocations.add(one)
        with issued() as work:
            assert work.revocations.find(one.issuer_id, one.serial_number) == one
            assert work.revocations.find(one.issuer_id, "1") is None
            assert work.revocations.of(["mc-1", "mc-2"]) == [one]
            assert work.revocations.of(["mc-2"]) == work.revocations.of([]) == []

    def test_every_reason_can_be_written(self, issued: OpenWork) -> None:
        with issued() as work:
            for reason in RevocationReason:
                work.revocations.add(facts.revocation(reason.value, reason=reason))
        with issued() as work:
            assert {r.reason for r in work.revocations.of(["mc-1"])} == set(RevocationReason)
            assert work.revocations.count("iss-1") == len(RevocationReason)

    def test_several_are_revoked_together_and_counted_by_issuer(self, issued: OpenWork) -> None:
        several = [
            facts.revocation("rev-1", certificate_id="mc-2"),
            facts.revocation("rev-2", revoked_at=AT + SECOND),
            facts.revocation("rev-3", issuer_id="iss-2", revoked_at=AT + HOUR),
        ]
        with issued() as work:
            work.issuers.add(facts.issuer("iss-2"))
            work.revocations.add(facts.revocation("rev-0", revoked_at=AT - DAY))
            work.revocations.add_many(several)
            work.revocations.add_many([])
        with issued() as work:
            assert work.revocations.of(["mc-1", "mc-2"])[1:] == several
            assert (work.revocations.count("iss-1"), work.revocations.count("iss-2")) == (3, 1)
        with pytest.raises(Duplicate), issued() as work:
            work.revocations.add_many([facts.revocation("rev-4"), facts.revocation("rev-5", serial_number="1" * 9)] * 2)
        with issued() as work:
            assert work.revocations.count("iss-1") == 3

    def test_a_serial_number_is_revoked_once(self, issued: OpenWork) -> None:
        with issued() as work:
            work.revocations.add(facts.revocation(serial_number="ab"))
        with pytest.raises(Duplicate, match="serial_number 'ab'"), issued() as work:
            work.revocations.add(facts.revocation("rev-2", serial_number="ab"))
        with issued() as work:
            assert work.revocations.count("iss-1") == 1

    def test_each_issuer_has_a_count_that_only_rises(self, issued: OpenWork) -> None:
        with issued() as work:
            work.issuers.add(facts.issuer("iss-2"))
            assert work.revocations.count("iss-1") == 0
            work.revocations.add(facts.revocation("rev-1", not_after=AT - DAY))
            work.revocations.add(facts.revocation("rev-2"))
            work.revocations.add(facts.revocation("rev-3", issuer_id="iss-2"))
        with issued() as work:
            assert (work.revocations.count("iss-1"), work.revocations.count("iss-2")) == (2, 1)


class TestAuthorities:
    def test_the_first_authority_of_a_name_stays(self, issued: OpenWork) -> None:
        first = facts.authority(issuer_id="iss-1")
        with issued() as work:
            assert work.authorities.find("iss-1") is None
            assert work.authorities.lock_or_add(first) == first
        with issued() as work:
            assert work.authorities.lock_or_add(facts.authority(chain=(b"other",), sealed_key=b"other")) == first
            assert work.authorities.find("iss-1") == first

    def test_any_sealed_value_will_do(self, issued: OpenWork) -> None:
        with issued() as work:
            assert work.authorities.any_sealed() is None
            work.targets.save(evolve(work.targets.get("t-1"), sealed_config=b"of the target"))
            assert work.authorities.any_sealed() == b"of the target"
        with issued() as work:
            work.authorities.lock_or_add(facts.authority(sealed_key=b"of the CA"))
            assert work.authorities.any_sealed() in {b"of the CA", b"of the target"}

    def test_a_sealed_issuer_is_found_too(self, issued: OpenWork) -> None:
        with issued() as work:
            work.issuers.save(evolve(work.issuers.get("iss-1"), sealed_config=b"of the issuer"))
            assert work.authorities.any_sealed() == b"of the issuer"
