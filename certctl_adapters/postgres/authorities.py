"""Our CAs and their keys."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from certctl_adapters.kinds import AUTHORITIES
from certctl_adapters.postgres.table import PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ids import AuthorityId, IssuerId
from certctl_core.models.authorities import CertificateAuthority
from certctl_core.ports.store import Authorities

_AUTHORITY: Final = shape_of(AUTHORITIES)


class PostgresAuthorities(PostgresTable[CertificateAuthority], Authorities):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _AUTHORITY)

    def lock_or_add(self, authority: CertificateAuthority) -> CertificateAuthority:
        statement = _AUTHORITY.statement("INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT (id) DO NOTHING")
        self._transaction.change(statement, _AUTHORITY.dump(authority), AUTHORITIES, authority)
        # A statement of its own: one that waited for another's insert does not see the row it waited for.
        return self.lock(authority.id)

    def of_issuer(self, issuer_id: IssuerId) -> Sequence[CertificateAuthority]:
        return self.of_issuers([issuer_id])

    def of_issuers(self, issuer_ids: Iterable[IssuerId]) -> Sequence[CertificateAuthority]:
        return self.select(
            "SELECT {columns} FROM {table} AS t WHERE t.issuer_id = ANY(%(issuers)s) ORDER BY t.created_at, t.id",
            issuers=list(issuer_ids),
        )

    def children(self, authority_id: AuthorityId) -> Sequence[CertificateAuthority]:
        return self.select(
            "SELECT {columns} FROM {table} AS t WHERE t.parent_id = %(parent)s ORDER BY t.created_at, t.id",
            parent=authority_id,
        )

    def last_end(self, issuer_id: IssuerId, recorded_before: datetime) -> datetime | None:
        row = self._transaction.row(
            b"""
            SELECT max(not_after) FROM certificate_versions
            WHERE issuer_id = %s AND created_at < %s AND NOT is_foreign
            """,
            [issuer_id, recorded_before],
        )
        return row[0] if row else None

    def due_drained(self, now: datetime, limit: int) -> Sequence[CertificateAuthority]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.state = 'retiring' AND t.drains_at <= %(now)s
            ORDER BY t.drains_at, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            now=now,
            limit=limit,
        )

    def any_sealed(self) -> bytes | None:
        row = self._transaction.row(
            b"""
            SELECT sealed_key FROM certificate_authorities WHERE sealed_key IS NOT NULL
            UNION ALL SELECT encrypted_config FROM issuers WHERE encrypted_config IS NOT NULL
            UNION ALL SELECT encrypted_config FROM deployment_targets WHERE encrypted_config IS NOT NULL
            LIMIT 1
            """
        )
        return bytes(row[0]) if row else None
