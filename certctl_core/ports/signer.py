"""Keys of our CAs, wherever they are: one port, by whose keys everything is signed that a CA signs.

What signs is a private key of cryptography's interfaces (`PrivateKey`): its `sign` and `public_key` are all that CAs,
CRLs, OCSP answers and CSRs need. A key in a token is an object of the same interfaces whose `sign` asks the token, so
that nothing above this port knows the difference. See docs/decisions on the signer port.
"""

from abc import abstractmethod
from typing import Final, Protocol

from attrs import field, frozen

from certctl_core.errors import Invalid, NotConfigured, UpstreamRejected
from certctl_core.models.authorities import SEALED
from certctl_core.pki import keys
from certctl_core.pki.keys import KeyKind, PrivateKey
from certctl_core.ports.world import SecretBox


@frozen
class KeptKey:
    """Where a private key is: with the driver `sealed` it is the bytes themselves, sealed; with another one the driver
    knows it by what follows the colon (`pkcs11:LABEL`)."""

    driver_id: str
    sealed: bytes | None = field(default=None, repr=False)


class KeyDrivers(Protocol):
    """Makes keys and opens them again. Threads, greenlets and forked processes may share it.

    May block on a device or the network, and is never called inside a `work`. Raises `NotConfigured` for a driver that
    is not set up here, `UpstreamUnavailable` when a device does not answer, and `UpstreamRejected` with its words when
    it refuses. The keys that it opens raise the last two when they sign.
    """

    @abstractmethod
    def make(self, driver_id: str, kind: KeyKind, label: str) -> KeptKey:
        """A fresh key. `label` is a name for it that no other key has. Raises `Invalid` naming `key_driver_id` for a
        driver that there is none of."""

    @abstractmethod
    def open(self, kept: KeptKey) -> PrivateKey:
        """Raises `Unreadable` for a sealed key that does not open, `NotFound` when a device has no such key."""


class SealedKeys(KeyDrivers):
    """Keys in the database, sealed. Signing costs no more than the arithmetic."""

    def __init__(self, secrets: SecretBox) -> None:
        self._secrets = secrets

    def make(self, driver_id: str, kind: KeyKind, label: str) -> KeptKey:  # noqa: ARG002 - the row is its name
        if driver_id != SEALED:
            raise no_driver(driver_id)
        return KeptKey(SEALED, self._secrets.seal(keys.to_der(keys.generate(kind))))

    def open(self, kept: KeptKey) -> PrivateKey:
        if kept.driver_id != SEALED or kept.sealed is None:
            raise NotConfigured(
                f"the key is with {kept.driver_id.partition(':')[0]!r}, which is not set up here",
                hint=_HINTS.get(kept.driver_id.partition(":")[0], "Set it up, or use another CA."),
            )
        return keys.from_der(self._secrets.open(kept.sealed))


_HINTS: Final = {"pkcs11": "Set CERTCTL_PKCS11_MODULE, CERTCTL_PKCS11_TOKEN and CERTCTL_PKCS11_PIN."}


def no_driver(driver_id: str) -> Invalid | NotConfigured:
    """What to raise for a driver that cannot be used."""
    name = driver_id.partition(":")[0]
    if name in _HINTS:
        return NotConfigured(f"no {name} token is set up here", hint=_HINTS[name])
    return Invalid.field("key_driver_id", f"{name!r} is none of {SEALED}, {', '.join(_HINTS)}")


def refused_kind(kind: KeyKind, words: str) -> UpstreamRejected:
    """What a driver raises that has no keys of this kind."""
    return UpstreamRejected(f"no {kind.value} key is made: {words}", hint="Choose another kind of key.")
