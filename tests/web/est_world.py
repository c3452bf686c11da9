"""EST in the application: labels, devices, and what their connections show."""

import base64
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import AttributeOID, NameOID

from certctl_core.ids import IssuerId, OwnerId, ProfileId, RenewalPolicyId, TeamId
from certctl_core.pki import ca, names, serials
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import LeafPlan
from certctl_core.policy.shared_secret import SharedSecret
from certctl_core.usecases.enrolment import Belonging
from certctl_core.usecases.est import Label, Method

BELONGS = Belonging(owner_id=OwnerId("o-1"), team_id=TeamId("t-1"), renewal_policy_id=RenewalPolicyId("rp-default"))
AT = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)
"""The time of the tests' clock."""

PASSWORD = "the password of the phones"
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


BIRTH = ca.create_root("Makers CA", KeyKind.ECDSA_P256, AT - timedelta(days=400), timedelta(days=3650))


def born(
    name: str = "phone-1", *ekus: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None
) -> x509.Certificate:
    """A certificate that a device has from its maker."""
    plan = LeafPlan(
        common_name=name,
        sans=names.names_of(name, ()),
        public_key=(key or ec.generate_private_key(ec.SECP256R1())).public_key(),
        serial_number=serials.new_serial(),
        not_before=AT - timedelta(days=300),
        not_after=AT + timedelta(days=300),
        ekus=ekus or ("clientAuth",),
    )
    return ca.sign_leaf(BIRTH, plan)


def label(name: str = "", *methods: Method, profile: str | None = None, **more: Any) -> Label:
    return Label(
        name=name,
        issuer_id=IssuerId("iss-local"),
        profile_id=None if profile is None else ProfileId(profile),
        belongs=BELONGS,
        methods=frozenset(methods or (Method.BASIC, Method.MTLS)),
        password=SharedSecret.of(PASSWORD),
        **more,
    )


def basic(password: str = PASSWORD, user: str = "phone") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def request(
    key: Key, name: str = "phone-1.example.com", sans: Sequence[str] = (), challenge: bytes | None = None
) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(names.general_names(sans)), critical=False)
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge)
    return builder.sign(key, hashes.SHA256())


def body(csr: x509.CertificateSigningRequest) -> bytes:
    return base64.b64encode(csr.public_bytes(Encoding.DER))


def certificates(content: bytes) -> list[x509.Certificate]:
    """What is in a certs-only answer."""
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(content, validate=True))


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    program = shutil.which("openssl")
    assert program is not None
    done = subprocess.run([program, *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@define
class Connection:
    """What a TLS connection says of its client."""

    certificate: x509.Certificate | None = None
    tls_version: str = "TLSv1.3"
    unique: bytes | None = None
    asked: list[bool] = field(factory=list)

    def getpeercert(self, binary_form: bool = False) -> bytes | None:
        return None if self.certificate is None else self.certificate.public_bytes(Encoding.DER)

    def get_channel_binding(self, cb_type: str) -> bytes | None:
        return self.unique

    def version(self) -> str | None:
        return self.tls_version
