"""Where keys of CAs can be on this machine: sealed in the database, and in a token if one is set up."""

from attrs import Factory, field, frozen

from certctl_adapters import pkcs11
from certctl_adapters.pkcs11 import Token, TokenSettings
from certctl_core.errors import Invalid
from certctl_core.models.authorities import SEALED
from certctl_core.pki.keys import KeyKind, PrivateKey
from certctl_core.ports.signer import KeptKey, KeyDrivers, SealedKeys, no_driver
from certctl_core.ports.world import SecretBox


@frozen
class InstalledKeyDrivers(KeyDrivers):
    """`token` is None where none is set up."""

    _secrets: SecretBox = field(repr=False)
    _token: Token | None = None
    _sealed: SealedKeys = field(default=Factory(lambda self: SealedKeys(self._secrets), takes_self=True), repr=False)

    def make(self, driver_id: str, kind: KeyKind, label: str) -> KeptKey:
        name, _, given = driver_id.partition(":")
        if name != pkcs11.NAME:
            return self._sealed.make(driver_id, kind, label)
        if self._token is None:
            raise no_driver(driver_id)
        return self._token.make(kind, given or label)

    def open(self, kept: KeptKey) -> PrivateKey:
        name, _, label = kept.driver_id.partition(":")
        if name != pkcs11.NAME or self._token is None:
            return self._sealed.open(kept)
        if not label:
            raise Invalid.field("key_driver_id", "names no key; write pkcs11:LABEL")
        return self._token.open(label)


def installed(secrets: SecretBox, token: TokenSettings | None) -> InstalledKeyDrivers:
    """The drivers of a program with these settings. Nothing is opened yet."""
    return InstalledKeyDrivers(secrets, None if token is None else Token(token))


__all__ = ["SEALED", "InstalledKeyDrivers", "TokenSettings", "installed"]
