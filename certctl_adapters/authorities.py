"""Our own CAs, kept in the database, so that every restart and every replica signs with the same ones."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.ids import AuthorityId
from certctl_core.models.authorities import SEALED, AuthorityState, CertificateAuthority
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.pki import reading
from certctl_core.pki.ca import Authority
from certctl_core.ports.signer import KeptKey, KeyDrivers
from certctl_core.ports.store import Work
from certctl_core.ports.world import Clock

Make = Callable[[KeyDrivers], tuple[KeptKey, Authority]]
"""Makes a first CA: its key, with one of the drivers, and its certificate."""


@frozen
class Held:
    """A CA that is opened and ready to sign. `signs_from` as in `CertificateAuthority`. The certificate of a plain one
    is at the issuer's own address, those of others are below it: what an address has named once it always names. One
    that is not in memory has its key in a device, which has to be waited for."""

    id: str
    authority: Authority
    state: AuthorityState = AuthorityState.ACTIVE
    signs_from: datetime | None = None
    is_plain: bool = False
    is_in_memory: bool = True
    ocsp_url: str = ""
    links: tuple[x509.Certificate, ...] = ()


@frozen
class AuthorityKeeper:
    """Finds stored CAs, and makes and stores the first one.

    Opened CAs stay in memory, because opening one costs a key derivation and the parsing of a private key. Which CAs an
    issuer has is read again when its row was written, which everything does that changes them; so whoever has read the
    issuer has the right ones, in whichever process.
    """

    _work: Callable[[], AbstractContextManager[Work]]
    _drivers: KeyDrivers = field(repr=False)
    _clock: Clock
    _opened: dict[str, tuple[tuple[object, ...], Authority]] = field(factory=dict, init=False, repr=False, eq=False)
    _known: dict[str, tuple[tuple[object, ...], tuple[Held, ...]]] = field(
        factory=dict, init=False, repr=False, eq=False
    )

    def keep(self, identity: str, make: Make) -> Authority:
        """The CA of this id that belongs to no issuer; the first caller's `make` makes it, outside of any transaction.
        Raises `Unreadable` when the encryption key is another one."""
        known = self._opened.get(identity)
        if known is not None:
            return known[1]
        with self._work() as work:
            stored = work.authorities.find(identity)
        return self._open(stored or self._add(identity, None, make))

    def has_opened(self, issuer: ConfiguredIssuer) -> bool:
        """Whether `of_issuer` would read and make nothing."""
        known = self._known.get(issuer.id)
        return known is not None and known[0] == _version(issuer) and bool(known[1])

    def of_issuer(self, issuer: ConfiguredIssuer, make: Make | None) -> Sequence[Held]:
        """Its CAs that are neither waiting for their certificate nor retired: first the one that was chosen last to
        sign new leafs, then the others, newest first. Where there is none at all `make` makes the first one."""
        version = _version(issuer)
        known = self._known.get(issuer.id)
        if known is not None and known[0] == version and (known[1] or make is None):
            return known[1]
        with self._work() as work:
            stored = tuple(work.authorities.of_issuer(issuer.id))
        if not stored and make is not None:
            stored = (self._add(issuer.id, issuer, make),)
        living = [one for one in stored if one.state in (AuthorityState.ACTIVE, AuthorityState.RETIRING)]
        living.sort(key=_first_things_first, reverse=True)
        held = tuple(self._held(one) for one in living)
        self._known[issuer.id] = version, held
        return held

    def _held(self, stored: CertificateAuthority) -> Held:
        """The first CA of an issuer, made with it, has its id."""
        is_plain = str(stored.id) == stored.issuer_id
        links = tuple(map(reading.certificate, stored.links))
        url = stored.ocsp_responder_url
        return Held(
            stored.id,
            self._open(stored),
            stored.state,
            stored.signs_from,
            is_plain=is_plain,
            is_in_memory=stored.key_driver_id == SEALED,
            ocsp_url=url,
            links=links,
        )

    def _open(self, stored: CertificateAuthority) -> Authority:
        content = (stored.chain, stored.key_driver_id, stored.sealed_key)
        known = self._opened.get(stored.id)
        if known is not None and known[0] == content:
            return known[1]
        opened = Authority(
            tuple(reading.certificate(der) for der in stored.chain),
            self._drivers.open(KeptKey(stored.key_driver_id, stored.sealed_key)),
        )
        self._opened[stored.id] = content, opened
        return opened

    def _add(self, identity: str, issuer: ConfiguredIssuer | None, make: Make) -> CertificateAuthority:
        """Another replica may have been faster; then theirs is the one."""
        kept, made = make(self._drivers)
        now = self._clock.now()
        mine = CertificateAuthority(
            id=AuthorityId(identity),
            issuer_id=issuer.id if issuer else None,
            name=identity,
            subject=made.certificate.subject.rfc4514_string(),
            chain=tuple(one.public_bytes(Encoding.DER) for one in made.chain),
            key_driver_id=kept.driver_id,
            sealed_key=kept.sealed,
            signs_from=now,
            created_at=now,
            updated_at=now,
        )
        with self._work() as work:
            return work.authorities.lock_or_add(mine)


def _version(issuer: ConfiguredIssuer) -> tuple[object, ...]:
    return issuer.created_at, issuer.revision


def _first_things_first(one: CertificateAuthority) -> tuple[bool, bool, datetime, datetime, str]:
    signs = one.state is AuthorityState.ACTIVE and one.signs_from is not None
    return signs, one.state is AuthorityState.ACTIVE, one.signs_from or one.created_at, one.created_at, one.id
