"""How facts are put for people: times, durations, and a word and a colour for each status.

Times are printed in UTC with a relative hint beside them, because the people who compare them with a log sit in several
time zones. A tone is the colour family of the style sheet; it is never the only carrier of a meaning.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from attrs import frozen

from certctl_core.models.agents import AgentStatus
from certctl_core.models.authorities import AuthorityState
from certctl_core.models.certificates import CertificateStatus, RevocationReason
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.models.records import AuditEvent, LoopOutcome, LoopState


class Tone(Enum):
    """Colour families."""

    GOOD = "good"
    NOTICE = "notice"
    BAD = "bad"
    BUSY = "busy"
    QUIET = "quiet"


@frozen
class Word:
    """What a status is called, and its tone."""

    text: str
    tone: Tone


_UNITS: Final = (
    ("year", timedelta(days=365), timedelta(days=2 * 365)),
    ("month", timedelta(days=30), timedelta(days=120)),
    ("day", timedelta(days=1), timedelta(days=2)),
    ("hour", timedelta(hours=1), timedelta(hours=2)),
    ("minute", timedelta(minutes=1), timedelta(minutes=2)),
)
"""A unit, and from which length on it is the one to use."""

_SEVERE: Final = timedelta(days=7)
_SOON: Final = timedelta(days=30)

STATUS: Final[Mapping[Enum, Word]] = {
    CertificateStatus.PENDING: Word("Pending", Tone.QUIET),
    CertificateStatus.ACTIVE: Word("Active", Tone.GOOD),
    CertificateStatus.EXPIRING: Word("Expiring", Tone.NOTICE),
    CertificateStatus.EXPIRED: Word("Expired", Tone.BAD),
    CertificateStatus.RENEWAL_IN_PROGRESS: Word("Renewing", Tone.BUSY),
    CertificateStatus.FAILED: Word("Failed", Tone.BAD),
    CertificateStatus.REVOKED: Word("Revoked", Tone.QUIET),
    CertificateStatus.ARCHIVED: Word("Archived", Tone.QUIET),
    JobStatus.PENDING: Word("Pending", Tone.QUIET),
    JobStatus.AWAITING_CSR: Word("Awaiting CSR", Tone.BUSY),
    JobStatus.AWAITING_APPROVAL: Word("Awaiting approval", Tone.NOTICE),
    JobStatus.RUNNING: Word("Running", Tone.BUSY),
    JobStatus.COMPLETED: Word("Completed", Tone.GOOD),
    JobStatus.FAILED: Word("Failed", Tone.BAD),
    JobStatus.CANCELLED: Word("Cancelled", Tone.QUIET),
    AuthorityState.PENDING: Word("Waiting for its certificate", Tone.NOTICE),
    AuthorityState.ACTIVE: Word("Active", Tone.GOOD),
    AuthorityState.RETIRING: Word("Retiring", Tone.BUSY),
    AuthorityState.RETIRED: Word("Retired", Tone.QUIET),
    AgentStatus.ONLINE: Word("Online", Tone.GOOD),
    AgentStatus.OFFLINE: Word("Offline", Tone.BAD),
    AgentStatus.DEGRADED: Word("Degraded", Tone.NOTICE),
    LoopOutcome.NEVER: Word("Not run yet", Tone.QUIET),
    LoopOutcome.RUNNING: Word("Running", Tone.BUSY),
    LoopOutcome.SUCCESS: Word("Healthy", Tone.GOOD),
    LoopOutcome.FAILED: Word("Failing", Tone.BAD),
}

JOB_TYPE: Final[Mapping[JobType, str]] = {
    JobType.ISSUANCE: "Issue",
    JobType.RENEWAL: "Renew",
    JobType.DEPLOYMENT: "Deploy",
    JobType.VALIDATION: "Validate",
}

REASON: Final[Mapping[RevocationReason, str]] = {
    RevocationReason.UNSPECIFIED: "Unspecified",
    RevocationReason.KEY_COMPROMISE: "The private key was exposed",
    RevocationReason.CA_COMPROMISE: "The CA was compromised",
    RevocationReason.AFFILIATION_CHANGED: "The names changed hands",
    RevocationReason.SUPERSEDED: "Replaced by another certificate",
    RevocationReason.CESSATION_OF_OPERATION: "The service was shut down",
    RevocationReason.CERTIFICATE_HOLD: "On hold",
    RevocationReason.PRIVILEGE_WITHDRAWN: "The privilege was withdrawn",
}

LOOP: Final[Mapping[str, str]] = {"short_lived_expiry": "Expiry check"}
"""Loops whose name alone does not say what they do."""

_EVENTS: Final[Mapping[str, str]] = {
    "agent_registered": "Agent joined",
    "agent_retirement_cascaded": "Its targets and jobs retired",
    "api_key_created": "API key created",
    "api_key_revoked": "API key revoked",
    "certificate_archived": "Archived",
    "certificate_created": "Put under management",
    "certificate_expired": "Expired",
    "certificate_released": "Released from hold",
    "certificate_retrieved": "Picked up by its agent",
    "certificate_revoked": "Revoked",
    "certificate_updated": "Changed",
    "csr_submitted": "CSR received",
    "deployment_job_completed": "Deployed",
    "deployment_job_dispatched": "Deployment handed to the agent",
    "deployment_job_failed": "Deployment failed",
    "deployment_jobs_created": "Deployment queued",
    "deployment_triggered": "Deployment requested",
    "job_released": "Job given back",
    "job_retried": "Job retried by hand",
    "job_retry": "Job tries again",
    "job_status_reported": "Job reported by its agent",
    "job_timeout": "Job waited too long",
    "job_verification_failed": "Verification failed",
    "job_verification_success": "Verified as served",
    "join_token_created": "Join token made",
    "policy_rule_created": "Policy made",
    "policy_rule_deleted": "Policy removed",
    "policy_rule_updated": "Policy changed",
    "policy_violation_detected": "Breaks a policy",
    "policy_violation_resolved": "Meets the policy again",
    "renewal_breaker_opened": "Renewal paused",
    "renewal_job_completed": "Certificate issued",
    "renewal_job_created": "Renewal queued",
    "renewal_job_failed": "Renewal failed",
    "renewal_triggered": "Renewal requested",
    "session_opened": "Signed in",
}

_EVENT_TONES: Final[tuple[tuple[str, Tone], ...]] = (
    ("failed", Tone.BAD),
    ("breaker", Tone.BAD),
    ("violation_detected", Tone.BAD),
    ("violation_resolved", Tone.GOOD),
    ("expired", Tone.BAD),
    ("revoked", Tone.NOTICE),
    ("retired", Tone.NOTICE),
    ("timeout", Tone.NOTICE),
    ("released", Tone.NOTICE),
    ("completed", Tone.GOOD),
    ("success", Tone.GOOD),
)


def status(value: Enum) -> Word:
    return STATUS.get(value) or Word(str(value.value), Tone.QUIET)


def event(action: str) -> Word:
    """`renewal_job_failed` -> Renewal failed, bad."""
    text = _EVENTS.get(action) or action.replace("_", " ").capitalize()
    return Word(text, next((tone for part, tone in _EVENT_TONES if part in action), Tone.QUIET))


def details(event: AuditEvent) -> tuple[tuple[str, str], ...]:
    """What is worth showing of an event's details: label and text, without what is empty."""
    return tuple(
        (name.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in event.details.items()
        if value is not False and value not in (None, "", [], {})
    )


def stamp(at: datetime) -> str:
    """`2031-03-04 05:06:07 UTC`"""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def day(at: datetime) -> str:
    """`4 Mar 2031`"""
    return f"{at.day} {at:%b %Y}"


def short_day(at: datetime) -> str:
    """`4 Mar`"""
    return f"{at.day} {at:%b}"


def clock(at: datetime) -> str:
    """`05:06:07 UTC`"""
    return f"{at:%H:%M:%S} UTC"


def relative(at: datetime, now: datetime) -> str:
    """`in 43 days`, `2 minutes ago`, `just now`."""
    distance = at - now
    size = rough(abs(distance))
    if abs(distance) < timedelta(seconds=1):
        return "just now"
    return f"in {size}" if distance > timedelta(0) else f"{size} ago"


def rough(length: timedelta) -> str:
    """The length in whole units of the largest kind that it has two of: `43 days`, `2 hours`, `90 seconds`."""
    for noun, unit, least in _UNITS:
        if length >= least:
            return _plural(length // unit, noun)
    return _plural(int(length.total_seconds()), "second")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def brief(length: timedelta) -> str:
    """For measurements and intervals: `85 ms`, `1.2 s`, `5 min`, `1 h`."""
    seconds = length.total_seconds()
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def urgency(ends_at: datetime, now: datetime) -> Tone:
    """How pressing it is that something ends then."""
    left = ends_at - now
    if left <= _SEVERE:
        return Tone.BAD
    return Tone.NOTICE if left <= _SOON else Tone.GOOD


def loop(state: LoopState, now: datetime) -> Word:
    """How a loop does: as its last run ended, unless it has not even been begun when it should have."""
    if now - state.next_run_at > max(state.interval, timedelta(minutes=1)):
        return Word("Late", Tone.BAD)
    return status(state.last_outcome)


def loop_name(name: str) -> str:
    """`renewal_check` -> Renewal check."""
    return LOOP.get(name) or name.replace("_", " ").replace("-", " ").capitalize()


def pairs(hexadecimal: str) -> str:
    """`ab12cd` -> `ab:12:cd`, as other tools print fingerprints."""
    return ":".join(hexadecimal[i : i + 2] for i in range(0, len(hexadecimal), 2))
