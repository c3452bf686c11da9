"""Which agents are in a group: those that meet every criterion that is set, those put in by hand, none put out by hand.

A criterion that is empty is met by every agent. Operating system and architecture are compared whatever the case and by
any of the names they go by; the network is one of addresses, not of texts, and an agent whose address is missing or is
none is in no network; versions are as in `policy.versions`. A group that is disabled has no members at all: what was
decided by hand is kept, and counts again when the group does.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from attrs import fields_dict

from certctl_core.errors import FieldProblem, Invalid
from certctl_core.models.agents import Agent, AgentGroup, AgentTraits, MembershipType
from certctl_core.policy import versions

MAX_WORD: Final = 100

_ALSO_CALLED: Final[Mapping[str, str]] = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "x64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i386": "386",
    "i686": "386",
    "x86": "386",
    "macos": "darwin",
}
"""Other names of what the wire names as Go does."""


def traits_of(agent: Agent) -> AgentTraits:
    """What groups look at."""
    return AgentTraits(**{name: getattr(agent, name) for name in fields_dict(AgentTraits)})


def is_member(group: AgentGroup, agent: Agent | AgentTraits, decided: MembershipType | None = None) -> bool:
    """Whether an agent is in the group. `decided` is what was decided about it by hand, if anything was."""
    if not group.enabled or decided is MembershipType.EXCLUDE:
        return False
    return decided is MembershipType.INCLUDE or meets(group, agent)


def meets(group: AgentGroup, agent: Agent | AgentTraits) -> bool:
    """Whether an agent meets every criterion of the group."""
    return (
        _same(group.match_os, agent.os)
        and _same(group.match_architecture, agent.architecture)
        and (not group.match_ip_cidr or _is_within(group.match_ip_cidr, agent.ip_address))
        and (not group.match_version or versions.read_range(group.match_version).holds(agent.version))
    )


def _same(wanted: str, has: str) -> bool:
    return not wanted or _called(wanted) == _called(has)


def _called(word: str) -> str:
    plain = word.strip().casefold()
    return _ALSO_CALLED.get(plain, plain)


def _is_within(cidr: str, text: str) -> bool:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return False
    network = _network(cidr)
    # An agent that is reached by IPv4 through an IPv6 socket has an IPv4 address (RFC 4291 section 2.5.5.2).
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address in network or (mapped is not None and mapped in network)


@lru_cache(maxsize=256)
def _network(text: str) -> IPv4Network | IPv6Network:
    """Raises `Invalid` with words about the text."""
    plain = text.strip()
    try:
        return ip_network(plain)
    except ValueError:
        try:
            meant = ip_network(plain, strict=False)
        except ValueError:
            raise Invalid("must be a network such as 10.1.0.0/16 or 2001:db8::/32") from None
    raise Invalid(f"has bits of a host in it: the network is {meant}, one address alone is {plain.partition('/')[0]}")


# Groups themselves


def problems(group: AgentGroup) -> Iterable[FieldProblem]:
    """What is wrong with a group, for whoever makes one."""
    for name in ("match_os", "match_architecture"):
        if len(getattr(group, name)) > MAX_WORD:
            yield FieldProblem(name, f"must have at most {MAX_WORD} characters")
    for name, read in (("match_ip_cidr", _network), ("match_version", versions.read_range)):
        text = getattr(group, name)
        try:
            if text:
                read(text)
        except Invalid as problem:
            yield FieldProblem(name, problem.message)
