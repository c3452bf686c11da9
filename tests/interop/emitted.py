"""Everything that our PKI signs, once of each shape, for linters to look at.

Shapes are enumerated from the code (kinds of key, usages, reasons, kinds of name), so that a new one is linted from the
day it is there. `MAKERS` has a row for every function of `certctl_core.pki` that signs; `test_linters` finds the
functions that have none.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, Final

from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.models.certificates import RevocationReason
from certctl_core.models.delegates import Purpose
from certctl_core.pki import ca, constraints, crl, delegate, names, ocsp, serials, usages
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind, PrivateKey
from certctl_core.pki.plan import (
    CaPlan,
    CrlPlan,
    DelegatePlan,
    LeafPlan,
    OcspAnswer,
    OcspRequest,
    PolicyInformation,
    RevokedEntry,
)
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
    yield from _described(kind)
    long = ca.create_root("Until 2070", kind, BEGINS, timedelta(days=365 * 45))
    yield _certificate("root beyond 2050", long.certificate, long.certificate)


def _described(kind: KeyKind) -> Iterator[Artefact]:
    """CAs with everything that can be in a CA's certificate, the one below the other."""
    permitted = ("DNS:example.com", "IP:192.0.2.0/24", "IP:2001:db8::/32", "email:example.com", "URI:.example.com")
    plan = CaPlan(
        subject=x509.Name.from_rfc4514_string("CN=Described CA,OU=PKI,O=Example,L=Berlin,C=DE"),
        public_key=plans.key(kind, "described").public_key(),
        serial_number=serials.new_serial(),
        not_before=BEGINS,
        not_after=NOW + timedelta(days=400),
        path_length=0,
        name_constraints=constraints.extension((*permitted, "dirName:O=Example,C=DE"), ("DNS:secret.example.com",)),
        policies=(PolicyInformation("1.3.6.1.4.1.32473.1.1", "https://pki.example.com/cps"),),
        crl_urls=("http://pki.example.com/.well-known/pki/crl/iss-root",),
        ocsp_urls=("http://pki.example.com/.well-known/pki/ocsp/iss-root",),
        ca_issuers_urls=("http://pki.example.com/.well-known/pki/ca/iss-root",),
    )
    above = ca.self_signed(
        evolve(plan, public_key=plans.key(kind, "above").public_key(), path_length=None, name_constraints=None),
        plans.key(kind, "above"),
    )
    yield _certificate("root with everything", above.certificate, above.certificate)
    plan = evolve(plan, subject=x509.Name.from_rfc4514_string("CN=Below,O=Example,C=DE"))
    yield _certificate("intermediate with everything", ca.sign_ca(above, plan)[0], above.certificate)
    plan = evolve(plan, serial_number=serials.new_serial(), name_constraints=None, policies=())
    yield _certificate("intermediate, plainly", ca.sign_ca(above, plan)[0], above.certificate)


# Delegates


def delegates(kind: KeyKind) -> Iterator[Artefact]:
    """The certificate of a delegate for each purpose, with the kind of key that it gets."""
    signer = issuing(kind)
    for purpose in Purpose:
        private_key = plans.key(delegate.key_kind(signer.certificate, purpose), purpose.value)
        yield _certificate(f"delegate for {purpose.value}", _delegate(signer, purpose, private_key), signer.certificate)


def _delegate(signer: Authority, purpose: Purpose, private_key: PrivateKey) -> x509.Certificate:
    plan = DelegatePlan(
        purpose, "Delegate", private_key.public_key(), serials.new_serial(), BEGINS, NOW + timedelta(days=30)
    )
    return delegate.certify(signer, plan)


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
        yield f"for {minutes} min", _plan(kind, not_after=ends, crl_urls=(), ocsp_urls=(), is_short_lived=True)
    yield "without addresses", _plan(kind, crl_urls=(), ocsp_urls=(), ca_issuers_urls=())
    many = tuple(f"host-{number}.example.com" for number in range(names.MAX_SANS - 1))
    yield "as many names as can be", _plan(kind, sans=names.names_of("a.example.com", many))


