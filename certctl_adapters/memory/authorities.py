"""Our CAs in memory."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from certctl_adapters.kinds import AUTHORITIES, ISSUERS, TARGETS, VERSIONS
from certctl_adapters.memory.table import MemoryTable, by, is_due
from certctl_adapters.memory.transaction import Transaction
from certctl_core.ids import AuthorityId, IssuerId
from certctl_core.models.authorities import AuthorityState, CertificateAuthority
from certctl_core.ports.store import Authorities


class MemoryAuthorities(MemoryTable[CertificateAuthority], Authorities):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, AUTHORITIES)

    def lock_or_add(self, authority: CertificateAuthority) -> CertificateAuthority:
        if self.find(authority.id) is None:
            self.add(authority)
        return self.get(authority.id)

    def of_issuer(self, issuer_id: IssuerId) -> Sequence[CertificateAuthority]:
        return self.of_issuers([issuer_id])

    def of_issuers(self, issuer_ids: Iterable[IssuerId]) -> Sequence[CertificateAuthority]:
        wanted = frozenset(issuer_ids)
        return self.select(lambda one: one.issuer_id in wanted, by("created_at", "id"))

    def children(self, authority_id: AuthorityId) -> Sequence[CertificateAuthority]:
        return self.select(lambda one: one.parent_id == authority_id, by("created_at", "id"))

    def last_end(self, issuer_id: IssuerId, recorded_before: datetime) -> datetime | None:
        versions = self._transaction.rows(VERSIONS.table).values()
        return max(
            (
                one.not_after
                for one in versions
                if one.issuer_id == issuer_id and one.created_at < recorded_before and not one.is_foreign
            ),
            default=None,
        )

    def due_drained(self, now: datetime, limit: int) -> Sequence[CertificateAuthority]:
        return self.select(
            lambda one: one.state is AuthorityState.RETIRING and is_due(one.drains_at, now),
            by("drains_at", "id"),
            limit,
        )

    def any_sealed(self) -> bytes | None:
        rows = self._transaction.rows
        sealed = [authority.sealed_key for authority in rows(AUTHORITIES.table).values()]
        sealed += [issuer.sealed_config for issuer in rows(ISSUERS.table).values()]
        sealed += [target.sealed_config for target in rows(TARGETS.table).values()]
        return next((value for value in sealed if value is not None), None)
