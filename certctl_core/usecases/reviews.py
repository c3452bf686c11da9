"""The sweep that judges certificates again: those of which time changes what the policy rules say, and, in steps, those
that a changed rule, group or agent leads to.

A review is a row that says how far it has come; each step is a transaction. It begins when everybody has ended who may
have judged by what was before the change. From then on it reads certificates without locking them: whoever changes one
meanwhile judges by the same rules. Only those for which something has to be written are locked. So a new rule costs a
million certificates that meet it a million looks and no write.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from attrs import evolve, frozen

from certctl_core.ids import CertificateId
from certctl_core.models.access import SYSTEM
from certctl_core.models.certificates import ManagedCertificate
from certctl_core.models.policies import PolicyReview, ReviewKind
from certctl_core.ports import Ports
from certctl_core.ports.store import Is, Query, Where, Work
from certctl_core.usecases import compliance
from certctl_core.usecases.compliance import Ready

BATCH: Final = 500
PATIENCE: Final = timedelta(minutes=1)
"""How long one run goes on while something is left."""


def sweep(ports: Ports) -> int:
    """Judge what is due, and go on with reviews. Returns how many certificates were looked at; what is left after
    `PATIENCE` is for the next run."""
    until = ports.clock.now() + PATIENCE
    done = 0
    step = _Step()
    _begin(ports)
    while True:
        due = _look_at_due(ports)
        step = _take(ports, step.wanted)
        done += due + step.looked_at
        if (due < BATCH and step.is_last) or (not step.wanted and ports.clock.now() > until):
            return done


def _begin(ports: Ports) -> None:
    """Begin the reviews that were asked for. Whoever judges now is waited for; who comes meanwhile waits for that."""
    with ports.work() as work:
        if not work.policy_reviews.waiting():
            return
    with ports.work() as work:
        work.policy_rules.hold()
        work.policy_reviews.begin()


def _look_at_due(ports: Ports) -> int:
    now = ports.clock.now()
    with ports.work() as work:
        due = work.certificates.due_for_policy(now, BATCH)
        if due:
            compliance.settle(work, SYSTEM, due, now)
        return len(due)


@frozen
class _Step:
    """What came of a step: how many certificates it was done with, or which have to be held before it can be."""

    looked_at: int = 0
    wanted: frozenset[CertificateId] = frozenset()
    is_last: bool = False


def _take(ports: Ports, wanted: frozenset[CertificateId]) -> _Step:
    """The next step of a review. One that finds something to write about a certificate that it does not hold ends
    there, and has to be taken again with these `wanted`: certificates are locked before rules are held, since who holds
    one may be waiting for the rules."""
    now = ports.clock.now()
    with ports.work() as work:
        held = work.certificates.lock_many(wanted)
        rules = compliance.in_force(work)
        review = work.policy_reviews.claim()
        if review is None:
            return _Step(is_last=True)
        certificates, after = _next_of(work, rules, review)
        judged = compliance.judge(work, rules, certificates, now)
        found = compliance.differences(work, judged)
        concerned = frozenset([*found.certificate_ids, *(moved.id for moved in judged.moved(certificates))])
        if not concerned <= held.keys():
            return _Step(wanted=concerned)
        compliance.keep(work, SYSTEM, certificates, judged, found)
        if after:
            work.policy_reviews.advance(evolve(review, after=after))
        else:
            work.policy_reviews.finish(review)
        return _Step(len(certificates))


def _next_of(work: Work, rules: Sequence[Ready], review: PolicyReview) -> tuple[Sequence[ManagedCertificate], str]:
    """The next certificates of a review, and behind what to go on; empty when these are the last."""
    if review.kind is ReviewKind.OPEN:
        found = work.violations.open_under(review.subject_id, review.after, BATCH)
        certificates = work.certificates.many(violation.certificate_id for violation in found)
        return list(certificates.values()), found[-1].id if len(found) == BATCH else ""
    where = _where(work, rules, review)
    if where is None:
        return [], ""
    after = (review.after, review.after) if review.after else None
    page = work.certificates.page(Query(where, sort="id", limit=BATCH, after=after, count=False))
    return page.items, page.items[-1].id if page.more else ""


def _where(work: Work, rules: Sequence[Ready], review: PolicyReview) -> tuple[Where, ...] | None:
    """Which certificates a review leads through; None for none."""
    if review.kind is ReviewKind.AGENT:
        asks = any(ready.rule.agent_group_ids for ready in rules)
        return (Where("agent_id", review.subject_id),) if asks else None
    rule = work.policy_rules.find(review.subject_id)
    if rule is None or not rule.enabled:
        return None
    return (
        *((Where("team_id", rule.team_ids, Is.ONE_OF),) if rule.team_ids else ()),
        *((Where("environment", rule.environments, Is.ONE_OF),) if rule.environments else ()),
    )
