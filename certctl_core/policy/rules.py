"""What policy rules demand of certificates: six types, each with its own settings.

    AllowedIssuers        allowed_issuer_ids   the issuer is one of these; any issuer when the list is empty
    AllowedDomains        allowed_domains      the common name and every SAN is one of these, or within one of these
    RequiredMetadata      required_keys        each is a tag, or a part of the certificate; any tag when empty
    AllowedEnvironments   allowed              the environment is one of these; any but none when the list is empty
    RenewalLeadTime       lead_time_days       it does not end within as many days (30 unless given)
    CertificateLifetime   max_days             the newest version does not live longer; 0 or none: any life

A domain stands for itself, `*.example.com` for the names of exactly one label more, which the wildcard name is among.
An e-mail address and a URI are within their host's domain, an IP address within an address or a network of the list.
Names are compared in lower case and internationalised ones as A-labels, as certificates have them.

The first four are about what somebody asks for, so a critical one refuses to write and to issue it. The life of a
certificate is decided when it is issued, so `CertificateLifetime` refuses then. `RenewalLeadTime` never refuses: it
says that time has passed and nothing came of it, and to refuse the change or the renewal that mends this would make it
last.
"""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, Final, TypeVar

from certctl_core.errors import Conflict, FieldProblem, Invalid
from certctl_core.ids import AgentGroupId
from certctl_core.models.certificates import CertificateStatus, ManagedCertificate
from certctl_core.models.policies import PolicyRule, PolicyType
from certctl_core.pki import names
from certctl_core.policy.demands import (
    DAY,
    AllowedDomains,
    AllowedEnvironments,
    AllowedIssuers,
    CertificateLifetime,
    Demand,
    Network,
    RenewalLeadTime,
    RequiredMetadata,
)

T = TypeVar("T")

MAX_ITEMS: Final = 1000
MAX_TEXT: Final = 253
MAX_DAYS: Final = 36500
DEFAULT_LEAD: Final = 30

REFUSE_WRITES: Final = frozenset(
    {
        PolicyType.ALLOWED_ISSUERS,
        PolicyType.ALLOWED_DOMAINS,
        PolicyType.REQUIRED_METADATA,
        PolicyType.ALLOWED_ENVIRONMENTS,
    }
)
REFUSE_ISSUING: Final = REFUSE_WRITES | {PolicyType.CERTIFICATE_LIFETIME}


def is_judged(certificate: ManagedCertificate) -> bool:
    """Rules say nothing of what was withdrawn or put away."""
    return certificate.status not in (CertificateStatus.REVOKED, CertificateStatus.ARCHIVED)


def concerns(rule: PolicyRule, certificate: ManagedCertificate, groups: frozenset[AgentGroupId]) -> bool:
    """Whether the rule is about this certificate. `groups` are those that an agent which deploys it is in."""
    return (
        (not rule.team_ids or certificate.team_id in rule.team_ids)
        and (not rule.environments or certificate.environment in rule.environments)
        and (not rule.agent_group_ids or not groups.isdisjoint(rule.agent_group_ids))
    )


def demand_of(rule: PolicyRule) -> Demand:
    """What a rule on record demands. Raises `Conflict` for settings that `read` refuses: somebody else wrote them."""
    try:
        return _demand(rule.type, json.dumps(dict(rule.config), sort_keys=True))
    except Invalid as problem:
        raise Conflict(
            f"policy rule {rule.id} cannot be judged by: {problem.message}", hint="Mend the rule, or disable it."
        ) from problem


@lru_cache(maxsize=256)
def _demand(kind: PolicyType, config: str) -> Demand:
    return read(kind, json.loads(config))


def read(kind: PolicyType, config: Mapping[str, Any]) -> Demand:
    """Raises `Invalid` naming every field of `config` that is wrong, as `config.allowed_domains[0]`."""
    reader = _Reader(config)
    demand = _READERS[kind](reader)
    reader.refuse_the_rest(kind)
    if reader.problems:
        said = "; ".join(f"{problem.field}: {problem.message}" for problem in reader.problems)
        raise Invalid(f"the policy rule is not valid: {said}", fields=reader.problems)
    return demand


