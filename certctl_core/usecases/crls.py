"""CRLs: made by a loop, published in the database, served from there.

Theory of operation. Each scope, a CA and a part of its certificates, has one row that says when its CRL is due. A
revocation writes its entry, counts in that row and makes it due; it waits for nothing. The loop takes what is due, one
after another:

1. **claim**: the row, under a lease; then in one transaction a number, the count of changes and the entries, in this
   order. Whoever takes a number holds up everybody else who wants one until the entries are read, so a higher number
   never says less.
2. **call**: the CA signs, outside of any transaction.
3. **record**: the CRL is published unless one with a higher number is, the making is remembered, and the row is due
   again when the CRL is to be replaced, or at once when something was counted meanwhile.

Killed anywhere, the lease lapses and the next one does it again; a number that was taken is lost, which is no harm.

An entry stays until it was on a CRL made after its certificate's end (RFC 5280 section 3.3): what had ended before the
thisUpdate of the CRL that is published was on that one.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from certctl_core.errors import CertctlError, UpstreamUnavailable
from certctl_core.ids import IssuerId
from certctl_core.models.access import Actor
from certctl_core.models.crls import CrlDuty, CrlGeneration, CrlRules, CrlScope, StoredCrl
from certctl_core.pki import distribution
from certctl_core.pki.distribution import Place
from certctl_core.pki.plan import CrlPlan
from certctl_core.policy import crls as policy
from certctl_core.policy import retry
from certctl_core.ports import Ports
from certctl_core.ports.issuer import SignsCrls
from certctl_core.ports.store import Work
from certctl_core.usecases import crl_scopes
from certctl_core.usecases import scope as reach

BACKDATE: Final = timedelta(minutes=5)
"""How far thisUpdate lies in the past, for relying parties and replicas whose clocks are wrong by minutes."""

AGAIN: Final = timedelta(seconds=1)
"""After which a CRL is due again that something was counted for while it was made."""

RETRY: Final = timedelta(seconds=15)
LONGEST_RETRY: Final = timedelta(minutes=10)
NOBODY: Final = timedelta(days=1)
"""When a scope is looked at again whose CA signs no more."""

LEAVING: Final = 20_000
"""How many entries leave a CRL at a time; the others may stay for another one."""

SHOWN: Final = 1000
EVENTS_SHOWN: Final = 5
KEPT: Final = timedelta(days=30)
AT_LEAST: Final = timedelta(minutes=10)


@frozen
class _Draft:
    """A CRL to be signed, and what is remembered of it."""

    plan: CrlPlan
    entries: int
    changes: int
    is_delta: bool = False


# --- Reading ----------------------------------------------------------------------------------------------------------


def published(ports: Ports, issuer_id: str, place: Place, *, is_delta: bool = False) -> StoredCrl | None:
    """The CRL that is published for a place now. Raises `NotFound` for an issuer that does not exist."""
    with ports.work() as work:
        found = work.crls.find(IssuerId(issuer_id), place.authority, place.partition, is_delta=is_delta)
        if found is None:
            work.issuers.get(issuer_id)
    return found


def content(ports: Ports, crl: StoredCrl) -> Iterator[bytes]:
    """The DER of a published CRL, in parts; none when it was replaced meanwhile. To be read without delay: a
    transaction is open until the end."""
    with ports.work() as work:
        yield from work.crls.content(crl)


@frozen
class Listed:
    """A scope, what is published of it, and how the last makings went, newest first."""

    duty: CrlDuty
    complete: StoredCrl | None
    delta: StoredCrl | None
    history: Sequence[CrlGeneration]


def overview(ports: Ports, caller: Actor) -> Sequence[Listed]:
    """Every CRL there is, of the first `SHOWN` scopes. Raises as `scope.must_reach_everything`."""
    reach.must_reach_everything(caller)
    with ports.work() as work:
        found = work.crls.all_duties(SHOWN)
        histories = work.crls.histories(SHOWN, EVENTS_SHOWN)
    return [Listed(duty, complete, delta, histories.get(duty.scope, ())) for duty, complete, delta in found]


def first(ports: Ports, issuer_id: str, place: Place) -> StoredCrl | None:
    """The complete CRL of a place, made now when none ever was; None while somebody else makes it.

    Raises `NotFound` for a place that no certificate names, `NotConfigured` for an issuer whose CRL its own CA
    publishes, and `UpstreamUnavailable` when it could not be made: asking again does not have it tried sooner.
    """
    stored = published(ports, issuer_id, place)
    if stored is not None:
        return stored
    scope = crl_scopes.ensure_place(ports, issuer_id, place)
    crl_scopes.assign(ports)
    now = ports.clock.now()
    with ports.work() as work:
        stored = work.crls.find(scope.issuer_id, scope.authority, scope.partition)
        known = work.crls.duty(scope)
        is_put_off = known is not None and known.failures > 0 and known.due_at > now
        duty = None if stored or is_put_off else work.crls.claim(scope, now, crl_scopes.LEASE)
    if stored is None and is_put_off:
        raise UpstreamUnavailable("the CRL could not be made", hint="It is tried again in a while.")
    if stored is not None or duty is None:
        return stored
    make(ports, duty)
    return published(ports, issuer_id, place)


def of_certificate(ports: Ports, issuer_id: str, serial_number: str) -> StoredCrl | None:
    """The complete CRL that tells of a certificate, or that of the issuer's first CA for one that is unknown. Raises
    and answers as `first`."""
    with ports.work() as work:
        version = work.versions.with_serial(IssuerId(issuer_id), serial_number)
    return first(ports, issuer_id, Place() if version is None else crl_scopes.of_version(version))


# --- Making -----------------------------------------------------------------------------------------------------------


def sweep(ports: Ports) -> int:
    """Make every CRL that is due. Returns how many were made. Raises `UpstreamUnavailable` in the end for as long as
    there is one that cannot be made, also when it was not tried this time."""
    crl_scopes.assign(ports)
    problems = list(crl_scopes.look_around(ports, make))
    began = ports.clock.now()  # What becomes due from here on is for the next run.
    made = 0
    while (duty := _claim_due(ports, began)) is not None:
        with contextlib.suppress(CertctlError):  # It is on record, and told in the end.
            made += make(ports, duty)
    with ports.work() as work:
        trouble = work.crls.trouble(began)
    if trouble.failing:
        problems.append(f"{trouble.failing} cannot be made: {trouble.error}")
    if problems:
        raise UpstreamUnavailable(f"CRLs: {'; '.join(problems[:3])}")
    return made


def forget(ports: Ports) -> int:
    """Remove what is remembered of makings long ago."""
    with ports.work() as work:
        return work.crls.forget(ports.clock.now() - KEPT, 10_000)


def _claim_due(ports: Ports, began: datetime) -> CrlDuty | None:
    with ports.work() as work:
        return work.crls.claim_due(began, crl_scopes.LEASE)


def make(ports: Ports, duty: CrlDuty) -> int:
    """Make and publish the CRL of a claimed duty, and its delta. Returns how many were made. What goes wrong is on
    record, and raised."""
    started = ports.clock.now()
    try:
        return _make(ports, duty, started)
    except CertctlError as problem:
        _failed(ports, duty, started, problem)
        raise
    except Exception as problem:
        _failed(ports, duty, started, problem)
        raise UpstreamUnavailable(f"{type(problem).__name__}: {problem}") from problem


def _make(ports: Ports, duty: CrlDuty, started: datetime) -> int:
    scope = duty.scope
    signer = _signer(ports, scope)
    if signer is None:
        with ports.work() as work:
            work.crls.finish(scope, duty.changes, started, started + NOBODY)
        return 0
    with ports.work() as work:
        drafts = _drafts(ports, work, scope, started)
    ports.tripwire("crl:1")
    signed: list[tuple[StoredCrl, bytes]] = []
    while drafts:
        draft = drafts.pop(0)  # What has been signed is not held twice.
        der = signer.sign_crl(draft.plan, bytes.fromhex(scope.authority))
        signed.append((_stored(scope, draft, der, started, ports.clock.now() - started), der))
    ports.tripwire("crl:2")
    with ports.work() as work:
        saved = _publish(ports, work, scope, signed, started)
    ports.tripwire("crl:3")
    for crl, _ in signed if saved else ():
        ports.meter.crl_made("delta" if crl.is_delta else "complete", "made", crl.took)
    return len(signed) if saved else 0


def _signer(ports: Ports, scope: CrlScope) -> SignsCrls | None:
    """Who signs for the scope; None when its CA signs no more, or never did."""
    with ports.work() as work:
        configured = work.issuers.find(scope.issuer_id)
    found = None if configured is None else crl_scopes.standing(ports, configured)
    if configured is None or found is None or scope.authority not in found.known:
        return None
    issuer = ports.issuers.connect(configured)
    return issuer if isinstance(issuer, SignsCrls) else None


def _drafts(ports: Ports, work: Work, scope: CrlScope, now: datetime) -> list[_Draft]:
    """What is to be signed, read under a fresh number."""
    rules = ports.crls
    number = work.crls.next_number(scope.issuer_id)
    duty = work.crls.duty(scope)
    changes = duty.changes if duty else 0
    stored = work.crls.find(scope.issuer_id, scope.authority, scope.partition)
    addresses = duty.addresses if duty and _is_in_parts(work, scope) else ()
    frame = CrlPlan(number, now - BACKDATE, now + rules.life, addresses=addresses)
    drafts: list[_Draft] = []
    if stored is None or not _may_stay(rules, stored, changes, now):
        if stored is not None:
            work.revocations.leave(scope, stored.this_update, LEAVING)
        entries, count = work.revocations.listed(scope)
        deltas = _delta_addresses(duty) if policy.has_deltas(rules, count) else ()
        drafts.append(_Draft(evolve(frame, entries=entries, delta_addresses=deltas), count, changes))
    listed = drafts[0].entries if drafts else stored.entries if stored else 0
    if policy.has_deltas(rules, listed):
        drafts.append(_delta(work, scope, frame, rules, changes, now))
    return drafts


def _may_stay(rules: CrlRules, stored: StoredCrl, changes: int, now: datetime) -> bool:
    """Whether the complete CRL may be left as it is."""
    if policy.waits_for_delta(rules, stored, now):
        return True
    is_same = changes == stored.changes and now < policy.full_due_at(rules, stored)
    return is_same and policy.has_deltas(rules, stored.entries)


def _delta(work: Work, scope: CrlScope, frame: CrlPlan, rules: CrlRules, changes: int, now: datetime) -> _Draft:
    """What has changed since the oldest complete CRL that anybody may still hold, so that it adds to each of them.
    Where there was none before, the one made now is the base, and the delta has a number of its own."""
    base = work.crls.oldest_in_use(scope, now)
    if base is None:
        number, base_number, since = work.crls.next_number(scope.issuer_id), frame.number, changes
    else:
        number, base_number, since = frame.number, base.number, base.changes
    entries, count = work.revocations.changed(scope, since)
    plan = evolve(frame, number=number, base=base_number, entries=entries, next_update=now + delta_life(rules))
    return _Draft(plan, count, changes, is_delta=True)


def delta_life(rules: CrlRules) -> timedelta:
    """How long a delta may be relied upon."""
    return max(rules.life / 24, AT_LEAST)


def _is_in_parts(work: Work, scope: CrlScope) -> bool:
    return any(
        duty.scope.partition and duty.scope.authority == scope.authority for duty in work.crls.duties(scope.issuer_id)
    )


def _delta_addresses(duty: CrlDuty | None) -> tuple[str, ...]:
    """Deltas are beside the complete CRL, where that is served by us."""
    if duty is None:
        return ()
    return tuple(f"{one}/delta" for one in duty.addresses if distribution.named_by(one, duty.scope.issuer_id))


def _stored(scope: CrlScope, draft: _Draft, der: bytes, made_at: datetime, took: timedelta) -> StoredCrl:
    return StoredCrl(
        scope=scope,
        is_delta=draft.is_delta,
        number=draft.plan.number,
        base=draft.plan.base,
        digest=hashlib.sha256(der).hexdigest(),
        size=len(der),
        entries=draft.entries,
        changes=draft.changes,
        this_update=draft.plan.this_update,
        next_update=draft.plan.next_update,
        made_at=made_at,
        took=took,
    )


def _publish(
    ports: Ports, work: Work, scope: CrlScope, signed: Sequence[tuple[StoredCrl, bytes]], now: datetime
) -> bool:
    """Whether they were published. If not, somebody else was faster, and the duty is theirs."""
    if not all(work.crls.save(crl, der) for crl, der in signed):
        return False
    for crl, _ in signed:
        work.crls.record(
            CrlGeneration(
                scope=scope,
                is_delta=crl.is_delta,
                number=crl.number,
                started_at=crl.made_at,
                took=crl.took,
                entries=crl.entries,
                changes=crl.changes,
                next_update=crl.next_update,
            )
        )
    full = work.crls.find(scope.issuer_id, scope.authority, scope.partition)
    delta = work.crls.find(scope.issuer_id, scope.authority, scope.partition, is_delta=True)
    if full is not None:
        newest = max((crl.changes for crl, _ in signed), default=full.changes)
        work.crls.finish(scope, newest, now + AGAIN, _due_at(ports.crls, full, delta, newest))
    return True


def _due_at(rules: CrlRules, full: StoredCrl, delta: StoredCrl | None, changes: int) -> datetime:
    due = policy.full_due_at(rules, full)
    if policy.has_deltas(rules, full.entries):
        if delta is not None:
            due = min(due, delta.next_update - delta_life(rules) / 2)
        if full.changes < changes:
            due = min(due, full.made_at + rules.full_pause)
    return due


def _failed(ports: Ports, duty: CrlDuty, started: datetime, problem: Exception) -> None:
    """Put a failure on record, and have it tried again."""
    now = ports.clock.now()
    error = str(problem) or type(problem).__name__
    again = retry.next_attempt_at(now, attempt=duty.failures + 1, interval=RETRY, key=duty.scope.key, cap=LONGEST_RETRY)
    made = CrlGeneration(scope=duty.scope, started_at=started, took=now - started, succeeded=False, error=error)
    with ports.work() as work:
        work.crls.fail(duty.scope, error, again)
        work.crls.record(made)
    ports.meter.crl_made("complete", "failed", now - started)
