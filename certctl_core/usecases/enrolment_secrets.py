"""Enrolment secrets: what devices show to enrol, made by operators and shown once.

A secret is looked up by its SHA-256 under a unique key, so that comparing it takes no time that depends on it. Whether
a secret may be used is said twice: when a device shows it (`present`), which changes nothing, and when its request is
claimed (`use`), in the transaction that records the enrolment. So a single-use secret is used up exactly when something
was enrolled with it, and the device that used it may repeat its request.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from certctl_core.errors import Invalid, NotAuthenticated, Refused
from certctl_core.ids import EnrolmentSecretId, mint
from certctl_core.models.access import Actor
from certctl_core.models.enrolment import EnrolmentProtocol, EnrolmentSecret
from certctl_core.pki import names
from certctl_core.ports import Ports
from certctl_core.ports.store import Page, Query, Work
from certctl_core.usecases import audit, scope

BYTES: Final = 20
LONGEST_LIFE: Final = timedelta(days=365)
LIFE: Final = timedelta(days=1)
KEPT: Final = timedelta(days=30)
"""How long after its end a secret is listed still."""

BATCH: Final = 500
MOST_REMEMBERED: Final = 4096
_PRESENTED: Final[dict[str, EnrolmentSecret]] = {}
"""Secrets by their hash, as they were when they were first shown to this process. Which secret it is never changes;
whether it is still there is for `use` to find out."""

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


@frozen(kw_only=True)
class CreateSecret:
    """A secret for a label of a protocol. Bound to a common name or SANs it is good for these only."""

    protocol: EnrolmentProtocol
    label: str = ""
    description: str = ""
    common_name: str = ""
    sans: tuple[str, ...] = ()
    single_use: bool = True
    life: timedelta = LIFE


@frozen
class NewSecret:
    """`plain` is shown this once and kept nowhere."""

    record: EnrolmentSecret
    plain: str


def create(ports: Ports, caller: Actor, asked: CreateSecret) -> NewSecret:
    """Raises `Invalid`, and `Forbidden` for a caller whose key is limited: whom a label enrols belongs to no key."""
    scope.must_reach_everything(caller)
    if not timedelta(0) < asked.life <= LONGEST_LIFE:
        raise Invalid.field("ttl_seconds", f"must be more than 0 and at most {LONGEST_LIFE.days} days")
    names.general_names(asked.sans)
    if asked.common_name and not names.is_name(asked.common_name):
        names.must_call_a_device(asked.common_name)
    now = ports.clock.now()
    plain = _generate()
    record = EnrolmentSecret(
        id=EnrolmentSecretId(mint("es", now)),
        protocol=asked.protocol,
        label=asked.label,
        description=asked.description,
        secret_hash=digest(plain),
        common_name=asked.common_name,
        sans=asked.sans,
        single_use=asked.single_use,
        created_by=caller.name,
        created_at=now,
        expires_at=now + asked.life,
    )
    with ports.work() as work:
        work.enrolment_secrets.add(record)
        audit.record(work, caller, now, "enrolment_secret_created", "enrolment_secret", record.id, **_told(record))
    return NewSecret(record, plain)


def page(ports: Ports, caller: Actor, query: Query) -> Page[EnrolmentSecret]:
    """Raises `Forbidden` as `create`."""
    scope.must_reach_everything(caller)
    with ports.work() as work:
        return work.enrolment_secrets.page(query)


def remove(ports: Ports, caller: Actor, secret_id: str) -> None:
    """From now on it is good for nothing. What was enrolled with it stays. Raises `NotFound`, and as `create`."""
    scope.must_reach_everything(caller)
    now = ports.clock.now()
    with ports.work() as work:
        record = work.enrolment_secrets.lock(secret_id)
        work.enrolment_secrets.remove(record.id)
        audit.record(work, caller, now, "enrolment_secret_removed", "enrolment_secret", record.id, **_told(record))


def present(ports: Ports, protocol: EnrolmentProtocol, label: str, plain: str) -> EnrolmentSecret:
    """The secret that a device shows, if it is one of this label and has not expired. Raises `NotAuthenticated`, in the
    same words whatever is wrong with it."""
    hashed = digest(plain)
    known = _PRESENTED.get(hashed)
    if known is None:
        with ports.work() as work:
            known = work.enrolment_secrets.by_hash(hashed)
        if known is not None:
            _PRESENTED[hashed] = known
            if len(_PRESENTED) > MOST_REMEMBERED:
                _PRESENTED.pop(next(iter(_PRESENTED)), None)
    if known is None or (known.protocol, known.label) != (protocol, label) or known.expires_at <= ports.clock.now():
        raise NotAuthenticated("the enrolment secret is not valid here", hint="Have another one made.")
    return known


def use(
    work: Work, secret_id: EnrolmentSecretId, transaction: str, wanted: tuple[str, tuple[str, ...]], now: datetime
) -> None:
    """Use a secret for a transaction that asks for these names, in the open transaction.

    Raises `NotAuthenticated` for one that is gone, over, or used up by another transaction, and `Refused` for names
    that it is not good for.
    """
    found = work.enrolment_secrets.find(secret_id)
    if found is None:
        raise _not_any_more()
    must_be_usable(found, wanted, now)
    if not found.single_use:
        work.enrolment_secrets.used(found.id, now)
        return
    held = work.enrolment_secrets.lock(secret_id)
    if held.used_for == transaction:
        return
    if held.used_for:
        raise NotAuthenticated("the enrolment secret has been used", hint="Have another one made.")
    work.enrolment_secrets.save(evolve(held, used_for=transaction, last_used_at=now))


def must_be_usable(secret: EnrolmentSecret, wanted: tuple[str, tuple[str, ...]], now: datetime) -> None:
    """Raises as `use`, apart from whether it is used up."""
    if secret.expires_at <= now:
        raise _not_any_more()
    _must_be_good_for(secret, wanted)


def _not_any_more() -> NotAuthenticated:
    return NotAuthenticated("the enrolment secret is not valid any more", hint="Have another one made.")


def _must_be_good_for(secret: EnrolmentSecret, wanted: tuple[str, tuple[str, ...]]) -> None:
    if not secret.is_bound:
        return
    common_name, sans = wanted
    permitted = {names.canonical(one) for one in names.names_of(secret.common_name, secret.sans, is_enrolled=True)}
    beyond = [san for san in sans if names.canonical(names.general_name(san)) not in permitted]
    if common_name.lower() != secret.common_name.lower():
        raise Refused(f"the enrolment secret is for another common name than {common_name!r}")
    if beyond:
        raise Refused(f"the enrolment secret is not good for {', '.join(beyond)}")


def purge(ports: Ports) -> int:
    """Forget secrets that ended long ago. Returns how many."""
    before = ports.clock.now() - KEPT
    done = 0
    while True:
        with ports.work() as work:
            removed = work.enrolment_secrets.purge(before, BATCH)
        done += removed
        if removed < BATCH:
            return done


def digest(plain: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(plain.encode()).hexdigest()


def _generate() -> str:
    """160 random bits that can be read out and typed: no letter looks like another."""
    number = secrets.randbits(BYTES * 8)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(0, BYTES * 8, 5))


def _told(record: EnrolmentSecret) -> dict[str, object]:
    return {
        "protocol": record.protocol.value,
        "label": record.label,
        "common_name": record.common_name,
        "sans": list(record.sans),
        "single_use": record.single_use,
        "expires_at": record.expires_at.isoformat(),
    }
