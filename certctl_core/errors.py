"""Every error certctl raises on purpose, as one tree.

    CertctlError
    ├── Invalid                  what was asked is malformed; names the fields
    │   └── Unreadable           bytes that are not the certificate, CSR, key or message they claim to be
    ├── NotAuthenticated         no credentials, or wrong ones
    ├── Forbidden                known caller, not allowed
    ├── NotFound                 no such object
    ├── Conflict                 the world is not in the state the request needs
    │   ├── Duplicate            a unique name or identity is taken
    │   ├── InUse                other objects refer to it
    │   ├── IllegalTransition    the life of the object has no such step
    │   └── StaleWrite           somebody else changed it first
    ├── Gone                     it existed and is retired
    ├── TooLarge                 over a size cap
    ├── TooMany                  over a rate limit
    │   └── QuotaExceeded        of what the caller may do within an hour or so, nothing is left
    ├── Refused                  a profile or policy does not permit this certificate
    ├── NotConfigured            the part of certctl that would do this is not set up
    ├── DeploymentFailed         a target refused the files; everything is as it was before
    ├── UpstreamUnavailable      a foreign system did not answer: try later
    └── UpstreamRejected         a foreign system said no: final

`message` says what is wrong, `hint` what to do next. Both are meant for the person who reads the answer.
"""

from collections.abc import Iterable

from attrs import frozen


@frozen
class FieldProblem:
    """One field of a request and what is wrong with it. `field` is a JSON path such as `sans[2]`."""

    field: str
    message: str


class CertctlError(Exception):
    """Root of the tree. `message` and `hint` are safe to show to the caller."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class Invalid(CertctlError):
    """What was asked is malformed. `fields` names each offending field."""

    def __init__(self, message: str, *, fields: Iterable[FieldProblem] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.fields = tuple(fields)

    @classmethod
    def field(cls, field: str, message: str, *, hint: str = "") -> "Invalid":
        """The common case of one wrong field."""
        return cls(f"{field}: {message}", fields=[FieldProblem(field, message)], hint=hint)


class Unreadable(Invalid):
    """Bytes that could not be parsed as what they should be."""


class NotAuthenticated(CertctlError):
    """No credentials were presented, or they are not valid."""


class Forbidden(CertctlError):
    """The caller is known and may not do this."""


class NotFound(CertctlError):
    """No object of this kind has this id."""

    @classmethod
    def of(cls, kind: str, identity: str) -> "NotFound":
        """`NotFound.of("certificate", "mc-1")`."""
        return cls(f"{kind} {identity!r} not found", hint=f"List the {kind}s to see which ids exist.")


class Conflict(CertctlError):
    """The request does not fit the present state."""


class Duplicate(Conflict):
    """A unique name or identity is already taken."""


class InUse(Conflict):
    """Other objects still refer to this one. `counts` says how many of each kind."""

    def __init__(self, message: str, *, counts: dict[str, int] | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.counts = counts or {}


class IllegalTransition(Conflict):
    """The lifecycle table has no such step from the present status."""


class StaleWrite(Conflict):
    """Optimistic locking: the object was changed after it was read."""


class Gone(CertctlError):
    """The object existed and has been retired for good."""


class TooLarge(CertctlError):
    """The input is over its size cap."""


class TooMany(CertctlError):
    """The caller is over its rate. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class QuotaExceeded(TooMany):
    """The caller has done this as often as is permitted within some time."""


class Refused(CertctlError):
    """A profile or policy does not permit the certificate. `reasons` lists every rule it breaks."""

    def __init__(self, message: str, *, reasons: Iterable[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reasons = tuple(reasons)


class NotConfigured(CertctlError):
    """This installation has no such part; the hint names the setting."""


class DeploymentFailed(CertctlError):
    """The target did not take the certificate and is as it was before. `message` holds the target's own words."""


class UpstreamUnavailable(CertctlError):
    """A foreign system did not answer or asked us to come back. `retry_after` is in seconds when it said so."""

    def __init__(self, message: str, *, retry_after: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class UpstreamRejected(CertctlError):
    """A foreign system refused for good."""
