"""A fleet to measure with: a data directory of certctl with a million certificates in it.

`seeded` makes it once and finds it again: what was made is kept below the folder it is given, under a name that follows
from the size, the migrations and the statements that made it. It is good for two days, because after that certificates
in it become due. A benchmark that writes works on a `copy`.

The rows are made inside the database (`fleet.sql`): copying them in from here would only move the same text through a
socket. Meanwhile the big tables have no indexes and check no references, which takes a superuser, and afterwards the
indexes are as the migrations made them. Below `CHECKED` certificates everything is checked and every trigger runs, so
that the statements are proved on a small fleet.
"""

import hashlib
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
from attrs import frozen
from cryptography.hazmat.primitives.serialization import Encoding
from psycopg import sql

from certctl_adapters.issuers.local import LocalIssuer
from certctl_adapters.postgres import migrate
from certctl_adapters.postgres.embedded import EmbeddedPostgres
from certctl_core.pki import ca, keys, names
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import LeafPlan
from certctl_core.usecases import crl_scopes, sealing, tallies
from certctl_web import bootstrap
from certctl_web.settings import Settings, load

SIZE: Final = 1_000_000
SMALL: Final = 10_000
CHECKED: Final = 50_000
GOOD_FOR: Final = timedelta(days=2)
TEMPLATES: Final = 2_000
ROLES: Final = ("admin", "operator", "viewer", "auditor")

_SQL: Final = Path(__file__).with_suffix(".sql")
_HURRY: Final[Mapping[str, str]] = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "8GB",
    "shared_buffers": "512MB",
    "maintenance_work_mem": "512MB",
    "work_mem": "256MB",
    "autovacuum": "off",
}
"""While seeding only: what is measured runs with the product's own settings."""

_PLACEHOLDER: Final = "svc-0000000.t-000.example.com"
_SERIAL: Final = "7f" + "00" * 14 + "01"


@frozen
class Fleet:
    """A seeded data directory. `seconds` is how long seeding took when it was done."""

    data: Path
    size: int
    at: datetime
    seconds: float

    @property
    def agents(self) -> int:
        return _agents(self.size)

    @staticmethod
    def key(who: str) -> str:
        """The API key of a role, or of an agent by its id (`agent-00001` and so on)."""
        return f"cck_bench-{who}"

    @contextmanager
    def copy(self, place: Path) -> Iterator["Fleet"]:
        """The same in a folder below `place`, to be changed, and gone at the end of the block."""
        to = place / f"copy-{time.time_ns()}"
        subprocess.run(["/bin/cp", "-a", "--reflink=auto", str(self.data), str(to)], check=True)
        try:
            yield Fleet(to, self.size, self.at, self.seconds)
        finally:
            shutil.rmtree(to, ignore_errors=True)


def seeded(place: Path, size: int = SIZE) -> Fleet:
    """The fleet of this size below `place`, made now unless a fresh one is there."""
    data = place / f"fleet-{size}-{_version()}"
    mark = data / "SEEDED"
    if mark.exists():
        moment, took = mark.read_text().split()
        fleet = Fleet(data, size, datetime.fromisoformat(moment), float(took))
        if datetime.now(UTC) - fleet.at < GOOD_FOR:
            return fleet
    _forget_old(place)
    if data.exists():  # begun and not finished, or too old
        EmbeddedPostgres(data / "postgres").stop()
        shutil.rmtree(data)
    started = time.monotonic()
    at = seed(data, size)
    seconds = time.monotonic() - started
    mark.write_text(f"{at.isoformat()} {seconds:.1f}\n")
    return Fleet(data, size, at, seconds)


def _forget_old(place: Path) -> None:
    """Remove fleets that are of no use any more. One of another release may be somebody's at this moment."""
    for old in place.glob("fleet-*"):
        if time.time() - old.stat().st_mtime > GOOD_FOR.total_seconds():
            EmbeddedPostgres(old / "postgres").stop()
            shutil.rmtree(old)


