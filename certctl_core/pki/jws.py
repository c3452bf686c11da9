"""JSON Web Signatures in compact form (RFC 7515): one signature by a key that is trusted beforehand.

Nothing in a token says how it is verified but its algorithm, and that only among those that the trusted key can have:
RS256 for RSA keys and ES256 for P-256 (RFC 7518 section 3.1). There is no `none`, no shared secret, and no key or
address of a key that is taken from the token (RFC 8725 sections 3.1 and 3.10).
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from certctl_core.errors import Refused, Unreadable
from certctl_core.pki.untrusted import capped

MAX_TOKEN_BYTES: Final = 16384
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def is_like_one(text: str) -> bool:
    """Whether a text has the form of a token."""
    return _COMPACT.fullmatch(text) is not None


def claims(token: str, trusted: Iterable[CertificatePublicKeyTypes]) -> Mapping[str, Any]:
    """What a token claims, when one of these keys signed it.

    Raises `TooLarge`; `Unreadable` for what is no token, says something twice or is signed by nobody who is trusted;
    `Refused` for another algorithm, and for a header that demands an extension.
    """
    capped(token, "the token", MAX_TOKEN_BYTES)
    if not is_like_one(token):
        raise Unreadable("the token is not three parts of base64url")
    head, payload, tail = token.split(".")
    header, signature = _object(head), _decoded(tail)
    algorithm = header.get("alg")
    if algorithm not in ("RS256", "ES256"):
        raise Refused("the token is signed with an algorithm other than RS256 and ES256", reasons=["algorithm"])
    if "crit" in header:
        raise Refused("the token demands an extension that is not known", reasons=["crit"])
    signed = f"{head}.{payload}".encode("ascii")
    if not any(_is_signed(key, algorithm, signature, signed) for key in trusted):
        raise Unreadable("the token is not signed by anybody who is trusted")
    return _object(payload)


def _is_signed(key: CertificatePublicKeyTypes, algorithm: str, signature: bytes, signed: bytes) -> bool:
    try:
        if algorithm == "RS256" and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            return True
        # RFC 7518 section 3.4: two numbers of 32 octets each.
        if algorithm == "ES256" and isinstance(key, ec.EllipticCurvePublicKey) and len(signature) == 64:
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            is_curve = isinstance(key.curve, ec.SECP256R1)
            if is_curve:
                key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
            return is_curve
    except InvalidSignature:
        return False
    return False


def _object(part: str) -> Mapping[str, Any]:
    try:
        found = json.loads(_decoded(part), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Unreadable("a part of the token is not JSON, or says something twice") from None
    if not isinstance(found, dict):
        raise Unreadable("a part of the token is no JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _decoded(part: str) -> bytes:
    try:
        octets = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise Unreadable("a part of the token is not base64url") from None
    # One text for each octets: unused bits are zero (RFC 4648 section 3.5).
    if base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii") != part:
        raise Unreadable("a part of the token is not base64url")
    return octets
