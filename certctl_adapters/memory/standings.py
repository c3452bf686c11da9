"""How serial numbers stand, in memory: read off versions, delegates and revocations each time."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

from attrs import evolve

from certctl_adapters.kinds import DELEGATES, REVOCATIONS, VERSIONS
from certctl_adapters.memory.transaction import Transaction
from certctl_core.ids import IssuerId
from certctl_core.models.certificates import Revocation
from certctl_core.models.standings import Standing, StatusChanges
from certctl_core.ports.store import Standings


class MemoryStandings(Standings):
    """There is no record of changes here: when anything has changed, all that is revoked has."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def of(self, issuer_id: IssuerId, serial_numbers: Collection[str]) -> Mapping[str, Standing]:
        return {one.serial_number: one for one in self._all(issuer_id) if one.serial_number in serial_numbers}

    def unexpired(self, issuer_id: IssuerId, now: datetime) -> Iterator[Standing]:
        given = (one for one in self._all(issuer_id) if one.not_after > now)
        return (evolve(one, revoked_at=None, reason=None) for one in given)

    def revoked(self, issuer_id: IssuerId, now: datetime) -> Iterator[Standing]:
        given = (one for one in self._all(issuer_id) if one.not_after > now and one.revoked_at)
        return (evolve(one, authority="") for one in given)

    def _all(self, issuer_id: IssuerId) -> Iterator[Standing]:
        revoked = {
            one.serial_number: one
            for one in self._revocations()
            if one.issuer_id == issuer_id and one.released_at is None
        }
        given = [one for one in self._transaction.rows(VERSIONS.table).values() if not one.is_foreign]
        for one in (*given, *self._transaction.rows(DELEGATES.table).values()):
            if one.issuer_id == issuer_id:
                found = revoked.get(one.serial_number)
                how = (found.revoked_at, found.reason) if found else (None, None)
                yield Standing(one.serial_number, one.authority, one.not_after, *how)
        for ca in revoked.values():
            if ca.certificate_id is None:
                yield Standing(ca.serial_number, "", ca.not_after, ca.revoked_at, ca.reason)

    def _revocations(self) -> list[Revocation]:
        return list(self._transaction.rows(REVOCATIONS.table).values())

    def position(self) -> int:
        return hash(tuple(self._revocations()))

    def changes(self, since: int, limit: int = 10_000) -> StatusChanges:  # noqa: ARG002 - never more than there are
        if since == self.position():
            return StatusChanges(since)
        found = tuple((one.issuer_id, one.serial_number) for one in self._revocations())
        return StatusChanges(self.position(), found)

    def forget(self, before: datetime, limit: int) -> int:  # noqa: ARG002 - there is nothing to forget
        return 0
