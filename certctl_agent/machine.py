"""What an agent says of the machine it is on."""

import os
import socket
from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""The kernel's names to those the wire uses, which are Go's."""


@frozen
class Machine:
    """`os` and `architecture` are in the words of the wire (`linux`, `amd64`); `ip_address` may be empty."""

    hostname: str
    os: str
    architecture: str
    ip_address: str


def describe(server_url: str) -> Machine:
    """This machine, with the address it reaches the server from."""
    known = os.uname()
    return Machine(
        hostname=socket.gethostname() or "unknown",
        os=known.sysname.lower(),
        architecture=_ARCHITECTURES.get(known.machine, known.machine),
        ip_address=_address_towards(server_url),
    )


def _address_towards(server_url: str) -> str:
    """The source address of a route to the server. Nothing is sent: connecting a datagram socket only picks a route."""
    parts = urlsplit(server_url)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM
        )[0]
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
