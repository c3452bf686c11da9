"""Private and public keys: made, described, read, written, compared, and refused when they are weak.

Sound keys are those that today's verifiers accept and that are not known to be breakable: RSA of 2048 to 8192 bits with
an odd exponent above 2^16 (FIPS 186-5 A.1.1), the NIST curves P-256, P-384 and P-521, Ed25519 (RFC 8032) and
ML-DSA (FIPS 204).
"""

import hashlib
from enum import Enum
from math import gcd, prod
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, mlkem, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    CertificatePublicKeyTypes,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from certctl_core.errors import Invalid, Refused, Unreadable
from certctl_core.pki.untrusted import capped, is_pem, parsing

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
)
"""The private keys certctl makes and signs with."""

MAX_KEY_BYTES: Final = 65536
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
_SOUND_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


class KeyKind(Enum):
    """The kinds of key certctl makes, by the name that settings use."""

    RSA_2048 = "RSA-2048"
    RSA_3072 = "RSA-3072"
    RSA_4096 = "RSA-4096"
    ECDSA_P256 = "ECDSA-P256"
    ECDSA_P384 = "ECDSA-P384"
    ED25519 = "Ed25519"
    ML_DSA_44 = "ML-DSA-44"
    ML_DSA_65 = "ML-DSA-65"


@frozen
class KeyFacts:
    """A public key in two words: `algorithm` as profiles name it, `size` in bits.

    The size of an RSA key is that of its modulus, of an elliptic curve key that of its field, of any other that of its
    public key's encoding; 0 when unknown.
    """

    algorithm: str
    size: int

    def __str__(self) -> str:
        return f"{self.algorithm} {self.size}" if self.algorithm in ("RSA", "ECDSA", "DSA") else self.algorithm


_RSA_BITS: Final = {KeyKind.RSA_2048: 2048, KeyKind.RSA_3072: 3072, KeyKind.RSA_4096: 4096}
_CURVES: Final[dict[KeyKind, ec.EllipticCurve]] = {
    KeyKind.ECDSA_P256: ec.SECP256R1(),
    KeyKind.ECDSA_P384: ec.SECP384R1(),
}


def generate(kind: KeyKind) -> PrivateKey:
    """A fresh key. RSA-4096 takes a second or more: never in a request handler."""
    if kind in _RSA_BITS:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS[kind])
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind])
    if kind is KeyKind.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    if kind is KeyKind.ML_DSA_44:
        return mldsa.MLDSA44PrivateKey.generate()
    return mldsa.MLDSA65PrivateKey.generate()


_FIXED: Final[dict[type, KeyFacts]] = {
    ed25519.Ed25519PublicKey: KeyFacts("Ed25519", 256),
    ed448.Ed448PublicKey: KeyFacts("Ed448", 456),
    mldsa.MLDSA44PublicKey: KeyFacts("ML-DSA-44", 1312 * 8),
    mldsa.MLDSA65PublicKey: KeyFacts("ML-DSA-65", 1952 * 8),
    mldsa.MLDSA87PublicKey: KeyFacts("ML-DSA-87", 2592 * 8),
    mlkem.MLKEM768PublicKey: KeyFacts("ML-KEM-768", 1184 * 8),
    mlkem.MLKEM1024PublicKey: KeyFacts("ML-KEM-1024", 1568 * 8),
    x25519.X25519PublicKey: KeyFacts("X25519", 256),
    x448.X448PublicKey: KeyFacts("X448", 448),
}


def describe(public_key: CertificatePublicKeyTypes) -> KeyFacts:
    """Algorithm and size of any public key that can be read, sound or not."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return KeyFacts("RSA", public_key.key_size)
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return KeyFacts("ECDSA", public_key.curve.key_size)
    if isinstance(public_key, dsa.DSAPublicKey):
        return KeyFacts("DSA", public_key.key_size)
    return next(facts for kind, facts in _FIXED.items() if isinstance(public_key, kind))


# Weak keys


def weaknesses(public_key: CertificatePublicKeyTypes) -> tuple[str, ...]:
    """Why this key must not be certified, whatever a profile says. Empty for a sound key."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return _rsa_weaknesses(public_key)
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        if public_key.curve.name in _SOUND_CURVES:
            return ()
        return (f"the curve {public_key.curve.name} is not one of P-256, P-384 and P-521",)
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return _ed25519_weaknesses(public_key)
    facts = describe(public_key)
    if facts.algorithm in ("ML-DSA-44", "ML-DSA-65", "ML-DSA-87"):
        return ()
    return (f"{facts.algorithm} keys are not certified",)


def require_sound(public_key: CertificatePublicKeyTypes) -> KeyFacts:
    """The key's facts. Raises `Refused` with every weakness."""
    reasons = weaknesses(public_key)
    if reasons:
        raise Refused(
            f"the key is too weak: {'; '.join(reasons)}",
            reasons=reasons,
            hint="Make a new key, for example ECDSA on P-256 or RSA of 3072 bits.",
        )
    return describe(public_key)


_ED25519_PRIME: Final = 2**255 - 19
_EIGHTH: Final = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL_ORDER: Final = frozenset({0, 1, _ED25519_PRIME - 1, _EIGHTH, _ED25519_PRIME - _EIGHTH})
"""The y coordinates of the eight points whose order divides 8."""


def _ed25519_weaknesses(public_key: ed25519.Ed25519PublicKey) -> tuple[str, ...]:
    """RFC 8032 section 5.1.7 lets a verifier take signatures by keys of small order, and everybody can make those."""
    encoded = int.from_bytes(public_key.public_bytes_raw(), "little") & ~(1 << 255)
    if encoded % _ED25519_PRIME in _SMALL_ORDER:
        return ("an Ed25519 key of small order signs for everybody",)
    return ()


