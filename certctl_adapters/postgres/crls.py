"""CRLs that are published, in blocks, and the scopes they are about."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from certctl_adapters.kinds import CRLS, ISSUERS
from certctl_adapters.postgres.transaction import Row, Transaction
from certctl_core.errors import Invalid, NotFound
from certctl_core.ids import IssuerId
from certctl_core.models.crls import CrlDuty, CrlGeneration, CrlScope, StoredCrl
from certctl_core.ports.store import Crls, CrlTrouble

BLOCK: Final = 1 << 18
"""Octets of a CRL that are kept, and read, together."""


class PostgresCrls(Crls):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def find(
        self, issuer_id: IssuerId, authority: str | None = None, partition: int = 0, *, is_delta: bool = False
    ) -> StoredCrl | None:
        asked = {"issuer": issuer_id, "authority": authority, "partition": partition, "delta": is_delta}
        if authority is None:
            row = self._transaction.row(
                b"""
                SELECT c.* FROM crl_scopes AS s JOIN crls AS c USING (issuer_id, authority, partition)
                WHERE s.issuer_id = %(issuer)s AND s.partition = %(partition)s AND s.is_first
                    AND c.is_delta = %(delta)s
                """,
                asked,
            )
        else:
            row = self._transaction.row(
                b"""
                SELECT * FROM crls
                WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
                    AND is_delta = %(delta)s
                """,
                asked,
            )
        return _stored(row) if row else None

    def content(self, crl: StoredCrl) -> Iterator[bytes]:
        statement = b"""
            SELECT content FROM crl_blocks
            WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
                AND is_delta = %(delta)s AND crl_number = %(number)s
            ORDER BY position
        """
        rows = self._transaction.stream("crl", statement, {**_of(crl), "number": crl.number}, batch=4, binary=True)
        return map(operator.itemgetter(0), rows)

    def next_number(self, issuer_id: IssuerId) -> int:
        try:
            (row,) = self._transaction.rows(
                b"""
                INSERT INTO crl_numbers AS c (issuer_id, last_number) VALUES (%s, 1)
                ON CONFLICT (issuer_id) DO UPDATE SET last_number = c.last_number + 1 RETURNING last_number
                """,
                [issuer_id],
            )
        except Invalid as error:
            raise NotFound.of(ISSUERS.noun, issuer_id) from error
        return int(row[0])

    def save(self, crl: StoredCrl, der: bytes) -> bool:
        statement = b"""
            INSERT INTO crls AS c VALUES (%(issuer)s, %(authority)s, %(partition)s, %(delta)s, %(number)s, %(base)s,
                %(digest)s, %(size)s, %(entries)s, %(changes)s, %(this)s, %(next)s, %(made)s, %(took)s)
            ON CONFLICT (issuer_id, authority, partition, is_delta) DO UPDATE SET crl_number = excluded.crl_number,
                base = excluded.base, digest = excluded.digest, size = excluded.size, entries = excluded.entries,
                changes = excluded.changes, this_update = excluded.this_update, next_update = excluded.next_update,
                made_at = excluded.made_at, took = excluded.took
            WHERE c.crl_number < excluded.crl_number
        """
        values = {
            **_of(crl),
            "number": crl.number,
            "base": crl.base,
            "digest": crl.digest,
            "size": crl.size,
            "entries": crl.entries,
            "changes": crl.changes,
            "this": crl.this_update,
            "next": crl.next_update,
            "made": crl.made_at,
            "took": crl.took,
        }
        if not self._transaction.change(statement, values, CRLS, crl):
            return False
        whole = memoryview(der)
        self._transaction.change_many(
            b"""
            INSERT INTO crl_blocks VALUES (%(issuer)s, %(authority)s, %(partition)s, %(delta)s, %(number)s,
                %(position)s, %(content)b)
            """,
            [
                {**_of(crl), "number": crl.number, "position": at // BLOCK, "content": whole[at : at + BLOCK]}
                for at in range(0, len(der), BLOCK)
            ],
            CRLS,
        )
        self._transaction.change(
            b"""
            DELETE FROM crl_blocks
            WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
                AND is_delta = %(delta)s AND crl_number < %(number)s
            """,
            {**_of(crl), "number": crl.number},
        )
        return True

    def ensure(self, duty: CrlDuty) -> CrlDuty:
        row = self._transaction.row(
            b"""
            INSERT INTO crl_scopes AS s (issuer_id, authority, partition, due_at, addresses, is_first)
            VALUES (%(issuer)s, %(authority)s, %(partition)s, %(due)s, %(addresses)s, %(first)s)
            ON CONFLICT (issuer_id, authority, partition) DO UPDATE SET
                is_first = excluded.is_first,
                changes = s.changes + (NOT s.addresses @> excluded.addresses)::int,
                due_at = CASE WHEN s.addresses @> excluded.addresses THEN s.due_at
                    ELSE least(s.due_at, excluded.due_at) END,
                addresses = s.addresses || ARRAY(
                    SELECT new.address FROM unnest(excluded.addresses) AS new (address)
                    WHERE NOT new.address = ANY(s.addresses)
                )
            RETURNING *
            """,
            {
                **_where(duty.scope),
                "due": duty.due_at,
                "addresses": list(duty.addresses),
                "first": duty.is_first,
            },
            CRLS,
        )
        return _duty(row or ())

    def touch(self, scope: CrlScope, due_at: datetime) -> None:
        self._transaction.change(
            b"""
            UPDATE crl_scopes SET changes = changes + 1, due_at = least(due_at, %(due)s)
            WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
            """,
            {**_where(scope), "due": due_at},
        )

    def duty(self, scope: CrlScope) -> CrlDuty | None:
        row = self._transaction.row(
            b"""
            SELECT * FROM crl_scopes
            WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
            """,
            _where(scope),
        )
        return _duty(row) if row else None

    def duties(self, issuer_id: IssuerId) -> Sequence[CrlDuty]:
        statement = b"SELECT * FROM crl_scopes WHERE issuer_id = %s ORDER BY authority, partition"
        return [_duty(row) for row in self._transaction.rows(statement, [issuer_id])]

    def all_duties(self, limit: int) -> Sequence[tuple[CrlDuty, StoredCrl | None, StoredCrl | None]]:
        statement = b"""
            SELECT s.*, f.*, d.* FROM crl_scopes AS s
            LEFT JOIN crls AS f ON (f.issuer_id, f.authority, f.partition) = (s.issuer_id, s.authority, s.partition)
                AND NOT f.is_delta
            LEFT JOIN crls AS d ON (d.issuer_id, d.authority, d.partition) = (s.issuer_id, s.authority, s.partition)
                AND d.is_delta
            ORDER BY s.issuer_id, s.authority, s.partition LIMIT %s
        """
        return [
            (_duty(row[:_OF_DUTY]), _stored_or_none(row[_OF_DUTY:-_OF_CRL]), _stored_or_none(row[-_OF_CRL:]))
            for row in self._transaction.rows(statement, [limit])
        ]

    def claim(self, scope: CrlScope, now: datetime, lease: timedelta) -> CrlDuty | None:
        row = self._transaction.row(
            b"""
            UPDATE crl_scopes SET lease_until = %(until)s
            WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
                AND (lease_until IS NULL OR lease_until <= %(now)s)
            RETURNING *
            """,
            {**_where(scope), "now": now, "until": now + lease},
        )
        return _duty(row) if row else None

    def claim_due(self, now: datetime, lease: timedelta) -> CrlDuty | None:
        row = self._transaction.row(
            b"""
            UPDATE crl_scopes SET lease_until = %(until)s WHERE (issuer_id, authority, partition) = (
                SELECT issuer_id, authority, partition FROM crl_scopes
                WHERE due_at <= %(now)s AND (lease_until IS NULL OR lease_until <= %(now)s)
                ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
            )
            RETURNING *
            """,
            {"now": now, "until": now + lease},
        )
        return _duty(row) if row else None

    def finish(self, scope: CrlScope, changes: int, now: datetime, due_at: datetime) -> None:
        self._transaction.change(
            b"""
            UPDATE crl_scopes SET lease_until = NULL, failures = 0, last_error = '',
                due_at = CASE WHEN changes > %(changes)s THEN %(now)s ELSE %(due)s END
            WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
            """,
            {**_where(scope), "changes": changes, "now": now, "due": due_at},
        )

    def fail(self, scope: CrlScope, error: str, due_at: datetime) -> None:
        self._transaction.change(
            b"""
            UPDATE crl_scopes SET lease_until = NULL, failures = failures + 1, last_error = %(error)s, due_at = %(due)s
            WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
            """,
            {**_where(scope), "error": error, "due": due_at},
        )

    def record(self, generation: CrlGeneration) -> None:
        self._transaction.change(
            b"""
            INSERT INTO crl_generation_events (issuer_id, authority, partition, is_delta, crl_number, started_at, took,
                entries, changes, next_update, succeeded, error)
            VALUES (%(issuer)s, %(authority)s, %(partition)s, %(delta)s, %(number)s, %(started)s, %(took)s, %(entries)s,
                %(changes)s, %(next)s, %(succeeded)s, %(error)s)
            """,
            {
                **_of(generation),
                "number": generation.number,
                "started": generation.started_at,
                "took": generation.took,
                "entries": generation.entries,
                "changes": generation.changes,
                "next": generation.next_update,
                "succeeded": generation.succeeded,
                "error": generation.error,
            },
            CRLS,
        )

    def history(self, scope: CrlScope, limit: int) -> Sequence[CrlGeneration]:
        statement = b"""
            SELECT * FROM crl_generation_events
            WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
            ORDER BY started_at DESC, id DESC LIMIT %(limit)s
        """
        return [_generation(row) for row in self._transaction.rows(statement, {**_where(scope), "limit": limit})]

    def histories(self, scopes: int, limit: int) -> Mapping[CrlScope, Sequence[CrlGeneration]]:
        statement = b"""
            SELECT e.* FROM (
                SELECT issuer_id, authority, partition FROM crl_scopes ORDER BY issuer_id, authority, partition LIMIT %s
            ) AS s CROSS JOIN LATERAL (
                SELECT * FROM crl_generation_events AS e
                WHERE (e.issuer_id, e.authority, e.partition) = (s.issuer_id, s.authority, s.partition)
                ORDER BY e.started_at DESC, e.id DESC LIMIT %s
            ) AS e
            ORDER BY e.issuer_id, e.authority, e.partition, e.started_at DESC, e.id DESC
        """
        found: dict[CrlScope, list[CrlGeneration]] = {}
        for row in self._transaction.rows(statement, [scopes, limit]):
            made = _generation(row)
            found.setdefault(made.scope, []).append(made)
        return found

    def forget(self, before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM crl_generation_events WHERE id IN (
                SELECT id FROM crl_generation_events WHERE started_at < %s ORDER BY started_at LIMIT %s
            )
            """,
            [before, limit],
        )

    def oldest_in_use(self, scope: CrlScope, now: datetime) -> CrlGeneration | None:
        row = self._transaction.row(
            b"""
            SELECT * FROM crl_generation_events
            WHERE issuer_id = %(issuer)s AND authority = %(authority)s AND partition = %(partition)s
                AND succeeded AND NOT is_delta AND next_update > %(now)s
            ORDER BY crl_number LIMIT 1
            """,
            {**_where(scope), "now": now},
        )
        return _generation(row) if row else None

    def entries(self, issuer_id: IssuerId) -> int:
        statement = b"SELECT coalesce(sum(entries), 0) FROM crls WHERE issuer_id = %s AND NOT is_delta"
        row = self._transaction.row(statement, [issuer_id])
        return int(row[0]) if row else 0

    def due_issuers(self, now: datetime, again_at: datetime, limit: int) -> Sequence[IssuerId]:
        rows = self._transaction.rows(
            b"""
            UPDATE issuers SET crl_look_at = %(again)s WHERE id IN (
                SELECT id FROM issuers WHERE crl_look_at <= %(now)s ORDER BY crl_look_at, id LIMIT %(limit)s
                FOR UPDATE SKIP LOCKED
            )
            RETURNING id
            """,
            {"now": now, "again": again_at, "limit": limit},
        )
        return sorted(IssuerId(row[0]) for row in rows)

    def spread(self, issuer_id: IssuerId, partitions: int) -> None:
        self._transaction.change(b"UPDATE issuers SET crl_partitions = %s WHERE id = %s", [partitions, issuer_id])

    def trouble(self, now: datetime) -> CrlTrouble:
        row = self._transaction.row(
            b"""
            SELECT (SELECT count(*) FROM crl_scopes WHERE failures > 0),
                (
                    SELECT count(*) FROM crls JOIN crl_scopes AS s USING (issuer_id, authority, partition)
                    WHERE next_update <= %(now)s AND (s.failures > 0 OR s.due_at <= %(now)s)
                ),
                (SELECT min(due_at) FROM crl_scopes WHERE due_at <= %(now)s),
                (SELECT coalesce(max(last_error), '') FROM crl_scopes WHERE failures > 0)
            """,
            {"now": now},
        )
        return CrlTrouble(*row) if row else CrlTrouble()


