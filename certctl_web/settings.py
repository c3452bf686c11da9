"""The server's settings: `CERTCTL_...` variables of the environment, read here and nowhere else.

Each setting is one row below with its name, type, default and help; `certctl-server config` and the reference page are
read off the same rows. A secret may also be given as a file: `CERTCTL_AUTH_SECRET_FILE=/run/secrets/auth`.

A value that cannot be understood, or that contradicts another, stops the start with an error that names the variable.
Falling back to a default would be quieter, and would turn a typo in a time-out into an outage months later; clients
of the established names notice the difference only when they had such a typo. For the same reason a `CERTCTL_`
variable that nothing reads is reported with the nearest name that something does.
"""

import difflib
import ipaddress
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_type_hints

import attrs
from attrs import Factory, evolve, field, frozen

from certctl_core.models.crls import MAX_PARTITIONS, CrlRules
from certctl_web import est_settings, scep_settings
from certctl_web.est_settings import Est, EstDoor
from certctl_web.scep_settings import Scep, ScepDoor
from certctl_web.setting import (
    PREFIX,
    NamedKey,
    Network,
    Row,
    boolean,
    dsn,
    duration,
    keys_alone,
    keys_with_names,
    listed,
    networks,
    one_of,
    path,
    positive,
    text,
    web_address,
    whole,
    write_duration,
)

MASK: Final = "********"


