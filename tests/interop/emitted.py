"""Everything that our PKI signs, once of each shape, for linters to look at.

Shapes are enumerated from the code (kinds of key, usages, reasons, kinds of name), so that a new one is linted from the
day it is there. `MAKERS` has a row for every function of `certctl_core.pki` that signs; `test_linters` finds the
functions that have none.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from typing import Final

from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import ca, crl, names, ocsp, serials, usages
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import CrlPlan, LeafPlan, OcspAnswer, OcspQuestion, RevokedEntry
from certctl_core.policy import profile
from tests import plans

NOW: Final = datetime.now(UTC).replace(microsecond=0)
BEGINS: Final = NOW - timedelta(hours=1)


class Form(Enum):
    """What a linter must take the bytes for."""

    CERTIFICATE = "certificate"
    CRL = "CRL"
    OCSP = "OCSP response"


@frozen
class Artefact:
    """Something signed, and the certificate whose key signed it."""

    what: str
    form: Form
    der: bytes
    signer: x509.Certificate


def _certificate(what: str, one: x509.Certificate, signer: x509.Certificate) -> Artefact:
    return Artefact(what, Form.CERTIFICATE, one.public_bytes(Encoding.DER), signer)


# CAs


@cache
def root(kind: KeyKind) -> Authority:
    return ca.create_root("Linted Root", kind, BEGINS, timedelta(days=3650))


@cache
def issuing(kind: KeyKind) -> Authority:
    return ca.create_intermediate(root(kind), "Linted CA", kind, BEGINS, timedelta(days=1825))


def authorities(kind: KeyKind) -> Iterator[Artefact]:
    """Roots and intermediates, with and without a path length, and one that outlives the years of UTCTime."""
    above = root(kind).certificate
    yield _certificate("root", above, above)
    yield _certificate("intermediate", issuing(kind).certificate, above)
    limited = ca.create_root("Limited", kind, BEGINS, timedelta(days=3650), path_length=2)
    yield _certificate("root with a path length", limited.certificate, limited.certificate)
    policy = ca.create_intermediate(limited, "Policy CA", kind, BEGINS, timedelta(days=365), path_length=1)
    yield _certificate("intermediate with a path length", policy.certificate, limited.certificate)
    long = ca.create_root("Until 2070", kind, BEGINS, timedelta(days=365 * 45))
    yield _certificate("root beyond 2050", long.certificate, long.certificate)


# Leafs

_EVERY_NAME: Final = (
    "b.example.com", "*.example.com", "xn--bcher-kva.example.com", "192.0.2.1", "2001:db8::1", "alice@example.com",
    "https://example.com/a", "spiffe://example.com/a",
)  # fmt: skip

_USAGES: Final = (
    *((usage,) for usage in usages.EKUS),
    profile.ekus(None),
    tuple(usage for usage in usages.EKUS if usage != "timeStamping"),
    (),
)


def _plan(kind: KeyKind, **changes: object) -> LeafPlan:
    usual = LeafPlan(
        common_name="a.example.com",
        sans=names.names_of("a.example.com", _EVERY_NAME),
        public_key=plans.key(kind).public_key(),
        serial_number=serials.new_serial(),
        not_before=BEGINS,
        not_after=BEGINS + timedelta(days=90) - timedelta(seconds=1),
        crl_urls=("http://pki.example.com/.well-known/pki/crl/iss-local",),
        ocsp_urls=("http://pki.example.com/.well-known/pki/ocsp/iss-local",),
        ca_issuers_urls=("http://pki.example.com/.well-known/pki/ca/iss-local",),
    )
    return evolve(usual, **changes)


def _shapes(kind: KeyKind) -> Iterator[tuple[str, LeafPlan]]:
    for wanted in _USAGES:
        yield f"leaf for {'+'.join(wanted) or 'nothing in particular'}", _plan(kind, ekus=wanted)
    yield "server, plainly", _plan(kind, sans=names.names_of("a.example.com", ()))
    yield "must-staple", _plan(kind, must_staple=True)
    for name in _EVERY_NAME:
        yield f"no common name, only {name}", _plan(kind, common_name="", sans=names.names_of("", [name]))
    for name in ("192.0.2.1", "2001:db8::1", "alice@example.com", "*.example.com", "localhost", "a_b.example.com"):
        yield f"named {name}", _plan(kind, common_name=name, sans=names.names_of(name, ()))
    long = f"{'a' * 63}.{'b' * 63}.example.com"
    yield "a name too long for a subject", _plan(kind, common_name=long, sans=names.names_of(long, ()))
    yield "no SAN", _plan(kind, sans=(), ekus=("clientAuth",))
    for minutes in (1, 59):
        ends = NOW + timedelta(minutes=minutes)
        yield f"for {minutes} min", _plan(kind, not_after=ends, crl_urls=(), ocsp_urls=(), ca_issuers_urls=())
    many = tuple(f"host-{number}.example.com" for number in range(names.MAX_SANS - 1))
    yield "as many names as can be", _plan(kind, sans=names.names_of("a.example.com", many))


def leafs(kind: KeyKind) -> Iterator[Artefact]:
    signer = issuing(kind)
    for what, plan in _shapes(kind):
        yield _certificate(what, ca.sign_leaf(signer, plan), signer.certificate)


# CRLs


def _entries(reasons: Sequence[RevocationReason]) -> list[RevokedEntry]:
    return [RevokedEntry(serials.new_serial(), BEGINS, reason) for reason in reasons]


def crls(kind: KeyKind) -> Iterator[Artefact]:
    """Full lists, empty and with every reason."""
    signer = issuing(kind)
    for what, entries in {"empty": [], "every reason": _entries(tuple(RevocationReason))}.items():
        plan = CrlPlan(2**64 + 5, NOW, NOW + timedelta(days=7), crl.entries(entries))
        yield Artefact(f"CRL, {what}", Form.CRL, crl.sign_crl(signer, plan), signer.certificate)


# OCSP


def _answers() -> Iterator[tuple[str, OcspAnswer]]:
    until = NOW + timedelta(hours=12)
    yield "good", OcspAnswer(True, NOW, until)
    yield "unknown", OcspAnswer(False, NOW, until)
    for reason in RevocationReason:
        yield f"revoked: {reason.value}", OcspAnswer(True, NOW, until, BEGINS, reason)


def _questions(issuer: x509.Certificate) -> Iterator[tuple[str, OcspQuestion]]:
    for algorithm in (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):  # noqa: S303
        question = ocsp.question_about(issuer, serials.new_serial(), algorithm)
        yield f"by {algorithm.name}", question
        yield f"by {algorithm.name}, with nonce", evolve(question, nonce=bytes(range(32)))


def ocsp_responses(kind: KeyKind) -> Iterator[Artefact]:
    signer = issuing(kind)
    for asked, question in _questions(signer.certificate):
        for said, answer in _answers():
            der = ocsp.sign_response(signer, question, answer)
            yield Artefact(f"OCSP {asked}, {said}", Form.OCSP, der, signer.certificate)


MAKERS: Final[tuple[Callable[[KeyKind], Iterator[Artefact]], ...]] = (authorities, leafs, crls, ocsp_responses)


def everything(kind: KeyKind) -> Iterator[Artefact]:
    """All that is signed with keys of this kind."""
    for make in MAKERS:
        yield from make(kind)
