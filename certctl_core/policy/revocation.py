"""Reasons for revocation, as callers write them."""

from certctl_core.errors import Invalid
from certctl_core.models.certificates import RevocationReason

_BY_NAME = {reason.value.lower(): reason for reason in RevocationReason}


def parse_reason(text: str) -> RevocationReason:
    """The reason of this name (RFC 5280 section 5.3.1), in any case; empty means unspecified. Raises `Invalid`."""
    if not text:
        return RevocationReason.UNSPECIFIED
    reason = _BY_NAME.get(text.lower())
    if reason is None:
        raise Invalid.field("reason", f"must be one of {', '.join(one.value for one in RevocationReason)}")
    return reason
