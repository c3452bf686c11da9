"""Enrolments and their secrets in memory."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from attrs import evolve

from certctl_adapters.kinds import ENROLMENT_SECRETS, ENROLMENTS
from certctl_adapters.memory.table import MemoryTable, by
from certctl_adapters.memory.transaction import Transaction
from certctl_core.ids import EnrolmentSecretId, JobId
from certctl_core.models.enrolment import Enrolment, EnrolmentProtocol, EnrolmentSecret
from certctl_core.ports.store import Enrolments, EnrolmentSecrets


class MemoryEnrolments(MemoryTable[Enrolment], Enrolments):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, ENROLMENTS)

    def of_transaction(self, protocol: EnrolmentProtocol, label: str, transaction: str) -> Enrolment | None:
        wanted = protocol, label, transaction
        return next(iter(self.select(lambda e: (e.protocol, e.label, e.transaction) == wanted, by("id"))), None)

    def known(self, protocol: EnrolmentProtocol, label: str, transactions: Iterable[str]) -> frozenset[str]:
        return frozenset(t for t in transactions if self.of_transaction(protocol, label, t) is not None)

    def of_job(self, job_id: JobId) -> Enrolment | None:
        return next(iter(self.select(lambda e: e.job_id == job_id, by("id"))), None)


class MemoryEnrolmentSecrets(MemoryTable[EnrolmentSecret], EnrolmentSecrets):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, ENROLMENT_SECRETS)

    def by_hash(self, secret_hash: str) -> EnrolmentSecret | None:
        return next(iter(self.select(lambda secret: secret.secret_hash == secret_hash, by("id"))), None)

    def used(self, secret_id: EnrolmentSecretId, at: datetime) -> None:
        secret = self.find(secret_id)
        if secret is not None and (secret.last_used_at is None or secret.last_used_at <= at - timedelta(minutes=1)):
            self._transaction.replace(ENROLMENT_SECRETS, evolve(secret, last_used_at=at))

    def purge(self, expired_before: datetime, limit: int) -> int:
        old = self.select(lambda secret: secret.expires_at < expired_before, by("expires_at", "id"), limit)
        for secret in old:
            self.remove(secret.id)
        return len(old)
