"""What each type of policy rule demands of a certificate, and when time alone changes the answer."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, Protocol
from urllib.parse import urlsplit

from attrs import frozen
from cryptography import x509

from certctl_core.errors import Invalid
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.pki import names
from certctl_core.pki.plan import LeafPlan

Network = IPv4Network | IPv6Network

SHOWN: Final = 5
"""How many wrong names a message tells; a certificate can have hundreds."""

DAY: Final = timedelta(days=1)
_MOMENT: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)


@frozen(kw_only=True)
class Seen:
    """What is judged, as of `at`. `life` is of the newest version, its first and last second included (RFC 5280 section
    4.1.2.5); None when there is none."""

    certificate: ManagedCertificate
    at: datetime
    names: tuple[str, ...]
    expires_at: datetime | None
    life: timedelta | None = None


def as_it_is(certificate: ManagedCertificate, validity: tuple[datetime, datetime] | None, now: datetime) -> Seen:
    """A certificate on record. `validity` is of its newest version."""
    return Seen(
        certificate=certificate,
        at=now,
        names=(certificate.common_name, *certificate.sans),
        expires_at=certificate.expires_at,
        life=None if validity is None else _life(*validity),
    )


def as_planned(certificate: ManagedCertificate, plan: LeafPlan, now: datetime) -> Seen:
    """A certificate with the version that is about to be signed."""
    return Seen(
        certificate=certificate,
        at=now,
        names=tuple(names.canonical_text(name) for name in plan.sans),
        expires_at=plan.not_after,
        life=_life(plan.not_before, plan.not_after),
    )


def _life(not_before: datetime, not_after: datetime) -> timedelta:
    return not_after - not_before + _SECOND


class Demand(Protocol):
    """What a rule of one type demands."""

    @abstractmethod
    def broken_by(self, seen: Seen) -> str:
        """How it is not met; empty when it is."""

    def next_look(self, seen: Seen) -> datetime | None:
        """When time alone will change the answer; None when it will not."""
        del seen
        return None


@frozen
class AllowedIssuers(Demand):
    allowed: frozenset[str]

    def broken_by(self, seen: Seen) -> str:
        issuer = seen.certificate.issuer_id
        if issuer and (not self.allowed or issuer in self.allowed):
            return ""
        return f"issuer {issuer} is not one of {_listed(self.allowed)}" if issuer else "it has no issuer"


@frozen
class AllowedDomains(Demand):
    domains: frozenset[str]
    networks: tuple[Network, ...]

    def broken_by(self, seen: Seen) -> str:
        outside = [name for name in dict.fromkeys(seen.names) if not self._allows(name)]
        if outside:
            return f"not within the allowed domains: {_listed(outside)}"
        return "" if seen.names else "it has no names"

    def _allows(self, text: str) -> bool:
        try:
            name = names.general_name(text)
        except Invalid:
            return False
        if isinstance(name, x509.IPAddress):
            return self._has_host(str(name.value))
        if isinstance(name, x509.RFC822Name):
            return self._has_host(name.value.rpartition("@")[2])
        if isinstance(name, x509.UniformResourceIdentifier):
            return self._has_host(urlsplit(name.value).hostname or "")
        return isinstance(name, x509.DNSName) and self._has_host(name.value)

    def _has_host(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return host in self.domains or f"*.{host.partition('.')[2]}" in self.domains
        return any(address in network for network in self.networks)


@frozen
class RequiredMetadata(Demand):
    keys: tuple[str, ...]

    def broken_by(self, seen: Seen) -> str:
        certificate = seen.certificate
        missing = [key for key in self.keys if not (_tag(certificate, key) or _part_of(certificate, key))]
        if missing:
            return f"missing or empty: {_listed(missing)}"
        return "" if self.keys or certificate.tags else "it has no tags"


def _tag(certificate: ManagedCertificate, key: str) -> bool:
    return bool(certificate.tags.get(key, "").strip())


def _part_of(certificate: ManagedCertificate, key: str) -> bool:
    """An owner is named by the certificate, whether it has a tag of that name or not."""
    name = _PARTS.get(key)
    return name is not None and bool(getattr(certificate, name))


_PARTS: Final[Mapping[str, str]] = {
    "owner": "owner_id",
    "owner_id": "owner_id",
    "team": "team_id",
    "team_id": "team_id",
    "environment": "environment",
    "profile": "profile_id",
    "certificate_profile_id": "profile_id",
}


@frozen
class AllowedEnvironments(Demand):
    allowed: frozenset[str]

    def broken_by(self, seen: Seen) -> str:
        environment = seen.certificate.environment
        if environment and (not self.allowed or environment in self.allowed):
            return ""
        if not environment:
            return "it has no environment"
        return f"environment {environment} is not one of {_listed(self.allowed)}"


@frozen
class RenewalLeadTime(Demand):
    lead: timedelta

    def broken_by(self, seen: Seen) -> str:
        ends = seen.expires_at
        if ends is None or not timedelta(0) < ends - seen.at < self.lead:
            return ""
        return f"it ends on {ends:%Y-%m-%d}, and was to be renewed {self.lead.days} days before that"

    def next_look(self, seen: Seen) -> datetime | None:
        ends = seen.expires_at
        if ends is None or ends <= seen.at:
            return None
        begins = ends - self.lead + _MOMENT
        return begins if seen.at < begins else ends


@frozen
class CertificateLifetime(Demand):
    longest: timedelta | None

    def broken_by(self, seen: Seen) -> str:
        if self.longest is None or seen.life is None or seen.life <= self.longest:
            return ""
        return f"its life of {_days(seen.life)} is longer than {_days(self.longest)}"


def _days(life: timedelta) -> str:
    days, rest = divmod(life, DAY)
    return str(life) if rest else f"{days} {'day' if days == 1 else 'days'}"


def _listed(words: Iterable[str]) -> str:
    """Some words, the most that a message should have."""
    every = sorted(words) if isinstance(words, frozenset) else list(words)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more
