"""A throwaway certification authority for tests, and a TLS server that presents what it signed."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def pem(*certificates: x509.Certificate) -> str:
    """The certificates in PEM, one after the other."""
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def fingerprint(certificate: x509.Certificate) -> str:
    """Lower-case hex SHA-256 of the DER."""
    return certificate.fingerprint(hashes.SHA256()).hex()


@frozen
class Leaf:
    """A certificate with its key, on their way into a server."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def key_pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def write(self, folder: Path) -> tuple[Path, Path]:
        """As `cert.pem` and `key.pem` in a folder."""
        certificate, key = folder / "cert.pem", folder / "key.pem"
        certificate.write_text(pem(self.certificate))
        key.touch(mode=0o600)
        key.write_text(self.key_pem())
        return certificate, key


class Authority:
    """A root that signs whatever it is asked to, for a day."""

    def __init__(self, name: str = "Throwaway Root") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def certify(
        self, public_key: CertificatePublicKeyTypes, *names: str, sans: Sequence[x509.GeneralName] = ()
    ) -> x509.Certificate:
        """A leaf for these names, the first of which is the common name."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        return (
            self._builder(subject, public_key)
            .add_extension(
                x509.SubjectAlternativeName(list(sans) or [_general_name(name) for name in names]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def leaf(self, *names: str) -> Leaf:
        """A fresh key and a certificate for it."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Leaf(self.certify(key.public_key(), *names), key)

    def _builder(self, subject: x509.Name, public_key: CertificatePublicKeyTypes) -> x509.CertificateBuilder:
        now = datetime.now(UTC).replace(microsecond=0)
        return (
            x509.CertificateBuilder()
            .issuer_name(self._name)
            .subject_name(subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
        )


class PresentingServer:
    """Shakes hands on a loopback port with whatever certificate files it is told to, and hangs up."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.asked_names: list[str | None] = []
        self._files = (certificate, key)
        self.reload()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._stopped = Event()
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def reload(self) -> None:
        """Read the files again, as a web server does on reload."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._files)
        context.sni_callback = lambda _socket, name, _context: self.asked_names.append(name)
        self._context = context

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with plain:
                plain.settimeout(5)
                try:
                    self._context.wrap_socket(plain, server_side=True).close()
                except OSError:
                    continue

    def stop(self) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@contextmanager
def presenting(certificate: Path, key: Path) -> Iterator[PresentingServer]:
    """A `PresentingServer` for the length of a block."""
    server = PresentingServer(certificate, key)
    try:
        yield server
    finally:
        server.stop()