class SettingsError(Exception):
    """The environment does not make a configuration. `problems` holds one sentence a variable."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


# --- The settings -------------------------------------------------------------------------------------------------


_INTERVAL: Final = duration(timedelta(seconds=1))


_SYSTEM_DATA_DIR: Final = Path("/var/lib/certctl")


def _default_data_dir() -> Path:
    try:
        own = Path.home() / ".local" / "share" / "certctl"
    except RuntimeError:  # A user without a home, as containers have them.
        return _SYSTEM_DATA_DIR
    return _SYSTEM_DATA_DIR if os.geteuid() == 0 else own


@frozen
class Web:
    """The listener."""

    host: Annotated[str, Row("SERVER_HOST", text, "Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Row("SERVER_PORT", whole(1, 65535), "Port to listen on (HTTPS, TLS 1.3).")] = 8443
    public_url: Annotated[
        str,
        Row(
            "PUBLIC_URL",
            web_address,
            "Address under which clients reach this server. Certificates carry CRL and OCSP addresses below it, unless "
            "CERTCTL_PKI_PUBLIC_URL names another.",
        ),
    ] = ""
    tls_cert_path: Annotated[
        Path | None,
        Row(
            "SERVER_TLS_CERT_PATH",
            path,
            "Own server certificate and chain, PEM; read anew when it changes. By default our own CA makes one.",
        ),
    ] = None
    tls_key_path: Annotated[Path | None, Row("SERVER_TLS_KEY_PATH", path, "Key of that certificate, PEM.")] = None
    tls_min_version: Annotated[
        str,
        Row(
            "SERVER_TLS_MIN_VERSION",
            one_of("1.3", "1.2"),
            "Lowest version of TLS that is spoken. 1.2 is for devices that know no other.",
        ),
    ] = "1.3"
    max_body_size: Annotated[int, Row("MAX_BODY_SIZE", whole(1024, 1 << 30), "Largest request body, in bytes.")] = (
        1 << 20
    )
    rate_limit_enabled: Annotated[
        bool, Row("RATE_LIMIT_ENABLED", boolean, "Limit the rate of requests of each caller.")
    ] = True
    rate_limit_rps: Annotated[
        float, Row("RATE_LIMIT_RPS", positive, "Requests a second that each caller may make.")
    ] = 50.0
    rate_limit_burst: Annotated[
        int, Row("RATE_LIMIT_BURST", whole(1, 1_000_000), "Requests that a caller may make at once after a pause.")
    ] = 100
    exports_per_hour: Annotated[
        int,
        Row(
            "CERT_EXPORT_RATE_LIMIT_PER_ACTOR_HR",
            whole(0, 1000),
            "Exports of certificates that each caller may have within an hour; 0 for any number.",
        ),
    ] = 50
    cors_origins: Annotated[
        tuple[str, ...], Row("CORS_ORIGINS", listed, "Web origins that may call the API from a browser, or *.")
    ] = ()
    trusted_proxies: Annotated[
        tuple[Network, ...],
        Row("TRUSTED_PROXIES", networks, "Addresses or networks of proxies whose X-Forwarded-For is believed."),
    ] = ()
    workers: Annotated[int, Row("WEB_WORKERS", whole(1, 64), "Processes that answer requests.")] = 2


@frozen
class Pki:
    """What relying parties ask: CRLs, OCSP and CA certificates, also without TLS (RFC 5280 section 8)."""

    port: Annotated[
        int,
        Row(
            "PKI_HTTP_PORT",
            whole(0, 65535),
            "Port of a plain HTTP listener that serves CRLs, OCSP answers and CA certificates and nothing else; 0 for "
            "none.",
        ),
    ] = 0
    host: Annotated[str, Row("PKI_HTTP_HOST", text, "Address that the plain HTTP listener listens on.")] = "127.0.0.1"
    workers: Annotated[
        int, Row("PKI_HTTP_WORKERS", whole(1, 64), "Processes that answer on the plain HTTP listener.")
    ] = 2
    public_url: Annotated[
        str,
        Row(
            "PKI_PUBLIC_URL",
            web_address,
            "Address under which relying parties reach CRLs and OCSP, such as http://pki.example.org. Certificates "
            "carry addresses below it; without it, below CERTCTL_PUBLIC_URL.",
        ),
    ] = ""
    ocsp_per_minute: Annotated[
        int,
        Row(
            "OCSP_RATE_LIMIT_PER_IP_MIN",
            whole(0, 100_000_000),
            "OCSP requests a minute that one address may send to the plain HTTP listener; 0 for any number.",
        ),
    ] = 60_000


@frozen
class Access:
    """Who may ask."""

    auth_type: Annotated[
        str,
        Row(
            "AUTH_TYPE",
            one_of("api-key", "none"),
            "api-key, or none: everybody is an administrator (only on a loopback address).",
        ),
    ] = "api-key"
    auth_none_anywhere: Annotated[
        bool, Row("AUTH_NONE_ANYWHERE", boolean, "Permit AUTH_TYPE=none on an address that others can reach.")
    ] = False
    unnamed_keys: Annotated[
        tuple[NamedKey, ...],
        Row(
            "AUTH_SECRET",
            keys_alone,
            "API keys, comma-separated, not administrators. Ignored when API_KEYS_NAMED is set.",
            secret=True,
        ),
    ] = field(default=(), repr=False)
    named_keys: Annotated[
        tuple[NamedKey, ...],
        Row("API_KEYS_NAMED", keys_with_names, "API keys as name:key or name:key:admin, comma-separated.", secret=True),
    ] = field(default=(), repr=False)

    @property
    def given_keys(self) -> tuple[NamedKey, ...]:
        """The keys that the environment asks for."""
        return self.named_keys or self.unnamed_keys


@frozen
class Storage:
    """Where things are kept."""

    data_dir: Annotated[
        Path,
        Row(
            "DATA_DIR",
            path,
            "Folder of the embedded database, its encryption key and the server certificate.",
            default_text="/var/lib/certctl for root, ~/.local/share/certctl for others",
        ),
    ] = field(factory=_default_data_dir)
    database_url: Annotated[
        str,
        Row(
            "DATABASE_URL",
            dsn,
            "PostgreSQL 14 or newer, postgresql://... Without it an embedded PostgreSQL runs in DATA_DIR.",
            secret=True,
        ),
    ] = field(default="", repr=False)
    database_max_conns: Annotated[
        int,
        Row(
            "DATABASE_MAX_CONNS",
            whole(4, 1000),
            "Most connections that the web processes together, and again each worker, hold in their pools.",
        ),
    ] = 25
    postgres_bin: Annotated[
        Path | None, Row("POSTGRES_BIN", path, "Folder with initdb and postgres to use for the embedded database.")
    ] = None
    encryption_key: Annotated[
        str,
        Row(
            "CONFIG_ENCRYPTION_KEY",
            text,
            "Passphrase that seals secrets in the database. Needed with DATABASE_URL; "
            "with the embedded database one is made in DATA_DIR.",
            secret=True,
        ),
    ] = field(default="", repr=False)
    api_call_retention: Annotated[
        timedelta,
        Row(
            "API_CALL_RETENTION",
            duration(timedelta(days=1)),
            "How long the record of API calls is kept, in whole months, and the counts of heartbeats and polls. "
            "The audit trail is kept for ever.",
        ),
    ] = timedelta(days=90)

    notification_retention: Annotated[
        timedelta,
        Row(
            "NOTIFICATION_RETENTION",
            duration(timedelta(days=1)),
            "How long messages to owners are kept, whether or not they could be sent.",
        ),
    ] = timedelta(days=90)
    violation_retention: Annotated[
        timedelta,
        Row(
            "POLICY_VIOLATION_RETENTION",
            duration(timedelta(days=1)),
            "How long policy violations are kept after they were resolved.",
        ),
    ] = timedelta(days=365)


@frozen
class LocalCa:
    """A CA of the operator's for the Local CA to sign with, instead of one that certctl makes."""

    cert_path: Annotated[Path | None, Row("CA_CERT_PATH", path, "Certificate of the CA and its chain, PEM.")] = None
    key_path: Annotated[Path | None, Row("CA_KEY_PATH", path, "Key of that certificate, PEM, not encrypted.")] = None


