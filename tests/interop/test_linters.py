"""Linters that others wrote find nothing amiss with what we sign, except what there is a written reason for."""

import ast
import shutil
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

import certctl_core.pki
from certctl_core.pki.keys import KeyKind
from tests import plans
from tests.interop import emitted, linters, reasons
from tests.interop.emitted import Artefact, Form
from tests.interop.linters import Finding
from tests.interop.peers import Peer, peer

pytestmark = pytest.mark.interop

KINDS = tuple(KeyKind)
RFC_SOURCES = ("Community", "RFC3279", "RFC5280", "RFC5480", "RFC5891", "RFC6962", "RFC8813")
FOR_BROWSERS = ("root", "intermediate, plainly", "server, plainly")


@cache
def _artefacts(kind: KeyKind) -> tuple[Artefact, ...]:
    return tuple(emitted.everything(kind))


def _for_browsers(kind: KeyKind) -> Iterator[Artefact]:
    """Of the CAs and servers' certificates those that the Baseline Requirements could be about, and all CRLs."""
    return (one for one in _artefacts(kind) if one.what in FOR_BROWSERS or one.form is Form.CRL)


@pytest.fixture
def zlint() -> Peer:
    if shutil.which("go") is None and shutil.which("zlint") is None:
        pytest.skip("zlint is made with Go, and neither is on this machine")
    return peer("zlint")


@cache
def _pkilint(kind: KeyKind) -> tuple[Finding, ...]:
    return tuple(finding for one in _artefacts(kind) for finding in linters.pkilint(one))


@cache
def _pkilint_for_browsers(kind: KeyKind) -> tuple[Finding, ...]:
    certificates = (one for one in _for_browsers(kind) if one.form is Form.CERTIFICATE)
    return tuple(finding for one in certificates for finding in linters.pkilint_for_browsers(one))


# pkilint


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.value))
def test_pkilint_finds_nothing_amiss(kind: KeyKind) -> None:
    assert reasons.unexplained(_pkilint(kind), reasons.BY_PKILINT) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.value))
def test_pkilint_knows_why_browsers_would_mind(kind: KeyKind) -> None:
    assert reasons.unexplained(_pkilint_for_browsers(kind), reasons.FOR_BROWSERS_BY_PKILINT) == []


def test_every_reason_given_to_pkilint_is_needed() -> None:
    found = [finding for kind in KINDS for finding in _pkilint(kind)]
    assert reasons.unneeded(found, reasons.BY_PKILINT) == []
    found = [finding for kind in KINDS for finding in _pkilint_for_browsers(kind)]
    assert reasons.unneeded(found, reasons.FOR_BROWSERS_BY_PKILINT) == []


# zlint


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.value))
def test_zlint_finds_nothing_amiss(zlint: Peer, kind: KeyKind, tmp_path: Path) -> None:
    found = linters.zlint(zlint, _artefacts(kind), tmp_path, RFC_SOURCES)
    assert reasons.unexplained(found, reasons.BY_ZLINT) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.value))
def test_zlint_knows_why_browsers_would_mind(zlint: Peer, kind: KeyKind, tmp_path: Path) -> None:
    found = linters.zlint(zlint, _for_browsers(kind), tmp_path)
    assert reasons.unexplained(found, reasons.FOR_BROWSERS_BY_ZLINT) == []


def test_every_reason_given_to_zlint_is_needed(zlint: Peer, tmp_path: Path) -> None:
    found = linters.zlint(zlint, _artefacts(KeyKind.ECDSA_P256), tmp_path, RFC_SOURCES)
    assert reasons.unneeded(found, reasons.BY_ZLINT) == []
    kinds = KeyKind.RSA_2048, KeyKind.ED25519, KeyKind.ML_DSA_44
    found = (finding for kind in kinds for finding in linters.zlint(zlint, _for_browsers(kind), tmp_path))
    assert reasons.unneeded(found, reasons.FOR_BROWSERS_BY_ZLINT) == []


# Do they look at all, and at all of it?


def _faulty() -> Artefact:
    """A CA certificate without key identifiers, whose basicConstraints nobody has to look at."""
    private_key = plans.key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Careless CA")])
    builder = x509.CertificateBuilder(name, name, private_key.public_key(), 1, emitted.BEGINS, emitted.NOW)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
    made = builder.sign(private_key, hashes.SHA256())
    return Artefact("faulty", Form.CERTIFICATE, made.public_bytes(Encoding.DER), made)


def test_pkilint_finds_what_is_amiss() -> None:
    assert len(list(linters.pkilint(_faulty()))) >= 3
    signed_by_another = evolve(_faulty(), signer=emitted.root(KeyKind.ECDSA_P256).certificate)
    codes = {finding.code for finding in linters.pkilint(signed_by_another)}
    assert "pkix.signature_verification_failed" in codes


def test_zlint_finds_what_is_amiss(zlint: Peer, tmp_path: Path) -> None:
    codes = {finding.code for finding in linters.zlint(zlint, [_faulty()], tmp_path, RFC_SOURCES)}
    assert codes == {"e_basic_constraints_not_critical", "e_ext_subject_key_identifier_missing_ca"}


_PACKAGE = Path(certctl_core.pki.__file__).parent


def _signers() -> Iterator[tuple[str, str]]:
    """File and name of every function of our PKI that calls something named `sign`."""
    for path in _PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any(_is_signing(inner) for inner in ast.walk(node)):
                yield path.name, node.name


def _is_signing(node: ast.AST) -> bool:
    """Messages of `cms` apart: what is signed there is nothing that linters know."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "sign":
        return False
    return not (isinstance(node.func.value, ast.Name) and node.func.value.id == "cms")


def _called(artefacts: Iterable[object]) -> set[tuple[str, str]]:
    """The functions of our PKI that are called while these are made."""
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for _ in artefacts:
            pass
    finally:
        sys.setprofile(before)
    places = ((Path(code.co_filename), code.co_name) for code in seen)
    return {(path.name, name) for path, name in places if path.is_relative_to(_PACKAGE)}


NOT_LINTED = {
    ("signing.py", "sign"): "what all the others sign with",
    ("checkpoint.py", "sign"): "a note of the audit trail in text (C2SP signed-note)",
    ("csr.py", "build"): "a request, which neither linter reads; OpenSSL verifies it",
    ("cacert.py", "request"): "a request too",
    ("signed.py", "_signature"): "a message; OpenSSL verifies it",
}


def test_everything_that_is_signed_is_linted() -> None:
    emitted.root.cache_clear()
    emitted.issuing.cache_clear()
    signers = set(_signers())
    missed = signers - _called(emitted.everything(KeyKind.ECDSA_P256)) - set(NOT_LINTED)
    assert missed == set(), "tests/interop/emitted.py makes nothing with these"
    assert set(NOT_LINTED) <= signers