class _Reader:
    """Takes settings out of `config` and keeps what is wrong with them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._left = dict(config)
        self._known: list[str] = []
        self.problems: list[FieldProblem] = []

    def items(self, name: str, read_one: Callable[[str], T], *, some: bool = False) -> list[T]:
        """A list of texts, each read by `read_one`, which may raise `Invalid`. With `some` it must not be empty."""
        given = self._take(name)
        if given is None:
            given = []
        if not isinstance(given, list | tuple):
            self._say(name, "must be a list of texts")
            return []
        if len(given) > MAX_ITEMS:
            self._say(name, f"must have at most {MAX_ITEMS} items, not {len(given)}")
            return []
        if some and not given:
            self._say(name, "must name at least one: nothing would be allowed otherwise")
        return [read for index, item in enumerate(given) for read in self._item(f"{name}[{index}]", item, read_one)]

    def _item(self, name: str, item: object, read_one: Callable[[str], T]) -> list[T]:
        if not isinstance(item, str) or not item.strip() or not item.isprintable() or len(item) > MAX_TEXT:
            self._say(name, f"must be a text of 1 to {MAX_TEXT} characters")
            return []
        try:
            return [read_one(item)]
        except Invalid as problem:
            self._say(name, str(problem))
            return []

    def days(self, name: str) -> int:
        """A number of days; 0 when it is not given."""
        given = self._take(name)
        if given is None:
            return 0
        if isinstance(given, bool) or not isinstance(given, int):
            self._say(name, "must be a whole number of days")
            return 0
        if given > MAX_DAYS:
            self._say(name, f"must be at most {MAX_DAYS} days")
            return 0
        return max(given, 0)

    def refuse_the_rest(self, kind: PolicyType) -> None:
        for name in self._left:
            self._say(name[:100], f"is not a setting of {kind.value}, which has {', '.join(self._known)}")

    def _take(self, name: str) -> Any:
        self._known.append(name)
        return self._left.pop(name, None)

    def _say(self, name: str, words: str) -> None:
        self.problems.append(FieldProblem(f"config.{name}", words))


def _word(text: str) -> str:
    return text.strip()


def _place(text: str) -> str | Network:
    """A domain, or a network of addresses. Raises `Invalid`."""
    plain = text.strip()
    if "@" in plain or "://" in plain:
        raise Invalid("is not a domain: name the domain alone, it holds for e-mail addresses and URIs as well")
    if not plain.isascii():
        raise Invalid("has letters that no certificate name has: write the domain with A-labels (xn--...)")
    try:
        return ip_network(plain)
    except ValueError:
        if "/" in plain or ":" in plain:
            raise Invalid("is neither a domain nor a network such as 10.1.0.0/16 or 2001:db8::/32") from None
    return names.dns_name(plain)


def _domains(reader: _Reader) -> Demand:
    places = reader.items("allowed_domains", _place, some=True)
    return AllowedDomains(
        frozenset(place for place in places if isinstance(place, str)),
        tuple(place for place in places if not isinstance(place, str)),
    )


def _lifetime(reader: _Reader) -> Demand:
    days = reader.days("max_days")
    return CertificateLifetime(days * DAY if days else None)


_READERS: Final[Mapping[PolicyType, Callable[[_Reader], Demand]]] = {
    PolicyType.ALLOWED_ISSUERS: lambda r: AllowedIssuers(frozenset(r.items("allowed_issuer_ids", _word))),
    PolicyType.ALLOWED_DOMAINS: _domains,
    PolicyType.REQUIRED_METADATA: lambda r: RequiredMetadata(tuple(r.items("required_keys", _word))),
    PolicyType.ALLOWED_ENVIRONMENTS: lambda r: AllowedEnvironments(frozenset(r.items("allowed", _word))),
    PolicyType.RENEWAL_LEAD_TIME: lambda r: RenewalLeadTime((r.days("lead_time_days") or DEFAULT_LEAD) * DAY),
    PolicyType.CERTIFICATE_LIFETIME: _lifetime,
}
