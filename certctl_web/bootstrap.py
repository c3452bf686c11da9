"""The composition root: which adapter answers which port, and what a first start makes.

Nothing else in the server names a concrete adapter. `prepare` may be called by any number of processes at once, on any
number of hosts, at every start: it takes a lock of the database, so each thing is made exactly once.
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from attrs import field, frozen

from certctl_adapters import key_drivers
from certctl_adapters.authorities import AuthorityKeeper
from certctl_adapters.clock import SystemClock
from certctl_adapters.issuers import InstalledIssuers
from certctl_adapters.key_drivers import TokenSettings
from certctl_adapters.postgres import migrate
from certctl_adapters.postgres.embedded import EmbeddedPostgres
from certctl_adapters.postgres.locks import SharedLocks
from certctl_adapters.postgres.work import Pool, PostgresWork, open_pool
from certctl_adapters.secretbox import PassphraseBox, key_file
from certctl_adapters.targets import Catalog
from certctl_adapters.together import InLines
from certctl_core.errors import NotConfigured, Unreadable
from certctl_core.ids import IssuerId, OwnerId, ProfileId, TeamId
from certctl_core.models.access import SYSTEM, SystemActor
from certctl_core.models.authorities import SEALED
from certctl_core.models.catalog import ConfigSource
from certctl_core.models.enrolment import EnrolmentProtocol
from certctl_core.pki import ca
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.ports import Ports
from certctl_core.ports.signer import KeptKey, KeyDrivers
from certctl_core.ports.store import Query, Where
from certctl_core.ports.world import Nowhere, SecretBox, Tripwire
from certctl_core.usecases import access, catalog, sealing, secrets
from certctl_web import belonging, est_service, scep_service, tls
from certctl_web.metrics import PrometheusMeter
from certctl_web.setting import PREFIX
from certctl_web.settings import Settings

CONTROL_PLANE: Final = "control-plane"
"""Id of the CA above the server's own TLS certificate. It signs nothing else."""

LOCAL_ISSUER: Final = IssuerId("iss-local")
CA_LIFE: Final = timedelta(days=3650)
ACTOR: Final = SystemActor("bootstrap")
PATIENCE: Final = timedelta(minutes=2)

log = structlog.get_logger(__name__)


def embedded(settings: Settings) -> EmbeddedPostgres | None:
    """The database that certctl runs itself, unless a server was named."""
    if settings.storage.database_url:
        return None
    return EmbeddedPostgres(settings.storage.data_dir / "postgres", settings.storage.postgres_bin)


@frozen
class Database:
    """A database that answers. `tend` starts an embedded one again if it has died."""

    url: str = field(repr=False)
    tend: Callable[[], None]


@contextmanager
def database(settings: Settings) -> Iterator[Database]:
    """The database to work with. An embedded one runs at least as long as the block."""
    own = embedded(settings)
    if own is None:
        yield Database(settings.storage.database_url, lambda: None)
        return
    settings.storage.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield Database(own.ensure_running().url, lambda: _revive(own))
    finally:
        own.leave()


def _revive(own: EmbeddedPostgres) -> None:
    if not own.is_running():
        log.error("the embedded database has died; starting it again")
        own.ensure_running()


@frozen
class Backend:
    """Ports over one pool of connections."""

    ports: Ports
    pool: Pool = field(repr=False)

    @property
    def authorities(self) -> AuthorityKeeper:
        return AuthorityKeeper(self.ports.work, self.ports.keys, self.ports.clock)

    def control_plane(self) -> Authority:
        """The CA above the server's own certificate, made by whoever asks first."""
        starts = self.ports.clock.now().replace(microsecond=0) - tls.BACKDATED
        return self.authorities.keep(
            CONTROL_PLANE,
            lambda drivers: _control_plane(drivers, starts),
        )

    def close(self) -> None:
        self.pool.close()


def _control_plane(drivers: KeyDrivers, starts: datetime) -> tuple[KeptKey, Authority]:
    kept = drivers.make(SEALED, KeyKind.ECDSA_P256, CONTROL_PLANE)
    return kept, ca.root_of("certctl control plane", drivers.open(kept), starts, CA_LIFE, path_length=0)


