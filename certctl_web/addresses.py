"""Whom an address stands for."""

import ipaddress
from typing import Final

_IPV6_HOST: Final = 64


def network(client: str) -> str:
    """The address itself, or its /64: of that, one host has every address."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), _IPV6_HOST), strict=False))
