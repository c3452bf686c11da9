"""SCEP on the wire: the query of its address, and what administrators are shown of its doors."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Final, Self

from attrs import field, frozen
from cryptography import x509

from certctl_core.errors import Unreadable
from certctl_web.media.bounds import PLAIN, Length

DAY: Final = 86400


@frozen(kw_only=True)
class ScepQuery:
    """RFC 8894 section 4.1. `message` is base64 for PKIOperation, and has no meaning elsewhere."""

    operation: Annotated[str, Length(0, 64), PLAIN] = ""
    message: Annotated[str, Length(0, 7500)] = ""

    def unpacked(self) -> bytes:
        """The message. A `+` that the client did not escape has become a space. Raises `Unreadable`."""
        try:
            return base64.b64decode("".join(self.message.replace(" ", "+").split()), validate=True)
        except (binascii.Error, ValueError):
            raise Unreadable("the message is not base64") from None


@frozen(kw_only=True)
class TrustAnchor:
    """A certificate that is trusted."""

    subject: str
    not_before: datetime
    not_after: datetime
    days_to_expiry: int
    expired: bool

    @classmethod
    def of(cls, certificate: x509.Certificate, now: datetime) -> Self:
        return cls(
            subject=certificate.subject.rfc4514_string(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            days_to_expiry=days_between(now, certificate.not_valid_after_utc),
            expired=certificate.not_valid_after_utc <= now,
        )

    @classmethod
    def all(cls, certificates: Iterable[x509.Certificate], now: datetime) -> tuple[Self, ...]:
        return tuple(cls.of(one, now) for one in certificates)


def days_between(now: datetime, then: datetime) -> int:
    """Whole days, fewer than none when it is past."""
    return int((then - now).total_seconds() // DAY)


@frozen(kw_only=True)
class IntuneTrust:
    """What is accepted of a connector's challenges. Durations are in nanoseconds."""

    trust_anchor_path: str
    trust_anchors: tuple[TrustAnchor, ...]
    audience: str
    challenge_validity_ns: int
    clock_skew_tolerance_ns: int
    rate_limit_disabled: bool
    replay_cache_size: int
    counters: Mapping[str, int]


@frozen(kw_only=True)
class ScepProfile:
    """One door. `path_id` is its label, empty for /scep itself."""

    path_id: str
    issuer_id: str
    challenge_password_set: bool
    one_time_challenges: bool
    ra_cert_subject: str | None = None
    ra_cert_not_before: datetime | None = None
    ra_cert_not_after: datetime | None = None
    ra_cert_days_to_expiry: int
    ra_cert_expired: bool
    mtls_enabled: bool
    mtls_trust_bundle_path: str | None = None
    generated_at: datetime
    intune: IntuneTrust | None = None


@frozen(kw_only=True)
class ScepProfiles:
    """The doors of SCEP."""

    profiles: tuple[ScepProfile, ...]
    profile_count: int
    generated_at: datetime


@frozen(kw_only=True)
class IntuneStats:
    """What became of the challenges at one door. Nanoseconds as in `IntuneTrust`."""

    path_id: str
    issuer_id: str
    enabled: bool
    trust_anchor_path: str | None = None
    trust_anchors: tuple[TrustAnchor, ...] = ()
    audience: str | None = None
    challenge_validity_ns: int = 0
    clock_skew_tolerance_ns: int = 0
    rate_limit_disabled: bool = False
    replay_cache_size: int = 0
    counters: Mapping[str, int] = field(factory=dict)
    generated_at: datetime


@frozen(kw_only=True)
class IntuneStatistics:
    """As `IntuneStats` for every door."""

    profiles: tuple[IntuneStats, ...]
    profile_count: int
    generated_at: datetime


@frozen(kw_only=True)
class ReloadTrust:
    """The door whose trusted certificates are to be read anew."""

    path_id: Annotated[str, Length(0, 63), PLAIN] = ""


@frozen(kw_only=True)
class TrustReloaded:
    """They were read, and are used from now on."""

    reloaded: bool
    path_id: str
    reloaded_at: datetime