@contextmanager
def connected(settings: Settings, url: str, connections: int) -> Iterator[Backend]:
    """As `connect`, closed at the end of the block."""
    backend = connect(settings, url, connections)
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def managed(settings: Settings) -> Iterator[Backend]:
    """For commands that look at or change a database that a server has set up. Raises `NotConfigured` when none has."""
    with database(settings) as found:
        if any(one.applied_at is None for one in migrate.status(found.url)):
            raise NotConfigured(
                "the database is not set up for this release",
                hint="Start certctl-server, or run: certctl-server migrate",
            )
        with connected(settings, found.url, connections=2) as backend:
            yield backend


def connect(settings: Settings, url: str, connections: int) -> Backend:
    """Ports over a pool of at most so many connections. Raises `NotConfigured` when the encryption key is missing,
    unfit, or not the one this database was filled with."""
    pool = open_pool(url, size=connections)
    work = PostgresWork(pool)
    try:
        box = _secret_box(settings, work)
    except BaseException:
        pool.close()
        raise
    clock, drivers = SystemClock(), key_drivers.installed(box, _token(settings))
    ports = Ports(
        work=work,
        clock=clock,
        secrets=box,
        issuers=InstalledIssuers(work, box, clock, drivers),
        targets=Catalog(),
        tripwire=_tripwire(settings),
        public_url=settings.pki.public_url or settings.web.public_url,
        lease=settings.jobs.lease,
        bypass_approvals=settings.jobs.approval_bypass,
        crls=settings.crls.rules,
        meter=PrometheusMeter(),
        together=InLines(),
        keys=drivers,
    )
    return Backend(ports, pool)


def _token(settings: Settings) -> TokenSettings | None:
    token = settings.pkcs11
    return None if token.module is None else TokenSettings(token.module, token.token, token.pin)


# --- The encryption key -------------------------------------------------------------------------------------------


def _secret_box(settings: Settings, work: PostgresWork) -> SecretBox:
    sealed = secrets.any_sealed(work)
    box = PassphraseBox(_passphrase(settings, filled=sealed is not None))
    if sealed is not None:
        try:
            box.open(sealed)
        except Unreadable:
            raise NotConfigured(
                "the database holds secrets that were sealed with another encryption key",
                hint=f"Start with the key it was filled with: {_where_the_key_is(settings)}.",
            ) from None
    return box


def _passphrase(settings: Settings, *, filled: bool) -> str:
    """The key that was given, or the key file of the embedded database, made only while nothing is sealed yet."""
    if settings.storage.encryption_key:
        return settings.storage.encryption_key
    file = _key_path(settings)
    if settings.storage.database_url:
        hint = "the one this database was filled with" if filled else "a new one, from: openssl rand -base64 32"
        raise NotConfigured(
            f"{PREFIX}DATABASE_URL is set and {PREFIX}CONFIG_ENCRYPTION_KEY is not",
            hint=f"Secrets in the database are sealed with that key. Set it to {hint}, and keep a copy of it.",
        )
    if filled and not file.exists():
        raise NotConfigured(
            f"the database holds sealed secrets and the key file {file} is gone",
            hint=f"Put it back from a backup (mode 0600), or set {PREFIX}CONFIG_ENCRYPTION_KEY to what was in it.",
        )
    return key_file(file)


def _key_path(settings: Settings) -> Path:
    return settings.storage.data_dir / "encryption.key"


def _where_the_key_is(settings: Settings) -> str:
    if settings.storage.encryption_key or settings.storage.database_url:
        return f"{PREFIX}CONFIG_ENCRYPTION_KEY has another value now"
    return f"{_key_path(settings)} has another content now"


# --- First start --------------------------------------------------------------------------------------------------


def prepare(settings: Settings, url: str, *, serves: bool) -> str | None:
    """Bring the database up to this release and make what is missing; for a process that `serves`, its certificate too.

    Returns the first admin key when it was made now: the caller shows it, once, and it is kept nowhere.
    """
    with SharedLocks(url).hold("first start", PATIENCE):
        ran = migrate.migrate(url)
        if ran:
            log.info("database migrated", migrations=[migration.file for migration in ran])
        from certctl_web import queues  # Huey is the worker's; other processes do without it.

        queues.create_tables(url)
        with connected(settings, url, connections=2) as backend:
            backend.control_plane()
            if serves:
                ensure_certificate(settings, backend)
            _seed(settings, backend.ports)
            if serves:
                scep_service.doors(settings)
                belonging.require_known(backend.ports, EnrolmentProtocol.SCEP, settings.scep_doors)
                est_service.labels(settings)
                belonging.require_known(backend.ports, EnrolmentProtocol.EST, settings.est_doors)
            _announce_audit_key(backend.ports)
            return _first_key(settings, backend.ports)


