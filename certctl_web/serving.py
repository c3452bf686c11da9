"""What a web process serves: the application over its own pool of connections, made after the fork."""

import gc
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from typing import Final

import structlog
from attrs import evolve
from cryptography import x509

from certctl_core.errors import CertctlError
from certctl_web import bootstrap, est_service, scep_service
from certctl_web.app import create_app
from certctl_web.bootstrap import Backend
from certctl_web.est import ClientCas
from certctl_web.ocsp.desk import OcspDesk
from certctl_web.ocsp.front import Front
from certctl_web.ocsp.keeping import Keeping
from certctl_web.operation import Row
from certctl_web.operations import TABLE
from certctl_web.options import Options, Rate
from certctl_web.settings import Settings
from certctl_web.tls import Clients, ServerContext
from certctl_web.web import Served

log = structlog.get_logger(__name__)

KEY_CHANGES_NOTICED: Final = timedelta(seconds=1)
TEND_EVERY: Final = 60.0
"""Seconds. So long after an issuer has another CA, what that certified can be shown in TLS."""

OCSP_ANSWERS: Final = 5_000
"""Answers that a web process keeps."""

PLAIN_CONNECTIONS: Final = 4
"""To the database, of each process of the plain HTTP listener."""

PLAIN_PATHS: Final = ("/.well-known/pki/",)
"""What is served without TLS: it is signed, and nobody's secret."""


def plain_rows(table: Iterable[Row], also: tuple[str, ...] = ()) -> tuple[Row, ...]:
    """The rows that are served without TLS, and those below `also`."""
    return tuple(row for row in table if row.path.startswith(PLAIN_PATHS + also))


def served(settings: Settings, url: str) -> Served:
    """What one web process serves: its own pool, application and TLS context."""
    backend = bootstrap.connect(settings, url, max(2, settings.storage.database_max_conns // settings.web.workers))
    # Few ask for OCSP here, so that nothing is prepared and little is kept.
    desk = OcspDesk(backend.ports, most_answers=OCSP_ANSWERS, most_standings=0)
    keeping = Keeping(desk)

    labels = est_service.labels(settings)
    options = evolve(_options(settings, backend), est=labels, ocsp=desk)
    client_cas = ClientCas(backend.ports, labels, options.scep.client_authorities)
    client_cas.refresh()

    def tend() -> None:
        client_cas.refresh()
        try:
            bootstrap.ensure_certificate(settings, backend)
        except (CertctlError, OSError) as error:
            log.warning("server certificate not looked after", error=str(error))

    def close() -> None:
        keeping.stop()
        application.close()
        backend.close()

    application = create_app(backend.ports, options)
    clients = Clients(client_cas.certificates, tls_1_2=settings.web.tls_min_version == "1.2")
    keeping.start()
    return Served(
        application, ServerContext(bootstrap.server_pair(settings), clients), tend, close, tend_every=TEND_EVERY
    )


def served_plainly(settings: Settings, url: str) -> Served:
    """What one process of the plain HTTP listener serves: what relying parties may ask, and nothing else."""
    backend = bootstrap.connect(settings, url, PLAIN_CONNECTIONS)
    desk = OcspDesk(backend.ports)
    keeping = Keeping(desk, ahead=True)
    options = evolve(_options(settings, backend), ocsp=desk, record_calls=False, cors_origins=())
    rows = plain_rows(TABLE, ("/scep", "/cgi-bin/") if settings.scep.plain_http else ())
    application = create_app(backend.ports, options, rows, pages=False)
    per_minute = settings.pki.ocsp_per_minute
    rate = Rate(per_minute / 60, per_minute) if per_minute else None

    def close() -> None:
        keeping.stop()
        application.close()
        backend.close()

    # What is there by now stays, and what is kept later holds no cycles: looking for garbage among it delays answers.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    keeping.start()
    return Served(Front(desk, application, rate, settings.web.trusted_proxies), None, lambda: None, close)


def _options(settings: Settings, backend: Backend) -> Options:
    """What the application needs to know of the settings."""
    web = settings.web

    @cache
    def server_ca() -> x509.Certificate | None:
        return backend.control_plane().chain[-1] if web.tls_cert_path is None else None

    return Options(
        auth_required=settings.access.auth_type != "none",
        given_keys=settings.access.given_keys,
        max_body_size=web.max_body_size,
        rate=Rate(web.rate_limit_rps, web.rate_limit_burst) if web.rate_limit_enabled else None,
        cors_origins=web.cors_origins,
        trusted_proxies=web.trusted_proxies,
        server_ca=server_ca,
        hand_out=settings.jobs.hand_out,
        key_changes_noticed=KEY_CHANGES_NOTICED,
        exports_per_hour=settings.web.exports_per_hour,
        scep=scep_service.doors(settings),
        public_url=web.public_url,
    )
