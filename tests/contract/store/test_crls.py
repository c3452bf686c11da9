"""Revocations on CRLs, CRLs that are published, and the duty to make them, over both stores."""

from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import Invalid, NotFound
from certctl_core.models.certificates import RevocationReason
from certctl_core.models.crls import CrlScope
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, SCOPE, SECOND, OpenWork

LEASE = timedelta(minutes=2)
PART = evolve(SCOPE, partition=3)


def listed(identity: str, **fields: object) -> facts.Revocation:
    """A revocation that is on the CRL of `SCOPE`."""
    told = {"authority": SCOPE.authority, "partition": 0, "entry": identity.encode()} | fields
    return facts.revocation(identity, **told)


class TestEntries:
    def test_a_list_has_the_entries_of_its_scope_in_the_order_of_their_changes(self, issued: OpenWork) -> None:
        with issued() as work:
            work.revocations.add_many([listed("b"), listed("a"), listed("c", partition=3), listed("d", authority="cd")])
            work.revocations.add(listed("e", partition=None))
            work.revocations.add(listed("f"))
        with issued() as work:
            parts, count = work.revocations.listed(SCOPE)
            assert (b"".join(parts), count) == (b"baf", 3)
            assert work.revocations.listed(PART) == ([b"c"], 1)
            assert work.revocations.listed(evolve(SCOPE, partition=1)) == ([], 0)

    def test_a_delta_has_what_changed_since(self, issued: OpenWork) -> None:
        with issued() as work:
            work.revocations.add_many([listed("a"), listed("b")])
            since = work.crls.duty(SCOPE).changes
            work.revocations.add(listed("c"))
            work.revocations.change_many([listed("a", released_at=AT + HOUR, entry=b"-a")])
        with issued() as work:
            parts, count = work.revocations.changed(SCOPE, since)
            assert (b"".join(parts), count) == (b"c-a", 2)
            assert work.revocations.listed(SCOPE)[1] == 2
            assert work.revocations.changed(SCOPE, work.crls.duty(SCOPE).changes) == ([], 0)

    def test_what_was_released_is_no_revocation_until_it_is_revoked_again(self, issued: OpenWork) -> None:
        held = listed("a", reason=RevocationReason.CERTIFICATE_HOLD)
        with issued() as work:
            work.revocations.add(held)
            work.revocations.change_many([evolve(held, released_at=AT + HOUR)])
        with issued() as work:
            assert work.revocations.find(held.issuer_id, held.serial_number) is None
            assert work.revocations.of(["mc-1"]) == []
            assert work.revocations.of(["mc-1"], released=True) == [evolve(held, released_at=AT + HOUR)]
            work.revocations.change_many([evolve(held, reason=RevocationReason.SUPERSEDED, entry=b"again")])
        with issued() as work:
            found = work.revocations.find(held.issuer_id, held.serial_number)
            assert found is not None
            assert found.reason is RevocationReason.SUPERSEDED
            assert work.revocations.listed(SCOPE) == ([b"again"], 1)

    def test_only_what_is_on_record_can_change(self, issued: OpenWork) -> None:
        with pytest.raises(NotFound), issued() as work:
            work.revocations.change_many([listed("a")])

    def test_what_has_left_is_on_no_list(self, issued: OpenWork) -> None:
        with issued() as work:
            work.revocations.add_many([listed("a", not_after=AT), listed("b", not_after=AT + SECOND)])
            assert work.revocations.leave(SCOPE, AT, 9) == 0
            assert work.revocations.leave(SCOPE, AT + SECOND, 9) == 1
            assert work.revocations.leave(SCOPE, AT + SECOND, 9) == 0
        with issued() as work:
            assert work.revocations.listed(SCOPE) == ([b"b"], 1)
            assert work.revocations.changed(SCOPE, 0) == ([b"b"], 1)
            assert len(work.revocations.of(["mc-1"])) == 2

    def test_of_many_those_that_ended_first_leave_first(self, issued: OpenWork) -> None:
        with issued() as work:
            work.revocations.add_many([listed(n, not_after=AT - int(n) * SECOND) for n in ("1", "3", "2")])
            assert work.revocations.leave(SCOPE, AT, 2) == 2
        with issued() as work:
            assert work.revocations.listed(SCOPE) == ([b"1"], 1)

    def test_what_nobody_has_assigned_is_found_and_counts_when_it_is(self, issued: OpenWork) -> None:
        with issued() as work:
            work.revocations.add_many([facts.revocation("a"), facts.revocation("b"), listed("c")])
        with issued() as work:
            assert [one.id for one in work.revocations.unassigned(1)] == ["a"]
            assert [one.id for one in work.revocations.unassigned(9)] == ["a", "b"]
            work.revocations.change_many([listed("a"), listed("b", partition=None)])
        with issued() as work:
            assert work.revocations.unassigned(9) == []
            parts, _ = work.revocations.listed(SCOPE)
            assert b"".join(parts) == b"ca"

    def test_each_scope_counts_its_changes_and_is_due(self, issued: OpenWork) -> None:
        with issued() as work:
            work.revocations.add_many([listed("a"), listed("b"), listed("c", partition=3, revoked_at=AT + HOUR)])
        with issued() as work:
            work.crls.finish(SCOPE, 2, AT, AT + DAY)
            work.revocations.add(listed("d", revoked_at=AT + HOUR))
        with issued() as work:
            whole, part = work.crls.duties("iss-1")
            assert (whole.scope, whole.changes, whole.due_at) == (SCOPE, 3, AT + HOUR)
            assert (part.scope, part.changes) == (PART, 1)
            assert work.revocations.count("iss-1") == 4