def ensure_certificate(settings: Settings, backend: Backend) -> None:
    """See to it that there is a good server certificate, or that the operator's can be used."""
    if settings.web.tls_cert_path is None:
        authority, now = backend.control_plane(), backend.ports.clock.now()
        tls.ensure(settings.storage.data_dir, authority, tls.server_names(settings.web), now)
    else:
        tls.ServerContext(server_pair(settings))


def _seed(settings: Settings, ports: Ports) -> None:
    """What a first certificate needs: an issuer, a profile, and somebody it belongs to."""
    empty = not catalog.page_issuer(ports, SYSTEM, Query(limit=1)).total
    local = next(iter(catalog.page_issuer(ports, SYSTEM, Query((Where("id", LOCAL_ISSUER),), count=False)).items), None)
    files = {
        "ca_cert_path": str(settings.local_ca.cert_path or ""),
        "ca_key_path": str(settings.local_ca.key_path or ""),
    }
    if local is not None and settings.local_ca.cert_path and dict(local.config, **files) != dict(local.config):
        catalog.update_issuer(ports, ACTOR, LOCAL_ISSUER, catalog.UpdateIssuer(config=files))
    if not empty:
        return
    wanted = catalog.CreateIssuer(
        id=LOCAL_ISSUER,
        name="Local CA",
        type="GenericCA",
        config=files if settings.local_ca.cert_path else {},
        source=ConfigSource.ENVIRONMENT if settings.local_ca.cert_path else ConfigSource.DATABASE,
    )
    issuer = catalog.create_issuer(ports, ACTOR, wanted)
    ports.issuers.connect(issuer)  # Makes and stores its CA now, so that no two replicas make one later.
    one = Query(limit=1)
    bare = not catalog.page_team(ports, SYSTEM, one).total and not catalog.page_owner(ports, SYSTEM, one).total
    if not catalog.page_profile(ports, SYSTEM, Query((Where("id", STANDARD_PROFILE.id),))).total:
        catalog.create_profile(ports, ACTOR, STANDARD_PROFILE)
    if bare:
        catalog.create_team(ports, ACTOR, catalog.CreateTeam(id=TeamId("t-default"), name="Default team"))
        owner = catalog.CreateOwner(id=OwnerId("o-default"), name="Default owner", team_id=TeamId("t-default"))
        catalog.create_owner(ports, ACTOR, owner)


def _announce_audit_key(ports: Ports) -> None:
    """At the first start the log has the key that checkpoints of the audit trail are signed with, for whoever collects
    the log to hold against what the server says later."""
    verifier, is_new = sealing.ensure_signer(ports)
    if is_new:
        log.info("audit key made", verifier_key=str(verifier))


STANDARD_PROFILE: Final = catalog.CreateProfile(
    id=ProfileId("prof-standard-tls"),
    name="Standard TLS",
    description="Server certificates for at most 90 days.",
    max_ttl=timedelta(days=90),
)


def _first_key(settings: Settings, ports: Ports) -> str | None:
    if settings.access.auth_type == "none" or settings.access.given_keys:
        return None
    made = access.ensure_first_key(ports, ACTOR)
    return made.plain if made else None


def server_pair(settings: Settings) -> tls.Pair:
    """The files of the server's own certificate."""
    web = settings.web
    if web.tls_cert_path is not None and web.tls_key_path is not None:
        return tls.Pair(web.tls_cert_path, web.tls_key_path)
    return tls.own_pair(settings.storage.data_dir)


class KillAt(Tripwire):
    """Kills its process, as kill -9 would, when the `nth` time a point is reached. For tests."""

    def __init__(self, point: str, nth: int) -> None:
        self._point = point
        self._nth = nth
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, point: str) -> None:
        with self._lock:
            self._seen[point] += 1
            reached = point == self._point and self._seen[point] == self._nth
        if reached:
            os.kill(os.getpid(), signal.SIGKILL)


def _tripwire(settings: Settings) -> Tripwire:
    """`issue:1` or, for the third time it is passed, `issue:1:3`."""
    text = settings.lifecycle.tripwire
    if not text:
        return Nowhere()
    name, number, *nth = text.split(":")
    return KillAt(f"{name}:{number}", int(nth[0]) if nth else 1)
