"""Delegates: certificates that a CA of ours gives to the control plane's own services.

The CA's own key then signs certificates and CRLs and nothing else; what is signed by the thousand, or decrypted, is
with a key that lives for a month.
"""

from datetime import datetime
from enum import Enum

from attrs import field, frozen

from certctl_core.ids import DelegateId, IssuerId


class Purpose(Enum):
    """What a delegate is for."""

    OCSP = "ocsp"
    """Signs OCSP answers for the CA that certified it (RFC 6960 section 4.2.2.2)."""

    RA = "ra"
    """Speaks for the CA in SCEP: signs, and is what requests are encrypted to (RFC 8894 section 2.1.2)."""


@frozen(kw_only=True)
class Delegate:
    """One generation of a delegate: `issuer_id`, `authority`, `purpose` and `label` say which, `generation` counts.

    `authority` is the subjectKeyIdentifier of the CA that certified it, in hexadecimal: an issuer may have several.
    `label` tells apart several of one purpose. `chain` is the certificate and those above it, nearest first, in DER.
    `renew_at` is when a successor is to be made; None once there is one, or none is wanted.
    """

    id: DelegateId
    issuer_id: IssuerId
    authority: str
    purpose: Purpose
    label: str = ""
    generation: int = 1
    serial_number: str
    chain: tuple[bytes, ...]
    sealed_key: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime
    renew_at: datetime | None = None
    created_at: datetime