@frozen
class Pkcs11:
    """A token for CA keys, beside the database."""

    module: Annotated[
        Path | None, Row("PKCS11_MODULE", path, "Library of a PKCS #11 token in which CA keys can be made.")
    ] = None
    token: Annotated[str, Row("PKCS11_TOKEN", text, "Label of the token.")] = ""
    pin: Annotated[str, Row("PKCS11_PIN", text, "PIN of the token's user.", secret=True)] = field(
        default="", repr=False
    )


@frozen
class Log:
    level: Annotated[
        str, Row("LOG_LEVEL", one_of("debug", "info", "warn", "error"), "Least severity that is logged.")
    ] = "info"
    format: Annotated[str, Row("LOG_FORMAT", one_of("json", "text"), "json, or text for reading in a terminal.")] = (
        "json"
    )


@frozen
class Schedule:
    """How often each loop runs."""

    renewal_check: Annotated[
        timedelta,
        Row("SCHEDULER_RENEWAL_CHECK_INTERVAL", _INTERVAL, "How often renewals that are due are begun."),
    ] = timedelta(minutes=1)
    rescheduling: Annotated[
        timedelta,
        Row(
            "RESCHEDULING_INTERVAL",
            _INTERVAL,
            "How often changed renewal policies are looked for, whose certificates are to be given new times.",
        ),
    ] = timedelta(seconds=10)
    watchdog: Annotated[
        timedelta,
        Row(
            "RENEWAL_WATCHDOG_INTERVAL",
            _INTERVAL,
            "How often certificates are looked for that should have been renewed and have not been.",
        ),
    ] = timedelta(minutes=5)
    job_processor: Annotated[
        timedelta, Row("SCHEDULER_JOB_PROCESSOR_INTERVAL", _INTERVAL, "How often pending jobs are looked for.")
    ] = timedelta(seconds=30)
    job_retry: Annotated[
        timedelta,
        Row("SCHEDULER_RETRY_INTERVAL", _INTERVAL, "How often failed jobs are revived and abandoned ones given back."),
    ] = timedelta(seconds=30)
    job_timeout: Annotated[
        timedelta, Row("JOB_TIMEOUT_INTERVAL", _INTERVAL, "How often jobs that waited too long are looked for.")
    ] = timedelta(minutes=10)
    agent_health: Annotated[
        timedelta,
        Row(
            "SCHEDULER_AGENT_HEALTH_CHECK_INTERVAL",
            _INTERVAL,
            "How often silent agents are looked for; an agent that was silent for as long is Offline.",
        ),
    ] = timedelta(minutes=2)
    short_lived: Annotated[
        timedelta,
        Row(
            "SHORT_LIVED_EXPIRY_CHECK_INTERVAL",
            _INTERVAL,
            "How often certificates that have run out are marked Expired.",
        ),
    ] = timedelta(seconds=30)
    bulk: Annotated[
        timedelta,
        Row("SCHEDULER_BULK_INTERVAL", _INTERVAL, "How often operations on many certificates are looked for."),
    ] = timedelta(seconds=5)
    audit_seal: Annotated[
        timedelta,
        Row(
            "AUDIT_SEAL_INTERVAL",
            _INTERVAL,
            "How often new events of the audit trail are sealed and a checkpoint is signed, if there are any.",
        ),
    ] = timedelta(seconds=10)
    crls: Annotated[
        timedelta,
        Row(
            "CRL_GENERATION_INTERVAL",
            _INTERVAL,
            "How often CRLs are looked for that are due: because something was revoked, or they will end.",
        ),
    ] = timedelta(seconds=5)
    policy_check: Annotated[
        timedelta,
        Row(
            "SCHEDULER_POLICY_CHECK_INTERVAL",
            _INTERVAL,
            "How often certificates are judged again of which time, or a changed rule, changes what the rules say.",
        ),
    ] = timedelta(seconds=15)
    delegates: Annotated[
        timedelta,
        Row(
            "DELEGATE_RENEWAL_INTERVAL",
            _INTERVAL,
            "How often certificates of OCSP responders and SCEP registration authorities are looked for that are past "
            "half of their life, to be renewed.",
        ),
    ] = timedelta(minutes=10)
    housekeeping: Annotated[
        timedelta,
        Row("HOUSEKEEPING_INTERVAL", _INTERVAL, "How often old sessions, call records and finished jobs are removed."),
    ] = timedelta(hours=1)


