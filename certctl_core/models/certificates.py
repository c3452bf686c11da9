"""Managed certificates, their versions, and the attempts that made them."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, IntEnum

from attrs import field, frozen
from cryptography import x509

from certctl_core.ids import (
    AgentId,
    ApiKeyId,
    AttemptId,
    CertificateId,
    IssuerId,
    JobId,
    OwnerId,
    ProfileId,
    RenewalPolicyId,
    RevocationId,
    TargetId,
    TeamId,
    VersionId,
)


class CertificateStatus(Enum):
    """Where a managed certificate is in its life."""

    PENDING = "Pending"
    ACTIVE = "Active"
    EXPIRING = "Expiring"
    EXPIRED = "Expired"
    RENEWAL_IN_PROGRESS = "RenewalInProgress"
    FAILED = "Failed"
    REVOKED = "Revoked"
    ARCHIVED = "Archived"


class CertificateSource(Enum):
    """Which door the certificate came in by."""

    API = "API"
    AGENT = "Agent"
    EST = "EST"
    SCEP = "SCEP"
    ACME = "ACME"
    IMPORT = "Import"


class RevocationReason(Enum):
    """CRLReason names (RFC 5280 section 5.3.1). `code` is the number on the wire."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "caCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    CERTIFICATE_HOLD = "certificateHold"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"

    @property
    def code(self) -> int:
        return _REASON_CODES[self]


_REASON_CODES: Mapping[RevocationReason, int] = {
    RevocationReason.UNSPECIFIED: 0,
    RevocationReason.KEY_COMPROMISE: 1,
    RevocationReason.CA_COMPROMISE: 2,
    RevocationReason.AFFILIATION_CHANGED: 3,
    RevocationReason.SUPERSEDED: 4,
    RevocationReason.CESSATION_OF_OPERATION: 5,
    RevocationReason.CERTIFICATE_HOLD: 6,
    RevocationReason.PRIVILEGE_WITHDRAWN: 9,
}


@frozen(kw_only=True)
class ManagedCertificate:
    """A name the fleet must always be able to prove, whichever certificate proves it today.

    `generation` counts the attempts begun; `renew_at` is when the renewal sweep should next look at it (None: never);
    `expires_at` is the earliest notAfter among the newest versions of its key holders, None until first issued, and
    `valid_from` the notBefore of that version. `next_alert_at` is when somebody is next to be told that it ends.
    `overdue_at` is when its renewal, should it not have happened by then, is later than anything planned can explain
    (None: nobody promised one), and `overdue_reported_at` when that was reported.
    `next_policy_check_at` is when time alone may change what the policy rules say of it (None: it does not).
    `ordered_by` last decided what is to be issued: names, issuer, profile and targets; with `ordered_by_key`, if it is
    a key of the database. `enrolment_label` is the label of the protocol by which a device enrolled for it, which the
    same device renews it under; empty for the protocol's own label and for what was not enrolled.
    """

    id: CertificateId
    name: str
    common_name: str
    sans: tuple[str, ...] = ()
    environment: str = ""
    owner_id: OwnerId
    team_id: TeamId
    issuer_id: IssuerId
    renewal_policy_id: RenewalPolicyId
    profile_id: ProfileId | None = None
    target_ids: tuple[TargetId, ...] = ()
    tags: Mapping[str, str] = field(factory=dict)
    source: CertificateSource = CertificateSource.API
    enrolment_label: str = ""
    ordered_by: str = ""
    ordered_by_key: ApiKeyId | None = None
    status: CertificateStatus = CertificateStatus.PENDING
    status_reason: str = ""
    generation: int = 0
    valid_from: datetime | None = None
    expires_at: datetime | None = None
    renew_at: datetime | None = None
    next_alert_at: datetime | None = None
    overdue_at: datetime | None = None
    overdue_reported_at: datetime | None = None
    next_policy_check_at: datetime | None = None
    last_renewal_at: datetime | None = None
    last_deployment_at: datetime | None = None
    revoked_at: datetime | None = None
    revocation_reason: RevocationReason | None = None
    created_at: datetime
    updated_at: datetime
    revision: int = 1


