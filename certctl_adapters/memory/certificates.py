"""Certificates, their versions, attempts and deployments, and the CAs behind them, in memory."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import evolve

from certctl_adapters.kinds import ATTEMPTS, CERTIFICATES, TARGETS, VERSIONS
from certctl_adapters.memory.table import MemoryTable, by, is_due
from certctl_adapters.memory.transaction import Transaction
from certctl_core.ids import AgentId, CertificateId, IssuerId, RenewalPolicyId, TargetId, VersionId
from certctl_core.models.catalog import ConfiguredTarget
from certctl_core.models.certificates import (
    AttemptStatus,
    CertificateStatus,
    CertificateVersion,
    Deployment,
    IssuanceAttempt,
    ManagedCertificate,
)
from certctl_core.ports.store import (
    Attempts,
    Certificates,
    Deployments,
    Page,
    Versions,
    Where,
    page_of,
)

_DEPLOYMENTS = "certificate_target_mappings"
_MAY_EXPIRE = (CertificateStatus.ACTIVE, CertificateStatus.EXPIRING, CertificateStatus.FAILED)
_IN_USE = (*_MAY_EXPIRE, CertificateStatus.RENEWAL_IN_PROGRESS)


class MemoryCertificates(MemoryTable[ManagedCertificate], Certificates):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, CERTIFICATES)

    def save(self, fact: ManagedCertificate) -> ManagedCertificate:
        before = self.find(fact.id)
        saved = super().save(fact)
        for target_id in set(before.target_ids if before else ()) - set(saved.target_ids):
            self._transaction.unset(_DEPLOYMENTS, (saved.id, target_id))
        return saved

    def due_for_renewal(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(lambda c: is_due(c.renew_at, now), by("renew_at", "id"), limit)

    def due_for_expiry(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(
            lambda c: c.status in _MAY_EXPIRE and is_due(c.expires_at, now), by("expires_at", "id"), limit
        )

    def due_for_alert(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(lambda c: is_due(c.next_alert_at, now), by("next_alert_at", "id"), limit)

    def newly_overdue(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(
            lambda c: is_due(c.overdue_at, now) and c.overdue_reported_at is None, by("overdue_at", "id"), limit
        )

    def lock_following(self, policy_id: RenewalPolicyId, after: str, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(lambda c: c.renewal_policy_id == policy_id and c.id > after, by("id"), limit)

    def due_for_policy(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(lambda c: is_due(c.next_policy_check_at, now), by("next_policy_check_at", "id"), limit)

    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[CertificateStatus, int]:
        found = Counter(c.status for c in self.having(where))
        return {status: found[status] for status in CertificateStatus}

    def ending(self, after: datetime, before: datetime, where: Sequence[Where] = ()) -> int:
        ends = (c.expires_at for c in self.having(where) if c.status in _IN_USE and c.expires_at is not None)
        return sum(after < end < before for end in ends)

    def expiring_by_day(
        self, start: datetime, days: int, where: Sequence[Where] = ()
    ) -> Sequence[tuple[datetime, int]]:
        ends = (c.expires_at for c in self.having(where) if c.status in _IN_USE and c.expires_at is not None)
        found = Counter((end - start) // timedelta(days=1) for end in ends)
        return [(start + timedelta(days=day), found[day]) for day in range(days)]

    def _extra(self, fact: ManagedCertificate, name: str) -> Any:
        if name == "target_id":
            return fact.target_ids
        if name == "names":
            return fact.name, fact.common_name
        targets = self._transaction.rows(TARGETS.table)
        return tuple(targets[target].agent_id for target in fact.target_ids)


class MemoryTargets(MemoryTable[ConfiguredTarget]):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, TARGETS)

    def remove(self, identity: str) -> None:
        # An archived certificate remembers its targets and never needs them again: it must not hold them for ever.
        for certificate in list(self._transaction.rows(CERTIFICATES.table).values()):
            if certificate.status is CertificateStatus.ARCHIVED and identity in certificate.target_ids:
                left = tuple(target for target in certificate.target_ids if target != identity)
                self._transaction.replace(CERTIFICATES, evolve(certificate, target_ids=left))
        super().remove(identity)


class MemoryVersions(Versions):
    def __init__(self, transaction: Transaction) -> None:
        self._table = MemoryTable(transaction, VERSIONS)

    def add(self, version: CertificateVersion) -> None:
        self._table.add(version)

    def add_many(self, versions: Sequence[CertificateVersion]) -> None:
        self._table.add_many(versions)

    def get(self, identity: VersionId) -> CertificateVersion:
        return self._table.get(identity)

    def page(
        self, certificate_id: CertificateId, limit: int, offset: int = 0, after: tuple[int, str] | None = None
    ) -> Page[CertificateVersion]:
        of_it = self._newest_first(certificate_id)
        left = [version for version in of_it if after is None or version.generation < after[0]][offset:]
        return page_of(left[:limit], len(of_it), len(left) > limit, "generation", descending=True)

    def latest(self, certificate_id: CertificateId, agent_id: AgentId | None = None) -> CertificateVersion | None:
        found = self._newest_first(certificate_id)
        return next((version for version in found if agent_id in (None, version.agent_id)), None)

    def latest_many(self, holders: Mapping[CertificateId, AgentId]) -> Mapping[CertificateId, CertificateVersion]:
        found = {identity: self.latest(identity, agent_id) for identity, agent_id in holders.items()}
        return {identity: version for identity, version in found.items() if version is not None}

    def latest_per_holder_many(
        self, certificate_ids: Iterable[CertificateId]
    ) -> Mapping[CertificateId, Sequence[CertificateVersion]]:
        found = {identity: self.latest_per_holder(identity) for identity in certificate_ids}
        return {identity: versions for identity, versions in found.items() if versions}

    def latest_per_holder(self, certificate_id: CertificateId) -> Sequence[CertificateVersion]:
        newest: dict[AgentId | None, CertificateVersion] = {}
        for version in self._newest_first(certificate_id):
            newest.setdefault(version.agent_id, version)
        return list(newest.values())

    def unexpired(
        self, certificate_ids: Iterable[CertificateId], now: datetime
    ) -> Mapping[CertificateId, Sequence[CertificateVersion]]:
        found = {
            identity: [version for version in self._newest_first(identity) if version.not_after > now]
            for identity in certificate_ids
        }
        return {identity: versions for identity, versions in found.items() if versions}

    def owners_of(self, fingerprints: Iterable[str]) -> Mapping[str, CertificateId]:
        wanted = set(fingerprints)
        found = self._table.select(lambda v: v.fingerprint_sha256 in wanted, by("id"))
        return {version.fingerprint_sha256: version.certificate_id for version in found}

    def with_serial(self, issuer_id: IssuerId, serial_number: str) -> CertificateVersion | None:
        wanted = (issuer_id, serial_number)
        found = self._table.select(lambda v: (v.issuer_id, v.serial_number) == wanted and not v.is_foreign, by("id"))
        return found[0] if found else None

    def with_serials(self, wanted: Iterable[tuple[IssuerId, str]]) -> Mapping[tuple[IssuerId, str], CertificateVersion]:
        pairs = set(wanted)
        found = self._table.select(lambda v: (v.issuer_id, v.serial_number) in pairs and not v.is_foreign, by("id"))
        return {(version.issuer_id, version.serial_number): version for version in found}

    def with_fingerprint(self, fingerprint: str) -> CertificateVersion | None:
        found = self._table.select(lambda v: v.fingerprint_sha256 == fingerprint, by("id"))
        return found[0] if found else None

    def owners_of_serials(self, issuer_id: IssuerId, serial_numbers: Iterable[str]) -> Mapping[str, CertificateId]:
        found = ((serial, self.with_serial(issuer_id, serial)) for serial in serial_numbers)
        return {serial: version.certificate_id for serial, version in found if version is not None}

    def validities(self, certificate_ids: Iterable[str]) -> Mapping[CertificateId, tuple[datetime, datetime]]:
        newest = (self.latest(CertificateId(identity)) for identity in dict.fromkeys(certificate_ids))
        return {v.certificate_id: (v.not_before, v.not_after) for v in newest if v is not None}

    def _newest_first(self, certificate_id: CertificateId) -> Sequence[CertificateVersion]:
        return self._table.select(lambda v: v.certificate_id == certificate_id, by("generation"), newest=True)


class MemoryAttempts(MemoryTable[IssuanceAttempt], Attempts):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, ATTEMPTS)

    def issued_since(self, certificate_id: CertificateId, since: datetime) -> int:
        def counts(attempt: IssuanceAttempt) -> bool:
            ended = attempt.finished_at
            is_issued = attempt.status is AttemptStatus.ISSUED and ended is not None and ended > since
            return is_issued and attempt.certificate_id == certificate_id

        return len(self.select(counts, by("id")))

    def issued_since_many(
        self, certificate_ids: Iterable[CertificateId], since: datetime
    ) -> Mapping[CertificateId, int]:
        found = {certificate_id: self.issued_since(certificate_id, since) for certificate_id in certificate_ids}
        return {certificate_id: count for certificate_id, count in found.items() if count}


class MemoryDeployments(Deployments):
    """What is known about each pair; the pairs themselves are the certificates' `target_ids`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def of(self, certificate_id: CertificateId) -> Sequence[Deployment]:
        return [self._known(certificate_id, target_id) for target_id in self._targets(certificate_id)]

    def find(self, certificate_id: CertificateId, target_id: TargetId) -> Deployment | None:
        is_mapped = target_id in self._targets(certificate_id)
        return self._known(certificate_id, target_id) if is_mapped else None

    def save(self, deployment: Deployment) -> None:
        if deployment.target_id in self._targets(deployment.certificate_id):
            self._transaction.set(_DEPLOYMENTS, (deployment.certificate_id, deployment.target_id), deployment)

    def _targets(self, certificate_id: CertificateId) -> tuple[TargetId, ...]:
        certificate = self._transaction.rows(CERTIFICATES.table).get(certificate_id)
        return certificate.target_ids if certificate else ()

    def _known(self, certificate_id: CertificateId, target_id: TargetId) -> Deployment:
        blank = Deployment(certificate_id=certificate_id, target_id=target_id)
        found: Deployment = self._transaction.rows(_DEPLOYMENTS).get((certificate_id, target_id), blank)
        return found
