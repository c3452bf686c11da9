"""Secrets that an operator gave to several devices: of them only a salted hash is kept in memory."""

import hashlib
import secrets
from hmac import compare_digest

from attrs import field, frozen


@frozen(eq=False)
class SharedSecret:
    """What several know and show to prove it. Two are never equal: each has a salt of its own."""

    _salt: bytes = field(repr=False)
    _digest: bytes = field(repr=False)

    @classmethod
    def of(cls, plain: str) -> "SharedSecret":
        salt = secrets.token_bytes(16)
        return cls(salt, _hash(salt, plain))

    def is_it(self, presented: str) -> bool:
        """In the same time whatever was presented."""
        return compare_digest(self._digest, _hash(self._salt, presented))


def _hash(salt: bytes, plain: str) -> bytes:
    return hashlib.sha256(salt + plain.encode("utf-8", "surrogatepass")).digest()
