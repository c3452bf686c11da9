"""Who may call what: the sets of roles that operations name, and the keys the environment gives."""

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

from attrs import evolve, frozen

from certctl_core.models.access import ApiKey, Principal, Role
from certctl_core.ports import Ports
from certctl_core.usecases import access
from certctl_web.setting import NamedKey

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


REMEMBERED: Final = 240.0
"""Seconds after which a key is looked up again although nothing has changed."""

MOST_REMEMBERED: Final = 20_000


@frozen
class _Given:
    key_hash: str
    principal: Principal


@frozen
class _Known:
    """A key as it was looked up, after so many changes of keys had been seen."""

    key: ApiKey
    changes: int
    until: float


class Keyring:
    """Knows who presents a key: first the keys of the environment, then those in the database.

    Keys that were looked up are remembered while no key has been changed, which is asked of the database once in
    `noticed`; so a key that is revoked, here or by another process, goes on working for that long at most. A key is
    looked up again every few minutes all the same, which notes that it is in use.
    """

    def __init__(
        self,
        ports: Ports,
        given: Iterable[NamedKey],
        noticed: timedelta = timedelta(0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ports = ports
        self._given = tuple(_Given(access.digest(key.key), Principal(key.name, key.role)) for key in given)
        self._noticed = noticed.total_seconds()
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._changes = 0
        self._look_again = 0.0

    def who(self, presented: str, request_id: str) -> Principal:
        """Raises `NotAuthenticated`."""
        key_hash = access.digest(presented)
        found: Principal | None = None
        for given in self._given:  # no early end: how long it takes says nothing about which key was nearly right
            if hmac.compare_digest(given.key_hash, key_hash):
                found = given.principal
        if found is not None:
            return evolve(found, request_id=request_id)
        if not self._noticed:
            return access.authenticate(self._ports, presented, request_id)
        return access.principal_of(self._remembered(key_hash) or self._look_up(presented, key_hash), request_id)

    def _remembered(self, key_hash: str) -> ApiKey | None:
        if self._clock() >= self._look_again:
            # Before it is asked: whoever asks meanwhile waits for nobody, and what they find is as old as it can be.
            self._look_again = self._clock() + self._noticed
            self._changes = access.key_changes(self._ports)
        known = self._known.get(key_hash)
        if known is None or known.changes != self._changes or known.until <= self._clock():
            return None
        return known.key if access.is_live(known.key, self._ports.clock.now()) else None

    def _look_up(self, presented: str, key_hash: str) -> ApiKey:
        """The changes are those seen before the key is read: a change while it is read makes it look older than it is,
        never newer."""
        changes = self._changes
        key = access.key_of(self._ports, presented)
        self._known[key_hash] = _Known(key, changes, self._clock() + REMEMBERED)
        self._known.move_to_end(key_hash)
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        return key
