"""Signatures and keys that careless verifiers take for good ones, made here: RSA padding, ECDSA numbers out of range,
points that are none, BER where DER must be. A CSR is proof of possession, so each of them must be refused in a CSR."""

import hashlib
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from certctl_core.errors import CertctlError, Refused, Unreadable
from certctl_core.pki import asn1, csr, keys
from certctl_core.pki.keys import KeyKind
from tests import plans

RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
ED25519 = bytes.fromhex("300506032b6570")
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of P-256."""

NAME = asn1.sequence(
    asn1.tlv(asn1.SET, asn1.sequence(asn1.object_identifier("2.5.4.3"), asn1.tlv(0x0C, b"a.example.com")))
)


def _info(spki: bytes) -> bytes:
    """A CertificationRequestInfo (RFC 2986 section 4.1) without attributes."""
    return asn1.sequence(asn1.integer(0), NAME, spki, b"\xa0\x00")


def _request(info: bytes, algorithm: bytes, signature: bytes) -> bytes:
    return asn1.sequence(info, algorithm, asn1.bit_string(signature))


def _is_refused(der: bytes) -> bool:
    """By the reader of DER, and by the one that takes more."""
    with pytest.raises((Unreadable, Refused)):
        csr.read(der)
    with pytest.raises((Unreadable, Refused)):
        csr.read_leniently(der, with_sha1=True)
    return True


# RSA (RFC 8017 sections 8.2.2 and 9.2)

DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


@cache
def _rsa_key() -> rsa.RSAPrivateKey:
    """With the exponent 65537, so that what is below is refused for its padding alone."""
    return rsa.generate_private_key(65537, 2048)


def _signed_block(block: bytes) -> bytes:
    """The signature that opens to this block, which only the holder of the key can make: a careless signer's."""
    numbers = _rsa_key().private_numbers()
    n = numbers.public_numbers.n
    return pow(int.from_bytes(block, "big"), numbers.d, n).to_bytes(256, "big")


def _block(digest_info: bytes, *, kind: bytes = b"\x00\x01", filling: bytes = b"\xff", behind: bytes = b"") -> bytes:
    room = 256 - len(kind) - 1 - len(digest_info) - len(behind)
    return kind + filling * room + b"\x00" + digest_info + behind


def _rsa_signatures(info: bytes) -> Iterator[tuple[str, bytes]]:
    digest = hashlib.sha256(info).digest()
    right = DIGEST_INFO + digest
    n = _rsa_key().public_key().public_numbers().n
    good = int.from_bytes(_signed_block(_block(right)), "big")
    for what, block in {
        "rubbish behind the hash": _block(right, behind=b"\0" * 8),
        "little padding, and rubbish for a forger to choose": b"\x00\x01" + b"\xff" * 8 + b"\0" + right + bytes(194),
        "padding of another type": _block(right, kind=b"\x00\x02"),
        "padding that is not all ones": _block(right, filling=b"\xfe"),
        "no padding type": _block(right, kind=b"\x00\x00"),
        "no parameters of the hash": _block(bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + digest),
        "another hash than is said": _block(bytes.fromhex("3021300906052b0e03021a05000414") + digest[:20]),
        "a length in BER": _block(bytes.fromhex("308131300d060960864801650304020105000420") + digest),
        "an indefinite length": _block(b"\x30\x80" + right[2:] + b"\0\0"),
        "the bare hash": _block(digest),
        "parameters with something in them": _block(
            bytes.fromhex("3041301d0609608648016503040201") + b"\x04\x10" + bytes(16) + b"\x04\x20" + digest
        ),
        "the hash of something else": _block(DIGEST_INFO + bytes(32)),
    }.items():
        yield what, _signed_block(block)
    yield "zero", bytes(256)
    yield "one", bytes(255) + b"\1"
    yield "the modulus less one", (n - 1).to_bytes(256, "big")
    yield "the modulus added", (good + n).to_bytes(257, "big")
    yield "a zero in front", b"\0" + good.to_bytes(256, "big")
    yield "a zero behind", good.to_bytes(256, "big") + b"\0"
    yield "nothing", b""
    yield "one octet short", good.to_bytes(256, "big")[1:]


