"""Keys, certificates and messages for the tests of CMS."""

from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certctl_core.pki import cms
from tests import strangers

ATTRIBUTE = "2.16.840.1.113733.1.9.2"
VALUE = b"\x13\x0219"


def rsa_key(name: str = "client") -> rsa.RSAPrivateKey:
    """The same for the same name."""
    return _rsa_key(name)


@cache
def _rsa_key(_: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(name: str = "client", *extensions: x509.ExtensionType) -> x509.Certificate:
    """Of `rsa_key`, signed by itself; the same for the same arguments."""
    return _certificate(name, extensions)


@cache
def _certificate(name: str, extensions: tuple[x509.ExtensionType, ...]) -> x509.Certificate:
    key = rsa_key(name)
    return strangers.certificate(name, *extensions, issuer=name, public_key=key.public_key(), signed_by=key)


def signer(kind: str = "RSA") -> cms.Signer:
    """Who signs with a key of this kind: RSA, P-256 or P-384."""
    return cms.Signer(certificate(), rsa_key()) if kind == "RSA" else _ecdsa(kind)


@cache
def _ecdsa(kind: str) -> cms.Signer:
    key = ec.generate_private_key(ec.SECP256R1() if kind == "P-256" else ec.SECP384R1())
    return cms.Signer(strangers.certificate(kind, public_key=key.public_key()), key)


def recipient(name: str = "client") -> cms.Recipient:
    """Who opens envelopes for `certificate`."""
    return cms.Recipient(certificate(name), rsa_key(name))


def to_ber(der: bytes) -> bytes:
    """The same value as a sender of BER may write it: no lengths in front, octet strings in pieces."""
    tag, start, end = der[0], *_content(der)
    content = der[start:end]
    if tag == 0x04 and len(content) > 3:
        half = len(content) // 2
        return b"\x24\x80" + _octets(content[:half]) + _octets(content[half:]) + b"\0\0"
    if not tag & 0x20:
        return der[:end]
    inner = b""
    while content:
        _, stop = _content(content)
        inner += to_ber(content[:stop])
        content = content[stop:]
    return bytes((tag, 0x80)) + inner + b"\0\0"


def _octets(content: bytes) -> bytes:
    """With a length of more octets than it needs."""
    return b"\x04\x83" + len(content).to_bytes(3, "big") + content


def _content(der: bytes) -> tuple[int, int]:
    if der[1] < 0x80:
        return 2, 2 + der[1]
    start = 2 + (der[1] & 0x7F)
    return start, start + int.from_bytes(der[2:start], "big")
