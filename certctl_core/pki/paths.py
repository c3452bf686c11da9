"""Certification paths (RFC 5280 section 6): from a certificate to one that is trusted, built and judged.

Everything that has to believe a chain asks here: a CA before it signs, the upload of a sub-CA's certificate, the check
of what a foreign CA returned, and of the certificate that a client presents. What is judged:

- each certificate is signed by the next with a sound algorithm and, where both say so, the key identifiers agree;
- those above the first are CAs that may sign certificates, in the number that path lengths allow;
- the names below a CA are those that its constraints permit;
- no critical extension is unknown, no key is weak, and no usage is asked for that a CA above is not for;
- with a time, all are valid then.

Policies are not processed: where a CA requires a policy (policyConstraints, inhibitAnyPolicy, both critical), the path
is refused rather than believed by half.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from certctl_core.errors import Unreadable
from certctl_core.pki import constraints, keys, reading, usages
from certctl_core.pki.untrusted import parsing

MAX_PATH: Final = 8
"""Certificates of a path, the first and the trusted one included."""

_MOST_STEPS: Final = 64
"""How many signatures are verified to find a path: what is cross-signed may fan out without end."""

_PROCESSED: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.ISSUER_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.SUBJECT_INFORMATION_ACCESS,
        ExtensionOID.TLS_FEATURE,
        ExtensionOID.OCSP_NO_CHECK,
    }
)
"""Extensions that may be critical, since what they say is heeded here or says nothing about the path."""


@frozen
class Judged:
    """`path` begins with the certificate and ends with the trusted one; it is empty when there is none, and then
    `problems` says why of the path that came furthest."""

    path: tuple[x509.Certificate, ...]
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.path)


def judge(
    certificate: x509.Certificate,
    pool: Sequence[x509.Certificate],
    trusted: Sequence[x509.Certificate],
    at: datetime | None = None,
    *,
    eku: str | None = None,
) -> Judged:
    """Whether a path leads from `certificate` over some of `pool` to one of `trusted`, and which: the first that is
    right, trusted ones being tried first. `eku` is the short name of what the certificate is to be used for. What is
    trusted may be the certificate itself, and need not be a root."""
    search = _Search(tuple(dict.fromkeys(pool)), tuple(dict.fromkeys(trusted)), at, eku)
    return search.run(certificate)


def chain_problems(
    chain: Sequence[x509.Certificate], at: datetime | None = None, *, eku: str | None = None
) -> tuple[str, ...]:
    """What is wrong with a path (nearest first) whose last certificate is taken for trusted; empty when it is right."""
    try:
        return tuple(_problems(tuple(chain), at, eku))
    except Unreadable as problem:
        return (problem.message,)


class _Search:
    def __init__(
        self,
        pool: tuple[x509.Certificate, ...],
        trusted: tuple[x509.Certificate, ...],
        at: datetime | None,
        eku: str | None,
    ) -> None:
        self._above = trusted + tuple(one for one in pool if one not in trusted)
        self._trusted = frozenset(trusted)
        self._at = at
        self._eku = eku
        self._steps = _MOST_STEPS
        self._best: tuple[int, tuple[str, ...]] = (0, ())

    def run(self, certificate: x509.Certificate) -> Judged:
        found = self._from((certificate,))
        if found:
            return Judged(found)
        reason = f"no path leads from {_name(certificate)} to a trusted certificate"
        return Judged((), self._best[1] or (reason,))

    def _from(self, path: tuple[x509.Certificate, ...]) -> tuple[x509.Certificate, ...]:
        if path[-1] in self._trusted:
            problems = chain_problems(path, self._at, eku=self._eku)
            if not problems:
                return path
            if len(path) > self._best[0]:
                self._best = (len(path), problems)
        if len(path) >= MAX_PATH:
            return ()
        for above in self._above:
            if above in path or not reading.names_issuer(path[-1], above) or self._steps <= 0:
                continue
            self._steps -= 1
            if reading.is_issued_by(path[-1], above) and (found := self._from((*path, above))):
                return found
        return ()


# One path


def _problems(path: tuple[x509.Certificate, ...], at: datetime | None, eku: str | None) -> Iterator[str]:
    if not 1 <= len(path) <= MAX_PATH:
        yield f"the path has {len(path)} certificates, not 1 to {MAX_PATH}"
        return
    below = 0
    for index, certificate in enumerate(path):
        is_last = index == len(path) - 1
        yield from _own_problems(certificate, is_trusted=is_last)
        if at is not None and not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            yield f"{_name(certificate)} is not valid at {at:%Y-%m-%d %H:%M} UTC"
        if eku is not None and not _is_for(certificate, eku, is_first=index == 0):
            yield f"{_name(certificate)} is not for {eku}"
        if certificate.not_valid_after_utc < path[0].not_valid_before_utc:
            yield f"{_name(certificate)} ended before the certificate begins"
        if index:
            yield from _issuer_problems(path[index - 1], certificate, below)
            yield from name_problems(certificate, path[:index])
            below += not _is_self_issued(certificate)


def _own_problems(certificate: x509.Certificate, *, is_trusted: bool) -> Iterator[str]:
    """What is wrong with a certificate wherever it stands."""
    name = _name(certificate)
    with parsing("the certificate"):
        for extension in certificate.extensions:
            if extension.critical and extension.oid not in _PROCESSED:
                yield f"{name} has a critical extension that is not processed: {extension.oid.dotted_string}"
        for weakness in keys.weaknesses(certificate.public_key()):
            yield f"{name}: {weakness}"
        if not is_trusted and not _is_soundly_signed(certificate):
            yield f"{name} is signed with a broken hash"


def _is_soundly_signed(certificate: x509.Certificate) -> bool:
    return not isinstance(certificate.signature_hash_algorithm, hashes.MD5 | hashes.SHA1)


def _issuer_problems(child: x509.Certificate, issuer: x509.Certificate, below: int) -> Iterator[str]:
    """`below` is how many CAs of the path are below the issuer, self-issued ones apart (RFC 5280 section 4.2.1.9)."""
    name = _name(issuer)
    if not reading.is_issued_by(child, issuer):
        yield f"{_name(child)} was not issued by {name}, which follows it"
    elif not _identifiers_agree(child, issuer):
        yield f"{_name(child)} names another key of its issuer than that of {name}"
    with parsing("the certificate"):
        limits = _basic_constraints(issuer)
        if limits is None or not limits.ca:
            yield f"{name} is no CA certificate"
        elif limits.path_length is not None and below > limits.path_length:
            yield f"{name} may have {limits.path_length} CAs below it in a path, not {below}"
        if not _may_sign_certificates(issuer):
            yield f"{name} may not sign certificates (keyUsage lacks keyCertSign)"


def _basic_constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None


def _may_sign_certificates(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _identifiers_agree(child: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Where both are there. An issuer is told by its serial number in its own issuer's name as well."""
    try:
        said = child.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return True
    if said.authority_cert_serial_number not in (None, issuer.serial_number):
        return False
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return True
    return said.key_identifier in (None, own.digest)


