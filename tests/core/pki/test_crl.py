"""CRLs are, byte for byte, what the library's builder makes of the same plan, and read back as planned."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid, TooLarge, Unreadable
from certctl_core.models.certificates import RevocationReason
from certctl_core.pki import crl, keys, names, serials, signing
from certctl_core.pki.ca import Authority
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import CrlPlan, RevokedEntry
from tests import plans

REASONS = tuple(RevocationReason)


def _plan(*entries: RevokedEntry, **changes: Any) -> CrlPlan:
    usual = {"number": 1, "this_update": plans.NOW, "next_update": plans.NOW + timedelta(days=1)}
    listed = changes.pop("entries", entries)
    return CrlPlan(**{**usual, **changes, "entries": crl.entries(listed)})


def _one_of_each_reason() -> list[RevokedEntry]:
    return [RevokedEntry(f"{index + 1:x}", plans.NOW, reason) for index, reason in enumerate(REASONS)]


def _by_the_library(
    authority: Authority, plan: CrlPlan, entries: Iterable[RevokedEntry] = ()
) -> x509.CertificateRevocationList:
    """The same list made by cryptography's builders."""

    def entry(one: RevokedEntry) -> x509.RevokedCertificate:
        builder = x509.RevokedCertificateBuilder().serial_number(serials.to_int(one.serial_number))
        builder = builder.revocation_date(one.revoked_at)
        if one.is_removed:
            builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags.remove_from_crl), critical=False)
        elif one.reason is not RevocationReason.UNSPECIFIED:
            builder = builder.add_extension(x509.CRLReason(crl.FLAGS[one.reason]), critical=False)
        if one.invalid_since is not None:
            date = x509.InvalidityDate(one.invalid_since.replace(tzinfo=None))
            builder = builder.add_extension(date, critical=False)
        return builder.build()

    builder = (
        x509.CertificateRevocationListBuilder(revoked_certificates=[entry(one) for one in entries])
        .issuer_name(authority.certificate.subject)
        .last_update(plan.this_update)
        .next_update(plan.next_update)
        .add_extension(x509.AuthorityKeyIdentifier(authority.key_identifier, None, None), critical=False)
        .add_extension(x509.CRLNumber(plan.number), critical=False)
    )
    if plan.base is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(plan.base), critical=True)
    if plan.addresses:
        names_of = [x509.UniformResourceIdentifier(url) for url in plan.addresses]
        scope = x509.IssuingDistributionPoint(names_of, None, False, False, None, False, False)
        builder = builder.add_extension(scope, critical=True)
    if plan.delta_addresses:
        names_of = [x509.UniformResourceIdentifier(url) for url in plan.delta_addresses]
        fresh = x509.FreshestCRL([x509.DistributionPoint(names_of, None, None, None)])
        builder = builder.add_extension(fresh, critical=False)
    deterministic = signing.deterministic(authority.private_key)
    return builder.sign(
        authority.private_key, signing.hash_for(authority.private_key), ecdsa_deterministic=deterministic
    )


