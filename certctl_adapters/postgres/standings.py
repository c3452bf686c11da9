"""How serial numbers stand, and which have changed."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Final

from certctl_adapters.postgres.transaction import Row, Transaction
from certctl_core.ids import IssuerId
from certctl_core.models.certificates import RevocationReason
from certctl_core.models.standings import Standing, StatusChanges
from certctl_core.ports.store import Standings

_OF: Final = b"""
    SELECT v.serial_number, v.authority, v.not_after, r.revoked_at, r.reason
    FROM certificate_versions AS v
    LEFT JOIN certificate_revocations AS r
        ON r.issuer_id = v.issuer_id AND r.serial_number = v.serial_number AND r.released_at IS NULL
    WHERE v.issuer_id = %(issuer)s AND v.serial_number = ANY(%(serials)s) AND NOT v.is_foreign
    UNION ALL
    SELECT serial_number, authority, not_after, NULL, NULL FROM delegates
    WHERE issuer_id = %(issuer)s AND serial_number = ANY(%(serials)s)
    UNION ALL
    SELECT serial_number, '', not_after, revoked_at, reason FROM certificate_revocations
    WHERE issuer_id = %(issuer)s AND serial_number = ANY(%(serials)s) AND certificate_id IS NULL
        AND released_at IS NULL
"""
_UNEXPIRED: Final = b"""
    SELECT serial_number, authority, not_after, NULL, NULL FROM certificate_versions
    WHERE issuer_id = %(issuer)s AND not_after > %(now)s AND NOT is_foreign
    UNION ALL
    SELECT serial_number, authority, not_after, NULL, NULL FROM delegates
    WHERE issuer_id = %(issuer)s AND not_after > %(now)s
"""
_REVOKED: Final = b"""
    SELECT serial_number, '', not_after, revoked_at, reason FROM certificate_revocations
    WHERE issuer_id = %(issuer)s AND not_after > %(now)s AND released_at IS NULL
"""


class PostgresStandings(Standings):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def of(self, issuer_id: IssuerId, serial_numbers: Collection[str]) -> Mapping[str, Standing]:
        rows = self._transaction.rows(_OF, {"issuer": issuer_id, "serials": list(serial_numbers)})
        return {row[0]: _standing(row) for row in rows}

    def unexpired(self, issuer_id: IssuerId, now: datetime) -> Iterator[Standing]:
        rows = self._transaction.stream("standings", _UNEXPIRED, {"issuer": issuer_id, "now": now})
        return map(_standing, rows)

    def revoked(self, issuer_id: IssuerId, now: datetime) -> Iterator[Standing]:
        rows = self._transaction.stream("revoked", _REVOKED, {"issuer": issuer_id, "now": now})
        return map(_standing, rows)

    def position(self) -> int:
        row = self._transaction.row(b"SELECT max(number) FROM status_changes")
        return int(row[0]) if row and row[0] is not None else 0

    def changes(self, since: int, limit: int = 10_000) -> StatusChanges:
        rows = self._transaction.rows(
            b"""
            SELECT number, issuer_id, serial_number FROM status_changes WHERE number > %s ORDER BY number LIMIT %s
            """,
            [since, limit],
        )
        if not rows:
            return StatusChanges(since)
        return StatusChanges(rows[-1][0], tuple((row[1], row[2]) for row in rows), more=len(rows) == limit)

    def forget(self, before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM status_changes WHERE number IN (
                SELECT number FROM status_changes WHERE changed_at < %s ORDER BY changed_at LIMIT %s
            )
            """,
            [before, limit],
        )


def _standing(row: Row) -> Standing:
    serial_number, authority, not_after, revoked_at, reason = row
    return Standing(
        serial_number, authority, not_after, revoked_at, None if reason is None else RevocationReason(reason)
    )
