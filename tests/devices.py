"""A SCEP client (RFC 8894) for tests: devices that ask, and that read what they are answered."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any

from attrs import define, evolve, field, frozen
from cryptography import x509
from cryptography.hazmat import asn1 as typed
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import AttributeOID, NameOID

from certctl_core.pki import asn1, cms, keys
from certctl_core.pki.cms.structures import SIGNED_DATA, SignedData, issuer_and_serial, message, whole
from certctl_core.pki.scep import MessageType
from tests import plans, strangers

MESSAGE_TYPE = "2.16.840.1.113733.1.9.2"
PKI_STATUS = "2.16.840.1.113733.1.9.3"
FAIL_INFO = "2.16.840.1.113733.1.9.4"
SENDER_NONCE = "2.16.840.1.113733.1.9.5"
RECIPIENT_NONCE = "2.16.840.1.113733.1.9.6"
TRANSACTION_ID = "2.16.840.1.113733.1.9.7"
FAIL_INFO_TEXT = "1.3.6.1.5.5.7.24.1"
SIGNING_TIME = "1.2.840.113549.1.9.5"

EVERYTHING = cms.MODERN.also(*cms.Cipher, *cms.Digest)

_KEYS: dict[str, rsa.RSAPrivateKey] = {}


def rsa_key(name: str = "device") -> rsa.RSAPrivateKey:
    """The same for the same name, for as long as the tests run."""
    if name not in _KEYS:
        _KEYS[name] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return _KEYS[name]


@cache
def registration_authority() -> x509.Certificate:
    """The certificate of an RA of the operator's, of the key named RA."""
    usage: dict[str, bool] = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
         "encipher_only", "decipher_only"),
        False,
    )  # fmt: skip
    allowed = x509.KeyUsage(digital_signature=True, key_encipherment=True, **usage)
    return strangers.certificate("own RA", allowed, public_key=rsa_key("RA").public_key())


def weak_key() -> rsa.RSAPrivateKey:
    """1024 bits."""
    return plans.weak_rsa()


@frozen
class Said:
    """What a CertRep says."""

    status: str
    fail_info: str
    text: str
    transaction_id: str
    sender_nonce: bytes
    recipient_nonce: bytes
    signer: x509.Certificate
    certificates: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()


