"""OpenSSL reads our messages and we read those of OpenSSL, in every form that it writes them in."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.errors import Refused, Unreadable
from certctl_core.pki import cms, crl, keys
from certctl_core.pki.plan import CrlPlan
from tests import plans, strangers
from tests.authority import pem
from tests.core.pki.cms import messages
from tests.interop.peers import Peer, peer

pytestmark = pytest.mark.interop

KINDS = ("RSA", "P-256", "P-384")
EVERYTHING = cms.MODERN.also(*cms.Cipher, *cms.Digest)


@pytest.fixture
def openssl() -> Peer:
    return peer("openssl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A certificate and its key for each kind, and something to say."""
    for kind in KINDS:
        signer = messages.signer(kind)
        (tmp_path / f"{kind}.pem").write_text(pem(signer.certificate))
        (tmp_path / f"{kind}.key").write_text(keys.to_pem(signer.private_key))
    named = messages.certificate("client", x509.SubjectKeyIdentifier(b"k" * 20))
    (tmp_path / "named.pem").write_text(pem(named))
    (tmp_path / "content").write_bytes(b"content" * 100)
    return tmp_path


CONTENT = b"content" * 100


@pytest.mark.parametrize("digest", [one for one in cms.Digest if one is not cms.Digest.SHA1], ids=lambda one: one.name)
@pytest.mark.parametrize("kind", KINDS)
def test_openssl_verifies_what_we_sign(openssl: Peer, folder: Path, kind: str, digest: cms.Digest) -> None:
    signer = messages.signer(kind)
    message = cms.sign(CONTENT, signer, {messages.ATTRIBUTE: messages.VALUE}, digest=digest)
    (folder / "message").write_bytes(message)
    verify = ("cms", "-verify", "-inform", "DER", "-in", "message", "-binary", "-CAfile", f"{kind}.pem")
    options = ("-partial_chain", "-purpose", "any", "-no_check_time", "-out", "read")
    assert "Verification successful" in openssl.run(*verify, *options, folder=folder)
    assert (folder / "read").read_bytes() == CONTENT
    (folder / "message").write_bytes(message.replace(b"contentc", b"Contentc", 1))
    openssl.run(*verify, *options, folder=folder, fails=True)


def test_openssl_shows_our_attributes(openssl: Peer, folder: Path) -> None:
    message = cms.sign(None, messages.signer(), {messages.ATTRIBUTE: messages.VALUE})
    (folder / "message").write_bytes(message)
    said = openssl.run("cms", "-cmsout", "-print", "-inform", "DER", "-in", "message", folder=folder)
    assert messages.ATTRIBUTE in said
    assert "PRINTABLESTRING:19" in said


@pytest.mark.parametrize("cipher", cms.Cipher, ids=lambda one: one.name)
def test_openssl_opens_what_we_close(openssl: Peer, folder: Path, cipher: cms.Cipher) -> None:
    (folder / "envelope").write_bytes(cms.envelop(CONTENT, messages.certificate(), cipher))
    legacy = ("-provider", "legacy", "-provider", "default") if cipher is cms.Cipher.DES else ()
    openssl.run(
        "cms", "-decrypt", *legacy, "-inform", "DER", "-in", "envelope", "-inkey", "RSA.key", "-recip", "RSA.pem",
        "-binary", "-out", "read",
        folder=folder,
    )  # fmt: skip
    assert (folder / "read").read_bytes() == CONTENT


def test_openssl_lists_what_we_hand_over(openssl: Peer, folder: Path) -> None:
    certificates = [messages.certificate(), strangers.authority()]
    (folder / "certificates").write_bytes(cms.degenerate(certificates))
    said = openssl.run("pkcs7", "-inform", "DER", "-in", "certificates", "-print_certs", "-noout", folder=folder)
    assert all(one.subject.rfc4514_string().removeprefix("CN=") in said for one in certificates)


SIGNING = {
    "usual": (),
    "with SHA-512": ("-md", "sha512"),
    "with SHA-1": ("-md", "sha1"),
    "without a length in front": ("-stream",),
    "with certificates on top": ("-certfile", "named.pem"),
}