class TestPublished:
    def test_the_newest_is_published_with_its_bytes(self, issued: OpenWork) -> None:
        with issued() as work:
            assert work.crls.find("iss-1", SCOPE.authority) is None
            assert work.crls.save(facts.crl(1), b"one")
            assert work.crls.save(facts.crl(2, is_delta=True, base=1), b"delta")
            assert work.crls.save(facts.crl(3, scope=PART), b"part")
        with issued() as work:
            assert work.crls.find("iss-1", SCOPE.authority) == facts.crl(1)
            assert work.crls.find("iss-1", SCOPE.authority, 3) == facts.crl(3, scope=PART)
            assert work.crls.find("iss-1", SCOPE.authority, is_delta=True) == facts.crl(2, is_delta=True, base=1)
            assert b"".join(work.crls.content(facts.crl(1))) == b"one"
            assert b"".join(work.crls.content(facts.crl(2, is_delta=True))) == b"delta"

    def test_a_lower_number_never_replaces_a_higher_one(self, issued: OpenWork) -> None:
        with issued() as work:
            assert work.crls.save(facts.crl(2), b"two")
        with issued() as work:
            assert not work.crls.save(facts.crl(1), b"one")
            assert not work.crls.save(facts.crl(2, entries=9), b"other")
            assert work.crls.find("iss-1", SCOPE.authority) == facts.crl(2)
            assert work.crls.save(facts.crl(5), b"five")
        with issued() as work:
            assert list(work.crls.content(facts.crl(2))) == []
            assert b"".join(work.crls.content(facts.crl(5))) == b"five"

    def test_without_a_ca_the_first_one_is_meant(self, issued: OpenWork) -> None:
        with issued() as work:
            work.crls.ensure(facts.duty(is_first=True))
            work.crls.ensure(facts.duty(scope=CrlScope("iss-1", "cd")))
            work.crls.save(facts.crl(1), b"first")
            work.crls.save(facts.crl(2, scope=CrlScope("iss-1", "cd")), b"second")
        with issued() as work:
            assert work.crls.find("iss-1") == facts.crl(1)
            assert work.crls.find("iss-1", partition=3) is None
            work.crls.ensure(facts.duty())
            work.crls.ensure(facts.duty(scope=CrlScope("iss-1", "cd"), is_first=True))
            assert work.crls.find("iss-1") == facts.crl(2, scope=CrlScope("iss-1", "cd"))

    def test_numbers_only_rise(self, issued: OpenWork) -> None:
        with issued() as work:
            work.issuers.add(facts.issuer("iss-2"))
        numbers = []
        for _ in range(3):
            with issued() as work:
                numbers.append(work.crls.next_number("iss-1"))
        with issued() as work:
            assert numbers == [1, 2, 3]
            assert work.crls.next_number("iss-2") == 1

    def test_an_issuer_that_does_not_exist_has_no_crl(self, issued: OpenWork) -> None:
        with pytest.raises(NotFound, match="nobody"), issued() as work:
            work.crls.next_number("nobody")
        with pytest.raises(Invalid, match="issuer_id"), issued() as work:
            work.crls.save(facts.crl(scope=CrlScope("nobody", "ab")), b"")

    def test_the_entries_of_an_issuer_are_those_of_its_complete_crls(self, issued: OpenWork) -> None:
        with issued() as work:
            assert work.crls.entries("iss-1") == 0
            work.crls.save(facts.crl(1, entries=5), b"")
            work.crls.save(facts.crl(2, entries=7, scope=PART), b"")
            work.crls.save(facts.crl(3, entries=100, is_delta=True), b"")
            assert work.crls.entries("iss-1") == 12