@frozen
class Jobs:
    retention: Annotated[
        timedelta,
        Row("JOB_RETENTION", duration(timedelta(days=1)), "How long jobs and bulk operations that are over are kept."),
    ] = timedelta(days=90)
    awaiting_csr: Annotated[
        timedelta, Row("JOB_AWAITING_CSR_TIMEOUT", _INTERVAL, "How long a job waits for its agent's CSR.")
    ] = timedelta(hours=24)
    awaiting_approval: Annotated[
        timedelta, Row("JOB_AWAITING_APPROVAL_TIMEOUT", _INTERVAL, "How long a job waits for approval.")
    ] = timedelta(hours=168)
    approval_bypass: Annotated[
        bool,
        Row("APPROVAL_BYPASS", boolean, "Have every approval given at once by nobody. For development only."),
    ] = False
    hand_out: Annotated[
        timedelta,
        Row(
            "JOB_HAND_OUT_TIMEOUT",
            _INTERVAL,
            "How long an agent may take to say that it has begun a deployment before it is offered again.",
        ),
    ] = timedelta(seconds=30)
    lease: Annotated[
        timedelta,
        Row("JOB_LEASE", _INTERVAL, "How long one call of a CA may take before its job is given to another worker."),
    ] = timedelta(seconds=90)
    pace: Annotated[
        int,
        Row(
            "RENEWAL_PACE",
            whole(1, 1_000_000),
            "Renewals a minute that are begun by themselves with one issuer. After an outage the others wait for their "
            "turn, though never for more than half of their lead time.",
        ),
    ] = 1200
    threads: Annotated[int, Row("WORKER_THREADS", whole(1, 64), "Jobs that one worker process runs at a time.")] = 4


