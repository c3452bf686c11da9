"""Where an outbound connection may go: names are resolved once, the addresses judged, and the connection made to one
that was judged.

The control plane is told URLs by its users and by CAs. Left alone it would fetch whatever they name with its own place
in the network: its database, its neighbours, the cloud's metadata service (CWE-918). An agent and a command line talk
to what their own operator named, so they may go anywhere.
"""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from attrs import frozen

from certctl_core.errors import Forbidden, UpstreamUnavailable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64: Final = IPv6Network("64:ff9b::/96")
# Not private by their prefix, and yet a cloud answers there with its machines' credentials, or the block is set aside
# for protocols (RFC 6890 section 2.2.2).
_SET_ASIDE: Final = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))


@frozen
class Egress:
    """`anywhere` permits every address; otherwise those of the public Internet and of the `allowed` networks."""

    anywhere: bool = False
    allowed: tuple[Network, ...] = ()

    def permits(self, address: Address) -> bool:
        plain = embedded(address)
        return self.anywhere or is_public(plain) or any(plain in network for network in self.allowed)

    def addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses of `host` that may be connected to, in the resolver's order.

        Raises `UpstreamUnavailable` when the name does not resolve, `Forbidden` when it resolves to nothing permitted.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as problem:
            words = getattr(problem, "strerror", None) or "is no host name"
            raise UpstreamUnavailable(f"{host}: {words}") from problem
        texts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        permitted = [text for text in texts if self.permits(ip_address(text))]
        if not permitted:
            raise Forbidden(
                f"{host} is {', '.join(texts)}, which is not on the public Internet",
                hint="If certctl is meant to go there, allow the network in the settings.",
            )
        return permitted


ANYWHERE: Final = Egress(anywhere=True)
PUBLIC_ONLY: Final = Egress()


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """`("10.0.0.0/8", "fd00::/8")` as networks. Raises `ValueError`."""
    return tuple(ip_network(text) for text in texts)


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for (mapped, NAT64, 6to4, Teredo), or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether the address is of the public Internet and nobody's metadata service."""
    set_aside = any(address in network for network in _SET_ASIDE)
    return address.is_global and not (address.is_multicast or address.is_reserved or set_aside)
