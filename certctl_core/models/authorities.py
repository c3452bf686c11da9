"""CAs of our own: where each stands in the hierarchy, where its key is, and how far it is in its life."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum

from attrs import field, frozen

from certctl_core.ids import AuthorityId, IssuerId

SEALED = "sealed"
"""The key driver whose keys are in the database, sealed."""


class AuthorityState(Enum):
    """A `PENDING` CA waits for its certificate. An `ACTIVE` one may sign leafs; a `RETIRING` one signs no more of them,
    but CRLs and OCSP answers about those it has signed; a `RETIRED` one signs nothing."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"


@frozen(kw_only=True)
class CertificateAuthority:
    """One CA of an issuer, or of the control plane itself when `issuer_id` is None.

    `parent_id` is the CA of ours that signed it; None for roots and for what a foreign CA signed. `chain` begins with
    its own certificate and goes up to the root, in DER; it is empty while the CA is pending, and `csr` is what its
    certificate is asked for with. `key_driver_id` says where its key is: `sealed` with `sealed_key`, or with a driver
    that has it by a name of its own (`pkcs11:LABEL`).

    `links` lead from the root before it to this one and back: each certified by the other (RFC 4210 section 4.4).

    `signs_from` is since when it is the one that signs the issuer's new leafs, None if it never was: of those that are
    active the one that was chosen last does. `drains_at` is when the last certificate of a retiring one
    has ended.
    """

    id: AuthorityId
    issuer_id: IssuerId | None
    parent_id: AuthorityId | None = None
    name: str
    subject: str
    state: AuthorityState = AuthorityState.ACTIVE
    chain: tuple[bytes, ...]
    csr: bytes | None = field(default=None, repr=False)
    links: tuple[bytes, ...] = ()
    key_driver_id: str = SEALED
    sealed_key: bytes | None = field(default=None, repr=False)
    signs_from: datetime | None = None
    retiring_since: datetime | None = None
    drains_at: datetime | None = None
    revoked_at: datetime | None = None
    ocsp_responder_url: str = ""
    metadata: Mapping[str, str] = field(factory=dict)
    note: str = ""
    created_at: datetime
    updated_at: datetime
    revision: int = 1