HERE = "http://pki.example.com/.well-known/pki/crl/iss-local"
SHAPES: dict[str, dict[str, Any]] = {
    "complete": {},
    "part": {"addresses": (f"{HERE}/p3", f"{HERE}/{'ab' * 20}-p3")},
    "complete-with-deltas": {"delta_addresses": (f"{HERE}/delta",)},
    "part-with-deltas": {"addresses": (f"{HERE}/p3",), "delta_addresses": (f"{HERE}/p3/delta",)},
    "delta": {"base": 7},
    "delta-of-a-part": {"base": 0, "addresses": (f"{HERE}/p3",)},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", plans.DETERMINISTIC_KINDS)
def test_a_crl_is_what_the_library_makes_byte_for_byte(kind: KeyKind, shape: str) -> None:
    entries = _one_of_each_reason()
    plan = _plan(*entries, number=2**70, **SHAPES[shape])
    expected = _by_the_library(plans.authority(kind), plan, entries).public_bytes(Encoding.DER)
    assert crl.sign_crl(plans.authority(kind), plan) == expected


@pytest.mark.parametrize("kind", plans.DETERMINISTIC_KINDS)
def test_a_long_list_is_signed_as_the_library_signs_it(kind: KeyKind) -> None:
    """What is long is hashed in parts."""
    entries = [RevokedEntry(f"{n:x}", plans.NOW, RevocationReason.SUPERSEDED) for n in range(2**100, 2**100 + 30_000)]
    plan = _plan(*entries)
    assert sum(map(len, plan.entries)) > 1 << 20
    expected = _by_the_library(plans.authority(kind), plan, entries).public_bytes(Encoding.DER)
    assert crl.sign_crl(plans.authority(kind), plan) == expected


@pytest.mark.parametrize("kind", [KeyKind.ML_DSA_44, KeyKind.ML_DSA_65])
def test_an_ml_dsa_crl_differs_from_the_librarys_in_its_signature_alone(kind: KeyKind) -> None:
    entries = _one_of_each_reason()
    plan = _plan(*entries)
    signed = crl.read(crl.sign_crl(plans.authority(kind), plan))
    expected = _by_the_library(plans.authority(kind), plan, entries)
    assert signed.tbs_certlist_bytes == expected.tbs_certlist_bytes
    assert signed.signature_algorithm_oid == expected.signature_algorithm_oid
    assert crl.is_signed_by(signed, plans.authority(kind).certificate)


TIMES = st.datetimes(datetime(1950, 1, 1), datetime(2060, 1, 1))  # noqa: DTZ001


@given(
    st.lists(
        st.tuples(st.integers(1, serials.MAX_OURS), TIMES, st.sampled_from(REASONS), st.none() | TIMES, st.booleans()),
        unique_by=lambda one: one[0],
        max_size=40,
    ),
    st.integers(0, 2**159 - 1),
)
def test_any_list_is_what_the_library_makes(
    rows: list[tuple[int, datetime, RevocationReason, datetime | None, bool]], number: int
) -> None:
    entries = [
        RevokedEntry(
            serials.canonical(n),
            at.replace(tzinfo=UTC),
            reason,
            since.replace(tzinfo=UTC, microsecond=0) if since else None,
            is_removed,
        )
        for n, at, reason, since, is_removed in rows
    ]
    plan = _plan(*entries, number=number)
    expected = _by_the_library(plans.authority(), plan, entries).public_bytes(Encoding.DER)
    assert crl.sign_crl(plans.authority(), plan) == expected


def test_an_invalidity_date_and_a_removal_read_back() -> None:
    dated = RevokedEntry("1", plans.NOW, RevocationReason.KEY_COMPROMISE, plans.NOW - timedelta(days=3))
    removed = RevokedEntry("2", plans.NOW, RevocationReason.CERTIFICATE_HOLD, is_removed=True)
    signed = crl.read(crl.sign_crl(plans.authority(), _plan(dated, removed, number=9, base=8)))
    assert [crl.entry_of(signed, one.serial_number) for one in (dated, removed)] == [dated, removed]


def test_a_crl_reads_back_as_planned() -> None:
    entries = _one_of_each_reason()
    signed = crl.read(crl.sign_crl(plans.authority(), _plan(*entries, number=42)))
    assert crl.number_of(signed) == 42
    assert signed.last_update_utc == plans.NOW
    assert signed.next_update_utc == plans.NOW + timedelta(days=1)
    assert [crl.entry_of(signed, one.serial_number) for one in entries] == entries
    assert crl.entry_of(signed, "ff") is None
    assert crl.is_signed_by(signed, plans.authority().certificate)
    assert not crl.is_signed_by(signed, plans.authority(KeyKind.ECDSA_P384).certificate)


def test_an_empty_crl_has_no_list_of_revoked_certificates() -> None:
    signed = crl.read(crl.sign_crl(plans.authority(), _plan()))
    assert len(signed) == 0
    assert _by_the_library(plans.authority(), _plan()).tbs_certlist_bytes == signed.tbs_certlist_bytes


def test_an_unspecified_reason_is_said_by_saying_nothing() -> None:
    signed = crl.read(
        crl.sign_crl(plans.authority(), _plan(RevokedEntry("1", plans.NOW, RevocationReason.UNSPECIFIED)))
    )
    assert list(signed[0].extensions) == []


def test_times_in_other_zones_are_written_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    local = _plan(RevokedEntry("1", plans.NOW.astimezone(berlin), RevocationReason.SUPERSEDED))
    utc = _plan(RevokedEntry("1", plans.NOW, RevocationReason.SUPERSEDED))
    assert crl.sign_crl(plans.authority(), local) == crl.sign_crl(plans.authority(), utc)


@pytest.mark.parametrize(
    "changes",
    [
        {"number": -1},
        {"number": 2**159},
        {"next_update": plans.NOW},
        {"base": 1},
        {"base": -1},
        {"number": 2, "base": 1, "delta_addresses": ("http://pki.example.com/delta",)},
        {"this_update": plans.NOW.replace(tzinfo=None)},
        {"entries": [RevokedEntry("1", plans.NOW, RevocationReason.SUPERSEDED)] * 2},
        {"entries": [RevokedEntry("0", plans.NOW, RevocationReason.SUPERSEDED)]},
        {"entries": [RevokedEntry("1", plans.NOW.replace(tzinfo=None), RevocationReason.SUPERSEDED)]},
    ],
)
def test_a_plan_no_crl_can_follow_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        crl.sign_crl(plans.authority(), _plan(**changes))


def test_a_ca_that_may_not_sign_crls_does_not() -> None:
    key = plans.key(name="no-crls")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(names.subject("ca.example"))
        .issuer_name(names.subject("ca.example"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(plans.NOW)
        .not_valid_after(plans.NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, signing.hash_for(key))
    )
    with pytest.raises(Invalid, match="cRLSign"):
        crl.sign_crl(Authority((certificate,), key), _plan())


def test_the_time_for_a_list_grows_with_its_length() -> None:
    """A hundred thousand entries: with a quadratic builder this would take half a minute."""
    entries = [RevokedEntry(f"{n:x}", plans.NOW, RevocationReason.SUPERSEDED) for n in range(1, 100_001)]
    signed = crl.read(crl.sign_crl(plans.authority(), _plan(*entries)))
    assert len(signed) == 100_000
    assert crl.entry_of(signed, "186a0") == entries[-1]


def test_a_foreign_crl_may_have_no_number_and_a_reason_we_do_not_use() -> None:
    authority = plans.authority()
    builder = x509.RevokedCertificateBuilder().serial_number(1).revocation_date(plans.NOW)
    entry = builder.add_extension(x509.CRLReason(x509.ReasonFlags.aa_compromise), critical=False).build()
    foreign = (
        x509.CertificateRevocationListBuilder(revoked_certificates=[entry])
        .issuer_name(authority.certificate.subject)
        .last_update(plans.NOW)
        .next_update(plans.NOW + timedelta(days=1))
        .sign(authority.private_key, signing.hash_for(authority.private_key))
    )
    assert crl.number_of(foreign) is None
    with pytest.raises(Unreadable, match="reason"):
        crl.entry_of(foreign, "1")


VALID = crl.sign_crl(plans.authority(), _plan(*_one_of_each_reason()))


def test_what_is_no_crl_is_not_read() -> None:
    for wrong in (b"", b"0", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", VALID + b"\0"):
        with pytest.raises(Unreadable):
            crl.read(wrong)
    pem = crl.read(VALID).public_bytes(Encoding.PEM)
    assert crl.read(pem) == crl.read(VALID)


def test_an_endless_crl_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crl, "MAX_CRL_BYTES", 100)
    with pytest.raises(TooLarge):
        crl.read(VALID)


@given(plans.mutations(VALID))
def test_broken_crls_give_typed_errors(broken: bytes) -> None:
    with plans.only_typed_errors():
        found = crl.read(broken)
        crl.number_of(found)
        crl.is_signed_by(found, plans.authority().certificate)
        crl.entry_of(found, "3")


def test_the_ca_and_its_crl_have_one_key_identifier() -> None:
    signed = crl.read(VALID)
    identifier = signed.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier == keys.key_identifier(plans.authority().private_key.public_key())
    assert keys.same_key(plans.authority().certificate, plans.authority().private_key)
