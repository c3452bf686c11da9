"""What a connection tells of the other side: its address, and what TLS knows of it.

TLS has to end in this server for that: a proxy that ends it shows its own certificate, or none, and no header is
believed in its place.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

from attrs import field, frozen
from cryptography import x509

from certctl_core.errors import CertctlError
from certctl_core.pki import reading

SOCKET: Final = "gunicorn.socket"


class Tls(Protocol):
    """What a TLS connection says of its other side; `ssl.SSLSocket` does."""

    def getpeercert(self, binary_form: Literal[True]) -> bytes | None: ...

    def get_channel_binding(self, cb_type: str) -> bytes | None: ...

    def version(self) -> str | None: ...


@frozen(kw_only=True)
class Peer:
    """`certificate` is what the client has proved in the handshake to have the key of. `tls_unique` is the channel
    binding of TLS 1.2 (RFC 5929 section 3), None under TLS 1.3."""

    address: str = ""
    authorization: str = field(default="", repr=False)
    certificate: x509.Certificate | None = None
    tls_unique: bytes | None = None


def peer_of(environ: Mapping[str, Any], address: str, authorization: str) -> Peer:
    """The peer of a request. A certificate that cannot be read is none."""
    connection: Tls | None = environ.get(SOCKET)
    if connection is None or not hasattr(connection, "getpeercert"):
        return Peer(address=address, authorization=authorization)
    return Peer(
        address=address,
        authorization=authorization,
        certificate=_certificate(connection.getpeercert(binary_form=True)),
        tls_unique=connection.get_channel_binding("tls-unique") if connection.version() == "TLSv1.2" else None,
    )


def _certificate(der: bytes | None) -> x509.Certificate | None:
    try:
        return reading.certificate(der) if der else None
    except CertctlError:
        return None