class AttemptStatus(Enum):
    """An attempt is open until the CA's answer, or its refusal, is recorded."""

    REQUESTED = "Requested"
    ORDERED = "Ordered"
    ISSUED = "Issued"
    FAILED = "Failed"


@frozen(kw_only=True)
class IssuanceAttempt:
    """One order at one CA, written down before the CA is called.

    Serial number, validity and the part of the CRL that the certificate will name (0: it is not in parts) are fixed
    here, so that doing the call again after a crash asks for the same certificate rather than for a second one.
    """

    id: AttemptId
    certificate_id: CertificateId
    generation: int
    job_id: JobId | None
    agent_id: AgentId | None
    issuer_id: IssuerId
    csr: x509.CertificateSigningRequest
    serial_number: str
    not_before: datetime
    not_after: datetime
    crl_partition: int = 0
    status: AttemptStatus = AttemptStatus.REQUESTED
    upstream_order_id: str = ""
    error: str = ""
    created_at: datetime
    finished_at: datetime | None = None
    revision: int = 1


@frozen(kw_only=True)
class CertificateVersion:
    """One issued certificate. Its identity is (issuer, serial number); serial numbers are lower-case hex without
    leading zeros. `agent_id` names the host that holds the private key.

    `authority` is the key identifier (hexadecimal) of the CA that signed it, as far as it was noted.

    `is_foreign` tells an imported certificate that another CA than that of `issuer_id` issued: `issuer_id` can neither
    revoke nor answer for it, and its serial number is none of that CA's."""

    id: VersionId
    certificate_id: CertificateId
    generation: int
    attempt_id: AttemptId | None = None
    job_id: JobId | None = None
    agent_id: AgentId | None = None
    issuer_id: IssuerId
    serial_number: str
    not_before: datetime
    not_after: datetime
    fingerprint_sha256: str
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()
    csr: x509.CertificateSigningRequest | None = None
    key_algorithm: str = ""
    key_size: int = 0
    authority: str = ""
    is_foreign: bool = False
    created_at: datetime


@frozen(kw_only=True)
class Revocation:
    """A serial number that is no longer to be believed.

    `authority` is the key identifier (hex) of the CA that signed it, and `partition` the part of that CA's CRL that it
    is on: 0 where there are no parts, None for what is on none. `entry` is what stands there for it in DER. While
    nobody has worked these out they are empty. `change` numbers what happened in that part, by the store.
    `invalid_since` is from when on the key is known or thought not to have been good (invalidityDate). One that was on
    hold and has been released is no revocation any more: it stays on record for the deltas that have to tell. Without
    a `certificate_id` it is the certificate of one of our CAs that is revoked.
    """

    id: RevocationId
    certificate_id: CertificateId | None
    issuer_id: IssuerId
    serial_number: str
    reason: RevocationReason
    revoked_by: str
    revoked_at: datetime
    not_after: datetime
    invalid_since: datetime | None = None
    issuer_notified: bool = False
    authority: str = ""
    partition: int | None = None
    entry: bytes = field(default=b"", repr=False)
    change: int = field(default=0, eq=False)
    released_at: datetime | None = None


@frozen(kw_only=True)
class Deployment:
    """What is known of one certificate on one target: issued, installed and served are three facts."""

    certificate_id: CertificateId
    target_id: TargetId
    installed_fingerprint: str = ""
    installed_at: datetime | None = None
    served_fingerprint: str = ""
    served_at: datetime | None = None
    last_error: str = ""


class KeyUsageBit(IntEnum):
    """Bits of keyUsage (RFC 5280 section 4.2.1.3) that certctl sets in leaf certificates."""

    DIGITAL_SIGNATURE = 0
    CONTENT_COMMITMENT = 1
    KEY_ENCIPHERMENT = 2
    KEY_AGREEMENT = 4
