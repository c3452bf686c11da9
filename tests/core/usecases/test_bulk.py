"""Bulk operations: what was matched is acted on once, whatever happens in between, and all of it is told."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from attrs import evolve

from certctl_core.errors import Conflict, Forbidden, IllegalTransition, Invalid, NotFound
from certctl_core.ids import CertificateId, OwnerId, TeamId
from certctl_core.models.access import Principal, Role, Scope
from certctl_core.models.bulk import BulkAction, BulkOperation, BulkStatus
from certctl_core.models.catalog import Owner, Team
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate, RevocationReason
from certctl_core.models.jobs import JobStatus
from certctl_core.ports import Ports
from certctl_core.ports.store import Query
from certctl_core.usecases import bulk, bulk_batches, certificates, renewal, revocation
from certctl_core.usecases.bulk import Criteria, StartBulk
from certctl_core.usecases.bulk_batches import Fate, Progress
from certctl_core.usecases.certificates import UpdateCertificate
from tests.core.usecases.test_issuance import Crash
from tests.core.usecases.world import ADMIN, World

TEAM_2 = TeamId("team-2")
LIMITED = Principal("lena", Role.ADMIN, scope=Scope(team_ids=frozenset({TEAM_2})))
OPERATOR = Principal("otto", Role.OPERATOR)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BATCH", 2)


@pytest.fixture
def fleet(world: World) -> list[ManagedCertificate]:
    """Five certificates on a target each, the last of them never issued."""
    agent = world.agent()
    made = [world.certificate(world.target(agent, f"t{n}"), name=f"site-{n}") for n in range(5)]
    for certificate in made[:4]:
        world.issued(certificate, agent, certificate.name)
    with world.ports.work() as work:
        work.teams.add(Team(id=TEAM_2, name="two", created_at=world.clock.now(), updated_at=world.clock.now()))
        work.owners.add(
            Owner(
                id=OwnerId("owner-2"),
                name="Paula",
                team_id=TEAM_2,
                created_at=world.clock.now(),
                updated_at=world.clock.now(),
            )
        )
    return made


def everything(*made: ManagedCertificate) -> Criteria:
    return Criteria(certificate_ids=tuple(certificate.id for certificate in made))


def revoking(criteria: Criteria) -> StartBulk:
    return StartBulk(action=BulkAction.REVOKE, criteria=criteria, reason="superseded")


def totals(operation: BulkOperation) -> tuple[int, int, int, int]:
    return operation.total_matched, operation.total_done, operation.total_skipped, operation.total_failed


def fates(made: Progress) -> dict[str, Fate]:
    return {outcome.certificate_id: outcome.fate for outcome in made.outcomes}


def once_each(world: World, action: str, made: list[ManagedCertificate]) -> None:
    with world.ports.work() as work:
        events = work.audit.page(Query(sort="timestamp", limit=500)).items
    told = [event.resource_id for event in events if event.action == action]
    assert sorted(told) == sorted(certificate.id for certificate in made)


def test_revocation_tells_what_was_done_what_there_was_not_to_do_and_what_failed(
    world: World, fleet: list[ManagedCertificate]
) -> None:
    revocation.revoke(world.ports, ADMIN, fleet[0].id, RevocationReason.KEY_COMPROMISE)

    made = bulk.start(world.ports, ADMIN, revoking(everything(*fleet)))

    assert made.operation.status is BulkStatus.COMPLETED
    assert totals(made.operation) == (5, 3, 1, 1)
    assert fates(made) == {
        fleet[0].id: Fate.SKIPPED,
        **{certificate.id: Fate.DONE for certificate in fleet[1:4]},
        fleet[4].id: Fate.FAILED,
    }
    failures = bulk.failures(world.ports, ADMIN, made.operation.id, 10, 0)
    assert [(one.certificate_id, "nothing has been issued" in one.error) for one in failures.items] == [
        (fleet[4].id, True)
    ]
    assert {world.now_is(one).status for one in fleet[:4]} == {CertificateStatus.REVOKED}
    once_each(world, "certificate_revoked", fleet[:4])
    assert world.actions().count("bulk_revocation_initiated") == 1


def test_renewal_enqueues_jobs_and_leaves_alone_what_is_under_way(
    world: World, fleet: list[ManagedCertificate]
) -> None:
    renewal.renew(world.ports, ADMIN, fleet[1].id)
    revocation.revoke(world.ports, ADMIN, fleet[2].id, RevocationReason.SUPERSEDED)
    certificates.update(world.ports, ADMIN, fleet[3].id, UpdateCertificate(target_ids=()))

    made = bulk.start(world.ports, ADMIN, StartBulk(action=BulkAction.RENEW, criteria=everything(*fleet)))

    assert totals(made.operation) == (5, 2, 2, 1)
    waiting = {job.certificate_id: job.id for job in world.jobs(JobStatus.AWAITING_CSR)}
    told = {outcome.certificate_id: outcome.job_ids for outcome in made.outcomes if outcome.job_ids}
    assert told == {certificate.id: (waiting[certificate.id],) for certificate in (fleet[0], fleet[4])}
    (failed,) = [outcome for outcome in made.outcomes if outcome.fate is Fate.FAILED]
    assert "no target" in failed.error

    forced = bulk.start(
        world.ports, ADMIN, StartBulk(action=BulkAction.RENEW, criteria=everything(fleet[1]), force=True, reason="now")
    )
    assert totals(forced.operation) == (1, 1, 0, 0)


def test_reassignment_changes_what_is_not_theirs_yet(world: World, fleet: list[ManagedCertificate]) -> None:
    certificates.archive(world.ports, ADMIN, fleet[0].id)
    wish = StartBulk(
        action=BulkAction.REASSIGN,
        criteria=Criteria(owner_id=OwnerId("owner-1")),
        new_owner_id=OwnerId("owner-2"),
        new_team_id=TEAM_2,
    )

    made = bulk.start(world.ports, ADMIN, wish)

    assert totals(made.operation) == (5, 4, 1, 0)
    assert {(world.now_is(one).owner_id, world.now_is(one).team_id) for one in fleet[1:]} == {("owner-2", TEAM_2)}
    assert world.now_is(fleet[0]).owner_id == "owner-1"
    once_each(world, "certificate_updated", fleet[1:])
    again = bulk.start(world.ports, ADMIN, evolve(wish, criteria=everything(*fleet[1:])))
    assert totals(again.operation) == (4, 0, 4, 0)
    kept = bulk.start(world.ports, ADMIN, evolve(wish, criteria=everything(fleet[1]), new_team_id=None))
    assert totals(kept.operation) == (1, 0, 1, 0)


def test_criteria_narrow_one_another(world: World, fleet: list[ManagedCertificate]) -> None:
    expires_at = world.now_is(fleet[0]).expires_at
    assert expires_at is not None
    certificates.update(world.ports, ADMIN, fleet[0].id, UpdateCertificate(environment="production"))
    matching = {
        5: Criteria(team_id=TeamId("team-1")),
        4: Criteria(status=CertificateStatus.ACTIVE),
        1: Criteria(status=CertificateStatus.ACTIVE, environment="production"),
        0: Criteria(status=CertificateStatus.ACTIVE, environment="production", expires_before=expires_at),
        2: Criteria(
            certificate_ids=(fleet[0].id, fleet[4].id, CertificateId("nobody")),
            expires_before=None,
            owner_id=OwnerId("owner-1"),
        ),
        3: Criteria(certificate_ids=tuple(one.id for one in fleet[1:]), expires_before=expires_at + timedelta(hours=9)),
    }
    for count, criteria in matching.items():
        assert _waiting(world, criteria).total_matched == count


def test_nothing_given_does_not_mean_everything(world: World, fleet: list[ManagedCertificate]) -> None:
    with pytest.raises(Invalid, match="no criterion"):
        bulk.start(world.ports, ADMIN, revoking(Criteria()))
    assert bulk.page(world.ports, ADMIN, Query()).total == 0
    assert world.now_is(fleet[0]).status is CertificateStatus.ACTIVE


def test_what_matches_nothing_is_complete_at_once(world: World) -> None:
    made = bulk.start(world.ports, ADMIN, revoking(Criteria(environment="nowhere")))
    assert (made.operation.status, totals(made.operation)) == (BulkStatus.COMPLETED, (0, 0, 0, 0))
    assert made.operation.completed_at == world.clock.now()


def test_of_many_ids_only_their_number_is_told(world: World) -> None:
    ids = tuple(CertificateId(f"mc-{n}") for n in range(bulk.MOST_IDS_TOLD + 1))
    assert Criteria(certificate_ids=ids[1:]).told() == {"certificate_ids": list(ids[1:])}
    assert Criteria(certificate_ids=ids, environment="x").told() == {
        "certificate_ids_total": len(ids),
        "environment": "x",
    }


# --- time, crashes and company ----------------------------------------------------------------------------------------


def crashing(world: World, point: str) -> Ports:
    """Ports of a process that dies where the tripwire stands."""

    def trip(reached: str, /) -> None:
        if reached == point:
            raise Crash(point)

    return evolve(world.ports, tripwire=trip)


def ticking(world: World, by: timedelta) -> Callable[[str], None]:
    """A tripwire that lets time pass with each point."""
    return lambda _point: world.clock.advance(by) and None


def test_what_takes_longer_than_the_caller_waits_goes_on_by_itself(
    world: World, fleet: list[ManagedCertificate]
) -> None:
    ports = evolve(world.ports, tripwire=ticking(world, timedelta(seconds=1)))

    made = bulk.start(ports, ADMIN, revoking(everything(*fleet[:4])), patience=timedelta(seconds=1))

    assert made.operation.status is BulkStatus.RUNNING
    assert totals(made.operation) == (4, 2, 0, 0)
    assert len(made.outcomes) == 2
    assert bulk_batches.carry_on(world.ports) == 2
    done = bulk.get(world.ports, ADMIN, made.operation.id)
    assert (done.status, totals(done)) == (BulkStatus.COMPLETED, (4, 4, 0, 0))
    once_each(world, "certificate_revoked", fleet[:4])


@pytest.mark.parametrize("point", ["bulk:1", "bulk:2"])
def test_a_crash_at_this_point_loses_and_doubles_nothing(
    world: World, fleet: list[ManagedCertificate], point: str
) -> None:
    with pytest.raises(Crash):
        bulk.start(crashing(world, point), ADMIN, revoking(everything(*fleet[:4])))
    assert bulk_batches.carry_on(world.ports) == 0, "the dead process's lease still holds"
    world.clock.advance(bulk_batches.LEASE)

    bulk_batches.carry_on(world.ports)

    (operation,) = bulk.page(world.ports, ADMIN, Query()).items
    assert (operation.status, totals(operation)) == (BulkStatus.COMPLETED, (4, 4, 0, 0))
    once_each(world, "certificate_revoked", fleet[:4])
    assert world.actions().count("bulk_revocation_initiated") == 1


def test_what_meets_the_criteria_later_is_not_meant(world: World, fleet: list[ManagedCertificate]) -> None:
    certificates.update(world.ports, ADMIN, fleet[0].id, UpdateCertificate(environment="old"))
    with pytest.raises(Crash):
        bulk.start(crashing(world, "bulk:1"), ADMIN, revoking(Criteria(environment="old")))
    certificates.update(world.ports, ADMIN, fleet[0].id, UpdateCertificate(environment="new"))
    certificates.update(world.ports, ADMIN, fleet[1].id, UpdateCertificate(environment="old"))
    world.clock.advance(bulk_batches.LEASE)
    bulk_batches.carry_on(world.ports)
    assert world.now_is(fleet[0]).status is CertificateStatus.REVOKED
    assert world.now_is(fleet[1]).status is CertificateStatus.ACTIVE


def test_operations_take_turns(world: World, fleet: list[ManagedCertificate]) -> None:
    """A small one does not wait for the end of a large one, nor does a broken one stop the others."""
    broken = _waiting(world, everything(*fleet[:2]))
    large = _waiting(world, everything(*fleet))
    small = _waiting(world, everything(fleet[4]))
    with world.ports.work() as work:
        work.bulk_operations.save(evolve(work.bulk_operations.get(broken.id), reason="no such reason"))
    ports = evolve(world.ports, tripwire=ticking(world, timedelta(seconds=1)))

    with pytest.raises(ValueError, match="no such reason"):
        bulk_batches.carry_on(ports, budget=timedelta(seconds=2))

    assert bulk.get(world.ports, ADMIN, small.id).status is BulkStatus.COMPLETED
    assert totals(bulk.get(world.ports, ADMIN, large.id)) == (5, 2, 0, 0)
    world.clock.advance(bulk_batches.LEASE)
    with pytest.raises(ValueError, match="no such reason"):
        bulk_batches.carry_on(world.ports)
    assert bulk.get(world.ports, ADMIN, large.id).status is BulkStatus.COMPLETED
    assert totals(bulk.get(world.ports, ADMIN, broken.id)) == (2, 0, 0, 0)


def _waiting(world: World, criteria: Criteria) -> BulkOperation:
    """A revocation that was asked for, on which nobody works."""
    with pytest.raises(Crash):
        bulk.start(crashing(world, "bulk:1"), ADMIN, revoking(criteria))
    world.clock.advance(bulk_batches.LEASE)
    return bulk.page(world.ports, ADMIN, Query(descending=True)).items[0]


def test_what_is_stopped_stays_as_far_as_it_got(world: World, fleet: list[ManagedCertificate]) -> None:
    ports = evolve(world.ports, tripwire=ticking(world, timedelta(seconds=1)))
    made = bulk.start(ports, ADMIN, revoking(everything(*fleet)), patience=timedelta(seconds=1))
    with pytest.raises(Forbidden, match="administrators"):
        bulk.cancel(world.ports, OPERATOR, made.operation.id)

    bulk.cancel(world.ports, ADMIN, made.operation.id)

    assert bulk_batches.carry_on(world.ports) == 0
    stopped = bulk.get(world.ports, ADMIN, made.operation.id)
    assert (stopped.status, totals(stopped)) == (BulkStatus.CANCELLED, (5, 2, 0, 0))
    assert [world.now_is(one).status for one in fleet[1:3]] == [CertificateStatus.REVOKED, CertificateStatus.ACTIVE]
    with pytest.raises(IllegalTransition, match="Cancelled"):
        bulk.cancel(world.ports, ADMIN, made.operation.id)
    assert "bulk_operation_cancelled" in world.actions()


def test_a_database_that_is_in_the_way_stops_nothing_for_good(
    world: World, fleet: list[ManagedCertificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked for is on record, so the caller is told how far it is, and the loop goes on."""

    def busy(*_: object) -> None:
        raise Conflict("somebody else is changing the same thing")

    with monkeypatch.context() as patched:
        patched.setattr(revocation, "revoke_many", busy)
        made = bulk.start(world.ports, ADMIN, revoking(everything(*fleet[:4])))
    assert (made.operation.status, totals(made.operation)) == (BulkStatus.RUNNING, (4, 0, 0, 0))
    assert bulk_batches.carry_on(world.ports) == 4
    assert bulk.get(world.ports, ADMIN, made.operation.id).status is BulkStatus.COMPLETED


