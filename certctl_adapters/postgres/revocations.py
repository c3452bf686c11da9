"""Revocations and CRLs."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from certctl_adapters.kinds import CRLS, ISSUERS, REVOCATIONS
from certctl_adapters.postgres.table import PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.errors import Invalid, NotFound
from certctl_core.ids import CertificateId, IssuerId
from certctl_core.models.certificates import Revocation
from certctl_core.ports.store import Crls, Revocations, StoredCrl

_REVOCATION: Final = shape_of(REVOCATIONS)
_CRL: Final = shape_of(CRLS)


class PostgresRevocations(Revocations):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _REVOCATION)

    def add(self, revocation: Revocation) -> None:
        self._table.add(revocation)
        self._transaction.change(
            b"""
            INSERT INTO revocation_counts AS r (issuer_id, revocations) VALUES (%s, 1)
            ON CONFLICT (issuer_id) DO UPDATE SET revocations = r.revocations + 1
            """,
            [revocation.issuer_id],
        )

    def add_many(self, revocations: Sequence[Revocation]) -> None:
        if not revocations:
            return
        self._table.add_many(revocations)
        self._transaction.change(
            b"""
            INSERT INTO revocation_counts AS r (issuer_id, revocations)
            SELECT issuer, count(*) FROM unnest(%s::text[]) AS issuer GROUP BY issuer ORDER BY issuer
            ON CONFLICT (issuer_id) DO UPDATE SET revocations = r.revocations + excluded.revocations
            """,
            [[revocation.issuer_id for revocation in revocations]],
        )

    def find(self, issuer_id: IssuerId, serial_number: str) -> Revocation | None:
        return self._table.one(
            "SELECT {columns} FROM {table} AS t WHERE t.issuer_id = %(issuer)s AND t.serial_number = %(serial)s",
            issuer=issuer_id,
            serial=serial_number,
        )

    def of(self, certificate_ids: Iterable[CertificateId]) -> Sequence[Revocation]:
        return self._table.select(
            "SELECT {columns} FROM {table} AS t WHERE t.certificate_id = ANY(%(ids)s) ORDER BY t.revoked_at, t.id",
            ids=list(certificate_ids),
        )

    def unexpired(self, issuer_id: IssuerId, now: datetime) -> Iterable[Revocation]:
        statement = _REVOCATION.statement(
            """
            SELECT {columns} FROM {table} AS t WHERE t.issuer_id = %(issuer)s AND t.not_after > %(now)s
            ORDER BY t.serial_number
            """
        )
        rows = self._transaction.stream("revocations", statement, {"issuer": issuer_id, "now": now})
        return map(_REVOCATION.load, rows)

    def count(self, issuer_id: IssuerId) -> int:
        row = self._transaction.row(b"SELECT revocations FROM revocation_counts WHERE issuer_id = %s", [issuer_id])
        return int(row[0]) if row else 0


class PostgresCrls(Crls):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _CRL)

    def find(self, issuer_id: IssuerId) -> StoredCrl | None:
        return self._table.find(issuer_id)

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

    def save(self, crl: StoredCrl) -> None:
        statement = _CRL.statement(
            """
            INSERT INTO {table} AS c ({names}) VALUES ({values})
            ON CONFLICT ({key}) DO UPDATE SET {changes}, generated_at = now(), updated_at = now()
            WHERE c.crl_number < %(crl_number)s
            """
        )
        self._transaction.change(statement, _CRL.dump(crl), CRLS, crl)
