"""The fleet that benchmarks run over is one that certctl could have made, and its schema is as migrated."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from bench import fleet
from bench.fleet import Template
from certctl_adapters.postgres.work import PostgresWork, open_pool
from certctl_core.models.certificates import CertificateStatus
from certctl_core.ports.store import Query
from tests import plans
from tests.databases import DatabaseServer, database_name

pytestmark = pytest.mark.integration

AT = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)
SIZE = 1000


@pytest.fixture(scope="module")
def templates() -> Sequence[Template]:
    return fleet.make_templates(plans.authority(), plans.NOW, 5)


@pytest.fixture
def superuser(database_server: DatabaseServer, database_url: str) -> str:
    """The address of the test's database, with the issuer that a first start makes."""
    url = urlunsplit(urlsplit(database_server.admin)._replace(path=f"/{database_name(database_url)}"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO issuers (id, name, type) VALUES ('iss-local', 'Local', 'GenericCA')")
    return url


def indexes(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'")}


def test_every_row_passes_the_checks_of_the_schema(superuser: str, templates: Sequence[Template]) -> None:
    fleet.fill(superuser, SIZE, AT, templates)
    with open_pool(superuser, size=1) as pool, PostgresWork(pool)() as work:
        assert work.certificates.page(Query()).total == SIZE
        assert not work.certificates.due_for_renewal(AT + timedelta(days=2), 10)
        assert not work.certificates.due_for_expiry(AT + timedelta(days=2), 10)
        assert {status for status, count in work.certificates.count_by_status().items() if count} >= {
            CertificateStatus.ACTIVE,
            CertificateStatus.PENDING,
            CertificateStatus.ARCHIVED,
        }


def test_a_certificate_reads_back_as_its_row_says(superuser: str, templates: Sequence[Template]) -> None:
    fleet.fill(superuser, SIZE, AT, templates)
    with open_pool(superuser, size=1) as pool, PostgresWork(pool)() as work:
        one = work.certificates.get("mc-0000005")
        newest, before = work.versions.page(one.id, 10, 0).items
        read = newest.certificate
        assert f"{read.serial_number:x}" == newest.serial_number
        assert read.not_valid_after_utc == newest.not_after == one.expires_at
        assert read.subject.rfc4514_string() == f"CN={one.common_name}"
        assert before.fingerprint_sha256 != newest.fingerprint_sha256
        assert read.fingerprint(SHA256()).hex() == newest.fingerprint_sha256


def test_indexes_that_are_taken_away_come_back(
    superuser: str, templates: Sequence[Template], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = indexes(superuser)
    monkeypatch.setattr(fleet, "CHECKED", 0)
    fleet.fill(superuser, SIZE, AT, templates)
    assert indexes(superuser) == before