@frozen
class Observation:
    """What is found and watched."""

    scan_retention: Annotated[
        timedelta,
        Row("DISCOVERY_SCAN_RETENTION", duration(timedelta(hours=1)), "How long reports of discovery scans are kept."),
    ] = timedelta(days=30)
    probe_retention: Annotated[
        timedelta,
        Row(
            "HEALTH_CHECK_HISTORY_RETENTION",
            duration(timedelta(hours=1)),
            "How long the history of health checks is kept.",
        ),
    ] = timedelta(days=30)


@frozen
class Crls:
    """How CRLs are made."""

    life: Annotated[
        timedelta,
        Row(
            "CRL_LIFETIME",
            duration(timedelta(hours=1)),
            "How long a CRL may be relied upon (nextUpdate). It is made again at half of that at the latest.",
        ),
    ] = timedelta(hours=24)
    deltas: Annotated[
        str,
        Row(
            "CRL_DELTAS",
            one_of("auto", "always", "never"),
            "Publish delta CRLs beside complete ones: from CRL_DELTAS_FROM entries on, always, or never.",
        ),
    ] = "auto"
    deltas_from: Annotated[
        int, Row("CRL_DELTAS_FROM", whole(1, 100_000_000), "Entries from which on a CRL has deltas (CRL_DELTAS=auto).")
    ] = 50_000
    full_pause: Annotated[
        timedelta,
        Row(
            "CRL_FULL_INTERVAL",
            duration(timedelta(0)),
            "Least time between two complete CRLs of which there are deltas. With more than 0s only the deltas tell of "
            "a revocation within a minute.",
        ),
    ] = timedelta(0)
    partitions: Annotated[
        int,
        Row(
            "CRL_PARTITIONS",
            whole(0, MAX_PARTITIONS),
            "Parts of an issuer's CRL over which new certificates are spread; 1 for none, 0 for as many as the size "
            "asks for. Needs PUBLIC_URL.",
        ),
    ] = 0
    partition_size: Annotated[
        int,
        Row("CRL_PARTITION_SIZE", whole(100, 100_000_000), "Entries of a part when their number follows the size."),
    ] = 100_000

    @property
    def rules(self) -> CrlRules:
        """What these settings say together."""
        deltas_from = {"auto": self.deltas_from, "always": 0, "never": None}[self.deltas]
        return CrlRules(self.life, deltas_from, self.full_pause, self.partitions or None, self.partition_size)


@frozen
class Lifecycle:
    """Stopping, and being stopped."""

    shutdown_timeout: Annotated[
        timedelta,
        Row(
            "SHUTDOWN_TIMEOUT",
            duration(timedelta(0)),
            "How long a stopping process waits for the requests and jobs that are under way.",
        ),
    ] = timedelta(seconds=30)
    tripwire: Annotated[str, Row("TRIPWIRE", text, "Crash at point[:nth]. For tests.", hidden=True)] = ""


@frozen
class Settings:
    """Everything the server can be told."""

    web: Web = Factory(Web)
    pki: Pki = Factory(Pki)
    access: Access = Factory(Access)
    storage: Storage = Factory(Storage)
    local_ca: LocalCa = Factory(LocalCa)
    pkcs11: Pkcs11 = Factory(Pkcs11)
    log: Log = Factory(Log)
    schedule: Schedule = Factory(Schedule)
    jobs: Jobs = Factory(Jobs)
    observation: Observation = Factory(Observation)
    crls: Crls = Factory(Crls)
    lifecycle: Lifecycle = Factory(Lifecycle)
    scep: Scep = Factory(Scep)
    scep_door: ScepDoor = Factory(ScepDoor)
    scep_labels: Mapping[str, ScepDoor] = Factory(dict)

    est: Est = Factory(Est)
    est_door: EstDoor = Factory(EstDoor)
    est_labels: Mapping[str, EstDoor] = Factory(dict)

    @property
    def est_doors(self) -> dict[str, EstDoor]:
        """The labels of EST; none when it is off."""
        return est_settings.doors(self.est, self.est_door, dict(self.est_labels))

    @property
    def scep_doors(self) -> dict[str, ScepDoor]:
        """The doors of SCEP, by label; none when it is off."""
        return scep_settings.doors(self.scep, self.scep_door, dict(self.scep_labels))


