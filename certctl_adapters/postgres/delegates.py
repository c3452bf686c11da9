"""Delegates and their sealed keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from certctl_adapters.kinds import DELEGATES
from certctl_adapters.postgres.table import PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ids import DelegateId, IssuerId
from certctl_core.models.delegates import Delegate, Purpose
from certctl_core.ports.store import Delegates

_DELEGATE: Final = shape_of(DELEGATES)


class PostgresDelegates(Delegates):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _DELEGATE)

    def newest(self, issuer_id: IssuerId, authority: str, purpose: Purpose, label: str = "") -> Delegate | None:
        return self._table.one(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.issuer_id = %(issuer)s AND t.authority = %(authority)s AND t.purpose = %(purpose)s
                AND t.label = %(label)s
            ORDER BY t.generation DESC LIMIT 1
            """,
            issuer=issuer_id,
            authority=authority,
            purpose=purpose.value,
            label=label,
        )

    def unexpired(self, issuer_id: IssuerId, now: datetime) -> Sequence[Delegate]:
        return self._table.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.issuer_id = %(issuer)s AND t.not_after > %(now)s
            ORDER BY t.created_at DESC, t.id DESC
            """,
            issuer=issuer_id,
            now=now,
        )

    def lock_or_add(self, delegate: Delegate) -> Delegate:
        values = _DELEGATE.dump(delegate)
        statement = _DELEGATE.statement(
            """
            INSERT INTO {table} ({names}) VALUES ({values})
            ON CONFLICT (issuer_id, authority, purpose, label, generation) DO NOTHING
            """
        )
        self._transaction.change(statement, values, DELEGATES, delegate)
        self._transaction.change(
            b"""
            UPDATE delegates SET renew_at = NULL
            WHERE issuer_id = %(issuer_id)s AND authority = %(authority)s AND purpose = %(purpose)s
                AND label = %(label)s AND generation < %(generation)s AND renew_at IS NOT NULL
            """,
            values,
        )
        # A statement of its own: one that waited for another's insert does not see the row it waited for.
        found = self._table.one(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.issuer_id = %(issuer)s AND t.authority = %(authority)s AND t.purpose = %(purpose)s
                AND t.label = %(label)s AND t.generation = %(generation)s
            FOR UPDATE
            """,
            issuer=delegate.issuer_id,
            authority=delegate.authority,
            purpose=delegate.purpose.value,
            label=delegate.label,
            generation=delegate.generation,
        )
        return found or delegate

    def due_for_renewal(self, now: datetime, limit: int) -> Sequence[Delegate]:
        return self._table.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.renew_at <= %(now)s
            ORDER BY t.renew_at, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            now=now,
            limit=limit,
        )

    def set_renewal(self, identity: DelegateId, renew_at: datetime | None) -> None:
        self._transaction.change(b"UPDATE delegates SET renew_at = %s WHERE id = %s", [renew_at, identity])

    def forget(self, ended_before: datetime, limit: int) -> int:
        return self._transaction.change(
            b"""
            DELETE FROM delegates WHERE id IN (
                SELECT id FROM delegates WHERE not_after < %s ORDER BY not_after, id LIMIT %s FOR UPDATE SKIP LOCKED
            )
            """,
            [ended_before, limit],
        )