class TestDuties:
    def test_a_duty_gathers_addresses_and_a_new_one_is_a_change(self, issued: OpenWork) -> None:
        with issued() as work:
            assert work.crls.duty(SCOPE) is None
            assert work.crls.ensure(facts.duty(addresses=("a",))) == facts.duty(addresses=("a",))
            work.crls.finish(SCOPE, 0, AT, AT + DAY)
        with issued() as work:
            work.crls.ensure(facts.duty(addresses=("a",)))
            assert work.crls.duty(SCOPE).due_at == AT + DAY
            known = work.crls.ensure(facts.duty(addresses=("b", "a"), due_at=AT + HOUR))
            assert known == facts.duty(addresses=("a", "b"), changes=1, due_at=AT + HOUR)
        with issued() as work:
            work.crls.touch(SCOPE, AT)
            assert work.crls.duties("iss-1") == [facts.duty(addresses=("a", "b"), changes=2, due_at=AT)]

    def test_a_duty_is_held_by_one_until_its_lease_lapses(self, issued: OpenWork) -> None:
        with issued() as work:
            assert work.crls.claim(SCOPE, AT, LEASE) is None
            work.crls.ensure(facts.duty())
            assert work.crls.claim(SCOPE, AT, LEASE) == facts.duty(lease_until=AT + LEASE)
        with issued() as work:
            assert work.crls.claim(SCOPE, AT + SECOND, LEASE) is None
            assert work.crls.claim_due(AT + SECOND, LEASE) is None
            assert work.crls.claim(SCOPE, AT + LEASE, LEASE) is not None

    def test_the_one_that_has_waited_longest_is_claimed_first(self, issued: OpenWork) -> None:
        with issued() as work:
            work.crls.ensure(facts.duty(due_at=AT + SECOND))
            work.crls.ensure(facts.duty(scope=PART))
            work.crls.ensure(facts.duty(scope=evolve(SCOPE, partition=4), due_at=AT + DAY))
        with issued() as work:
            claimed = [work.crls.claim_due(AT + HOUR, LEASE) for _ in range(3)]
            assert [one.scope if one else None for one in claimed] == [PART, SCOPE, None]

    def test_a_duty_that_is_done_is_due_later_or_at_once_when_something_changed(self, issued: OpenWork) -> None:
        with issued() as work:
            work.revocations.add_many([listed("a"), listed("b")])
            work.crls.claim(SCOPE, AT, LEASE)
            work.crls.finish(SCOPE, 2, AT + SECOND, AT + DAY)
            assert work.crls.duty(SCOPE) == facts.duty(changes=2, due_at=AT + DAY)
            work.crls.finish(SCOPE, 1, AT + SECOND, AT + DAY)
            assert work.crls.duty(SCOPE) == facts.duty(changes=2, due_at=AT + SECOND)

    def test_failures_are_counted_until_it_works(self, issued: OpenWork) -> None:
        with issued() as work:
            work.crls.ensure(facts.duty())
            work.crls.claim(SCOPE, AT, LEASE)
            work.crls.fail(SCOPE, "no key", AT + SECOND)
            work.crls.fail(SCOPE, "no luck", AT + HOUR)
            assert work.crls.duty(SCOPE) == facts.duty(due_at=AT + HOUR, failures=2, last_error="no luck")
            assert (work.crls.trouble(AT).failing, work.crls.trouble(AT).error) == (1, "no luck")
            work.crls.finish(SCOPE, 0, AT, AT + DAY)
            assert work.crls.duty(SCOPE) == facts.duty(due_at=AT + DAY)
            assert work.crls.trouble(AT).failing == 0

    def test_trouble_is_what_has_ended_and_what_is_late(self, issued: OpenWork) -> None:
        with issued() as work:
            work.crls.ensure(facts.duty())
            work.crls.ensure(facts.duty(scope=PART, due_at=AT + HOUR))
            work.crls.save(facts.crl(1), b"")
            seen = work.crls.trouble(AT + DAY)
            assert (seen.ended, seen.oldest_due) == (1, AT)
            assert work.crls.trouble(AT - SECOND).oldest_due is None
            work.crls.finish(SCOPE, 0, AT, AT + 2 * DAY)
            assert work.crls.trouble(AT + DAY).ended == 0
            work.crls.fail(SCOPE, "no key", AT + 2 * DAY)
            assert work.crls.trouble(AT + DAY).ended == 1

    def test_issuers_are_looked_at_in_turn(self, issued: OpenWork) -> None:
        with issued() as work:
            work.issuers.add(facts.issuer("iss-2"))
        with issued() as work:
            assert work.crls.due_issuers(AT, AT + HOUR, 9) == ["iss-1", "iss-2"]
        with issued() as work:
            assert work.crls.due_issuers(AT + SECOND, AT + HOUR, 9) == []
            assert len(work.crls.due_issuers(AT + HOUR, AT + DAY, 1)) == 1

    def test_an_issuer_is_spread_over_parts_without_being_changed(self, issued: OpenWork) -> None:
        with issued() as work:
            before = work.issuers.get("iss-1")
            work.crls.spread("iss-1", 4)
        with issued() as work:
            assert work.issuers.get("iss-1") == evolve(before, crl_partitions=4)
            work.issuers.save(evolve(before, crl_partitions=4))


