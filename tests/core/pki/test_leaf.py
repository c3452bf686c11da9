"""Leafs are assembled by hand and must be what the library's builder makes of the same plan, byte for byte."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.pki import ca, keys, names, serials, signing, usages
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import LeafPlan
from tests import plans

ROOT: Final = ca.create_root("Everlasting", KeyKind.ECDSA_P256, plans.NOW - timedelta(days=1), timedelta(days=365 * 60))


def built(authority: Authority, plan: LeafPlan) -> x509.Certificate:
    """What the library makes of it."""
    subject = names.subject(plan.common_name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject)
        .public_key(plan.public_key)
        .serial_number(serials.to_int(plan.serial_number))
        .not_valid_before(plan.not_before)
        .not_valid_after(plan.not_after)
        .add_extension(x509.AuthorityKeyIdentifier(authority.key_identifier, None, None), critical=False)
        .add_extension(x509.SubjectKeyIdentifier(keys.key_identifier(plan.public_key)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usages.extension(usages.key_usage(plan.public_key, plan.ekus)), critical=True)
    )
    if plan.ekus:
        extended = x509.ExtendedKeyUsage([usages.oid_of(name) for name in plan.ekus])
        builder = builder.add_extension(extended, critical="timeStamping" in plan.ekus)
    if plan.sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(plan.sans), critical=not subject.rdns)
    if plan.crl_urls:
        urls = [x509.UniformResourceIdentifier(url) for url in plan.crl_urls]
        points = x509.CRLDistributionPoints([x509.DistributionPoint(urls, None, None, None)])
        builder = builder.add_extension(points, critical=False)
    access = [(AuthorityInformationAccessOID.OCSP, url) for url in plan.ocsp_urls]
    access += [(AuthorityInformationAccessOID.CA_ISSUERS, url) for url in plan.ca_issuers_urls]
    if access:
        described = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in access]
        builder = builder.add_extension(x509.AuthorityInformationAccess(described), critical=False)
    if plan.must_staple:
        builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
    key = authority.private_key
    return builder.sign(key, signing.hash_for(key), ecdsa_deterministic=signing.deterministic(key))


@pytest.mark.parametrize("kind", plans.QUICK_KINDS)
@pytest.mark.parametrize("leaf_kind", plans.QUICK_KINDS)
def test_a_leaf_of_any_key_is_what_the_library_builds(kind: KeyKind, leaf_kind: KeyKind) -> None:
    plan = plans.plan(public_key=plans.key(leaf_kind).public_key())
    ours, theirs = ca.sign_leaf(plans.authority(kind), plan), built(plans.authority(kind), plan)
    assert ours.tbs_certificate_bytes == theirs.tbs_certificate_bytes
    assert ours.signature_algorithm_oid == theirs.signature_algorithm_oid
    if kind in plans.DETERMINISTIC_KINDS:
        assert ours.public_bytes(Encoding.DER) == theirs.public_bytes(Encoding.DER)


def _days(first: datetime, last: datetime) -> st.SearchStrategy[datetime]:
    """Times in whole seconds."""
    return st.integers(0, int((last - first).total_seconds())).map(lambda seconds: first + timedelta(seconds=seconds))


_NAMES: Final = st.sampled_from(
    ("b.example.com", "*.example.com", "192.0.2.1", "2001:db8::1", "spiffe://example.com/a", "carol@example.com")
)
_URLS: Final = st.lists(
    st.sampled_from(("http://pki.example/one", "https://pki.example:8443/two?x=1", "http://[2001:db8::1]/three")),
    unique=True,
    max_size=3,
).map(tuple)


@given(
    common_name=st.sampled_from(("", "a.example.com", "192.0.2.7", "alice@example.com", f"{'a' * 60}.example.com")),
    sans=st.lists(_NAMES, unique=True, min_size=1, max_size=4),
    serial=st.integers(1, serials.MAX_OURS),
    begins=_days(datetime(1950, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
    ends=_days(datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(2080, 1, 1, tzinfo=UTC)),
    ekus=st.lists(st.sampled_from(("serverAuth", "clientAuth", "codeSigning", "emailProtection")), unique=True).map(
        tuple
    ),
    urls=st.tuples(_URLS, _URLS, _URLS),
    must_staple=st.booleans(),
)
def test_a_leaf_of_any_plan_is_what_the_library_builds(
    common_name: str,
    sans: list[str],
    serial: int,
    begins: datetime,
    ends: datetime,
    ekus: tuple[str, ...],
    urls: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]],
    must_staple: bool,
) -> None:
    plan = plans.plan(
        common_name=common_name,
        sans=names.names_of(common_name, sans),
        serial_number=serials.canonical(serial),
        not_before=begins,
        not_after=ends,
        ekus=ekus,
        crl_urls=urls[0],
        ocsp_urls=urls[1],
        ca_issuers_urls=urls[2],
        must_staple=must_staple,
    )
    assert ca.sign_leaf(ROOT, plan) == built(ROOT, plan)
