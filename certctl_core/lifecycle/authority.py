"""The life of a CA of ours: it waits for its certificate, signs, and is retired once what it signed has ended.

    PENDING ──certify──> ACTIVE ──retire──> RETIRING ──finish──> RETIRED
       └──────────────retire──────────────────────────────────────┘

A CA that is retiring signs no certificate any more, but the CRLs and OCSP answers that relying parties need for those
it has signed. It is finished when the last of them has ended, or at once by somebody who says why. Until then it can be
activated again. One whose certificate is revoked is retired with it.
"""

from datetime import datetime
from enum import Enum

from attrs import evolve

from certctl_core.lifecycle.machine import Machine, from_each
from certctl_core.models.authorities import AuthorityState as S
from certctl_core.models.authorities import CertificateAuthority


class AuthorityEvent(Enum):
    CERTIFY = "install a certificate of"
    ACTIVATE = "activate"
    RETIRE = "retire"
    FINISH = "finish retiring"
    REVOKE = "revoke"


AUTHORITY: Machine[S, AuthorityEvent] = Machine(
    "CA",
    {
        (S.PENDING, AuthorityEvent.CERTIFY): S.ACTIVE,
        (S.ACTIVE, AuthorityEvent.CERTIFY): S.ACTIVE,
        (S.ACTIVE, AuthorityEvent.ACTIVATE): S.ACTIVE,
        (S.RETIRING, AuthorityEvent.ACTIVATE): S.ACTIVE,
        (S.ACTIVE, AuthorityEvent.RETIRE): S.RETIRING,
        (S.PENDING, AuthorityEvent.RETIRE): S.RETIRED,
        (S.RETIRING, AuthorityEvent.FINISH): S.RETIRED,
        **from_each((S.ACTIVE, S.RETIRING), AuthorityEvent.REVOKE, S.RETIRED),
    },
)


def certify(
    authority: CertificateAuthority, at: datetime, chain: tuple[bytes, ...], subject: str
) -> CertificateAuthority:
    """Its certificate is there, or there is a new one for the same key."""
    state = AUTHORITY.next(authority.state, AuthorityEvent.CERTIFY)
    return evolve(authority, state=state, chain=chain, subject=subject, csr=None, updated_at=at)


def activate(authority: CertificateAuthority, at: datetime) -> CertificateAuthority:
    """It signs new leafs from now on."""
    state = AUTHORITY.next(authority.state, AuthorityEvent.ACTIVATE)
    return evolve(authority, state=state, signs_from=at, retiring_since=None, drains_at=None, note="", updated_at=at)


def retire(authority: CertificateAuthority, at: datetime, note: str, drains_at: datetime) -> CertificateAuthority:
    """It signs no certificate from now on, and is finished at `drains_at`. One that never had a certificate is retired
    at once."""
    state = AUTHORITY.next(authority.state, AuthorityEvent.RETIRE)
    retiring = evolve(authority, state=state, note=note or authority.note, updated_at=at)
    if state is S.RETIRED:
        return evolve(retiring, csr=None)
    return evolve(retiring, retiring_since=at, drains_at=drains_at)


def finish(authority: CertificateAuthority, at: datetime, note: str = "") -> CertificateAuthority:
    state = AUTHORITY.next(authority.state, AuthorityEvent.FINISH)
    return evolve(authority, state=state, drains_at=None, note=note or authority.note, updated_at=at)


def revoke(authority: CertificateAuthority, at: datetime, note: str) -> CertificateAuthority:
    """Nobody believes it any more, so there is nothing left for it to sign."""
    state = AUTHORITY.next(authority.state, AuthorityEvent.REVOKE)
    return evolve(authority, state=state, drains_at=None, revoked_at=at, note=note or authority.note, updated_at=at)
