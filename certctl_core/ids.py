"""Identifiers: opaque text with a readable prefix.

A minted id sorts by time of creation (48 bits of milliseconds, then 80 bits that begin random and count up within one
millisecond, in Crockford's base 32: the layout of a monotonic ULID), so that rows created together lie together in an
index and events of one transaction keep their order. Ids chosen by clients are accepted as they are,
within `CLIENT_ID`; nothing but the store's key ever depends on what an id looks like.
"""

import re
import secrets
import threading
from datetime import datetime
from typing import Final, NewType

CertificateId = NewType("CertificateId", str)
VersionId = NewType("VersionId", str)
AttemptId = NewType("AttemptId", str)
JobId = NewType("JobId", str)
AgentId = NewType("AgentId", str)
TargetId = NewType("TargetId", str)
IssuerId = NewType("IssuerId", str)
OwnerId = NewType("OwnerId", str)
TeamId = NewType("TeamId", str)
ProfileId = NewType("ProfileId", str)
RenewalPolicyId = NewType("RenewalPolicyId", str)
ApiKeyId = NewType("ApiKeyId", str)
JoinTokenId = NewType("JoinTokenId", str)
AuditEventId = NewType("AuditEventId", str)
RevocationId = NewType("RevocationId", str)
NotificationId = NewType("NotificationId", str)
ScanId = NewType("ScanId", str)
DiscoveredId = NewType("DiscoveredId", str)
ScanTargetId = NewType("ScanTargetId", str)
EndpointId = NewType("EndpointId", str)
ProbeId = NewType("ProbeId", str)
PolicyRuleId = NewType("PolicyRuleId", str)
ViolationId = NewType("ViolationId", str)
AgentGroupId = NewType("AgentGroupId", str)
ApprovalId = NewType("ApprovalId", str)
DelegateId = NewType("DelegateId", str)
AuthorityId = NewType("AuthorityId", str)
BulkOperationId = NewType("BulkOperationId", str)
EnrolmentId = NewType("EnrolmentId", str)
EnrolmentSecretId = NewType("EnrolmentSecretId", str)

CLIENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a client may choose as an id: safe in a path, a file name and a log line."""

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_SHIFTS: Final = range(120, -1, -10)


def mint(prefix: str, at: datetime) -> str:
    """A fresh id such as `cert-01jd3...`, sortable by `at` (aware UTC)."""
    number = _number(int(at.timestamp() * 1000))
    return f"{prefix}-{''.join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])}"


class _Last:
    """The number minted last, so that the next one of the same millisecond follows it."""

    lock = threading.Lock()
    number = 0


def _number(millisecond: int) -> int:
    with _Last.lock:
        if _Last.number >> 80 == millisecond:
            _Last.number += 1
        else:
            # The top random bit starts at zero: counting up from there cannot run into the next millisecond.
            _Last.number = (millisecond << 80) | secrets.randbits(79)
        return _Last.number