# --- who reaches what -------------------------------------------------------------------------------------------------


def test_only_what_the_caller_reaches_is_matched(world: World, fleet: list[ManagedCertificate]) -> None:
    certificates.update(world.ports, ADMIN, fleet[2].id, UpdateCertificate(team_id=TEAM_2))
    made = bulk.start(world.ports, LIMITED, revoking(everything(*fleet)))
    assert totals(made.operation) == (1, 1, 0, 0)
    assert world.now_is(fleet[2]).status is CertificateStatus.REVOKED


def test_what_has_left_the_callers_reach_since_is_not_touched(world: World, fleet: list[ManagedCertificate]) -> None:
    for certificate in fleet[:3]:
        certificates.update(world.ports, ADMIN, certificate.id, UpdateCertificate(team_id=TEAM_2))
    with pytest.raises(Crash):
        bulk.start(crashing(world, "bulk:1"), LIMITED, revoking(everything(*fleet)))
    certificates.update(world.ports, ADMIN, fleet[1].id, UpdateCertificate(team_id=TeamId("team-1")))
    world.clock.advance(bulk_batches.LEASE)
    bulk_batches.carry_on(world.ports)

    (operation,) = bulk.page(world.ports, LIMITED, Query()).items
    assert totals(operation) == (3, 2, 0, 1)
    (failure,) = bulk.failures(world.ports, LIMITED, operation.id, 10, 0).items
    assert (failure.certificate_id, failure.error) == (fleet[1].id, f"certificate {fleet[1].id!r} not found")
    assert world.now_is(fleet[1]).status is CertificateStatus.ACTIVE


