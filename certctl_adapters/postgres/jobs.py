"""Jobs: the queues. Whatever is taken is taken by one statement that skips what others hold."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString

from certctl_adapters.kinds import JOBS
from certctl_adapters.postgres import totals
from certctl_adapters.postgres.listing import Listing
from certctl_adapters.postgres.table import OF_CERTIFICATE, PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ids import AgentId, CertificateId
from certctl_core.models.jobs import Job, JobStatus
from certctl_core.ports.store import Jobs, Where

_JOB: Final = shape_of(JOBS)

# What `certctl_core.lifecycle.job.claim` does, to all of `due` at once, after `release` where a hand-out was lost; the
# store's contract compares them. The
# candidates are chosen in a materialized query so that the limit is kept whichever way they are joined.
_CLAIM: Final[LiteralString] = """
    UPDATE {table} AS t
    SET status = 'Running', started_at = %(now)s, acknowledged_at = NULL,
        attempts = t.attempts + CASE WHEN t.status = 'Running' AND t.acknowledged_at IS NULL THEN 0 ELSE 1 END,
        completed_at = NULL, lease_until = %(until)s, next_attempt_at = NULL, updated_at = %(now)s,
        revision = t.revision + 1
    FROM due WHERE t.id = due.id
    RETURNING {columns}