@pytest.mark.parametrize("case", SIGNING)
@pytest.mark.parametrize("kind", KINDS)
def test_we_read_what_openssl_signs(openssl: Peer, folder: Path, kind: str, case: str) -> None:
    openssl.run(
        "cms", "-sign", "-binary", "-nodetach", "-in", "content", "-signer", f"{kind}.pem", "-inkey", f"{kind}.key",
        "-outform", "DER", "-out", "message", *SIGNING[case],
        folder=folder,
    )  # fmt: skip
    found = cms.read_signed((folder / "message").read_bytes(), EVERYTHING)
    assert found.content == CONTENT
    assert keys.same_key(found.signer, messages.signer(kind).certificate)


def test_we_find_a_signer_by_its_key_identifier(openssl: Peer, folder: Path) -> None:
    openssl.run(
        "cms", "-sign", "-binary", "-nodetach", "-in", "content", "-signer", "named.pem", "-inkey", "RSA.key",
        "-keyid", "-outform", "DER", "-out", "message",
        folder=folder,
    )  # fmt: skip
    assert cms.read_signed((folder / "message").read_bytes()).content == CONTENT


@pytest.mark.parametrize("salt", ["-1", "0", "20", "-2"])
def test_we_read_probabilistic_signatures(openssl: Peer, folder: Path, salt: str) -> None:
    openssl.run(
        "cms", "-sign", "-binary", "-nodetach", "-in", "content", "-signer", "RSA.pem", "-inkey", "RSA.key",
        "-outform", "DER", "-out", "message", "-keyopt", "rsa_padding_mode:pss", "-keyopt", f"rsa_pss_saltlen:{salt}",
        folder=folder,
    )  # fmt: skip
    message = (folder / "message").read_bytes()
    if salt == "-2":  # As long as can be, which is longer than any hash.
        with pytest.raises(Unreadable):
            cms.read_signed(message)
        return
    assert cms.read_signed(message).content == CONTENT


ENCIPHERING = {
    "AES-128": ("-aes128",),
    "AES-192": ("-aes192",),
    "AES-256": ("-aes256",),
    "3DES": ("-des3",),
    "without a length in front": ("-aes128", "-stream"),
    "with OAEP": ("-aes128", "-keyopt", "rsa_padding_mode:oaep"),
    "with OAEP and SHA-256": ("-aes128", "-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"),
}


@pytest.mark.parametrize("case", ENCIPHERING)
def test_we_open_what_openssl_closes(openssl: Peer, folder: Path, case: str) -> None:
    cipher, *options = ENCIPHERING[case]
    openssl.run(
        "cms", "-encrypt", cipher, "-binary", "-in", "content", "-outform", "DER", "-out", "envelope",
        "-recip", "RSA.pem", *options,
        folder=folder,
    )  # fmt: skip
    envelope = (folder / "envelope").read_bytes()
    assert cms.open_envelope(envelope, [messages.recipient()], EVERYTHING).content == CONTENT
    if case == "3DES":
        with pytest.raises(Refused):
            cms.open_envelope(envelope, [messages.recipient()])


def test_we_open_what_is_for_several(openssl: Peer, folder: Path) -> None:
    (folder / "other.pem").write_text(pem(messages.certificate("other")))
    openssl.run(
        "cms", "-encrypt", "-aes256", "-binary", "-in", "content", "-outform", "DER", "-out", "envelope",
        "-recip", "other.pem", "-recip", "P-256.pem", "-recip", "RSA.pem",
        folder=folder,
    )  # fmt: skip
    envelope = (folder / "envelope").read_bytes()
    assert cms.open_envelope(envelope, [messages.recipient()]).content == CONTENT
    assert cms.open_envelope(envelope, [messages.recipient("other")]).content == CONTENT


def test_openssl_reads_crls_that_we_hand_over(openssl: Peer, folder: Path) -> None:
    der = crl.sign_crl(plans.authority(), CrlPlan(7, plans.NOW, plans.NOW.replace(year=2027), ()))
    (folder / "crls").write_bytes(cms.degenerate(crls=[der]))
    said = openssl.run("pkcs7", "-inform", "DER", "-in", "crls", "-print_certs", folder=folder)
    assert x509.load_der_x509_crl(der).public_bytes(Encoding.PEM).decode().strip() in said
