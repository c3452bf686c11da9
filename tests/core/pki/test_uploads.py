"""Uploaded certificates: kept as they are, refused when they cannot be shown or told apart, whatever the bytes."""

import base64
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from certctl_core.errors import Invalid, Refused, TooLarge, Unreadable
from certctl_core.pki import uploads
from tests import strangers
from tests.strangers import authority, certificate, dns, key, name, pem

LEAF = certificate("www.example.org", dns("www.example.org"))


def test_what_leads_upwards_is_kept_in_order_and_the_rest_is_not() -> None:
    middle, root = authority(), authority("Stranger Root")
    other = certificate("other.example.org")
    found = uploads.read(pem(LEAF, other, root, middle, middle))
    assert found.certificate == LEAF
    assert found.above == (middle, root)
    assert uploads.read(pem(LEAF, other)).above == ()


def test_every_kind_of_name_is_kept() -> None:
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("*.example.org"),
            x509.IPAddress(ip_address("2001:db8::1")),
            x509.RFC822Name("olga@example.org"),
            x509.UniformResourceIdentifier("spiffe://example.org/web"),
            x509.DirectoryName(name("Olga")),
            x509.RegisteredID(x509.ObjectIdentifier("1.3.6.1")),
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01u"),
        ]
    )
    assert uploads.read(pem(certificate("x", names))).facts.sans == (
        "*.example.org",
        "2001:db8::1",
        "olga@example.org",
        "spiffe://example.org/web",
        "dirName:CN=Olga",
        "RID:1.3.6.1",
        "otherName:1.3.6.1.4.1.311.20.2.3:0c0175",
    )


@pytest.mark.parametrize(
    ("subject", "sans", "wanted"),
    [
        ("www.example.org", ("a.example.org",), "www.example.org"),
        ("Olga's laptop", ("a.example.org", "b.example.org"), "a.example.org"),
        ("", ("a.example.org",), "a.example.org"),
        ("Olga's laptop", (), "Olga's laptop"),
        ("two\nlines", (), "two?lines"),
        ("olga@example.org", (), "olga@example.org"),
        ("192.0.2.1", (), "192.0.2.1"),
    ],
)
def test_the_common_name_is_one_that_can_be_issued_if_there_is_any(
    subject: str, sans: tuple[str, ...], wanted: str
) -> None:
    subject_name = name(subject) if subject else x509.Name([])
    extensions = [dns(*sans)] if sans else []
    assert uploads.read(pem(certificate(subject_name, *extensions))).common_name == wanted


def test_a_certificate_without_any_name_is_called_by_its_serial_number() -> None:
    organisation = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")])
    assert uploads.read(pem(certificate(organisation, serial=0xAB))).common_name == "serial-ab"


@pytest.mark.parametrize(
    "public_key",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key(),  # noqa: S505 - on purpose
        dsa.generate_private_key(1024).public_key(),  # noqa: S505 - on purpose
        ed25519.Ed25519PrivateKey.generate().public_key(),
    ],
    ids=["RSA 1024", "DSA", "Ed25519"],
)
def test_weak_and_odd_keys_are_seen_too(public_key: rsa.RSAPublicKey) -> None:
    assert uploads.read(pem(certificate("x", public_key=public_key))).facts.key.size > 0


def test_a_ca_is_told_from_an_end_entity() -> None:
    assert uploads.read(pem(authority())).facts.is_ca
    assert not uploads.read(pem(LEAF)).facts.is_ca


def test_who_signed_is_known_by_key_and_not_by_name() -> None:
    impostor = certificate("www.example.org", signed_by=key("somebody else"))
    assert uploads.is_of(LEAF, [authority("Stranger Root"), authority()])
    assert not uploads.is_of(impostor, [authority()])
    assert not uploads.is_of(LEAF, [])


PRIVATE = strangers.key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", Unreadable, "no certificate in PEM"),
        ("hello", Unreadable, "no certificate in PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Unreadable, "cannot be read"),
        (pem(LEAF) + PRIVATE, Refused, "private key"),
        (pem(LEAF) + "-----BEGIN RSA PRIVATE KEY-----\n", Refused, "private key"),
        ("é" + pem(LEAF), Unreadable, "ASCII"),
        (pem(LEAF) * 12, TooLarge, "more than 11"),
        (" " * (uploads.MAX_UPLOAD_BYTES + 1), TooLarge, "over"),
        (pem(certificate("x", x509.PrecertPoison())), Unreadable, "precertificate"),
        (pem(certificate("x", dns("a\x00b.example.org"))), Unreadable, "control characters in its name 1"),
        (pem(certificate("x", dns("ok", "a\x1b[2J"))), Unreadable, "control characters in its name 2"),
    ],
)
def test_what_is_no_use_is_refused_with_the_reason(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        uploads.read(text)


def test_a_certificate_that_ends_before_it_begins_is_refused() -> None:
    der = certificate("x", begins=datetime(2026, 10, 1, tzinfo=UTC), life=timedelta(days=1)).public_bytes(Encoding.DER)
    begins, ends = b"261001000000Z", b"261002000000Z"
    swapped = der.replace(begins, b"*" * 13).replace(ends, begins).replace(b"*" * 13, ends)
    with pytest.raises(Unreadable, match="ends before it begins"):
        uploads.read(_armoured(swapped))


@given(st.binary(max_size=600), st.integers(0, 400), st.integers(1, 40))
def test_no_bytes_bring_it_down(noise: bytes, at: int, length: int) -> None:
    """A certificate with some of its bytes replaced, and noise that claims to be one."""
    der = bytearray(LEAF.public_bytes(Encoding.DER))
    der[at : at + length] = noise[:length]
    for content in (bytes(der), noise):
        try:
            found = uploads.read(_armoured(content))
        except (Invalid, Refused, TooLarge):
            continue
        assert len(found.facts.fingerprint_sha256) == 64
        assert found.common_name


def _armoured(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"
