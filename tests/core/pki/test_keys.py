"""Keys are made, described, read and written; weak ones are refused."""

import hashlib
from math import prod

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, mldsa, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid, Refused, TooLarge, Unreadable
from certctl_core.pki import ca, csr, keys
from certctl_core.pki.keys import KeyFacts, KeyKind
from tests import plans

FACTS = {
    KeyKind.RSA_2048: KeyFacts("RSA", 2048),
    KeyKind.ECDSA_P256: KeyFacts("ECDSA", 256),
    KeyKind.ECDSA_P384: KeyFacts("ECDSA", 384),
    KeyKind.ED25519: KeyFacts("Ed25519", 256),
    KeyKind.ML_DSA_44: KeyFacts("ML-DSA-44", 10496),
    KeyKind.ML_DSA_65: KeyFacts("ML-DSA-65", 15616),
}


@pytest.mark.parametrize("kind", plans.QUICK_KINDS)
def test_a_key_of_every_kind_is_described(kind: KeyKind) -> None:
    assert keys.describe(plans.key(kind).public_key()) == FACTS[kind]


@pytest.mark.parametrize("kind", plans.QUICK_KINDS)
def test_a_written_key_reads_back_as_the_same_key(kind: KeyKind) -> None:
    private_key = plans.key(kind)
    assert keys.same_key(keys.from_pem(keys.to_pem(private_key)), private_key)
    assert keys.same_key(keys.from_der(keys.to_der(private_key)), private_key)


@pytest.mark.parametrize("kind", [KeyKind.RSA_2048, KeyKind.ECDSA_P256, KeyKind.ECDSA_P384])
def test_keys_in_the_older_pem_forms_are_read(kind: KeyKind) -> None:
    private_key = plans.key(kind)
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert b"RSA PRIVATE KEY" in pem or b"EC PRIVATE KEY" in pem
    assert keys.same_key(keys.from_pem(pem), private_key)


def test_a_key_after_its_ec_parameters_is_read() -> None:
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    pem = plans.key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    assert keys.same_key(keys.from_pem(parameters + pem), plans.key())


def test_an_encrypted_key_needs_its_password() -> None:
    pem = plans.key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"correct"))
    assert keys.same_key(keys.from_pem(pem, "correct"), plans.key())
    with pytest.raises(Invalid, match="password"):
        keys.from_pem(pem)
    with pytest.raises(Invalid, match="password"):
        keys.from_pem(pem, "wrong")


def test_something_else_is_not_a_key() -> None:
    with pytest.raises(Unreadable):
        keys.from_pem("no key")
    with pytest.raises(Unreadable):
        keys.from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(Unreadable):
        keys.from_der(b"")
    with pytest.raises(TooLarge):
        keys.from_pem("-----BEGIN PRIVATE KEY-----\n" + "A" * keys.MAX_KEY_BYTES)


