"""Bulk operations: what was matched is kept, in batches, with what could not be done."""

import pytest
from attrs import evolve

from certctl_core.errors import Invalid
from certctl_core.models.bulk import BulkFailure, BulkStatus
from certctl_core.models.certificates import CertificateStatus
from certctl_core.ports.store import Is, Where, Work
from tests.contract.store import facts
from tests.contract.store.facts import AT, DAY, HOUR, SECOND, OpenWork


@pytest.fixture
def fleet(seeded: OpenWork) -> OpenWork:
    """Seven certificates, of which the odd ones are in production, and an operation."""
    with seeded() as work:
        for number in range(7):
            environment = "production" if number % 2 else "staging"
            targets = ("t-1",) if number == 3 else ("t-2", "t-1") if number == 5 else ()
            work.certificates.add(facts.certificate(f"mc-{number}", environment=environment, target_ids=targets))
        work.bulk_operations.add(facts.bulk_operation())
    return seeded


def batches(work: Work, operation_id: str = "bulk-1") -> list[list[str]]:
    found = []
    while batch := work.bulk_operations.batch(operation_id, len(found)):
        found.append(list(batch))
    return found


class TestBatches:
    def test_what_is_matched_is_kept_by_id_in_batches(self, fleet: OpenWork) -> None:
        with fleet() as work:
            assert work.bulk_operations.match("bulk-1", (), 3) == 7
        with fleet() as work:
            assert batches(work) == [["mc-0", "mc-1", "mc-2"], ["mc-3", "mc-4", "mc-5"], ["mc-6"]]
            assert batches(work, "bulk-2") == []

    def test_conditions_are_those_of_a_list(self, fleet: OpenWork) -> None:
        wheres = {
            "mc-1 mc-3 mc-5": (Where("environment", "production"),),
            "mc-3 mc-5": (Where("environment", "production"), Where("agent_id", "a-1")),
            "mc-5": (Where("agent_id", "a-2"),),
            "mc-2": (Where("id", ("mc-2", "mc-3", "nobody"), Is.ONE_OF), Where("environment", "staging")),
            "": (Where("status", CertificateStatus.ACTIVE),),
        }
        for number, (wanted, where) in enumerate(wheres.items()):
            with fleet() as work:
                work.bulk_operations.add(facts.bulk_operation(f"bulk-x{number}"))
                assert work.bulk_operations.match(f"bulk-x{number}", where, 10) == len(wanted.split())
                assert batches(work, f"bulk-x{number}") == ([wanted.split()] if wanted else [])

    def test_what_cannot_be_filtered_by_is_refused(self, fleet: OpenWork) -> None:
        with pytest.raises(Invalid, match="cannot be filtered"), fleet() as work:
            work.bulk_operations.match("bulk-1", (Where("revision", 1),), 3)

    def test_what_changes_later_makes_no_difference(self, fleet: OpenWork) -> None:
        with fleet() as work:
            work.bulk_operations.match("bulk-1", (Where("environment", "production"),), 10)
        with fleet() as work:
            work.certificates.save(evolve(work.certificates.get("mc-1"), environment="staging"))
            work.certificates.save(evolve(work.certificates.get("mc-2"), environment="production"))
        with fleet() as work:
            assert batches(work) == [["mc-1", "mc-3", "mc-5"]]

    def test_batches_are_forgotten_for_one_operation_only(self, fleet: OpenWork) -> None:
        with fleet() as work:
            work.bulk_operations.add(facts.bulk_operation("bulk-2"))
            for operation in ("bulk-1", "bulk-2"):
                work.bulk_operations.match(operation, (), 4)
            work.bulk_operations.forget_batches("bulk-1")
        with fleet() as work:
            assert batches(work, "bulk-1") == []
            assert len(batches(work, "bulk-2")) == 2


class TestFailures:
    def test_they_are_listed_by_certificate(self, fleet: OpenWork) -> None:
        failures = [BulkFailure(f"mc-{number}", f"reason {number} \n'") for number in range(5)]
        with fleet() as work:
            work.bulk_operations.add(facts.bulk_operation("bulk-2"))
            work.bulk_operations.add_failures("bulk-1", [failures[3], failures[0]])
            work.bulk_operations.add_failures("bulk-1", [failures[4], failures[1], failures[2]])
            work.bulk_operations.add_failures("bulk-2", [failures[1]])
            work.bulk_operations.add_failures("bulk-2", [])
        with fleet() as work:
            first, last = (work.bulk_operations.failures("bulk-1", 3, offset) for offset in (0, 3))
            assert (first.items, first.total, first.more) == (tuple(failures[:3]), 5, True)
            assert (last.items, last.total, last.more) == (tuple(failures[3:]), 5, False)
            assert first.next is not None
            assert last.next is None
            behind = work.bulk_operations.failures("bulk-1", 3, after=(first.next.value, first.next.id))
            assert (behind.items, behind.total) == (last.items, 5)
            assert work.bulk_operations.failures("nobody", 3, 0).items == ()


class TestQueue:
    def test_due_are_running_operations_that_nobody_holds(self, seeded: OpenWork) -> None:
        with seeded() as work:
            for name, fields in {
                "free": {},
                "older": {"created_at": AT - DAY},
                "lapsed": {"lease_until": AT, "created_at": AT + SECOND},
                "held": {"lease_until": AT + SECOND},
                "done": {"status": BulkStatus.COMPLETED},
                "stopped": {"status": BulkStatus.CANCELLED},
            }.items():
                work.bulk_operations.add(facts.bulk_operation(name, **fields))
        with seeded() as work:
            assert [one.id for one in work.bulk_operations.due(AT, 10)] == ["older", "free", "lapsed"]
            assert [one.id for one in work.bulk_operations.due(AT, 1)] == ["older"]

    def test_old_ones_are_removed_with_all_that_is_known_of_them(self, fleet: OpenWork) -> None:
        with fleet() as work:
            work.bulk_operations.add(facts.bulk_operation("old", completed_at=AT - DAY))
            work.bulk_operations.add(facts.bulk_operation("older", completed_at=AT - 2 * DAY))
            work.bulk_operations.add(facts.bulk_operation("new", completed_at=AT))
            work.bulk_operations.match("older", (), 3)
            work.bulk_operations.add_failures("older", [BulkFailure("mc-1", "no")])
        with fleet() as work:
            assert work.bulk_operations.purge(AT - HOUR, 1) == 1
            assert work.bulk_operations.find("older") is None
            assert work.bulk_operations.purge(AT - HOUR, 10) == 1
            assert work.bulk_operations.purge(AT - HOUR, 10) == 0
        with fleet() as work:
            assert batches(work, "older") == []
            assert work.bulk_operations.failures("older", 10, 0).total == 0
            assert work.bulk_operations.find("new") is not None
            assert work.bulk_operations.find("bulk-1") is not None
