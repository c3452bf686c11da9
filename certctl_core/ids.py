"""Identifiers: opaque text with a readable prefix.

A minted id sorts by time of creation (48 bits of milliseconds, then 80 random bits, in Crockford's base 32, the layout
of a ULID), so that rows created together lie together in an index. Ids chosen by clients are accepted as they are,
within `CLIENT_ID`; nothing but the store's key ever depends on what an id looks like.
"""

import re
import secrets
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

CLIENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a client may choose as an id: safe in a path, a file name and a log line."""

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


def mint(prefix: str, at: datetime) -> str:
    """A fresh id such as `cert-01jd3...`, sortable by `at` (aware UTC)."""
    number = (int(at.timestamp() * 1000) << 80) | secrets.randbits(80)
    digits = (_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
    return f"{prefix}-{''.join(digits)}"
