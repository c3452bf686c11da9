"""Looks at what a TLS endpoint serves, whoever it is and whatever it presents."""

import hashlib
import ipaddress
import socket
import ssl
import time
from datetime import timedelta
from typing import Final

from cryptography import x509

from certctl_core.errors import Unreadable, UpstreamUnavailable
from certctl_core.pki.untrusted import parsing
from certctl_core.ports.world import Prober, Seen

MAX_CERTIFICATE_BYTES: Final = 65536


class TlsProber(Prober):
    """Shakes hands and hangs up. Nothing of what is seen is trusted, so no chain and no name is checked."""

    def probe(self, host: str, port: int, *, server_name: str | None = None, timeout: timedelta) -> Seen:
        began = time.monotonic()
        name = server_name if server_name is not None else host
        sent_name = None if _is_address(name) else name
        context = _context()
        try:
            # A name that cannot be sent (RFC 6066 section 3) raises here rather than with a socket in its hands.
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=sent_name)
            with socket.create_connection((host, port), timeout.total_seconds()) as plain:
                left = timeout.total_seconds() - (time.monotonic() - began)
                plain.settimeout(max(left, 0.001))
                with context.wrap_socket(plain, server_hostname=sent_name) as secured:
                    der, version, cipher = secured.getpeercert(True), secured.version(), secured.cipher()
        except (OSError, ValueError) as problem:
            raise UpstreamUnavailable(f"{host}:{port}: {_words(problem)}") from problem
        if not der or len(der) > MAX_CERTIFICATE_BYTES:
            raise UpstreamUnavailable(f"{host}:{port}: presented no certificate of a sane size")
        try:
            with parsing("the certificate it presents"):
                certificate = x509.load_der_x509_certificate(der)
        except Unreadable as problem:
            raise UpstreamUnavailable(f"{host}:{port}: {problem.message}") from problem
        return Seen(
            fingerprint=hashlib.sha256(der).hexdigest(),
            certificate=certificate,
            tls_version=version or "",
            cipher_suite=cipher[0] if cipher else "",
            took=timedelta(seconds=time.monotonic() - began),
        )


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Old servers are to be seen too; nothing is sent to them.
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    return context


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _words(problem: Exception) -> str:
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    if isinstance(problem, ssl.SSLError):
        return f"TLS handshake failed: {problem.reason or problem}"
    return str(getattr(problem, "strerror", None) or problem)
