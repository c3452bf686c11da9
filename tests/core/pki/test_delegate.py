"""Certificates of delegates."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certctl_core.errors import Invalid
from certctl_core.models.delegates import Purpose
from certctl_core.pki import ca, delegate, keys
from certctl_core.pki.keys import KeyKind
from tests import plans


def extensions(of: x509.Certificate) -> dict[str, tuple[bool, x509.ExtensionType]]:
    return {str(one.oid._name): (one.critical, one.value) for one in of.extensions}


@pytest.mark.parametrize("kind", plans.QUICK_KINDS, ids=lambda kind: str(kind.value))
def test_a_responder_signs_ocsp_and_is_not_asked_about(kind: KeyKind) -> None:
    authority = plans.authority(kind)
    made = delegate.certify(authority, plans.delegate(Purpose.OCSP))
    made.verify_directly_issued_by(authority.certificate)
    found = extensions(made)
    assert list(found) == [
        "authorityKeyIdentifier",
        "subjectKeyIdentifier",
        "basicConstraints",
        "keyUsage",
        "extendedKeyUsage",
        "OCSPNoCheck",
    ]
    assert found["extendedKeyUsage"] == (False, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]))
    assert found["OCSPNoCheck"] == (False, x509.OCSPNoCheck())
    assert found["basicConstraints"] == (True, x509.BasicConstraints(ca=False, path_length=None))
    critical, usage = found["keyUsage"]
    assert critical
    assert isinstance(usage, x509.KeyUsage)
    assert usage.digital_signature
    assert not any((usage.key_encipherment, usage.key_cert_sign, usage.crl_sign))


def test_a_registration_authority_signs_and_is_encrypted_to() -> None:
    found = extensions(delegate.certify(plans.authority(), plans.delegate(Purpose.RA)))
    usage = found["keyUsage"][1]
    assert isinstance(usage, x509.KeyUsage)
    assert usage.digital_signature
    assert usage.key_encipherment
    assert not any((usage.key_cert_sign, usage.crl_sign))
    assert "extendedKeyUsage" not in found
    assert "OCSPNoCheck" not in found


def test_it_ends_with_its_ca_at_the_latest() -> None:
    short = ca.create_root("Short", KeyKind.ECDSA_P256, plans.NOW, timedelta(days=2))
    made = delegate.certify(short, plans.delegate(Purpose.OCSP))
    assert made.not_valid_after_utc == short.certificate.not_valid_after_utc
    assert made.not_valid_before_utc == short.certificate.not_valid_before_utc
    late = plans.NOW + timedelta(days=3)
    with pytest.raises(Invalid, match="has ended"):
        delegate.certify(short, plans.delegate(Purpose.OCSP, not_before=late, not_after=late + timedelta(days=1)))


def test_the_same_plan_gives_the_same_certificate() -> None:
    plan = plans.delegate(Purpose.OCSP)
    assert delegate.certify(plans.authority(), plan) == delegate.certify(plans.authority(), plan)


def test_its_name_is_the_cas_but_for_the_common_name() -> None:
    attributes = [(NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, "CA")]
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    found = delegate._subject(name, "a" * 70)
    assert found.rfc4514_string() == f"CN={'a' * 64},O=Example,C=DE"


def test_only_a_ca_with_a_key_of_the_future_has_such_a_responder() -> None:
    kinds = {
        kind: delegate.key_kind(plans.authority(kind).certificate, Purpose.OCSP)
        for kind in (KeyKind.RSA_2048, KeyKind.ECDSA_P384, KeyKind.ED25519, KeyKind.ML_DSA_65)
    }
    assert kinds.pop(KeyKind.ML_DSA_65) is KeyKind.ML_DSA_44
    assert set(kinds.values()) == {KeyKind.ECDSA_P256}
    assert delegate.key_kind(plans.authority().certificate, Purpose.RA) is KeyKind.RSA_2048
    assert keys.describe(plans.key(KeyKind.RSA_2048).public_key()).size == 2048
