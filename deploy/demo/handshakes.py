"""Looking at what a web server really serves."""

import socket
import ssl
import threading
from pathlib import Path
from typing import Self

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes

TIMEOUT = 5.0


def served(port: int, name: str, trusting: Path | None = None) -> x509.Certificate:
    """The leaf served on a loopback port. With `trusting`, the whole chain and the name are verified as well."""
    context = ssl.create_default_context(cafile=str(trusting)) if trusting else _blind()
    with (
        socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        leaf = secured.getpeercert(binary_form=True)
    if leaf is None:
        raise OSError("the server sent no certificate")
    return x509.load_der_x509_certificate(leaf)


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _blind() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@define
class Watcher:
    """A client that shakes hands over and over, verifying, and remembers the serial numbers it met and what failed."""

    port: int
    name: str
    trusting: Path
    count: int = 0
    serials: list[int] = field(factory=list)
    failures: list[str] = field(factory=list)
    _end: threading.Event = field(factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="handshakes")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                serial = served(self.port, self.name, self.trusting).serial_number
            except OSError as error:
                self.failures.append(str(error))
            else:
                if serial not in self.serials:
                    self.serials.append(serial)
            self.count += 1
            self._end.wait(0.005)
