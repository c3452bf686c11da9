"""SCEP: devices that enrol, over HTTPS, with everything recorded: `python -m bench scep`.

Each PKCSReq is of another device: another name, another transaction, another nonce. The keys are a few RSA keys of 2048
bits, made beforehand, because making one takes a device longer than all that follows; the messages are made beforehand
too, and what one costs its device is told beside. A message costs us two operations with the RSA key of the
registration authority, one to open it and one to sign the answer, which no other part of the work can be cheaper than.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import psycopg
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import AttributeOID, NameOID

from bench import load
from bench.report import Figure
from bench.server import Server
from bench.suite import Suite
from certctl_core.errors import CertctlError
from certctl_core.pki import asn1, cms, scep
from certctl_core.pki.scep import MessageType

ENROLMENTS: Final = 120.0
MALFORMED: Final = 1.0
DEVICES: Final = 1_500
KEYS: Final = 8
CHALLENGE: Final = "open sesame"
_PATH: Final = "/scep?operation=PKIOperation"
_HEAD: Final = (
    f"POST {_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-pki-message\r\nContent-Length: %d\r\n\r\n"
)
_SETTINGS: Final = {
    "CERTCTL_SCEP_ENABLED": "true",
    "CERTCTL_SCEP_CHALLENGE_PASSWORD": CHALLENGE,
    "CERTCTL_SCEP_OWNER_ID": "o-0001",
    "CERTCTL_SCEP_TEAM_ID": "t-001",
}


def run(suite: Suite) -> None:
    with suite.fleet.copy(suite.place) as fleet, Server(fleet, environment=_SETTINGS) as server:
        report = suite.report("SCEP: a PKCSReq in, certificate issued, stored and audited, CertRep out (RSA-2048)")
        ra, senders = _registration_authority(server), [Sender.make() for _ in range(KEYS)]
        load.run(server, map(_posted, _messages(senders, ra, 100)))
        messages, begun = list(_messages(senders, ra, DEVICES)), _issued(server)
        enrolled = load.run(server, map(_posted, messages))
        issued = _issued(server) - begun
        if issued != DEVICES:
            raise AssertionError(f"{issued} certificates were issued for {DEVICES} devices")
        report.add(enrolled.rate("PKCSReq, one request each", ENROLMENTS))
        again = load.run(server, map(_posted, messages))
        report.add(Figure(what="the same again, answered the same", value=DEVICES / again.took, unit="/s"))
        cut = [message[:-20] for message in messages[:1000]]
        refused = load.run(server, map(_posted, cut))
        report.add(Figure(what="a message cut off, over HTTPS", value=refused.usage.each(len(cut)).programs * 1000))
        if _issued(server) - begun != DEVICES:
            raise AssertionError("a message that was cut off has had something issued")
        malformed = {"cut off": cut[0], "noise": secrets.token_bytes(3000), "a bare CSR": _csr(senders[0])}
        for what, data in malformed.items():
            each = _each(partial(_refuse, data))
            report.add(Figure(what=f"a malformed message ({what}), read and refused", value=each, goal=MALFORMED))
        report.add(Figure(what="the device: CSR, envelope and signature", value=_each(senders[0].asks(ra))))
        report.add(Figure(what="limit: two operations with an RSA key", value=_each(_two_operations(senders[0]))))
        for figure in load.memory(server):
            report.add(figure)


@frozen
class Sender:
    """A key of a device and the certificate that it has signed itself."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls) -> "Sender":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name, now = _name("device"), datetime.now(UTC)
        life = (now - timedelta(days=1), now + timedelta(days=1))
        certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, *life).sign(key, hashes.SHA256())
        return cls(key, certificate)

    def pkcs_req(self, name: str, ra: x509.Certificate) -> bytes:
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(_name(name))
            .add_attribute(AttributeOID.CHALLENGE_PASSWORD, CHALLENGE.encode())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        envelope = cms.envelop(csr.public_bytes(Encoding.DER), ra)
        attributes = {
            "2.16.840.1.113733.1.9.2": asn1.printable(MessageType.PKCS_REQ.value),
            "2.16.840.1.113733.1.9.5": asn1.octets(secrets.token_bytes(scep.NONCE_BYTES)),
            "2.16.840.1.113733.1.9.7": asn1.printable(secrets.token_hex(20)),
        }
        return cms.sign(envelope, cms.Signer(self.certificate, self.key), attributes)

    def asks(self, ra: x509.Certificate) -> Callable[[], object]:
        return lambda: self.pkcs_req("device-1.example.com", ra)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _messages(senders: Sequence[Sender], ra: x509.Certificate, count: int) -> Iterator[bytes]:
    for number in range(count):
        yield senders[number % len(senders)].pkcs_req(f"{secrets.token_hex(6)}.devices.example.com", ra)


def _posted(message: bytes) -> bytes:
    return (_HEAD % len(message)).encode() + message


def _registration_authority(server: Server) -> x509.Certificate:
    with server.client() as client:
        found = pkcs7.load_der_pkcs7_certificates(client.ask("GET", "/scep?operation=GetCACert").body)
    (ra,) = (one for one in found if one.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment)
    return ra


def _issued(server: Server) -> int:
    with psycopg.connect(server.database) as connection:
        row = connection.execute(
            b"SELECT count(*) FROM enrolments AS e JOIN jobs AS j ON j.id = e.job_id "
            b"WHERE e.protocol = 'SCEP' AND j.status = 'Completed'"
        ).fetchone()
    return int(row[0]) if row else 0


def _csr(sender: Sender) -> bytes:
    csr = x509.CertificateSigningRequestBuilder(_name("a")).sign(sender.key, hashes.SHA256())
    return csr.public_bytes(Encoding.DER)


def _refuse(data: bytes) -> None:
    try:
        scep.receive(data)
    except CertctlError:
        return
    raise AssertionError("a malformed message was read")


def _two_operations(sender: Sender) -> Callable[[], object]:
    envelope = cms.envelop(b"content", sender.certificate)
    recipients = [cms.Recipient(sender.certificate, sender.key)]
    signer = cms.Signer(sender.certificate, sender.key)
    return lambda: cms.sign(cms.open_envelope(envelope, recipients).content, signer)


def _each(do: Callable[[], object], seconds: float = 1.0) -> float:
    """Milliseconds of processor time."""
    done, begun = 0, time.process_time()
    while time.process_time() - begun < seconds:
        do()
        done += 1
    return (time.process_time() - begun) / done * 1000