def seed(data: Path, size: int) -> datetime:
    """Fill a new data directory. Returns the moment the fleet is as of."""
    at = datetime.now(UTC).replace(microsecond=0)
    postgres = EmbeddedPostgres(data / "postgres", settings=_HURRY)
    data.mkdir(mode=0o700, parents=True)
    try:
        url = postgres.ensure_running().url
        settings = load({"CERTCTL_DATA_DIR": str(data)}).settings
        bootstrap.prepare(settings, url, serves=True)
        templates = make_templates(_authority(settings, url), at)
        fill(postgres.superuser().url, size, at, templates)
        with bootstrap.connected(settings, url, 2) as backend:
            sealing.seal(backend.ports)
            crl_scopes.assign(backend.ports)
            tallies.close_days(backend.ports)
        _run(postgres.superuser().url, b"VACUUM (ANALYZE)")
        _run(postgres.superuser().url, b"CHECKPOINT")
        with bootstrap.connected(settings, url, 2) as backend:
            sealing.seal(backend.ports)  # So that a worker that is measured does not begin with a million events.
    finally:
        postgres.stop()
    return at


@frozen
class Template:
    """A certificate and where in it, counted from 1, what is to be replaced begins."""

    der: bytes
    chain_sha256: bytes
    serial_at: int
    not_before_at: int
    not_after_at: int
    name_at: list[int]


def make_templates(authority: Authority, at: datetime, count: int = TEMPLATES) -> Sequence[Template]:
    """Leafs that certctl would sign, each with a key of its own."""
    begins = at.replace(second=59, minute=58, hour=23)
    ends = begins + timedelta(days=90)
    chain = [one.public_bytes(Encoding.DER) for one in authority.chain if one.issuer != one.subject]
    made = []
    for _ in range(count):
        plan = LeafPlan(
            common_name=_PLACEHOLDER,
            sans=names.names_of(_PLACEHOLDER, [f"www.{_PLACEHOLDER}"]),
            public_key=keys.generate(KeyKind.ECDSA_P256).public_key(),
            serial_number=_SERIAL,
            not_before=begins,
            not_after=ends,
        )
        der = ca.sign_leaf(authority, plan).public_bytes(Encoding.DER)
        template = Template(
            der,
            hashlib.sha256(b"".join(chain)).digest(),
            der.index(bytes.fromhex(_SERIAL)) + 1,
            der.index(_utc_time(begins)) + 1,
            der.index(_utc_time(ends)) + 1,
            [place + 1 for place in _places(der, _PLACEHOLDER.encode())],
        )
        assert len(template.name_at) == 3
        made.append(template)
    return made


def fill(url: str, size: int, at: datetime, templates: Sequence[Template]) -> None:
    """Run `fleet.sql` as the superuser of a database that `bootstrap.prepare` has set up."""
    with psycopg.connect(url, autocommit=True) as connection:
        _provide(connection, size, at, templates)
        indexes = [] if size < CHECKED else _take_indexes_away(connection)
        if size >= CHECKED:
            connection.execute("SET session_replication_role = replica")
        for statement in _statements():
            connection.execute(statement)
        connection.execute("RESET session_replication_role")
    _run(url, b"SELECT recount()")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda definition: _run(url, definition), indexes))


def _run(url: str, statement: bytes) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def _statements() -> Iterator[bytes]:
    for statement in _SQL.read_text(encoding="utf-8").split(";\n"):
        if statement.strip():
            yield statement.encode()


