"""Enrolment: devices that ask for certificates by a protocol of their own, with keys that never leave them."""

from datetime import datetime
from enum import Enum

from attrs import field, frozen
from cryptography import x509

from certctl_core.ids import CertificateId, EnrolmentId, EnrolmentSecretId, JobId
from certctl_core.models.certificates import CertificateSource, ManagedCertificate


class EnrolmentProtocol(Enum):
    """How a device asks."""

    EST = "EST"
    SCEP = "SCEP"

    @property
    def source(self) -> CertificateSource:
        """What the inventory says of certificates that came by it."""
        return CertificateSource(self.value)


ENROLLED: tuple[CertificateSource, ...] = tuple(protocol.source for protocol in EnrolmentProtocol)


def is_renewed_by_device(certificate: ManagedCertificate) -> bool:
    """Whether only the device that enrolled can renew it: it has the key, and no agent is to have one."""
    return certificate.source in ENROLLED and not certificate.target_ids


@frozen(kw_only=True)
class Enrolment:
    """What a device asked for last in one transaction of a protocol, so that asking again is answered with what became
    of it. `transaction` is the device's own name for it, unique within protocol and label; where the protocol has
    none it is made from the key. `key_sha256` is of the SubjectPublicKeyInfo, in hex. It goes when its job does."""

    id: EnrolmentId
    protocol: EnrolmentProtocol
    label: str
    transaction: str
    key_sha256: str
    csr: x509.CertificateSigningRequest
    certificate_id: CertificateId
    job_id: JobId
    client: str
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@frozen(kw_only=True)
class EnrolmentSecret:
    """What a device shows to enrol: an HTTP password (EST) or a challengePassword (SCEP).

    Only its SHA-256 is kept: it is made of 160 random bits, so that a fast hash gives nothing away. A secret that is
    bound is good for this common name and these SANs only (the common name may always be one of them); a single-use
    secret for one transaction, whose name is then in `used_for`, as often as it is repeated.
    """

    id: EnrolmentSecretId
    protocol: EnrolmentProtocol
    label: str
    description: str = ""
    secret_hash: str = field(repr=False)
    common_name: str = ""
    sans: tuple[str, ...] = ()
    single_use: bool = True
    created_by: str = ""
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    used_for: str = ""
    revision: int = 1

    @property
    def is_bound(self) -> bool:
        return bool(self.common_name or self.sans)
