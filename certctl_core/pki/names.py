"""Names that certificates are for: text <-> GeneralName (RFC 5280 section 4.2.1.6).

The kind of a name is told from its text: `scheme://` is a URI, `@` makes an e-mail address, an IP literal is an IP
address, everything else a DNS name. Names are ASCII: internationalised DNS names are written as A-labels (RFC 5890),
because mapping Unicode to A-labels differs between versions of IDNA and a certificate must say exactly one thing.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from certctl_core.errors import FieldProblem, Invalid, Unreadable

MAX_DNS: Final = 253
MAX_LABEL: Final = 63
MAX_EMAIL: Final = 254
MAX_URI: Final = 2048
MAX_SANS: Final = 250
"""More names than this make a certificate that TLS stacks refuse."""

MAX_COMMON_NAME: Final = 64
"""ub-common-name (RFC 5280 appendix A.1). A longer name lives in the SAN alone, under an empty subject."""

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
_LOCAL_PART: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.IGNORECASE)
_SPIFFE: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)*")


# Parsing


@lru_cache(maxsize=4096)
def general_name(text: str) -> x509.GeneralName:
    """One name. Raises `Invalid` with words about the name, without a field: the caller knows which it was.

    Remembered, because a name on its way into a certificate is looked at by one judge after the other.
    """
    if not text.isascii() or not text.isprintable() or " " in text:
        raise Invalid(
            f"{text[:80]!r} has characters that no certificate name has",
            hint="Write internationalised DNS names as A-labels (xn--...).",
        )
    if "://" in text:
        return x509.UniformResourceIdentifier(_uri(text))
    if "@" in text:
        return x509.RFC822Name(_email(text))
    try:
        address = ip_address(text)
    except ValueError:
        return x509.DNSName(dns_name(text))
    if "%" in text:
        raise Invalid(f"{text!r} has a zone, which means something on one host only")
    return x509.IPAddress(address)


def general_names(sans: Sequence[str]) -> tuple[x509.GeneralName, ...]:
    """The names in order, each once. Raises `Invalid` naming every `sans[i]` that is wrong."""
    names: dict[str, x509.GeneralName] = {}
    problems: list[FieldProblem] = []
    if len(sans) > MAX_SANS:
        raise Invalid.field("sans", f"are {len(sans)}, more than {MAX_SANS}")
    for index, text in enumerate(sans):
        try:
            name = general_name(text)
            names.setdefault(canonical(name), name)
        except Invalid as problem:
            problems.append(FieldProblem(f"sans[{index}]", str(problem)))
    if problems:
        raise Invalid("; ".join(f"{one.field}: {one.message}" for one in problems), fields=problems)
    return tuple(names.values())


def common_name(text: str) -> x509.GeneralName:
    """A common name is a DNS name, an IP address or an e-mail address of at most 253 characters. Raises `Invalid`."""
    if not text:
        raise Invalid.field("common_name", "must not be empty")
    if len(text) > MAX_DNS:
        raise Invalid.field("common_name", f"is longer than {MAX_DNS} characters")
    try:
        name = general_name(text)
    except Invalid as problem:
        raise Invalid.field("common_name", problem.message, hint=problem.hint) from problem
    if isinstance(name, x509.UniformResourceIdentifier):
        raise Invalid.field("common_name", "must be a DNS name, an IP address or an e-mail address; put a URI in sans")
    return name


def is_name(text: str) -> bool:
    """Whether a common name is a name that can be proved, rather than what somebody calls a device."""
    try:
        common_name(text)
    except Invalid:
        return False
    return True


def must_call_a_device(text: str) -> None:
    """Raises `Invalid` for a common name of a device that a certificate should not have: verifiers and people must not
    take it for another."""
    if len(text) > MAX_COMMON_NAME or not text.isprintable() or text != text.strip():
        raise Invalid.field(
            "common_name", f"must have at most {MAX_COMMON_NAME} visible characters and no space at its ends"
        )


def names_of(common_name_text: str, sans: Sequence[str], *, is_enrolled: bool = False) -> tuple[x509.GeneralName, ...]:
    """All names of a certificate: the common name first, because verifiers look at the SAN alone (RFC 9525 2), then
    `sans`, each name once. An empty common name is left out; so is that of an enrolled device where it is not a name
    but what the device is called. Raises `Invalid`."""
    names = {canonical(name): name for name in general_names(sans)}
    if not common_name_text or (is_enrolled and not is_name(common_name_text)):
        return tuple(names.values())
    first = common_name(common_name_text)
    return tuple(({canonical(first): first} | names).values())


def dns_name(text: str, *, wildcard: bool = True) -> str:
    """A DNS name in lower case: letters, digits, hyphens and underscores, with a wildcard as the whole first label."""
    name = text.lower()
    labels = name.split(".")
    if wildcard and labels[0] == "*":
        labels = labels[1:]
    if not name or len(name) > MAX_DNS:
        raise Invalid(f"a DNS name has 1 to {MAX_DNS} characters")
    if not labels:
        raise Invalid(f"{text!r}: a wildcard needs a domain after it")
    for label in labels:
        _check_label(text, label)
    if labels[-1].isdigit():
        raise Invalid(f"{text!r} ends in a number, as only IP addresses do")
    return name


def _check_label(text: str, label: str) -> None:
    if not label:
        raise Invalid(f"{text!r} has an empty label", hint="Names are written without a dot at the end.")
    if "*" in label:
        raise Invalid(f"{text!r}: a wildcard stands for the whole first label only")
    if len(label) > MAX_LABEL or _LABEL.fullmatch(label) is None:
        raise Invalid(
            f"{text!r}: a label has 1 to {MAX_LABEL} letters, digits, hyphens or underscores and no hyphen at its ends"
        )
    if label[2:4] == "--" and not _is_a_label(label):
        raise Invalid(f"{text!r}: {label!r} looks like an A-label and is none")


def _is_a_label(label: str) -> bool:
    """Whether it is `xn--` and Punycode (RFC 3492) of something that needs it and that IDNA has (RFC 5892): letters,
    marks and digits in normal form C and lower case, and the few characters that are valid in some context."""
    try:
        decoded = label[4:].encode("ascii").decode("punycode")
        encoded = decoded.encode("punycode").decode("ascii")
    except (UnicodeError, ValueError, OverflowError):
        return False
    permitted = all(unicodedata.category(one)[0] in "LMN" or one in _IN_CONTEXT for one in decoded)
    normal = unicodedata.normalize("NFC", decoded) == decoded == decoded.lower()
    return label.startswith("xn--") and not decoded.isascii() and encoded == label[4:] and permitted and normal


_IN_CONTEXT: Final = frozenset("-_\u00b7\u0375\u05f3\u05f4\u30fb\u200c\u200d")


def _email(text: str) -> str:
    local, _, domain = text.rpartition("@")
    if len(text) > MAX_EMAIL or len(local) > 64 or _LOCAL_PART.fullmatch(local) is None:
        raise Invalid(f"{text[:80]!r} is not an e-mail address")
    return f"{local}@{dns_name(domain, wildcard=False)}"


def _uri(text: str) -> str:
    """An absolute URI with a host (RFC 5280 4.2.1.6); SPIFFE IDs by the SPIFFE rules. Scheme and host in lower case."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if len(text) > MAX_URI or _URI.fullmatch(text) is None or not host:
        raise Invalid(f"{text[:80]!r} is not an absolute URI with a host")
    if "[" not in parts.netloc:
        _host(host)
    userinfo, at, rest = parts.netloc.rpartition("@")
    lowered = f"{parts.scheme}://{userinfo}{at}{rest.lower()}{text[text.index('://') + 3 + len(parts.netloc) :]}"
    if parts.scheme == "spiffe":
        path_parts = parts.path.split("/")
        if _SPIFFE.fullmatch(lowered) is None or "." in path_parts or ".." in path_parts:
            raise Invalid(f"{text[:80]!r} is not a SPIFFE ID")
    return lowered