def _rsa_weaknesses(public_key: rsa.RSAPublicKey) -> tuple[str, ...]:
    numbers = public_key.public_numbers()
    found: list[str] = []
    if public_key.key_size < MIN_RSA_BITS:
        found.append(f"an RSA key of {public_key.key_size} bits is shorter than {MIN_RSA_BITS}")
    if public_key.key_size > MAX_RSA_BITS:
        found.append(f"an RSA key of {public_key.key_size} bits is longer than {MAX_RSA_BITS}")
    if numbers.e % 2 == 0 or not 2**16 < numbers.e < 2**256:
        found.append("the RSA exponent must be odd and between 2^16 and 2^256")
    if gcd(numbers.n, _SMALL_PRIMES_PRODUCT) != 1:
        found.append("the RSA modulus has a small factor")
    elif _has_roca_form(numbers.n):
        found.append("the RSA modulus has the form of a known faulty generator (CVE-2017-15361)")
    return tuple(found)


def _primes_below(limit: int) -> list[int]:
    return [n for n in range(2, limit) if all(n % divisor for divisor in range(2, int(n**0.5) + 1))]


# No RSA modulus has a factor below 752 by accident (NIST SP 800-89 5.3.3).
_SMALL_PRIMES_PRODUCT: Final = prod(_primes_below(752))

# The faulty generator made primes of the form k*M + (65537^a mod M), M the product of small primes; so for each of
# those primes the modulus falls into the subgroup that 65537 generates (Nemec et al., CCS 2017). A sound modulus falls
# into all of them about once in 2^27 keys.
_ROCA_GROUPS: Final = tuple(
    (prime, frozenset(pow(65537, power, prime) for power in range(prime - 1))) for prime in _primes_below(168)[1:]
)


def _has_roca_form(modulus: int) -> bool:
    return all(modulus % prime in group for prime, group in _ROCA_GROUPS)


# Reading and writing


def to_pem(private_key: CertificateIssuerPrivateKeyTypes) -> str:
    """PKCS#8 (RFC 5958) in PEM, not encrypted: the file it goes to must be 0600 before it is written."""
    return private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def to_der(private_key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """PKCS#8 (RFC 5958) in DER, not encrypted."""
    return private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def from_pem(pem: bytes | str, password: str | None = None) -> PrivateKey:
    """A private key in PEM: PKCS#8 (encrypted too), SEC1 (`EC PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`).

    Raises `TooLarge`, `Unreadable`, `Invalid` when the password is missing or wrong, `Refused` for a weak key.
    """
    data = capped(pem, "the private key", MAX_KEY_BYTES)
    if not is_pem(data):
        raise Unreadable("the private key is not PEM")
    secret = None if password is None else password.encode()
    try:
        with parsing("the private key"):
            return supported(serialization.load_pem_private_key(data, secret))
    except Unreadable as problem:
        if "ENCRYPTED" in data.decode("ascii", "replace"):
            raise Invalid("the private key is encrypted and the password is missing or wrong") from problem
        raise


def from_der(der: bytes) -> PrivateKey:
    """A private key in unencrypted PKCS#8 DER (SEC1 and PKCS#1 are read too). Raises as `from_pem`."""
    data = capped(der, "the private key", MAX_KEY_BYTES)
    with parsing("the private key"):
        return supported(serialization.load_der_private_key(data, None))


def supported(private_key: object) -> PrivateKey:
    """The key, if it is of a kind that certctl signs with. Raises `Unreadable`, and `Refused` for a weak one."""
    if not isinstance(private_key, PrivateKey):
        raise Unreadable(f"{type(private_key).__name__} is no kind of key that certctl signs with")
    require_sound(private_key.public_key())
    return private_key


Keyed = CertificatePublicKeyTypes | CertificateIssuerPrivateKeyTypes | x509.Certificate | x509.CertificateSigningRequest
"""A public key, or something that has one."""

_HOLDERS: Final = (
    x509.Certificate,
    x509.CertificateSigningRequest,
    rsa.RSAPrivateKey,
    ec.EllipticCurvePrivateKey,
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
    dsa.DSAPrivateKey,
    mldsa.MLDSA44PrivateKey,
    mldsa.MLDSA65PrivateKey,
    mldsa.MLDSA87PrivateKey,
)


def same_key(a: Keyed, b: Keyed) -> bool:
    """Whether both are of one key, compared by the whole SubjectPublicKeyInfo and never by a hash or a number of it."""
    return spki(a) == spki(b)


def spki(thing: Keyed) -> bytes:
    """SubjectPublicKeyInfo in DER (RFC 5280 section 4.1.2.7)."""
    return _public_key(thing).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def digest(thing: Keyed) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, in lower-case hex: what tells a key from all others."""
    return hashlib.sha256(spki(thing)).hexdigest()


def _public_key(thing: Keyed) -> CertificatePublicKeyTypes:
    if isinstance(thing, _HOLDERS):
        return thing.public_key()
    return thing


def subject_public_key(public_key: CertificatePublicKeyTypes) -> bytes:
    """The content of the subjectPublicKey BIT STRING, which key identifiers and OCSP's issuerKeyHash are hashes of."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return public_key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    if isinstance(public_key, dsa.DSAPublicKey):
        raise Unreadable("DSA keys have no place here")
    return public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_identifier(public_key: CertificatePublicKeyTypes) -> bytes:
    """RFC 7093 section 2 method 1: the leftmost 160 bits of SHA-256 of the subjectPublicKey bits. As long as the SHA-1
    of RFC 5280 section 4.2.1.2, without SHA-1."""
    return hashlib.sha256(subject_public_key(public_key)).digest()[:20]