def leafs(kind: KeyKind) -> Iterator[Artefact]:
    signer = issuing(kind)
    for what, plan in _shapes(kind):
        yield _certificate(what, ca.sign_leaf(signer, plan), signer.certificate)


# CRLs


def _revoked() -> Iterator[RevokedEntry]:
    """With every reason, and with an invalidity date."""
    for reason in RevocationReason:
        yield RevokedEntry(serials.new_serial(), BEGINS, reason)
        yield RevokedEntry(serials.new_serial(), NOW, reason, invalid_since=BEGINS)


def _lists() -> Iterator[tuple[str, CrlPlan]]:
    """Complete ones and deltas, of all certificates and of a part."""
    empty = CrlPlan(2**64 + 5, NOW, NOW + timedelta(days=7))
    full = evolve(empty, entries=crl.entries(_revoked()))
    lifted = RevokedEntry(serials.new_serial(), BEGINS, RevocationReason.CERTIFICATE_HOLD, is_removed=True)
    at = "http://pki.example.com/.well-known/pki/crl/iss-local"
    part: dict[str, Any] = {"addresses": (f"{at}/17",)}
    delta: dict[str, Any] = {"base": 2**64}
    for of, changes in {"all": {}, "a part": part}.items():
        yield f"CRL of {of}, empty", evolve(empty, **changes)
        yield f"CRL of {of}, with every reason", evolve(full, **changes)
        yield f"CRL of {of}, with deltas", evolve(full, delta_addresses=(f"{at}/delta",), **changes)
        yield f"delta of {of}, empty", evolve(empty, **delta, **changes)
        changed = crl.entries([*_revoked(), lifted])
        yield f"delta of {of}, with every reason", evolve(full, entries=changed, **delta, **changes)


def crls(kind: KeyKind) -> Iterator[Artefact]:
    signer = issuing(kind)
    for what, plan in _lists():
        yield Artefact(what, Form.CRL, crl.sign_crl(signer, plan), signer.certificate)


# OCSP


def _answers() -> Iterator[tuple[str, OcspAnswer]]:
    until = NOW + timedelta(hours=12)
    yield "good", OcspAnswer(True, NOW, until)
    yield "unknown", OcspAnswer(False, NOW, until)
    yield "good though expired", OcspAnswer(True, NOW, until, archive_cutoff=BEGINS)
    for reason in RevocationReason:
        yield f"revoked: {reason.value}", OcspAnswer(True, NOW, until, BEGINS, reason)


def _requests(issuer: x509.Certificate) -> Iterator[tuple[str, OcspRequest]]:
    for name in ocsp.HASH_NAMES:
        request = ocsp.request_about(issuer, serials.new_serial(), name)
        yield f"by {name}", request
        yield f"by {name}, with nonce", evolve(request, nonce=bytes(range(32)))


def ocsp_responses(kind: KeyKind) -> Iterator[Artefact]:
    """By the CA itself, and by a delegate that it has certified."""
    signer = issuing(kind)
    private_key = plans.key(delegate.key_kind(signer.certificate, Purpose.OCSP), Purpose.OCSP.value)
    certified = _delegate(signer, Purpose.OCSP, private_key)
    for who, own, key in (("CA", signer.certificate, signer.private_key), ("delegate", certified, private_key)):
        responder = ocsp.Responder(signer.certificate, own, key)
        for asked, request in _requests(signer.certificate):
            for said, answer in _answers():
                der = responder.respond(request, [answer], NOW)
                yield Artefact(f"OCSP by {who} {asked}, {said}", Form.OCSP, der, own)
    several = OcspRequest(tuple(request.questions[0] for _, request in _requests(signer.certificate)))
    der = responder.respond(several, [answer for _, answer in _answers()][: len(several.questions)], NOW)
    yield Artefact("OCSP about several", Form.OCSP, der, certified)


MAKERS: Final[tuple[Callable[[KeyKind], Iterator[Artefact]], ...]] = (
    authorities, delegates, leafs, crls, ocsp_responses,
)  # fmt: skip


def everything(kind: KeyKind) -> Iterator[Artefact]:
    """All that is signed with keys of this kind."""
    for make in MAKERS:
        yield from make(kind)
