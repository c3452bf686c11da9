"""The algorithms of CMS by their names on the wire (RFC 3370, 4056, 5754, 8017), and which of them are accepted."""

from enum import Enum
from typing import Final

from attrs import evolve, frozen
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, algorithms

from certctl_core.errors import Refused


class Digest(Enum):
    """A hash: its OID, and what RSA PKCS #1 v1.5 and ECDSA signatures with it are called."""

    SHA1 = "1.3.14.3.2.26", "1.2.840.113549.1.1.5", "1.2.840.10045.4.1"
    SHA256 = "2.16.840.1.101.3.4.2.1", "1.2.840.113549.1.1.11", "1.2.840.10045.4.3.2"
    SHA384 = "2.16.840.1.101.3.4.2.2", "1.2.840.113549.1.1.12", "1.2.840.10045.4.3.3"
    SHA512 = "2.16.840.1.101.3.4.2.3", "1.2.840.113549.1.1.13", "1.2.840.10045.4.3.4"

    def __init__(self, oid: str, with_rsa: str, with_ecdsa: str) -> None:
        self.oid = oid
        self.with_rsa = with_rsa
        self.with_ecdsa = with_ecdsa

    @property
    def algorithm(self) -> hashes.HashAlgorithm:
        return _HASHES[self]

    def of(self, data: bytes) -> bytes:
        """The digest of `data`."""
        context = hashes.Hash(self.algorithm)
        context.update(data)
        return context.finalize()


_HASHES: Final[dict[Digest, hashes.HashAlgorithm]] = {
    Digest.SHA1: hashes.SHA1(),  # noqa: S303 - accepted from old devices by a setting only
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
}


class Cipher(Enum):
    """A block cipher in CBC mode: its OID and the octets of its key."""

    AES_128 = "2.16.840.1.101.3.4.1.2", 16
    AES_192 = "2.16.840.1.101.3.4.1.22", 24
    AES_256 = "2.16.840.1.101.3.4.1.42", 32
    TRIPLE_DES = "1.2.840.113549.3.7", 24
    DES = "1.3.14.3.2.7", 8

    def __init__(self, oid: str, key_size: int) -> None:
        self.oid = oid
        self.key_size = key_size

    @property
    def block_size(self) -> int:
        """Octets of a block, and so of the initialisation vector."""
        return 8 if self in (Cipher.TRIPLE_DES, Cipher.DES) else 16

    def keyed(self, key: bytes) -> BlockCipherAlgorithm:
        """DES is what Triple DES does with the same key three times."""
        if self is Cipher.DES:
            return TripleDES(key * 3)
        return TripleDES(key) if self is Cipher.TRIPLE_DES else algorithms.AES(key)


@frozen
class Accepted:
    """What is accepted from others: AES and hashes of the SHA-2 family, unless told otherwise."""

    ciphers: frozenset[Cipher] = frozenset({Cipher.AES_128, Cipher.AES_192, Cipher.AES_256})
    digests: frozenset[Digest] = frozenset({Digest.SHA256, Digest.SHA384, Digest.SHA512})

    def also(self, *more: Cipher | Digest) -> "Accepted":
        """With these as well."""
        ciphers = {one for one in more if isinstance(one, Cipher)}
        digests = {one for one in more if isinstance(one, Digest)}
        return evolve(self, ciphers=self.ciphers | ciphers, digests=self.digests | digests)

    def cipher(self, oid: str) -> Cipher:
        """Raises `Refused` for one that is unknown or not accepted."""
        for one in self.ciphers:
            if one.oid == oid:
                return one
        raise _refused("cipher", oid, Cipher)

    def digest(self, oid: str) -> Digest:
        """Raises as `cipher`."""
        for one in self.digests:
            if one.oid == oid:
                return one
        raise _refused("hash", oid, Digest)


MODERN: Final = Accepted()


def _refused(what: str, oid: str, kind: type[Cipher] | type[Digest]) -> Refused:
    name = next((one.name for one in kind if one.oid == oid), oid)
    return Refused(f"the {what} {name} is not accepted", reasons=[f"{what} {name}"])
