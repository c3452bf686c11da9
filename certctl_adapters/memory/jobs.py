"""Jobs in memory."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from certctl_adapters.kinds import CERTIFICATES, JOBS
from certctl_adapters.memory.table import MemoryTable, by, is_due
from certctl_adapters.memory.transaction import Transaction
from certctl_core.ids import AgentId, CertificateId
from certctl_core.lifecycle import job as life
from certctl_core.models.jobs import ISSUING, OPEN_JOB, Job, JobStatus, JobType
from certctl_core.ports.store import Jobs, Where


class MemoryJobs(MemoryTable[Job], Jobs):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, JOBS)

    def with_work(self, agent_ids: Iterable[AgentId], now: datetime, lease: timedelta) -> frozenset[AgentId]:
        wanted = frozenset(agent_ids)
        jobs = self._transaction.rows(JOBS.table).values()
        return frozenset(
            job.agent_id
            for job in jobs
            if job.agent_id in wanted and (_is_asked(job, now) or _is_offered(job, job.agent_id, now, lease))
        )

    def claim_deployments(self, agent_id: AgentId, now: datetime, lease: timedelta, limit: int) -> Sequence[Job]:
        due = self.select(lambda job: _is_offered(job, agent_id, now, lease), by("scheduled_at", "id"), limit)
        free = [life.release(job, job.scheduled_at) if job.status is JobStatus.RUNNING else job for job in due]
        return [self.save(life.claim(job, now, lease)) for job in free]

    def awaiting_csr(self, agent_id: AgentId, now: datetime, limit: int) -> Sequence[Job]:
        return self.select(
            lambda job: job.agent_id == agent_id and _is_asked(job, now), by("scheduled_at", "id"), limit
        )

    def lock_issuing(self, holders: Mapping[CertificateId, AgentId]) -> Mapping[CertificateId, Job]:
        def is_one(job: Job) -> bool:
            is_open = job.type in ISSUING and job.status in OPEN_JOB
            return is_open and job.certificate_id in holders and job.agent_id == holders[job.certificate_id]

        return {job.certificate_id: job for job in self.select(is_one, by("id"))}

    def newest_issuing(self, certificate_ids: Iterable[CertificateId]) -> Mapping[CertificateId, Sequence[Job]]:
        wanted = frozenset(certificate_ids)
        newest: dict[CertificateId, dict[AgentId | None, Job]] = {}
        for job in self.select(
            lambda job: job.type in ISSUING and job.certificate_id in wanted, by("created_at", "id")
        ):
            newest.setdefault(job.certificate_id, {})[job.agent_id] = job
        return {certificate_id: list(found.values()) for certificate_id, found in newest.items()}

    def claim_issuing(self, now: datetime, lease: timedelta, limit: int) -> Sequence[Job]:
        due = self.select(
            lambda job: job.type in ISSUING and job.status is JobStatus.PENDING and job.scheduled_at <= now,
            by("scheduled_at", "id"),
            limit,
        )
        return [self.save(life.claim(job, now, lease)) for job in due]

    def due_releases(self, now: datetime, limit: int) -> Sequence[Job]:
        return self.select(
            lambda job: job.status is JobStatus.RUNNING and is_due(job.lease_until, now), by("lease_until", "id"), limit
        )

    def due_retries(self, now: datetime, limit: int) -> Sequence[Job]:
        return self.select(
            lambda job: job.status is JobStatus.FAILED and is_due(job.next_attempt_at, now),
            by("next_attempt_at", "id"),
            limit,
        )

    def due_timeouts(self, csr_before: datetime, limit: int) -> Sequence[Job]:
        def is_overdue(job: Job) -> bool:
            return job.status is JobStatus.AWAITING_CSR and job.scheduled_at < csr_before

        return self.select(is_overdue, by("scheduled_at", "id"), limit)

    def purge(self, created_before: datetime, limit: int) -> int:
        def is_over(job: Job) -> bool:
            has_failed = job.status is JobStatus.FAILED and job.next_attempt_at is None
            return job.created_at < created_before and (
                has_failed or job.status in (JobStatus.COMPLETED, JobStatus.CANCELLED)
            )

        over = self.select(is_over, by("created_at", "id"), limit)
        for job in over:
            self.remove(job.id)
        return len(over)

    def open_of(self, certificate_id: CertificateId) -> Sequence[Job]:
        return self.open_of_many([certificate_id]).get(certificate_id, [])

    def open_of_many(self, certificate_ids: Iterable[CertificateId]) -> Mapping[CertificateId, Sequence[Job]]:
        wanted = frozenset(certificate_ids)

        def is_open(job: Job) -> bool:
            will_retry = job.status is JobStatus.FAILED and job.next_attempt_at is not None
            return job.certificate_id in wanted and (job.status in OPEN_JOB or will_retry)

        found: dict[CertificateId, list[Job]] = {}
        for job in self.select(is_open, by("created_at", "id")):
            found.setdefault(job.certificate_id, []).append(job)
        return found

    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[JobStatus, int]:
        found = Counter(job.status for job in self.having(where))
        return {status: found[status] for status in JobStatus}

    def _extra(self, fact: Job, name: str) -> object:
        return getattr(self._transaction.rows(CERTIFICATES.table)[fact.certificate_id], name)


def _is_asked(job: Job, now: datetime) -> bool:
    """Whether its CSR is waited for."""
    return job.type in ISSUING and job.status is JobStatus.AWAITING_CSR and job.scheduled_at <= now


def _is_offered(job: Job, agent_id: AgentId, now: datetime, lease: timedelta) -> bool:
    """Whether a deployment is there to be claimed: it is due, or its last hand-out was lost."""
    if job.agent_id != agent_id or job.type is not JobType.DEPLOYMENT:
        return False
    if job.status is JobStatus.PENDING:
        return job.scheduled_at <= now
    return job.status is JobStatus.RUNNING and is_due(job.acknowledged_at or job.started_at, now - lease)