def test_an_odd_rsa_signature_proves_nothing() -> None:
    info = _info(keys.spki(_rsa_key()))
    odd = dict(_rsa_signatures(info))
    assert len(odd) == 20
    for signature in odd.values():
        assert _is_refused(_request(info, RSA_SHA256, signature))


def test_the_rsa_signature_that_the_odd_ones_differ_from_is_good() -> None:
    info = _info(keys.spki(_rsa_key()))
    signature = _signed_block(_block(DIGEST_INFO + hashlib.sha256(info).digest()))
    assert csr.read(_request(info, RSA_SHA256, signature)).is_signature_valid


# ECDSA (RFC 3279 section 2.2.3, SEC 1 section 4.1.4)


def _numbers(r: bytes, s: bytes) -> bytes:
    return asn1.sequence(asn1.tlv(asn1.INTEGER, r), asn1.tlv(asn1.INTEGER, s))


def _ecdsa_signatures(info: bytes) -> Iterator[tuple[str, bytes]]:
    r, s = decode_dss_signature(plans.key().sign(info, ec.ECDSA(hashes.SHA256())))
    right = asn1.sequence(asn1.integer(r), asn1.integer(s))
    for name, number in {"0": 0, "1": 1, "n": N, "n-1": N - 1, "2^256": 2**256, "2^8000": 2**8000}.items():
        yield f"r={name}", asn1.sequence(asn1.integer(number), asn1.integer(s))
        yield f"s={name}", asn1.sequence(asn1.integer(r), asn1.integer(number))
        yield f"r=s={name}", asn1.sequence(asn1.integer(number), asn1.integer(number))
    yield "n added to r", asn1.sequence(asn1.integer(r + N), asn1.integer(s))
    yield "n added to s", asn1.sequence(asn1.integer(r), asn1.integer(s + N))
    yield "r negative", _numbers((-r).to_bytes(33, "big", signed=True), s.to_bytes(33, "big"))
    yield "s negative", _numbers(r.to_bytes(33, "big"), (-s).to_bytes(33, "big", signed=True))
    yield "zeros in front of r", _numbers(b"\0\0" + r.to_bytes(32, "big"), s.to_bytes(33, "big").lstrip(b"\0") or b"\0")
    yield "a long length", b"\x30\x81" + right[1:]
    yield "an indefinite length", b"\x30\x80" + right[2:] + b"\0\0"
    yield "rubbish behind", right + b"\0"
    yield "rubbish within", asn1.sequence(asn1.integer(r), asn1.integer(s), asn1.NULL)
    yield "r alone", asn1.sequence(asn1.integer(r))
    yield "no numbers", asn1.sequence()
    yield "nothing", b""
    yield "a number that has no octets", _numbers(b"", b"")
    yield "two numbers side by side", r.to_bytes(32, "big") + s.to_bytes(32, "big")
    yield "a set", b"\x31" + right[1:]


ECDSA_CASES = [what for what, _ in _ecdsa_signatures(_info(keys.spki(plans.key())))]


@pytest.mark.parametrize("case", ECDSA_CASES)
def test_an_odd_ecdsa_signature_proves_nothing(case: str) -> None:
    info = _info(keys.spki(plans.key()))
    assert _is_refused(_request(info, ECDSA_SHA256, dict(_ecdsa_signatures(info))[case]))


def test_the_ecdsa_signature_that_the_odd_ones_differ_from_is_good_and_so_is_its_twin() -> None:
    """With s also n-s is a signature (SEC 1 section 4.1.4): of the same message by the same key, so nothing is won."""
    info = _info(keys.spki(plans.key()))
    r, s = decode_dss_signature(plans.key().sign(info, ec.ECDSA(hashes.SHA256())))
    for number in (s, N - s):
        signature = asn1.sequence(asn1.integer(r), asn1.integer(number))
        assert csr.read(_request(info, ECDSA_SHA256, signature)).is_signature_valid


