"""A changed renewal policy takes its certificates along.

A policy may be that of a million certificates, whose times are columns of their own. That it has changed is a row,
written in the transaction of the change; a loop works through its certificates in order of their ids, a batch to a
transaction, and writes down how far it has come in the same transaction. Killed, it goes on from there; changed again
meanwhile, it begins anew.
"""

from typing import Final

from attrs import evolve

from certctl_core.models.catalog import RenewalPolicy
from certctl_core.policy import schedule
from certctl_core.ports import Ports
from certctl_core.ports.store import Work

BATCH: Final = 500
_TIMES: Final = ("renewal_window", "renewal_window_share", "auto_renew", "alert_thresholds_days")


def ask(work: Work, before: RenewalPolicy, after: RenewalPolicy) -> None:
    """Have the certificates of a policy that is being changed follow it, if any of their times depends on the
    change."""
    if any(getattr(before, name) != getattr(after, name) for name in _TIMES):
        work.reschedulings.ask(after.id, after.updated_at)


def work_off(ports: Ports) -> int:
    """Give certificates of changed policies their new times, until all have them. Returns how many were looked at."""
    done = 0
    while True:
        looked_at = _step(ports)
        if looked_at is None:
            return done
        done += looked_at


def _step(ports: Ports) -> int | None:
    """One batch; None when nothing is to be done, or others are at it."""
    now = ports.clock.now()
    with ports.work() as work:
        claimed = work.reschedulings.claim()
        if claimed is None:
            return None
        policy = work.renewal_policies.find(claimed.policy_id)
        batch = work.certificates.lock_following(claimed.policy_id, claimed.after, BATCH) if policy else ()
        if policy is not None:
            moved = ((each, schedule.changed(each, policy, now)) for each in batch)
            work.certificates.save_many([after for before, after in moved if after != before])
        if len(batch) < BATCH:
            work.reschedulings.finish(claimed)
        else:
            work.reschedulings.advance(evolve(claimed, after=batch[-1].id))
    return len(batch)
