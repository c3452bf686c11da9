"""The loops: what certctl does by itself, and how often. One row each."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

from attrs import frozen

from certctl_core.ports import Ports
from certctl_core.usecases import (
    access,
    agents,
    alerts,
    approvals,
    audit,
    bulk,
    bulk_batches,
    crls,
    delegates,
    discovery,
    endpoints,
    enrolment_secrets,
    exports,
    hierarchy,
    jobs,
    notifications,
    ocsp,
    renewal,
    rescheduling,
    reviews,
    scep,
    sealing,
    tallies,
    violations,
    watchdog,
)
from certctl_web.settings import Schedule, Settings


@frozen
class Duty:
    """What a loop works with. `call_workers(n)` says that n pending jobs can be worked on."""

    ports: Ports
    settings: Settings
    call_workers: Callable[[int], None]


@frozen
class Loop:
    """`run` returns how many objects it worked on. It must bear being run again at any time, and being cut off."""

    name: str
    interval: Callable[[Schedule], timedelta]
    run: Callable[[Duty], int]
    about: str


SWEEPERS: Final = 3
"""So many sweep at once: while the database writes what one has judged, another judges."""


def _renewals(on: Duty) -> int:
    """What is due for renewal is told of in the same stroke; the rest is what only has to be told of."""
    with ThreadPoolExecutor(SWEEPERS, "sweeper") as threads:
        sweeps = [threads.submit(renewal.sweep, on.ports, on.settings.jobs.pace) for _ in range(SWEEPERS)]
    return sum(sweep.result() for sweep in sweeps) + alerts.sweep(on.ports)


def _reschedulings(on: Duty) -> int:
    return rescheduling.work_off(on.ports)


def _overdue(on: Duty) -> int:
    return watchdog.report(on.ports)


def _jobs(on: Duty) -> int:
    """Give back what dead workers held, then have everything that is due worked on."""
    jobs.release_lapsed(on.ports)
    waiting = jobs.waiting_for_workers(on.ports)
    on.call_workers(waiting)
    return waiting


def _retries(on: Duty) -> int:
    revived = jobs.retry_due(on.ports)
    on.call_workers(revived)
    return revived


def _timeouts(on: Duty) -> int:
    late = jobs.time_out(on.ports, on.settings.jobs.awaiting_csr)
    return late + approvals.expire(on.ports, on.settings.jobs.awaiting_approval)


def _silent_agents(on: Duty) -> int:
    return agents.mark_offline(on.ports, on.settings.schedule.agent_health)


def _expiries(on: Duty) -> int:
    return renewal.expire(on.ports)


def _bulk_operations(on: Duty) -> int:
    return bulk_batches.carry_on(on.ports)


def _seals(on: Duty) -> int:
    return sealing.seal(on.ports)


def _tallies(on: Duty) -> int:
    return tallies.tally(on.ports)


def _crls(on: Duty) -> int:
    return crls.sweep(on.ports)


def _delegates(on: Duty) -> int:
    return delegates.renew_due(on.ports)


def _hierarchy(on: Duty) -> int:
    return hierarchy.drain(on.ports)


def _policy_checks(on: Duty) -> int:
    return reviews.sweep(on.ports)


def _housekeeping(on: Duty) -> int:
    audit.forget_calls(on.ports, on.settings.storage.api_call_retention)
    agents.forget_activity(on.ports, on.settings.storage.api_call_retention)
    now, kept = on.ports.clock.now(), on.settings.observation
    exports.forget_quotas(on.ports)
    enrolment_secrets.purge(on.ports)
    discovery.forget_scans(on.ports, now - kept.scan_retention)
    endpoints.forget_probes(on.ports, now - kept.probe_retention)
    alerts.forget(on.ports)
    scep.forget(on.ports)
    delegates.forget(on.ports)
    crls.forget(on.ports)
    ocsp.forget_changes(on.ports)
    notifications.purge(on.ports, on.settings.storage.notification_retention)
    tallies.close_days(on.ports)
    violations.purge(on.ports, on.settings.storage.violation_retention)
    over = jobs.purge(on.ports, on.settings.jobs.retention) + bulk.forget(on.ports, on.settings.jobs.retention)
    return access.purge_sessions(on.ports) + over


TALLY_EVERY: Final = timedelta(seconds=10)
"""Whoever asks for a total reads what has changed since, so the pause bounds what that costs."""

LOOPS: Final[Sequence[Loop]] = (
    Loop("renewal_check", lambda every: every.renewal_check, _renewals, "begins renewals, tells of ends to come"),
    Loop("rescheduling", lambda every: every.rescheduling, _reschedulings, "has certificates follow changed policies"),
    Loop("renewal_watchdog", lambda every: every.watchdog, _overdue, "reports renewals that should have happened"),
    Loop("job_processor", lambda every: every.job_processor, _jobs, "has pending jobs worked on"),
    Loop("job_retry", lambda every: every.job_retry, _retries, "revives failed jobs whose pause is over"),
    Loop("job_timeout", lambda every: every.job_timeout, _timeouts, "fails jobs that waited too long"),
    Loop("agent_health", lambda every: every.agent_health, _silent_agents, "marks silent agents as Offline"),
    Loop("short_lived_expiry", lambda every: every.short_lived, _expiries, "marks what has run out as Expired"),
    Loop("bulk_operations", lambda every: every.bulk, _bulk_operations, "carries on with operations on many"),
    Loop("audit_seal", lambda every: every.audit_seal, _seals, "seals new events of the audit trail"),
    Loop("tallies", lambda _: TALLY_EVERY, _tallies, "takes changes into the totals of lists and statistics"),
    Loop("policy_check", lambda every: every.policy_check, _policy_checks, "judges again what time or a rule changed"),
    Loop("crl_generation", lambda every: every.crls, _crls, "makes CRLs after a revocation, and before they end"),
    Loop("delegate_renewal", lambda every: every.delegates, _delegates, "renews certificates of our own services"),
    Loop("ca_retirement", lambda every: every.delegates, _hierarchy, "finishes CAs whose last certificate has ended"),
    Loop("housekeeping", lambda every: every.housekeeping, _housekeeping, "removes what is old enough to be forgotten"),
)
