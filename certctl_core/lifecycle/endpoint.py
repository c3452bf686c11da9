"""The life of a watched endpoint: what a probe saw decides, and the count of failures in a row says how bad it is."""

from datetime import datetime
from enum import Enum

from attrs import evolve

from certctl_core.lifecycle.machine import Machine, from_each
from certctl_core.models.observed import EndpointHealth
from certctl_core.models.observed import HealthStatus as S


class EndpointEvent(Enum):
    MATCH = "see the expected certificate at"
    DIFFER = "see another certificate at"
    STUMBLE = "fail a first probe of"
    DEGRADE = "fail repeatedly to probe"
    LOSE = "lose"


ENDPOINT: Machine[S, EndpointEvent] = Machine(
    "endpoint",
    {
        **from_each(tuple(S), EndpointEvent.MATCH, S.HEALTHY),
        **from_each(tuple(S), EndpointEvent.DIFFER, S.CERT_MISMATCH),
        **{(state, EndpointEvent.STUMBLE): state for state in S},
        **from_each(tuple(S), EndpointEvent.DEGRADE, S.DEGRADED),
        **from_each(tuple(S), EndpointEvent.LOSE, S.DOWN),
    },
)


def seen(endpoint: EndpointHealth, at: datetime, fingerprint: str) -> EndpointHealth:
    """A probe answered with `fingerprint` (lower-case hex SHA-256 of the leaf)."""
    expected = endpoint.expected_fingerprint
    event = EndpointEvent.MATCH if expected in ("", fingerprint) else EndpointEvent.DIFFER
    answered = evolve(
        endpoint, observed_fingerprint=fingerprint, consecutive_failures=0, failure_reason="", last_success_at=at
    )
    return _step(answered, event, at)


def unseen(endpoint: EndpointHealth, at: datetime, reason: str = "") -> EndpointHealth:
    """A probe got no certificate. The failure being recorded counts towards the thresholds."""
    failures = endpoint.consecutive_failures + 1
    event = EndpointEvent.STUMBLE
    if failures >= endpoint.down_threshold:
        event = EndpointEvent.LOSE
    elif failures >= endpoint.degraded_threshold:
        event = EndpointEvent.DEGRADE
    missed = evolve(endpoint, consecutive_failures=failures, failure_reason=reason, last_failure_at=at)
    return _step(missed, event, at)


def acknowledge(endpoint: EndpointHealth, at: datetime, by: str) -> EndpointHealth:
    """Somebody knows of the present state, until it changes."""
    return evolve(endpoint, acknowledged=True, acknowledged_by=by, acknowledged_at=at, updated_at=at)


def _step(endpoint: EndpointHealth, event: EndpointEvent, at: datetime) -> EndpointHealth:
    status = ENDPOINT.next(endpoint.status, event)
    checked = evolve(endpoint, last_checked_at=at, next_check_at=at + endpoint.interval, updated_at=at)
    if status is endpoint.status:
        return checked
    # An acknowledgement is of one state; a new state asks to be looked at again.
    return evolve(checked, status=status, acknowledged=False, last_transition_at=at)
