"""Whether the encryption key is the one that this database was filled with."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from certctl_core.ports.store import Work


def any_sealed(work: Callable[[], AbstractContextManager[Work]]) -> bytes | None:
    """Some sealed value, for the key to be tried on; None while nothing is sealed. Takes `Ports.work` alone, since the
    other ports cannot be had before the key."""
    with work() as open_work:
        return open_work.authorities.any_sealed()