def test_an_operation_that_reaches_further_is_not_found(world: World, fleet: list[ManagedCertificate]) -> None:
    made = bulk.start(world.ports, ADMIN, revoking(everything(*fleet)))
    for ask in (bulk.get, bulk.cancel):
        with pytest.raises(NotFound, match="bulk operation"):
            ask(world.ports, LIMITED, made.operation.id)
    with pytest.raises(NotFound, match="bulk operation"):
        bulk.failures(world.ports, LIMITED, made.operation.id, 10, 0)
    assert bulk.page(world.ports, LIMITED, Query()).items == ()
    assert bulk.page(world.ports, OPERATOR, Query()).items == (made.operation,)


@pytest.mark.parametrize(
    ("caller", "owner", "team", "field"),
    [
        (ADMIN, "nobody", None, "owner_id"),
        (ADMIN, "owner-2", "nobody", "team_id"),
        (LIMITED, "owner-2", "team-1", "team_id"),
    ],
)
def test_certificates_are_given_only_to_whom_the_caller_sees(
    world: World, fleet: list[ManagedCertificate], caller: Principal, owner: str, team: str | None, field: str
) -> None:
    wish = StartBulk(
        action=BulkAction.REASSIGN,
        criteria=everything(*fleet),
        new_owner_id=OwnerId(owner),
        new_team_id=TeamId(team) if team else None,
    )
    with pytest.raises(Invalid, match="does not exist") as refusal:
        bulk.start(world.ports, caller, wish)
    assert [problem.field for problem in refusal.value.fields] == [field]
    assert bulk.page(world.ports, ADMIN, Query()).total == 0


def test_an_owner_who_is_gone_when_it_comes_to_it_gets_nothing(world: World, fleet: list[ManagedCertificate]) -> None:
    wish = StartBulk(action=BulkAction.REASSIGN, criteria=everything(*fleet), new_owner_id=OwnerId("owner-2"))
    with pytest.raises(Crash):
        bulk.start(crashing(world, "bulk:1"), ADMIN, wish)
    with world.ports.work() as work:
        work.owners.remove("owner-2")
    world.clock.advance(bulk_batches.LEASE)
    bulk_batches.carry_on(world.ports)
    (operation,) = bulk.page(world.ports, ADMIN, Query()).items
    assert (operation.status, totals(operation)) == (BulkStatus.COMPLETED, (5, 0, 0, 5))


def test_operations_are_forgotten_when_they_have_been_over_for_long(
    world: World, fleet: list[ManagedCertificate]
) -> None:
    bulk.start(world.ports, ADMIN, revoking(everything(*fleet)))
    assert bulk.forget(world.ports, timedelta(days=90)) == 0
    world.clock.advance(timedelta(days=91))
    assert bulk.forget(world.ports, timedelta(days=90)) == 1
    assert bulk.page(world.ports, ADMIN, Query()).total == 0
