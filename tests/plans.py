"""CAs, plans and broken bytes for tests of everything that signs and reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import strategies as st

from certctl_core.errors import CertctlError
from certctl_core.models.delegates import Purpose
from certctl_core.pki import ca, keys, names
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind, PrivateKey
from certctl_core.pki.plan import DelegatePlan, LeafPlan

NOW = datetime(2026, 11, 23, 10, 20, 30, tzinfo=UTC)
QUICK_KINDS = tuple(kind for kind in KeyKind if kind not in (KeyKind.RSA_3072, KeyKind.RSA_4096))
"""Kinds that are made in milliseconds."""

DETERMINISTIC_KINDS = tuple(kind for kind in QUICK_KINDS if not kind.value.startswith("ML-DSA"))


_KEYS: dict[tuple[KeyKind, str], PrivateKey] = {}
_AUTHORITIES: dict[KeyKind, Authority] = {}


def key(kind: KeyKind = KeyKind.ECDSA_P256, name: str = "leaf") -> PrivateKey:
    """The same key for the same name, for as long as the tests run."""
    if (kind, name) not in _KEYS:
        _KEYS[kind, name] = keys.generate(kind)
    return _KEYS[kind, name]


def authority(kind: KeyKind = KeyKind.ECDSA_P256) -> Authority:
    """A root of this kind that began a day before `NOW` and lasts ten years."""
    if kind not in _AUTHORITIES:
        _AUTHORITIES[kind] = ca.create_root("CertCtl Local CA", kind, NOW - timedelta(days=1), timedelta(days=3650))
    return _AUTHORITIES[kind]


def delegate(purpose: Purpose, **changes: Any) -> DelegatePlan:
    """A delegate of a month, with `changes`."""
    usual = DelegatePlan(
        purpose=purpose,
        common_name=f"A delegate for {purpose.value}",
        public_key=key(KeyKind.RSA_2048 if purpose is Purpose.RA else KeyKind.ECDSA_P256, "delegate").public_key(),
        serial_number="5e00000000000000000000000000000000000001",
        not_before=NOW - timedelta(minutes=10),
        not_after=NOW + timedelta(days=30),
    )
    return evolve(usual, **changes)


def plan(**changes: Any) -> LeafPlan:
    """A leaf for a.example.com with everything that can be in one, and `changes`."""
    usual = LeafPlan(
        common_name="a.example.com",
        sans=names.names_of("a.example.com", ["b.example.com", "192.0.2.1", "2001:db8::1", "spiffe://example.com/a"]),
        public_key=key().public_key(),
        serial_number="7f00000000000000000000000000000000000001",
        not_before=NOW - timedelta(minutes=5),
        not_after=NOW + timedelta(days=90) - timedelta(minutes=5, seconds=1),
        ekus=("serverAuth", "clientAuth"),
        must_staple=True,
        crl_urls=("http://pki.example.com/crl/iss-local",),
        ocsp_urls=("http://pki.example.com/ocsp/iss-local",),
        ca_issuers_urls=("http://pki.example.com/ca/iss-local",),
    )
    return evolve(usual, **changes)


def weak_rsa() -> rsa.RSAPrivateKey:
    """1024 bits: readable, and never to be certified."""
    return rsa.generate_private_key(65537, 1024)  # noqa: S505


@contextmanager
def only_typed_errors() -> Iterator[None]:
    """What is read within may be refused, with words, and must not break anything."""
    try:
        yield
    except CertctlError as refused:
        if not refused.message:
            raise AssertionError("an error without words") from refused


@st.composite
def mutations(draw: st.DrawFn, original: bytes) -> bytes:
    """`original` with a few bytes changed, removed or added, or its end cut off."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(("change", "change", "remove", "insert", "cut"))):
            case "change" if data:
                data[at] = draw(st.integers(0, 255))
            case "remove":
                del data[at : at + draw(st.integers(1, 4))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case "cut":
                del data[at:]
            case _:
                data += b"\0"
    return bytes(data)
