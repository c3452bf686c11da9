"""Certificates, targets, versions and attempts."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, LiteralString

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from psycopg import sql

from certctl_adapters.kinds import ATTEMPTS, CERTIFICATES, TARGETS, VERSIONS, Kind
from certctl_adapters.postgres import totals
from certctl_adapters.postgres.codecs import as_json
from certctl_adapters.postgres.listing import Listing, where_clause
from certctl_adapters.postgres.table import PostgresTable, shape_of
from certctl_adapters.postgres.transaction import Transaction
from certctl_core.ids import AgentId, CertificateId, IssuerId, RenewalPolicyId, TargetId, VersionId
from certctl_core.models.catalog import ConfiguredTarget
from certctl_core.models.certificates import (
    CertificateStatus,
    CertificateVersion,
    Deployment,
    IssuanceAttempt,
    ManagedCertificate,
)
from certctl_core.ports.store import Attempts, Certificates, Deployments, Is, Page, Versions, Where, page_of

_CERTIFICATE: Final = shape_of(CERTIFICATES)
_TARGET: Final = shape_of(TARGETS)
_ATTEMPT: Final = shape_of(ATTEMPTS)
_VERSION: Final = shape_of(
    VERSIONS, chain="(SELECT c.certificates FROM certificate_chains AS c WHERE c.sha256 = t.chain_sha256)"
)
_DEPLOYMENT: Final = shape_of(Kind("certificate_target_mappings", "deployment", Deployment, identity="certificate_id"))

_EXTRA_FILTERS: Final[Mapping[str, LiteralString]] = {
    "names": "t.id IN (SELECT n.certificate_id FROM certificate_names AS n WHERE n.names ILIKE %s)",
    "target_id": (
        "t.id IN (SELECT m.certificate_id FROM certificate_target_mappings AS m WHERE m.target_id = ANY(%s))"
    ),
    "agent_id": (
        "t.id IN (SELECT m.certificate_id FROM certificate_target_mappings AS m "
        "JOIN deployment_targets AS d ON d.id = m.target_id WHERE d.agent_id = ANY(%s))"
    ),
}


_INSTANT: Final = timedelta(microseconds=1)
_IS_IN_USE: Final = sql.SQL("is_in_use(t.status)")
_LISTING: Final = Listing(
    _CERTIFICATE,
    totals.CERTIFICATES,
    narrow=frozenset(
        {
            "id",
            "status",
            "environment",
            "owner_id",
            "team_id",
            "issuer_id",
            "profile_id",
            "expires_at",
            "created_at",
            "updated_at",
        }
    ),
    ordered=frozenset(
        {
            ("owner_id", "created_at"),
            ("team_id", "created_at"),
            ("issuer_id", "created_at"),
            ("profile_id", "created_at"),
            ("status", "expires_at"),
        }
    ),
)


class PostgresCertificates(PostgresTable[ManagedCertificate], Certificates):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _CERTIFICATE, _LISTING)

    def due_for_renewal(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.renew_at <= %(now)s
            ORDER BY t.renew_at, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            now=now,
            limit=limit,
        )

    def due_for_expiry(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.status IN ('Active', 'Expiring', 'Failed') AND t.expires_at <= %(now)s
            ORDER BY t.expires_at, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            now=now,
            limit=limit,
        )

    def due_for_alert(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.next_alert_at <= %(now)s
            ORDER BY t.next_alert_at, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            now=now,
            limit=limit,
        )

    def newly_overdue(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.overdue_at <= %(now)s AND t.overdue_reported_at IS NULL
            ORDER BY t.overdue_at, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            now=now,
            limit=limit,
        )

    def lock_following(self, policy_id: RenewalPolicyId, after: str, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.renewal_policy_id = %(policy)s AND t.id > %(after)s
            ORDER BY t.id LIMIT %(limit)s FOR UPDATE
            """,
            policy=policy_id,
            after=after,
            limit=limit,
        )

    def due_for_policy(self, now: datetime, limit: int) -> Sequence[ManagedCertificate]:
        return self.select(
            """
            SELECT {columns} FROM {table} AS t WHERE t.next_policy_check_at <= %(now)s
            ORDER BY t.next_policy_check_at, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
            now=now,
            limit=limit,
        )

    def count_by_status(self, where: Sequence[Where] = ()) -> Mapping[CertificateStatus, int]:
        counted = self._grouped("status", where)
        return {status: counted.get(status.value, 0) for status in CertificateStatus}

    def ending(self, after: datetime, before: datetime, where: Sequence[Where] = ()) -> int:
        if where:
            bounds = Where("expires_at", after, Is.AFTER), Where("expires_at", before, Is.BEFORE)
            conditions, given = self._conditions((*bounds, *where))
            statement = sql.SQL("SELECT count(*) FROM managed_certificates AS t {}").format(
                where_clause([_IS_IN_USE, *conditions])
            )
        else:
            table, end = sql.Identifier("managed_certificates"), _CERTIFICATE.column("expires_at").sorting
            statement, given = totals.Between(totals.IN_USE, after, before).statement(table, end, _IS_IN_USE)
        row = self._transaction.row(statement, given, prepare=False)
        return int(row[0]) if row else 0

    def expiring_by_day(
        self, start: datetime, days: int, where: Sequence[Where] = ()
    ) -> Sequence[tuple[datetime, int]]:
        day = timedelta(days=1)
        end = start + days * day
        if where:
            bounds = Where("expires_at", start - _INSTANT, Is.AFTER), Where("expires_at", end, Is.BEFORE)
            conditions, given = self._conditions((*bounds, *where))
            statement = sql.SQL(
                "SELECT day_of(t.expires_at), count(*) FROM managed_certificates AS t {} GROUP BY 1"
            ).format(where_clause([_IS_IN_USE, *conditions]))
        else:
            statement = sql.SQL(
                "SELECT t.day, sum(t.n) FROM {} AS t WHERE t.day >= %s AND t.day < %s GROUP BY 1"
            ).format(sql.SQL(totals.IN_USE.days))
            given = [start, end]
        found = self._transaction.counts(statement, given)
        return [(start + number * day, found.get(start + number * day, 0)) for number in range(days)]

    def _extra(self, name: str) -> LiteralString:
        return _EXTRA_FILTERS[name]


class PostgresTargets(PostgresTable[ConfiguredTarget]):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _TARGET)

    def remove(self, identity: str) -> None:
        # An archived certificate remembers its targets and never needs them again: it must not hold them for ever.
        self._transaction.change(
            b"""
            UPDATE managed_certificates SET target_ids = array_remove(target_ids, %(id)s), revision = revision + 1
            WHERE status = 'Archived'
              AND id IN (SELECT certificate_id FROM certificate_target_mappings WHERE target_id = %(id)s)
            """,
            {"id": identity},
        )
        super().remove(identity)


_NEWEST: Final = 2**31 - 1
"""No generation is beyond it."""


class PostgresVersions(Versions):
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _VERSION)

    def add(self, version: CertificateVersion) -> None:
        digests = self._keep_chains([version])
        statement = _VERSION.statement(
            "INSERT INTO {table} ({names}, chain_sha256) VALUES ({values}, %(chain_sha256)s)"
        )
        row = _VERSION.dump(version) | {"chain_sha256": digests[version.chain]}
        self._transaction.change(statement, row, VERSIONS, version)

    def add_many(self, versions: Sequence[CertificateVersion]) -> None:
        if len(versions) < 2:
            for version in versions:
                self.add(version)
            return
        digests = self._keep_chains(versions)
        rows = [_VERSION.dump(version) | {"chain_sha256": digests[version.chain]} for version in versions]
        statement = _VERSION.statement(
            """
            INSERT INTO {table} ({names}, chain_sha256)
            SELECT {names}, chain_sha256 FROM json_populate_recordset(NULL::{table}, %(rows)s::json)
            """
        )
        self._transaction.change(statement, {"rows": as_json(rows)}, VERSIONS)

    def _keep_chains(self, versions: Sequence[CertificateVersion]) -> Mapping[tuple[x509.Certificate, ...], bytes]:
        """See to it that the certificates above these are there; their digests."""
        encoded = {
            version.chain: [certificate.public_bytes(Encoding.DER) for certificate in version.chain]
            for version in versions
        }
        digests = {chain: sha256(b"".join(certificates)).digest() for chain, certificates in encoded.items()}
        rows = [{"sha256": digests[chain], "certificates": certificates} for chain, certificates in encoded.items()]
        # In one order whoever writes them, so that two who add the same do not wait in a circle.
        self._transaction.change(
            b"""
            INSERT INTO certificate_chains (sha256, certificates)
            SELECT sha256, certificates FROM json_populate_recordset(NULL::certificate_chains, %s::json)
            ORDER BY sha256 ON CONFLICT DO NOTHING
            """,
            [as_json(rows)],
        )
        return digests

    def get(self, identity: VersionId) -> CertificateVersion:
        return self._table.get(identity)

    def page(
        self, certificate_id: CertificateId, limit: int, offset: int = 0, after: tuple[int, str] | None = None
    ) -> Page[CertificateVersion]:
        counted = self._transaction.row(
            b"SELECT count(*) FROM certificate_versions WHERE certificate_id = %s", [certificate_id]
        )
        total = int(counted[0]) if counted else 0
        items = self._table.select(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.certificate_id = %(certificate)s AND t.generation < %(below)s
            ORDER BY t.generation DESC LIMIT %(limit)s OFFSET %(offset)s
            """,
            certificate=certificate_id,
            below=_NEWEST if after is None else after[0],
            limit=limit + 1,
            offset=offset,
        )
        return page_of(items[:limit], total, len(items) > limit, "generation", descending=True)

    def latest(self, certificate_id: CertificateId, agent_id: AgentId | None = None) -> CertificateVersion | None:
        return self._table.one(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.certificate_id = %(certificate)s AND (%(agent)s::text IS NULL OR t.agent_id = %(agent)s)
            ORDER BY t.generation DESC LIMIT 1
            """,
            certificate=certificate_id,
            agent=agent_id,
        )

    def latest_many(self, holders: Mapping[CertificateId, AgentId]) -> Mapping[CertificateId, CertificateVersion]:
        found = self._table.select(
            """
            SELECT DISTINCT ON (t.certificate_id) {columns} FROM {table} AS t
            JOIN unnest(%(certificates)s::text[], %(agents)s::text[]) AS held (certificate_id, agent_id)
              ON t.certificate_id = held.certificate_id AND t.agent_id = held.agent_id
            WHERE t.certificate_id = ANY(%(certificates)s)
            ORDER BY t.certificate_id, t.generation DESC
            """,
            certificates=list(holders),
            agents=list(holders.values()),
        )
        return {version.certificate_id: version for version in found}

    def latest_per_holder(self, certificate_id: CertificateId) -> Sequence[CertificateVersion]:
        return self.latest_per_holder_many([certificate_id]).get(certificate_id, [])

    def latest_per_holder_many(
        self, certificate_ids: Iterable[CertificateId]
    ) -> Mapping[CertificateId, Sequence[CertificateVersion]]:
        found = self._table.select(
            """
            SELECT DISTINCT ON (t.certificate_id, t.agent_id) {columns} FROM {table} AS t
            WHERE t.certificate_id = ANY(%(certificates)s)
            ORDER BY t.certificate_id, t.agent_id, t.generation DESC
            """,
            certificates=list(certificate_ids),
        )
        newest: dict[CertificateId, list[CertificateVersion]] = {}
        for version in sorted(found, key=lambda version: version.generation, reverse=True):
            newest.setdefault(version.certificate_id, []).append(version)
        return newest

    def unexpired(
        self, certificate_ids: Iterable[CertificateId], now: datetime
    ) -> Mapping[CertificateId, Sequence[CertificateVersion]]:
        found = self._table.select(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.certificate_id = ANY(%(certificates)s) AND t.not_after > %(now)s
            ORDER BY t.certificate_id, t.generation DESC
            """,
            certificates=list(certificate_ids),
            now=now,
        )
        unexpired: dict[CertificateId, list[CertificateVersion]] = {}
        for version in found:
            unexpired.setdefault(version.certificate_id, []).append(version)
        return unexpired

    def owners_of(self, fingerprints: Iterable[str]) -> Mapping[str, CertificateId]:
        rows = self._transaction.rows(
            b"SELECT fingerprint_sha256, certificate_id FROM certificate_versions WHERE fingerprint_sha256 = ANY(%s)",
            [list(fingerprints)],
        )
        return {fingerprint: CertificateId(certificate) for fingerprint, certificate in rows}

    def with_serial(self, issuer_id: IssuerId, serial_number: str) -> CertificateVersion | None:
        return self._table.one(
            """
            SELECT {columns} FROM {table} AS t
            WHERE t.issuer_id = %(issuer)s AND t.serial_number = %(serial)s AND NOT t.is_foreign
            """,
            issuer=issuer_id,
            serial=serial_number,
        )

    def with_serials(self, wanted: Iterable[tuple[IssuerId, str]]) -> Mapping[tuple[IssuerId, str], CertificateVersion]:
        pairs = list(wanted)
        found = self._table.select(
            """
            SELECT {columns} FROM unnest(%(issuers)s::text[], %(serials)s::text[]) AS wanted (issuer_id, serial_number)
            JOIN {table} AS t ON t.issuer_id = wanted.issuer_id AND t.serial_number = wanted.serial_number
            WHERE NOT t.is_foreign
            """,
            issuers=[issuer for issuer, _ in pairs],
            serials=[serial for _, serial in pairs],
        )
        return {(version.issuer_id, version.serial_number): version for version in found}

    def with_fingerprint(self, fingerprint: str) -> CertificateVersion | None:
        return self._table.one(
            "SELECT {columns} FROM {table} AS t WHERE t.fingerprint_sha256 = %(fingerprint)s", fingerprint=fingerprint
        )

    def owners_of_serials(self, issuer_id: IssuerId, serial_numbers: Iterable[str]) -> Mapping[str, CertificateId]:
        rows = self._transaction.rows(
            b"""
            SELECT serial_number, certificate_id FROM certificate_versions
            WHERE issuer_id = %s AND serial_number = ANY(%s) AND NOT is_foreign
            """,
            [issuer_id, list(serial_numbers)],
        )
        return {serial: CertificateId(certificate_id) for serial, certificate_id in rows}

    def validities(self, certificate_ids: Iterable[str]) -> Mapping[CertificateId, tuple[datetime, datetime]]:
        rows = self._transaction.rows(
            b"""
            SELECT wanted.id, newest.not_before, newest.not_after FROM unnest(%s::text[]) AS wanted (id),
            LATERAL (
                SELECT v.not_before, v.not_after FROM certificate_versions AS v WHERE v.certificate_id = wanted.id
                ORDER BY v.generation DESC LIMIT 1
            ) AS newest
            """,
            [list(dict.fromkeys(certificate_ids))],
        )
        return {CertificateId(key): (start.astimezone(UTC), end.astimezone(UTC)) for key, start, end in rows}


