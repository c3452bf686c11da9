"""CAs of our own, and how far each of them is in its life."""

from enum import Enum


class AuthorityState(Enum):
    """A `PENDING` CA waits for its certificate. An `ACTIVE` one may sign leafs; a `RETIRING` one signs no more of them,
    but CRLs and OCSP answers about those it has signed; a `RETIRED` one signs nothing."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"