@define(kw_only=True)
class Device:
    """A key, a name and the certificate that messages are signed with: at first one that the device signed itself."""

    common_name: str = "device-1.example.com"
    sans: tuple[str, ...] = ()
    key: rsa.RSAPrivateKey = field(factory=rsa_key)
    certificate: x509.Certificate | None = None
    signing_key: Any = None
    cipher: cms.Cipher = cms.Cipher.AES_128
    digest: cms.Digest = cms.Digest.SHA256

    @cached_property
    def transaction_id(self) -> str:
        return keys.key_identifier(self.key.public_key()).hex()

    @property
    def signer(self) -> cms.Signer:
        """Who signs, and is answered to."""
        return cms.Signer(self.certificate or self.own_certificate, self.signing_key or self.key)

    @cached_property
    def own_certificate(self) -> x509.Certificate:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            self._name, self._name, self.key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1)
        ).sign(self.key, hashes.SHA256())

    @cached_property
    def _name(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)])

    def csr(self, challenge: str = "", *extensions: x509.ExtensionType) -> x509.CertificateSigningRequest:
        builder = x509.CertificateSigningRequestBuilder().subject_name(self._name)
        if challenge:
            builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
        if self.sans:
            names = x509.SubjectAlternativeName([x509.DNSName(one) for one in self.sans])
            builder = builder.add_extension(names, critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    # Messages

    def pkcs_req(self, ra: x509.Certificate, challenge: str = "", **changes: Any) -> bytes:
        """A PKCSReq; `changes` as `message` has them."""
        content = self.csr(challenge).public_bytes(Encoding.DER)
        return self.message(MessageType.PKCS_REQ, content, ra, **changes)

    def renewal_req(self, ra: x509.Certificate, challenge: str = "", **changes: Any) -> bytes:
        content = self.csr(challenge).public_bytes(Encoding.DER)
        return self.message(MessageType.RENEWAL_REQ, content, ra, **changes)

    def cert_poll(
        self, ra: x509.Certificate, issuer: x509.Name, subject: x509.Name | None = None, **changes: Any
    ) -> bytes:
        content = asn1.sequence(issuer.public_bytes(), (subject or self._name).public_bytes())
        return self.message(MessageType.CERT_POLL, content, ra, **changes)

    def get_cert(self, ra: x509.Certificate, wanted: x509.Certificate, **changes: Any) -> bytes:
        return self.message(MessageType.GET_CERT, issuer_and_serial(wanted), ra, **changes)

    def get_crl(self, ra: x509.Certificate, about: x509.Certificate, **changes: Any) -> bytes:
        return self.message(MessageType.GET_CRL, issuer_and_serial(about), ra, **changes)

    def message(
        self,
        kind: MessageType | str,
        content: bytes,
        ra: x509.Certificate,
        *,
        nonce: bytes | None = None,
        transaction_id: str | None = None,
        attributes: Mapping[str, bytes | None] | None = None,
    ) -> bytes:
        """A message with this content; `attributes` replace or, where None, leave out signed attributes."""
        named = {
            MESSAGE_TYPE: asn1.printable(kind if isinstance(kind, str) else kind.value),
            TRANSACTION_ID: asn1.printable(transaction_id or self.transaction_id),
            SENDER_NONCE: asn1.octets(secrets.token_bytes(16) if nonce is None else nonce),
            **(attributes or {}),
        }
        signed = {oid: value for oid, value in named.items() if value is not None}
        return cms.sign(cms.envelop(content, ra, self.cipher), self.signer, signed, digest=self.digest)

    def read(self, answer: bytes) -> Said:
        """What a CertRep says to this device."""
        found = cms.read_signed(answer)
        said = Said(
            status=_text(found.attributes.get(PKI_STATUS, ())),
            fail_info=_text(found.attributes.get(FAIL_INFO, ())),
            text=_text(found.attributes.get(FAIL_INFO_TEXT, ())),
            transaction_id=_text(found.attributes[TRANSACTION_ID]),
            sender_nonce=typed.decode_der(bytes, *found.attributes[SENDER_NONCE]),
            recipient_nonce=typed.decode_der(bytes, *found.attributes[RECIPIENT_NONCE]),
            signer=found.signer,
        )
        assert _text(found.attributes[MESSAGE_TYPE]) == MessageType.CERT_REP.value
        assert (found.content is None) == (said.status != "0")
        if found.content is None:
            return said
        signer = self.signer
        recipient = cms.Recipient(signer.certificate, self.signing_key or self.key)
        inner = cms.open_envelope(found.content, [recipient], EVERYTHING).content
        lists = message(inner, SIGNED_DATA, SignedData, "the answer").crls or ()
        return evolve(
            said,
            certificates=tuple(pkcs7.load_der_pkcs7_certificates(inner)) if not lists else (),
            crls=tuple(x509.load_der_x509_crl(whole(one)) for one in lists),
        )


def authorities(degenerate: bytes) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """What GetCACert gave: the RA, which can be enciphered to, and the CAs."""
    found = pkcs7.load_der_pkcs7_certificates(degenerate)
    (ra,) = (one for one in found if _may_encipher(one))
    return ra, tuple(one for one in found if one != ra)


def _may_encipher(certificate: x509.Certificate) -> bool:
    return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment


def _text(values: tuple[bytes, ...]) -> str:
    if not values:
        return ""
    (value,) = values
    return typed.decode_der(str, value) if value[0] == 0x0C else typed.decode_der(typed.PrintableString, value).as_str()
