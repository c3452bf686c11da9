"""What administrators see of SCEP."""

from datetime import datetime
from typing import Any, Final

from certctl_core.errors import Conflict, NotConfigured, NotFound
from certctl_core.usecases import scep_status
from certctl_core.usecases.scep_doors import SignedChallenges
from certctl_core.usecases.scep_status import DoorStatus
from certctl_web import metrics
from certctl_web.access import ADMINS
from certctl_web.media.scep import (
    IntuneStatistics,
    IntuneStats,
    IntuneTrust,
    ReloadTrust,
    ScepProfile,
    ScepProfiles,
    TrustAnchor,
    TrustReloaded,
    days_between,
)
from certctl_web.operation import Call, Operation, Row

_PATH: Final = "/api/v1/admin/scep"


def profiles(call: Call[None], _: None) -> ScepProfiles:
    now = call.ports.clock.now()
    found = tuple(_profile(one, now) for one in scep_status.doors(call.ports, call.caller, call.options.scep))
    return ScepProfiles(profiles=found, profile_count=len(found), generated_at=now)


def _profile(status: DoorStatus, now: datetime) -> ScepProfile:
    door, ra = status.door, status.ra
    return ScepProfile(
        path_id=door.label,
        issuer_id=door.issuer_id,
        challenge_password_set=door.static is not None,
        one_time_challenges=door.one_time,
        ra_cert_subject=ra.subject.rfc4514_string() if ra else None,
        ra_cert_not_before=ra.not_valid_before_utc if ra else None,
        ra_cert_not_after=ra.not_valid_after_utc if ra else None,
        ra_cert_days_to_expiry=days_between(now, ra.not_valid_after_utc) if ra else 0,
        ra_cert_expired=ra is not None and ra.not_valid_after_utc <= now,
        mtls_enabled=door.client_authorities is not None,
        mtls_trust_bundle_path=door.client_authorities_path or None,
        generated_at=now,
        intune=None if door.signed is None else IntuneTrust(**_trust(status, door.signed, now)),
    )


def intune_stats(call: Call[None], _: None) -> IntuneStatistics:
    now = call.ports.clock.now()
    found = tuple(_stats(one, now) for one in scep_status.doors(call.ports, call.caller, call.options.scep))
    return IntuneStatistics(profiles=found, profile_count=len(found), generated_at=now)


def _stats(status: DoorStatus, now: datetime) -> IntuneStats:
    signed = status.door.signed
    return IntuneStats(
        path_id=status.door.label,
        issuer_id=status.door.issuer_id,
        enabled=signed is not None,
        generated_at=now,
        **({} if signed is None else _trust(status, signed, now)),
    )


def _trust(status: DoorStatus, signed: SignedChallenges, now: datetime) -> dict[str, Any]:
    rules = signed.rules
    return {
        "trust_anchor_path": signed.path,
        "trust_anchors": TrustAnchor.all(status.trusted, now),
        "audience": rules.audience,
        "challenge_validity_ns": _nanoseconds(rules.validity.total_seconds()),
        "clock_skew_tolerance_ns": _nanoseconds(rules.skew.total_seconds()),
        "rate_limit_disabled": rules.per_day == 0,
        "replay_cache_size": status.remembered,
        "counters": metrics.challenges(status.door.label),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000_000)


def reload_trust(call: Call[None], asked: ReloadTrust) -> TrustReloaded:
    at = scep_status.reload_trust(call.ports, call.caller, call.options.scep, asked.path_id)
    return TrustReloaded(reloaded=True, path_id=asked.path_id, reloaded_at=at)


ROWS: Final[tuple[Row, ...]] = (
    Operation(
        name="list_scep_profiles",
        method="GET",
        path=f"{_PATH}/profiles",
        summary="Show the doors of SCEP, their registration authorities and what they accept",
        who=ADMINS,
        run=profiles,
        answer=ScepProfiles,
    ),
    Operation(
        name="get_scep_intune_stats",
        method="GET",
        path=f"{_PATH}/intune/stats",
        summary="Show what became of the signed challenges at each door of SCEP",
        who=ADMINS,
        run=intune_stats,
        answer=IntuneStatistics,
    ),
    Operation(
        name="reload_scep_intune_trust",
        method="POST",
        path=f"{_PATH}/intune/reload-trust",
        summary="Read the certificates that a connector signs challenges with anew",
        who=ADMINS,
        run=reload_trust,
        body=ReloadTrust,
        answer=TrustReloaded,
        errors=(NotFound, Conflict, NotConfigured),
    ),
)