class PostgresAttempts(PostgresTable[IssuanceAttempt], Attempts):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _ATTEMPT)

    def issued_since(self, certificate_id: CertificateId, since: datetime) -> int:
        row = self._transaction.row(
            b"""
            SELECT count(*) FROM issuance_attempts
            WHERE certificate_id = %s AND status = 'Issued' AND finished_at > %s
            """,
            [certificate_id, since],
        )
        return int(row[0]) if row else 0

    def issued_since_many(
        self, certificate_ids: Iterable[CertificateId], since: datetime
    ) -> Mapping[CertificateId, int]:
        return self._transaction.counts(
            b"""
            SELECT certificate_id, count(*) FROM issuance_attempts
            WHERE certificate_id = ANY(%s) AND status = 'Issued' AND finished_at > %s GROUP BY certificate_id
            """,
            [list(certificate_ids), since],
        )


class PostgresDeployments(Deployments):
    """Rows come and go with the certificates' `target_ids` (by trigger); here they are only read and filled."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._table = PostgresTable(transaction, _DEPLOYMENT)

    def of(self, certificate_id: CertificateId) -> Sequence[Deployment]:
        return self._table.select(
            """
            SELECT {columns} FROM {table} AS t JOIN managed_certificates AS c ON c.id = t.certificate_id
            WHERE t.certificate_id = %(certificate)s ORDER BY array_position(c.target_ids, t.target_id::text)
            """,
            certificate=certificate_id,
        )

    def find(self, certificate_id: CertificateId, target_id: TargetId) -> Deployment | None:
        return self._table.one(
            "SELECT {columns} FROM {table} AS t WHERE t.certificate_id = %(certificate)s AND t.target_id = %(target)s",
            certificate=certificate_id,
            target=target_id,
        )

    def save(self, deployment: Deployment) -> None:
        statement = _DEPLOYMENT.statement(
            "UPDATE {table} SET {changes} WHERE certificate_id = %(certificate_id)s AND target_id = %(target_id)s"
        )
        self._transaction.change(statement, _DEPLOYMENT.dump(deployment))
