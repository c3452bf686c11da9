"""Name constraints (RFC 5280 section 4.2.1.10): written as text, put into CA certificates, and judged.

A constraint is written as in OpenSSL's configuration, `KIND:value`. Without a kind it is an IP network when it has the
form of one, a mailbox when it has an `@`, and a DNS name otherwise.

| text                      | which names it covers                                              |
|---------------------------|--------------------------------------------------------------------|
| `DNS:example.com`         | the name itself and every name that ends in `.example.com`         |
| `IP:10.0.0.0/8`           | the addresses of the network                                       |
| `email:alice@example.com` | that mailbox                                                       |
| `email:example.com`       | every mailbox at that host; `email:.example.com` at hosts below it |
| `URI:example.com`         | URIs with that host; `URI:.example.com` with hosts below it        |
| `dirName:O=Example,C=DE`  | subjects that begin with these, most significant at the end        |
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from certctl_core.errors import FieldProblem, Invalid
from certctl_core.pki import names

MAX_SUBTREES: Final = 100
_KIND: Final = re.compile(r"(DNS|IP|email|URI|dirName):(.*)", re.IGNORECASE | re.DOTALL)


# Written and read


def extension(permitted: Sequence[str], excluded: Sequence[str]) -> x509.NameConstraints | None:
    """The extension that says so, None when it would say nothing. Raises `Invalid` naming each text that is wrong."""
    problems: list[FieldProblem] = []
    lists = [_subtrees(label, texts, problems) for label, texts in (("permitted", permitted), ("excluded", excluded))]
    if problems:
        raise Invalid("; ".join(f"{one.field}: {one.message}" for one in problems), fields=problems)
    if not any(lists):
        return None
    return x509.NameConstraints(lists[0] or None, lists[1] or None)


def _subtrees(label: str, texts: Sequence[str], problems: list[FieldProblem]) -> list[x509.GeneralName]:
    if len(texts) > MAX_SUBTREES:
        problems.append(FieldProblem(label, f"are {len(texts)}, more than {MAX_SUBTREES}"))
        return []
    found: list[x509.GeneralName] = []
    for index, text in enumerate(texts):
        try:
            found.append(subtree(text))
        except Invalid as problem:
            problems.append(FieldProblem(f"{label}[{index}]", problem.message))
    return found


def subtree(text: str) -> x509.GeneralName:
    """One constraint. Raises `Invalid` without a field: the caller knows which it was."""
    if len(text) > names.MAX_URI or not text.isprintable():
        raise Invalid("is too long or has characters that no constraint has")
    found = _KIND.fullmatch(text.strip())
    kind, value = (found[1].lower(), found[2].strip()) if found else (_kind_of(text.strip()), text.strip())
    return _MAKERS[kind](value)


def _kind_of(text: str) -> str:
    if "/" in text:
        return "ip"
    return "email" if "@" in text else "dns"


def _dns(value: str) -> x509.GeneralName:
    return x509.DNSName(names.dns_name(value, wildcard=False))


def _ip(value: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_network(value))
    except ValueError as problem:
        raise Invalid(f"{value!r} is no IP network: {problem}") from None


def _host_or_below(value: str) -> str:
    dot, host = (".", value[1:]) if value.startswith(".") else ("", value)
    return dot + names.dns_name(host, wildcard=False)


def _email(value: str) -> x509.GeneralName:
    if "@" not in value:
        return x509.RFC822Name(_host_or_below(value))
    found = names.general_name(value)
    if not isinstance(found, x509.RFC822Name):
        raise Invalid(f"{value!r} is no mailbox")
    return found


def _uri(value: str) -> x509.GeneralName:
    if "/" in value or ":" in value:
        raise Invalid(f"{value!r} is no host: constraints on URIs name hosts")
    return x509.UniformResourceIdentifier(_host_or_below(value))


def _directory(value: str) -> x509.GeneralName:
    try:
        name = x509.Name.from_rfc4514_string(value)
    except ValueError:
        raise Invalid(f"{value!r} is no directory name", hint="Write it as O=Example,C=DE (RFC 4514).") from None
    if not name.rdns:
        raise Invalid("a directory name needs an attribute")
    return x509.DirectoryName(name)


_MAKERS: Final[dict[str, Callable[[str], x509.GeneralName]]] = {
    "dns": _dns,
    "ip": _ip,
    "email": _email,
    "uri": _uri,
    "dirname": _directory,
}


def text_of(constraint: x509.GeneralName) -> str:
    """The constraint as text, from which `subtree` makes it again."""
    prefixes = {x509.DNSName: "DNS", x509.IPAddress: "IP", x509.RFC822Name: "email"}
    if isinstance(constraint, x509.DirectoryName):
        return names.text_of(constraint)
    prefix = prefixes.get(type(constraint), "URI" if isinstance(constraint, x509.UniformResourceIdentifier) else "")
    return f"{prefix}:{names.text_of(constraint)}" if prefix else names.text_of(constraint)


def of(certificate: x509.Certificate) -> x509.NameConstraints | None:
    """Those of a CA certificate."""
    try:
        return certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None


# Judged


def judged_names(subject: x509.Name, sans: Iterable[x509.GeneralName]) -> tuple[x509.GeneralName, ...]:
    """Every name of a certificate that constraints are about: the subject unless it is empty, the SANs, and what the
    subject says in place of a SAN: e-mail addresses (RFC 5280 section 4.2.1.10), and a common name that has the form of
    a DNS name, which old verifiers take for one where there is no SAN."""
    said = tuple(sans)
    found: list[x509.GeneralName] = [x509.DirectoryName(subject)] if subject.rdns else []
    found += said
    if not any(isinstance(one, x509.RFC822Name) for one in said):
        found += _legacy(subject, NameOID.EMAIL_ADDRESS, names.general_name, x509.RFC822Name)
    if not said:
        found += _legacy(subject, NameOID.COMMON_NAME, names.general_name, x509.DNSName)
    return tuple(found)


def _legacy(
    subject: x509.Name, oid: x509.ObjectIdentifier, read: Callable[[str], x509.GeneralName], kind: type[Any]
) -> Iterator[x509.GeneralName]:
    for attribute in subject.get_attributes_for_oid(oid):
        try:
            name = read(str(attribute.value))
        except Invalid:
            continue
        if isinstance(name, kind) and (kind is not x509.DNSName or "." in names.text_of(name)):
            yield name


def violations(constraints: x509.NameConstraints, found: Iterable[x509.GeneralName]) -> Iterator[str]:
    """Which of the names a CA with these constraints must not certify, in words. A name of a kind that is constrained
    and that cannot be judged is one of them."""
    permitted, excluded = constraints.permitted_subtrees or (), constraints.excluded_subtrees or ()
    for name in found:
        shown = _shown(name)
        mine = [one for one in permitted if _same_kind(one, name)]
        against = [one for one in excluded if _same_kind(one, name)]
        if not mine and not against:
            continue
        if not _can_be_judged(name):
            yield f"{shown} is of a kind whose constraints cannot be judged"
        elif mine and not any(_covers(one, name) for one in mine):
            yield f"{shown} is outside the names that are permitted"
        elif any(_touches(one, name) for one in against):
            yield f"{shown} is among the names that are excluded"


def _shown(name: x509.GeneralName) -> str:
    return names.text_of(name).removeprefix("dirName:")


def _same_kind(constraint: x509.GeneralName, name: x509.GeneralName) -> bool:
    """Addresses are one kind: where only IPv4 networks are permitted, no IPv6 address is."""
    if isinstance(name, x509.OtherName) and isinstance(constraint, x509.OtherName):
        return name.type_id == constraint.type_id
    return type(constraint) is type(name)


def _can_be_judged(name: x509.GeneralName) -> bool:
    """URIs without a host that is a name are to be refused wherever URIs are constrained (RFC 5280 4.2.1.10)."""
    if isinstance(name, x509.UniformResourceIdentifier):
        return bool(_host_of(name.value))
    return isinstance(name, x509.DNSName | x509.RFC822Name | x509.IPAddress | x509.DirectoryName)


def _host_of(uri: str) -> str:
    """The host where it is a name; empty for an address, and where there is none."""
    try:
        host = urlsplit(uri).hostname or ""
    except ValueError:
        return ""
    try:
        ip_address(host)
    except ValueError:
        return host
    return ""


def _covers(constraint: x509.GeneralName, name: x509.GeneralName) -> bool:
    """Whether a name, of the kind of the constraint, is within its subtree."""
    if isinstance(name, x509.DNSName):
        return _dns_covers(_value(constraint).lower(), name.value.lower())
    if isinstance(name, x509.IPAddress):
        return ip_address(str(name.value)) in ip_network(_value(constraint))
    if isinstance(name, x509.RFC822Name):
        return _mailbox_covers(_value(constraint), name.value)
    if isinstance(name, x509.UniformResourceIdentifier):
        return _host_covers(_value(constraint).lower(), _host_of(name.value).lower())
    if isinstance(name, x509.DirectoryName) and isinstance(constraint, x509.DirectoryName):
        above, below = _normal(constraint.value), _normal(name.value)
        return below[: len(above)] == above
    return False


def _touches(constraint: x509.GeneralName, name: x509.GeneralName) -> bool:
    """As `_covers`, and whether a wildcard stands for a name within an excluded subtree: `*.example.com` is also
    `secret.example.com`."""
    if isinstance(name, x509.DNSName) and name.value.startswith("*."):
        base, domain = _value(constraint).lower().lstrip("."), name.value[2:].lower()
        if base.partition(".")[2] == domain:
            return True
    return _covers(constraint, name)


def _value(constraint: x509.GeneralName) -> str:
    return str(constraint.value)


def _dns_covers(base: str, name: str) -> bool:
    if base in ("", "."):
        return True
    if base.startswith("."):
        return name.endswith(base)
    return name == base or name.endswith(f".{base}")


def _host_covers(base: str, host: str) -> bool:
    return host.endswith(base) if base.startswith(".") else host == base


def _mailbox_covers(base: str, mailbox: str) -> bool:
    """The part before the `@` is compared as it is, the host whatever its case (RFC 5280 section 7.5)."""
    local, _, host = mailbox.rpartition("@")
    if "@" in base:
        wanted, _, its_host = base.rpartition("@")
        return local == wanted and host.lower() == its_host.lower()
    return base == "" or _host_covers(base.lower(), host.lower())


def _normal(name: x509.Name) -> list[frozenset[tuple[str, str]]]:
    """The parts of a name, most significant first, as they are compared (RFC 5280 section 7.1): whatever the case, and
    with spaces at the ends and repeated ones left out."""
    return [
        frozenset((one.oid.dotted_string, " ".join(_text(one.value).split()).casefold()) for one in rdn)
        for rdn in name.rdns
    ]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()
