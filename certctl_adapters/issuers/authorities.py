"""Our own CAs, kept sealed in the database, so that every restart and every replica signs with the same one."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from attrs import field, frozen
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.ids import IssuerId
from certctl_core.pki import keys, reading
from certctl_core.pki.ca import Authority
from certctl_core.ports.store import StoredAuthority, Work
from certctl_core.ports.world import Clock, SecretBox


@frozen
class AuthorityKeeper:
    """Finds a stored CA or makes and stores it.

    Opened CAs stay in memory, because opening one costs a key derivation and the parsing of a private key; a stored CA
    never changes. The row belongs to its issuer and goes when the issuer goes, so what is remembered is forgotten when
    an issuer of the same id was made at another time.
    """

    _work: Callable[[], AbstractContextManager[Work]]
    _secrets: SecretBox = field(repr=False)
    _clock: Clock
    _opened: dict[tuple[str, object], Authority] = field(factory=dict, init=False, repr=False, eq=False)

    def keep(
        self, identity: str, make: Callable[[], Authority], *, issuer_id: IssuerId | None = None, version: object = None
    ) -> Authority:
        """The CA of this id; the first caller's `make` makes it, outside of any transaction. `version` tells apart
        issuers that had the same id. Raises `Unreadable` when the encryption key is another one."""
        known = self._opened.get((identity, version))
        if known is not None:
            return known
        stored = self._find(identity) or self._add(identity, issuer_id, make())
        authority = Authority(
            tuple(reading.certificate(der) for der in stored.chain),
            keys.from_der(self._secrets.open(stored.sealed_key)),
        )
        self._opened[identity, version] = authority
        return authority

    def _find(self, identity: str) -> StoredAuthority | None:
        with self._work() as work:
            return work.authorities.find(identity)

    def _add(self, identity: str, issuer_id: IssuerId | None, made: Authority) -> StoredAuthority:
        """Another replica may have been faster; then theirs is the one."""
        mine = StoredAuthority(
            id=identity,
            issuer_id=issuer_id,
            chain=tuple(one.public_bytes(Encoding.DER) for one in made.chain),
            sealed_key=self._secrets.seal(keys.to_der(made.private_key)),
            created_at=self._clock.now(),
        )
        with self._work() as work:
            return work.authorities.lock_or_add(mine)
