"""Chains of certificates by the hundred, good ones and bad ones, each with what the RFC says of it.

They are put together with the library's builder, not with ours: ours does not make bad ones. What is right and wrong is
written down by hand beside each, so that three judges (ours, the library's and OpenSSL's) can be held against it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any, Final

from attrs import field, frozen
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certctl_core.pki import keys, signing
from certctl_core.pki.keys import KeyKind, PrivateKey
from tests import plans

NOW: Final = plans.NOW
YEAR: Final = timedelta(days=365)

DNS, IP, Mail, Uri, Dir = (
    x509.DNSName,
    x509.IPAddress,
    x509.RFC822Name,
    x509.UniformResourceIdentifier,
    x509.DirectoryName,
)


@frozen
class Case:
    """A leaf for TLS clients, what is sent along, who is trusted, and whether it is to be believed at `at`."""

    name: str
    leaf: x509.Certificate
    pool: tuple[x509.Certificate, ...]
    trusted: tuple[x509.Certificate, ...]
    is_good: bool
    at: datetime = NOW


@frozen
class Made:
    """A certificate with its key, and what is above it, nearest first."""

    certificate: x509.Certificate
    private_key: PrivateKey = field(repr=False)
    above: tuple["Made", ...] = ()


def name(common_name: str, *more: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    parts = [*more, (NameOID.COMMON_NAME, common_name)] if common_name else [*more]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def usage(*, signs: bool, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(signs, False, False, False, False, certificates, certificates, False, False)


@frozen
class Ca:
    """How a CA differs from a plain one. An extension given as None is left out."""

    path_length: int | None = None
    permitted: tuple[x509.GeneralName, ...] = ()
    excluded: tuple[x509.GeneralName, ...] = ()
    extensions: Mapping[str, tuple[x509.ExtensionType, bool] | None] = field(factory=dict)
    begins: timedelta = -YEAR
    ends: timedelta = YEAR
    subject: x509.Name | None = None
    kind: KeyKind = KeyKind.ECDSA_P256


def issue(
    subject: x509.Name,
    private_key: PrivateKey,
    issuer: Made | None,
    extensions: Mapping[str, tuple[x509.ExtensionType, bool] | None],
    begins: timedelta,
    ends: timedelta,
) -> Made:
    signer = private_key if issuer is None else issuer.private_key
    own = x509.SubjectKeyIdentifier(keys.key_identifier(private_key.public_key()))
    above = x509.AuthorityKeyIdentifier(keys.key_identifier(signer.public_key()), None, None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
    )
    for found in {"aki": (above, False), "ski": (own, False), **extensions}.values():
        if found is not None:
            builder = builder.add_extension(found[0], critical=found[1])
    made = builder.sign(signer, signing.hash_for(signer))
    return Made(made, private_key, () if issuer is None else (issuer, *issuer.above))


def ca(common_name: str, issuer: Made | None, how: Ca, key_name: str = "") -> Made:
    said: dict[str, tuple[x509.ExtensionType, bool] | None] = {
        "constraints": (x509.BasicConstraints(ca=True, path_length=how.path_length), True),
        "usage": (usage(signs=False, certificates=True), True),
    }
    if how.permitted or how.excluded:
        said["names"] = (x509.NameConstraints(how.permitted or None, how.excluded or None), True)
    private_key = plans.key(how.kind, key_name or f"chain {common_name}")
    subject = how.subject or name(common_name)
    return issue(subject, private_key, issuer, {**said, **how.extensions}, how.begins, how.ends)


def leaf(
    issuer: Made,
    sans: Sequence[x509.GeneralName] = (DNS("a.example.com"),),
    *,
    subject: x509.Name | None = None,
    extensions: Mapping[str, tuple[x509.ExtensionType, bool] | None] | None = None,
    begins: timedelta = -timedelta(days=1),
    ends: timedelta = timedelta(days=30),
    kind: KeyKind = KeyKind.ECDSA_P256,
) -> Made:
    shown = name("leaf") if subject is None else subject
    said: dict[str, tuple[x509.ExtensionType, bool] | None] = {
        "constraints": (x509.BasicConstraints(ca=False, path_length=None), True),
        "usage": (usage(signs=True, certificates=False), True),
        "eku": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        "san": (x509.SubjectAlternativeName(sans), not shown.rdns),
        **(extensions or {}),
    }
    return issue(shown, plans.key(kind, "chain leaf"), issuer, said, begins, ends)


def chain(hows: Sequence[Ca]) -> Made:
    """The lowest CA of a chain whose root is the first of `hows`."""
    made: Made | None = None
    for depth, how in enumerate(hows):
        made = ca(f"CA {depth}", made, how)
    assert made is not None
    return made


def case(case_name: str, made: Made, is_good: bool, **changes: Any) -> Case:
    cas = [one.certificate for one in made.above]
    return Case(
        case_name,
        made.certificate,
        changes.get("pool", tuple(cas[:-1])),
        changes.get("trusted", tuple(cas[-1:])),
        is_good,
        changes.get("at", NOW),
    )


# Path lengths


def path_lengths() -> Iterator[Case]:
    """Each number of CAs, with a limit at each place: a CA at depth d has those between it and the leaf below it."""
    for cas in range(1, 6):
        yield case(f"{cas} CAs without limits", leaf(chain([Ca()] * cas)), True)
        for at in range(cas):
            below = cas - 1 - at
            for limit in range(5):
                hows = [Ca(path_length=limit if one == at else None) for one in range(cas)]
                yield case(f"{cas} CAs, {limit} below CA {at}", leaf(chain(hows)), limit >= below)
    for cas in range(2, 6):
        falling = [Ca(path_length=cas - 1 - depth) for depth in range(cas)]
        yield case(f"{cas} CAs, each with just enough room", leaf(chain(falling)), True)
    for limit in range(3):
        root = ca("CA 0", None, Ca(path_length=limit))
        own = ca("CA 0", root, Ca(), "its second key")
        below = own
        for depth in range(1, limit + 2):
            yield case(
                f"{limit} below a root, a self-issued CA and {depth - 1} more",
                leaf(below),
                True,
            )
            below = ca(f"CA {depth}", below, Ca())
        yield case(f"{limit} below a root, a self-issued CA and {limit + 1} more", leaf(below), False)


# Name constraints: what a constraint covers, and what it does not


def _net(text: str) -> x509.GeneralName:
    return IP(ip_network(text))


def _addr(text: str) -> x509.GeneralName:
    return IP(ip_address(text))


def _dir(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


_COUNTRY: Final = (NameOID.COUNTRY_NAME, "DE")
_ORGANISATION: Final = (NameOID.ORGANIZATION_NAME, "Example")

COVERED: Final[tuple[tuple[x509.GeneralName, x509.GeneralName, bool], ...]] = (
    (DNS("example.com"), DNS("example.com"), True),
    (DNS("example.com"), DNS("a.example.com"), True),
    (DNS("example.com"), DNS("b.a.example.com"), True),
    (DNS("example.com"), DNS("A.EXAMPLE.com"), True),
    (DNS("EXAMPLE.com"), DNS("a.example.com"), True),
    (DNS("example.com"), DNS("*.example.com"), True),
    (DNS("example.com"), DNS("badexample.com"), False),
    (DNS("example.com"), DNS("example.org"), False),
    (DNS("example.com"), DNS("example.com.org"), False),
    (DNS("a.example.com"), DNS("example.com"), False),
    (DNS("a.example.com"), DNS("b.example.com"), False),
    (DNS("a.example.com"), DNS("c.a.example.com"), True),
    (DNS("com"), DNS("example.com"), True),
    (_net("192.0.2.0/24"), _addr("192.0.2.1"), True),
    (_net("192.0.2.0/24"), _addr("192.0.3.1"), False),
    (_net("192.0.2.7/32"), _addr("192.0.2.7"), True),
    (_net("192.0.2.7/32"), _addr("192.0.2.8"), False),
    (_net("0.0.0.0/0"), _addr("203.0.113.9"), True),
    (_net("10.0.0.0/8"), _addr("10.255.255.255"), True),
    (_net("10.0.0.0/8"), _addr("11.0.0.0"), False),
    (_net("2001:db8::/32"), _addr("2001:db8::1"), True),
    (_net("2001:db8::/32"), _addr("2001:db9::1"), False),
    (_net("2001:db8:1::/48"), _addr("2001:db8:1:ffff::1"), True),
    (Mail("alice@example.com"), Mail("alice@example.com"), True),
    (Mail("alice@example.com"), Mail("bob@example.com"), False),
    (Mail("alice@example.com"), Mail("alice@EXAMPLE.com"), True),
    (Mail("example.com"), Mail("alice@example.com"), True),
    (Mail("example.com"), Mail("alice@a.example.com"), False),
    (Mail("example.com"), Mail("alice@example.org"), False),
    (Mail(".example.com"), Mail("alice@a.example.com"), True),
    (Mail(".example.com"), Mail("alice@b.a.example.com"), True),
    (Mail(".example.com"), Mail("alice@example.com"), False),
    (Uri("example.com"), Uri("https://example.com/path"), True),
    (Uri("example.com"), Uri("https://a.example.com/path"), False),
    (Uri("example.com"), Uri("https://EXAMPLE.com"), True),
    (Uri(".example.com"), Uri("https://a.example.com/"), True),
    (Uri(".example.com"), Uri("https://example.com/"), False),
    (Uri("example.com"), Uri("spiffe://example.com/workload"), True),
    (Uri("example.com"), Uri("spiffe://example.org/workload"), False),
    (Uri("example.com"), Uri("https://user@example.com:8443/x"), True),
    (Dir(_dir(_COUNTRY, _ORGANISATION)), Dir(_dir(_COUNTRY, _ORGANISATION, (NameOID.COMMON_NAME, "x"))), True),
    (Dir(_dir(_COUNTRY, _ORGANISATION)), Dir(_dir(_COUNTRY, (NameOID.ORGANIZATION_NAME, "Other"))), False),
    (Dir(_dir(_COUNTRY, _ORGANISATION)), Dir(_dir(_COUNTRY)), False),
    (Dir(_dir(_COUNTRY)), Dir(_dir(_COUNTRY, (NameOID.ORGANIZATION_NAME, "Other"))), True),
    (Dir(_dir(_COUNTRY, _ORGANISATION)), Dir(_dir(_ORGANISATION, _COUNTRY)), False),
    (Dir(_dir(_COUNTRY, _ORGANISATION)), Dir(_dir(_COUNTRY, (NameOID.ORGANIZATION_NAME, "EXAMPLE"))), True),
)
"""A constraint, a name of its kind, and whether the one covers the other (RFC 5280 sections 4.2.1.10 and 7)."""

_KINDS: Final = {DNS: "DNS", IP: "IP", Mail: "email", Uri: "URI", Dir: "dirName"}


def _text(one: x509.GeneralName) -> str:
    value = one.value.rfc4514_string() if isinstance(one, Dir) else str(one.value)
    return f"{_KINDS[type(one)]}:{value}"


def _named(found: x509.GeneralName) -> dict[str, Any]:
    """A leaf of this name: a directory name is its subject. Subjects are left empty otherwise, so that a constraint
    on one kind of name is about that kind alone."""
    if isinstance(found, Dir):
        return {"sans": (DNS("a.example.com"),), "subject": found.value}
    return {"sans": (found,), "subject": name("")}


def name_constraints() -> Iterator[Case]:
    for limit, found, covers in COVERED:
        shown = f"{_text(limit)} and {_text(found)}"
        for label, how, is_good in (
            ("permitted", Ca(permitted=(limit,)), covers),
            ("excluded", Ca(excluded=(limit,)), not covers),
        ):
            below = Ca(subject=_below(limit)) if label == "permitted" else Ca()
            yield case(f"{label} by the CA: {shown}", leaf(chain([Ca(), how]), **_named(found)), is_good)
            yield case(f"{label} by the root: {shown}", leaf(chain([how, below]), **_named(found)), is_good)
    yield from _several()


def _below(limit: x509.GeneralName) -> x509.Name | None:
    """The subject of a CA below one that permits this directory name only."""
    if not isinstance(limit, Dir):
        return None
    return x509.Name([*limit.value, x509.NameAttribute(NameOID.COMMON_NAME, "Issuing")])


def _several() -> Iterator[Case]:
    """Constraints of more than one CA, names of more than one kind, and names that nobody constrains."""
    com, org, a_com = DNS("example.com"), DNS("example.org"), DNS("a.example.com")
    both, addresses = (com, org), (_net("0.0.0.0/0"), _net("::/0"))
    for label, hows, sans, is_good in (
        ("two permitted, a name of each", [Ca(), Ca(permitted=both)], both, True),
        ("two permitted, one name of neither", [Ca(), Ca(permitted=both)], (com, DNS("example.net")), False),
        ("permitted and excluded below", [Ca(), Ca(permitted=(com,), excluded=(a_com,))], (com,), True),
        ("permitted, but excluded below", [Ca(), Ca(permitted=(com,), excluded=(a_com,))], (a_com,), False),
        ("permitted twice, ever narrower", [Ca(permitted=(com,)), Ca(permitted=(a_com,))], (a_com,), True),
        ("permitted above, not below", [Ca(permitted=(com,)), Ca(permitted=(a_com,))], (com,), False),
        ("permitted below, not above", [Ca(permitted=(a_com,)), Ca(permitted=(com,))], (com,), False),
        ("two CAs that permit different names", [Ca(permitted=(com,)), Ca(permitted=(org,))], (org,), False),
        ("excluded above", [Ca(excluded=(com,)), Ca(permitted=(com,))], (com,), False),
        ("another kind is not constrained", [Ca(), Ca(permitted=(com,))], (_addr("192.0.2.1"),), True),
        ("all addresses excluded", [Ca(), Ca(excluded=addresses)], (_addr("192.0.2.1"),), False),
        ("all addresses excluded, a name", [Ca(), Ca(excluded=addresses)], (com,), True),
        ("IPv4 permitted, an IPv6 address",
         [Ca(), Ca(permitted=(_net("192.0.2.0/24"),))], (_addr("2001:db8::1"),), False),
        ("a name and an address, both permitted",
         [Ca(), Ca(permitted=(com, _net("192.0.2.0/24")))], (com, _addr("192.0.2.1")), True),
        ("a name and an address, one permitted",
         [Ca(), Ca(permitted=(com, _net("192.0.2.0/24")))], (com, _addr("192.0.9.1")), False),
        ("three CAs, the middle one permits", [Ca(), Ca(permitted=(com,)), Ca()], (a_com,), True),
        ("three CAs, the middle one does not permit", [Ca(), Ca(permitted=(org,)), Ca()], (a_com,), False),
        ("a URI whose host is an address", [Ca(), Ca(permitted=(Uri("example.com"),))],
         (Uri("https://192.0.2.1/"),), False),
        ("a URI without a host", [Ca(), Ca(permitted=(Uri("example.com"),))], (Uri("urn:isbn:1"),), False),
        ("a wildcard over an excluded name", [Ca(), Ca(excluded=(a_com,))], (DNS("*.example.com"),), False),
    ):  # fmt: skip
        yield case(label, leaf(chain(hows), sans, subject=name("")), is_good)
    mail = name("leaf", (NameOID.EMAIL_ADDRESS, "alice@example.org"))
    limited = chain([Ca(), Ca(permitted=(Mail("example.com"),))])
    yield case("an e-mail address in the subject, not permitted", leaf(limited, (com,), subject=mail), False)
    narrow = ca("Elsewhere", chain([Ca(permitted=(Dir(_dir(_COUNTRY, _ORGANISATION)),))]), Ca())
    inside = name("leaf", _COUNTRY, _ORGANISATION)
    yield case("a CA whose own name is not permitted", leaf(narrow, (com,), subject=inside), False)
    root = ca("Root", None, Ca(permitted=(Dir(_dir(_COUNTRY, _ORGANISATION)),), subject=name("Root")))
    own = ca("Root", root, Ca(subject=name("Root")), "its next key")
    yield case("a self-issued CA whose own name is not permitted", leaf(own, (com,), subject=inside), True)


# Everything else that can be wrong

UNKNOWN: Final = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


def faults() -> Iterator[Case]:
    """One thing wrong at a time, at each place where it can be, with each kind of key."""
    kinds = (KeyKind.ECDSA_P256, KeyKind.ECDSA_P384, KeyKind.RSA_2048, KeyKind.ED25519)
    for kind in kinds:
        for cas in (1, 2, 3):
            plain = [Ca(kind=kind)] * cas
            yield case(f"{kind.value}, {cas} CAs: good", leaf(chain(plain), kind=kind), True)
            yield from _at_the_leaf(f"{kind.value}, {cas} CAs", chain(plain))
            for at in range(1, cas):
                yield from _at_a_ca(f"{kind.value}, {cas} CAs, CA {at}", plain, at)
            yield from _around(f"{kind.value}, {cas} CAs", chain(plain))
        yield from _cross_signed(kind)


def _at_the_leaf(label: str, issuer: Made) -> Iterator[Case]:
    day = timedelta(days=1)
    for words, more, is_good in (
        ("expired leaf", {"begins": -3 * day, "ends": -day}, False),
        ("leaf not yet valid", {"begins": day, "ends": 3 * day}, False),
        ("unknown critical extension in the leaf", {"extensions": {"unknown": (UNKNOWN, True)}}, False),
        ("unknown extension in the leaf", {"extensions": {"unknown": (UNKNOWN, False)}}, True),
        ("leaf for servers only",
         {"extensions": {"eku": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)}}, False),
        ("leaf without extended usage", {"extensions": {"eku": None}}, True),
        ("leaf without a subject", {"subject": name("")}, True),
        ("leaf that names another key of its issuer",
         {"extensions": {"aki": (x509.AuthorityKeyIdentifier(b"\1" * 20, None, None), False)}}, False),
    ):  # fmt: skip
        yield case(f"{label}: {words}", leaf(issuer, **more), is_good)


def _at_a_ca(label: str, plain: Sequence[Ca], at: int) -> Iterator[Case]:
    day, kind = timedelta(days=1), plain[0].kind
    for words, how, is_good in (
        ("expired", Ca(kind=kind, begins=-YEAR, ends=-day), False),
        ("not yet valid", Ca(kind=kind, begins=day), False),
        ("no CA", Ca(kind=kind, extensions={"constraints": (x509.BasicConstraints(False, None), True)}), False),
        ("without basicConstraints", Ca(kind=kind, extensions={"constraints": None}), False),
        ("without keyCertSign",
         Ca(kind=kind, extensions={"usage": (usage(signs=True, certificates=False), True)}), False),
        ("unknown critical extension", Ca(kind=kind, extensions={"unknown": (UNKNOWN, True)}), False),
        ("unknown extension", Ca(kind=kind, extensions={"unknown": (UNKNOWN, False)}), True),
        ("for servers only",
         Ca(kind=kind, extensions={"eku": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)}), False),
        ("for clients",
         Ca(kind=kind, extensions={"eku": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)}), True),
        ("wrong authorityKeyIdentifier",
         Ca(kind=kind, extensions={"aki": (x509.AuthorityKeyIdentifier(b"\1" * 20, None, None), False)}), False),
        ("with a policy", Ca(kind=kind, extensions={"policies": (x509.CertificatePolicies(
            [x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.55555.2"), ["http://cps.example.com"])]
        ), False)}), True),
    ):  # fmt: skip
        hows = [how if one == at else plain[one] for one in range(len(plain))]
        yield case(f"{label}: {words}", leaf(chain(hows)), is_good)


def _around(label: str, issuer: Made) -> Iterator[Case]:
    made = leaf(issuer)
    cas = [one.certificate for one in made.above]
    stranger = ca("Stranger", None, Ca()).certificate
    double = ca(cas[-1].subject.rfc4514_string().removeprefix("CN="), None, Ca(), "another key of that name")
    yield case(f"{label}: another root is trusted", made, False, trusted=(stranger,))
    yield case(f"{label}: a root of the same name is trusted", made, False, trusted=(double.certificate,))
    yield case(f"{label}: both roots of that name are trusted", made, True, trusted=(double.certificate, cas[-1]))
    yield case(f"{label}: after the root's end", made, False, at=NOW + 2 * YEAR)
    yield case(f"{label}: before the root begins", made, False, at=NOW - 2 * YEAR)
    yield case(f"{label}: strangers are sent along", made, True, pool=(stranger, *cas[:-1], double.certificate))
    if len(cas) > 1:
        yield case(f"{label}: an intermediate is missing", made, False, pool=tuple(cas[1:-1]))
        yield case(f"{label}: intermediates in reverse order", made, True, pool=tuple(reversed(cas[:-1])))


def _cross_signed(kind: KeyKind) -> Iterator[Case]:
    """A CA with two certificates: by a new root and by an old one."""
    old, new = (ca(f"{age} root", None, Ca(kind=kind)) for age in ("Old", "New"))
    by_new = ca("Issuing", new, Ca(kind=kind), f"issuing {kind.value}")
    by_old = ca("Issuing", old, Ca(kind=kind), f"issuing {kind.value}")
    past = ca("Issuing", old, Ca(kind=kind, ends=-timedelta(days=1)), f"issuing {kind.value}")
    made = leaf(by_new)
    both = (by_old.certificate, by_new.certificate)
    roots = {"old": (old.certificate,), "new": (new.certificate,), "both": (old.certificate, new.certificate)}
    for which, trusted in roots.items():
        label = f"{kind.value}, cross-signed, {which} trusted"
        yield case(label, made, True, pool=both, trusted=trusted)
        yield case(f"{label}, that of the old one expired", made, which != "old",
                   pool=(past.certificate, by_new.certificate), trusted=trusted)  # fmt: skip
    link = ca("New root", old, Ca(kind=kind), "chain New root")
    sent = (by_new.certificate, link.certificate)
    yield case(f"{kind.value}, a link from the old root to the new", made, True, pool=sent, trusted=roots["old"])
    loop_one = ca("Issuing", by_new, Ca(kind=kind), f"issuing {kind.value}")
    yield case(f"{kind.value}, a CA above itself", made, False, pool=(loop_one.certificate,), trusted=roots["old"])


def all_cases() -> Iterator[Case]:
    yield from path_lengths()
    yield from name_constraints()
    yield from faults()