# Ed25519 (RFC 8032 section 5.1.7) and keys that sign anything

L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19


def _ed25519_spki(encoded: bytes) -> bytes:
    return asn1.sequence(ED25519, asn1.bit_string(encoded))


def test_an_ed25519_signature_with_a_number_out_of_range_proves_nothing() -> None:
    private_key = plans.key(KeyKind.ED25519)
    assert isinstance(private_key, ed25519.Ed25519PrivateKey)
    info = _info(keys.spki(private_key))
    good = private_key.sign(info)
    assert csr.read(_request(info, ED25519, good)).is_signature_valid
    more = int.from_bytes(good[32:], "little") + L
    for odd in (good[:32] + more.to_bytes(32, "little"), good[:-1], good + b"\0", bytes(64), b""):
        assert _is_refused(_request(info, ED25519, odd))


def _doubled(point: tuple[int, int]) -> tuple[int, int]:
    """RFC 8032 section 5.1.4, in affine coordinates."""
    return _added(point, point)


def _added(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    d = -121665 * pow(121666, -1, P)
    crossed = d * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + crossed, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - crossed, -1, P)
    return x % P, y % P


def _point_at(y: int) -> tuple[int, int] | None:
    """A point with this y, if there is one (section 5.1.3)."""
    square = (y * y - 1) * pow(-121665 * pow(121666, -1, P) * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y) if x * x % P == square else None


@cache
def _small() -> tuple[int, ...]:
    """The y coordinates of all points of small order: multiples of a point that L times any other is."""
    for y in range(2, 100):
        if (found := _point_at(y)) is None:
            continue
        small, power = (0, 1), found
        for bit in range(L.bit_length()):
            if L >> bit & 1:
                small = _added(small, power)
            power = _doubled(power)
        if _doubled(_doubled(small)) != (0, 1):
            multiples = [small]
            while multiples[-1] != (0, 1):
                multiples.append(_added(multiples[-1], small))
            assert len(multiples) == 8
            return tuple(sorted({y for _, y in multiples}))
    raise AssertionError("no point of order 8")


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("sign", [0, 1])
def test_an_ed25519_key_of_small_order_is_not_certified(number: int, sign: int) -> None:
    """Everybody can sign for such a key: with the neutral point as R and 0 as s, in one of eight cases or in all."""
    y = _small()[number]
    encodings = [y, y + P] if y + P < 2**255 else [y]
    for encoded in encodings:
        public_key = ed25519.Ed25519PublicKey.from_public_bytes((encoded | sign << 255).to_bytes(32, "little"))
        assert keys.weaknesses(public_key)
        info = _info(keys.spki(public_key))
        with pytest.raises(CertctlError):
            csr.read(_request(info, ED25519, b"\1" + bytes(63)))
    assert len(_small()) == 5


# Points that are none, and keys in other clothes

EC_P256 = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")


def _point(encoded: bytes) -> bytes:
    return asn1.sequence(EC_P256, asn1.bit_string(encoded))


def _points() -> Iterator[tuple[str, bytes]]:
    numbers = plans.key().public_key().public_numbers()
    x, y = (number.to_bytes(32, "big") for number in (numbers.x, numbers.y))
    yield "the point at infinity", b"\0"
    yield "beside the curve", b"\4" + x + bytes(32)
    yield "zeros", b"\4" + bytes(64)
    yield "a coordinate over the prime", b"\4" + b"\xff" * 64
    yield "one octet short", b"\4" + x + y[:-1]
    yield "one octet long", b"\4" + x + y + b"\0"
    yield "hybrid, with the wrong sign", bytes((6 + (1 - (y[-1] & 1)),)) + x + y
    yield "nothing", b""