def _host(host: str) -> None:
    try:
        ip_address(host)
    except ValueError:
        dns_name(host, wildcard=False)


# Comparing and showing


def text_of(name: x509.GeneralName) -> str:
    """The name as text. Kinds that certctl does not issue are shown with their kind before a colon."""
    if isinstance(name, x509.DNSName | x509.RFC822Name | x509.UniformResourceIdentifier):
        return name.value
    if isinstance(name, x509.IPAddress):
        return str(name.value)
    if isinstance(name, x509.DirectoryName):
        return f"dirName:{name.value.rfc4514_string()}"
    if isinstance(name, x509.RegisteredID):
        return f"RID:{name.value.dotted_string}"
    if isinstance(name, x509.OtherName):
        return f"otherName:{name.type_id.dotted_string}:{name.value.hex()}"
    raise Unreadable(f"{type(name).__name__} is a kind of name without a text")


def canonical_text(name: x509.GeneralName) -> str:
    """The one spelling of a name (RFC 5280 section 7): DNS names and the domain of an e-mail address in lower case, as
    scheme and host of a URI; IP addresses as `ipaddress` writes them."""
    text = text_of(name)
    if isinstance(name, x509.DNSName):
        return text.lower()
    if isinstance(name, x509.RFC822Name):
        local, at, domain = text.rpartition("@")
        return f"{local}{at}{domain.lower()}"
    if isinstance(name, x509.UniformResourceIdentifier):
        scheme, separator, rest = text.partition("://")
        authority, slash, path = rest.partition("/")
        userinfo, at, host = authority.rpartition("@")
        return f"{scheme.lower()}{separator}{userinfo}{at}{host.lower()}{slash}{path}"
    return text


_KINDS: Final[dict[type[x509.GeneralName], str]] = {
    x509.DNSName: "DNS name",
    x509.IPAddress: "IP address",
    x509.RFC822Name: "e-mail address",
    x509.UniformResourceIdentifier: "URI",
}


def canonical(name: x509.GeneralName) -> str:
    """Kind and spelling: a text that two names share exactly when they are the same name."""
    return f"{_KINDS.get(type(name), 'other name')} {canonical_text(name)}"


def same_names(a: Iterable[x509.GeneralName], b: Iterable[x509.GeneralName]) -> bool:
    """Whether both hold the same names, in whatever order."""
    return {canonical(name) for name in a} == {canonical(name) for name in b}


# Subjects


def subject(common_name_text: str) -> x509.Name:
    """CN alone, or the empty name when there is no common name or X.509 has no room for it (`MAX_COMMON_NAME`)."""
    if not common_name_text or len(common_name_text) > MAX_COMMON_NAME:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name_text)])


def common_name_of(name: x509.Name) -> str:
    """The last CN of a subject, the most specific one, or an empty text."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not found:
        return ""
    value = found[-1].value
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
