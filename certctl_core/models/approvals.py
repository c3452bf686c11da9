"""Approval requests: what somebody else has to agree to before it is issued."""

from datetime import datetime
from enum import Enum

from attrs import frozen

from certctl_core.ids import ApiKeyId, ApprovalId, CertificateId, JobId, ProfileId


class ApprovalState(Enum):
    """`EXPIRED` covers whatever is to be relied on no more: nobody decided in time, what asked for it is over, or the
    certificate is not what was approved any more. `closed_reason` says which."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


@frozen(kw_only=True)
class ApprovalRequest:
    """May exactly this be issued? One for each issuing job of a profile that wants it asked.

    `content` is canonical JSON of everything that is known of the certificate before its key is there
    (`policy.approval.content`), `content_sha256` its SHA-256 in lower-case hex; neither ever changes. `requested_by`
    asked for the certificate to be issued, `ordered_by` last decided what it is to say; each with the API key that was
    used, if it is one of the database. None of them may approve. `decided_by` keeps who approved a request that has
    expired since.
    """

    id: ApprovalId
    certificate_id: CertificateId
    job_id: JobId
    profile_id: ProfileId | None = None
    content: str
    content_sha256: str
    requested_by: str
    requested_by_key: ApiKeyId | None = None
    ordered_by: str = ""
    ordered_by_key: ApiKeyId | None = None
    state: ApprovalState = ApprovalState.PENDING
    decided_by: str = ""
    decided_at: datetime | None = None
    decision_note: str = ""
    closed_reason: str = ""
    created_at: datetime
    updated_at: datetime
    revision: int = 1
