"""What OCSP says of a serial number (RFC 6960 section 2.2)."""

from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from certctl_core.models.standings import Standing
from certctl_core.pki.plan import OcspAnswer

BACKDATE: Final = timedelta(minutes=5)
"""How far thisUpdate lies in the past, for relying parties and replicas whose clocks are wrong by minutes."""


def answer(
    standing: Standing | None, authority: str, issuer: x509.Certificate, now: datetime, until: datetime
) -> OcspAnswer:
    """What the CA `issuer`, of that key identifier, says until then of a serial number that stands like this.

    Good is what this CA has given and nobody has revoked, also after its end: records are kept for good, which the
    archive cutoff tells of what has expired. What was never given, or by another CA of the same issuer, is unknown.
    Where it is not known which of them gave it, any answers. thisUpdate is not before the revocation, because until
    then the status was another one.
    """
    if standing is None or standing.authority not in ("", authority):
        return OcspAnswer(known=False, this_update=now - BACKDATE, next_update=until)
    since = now - BACKDATE
    return OcspAnswer(
        known=True,
        this_update=since if standing.revoked_at is None else max(since, min(standing.revoked_at, now)),
        next_update=until,
        revoked_at=standing.revoked_at,
        reason=standing.reason,
        archive_cutoff=issuer.not_valid_before_utc if standing.not_after < now else None,
    )