class TestHistory:
    def test_makings_are_remembered_newest_first(self, issued: OpenWork) -> None:
        bad = facts.making(0, started_at=AT + HOUR, succeeded=False, error="no key", next_update=None)
        with issued() as work:
            work.crls.ensure(facts.duty())
            work.crls.ensure(facts.duty(scope=PART))
            work.crls.record(facts.making(1))
            work.crls.record(bad)
            work.crls.record(facts.making(9, scope=PART, is_delta=True))
        with issued() as work:
            assert work.crls.history(SCOPE, 9) == [bad, facts.making(1)]
            assert work.crls.history(SCOPE, 1) == [bad]
            assert work.crls.histories(9, 1) == {SCOPE: [bad], PART: [facts.making(9, scope=PART, is_delta=True)]}
            assert work.crls.histories(1, 9) == {SCOPE: [bad, facts.making(1)]}

    def test_old_makings_are_forgotten(self, issued: OpenWork) -> None:
        with issued() as work:
            for number in range(4):
                work.crls.record(facts.making(number, started_at=AT + number * SECOND))
        with issued() as work:
            assert work.crls.forget(AT + 3 * SECOND, 2) == 2
            assert work.crls.forget(AT + 3 * SECOND, 2) == 1
            assert [one.number for one in work.crls.history(SCOPE, 9)] == [3]

    def test_the_base_of_deltas_is_the_oldest_complete_crl_that_is_relied_upon(self, issued: OpenWork) -> None:
        with issued() as work:
            assert work.crls.oldest_in_use(SCOPE, AT) is None
            work.crls.record(facts.making(1, next_update=AT))
            work.crls.record(facts.making(2, succeeded=False))
            work.crls.record(facts.making(3, is_delta=True))
            work.crls.record(facts.making(4, scope=PART))
            work.crls.record(facts.making(6))
            work.crls.record(facts.making(5))
            assert work.crls.oldest_in_use(SCOPE, AT) == facts.making(5)

    def test_all_crls_are_listed_with_what_is_published(self, issued: OpenWork) -> None:
        delta = facts.crl(2, is_delta=True, base=1)
        with issued() as work:
            work.crls.ensure(facts.duty())
            work.crls.ensure(facts.duty(scope=PART))
            work.crls.save(facts.crl(1), b"")
            work.crls.save(delta, b"")
        with issued() as work:
            rows = [(facts.duty(), facts.crl(1), delta), (facts.duty(scope=PART), None, None)]
            assert list(work.crls.all_duties(9)) == rows
            assert list(work.crls.all_duties(1)) == rows[:1]