def _is_for(certificate: x509.Certificate, eku: str, *, is_first: bool) -> bool:
    """A CA that says nothing is for everything; one that does is for that (as all verifiers have it)."""
    try:
        said = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    if usages.oid_of(eku) in said:
        return True
    return ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in said and not (is_first and eku == "timeStamping")


# Names


def name_problems(issuer: x509.Certificate, below: Sequence[x509.Certificate]) -> Iterator[str]:
    """Which names of the certificates below (the first being the end of the path) the issuer must not certify.
    Self-issued CAs between are left out (RFC 5280 section 6.1.4, step b): they are the same CA with another key."""
    limits = constraints.of(issuer)
    if limits is None:
        return
    for index, certificate in enumerate(below):
        if index and _is_self_issued(certificate):
            continue
        found = constraints.judged_names(certificate.subject, reading.general_names(certificate))
        for problem in constraints.violations(limits, found):
            yield f"{_name(issuer)} does not certify this: {problem}"


def refused_names(
    chain: Sequence[x509.Certificate], subject: x509.Name, sans: Sequence[x509.GeneralName]
) -> Iterator[str]:
    """Which names a CA with this chain must not certify, in words."""
    limited = _limited(tuple(chain))
    if not limited:
        return
    found = constraints.judged_names(subject, sans)
    for certificate, limits in limited:
        for problem in constraints.violations(limits, found):
            yield f"the CA {_name(certificate)} does not certify this: {problem}"


@lru_cache(maxsize=64)
def _limited(
    chain: tuple[x509.Certificate, ...],
) -> tuple[tuple[x509.Certificate, x509.NameConstraints], ...]:
    """The certificates that constrain names, with what they say."""
    return tuple((one, limits) for one in chain if (limits := constraints.of(one)) is not None)


def room_below(chain: Sequence[x509.Certificate]) -> int | None:
    """How many CAs may follow in a path below the CA with this chain, None for any number."""
    room: int | None = None
    between = 0
    for certificate in chain:
        limits = _basic_constraints(certificate)
        if limits is not None and limits.path_length is not None:
            left = limits.path_length - between
            room = left if room is None else min(room, left)
        between += not _is_self_issued(certificate)
    return room


def _is_self_issued(certificate: x509.Certificate) -> bool:
    return reading.names_issuer(certificate, certificate)


def _name(certificate: x509.Certificate) -> str:
    try:
        with parsing("the certificate"):
            return repr(certificate.subject.rfc4514_string())
    except Unreadable:
        return "a certificate whose name cannot be read"