# --- Reading ------------------------------------------------------------------------------------------------------


@frozen
class Described:
    """One line of `certctl-server config`. `source` is `env`, `file` or `default`."""

    name: str
    value: str
    source: str
    help: str
    default: str


@frozen
class Reading:
    """What was made of an environment: settings, where each came from, what is wrong and what is odd."""

    settings: Settings
    sources: Mapping[str, str]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def rows() -> Iterator[tuple[str, str, Row]]:
    """(group, field, row) of every setting, in order of declaration."""
    for group, kind in _groups().items():
        for name, row in _rows_of(kind):
            yield group, name, row


def _groups() -> dict[str, Any]:
    return {group: kind for group, kind in get_type_hints(Settings).items() if attrs.has(kind)}


def _rows_of(kind: type) -> Iterator[tuple[str, Row]]:
    """(field, row) of a group."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        yield name, next(part for part in get_args(hint) if isinstance(part, Row))


def read(environment: Mapping[str, str] | None = None) -> Reading:
    """Read every setting; nothing is raised, what is wrong is in `problems`."""
    environment = os.environ if environment is None else environment
    groups: dict[str, dict[str, Any]] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []

    def take(row: Row, into: dict[str, Any], name: str) -> None:
        try:
            value, sources[row.variable] = _given(environment, row)
            if value is not None:
                into[name] = row.parse(value)
        except ValueError as error:
            shown = "" if row.secret else f"={environment.get(row.variable, '')}"
            problems.append(f"{row.variable}{shown} {error}")

    for group, name, row in rows():
        take(row, groups.setdefault(group, {}), name)
    settings = Settings(**{group: kind(**groups.get(group, {})) for group, kind in _groups().items()})
    labels: dict[str, dict[str, dict[str, Any]]] = {group: {} for group in _LABELS}
    for group, label, name, row in _labelled(settings):
        take(row, labels[group].setdefault(label, {}), name)
    made: dict[str, Any] = {
        group: {label: _LABELS[group].kind(**given) for label, given in labels[group].items()} for group in labels
    }
    settings = evolve(settings, **made)
    return Reading(settings, sources, (*problems, *_contradictions(settings)), tuple(_oddities(settings, environment)))


@frozen
class _Labels:
    """What a protocol's labels are made of, what their settings are called, and which there are."""

    kind: type[Any]
    called: Callable[[str, str], str]
    of: Callable[[Settings], tuple[str, ...]]


_LABELS: Final[Mapping[str, _Labels]] = {
    "scep_labels": _Labels(ScepDoor, scep_settings.called, lambda settings: settings.scep.profiles),
    "est_labels": _Labels(EstDoor, est_settings.called, lambda settings: settings.est.profiles),
}


def _labelled(settings: Settings) -> Iterator[tuple[str, str, str, Row]]:
    """(group, label, field, row) of the settings that there are because of labels."""
    for group, labels in _LABELS.items():
        for label in labels.of(settings):
            for name, row in _rows_of(labels.kind):
                yield group, label, name, evolve(row, name=labels.called(row.name, label))


def load(environment: Mapping[str, str] | None = None) -> Reading:
    """As `read`. Raises `SettingsError` when there are problems."""
    reading = read(environment)
    if reading.problems:
        raise SettingsError(reading.problems)
    return reading


