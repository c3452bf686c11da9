"""How each kind of key signs: hash, padding, AlgorithmIdentifier.

ECDSA is deterministic (RFC 6979), as RSA PKCS #1 v1.5 and Ed25519 are by nature, so that signing the same bytes again
gives the same signature. ML-DSA signs hedged (FIPS 204 section 3.4): the same bytes, another signature.
"""

from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from certctl_core.pki.keys import PrivateKey, describe

_CURVE_HASH: Final[dict[int, hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    256: hashes.SHA256(),
    384: hashes.SHA384(),
    521: hashes.SHA512(),
}

# DER of the AlgorithmIdentifiers: RFC 4055 5 (NULL parameters), RFC 5758 3.2, RFC 8410 3, RFC 9881 2 (absent).
_IDENTIFIERS: Final = {
    ("RSA", 0): bytes.fromhex("300d06092a864886f70d01010b0500"),
    ("ECDSA", 256): bytes.fromhex("300a06082a8648ce3d040302"),
    ("ECDSA", 384): bytes.fromhex("300a06082a8648ce3d040303"),
    ("ECDSA", 521): bytes.fromhex("300a06082a8648ce3d040304"),
    ("Ed25519", 0): bytes.fromhex("300506032b6570"),
    ("ML-DSA-44", 0): bytes.fromhex("300b0609608648016503040311"),
    ("ML-DSA-65", 0): bytes.fromhex("300b0609608648016503040312"),
}


def hash_for(private_key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """The hash to sign with: that of the curve's strength for ECDSA, SHA-256 for RSA, none for keys that bring their
    own."""
    if isinstance(private_key, rsa.RSAPrivateKey):
        return hashes.SHA256()
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        return _CURVE_HASH[private_key.curve.key_size]
    return None


def deterministic(private_key: PrivateKey) -> bool | None:
    """The `ecdsa_deterministic` argument of cryptography's builders, which only ECDSA keys may have."""
    return True if isinstance(private_key, ec.EllipticCurvePrivateKey) else None


def algorithm_identifier(private_key: PrivateKey) -> bytes:
    """DER of the signature's AlgorithmIdentifier (RFC 5280 section 4.1.1.2)."""
    facts = describe(private_key.public_key())
    return _IDENTIFIERS[facts.algorithm, facts.size if facts.algorithm == "ECDSA" else 0]


def sign(private_key: PrivateKey, data: bytes) -> bytes:
    """The signature over `data`, the content of a signature BIT STRING."""
    if isinstance(private_key, rsa.RSAPrivateKey):
        return private_key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        chosen = _CURVE_HASH[private_key.curve.key_size]
        return private_key.sign(data, ec.ECDSA(chosen, deterministic_signing=True))
    return private_key.sign(data)


_LONG: Final = 1 << 20


def sign_parts(private_key: PrivateKey, parts: Sequence[bytes]) -> bytes:
    """As `sign` of the parts joined. What is long is hashed part by part and never joined, where the kind of key allows
    it: Ed25519 and ML-DSA need the whole."""
    chosen = hash_for(private_key)
    if chosen is None or sum(map(len, parts)) < _LONG:
        return sign(private_key, b"".join(parts))
    hasher = hashes.Hash(chosen)
    for part in parts:
        hasher.update(part)
    digest, hashed = hasher.finalize(), Prehashed(chosen)
    if isinstance(private_key, rsa.RSAPrivateKey):
        return private_key.sign(digest, padding.PKCS1v15(), hashed)
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        return private_key.sign(digest, ec.ECDSA(hashed, deterministic_signing=True))
    raise AssertionError("only RSA and ECDSA keys sign a hash that was made before")
