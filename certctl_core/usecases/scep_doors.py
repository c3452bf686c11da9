"""Doors of SCEP: for each label, which CA it leads to, what it asks for, and who speaks for the CA there.

What a door is comes from the settings. Who speaks for the CA is a delegate of it (`delegates`), renewed by itself, or
a certificate of the operator's. It is looked up again after a few seconds, so that replicas agree without asking the
database for every message.
"""

import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certctl_core.errors import NotConfigured, NotFound
from certctl_core.ids import IssuerId, ProfileId
from certctl_core.models.access import SYSTEM
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.models.delegates import Purpose
from certctl_core.pki import cms
from certctl_core.policy import intune
from certctl_core.policy.shared_secret import SharedSecret
from certctl_core.ports import Ports
from certctl_core.ports.issuer import ShowsChain, SignsMessages
from certctl_core.usecases import catalog, delegates
from certctl_core.usecases.delegates import Opened
from certctl_core.usecases.enrolment import Belonging

LOOKED_UP_AGAIN: Final = timedelta(seconds=10)


class Trusted(Protocol):
    """Certificates in a file of the operator's: what is in it now."""

    @abstractmethod
    def __call__(self) -> Sequence[x509.Certificate]: ...

    @abstractmethod
    def reload(self) -> Sequence[x509.Certificate]:
        """Read it now. Raises `NotConfigured` when it cannot be used."""


@frozen(kw_only=True)
class SignedChallenges:
    """Challenges that a connector signs. `trusted` gives the certificates that it may sign with, as they are now."""

    rules: intune.Rules
    trusted: Trusted
    path: str = ""


@frozen(kw_only=True)
class Door:
    """One label. Of the three kinds of challenge at least one is accepted. `own_ra` gives the operator's certificate
    and key for it, when there is one. `tolerance` is how far the signing time that a message gives may be off. With
    `client_authorities` the door can be asked by TLS clients that show a certificate of these CAs, and
    `is_mutual_only` has it asked by nobody else."""

    label: str
    issuer_id: IssuerId
    profile_id: ProfileId | None
    belongs: Belonging
    accepted: cms.Accepted = cms.MODERN
    static: SharedSecret | None = None
    one_time: bool = False
    signed: SignedChallenges | None = None
    own_ra: Callable[[], Opened] | None = None
    tolerance: timedelta = timedelta(days=1)
    client_authorities: Trusted | None = None
    client_authorities_path: str = ""
    is_mutual_only: bool = False


@frozen(kw_only=True)
class Standing:
    """Who speaks for the CA of a door: the one who signs, all to whom clients may still encipher, and the chain of the
    CA, nearest first. `announces` says whether the CA can tell of the one that will follow it."""

    issuer: ConfiguredIssuer
    signer: cms.Signer
    recipients: tuple[cms.Recipient, ...]
    chain: tuple[x509.Certificate, ...]
    announces: bool = False


@define
class Doors:
    """All doors, by label; the one without a label is `""`."""

    by_label: Mapping[str, Door] = field(factory=dict)
    _standing: dict[str, tuple[datetime, Standing]] = field(factory=dict, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def get(self, label: str) -> Door:
        """Raises `NotFound` where there is no such door."""
        if label in self.by_label:
            return self.by_label[label]
        raise NotFound(
            f"there is no SCEP service {label!r}" if label else "there is no SCEP service here",
            hint="CERTCTL_SCEP_ENABLED and CERTCTL_SCEP_PROFILES say which there are.",
        )

    def client_authorities(self) -> tuple[x509.Certificate, ...]:
        """The CAs of whose certificates TLS clients may show one, at any door."""
        doors = (door.client_authorities for door in self.by_label.values())
        return tuple(one for trusted in doors if trusted is not None for one in trusted())

    def standing(self, ports: Ports, door: Door) -> Standing:
        """Raises `NotConfigured` when nobody can speak for the CA, and what the CA raises."""
        now = ports.clock.now()
        with self._lock:
            until, known = self._standing.get(door.label, (now, None))
        if known is not None and now < until:
            return known
        found = _standing(ports, door)
        with self._lock:
            self._standing[door.label] = (now + LOOKED_UP_AGAIN, found)
        return found


def _standing(ports: Ports, door: Door) -> Standing:
    issuer = catalog.get_issuer(ports, SYSTEM, door.issuer_id)
    connected = ports.issuers.connect(issuer)
    announces = isinstance(connected, SignsMessages)
    if door.own_ra is not None:
        own = door.own_ra()
        return Standing(
            issuer=issuer,
            signer=_signer(own),
            recipients=(_recipient(own),),
            chain=tuple(connected.chain()) if isinstance(connected, ShowsChain) else own.chain,
            announces=announces,
        )
    present = delegates.current(ports, issuer, Purpose.RA, door.label)
    living = delegates.living(ports, issuer.id, Purpose.RA, door.label)
    return Standing(
        issuer=issuer,
        signer=_signer(present),
        recipients=tuple(_recipient(one) for one in living),
        chain=present.chain,
        announces=announces,
    )


def _signer(opened: Opened) -> cms.Signer:
    return cms.Signer(opened.certificate, opened.private_key)


def _recipient(opened: Opened) -> cms.Recipient:
    if not isinstance(opened.private_key, rsa.RSAPrivateKey):
        raise NotConfigured("the RA of SCEP needs an RSA key", hint="What clients send is enciphered to it.")
    return cms.Recipient(opened.certificate, opened.private_key)