def describe(reading: Reading) -> tuple[Described, ...]:
    """Every setting that is not hidden, its value and its origin, secrets masked."""
    found = []
    given = [(getattr(reading.settings, group), name, row) for group, name, row in rows()]
    given += [
        (getattr(reading.settings, group)[label], name, row) for group, label, name, row in _labelled(reading.settings)
    ]
    for owner, name, row in given:
        if row.hidden:
            continue
        value = getattr(owner, name)
        shown = MASK if row.secret and value else _shown(value)
        default = row.default_text or _shown(getattr(type(owner)(), name))
        found.append(Described(row.variable, shown, reading.sources.get(row.variable, "default"), row.help, default))
    return tuple(found)


def _given(environment: Mapping[str, str], row: Row) -> tuple[str | None, str]:
    """The text for a setting and its source; an empty variable counts as unset. Raises ValueError."""
    value = environment.get(row.variable, "")
    file = environment.get(f"{row.variable}_FILE", "") if row.secret else ""
    if value and file:
        raise ValueError(f"and {row.variable}_FILE are both set; keep one")
    if not file:
        return (value, "env") if value.strip() else (None, "default")
    try:
        return Path(file).read_text("utf-8").strip(), "file"
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ValueError(f"cannot be read from {file}: {reason}") from None


def _contradictions(settings: Settings) -> Iterator[str]:
    web, access = settings.web, settings.access
    pairs = (
        ("SERVER_TLS_CERT_PATH", web.tls_cert_path, "SERVER_TLS_KEY_PATH", web.tls_key_path),
        ("CA_CERT_PATH", settings.local_ca.cert_path, "CA_KEY_PATH", settings.local_ca.key_path),
    )
    for one, first, other, second in pairs:
        if (first is None) != (second is None):
            yield f"{PREFIX}{one} and {PREFIX}{other} belong together: set both or neither"
    token = settings.pkcs11
    if len({token.module is None, not token.token, not token.pin}) > 1:
        yield f"{PREFIX}PKCS11_MODULE, {PREFIX}PKCS11_TOKEN and {PREFIX}PKCS11_PIN belong together: set all or none"
    if access.auth_type == "none" and not is_loopback(web.host) and not access.auth_none_anywhere:
        yield (
            f"{PREFIX}AUTH_TYPE=none makes everybody who reaches {web.host} an administrator; listen on 127.0.0.1, "
            f"or set {PREFIX}AUTH_NONE_ANYWHERE=true if something in front of the server checks who asks"
        )

    yield from scep_settings.contradictions(settings.scep_doors, web.public_url)
    yield from est_settings.contradictions(settings.est_doors, tls_1_2=web.tls_min_version == "1.2")


def _oddities(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    if settings.access.auth_type == "none":
        yield f"{PREFIX}AUTH_TYPE=none: every caller is an administrator"
    if settings.jobs.approval_bypass:
        yield f"{PREFIX}APPROVAL_BYPASS=true: whatever needs approval is issued without anybody looking at it"
    if settings.access.named_keys and settings.access.unnamed_keys:
        yield f"{PREFIX}AUTH_SECRET is ignored because {PREFIX}API_KEYS_NAMED is set"
    yield from (
        f"the API key {key.name!r} has fewer than 20 characters and may be guessed"
        for key in settings.access.given_keys
        if len(key.key) < 20
    )
    yield from scep_settings.oddities(settings.scep_doors)
    yield from est_settings.oddities(settings.est_doors)
    if settings.web.tls_min_version == "1.2":
        yield f"{PREFIX}SERVER_TLS_MIN_VERSION=1.2: old clients may speak TLS 1.2"
    every = [row for _, _, row in rows()] + [row for *_, row in _labelled(settings)]
    known = {row.variable for row in every} | {f"{row.variable}_FILE" for row in every if row.secret}
    visible = [row.variable for row in every if not row.hidden]
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, visible, n=1, cutoff=0.75)
            yield f"{name} is not a setting of the server" + (f"; did you mean {near[0]}?" if near else "")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, timedelta):
        return write_duration(value)
    if isinstance(value, frozenset):
        return ", ".join(sorted(str(one.value) for one in value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
