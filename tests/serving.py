"""A WSGI application behind real HTTPS (TLS 1.3) on a loopback port, and the control plane so, for tests of clients."""

import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from attrs import frozen
from cryptography import x509

from certctl_core.models.access import Role
from certctl_web.options import Options
from certctl_web.peer import SOCKET
from tests.authority import Authority, Leaf, pem
from tests.web.api import GIVEN, KEYS, Api, make_api

TLS_1_3 = ssl.TLSVersion.TLSv1_3


class _Handler(WSGIRequestHandler):
    def setup(self) -> None:
        self.request.settimeout(20)
        self.request.do_handshake()
        super().setup()

    def get_environ(self) -> dict[str, Any]:
        # As the product's server does, for what is asked of the other side of the connection.
        return super().get_environ() | {SOCKET: self.request}

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Tests are quiet."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # Without asking a name server what this machine is called, as the one of http.server does.
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", self.socket.getsockname()[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that do not believe the certificate hang up in the handshake."""


@contextmanager
def serving(
    app: Callable[..., Any],
    folder: Path,
    leaf: Leaf,
    *,
    maximum: ssl.TLSVersion | None = None,
    clients: Sequence[x509.Certificate] = (),
) -> Iterator[int]:
    """Serve an application for the length of a block; yields the port. The key and certificate go into `folder`. TLS
    clients may show certificates of `clients`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = min(maximum or TLS_1_3, TLS_1_3)
    context.maximum_version = maximum or ssl.TLSVersion.MAXIMUM_SUPPORTED
    context.load_cert_chain(*leaf.write(folder))
    if clients:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata="".join(map(pem, clients)))
    server = _Server(("127.0.0.1", 0), _Handler)
    server.set_app(app)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@frozen
class Plane:
    """The application, where it listens, and the file that makes its certificate believed."""

    api: Api
    authority: Authority
    port: int
    ca_bundle: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def environment(self, role: Role = Role.ADMIN) -> dict[str, str]:
        """What clients are told."""
        return {
            "CERTCTL_SERVER_URL": self.url,
            "CERTCTL_API_KEY": KEYS[role],
            "CERTCTL_SERVER_CA_BUNDLE_PATH": str(self.ca_bundle),
        }


@contextmanager
def control_plane(folder: Path) -> Iterator[Plane]:
    """Over a store in memory that is empty but for a team, an owner and an issuer. Its log is kept quiet."""
    authority = Authority("Control Plane CA")
    with structlog.testing.capture_logs():
        api = make_api(Options(given_keys=GIVEN, rate=None, server_ca=lambda: authority.certificate))
        api.foundations()
        bundle = folder / "ca.pem"
        bundle.write_text(pem(authority.certificate))
        with serving(api.app, folder, authority.leaf("localhost", "127.0.0.1")) as port:
            yield Plane(api, authority, port, bundle)
        api.app.close()