def test_a_key_that_cannot_sign_certificates_is_not_read() -> None:
    agreement = x25519.X25519PrivateKey.generate()
    with pytest.raises(Unreadable, match="no kind of key"):
        keys.from_der(agreement.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _rsa(modulus: int, exponent: int = 65537) -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _faulty_generator_modulus() -> int:
    """As the generator of CVE-2017-15361 makes it: a power of 65537 modulo a product of small primes."""
    primes = [n for n in range(2, 170) if all(n % divisor for divisor in range(2, n))]
    product = prod(primes)
    smooth = pow(65537, 123456789, product)
    modulus = smooth + product * (2**2047 // product)
    while any(modulus % prime == 0 for prime in range(3, 752, 2)):
        modulus += product
    return modulus


SOUND_MODULUS = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n

WEAK: dict[str, tuple[CertificatePublicKeyTypes, str]] = {
    "RSA of 1024 bits": (plans.weak_rsa().public_key(), "shorter than 2048"),
    "RSA of 2047 bits": (_rsa(SOUND_MODULUS >> 1 | 1), "shorter than 2048"),
    "RSA of 8200 bits": (_rsa(2**8199 + 1), "longer than 8192"),
    "exponent 3": (_rsa(SOUND_MODULUS, 3), "exponent"),
    "exponent 65535": (_rsa(SOUND_MODULUS, 65535), "exponent"),
    "exponent of 257 bits": (_rsa(SOUND_MODULUS, 2**256 + 1), "exponent"),
    "modulus divisible by 751": (_rsa(751 * (2**2040 + 1)), "factor"),
    "faulty generator": (_rsa(_faulty_generator_modulus()), "CVE-2017-15361"),
    "P-192": (ec.generate_private_key(ec.SECP192R1()).public_key(), "secp192r1"),
    "P-224": (ec.generate_private_key(ec.SECP224R1()).public_key(), "secp224r1"),
    "secp256k1": (ec.generate_private_key(ec.SECP256K1()).public_key(), "secp256k1"),
    "brainpool": (ec.generate_private_key(ec.BrainpoolP256R1()).public_key(), "brainpoolP256r1"),
    "Ed448": (ed448.Ed448PrivateKey.generate().public_key(), "Ed448"),
    "X25519": (x25519.X25519PrivateKey.generate().public_key(), "X25519"),
    "DSA": (dsa.generate_private_key(2048).public_key(), "DSA"),
}


@pytest.mark.parametrize("case", WEAK)
def test_a_weak_key_is_refused_with_the_reason(case: str) -> None:
    public_key, reason = WEAK[case]
    with pytest.raises(Refused, match=reason) as caught:
        keys.require_sound(public_key)
    assert any(reason in one for one in caught.value.reasons)


def test_a_weak_private_key_is_not_read() -> None:
    for weak in (plans.weak_rsa(), ec.generate_private_key(ec.SECP192R1())):
        with pytest.raises(Refused):
            keys.from_der(weak.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


@pytest.mark.parametrize(
    "public_key",
    [
        ec.generate_private_key(ec.SECP521R1()).public_key(),
        mldsa.MLDSA87PrivateKey.generate().public_key(),
        *(plans.key(kind).public_key() for kind in plans.QUICK_KINDS),
    ],
    ids=lambda one: str(keys.describe(one)),
)
def test_a_sound_key_is_not_refused(public_key: CertificatePublicKeyTypes) -> None:
    assert keys.require_sound(public_key) == keys.describe(public_key)


def test_keys_are_compared_by_the_whole_key_whatever_holds_them() -> None:
    request = csr.build(plans.key(), "a.example.com", [])
    certificate = ca.sign_leaf(plans.authority(), plans.plan())
    assert keys.same_key(request, certificate)
    assert keys.same_key(plans.key().public_key(), plans.key())
    assert not keys.same_key(plans.key(), plans.key(name="other"))
    assert not keys.same_key(certificate, plans.authority().certificate)


def test_a_dsa_key_has_no_identifier_here() -> None:
    with pytest.raises(Unreadable):
        keys.subject_public_key(dsa.generate_private_key(2048).public_key())


@pytest.mark.parametrize("kind", plans.QUICK_KINDS)
def test_the_subject_public_key_is_what_rfc_5280_hashes(kind: KeyKind) -> None:
    public_key = plans.key(kind).public_key()
    digest = hashlib.sha1(keys.subject_public_key(public_key), usedforsecurity=False).digest()
    assert digest == x509.SubjectKeyIdentifier.from_public_key(public_key).digest


@given(st.data())
def test_broken_key_files_give_typed_errors(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([KeyKind.ECDSA_P256, KeyKind.ED25519, KeyKind.RSA_2048, KeyKind.ML_DSA_44]))
    broken = data.draw(plans.mutations(keys.to_der(plans.key(kind))))
    with plans.only_typed_errors():
        keys.from_der(broken)
