"""Revocations, CRLs, and when each of those is to be made, in memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import evolve

from certctl_adapters.kinds import CRL_DUTIES, CRLS, ISSUERS, REVOCATIONS
from certctl_adapters.memory.table import MemoryTable, by
from certctl_adapters.memory.transaction import Transaction
from certctl_core.errors import NotFound
from certctl_core.ids import CertificateId, IssuerId
from certctl_core.models.certificates import Revocation
from certctl_core.models.crls import CrlDuty, CrlGeneration, CrlScope, StoredCrl
from certctl_core.ports.store import Crls, CrlTrouble, Revocations

_COUNTS = "revocation_counts"
_LEFT = "revocations_that_have_left"
_NUMBERS = "crl_numbers"
_CONTENT = "crl_blocks"
_HISTORY = "crl_generation_events"
_LOOK_AT = "crl_look_at"


class MemoryRevocations(Revocations):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = MemoryTable(transaction, REVOCATIONS)

    def add(self, revocation: Revocation) -> None:
        self._table.add(self._counted(revocation))

    def add_many(self, revocations: Sequence[Revocation]) -> None:
        for revocation in revocations:
            self.add(revocation)

    def change_many(self, revocations: Sequence[Revocation]) -> None:
        for revocation in revocations:
            if self._table.find(revocation.id) is None:
                raise self._transaction.refuse(NotFound.of(REVOCATIONS.noun, revocation.id))
            self._transaction.replace(REVOCATIONS, self._counted(revocation))
            self._transaction.unset(_LEFT, revocation.id)

    def find(self, issuer_id: IssuerId, serial_number: str) -> Revocation | None:
        wanted = (issuer_id, serial_number)
        found = self._table.select(
            lambda r: (r.issuer_id, r.serial_number) == wanted and r.released_at is None, by("id")
        )
        return found[0] if found else None

    def of(self, certificate_ids: Iterable[CertificateId], *, released: bool = False) -> Sequence[Revocation]:
        wanted = set(certificate_ids)
        return self._table.select(
            lambda r: r.certificate_id in wanted and (released or r.released_at is None), by("revoked_at", "id")
        )

    def unassigned(self, limit: int) -> Sequence[Revocation]:
        return self._table.select(lambda r: not r.authority, by("id"), limit)

    def leave(self, scope: CrlScope, ended_before: datetime, limit: int) -> int:
        gone = self._table.select(
            lambda r: self._is_in(r, scope) and r.not_after < ended_before, by("not_after", "id"), limit
        )
        for revocation in gone:
            self._transaction.set(_LEFT, revocation.id, True)
        return len(gone)

    def listed(self, scope: CrlScope) -> tuple[Sequence[bytes], int]:
        found = self._table.select(lambda r: self._is_in(r, scope) and r.released_at is None, by("change"))
        return [r.entry for r in found], len(found)

    def changed(self, scope: CrlScope, since: int) -> tuple[Sequence[bytes], int]:
        found = self._table.select(lambda r: self._is_in(r, scope) and r.change > since, by("change"))
        return [r.entry for r in found], len(found)

    def count(self, issuer_id: IssuerId) -> int:
        return int(self._transaction.rows(_COUNTS).get(issuer_id, 0))

    def _is_in(self, revocation: Revocation, scope: CrlScope) -> bool:
        its = (revocation.issuer_id, revocation.authority, revocation.partition)
        is_there = revocation.id not in self._transaction.rows(_LEFT)
        return its == (scope.issuer_id, scope.authority, scope.partition) and is_there

    def _counted(self, revocation: Revocation) -> Revocation:
        """With the number of its change, which its scope has counted."""
        issuer_id = revocation.issuer_id
        if issuer_id in self._transaction.rows(ISSUERS.table):
            self._transaction.set(_COUNTS, issuer_id, self.count(issuer_id) + 1)
        if not revocation.authority or revocation.partition is None:
            return revocation
        scope = CrlScope(issuer_id, revocation.authority, revocation.partition)
        at = revocation.released_at or revocation.revoked_at
        before = MemoryCrls(self._transaction).duty(scope) or CrlDuty(scope=scope, due_at=at)
        duty = evolve(before, changes=before.changes + 1, due_at=min(before.due_at, at))
        self._transaction.replace(CRL_DUTIES, duty)
        return evolve(revocation, change=duty.changes)


class MemoryCrls(Crls):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def find(
        self, issuer_id: IssuerId, authority: str | None = None, partition: int = 0, *, is_delta: bool = False
    ) -> StoredCrl | None:
        for duty in self.duties(issuer_id):
            if authority is None and duty.is_first and duty.scope.partition == partition:
                authority = duty.scope.authority
        found = (one for one in self._stored() if one.issuer_id == issuer_id and one.is_delta == is_delta)
        return next(
            (one for one in found if (one.scope.authority, one.scope.partition) == (authority, partition)), None
        )

    def content(self, crl: StoredCrl) -> Iterator[bytes]:
        kept = self._transaction.rows(CRLS.table).get(crl.key)
        if kept is not None and kept.digest == crl.digest:
            yield self._transaction.rows(_CONTENT)[crl.key]

    def next_number(self, issuer_id: IssuerId) -> int:
        if issuer_id not in self._transaction.rows(ISSUERS.table):
            raise self._transaction.refuse(NotFound.of(ISSUERS.noun, issuer_id))
        number = int(self._transaction.rows(_NUMBERS).get(issuer_id, 0)) + 1
        self._transaction.set(_NUMBERS, issuer_id, number)
        return number

    def save(self, crl: StoredCrl, der: bytes) -> bool:
        kept = self._transaction.rows(CRLS.table).get(crl.key)
        if kept is not None and kept.number >= crl.number:
            return False
        self._transaction.replace(CRLS, crl)
        self._transaction.set(_CONTENT, crl.key, der)
        return True

    def ensure(self, duty: CrlDuty) -> CrlDuty:
        before = self.duty(duty.scope)
        if before is None:
            self._transaction.replace(CRL_DUTIES, duty)
            return duty
        new = tuple(address for address in duty.addresses if address not in before.addresses)
        due_at = min(before.due_at, duty.due_at) if new else before.due_at
        known = evolve(
            before,
            changes=before.changes + bool(new),
            addresses=(*before.addresses, *new),
            due_at=due_at,
            is_first=duty.is_first,
        )
        self._transaction.replace(CRL_DUTIES, known)
        return known

    def touch(self, scope: CrlScope, due_at: datetime) -> None:
        if (duty := self.duty(scope)) is not None:
            touched = evolve(duty, changes=duty.changes + 1, due_at=min(duty.due_at, due_at))
            self._transaction.replace(CRL_DUTIES, touched)

    def duty(self, scope: CrlScope) -> CrlDuty | None:
        return self._transaction.rows(CRL_DUTIES.table).get(scope.key)

    def duties(self, issuer_id: IssuerId) -> Sequence[CrlDuty]:
        return [duty for duty in self._duties() if duty.issuer_id == issuer_id]

    def all_duties(self, limit: int) -> Sequence[tuple[CrlDuty, StoredCrl | None, StoredCrl | None]]:
        return [
            (
                duty,
                self.find(duty.issuer_id, duty.scope.authority, duty.scope.partition),
                self.find(duty.issuer_id, duty.scope.authority, duty.scope.partition, is_delta=True),
            )
            for duty in self._duties()[:limit]
        ]

    def claim(self, scope: CrlScope, now: datetime, lease: timedelta) -> CrlDuty | None:
        duty = self.duty(scope)
        if duty is None or (duty.lease_until is not None and duty.lease_until > now):
            return None
        held = evolve(duty, lease_until=now + lease)
        self._transaction.replace(CRL_DUTIES, held)
        return held

    def claim_due(self, now: datetime, lease: timedelta) -> CrlDuty | None:
        for duty in sorted(self._duties(), key=lambda one: (one.due_at, one.scope)):
            if duty.due_at <= now and (held := self.claim(duty.scope, now, lease)) is not None:
                return held
        return None

    def finish(self, scope: CrlScope, changes: int, now: datetime, due_at: datetime) -> None:
        if (duty := self.duty(scope)) is not None:
            due_at = now if duty.changes > changes else due_at
            done = evolve(duty, due_at=due_at, lease_until=None, failures=0, last_error="")
            self._transaction.replace(CRL_DUTIES, done)

    def fail(self, scope: CrlScope, error: str, due_at: datetime) -> None:
        if (duty := self.duty(scope)) is not None:
            failed = evolve(duty, due_at=due_at, lease_until=None, failures=duty.failures + 1, last_error=error)
            self._transaction.replace(CRL_DUTIES, failed)

    def record(self, generation: CrlGeneration) -> None:
        self._transaction.set(_HISTORY, len(self._transaction.rows(_HISTORY)), generation)

    def history(self, scope: CrlScope, limit: int) -> Sequence[CrlGeneration]:
        found = [(number, one) for number, one in self._transaction.rows(_HISTORY).items() if one.scope == scope]
        newest = sorted(found, key=lambda pair: (pair[1].started_at, pair[0]), reverse=True)
        return [one for _, one in newest[:limit]]

    def histories(self, scopes: int, limit: int) -> Mapping[CrlScope, Sequence[CrlGeneration]]:
        found = {duty.scope: self.history(duty.scope, limit) for duty in self._duties()[:scopes]}
        return {scope: history for scope, history in found.items() if history}

    def forget(self, before: datetime, limit: int) -> int:
        old = sorted(
            (one.started_at, number)
            for number, one in self._transaction.rows(_HISTORY).items()
            if one.started_at < before
        )
        for _, number in old[:limit]:
            self._transaction.unset(_HISTORY, number)
        return len(old[:limit])

    def oldest_in_use(self, scope: CrlScope, now: datetime) -> CrlGeneration | None:
        found = [
            one
            for one in self._transaction.rows(_HISTORY).values()
            if one.scope == scope and one.succeeded and not one.is_delta and one.next_update and one.next_update > now
        ]
        return min(found, key=lambda one: one.number, default=None)

    def entries(self, issuer_id: IssuerId) -> int:
        return sum(one.entries for one in self._stored() if one.issuer_id == issuer_id and not one.is_delta)

    def due_issuers(self, now: datetime, again_at: datetime, limit: int) -> Sequence[IssuerId]:
        looked = self._transaction.rows(_LOOK_AT)
        found = [issuer for issuer in sorted(self._transaction.rows(ISSUERS.table)) if looked.get(issuer, now) <= now]
        for issuer in found[:limit]:
            self._transaction.set(_LOOK_AT, issuer, again_at)
        return found[:limit]

    def spread(self, issuer_id: IssuerId, partitions: int) -> None:
        issuer = self._transaction.rows(ISSUERS.table).get(issuer_id)
        if issuer is not None:
            self._transaction.replace(ISSUERS, evolve(issuer, crl_partitions=partitions))

    def trouble(self, now: datetime) -> CrlTrouble:
        return CrlTrouble(
            failing=sum(1 for duty in self._duties() if duty.failures),
            ended=sum(1 for one in self._stored() if one.next_update <= now and self._is_wanted(one, now)),
            oldest_due=min((duty.due_at for duty in self._duties() if duty.due_at <= now), default=None),
            error=max((duty.last_error for duty in self._duties() if duty.failures), default=""),
        )

    def _is_wanted(self, crl: StoredCrl, now: datetime) -> bool:
        duty = self.duty(crl.scope)
        return duty is not None and (duty.failures > 0 or duty.due_at <= now)

    def _duties(self) -> list[CrlDuty]:
        return sorted(self._transaction.rows(CRL_DUTIES.table).values(), key=lambda duty: duty.scope)

    def _stored(self) -> list[StoredCrl]:
        return list(self._transaction.rows(CRLS.table).values())