"""


_LISTING: Final = Listing(
    _JOB,
    totals.JOBS,
    ordered=frozenset((name, "created_at") for name in ("status", "type", "agent_id", "certificate_id")),
)


class PostgresJobs(PostgresTable[Job], Jobs):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _JOB, _LISTING)

    def claim_deployments(self, agent_id: AgentId, now: datetime, lease: timedelta, limit: int) -> Sequence[Job]:
        claimed = self.select(
            """
            WITH due AS MATERIALIZED (
                SELECT id FROM {table}
                WHERE agent_id = %(agent)s AND type = 'Deployment' AND status IN ('Pending', 'Running')
                  AND CASE status
                      WHEN 'Pending' THEN scheduled_at <= %(now)s
                      ELSE coalesce(acknowledged_at, started_at) <= %(silent_since)s
                  END
                ORDER BY scheduled_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            )
            """  # noqa: S608 - literals, both of them
            + _CLAIM,
            agent=agent_id,
            now=now,
            until=now + lease,
            silent_since=now - lease,
            limit=limit,
        )
        return _oldest_first(claimed)

    def awaiting_csr(self, agent_id: AgentId, now: datetime, limit: int) -> Sequence[Job]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.agent_id = %(agent)s AND t.type IN ('Issuance', 'Renewal') AND t.status = 'AwaitingCSR'
              AND t.scheduled_at <= %(now)s
            ORDER BY t.scheduled_at, t.id LIMIT %(limit)s
            """,
            agent=agent_id,
            now=now,
            limit=limit,
        )

    def with_work(self, agent_ids: Iterable[AgentId], now: datetime, lease: timedelta) -> frozenset[AgentId]:
        rows = self._transaction.rows(
            b"""
            SELECT agent FROM unnest(%(agents)s::text[]) AS agent WHERE EXISTS (
                SELECT FROM jobs AS t
                WHERE t.agent_id = agent AND t.status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running')
                  AND CASE
                      WHEN t.type = 'Deployment' AND t.status = 'Running'
                          THEN coalesce(t.acknowledged_at, t.started_at) <= %(silent_since)s
                      WHEN t.type = 'Deployment' THEN t.status = 'Pending' AND t.scheduled_at <= %(now)s
                      ELSE t.status = 'AwaitingCSR' AND t.scheduled_at <= %(now)s
                  END
            )
            """,
            {"agents": sorted(set(agent_ids)), "now": now, "silent_since": now - lease},
        )
        return frozenset(agent_id for (agent_id,) in rows)

    def lock_issuing(self, holders: Mapping[CertificateId, AgentId]) -> Mapping[CertificateId, Job]:
        which, wanted = _of(holders)
        found = self.select(
            "SELECT {columns} FROM {table} AS t WHERE "  # noqa: S608 - literals, all of them
            + which
            + """
              AND coalesce(t.agent_id, '') = ANY(%(agents)s)
              AND t.type IN ('Issuance', 'Renewal')
              AND t.status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running')
            ORDER BY t.certificate_id, t.agent_id FOR UPDATE
            """,
            certificates=wanted,
            agents=sorted(set(holders.values())),
        )
        return {job.certificate_id: job for job in found if holders[job.certificate_id] == job.agent_id}

    def newest_issuing(self, certificate_ids: Iterable[CertificateId]) -> Mapping[CertificateId, Sequence[Job]]:
        found = self.select(
            """
            SELECT DISTINCT ON (t.certificate_id, t.agent_id) {columns} FROM {table} AS t
            WHERE t.certificate_id = ANY(%(certificates)s) AND t.type IN ('Issuance', 'Renewal')
            ORDER BY t.certificate_id, t.agent_id, t.created_at DESC, t.id DESC
            """,
            certificates=list(certificate_ids),
        )
        return _by_certificate(found)

    def claim_issuing(self, now: datetime, lease: timedelta, limit: int) -> Sequence[Job]:
        claimed = self.select(
            """
            WITH due AS MATERIALIZED (
                SELECT id FROM {table}
                WHERE type IN ('Issuance', 'Renewal') AND status = 'Pending' AND scheduled_at <= %(now)s
                ORDER BY scheduled_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            )
            """  # noqa: S608 - literals, both of them
            + _CLAIM,
            now=now,
            until=now + lease,
            limit=limit,
        )
        return _oldest_first(claimed)

    def due_releases(self, now: datetime, limit: int) -> Sequence[Job]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.status = 'Running' AND t.lease_until <= %(now)s
            ORDER BY t.lease_until, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            now=now,
            limit=limit,
        )

    def due_retries(self, now: datetime, limit: int) -> Sequence[Job]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.status = 'Failed' AND t.next_attempt_at <= %(now)s
            ORDER BY t.next_attempt_at, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            now=now,
            limit=limit,
        )

    def due_timeouts(self, csr_before: datetime, limit: int) -> Sequence[Job]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.status = 'AwaitingCSR' AND t.scheduled_at < %(csr)s
            ORDER BY t.scheduled_at, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            csr=csr_before,
            limit=limit,
        )

    def purge(self, created_before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM jobs WHERE id IN (
                SELECT id FROM jobs
                WHERE created_at < %s
                  AND (status IN ('Completed', 'Cancelled') OR (status = 'Failed' AND next_attempt_at IS NULL))
                ORDER BY created_at, id LIMIT %s FOR UPDATE SKIP LOCKED
            )
            """,
            [created_before, limit],
        )

    def open_of(self, certificate_id: CertificateId) -> Sequence[Job]:
        return self.open_of_many([certificate_id]).get(certificate_id, [])

    def open_of_many(self, certificate_ids: Iterable[CertificateId]) -> Mapping[CertificateId, Sequence[Job]]:
        which, wanted = _of(certificate_ids)
        found = self.select(
            "SELECT {columns} FROM {table} AS t WHERE "  # noqa: S608 - literals, all of them
            + which
            + """
              AND (t.status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running')
                   OR (t.status = 'Failed' AND t.next_attempt_at IS NOT NULL))
            ORDER BY t.created_at, t.id FOR UPDATE
            """,
            certificates=wanted,
        )
        return _by_certificate(found)

    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[JobStatus, int]:
        counted = self._grouped("status", where)
        return {status: counted.get(status.value, 0) for status in JobStatus}

    def _extra(self, name: str) -> LiteralString:
        return OF_CERTIFICATE[name]


def _of(certificate_ids: Iterable[CertificateId]) -> tuple[LiteralString, Any]:
    """The condition that a job is of one of these certificates, and its parameter. One is asked for by itself: a list
    of any length is planned anew each time, which takes longer than finding the jobs."""
    wanted = list(certificate_ids)
    if len(wanted) == 1:
        return "t.certificate_id = %(certificates)s", wanted[0]
    return "t.certificate_id = ANY(%(certificates)s)", wanted


def _by_certificate(jobs: Iterable[Job]) -> Mapping[CertificateId, Sequence[Job]]:
    found: dict[CertificateId, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.certificate_id, []).append(job)
    return found


def _oldest_first(jobs: Sequence[Job]) -> Sequence[Job]:
    """RETURNING promises no order."""
    return sorted(jobs, key=lambda job: (job.scheduled_at, job.id))
