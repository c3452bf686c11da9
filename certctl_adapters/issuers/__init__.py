"""Issuers: which types there are, and how a configured one becomes something that issues.

A connector is one file with a settings class and a class that answers the `Issuer` port, and one line here. Strangers'
connectors come as entry points of the group `certctl.issuers`, each a `Connector`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final

from attrs import Factory, field, frozen

from certctl_adapters import settings
from certctl_adapters.authorities import AuthorityKeeper, Held, Make
from certctl_adapters.issuers import local
from certctl_core.errors import Invalid, NotConfigured, Unreadable
from certctl_core.ids import IssuerId
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.ports.issuer import Issuer, Issuers
from certctl_core.ports.signer import KeyDrivers, SealedKeys
from certctl_core.ports.store import Work
from certctl_core.ports.world import Clock, SecretBox

Keep = Callable[[Make | None], Sequence[Held]]
"""Gives the issuer's stored CAs (`AuthorityKeeper.of_issuer`), the first made by the argument where there is none."""


@frozen
class Connector:
    """One type of issuer: its settings class, what makes an issuer of settings, at a time, and whether its CAs are kept
    in the store."""

    settings: type
    connect: Callable[[Any, Keep, datetime], Issuer]
    keeps_authorities: bool = False


CONNECTORS: Final[Mapping[str, Connector]] = {
    "GenericCA": Connector(local.LocalSettings, local.connect, keeps_authorities=True),
}

ALIASES: Final[Mapping[str, str]] = {"local": "GenericCA", "local_ca": "GenericCA"}
"""Other names of types, in lower case. Every type's own name is accepted in any case as well."""


@cache
def connectors() -> Mapping[str, Connector]:
    """Our connectors and those of installed entry points, which cannot replace ours."""
    found = {one.name: one.load() for one in entry_points(group="certctl.issuers") if one.name not in CONNECTORS}
    return {**found, **CONNECTORS}


def canonical_type(name: str) -> str:
    """The canonical spelling of a type. Raises `Invalid` for a type that is not installed."""
    by_lower = {one.lower(): one for one in connectors()} | dict(ALIASES)
    found = by_lower.get(name.strip().lower())
    if found is None:
        raise Invalid.field("type", f"{name!r} is no issuer type here; there are: {', '.join(connectors())}")
    return found


@frozen
class InstalledIssuers(Issuers):
    """The registry over a store. Threads may share it."""

    _work: Callable[[], AbstractContextManager[Work]]
    _secrets: SecretBox = field(repr=False)
    _clock: Clock
    _drivers: KeyDrivers = field(default=Factory(lambda self: SealedKeys(self._secrets), takes_self=True), repr=False)
    _keeper: AuthorityKeeper = field(init=False, repr=False)

    @_keeper.default
    def _make_keeper(self) -> AuthorityKeeper:
        return AuthorityKeeper(self._work, self._drivers, self._clock)

    def connect(self, configured: ConfiguredIssuer) -> Issuer:
        connector = connectors().get(configured.type)
        if connector is None:
            raise NotConfigured(
                f"issuer {configured.id} is of type {configured.type}, which is not installed",
                hint="Install the connector's package, or point its certificates at another issuer.",
            )
        chosen: object = settings.read(connector.settings, self._config(configured))
        return connector.connect(chosen, self._keep_for(configured), self._clock.now())

    def at_hand(self, configured: ConfiguredIssuer) -> Issuer | None:
        if not self.keeps_authorities(configured.type) or not self._keeper.has_opened(configured):
            return None
        try:
            issuer = self.connect(configured)
        except (NotConfigured, Invalid, Unreadable):
            return None
        return issuer if isinstance(issuer, local.LocalIssuer) and issuer.is_in_memory else None

    def _config(self, configured: ConfiguredIssuer) -> Mapping[str, Any]:
        if configured.sealed_config is None:
            return configured.config
        opened: dict[str, Any] = json.loads(self._secrets.open(configured.sealed_config))
        return opened

    def _keep_for(self, configured: ConfiguredIssuer) -> Keep:
        return lambda make: self._keeper.of_issuer(configured, make)

    def check(
        self,
        issuer_id: IssuerId,  # noqa: ARG002 - for registries whose types depend on what is stored
        type_name: str,
        config: dict[str, object],
    ) -> tuple[str, dict[str, object]]:
        canonical = canonical_type(type_name)
        chosen: object = settings.read(connectors()[canonical].settings, config)
        return canonical, settings.write(chosen)

    def keeps_authorities(self, type_name: str) -> bool:
        connector = connectors().get(type_name)
        return connector is not None and connector.keeps_authorities

    def secret_keys(self, type_name: str) -> frozenset[str]:
        return settings.secret_fields(connectors()[canonical_type(type_name)].settings)
