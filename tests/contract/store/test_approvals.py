"""Approval requests in any store."""

import pytest
from attrs import evolve

from certctl_core.errors import Duplicate, NotFound
from certctl_core.models.approvals import ApprovalState
from certctl_core.models.jobs import JobStatus
from certctl_core.ports.store import Is, Query, Where, Work
from tests.contract.store import facts
from tests.contract.store.facts import AT, SECOND, OpenWork


@pytest.fixture
def asked(seeded: OpenWork) -> OpenWork:
    """Seeded, with two certificates of different teams and environments, each with a job."""
    with seeded() as work:
        work.teams.add(facts.team("team-2"))
        for number, team in enumerate(("team-1", "team-2")):
            work.certificates.add(facts.certificate(f"mc-{number}", team_id=team, environment=f"env-{number}"))
            work.jobs.add(facts.job(f"job-{number}", certificate_id=f"mc-{number}", status=JobStatus.AWAITING_APPROVAL))
    return seeded


def found(work: Work, *where: Where) -> list[str]:
    page = work.approvals.page(Query(where))
    assert page.total == len(page.items)
    return [request.id for request in page.items]


def test_a_job_waits_for_one_decision_at_a_time(asked: OpenWork) -> None:
    with asked() as work:
        work.approvals.add(facts.approval("ar-1"))
        work.approvals.add(facts.approval("ar-2", job_id="job-1", certificate_id="mc-1"))
    with pytest.raises(Duplicate), asked() as work:
        work.approvals.add(facts.approval("ar-3"))
    with asked() as work:
        work.approvals.save(evolve(work.approvals.get("ar-1"), state=ApprovalState.EXPIRED))
        work.approvals.add(facts.approval("ar-3"))


def test_requests_are_found_by_their_certificates_team_and_environment(asked: OpenWork) -> None:
    with asked() as work:
        work.approvals.add(facts.approval("ar-1"))
        work.approvals.add(facts.approval("ar-2", job_id="job-1", certificate_id="mc-1", created_at=AT + SECOND))
    with asked() as work:
        assert found(work) == ["ar-1", "ar-2"]
        assert found(work, Where("team_id", ("team-2",), Is.ONE_OF)) == ["ar-2"]
        assert found(work, Where("environment", ("env-0", "env-7"), Is.ONE_OF)) == ["ar-1"]
        assert found(work, Where("team_id", ("team-2",), Is.ONE_OF), Where("environment", ("env-0",), Is.ONE_OF)) == []
        assert found(work, Where("state", ApprovalState.PENDING), Where("created_at", AT + SECOND, Is.BEFORE)) == [
            "ar-1"
        ]


def test_a_request_goes_with_its_job(asked: OpenWork) -> None:
    with asked() as work:
        work.approvals.add(facts.approval("ar-1"))
    with asked() as work:
        work.jobs.remove("job-0")
    with asked() as work, pytest.raises(NotFound):
        work.approvals.get("ar-1")