def _provide(connection: psycopg.Connection[Any], size: int, at: datetime, templates: Sequence[Template]) -> None:
    """What `fleet.sql` calls."""
    constants = {"size": sql.Literal(size), "teams": sql.Literal(_teams(size)), "agents": sql.Literal(_agents(size))}
    for name, value in constants.items():
        connection.execute(
            sql.SQL("CREATE FUNCTION pg_temp.{}() RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT {}'").format(
                sql.Identifier(name), value
            )
        )
    connection.execute(
        sql.SQL(
            """
            CREATE FUNCTION pg_temp.at() RETURNS timestamptz IMMUTABLE LANGUAGE sql RETURN {}::timestamptz;
            CREATE FUNCTION pg_temp.pick(n bigint, about bigint, choices bigint) RETURNS bigint IMMUTABLE LANGUAGE sql
                RETURN (hashint8extended(n, about) & 9223372036854775807) % choices;
            CREATE FUNCTION pg_temp.certificate(n bigint) RETURNS text IMMUTABLE LANGUAGE sql
                RETURN 'mc-' || lpad(n::text, 7, '0');
            CREATE FUNCTION pg_temp.agent(n bigint) RETURNS text IMMUTABLE LANGUAGE sql
                RETURN 'agent-' || lpad(n::text, 5, '0');
            CREATE FUNCTION pg_temp.target(n bigint) RETURNS text IMMUTABLE LANGUAGE sql
                RETURN 'tgt-' || lpad(n::text, 5, '0');
            CREATE FUNCTION pg_temp.utc_time(at timestamptz) RETURNS bytea STABLE LANGUAGE sql
                RETURN convert_to(to_char(at AT TIME ZONE 'UTC', 'YYMMDDHH24MISS') || 'Z', 'UTF8');
            CREATE TABLE pg_temp.templates (
                n integer PRIMARY KEY, der bytea, chain_sha256 bytea, serial_at integer, not_before_at integer,
                not_after_at integer, name_at integer[]
            )
            """
        ).format(sql.Literal(at.isoformat()))
    )
    with connection.cursor() as cursor:
        with cursor.copy("COPY pg_temp.templates FROM STDIN") as copy:
            for n, t in enumerate(templates):
                copy.write_row((n, t.der, t.chain_sha256, t.serial_at, t.not_before_at, t.not_after_at, t.name_at))
        cursor.execute("ANALYZE pg_temp.templates")
        cursor.execute(
            """
            INSERT INTO certificate_chains (sha256, certificates)
            SELECT DISTINCT chain_sha256, '{}'::bytea[] FROM pg_temp.templates ON CONFLICT DO NOTHING
            """
        )


def _take_indexes_away(connection: psycopg.Connection[Any]) -> list[bytes]:
    """Drop the indexes of the big tables that no constraint needs; returns what makes them again."""
    rows = connection.execute(
        """
        SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
        FROM pg_index AS i JOIN pg_class AS t ON t.oid = i.indrelid
        WHERE t.relnamespace = 'public'::regnamespace
          AND t.relname = ANY (%s)
          AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = i.indexrelid)
        ORDER BY t.relname DESC
        """,
        [
            [
                "managed_certificates",
                "certificate_versions",
                "certificate_target_mappings",
                "jobs",
                "audit_events",
                "notification_events",
                "discovered_certificates",
                "certificate_names",
            ]
        ],
    ).fetchall()
    for name, _ in rows:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.SQL(name)))
    return [definition.encode() for _, definition in rows]


def _authority(settings: Settings, url: str) -> Authority:
    with bootstrap.connected(settings, url, 2) as backend:
        with backend.ports.work() as work:
            configured = work.issuers.get(bootstrap.LOCAL_ISSUER)
        issuer = backend.ports.issuers.connect(configured)
        assert isinstance(issuer, LocalIssuer)
        return issuer.authority


def _places(text: bytes, wanted: bytes) -> Iterator[int]:
    place = text.find(wanted)
    while place >= 0:
        yield place
        place = text.find(wanted, place + 1)


def _utc_time(at: datetime) -> bytes:
    return f"{at:%y%m%d%H%M%S}Z".encode()


def _agents(size: int) -> int:
    return max(size // 100, 10)


def _teams(size: int) -> int:
    return 50 if size >= CHECKED else 5


def _version() -> str:
    """Changes with whatever changes what is seeded."""
    digest = hashlib.sha256(_SQL.read_bytes() + Path(__file__).read_bytes())
    for migration in migrate.migrations():
        digest.update(migration.checksum.encode())
    return digest.hexdigest()[:12]