_OF_DUTY: Final = 10
_OF_CRL: Final = 14


def _where(scope: CrlScope) -> dict[str, Any]:
    return {"issuer": scope.issuer_id, "authority": scope.authority, "partition": scope.partition}


def _of(made: StoredCrl | CrlGeneration) -> dict[str, Any]:
    return {**_where(made.scope), "delta": made.is_delta}


def _duty(row: Row) -> CrlDuty:
    issuer_id, authority, partition, changes, due_at, lease_until, failures, last_error, addresses, is_first = row
    return CrlDuty(
        scope=CrlScope(issuer_id, authority, partition),
        changes=changes,
        due_at=due_at,
        lease_until=lease_until,
        failures=failures,
        last_error=last_error,
        addresses=tuple(addresses),
        is_first=is_first,
    )


def _stored(row: Row) -> StoredCrl:
    issuer_id, authority, partition, is_delta, number, base, digest, size, entries, changes, *times = row
    this_update, next_update, made_at, took = times
    return StoredCrl(
        scope=CrlScope(issuer_id, authority, partition),
        is_delta=is_delta,
        number=number,
        base=base,
        digest=digest,
        size=size,
        entries=entries,
        changes=changes,
        this_update=this_update,
        next_update=next_update,
        made_at=made_at,
        took=took,
    )


def _stored_or_none(row: Row) -> StoredCrl | None:
    return None if row[0] is None else _stored(row)


def _generation(row: Row) -> CrlGeneration:
    _, issuer_id, authority, partition, is_delta, number, started_at, took, entries, changes, *rest = row
    next_update, succeeded, error = rest
    return CrlGeneration(
        scope=CrlScope(issuer_id, authority, partition),
        is_delta=is_delta,
        number=number,
        started_at=started_at,
        took=took,
        entries=entries,
        changes=changes,
        next_update=next_update,
        succeeded=succeeded,
        error=error,
    )
