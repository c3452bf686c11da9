"""Who may call what: the sets of roles that operations name, and the keys the environment gives."""

import hmac
from collections.abc import Iterable
from typing import Final

from attrs import evolve, frozen

from certctl_core.models.access import Principal, Role
from certctl_core.ports import Ports
from certctl_core.usecases import access
from certctl_web.settings import NamedKey

ANYONE: Final[frozenset[Role]] = frozenset()
"""No credentials are needed."""

EVERY_ROLE: Final = frozenset(Role)
"""For what a caller may know of itself."""

PEOPLE: Final = frozenset({Role.ADMIN, Role.OPERATOR, Role.VIEWER})
"""Those who look after certificates, or look at them."""

AUDITORS: Final = frozenset({Role.ADMIN, Role.OPERATOR, Role.AUDITOR})
"""Those who read the audit trail. A key with the role auditor reads nothing else."""

OPERATORS: Final = frozenset({Role.ADMIN, Role.OPERATOR})
ADMINS: Final = frozenset({Role.ADMIN})
AGENTS: Final = frozenset({Role.ADMIN, Role.OPERATOR, Role.AGENT})
"""Agents, as themselves; operators may run an agent by hand with their own key, unless it is limited."""

STRANGER: Final = Principal("anonymous", Role.VIEWER)
"""The caller of an operation that needs no credentials."""

EVERYBODY_IS_ADMIN: Final = Principal("anonymous", Role.ADMIN)
"""The caller when authentication is switched off."""


@frozen
class _Given:
    key_hash: str
    principal: Principal


class Keyring:
    """Knows who presents a key: first the keys of the environment, then those in the database."""

    def __init__(self, ports: Ports, given: Iterable[NamedKey]) -> None:
        self._ports = ports
        self._given = tuple(_Given(access.digest(key.key), Principal(key.name, key.role)) for key in given)

    def who(self, presented: str, request_id: str) -> Principal:
        """Raises `NotAuthenticated`."""
        key_hash = access.digest(presented)
        found: Principal | None = None
        for given in self._given:  # no early end: how long it takes says nothing about which key was nearly right
            if hmac.compare_digest(given.key_hash, key_hash):
                found = given.principal
        if found is not None:
            return evolve(found, request_id=request_id)
        return access.authenticate(self._ports, presented, request_id)