@pytest.mark.parametrize("case", [what for what, _ in _points()])
def test_a_point_that_is_none_is_no_key(case: str) -> None:
    info = _info(_point(dict(_points())[case]))
    signature = plans.key().sign(info, ec.ECDSA(hashes.SHA256()))
    assert _is_refused(_request(info, ECDSA_SHA256, signature))


def _rsa_spki(n: int, e: int) -> bytes:
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return asn1.sequence(algorithm, asn1.bit_string(asn1.sequence(asn1.integer(n), asn1.integer(e))))


ODD_RSA: dict[str, Callable[[int], tuple[int, int]]] = {
    "an exponent of 1, with which everything is its own signature": lambda n: (n, 1),
    "an exponent of 3": lambda n: (n, 3),
    "an even exponent": lambda n: (n, 65536),
    "an exponent of 0": lambda n: (n, 0),
    "an exponent over the modulus": lambda n: (n, n + 2),
    "a modulus of 1024 bits": lambda n: (n >> 1024 | 1, 65537),
    "a modulus of 16384 bits": lambda n: (n**8, 65537),
    "an even modulus": lambda n: (n + 1, 65537),
    "a modulus with a small factor": lambda n: (n * 3, 65537),
    "a modulus of 0": lambda n: (0, 65537),
}


@pytest.mark.parametrize("case", ODD_RSA)
def test_an_odd_rsa_key_is_not_certified(case: str) -> None:
    n, e = ODD_RSA[case](_rsa_key().public_key().public_numbers().n)
    info = _info(_rsa_spki(n, e))
    block = _block(DIGEST_INFO + hashlib.sha256(info).digest())
    assert _is_refused(_request(info, RSA_SHA256, block if e == 1 else _signed_block(block)))


# BER where DER must be (X.690 sections 10 and 11)


def _signed(info: bytes) -> bytes:
    return _request(info, ECDSA_SHA256, plans.key().sign(info, ec.ECDSA(hashes.SHA256())))


def _in_ber() -> Iterator[tuple[str, bytes]]:
    spki = keys.spki(plans.key())
    info = _info(spki)
    sound = _signed(info)
    assert sound[:2] == b"\x30\x81"
    yield "a length with a zero in front", b"\x30\x82\x00" + sound[2:]
    yield "an indefinite length", b"\x30\x80" + sound[3:] + b"\0\0"
    yield "a version with a zero in front", _signed(asn1.sequence(b"\x02\x02\0\0", NAME, spki, b"\xa0\0"))
    yield "a negative version", _signed(asn1.sequence(b"\x02\x01\xff", NAME, spki, b"\xa0\0"))
    yield "rubbish behind", sound + b"\0"
    yield "rubbish within", _request(info + asn1.NULL, ECDSA_SHA256, plans.key().sign(info, ec.ECDSA(hashes.SHA256())))
    yield "true that is not all ones", _signed(_with_extension(b"\x01\x01\x01"))
    yield "a default that is written", _signed(_with_extension(b"\x01\x01\x00"))
    yield "unused bits in the signature", asn1.sequence(info, ECDSA_SHA256, b"\x03\x02\x07\x80")


def _with_extension(critical: bytes) -> bytes:
    value = x509.SubjectAlternativeName([x509.DNSName("a.example.com")]).public_bytes()
    extension = asn1.sequence(asn1.object_identifier("2.5.29.17"), critical, asn1.octets(value))
    requested = asn1.sequence(
        asn1.object_identifier("1.2.840.113549.1.9.14"), asn1.tlv(asn1.SET, asn1.sequence(extension))
    )
    return asn1.sequence(asn1.integer(0), NAME, keys.spki(plans.key()), asn1.tlv(0xA0, requested))


@pytest.mark.parametrize("case", [what for what, _ in _in_ber()])
def test_a_csr_in_ber_must_be_refused(case: str) -> None:
    assert _is_refused(dict(_in_ber())[case])


def test_the_csr_that_those_in_ber_differ_from_is_good() -> None:
    assert csr.facts(csr.read(_signed(_with_extension(b"\x01\x01\xff")))).common_name == "a.example.com"
