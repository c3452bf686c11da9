"""Signed challenges as a connector makes them, good and forged."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | bytes | None


def part(octets: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def token(claims: Any, key: Key, **header: Any) -> str:
    """Signed with this key: RS256, ES256, HS256 for octets, none for None."""
    algorithm = "none"
    if key is not None:
        names = ((rsa.RSAPrivateKey, "RS256"), (ec.EllipticCurvePrivateKey, "ES256"), (bytes, "HS256"))
        algorithm = next(name for kind, name in names if isinstance(key, kind))
    head = part(json.dumps({"alg": algorithm, "typ": "JWT", **header}).encode())
    body = part(claims if isinstance(claims, bytes) else json.dumps(claims).encode())
    signed = f"{head}.{body}".encode()
    return f"{head}.{body}.{part(_signature(key, signed))}"


def _signature(key: Key, signed: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
        size = (key.curve.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if key is None:
        return b"\0"
    mac = hmac.HMAC(key, hashes.SHA256())
    mac.update(signed)
    return mac.finalize()
