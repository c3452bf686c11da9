"""Delegates: made when they are first needed, renewed at half of their life, the same for every replica.

Theory of operation. A delegate has generations. Whoever finds no living one makes the next: a key, a serial number and
a certificate from the CA, outside of any transaction, and then a row under (issuer, CA, purpose, label, generation),
which is unique. Of replicas that do so at once one wins, and the others use what it stored; what they made is
forgotten, and was seen by nobody. Killed anywhere, there is a row or there is none.

The newest generation is used as soon as it is there. The one before it lives on for the other half of its life: what
was signed with it stays valid, and who still encrypts to it is understood (`living`).

The key is sealed together with the delegate's id, so that a sealed key put into another row does not open there.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.errors import CertctlError, Invalid, NotConfigured, Unreadable
from certctl_core.ids import DelegateId, IssuerId, mint
from certctl_core.models.access import Actor, SystemActor
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.models.delegates import Delegate, Purpose
from certctl_core.pki import delegate, keys, names, reading, serials
from certctl_core.pki.keys import PrivateKey
from certctl_core.pki.plan import DelegatePlan
from certctl_core.ports import Ports
from certctl_core.ports.issuer import CertifiesDelegates
from certctl_core.usecases import audit

LIFE: Final = timedelta(days=30)
BACKDATE: Final = timedelta(minutes=10)
"""A delegate begins before it is made, for relying parties and replicas whose clocks are behind."""

SPARE: Final = timedelta(minutes=10)
"""A delegate that ends within so long is not used any more: what it signs must outlive it nowhere."""

TRY_AGAIN: Final = timedelta(hours=1)
KEPT: Final = timedelta(days=30)
"""How long delegates are on record after their end."""

BATCH: Final = 20
ACTOR: Final = SystemActor("delegates")
_NAMES: Final = {Purpose.OCSP: "OCSP responder", Purpose.RA: "SCEP RA"}


@frozen
class Opened:
    """A delegate ready for use: its certificate, those above it (nearest first, root last), its key."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    private_key: PrivateKey = field(repr=False, eq=False)


def current(
    ports: Ports, issuer: ConfiguredIssuer, purpose: Purpose, label: str = "", *, authority: str = ""
) -> Opened:
    """The delegate to use now, made if there is none; of the CA that signs new leafs unless another one of the issuer
    is named by its key identifier (hexadecimal). Raises `NotConfigured` for an issuer that certifies no delegates, and
    what its CA raises."""
    now = ports.clock.now()
    if not authority:
        authority = _certifier(ports, issuer).authorities()[0].key_identifier.hex()
    with ports.work() as work:
        newest = work.delegates.newest(issuer.id, authority, purpose, label)
    if newest is None or newest.not_after <= now + SPARE:
        newest = _make(ports, ACTOR, issuer, purpose, label, authority, newest)
    return opened(ports, newest)


def living(ports: Ports, issuer_id: str, purpose: Purpose, label: str = "") -> Sequence[Opened]:
    """Every delegate of this purpose and label that has not ended, newest first, of whichever CA of the issuer."""
    with ports.work() as work:
        found = work.delegates.unexpired(IssuerId(issuer_id), ports.clock.now())
    return tuple(opened(ports, one) for one in found if (one.purpose, one.label) == (purpose, label))


def renew_due(ports: Ports) -> int:
    """Make the successors of delegates that are past half of their life. Returns how many were made.

    What cannot be renewed now is tried again later; a delegate of a CA that signs no more is not renewed.
    """
    made = 0
    now = ports.clock.now()
    with ports.work() as work:
        due = work.delegates.due_for_renewal(now, BATCH)
        for one in due:
            work.delegates.set_renewal(one.id, now + TRY_AGAIN)
        issuers = work.issuers.many({one.issuer_id for one in due})
    for one in due:
        made += _renew(ports, issuers[one.issuer_id], one)
    return made


def forget(ports: Ports) -> int:
    """Remove the record of delegates that ended long ago."""
    with ports.work() as work:
        return work.delegates.forget(ports.clock.now() - KEPT, 1000)


def opened(ports: Ports, stored: Delegate) -> Opened:
    """A stored delegate with its key. Raises `Unreadable` when the key was sealed for another row, or with another
    encryption key."""
    return _parsed(stored.id, stored.chain, ports.secrets.open(stored.sealed_key))


@lru_cache(maxsize=128)
def _parsed(identity: DelegateId, chain: tuple[bytes, ...], bound_key: bytes) -> Opened:
    """Kept, because parsing an RSA key takes longer than signing with it."""
    whose, _, der = bound_key.partition(b"\0")
    certificate, *above = (reading.certificate(one) for one in chain)
    if whose != identity.encode() or not keys.same_key(certificate, key := keys.from_der(der)):
        raise Unreadable(f"the sealed key of {identity} is that of another delegate")
    return Opened(certificate, tuple(above), key)


def _certifier(ports: Ports, issuer: ConfiguredIssuer) -> CertifiesDelegates:
    found = ports.issuers.connect(issuer)
    if not isinstance(found, CertifiesDelegates):
        raise NotConfigured(
            f"issuer {issuer.id} certifies no services of this server", hint="Its CA has its own OCSP responder."
        )
    return found


def _renew(ports: Ports, issuer: ConfiguredIssuer, old: Delegate) -> bool:
    """Whether a successor was made."""
    try:
        standing = {one.key_identifier.hex() for one in _certifier(ports, issuer).authorities()}
        if old.authority in standing:
            _make(ports, ACTOR, issuer, old.purpose, old.label, old.authority, old)
            return True
    except (NotConfigured, Invalid):
        pass
    except CertctlError:
        return False
    with ports.work() as work:
        work.delegates.set_renewal(old.id, None)
    return False


def _make(
    ports: Ports,
    actor: Actor,
    issuer: ConfiguredIssuer,
    purpose: Purpose,
    label: str,
    authority: str,
    before: Delegate | None,
) -> Delegate:
    """The generation behind `before`: ours, or that of a replica which was faster."""
    certifier, now = _certifier(ports, issuer), ports.clock.now()
    chain = _chain_of(certifier, issuer, authority)
    private_key = keys.generate(delegate.key_kind(chain[0], purpose))
    name = names.common_name_of(chain[0].subject) or issuer.name
    starts = now.replace(microsecond=0)
    plan = DelegatePlan(
        purpose=purpose,
        common_name=f"{name} {_NAMES[purpose]}{f' {label}' if label else ''}",
        public_key=private_key.public_key(),
        serial_number=serials.new_serial(),
        not_before=starts - BACKDATE,
        not_after=starts + LIFE,
    )
    ports.tripwire("delegate:1")
    certificate = certifier.certify_delegate(plan, bytes.fromhex(authority))
    ports.tripwire("delegate:2")
    identity = DelegateId(mint("del", now))
    mine = Delegate(
        id=identity,
        issuer_id=issuer.id,
        authority=authority,
        purpose=purpose,
        label=label,
        generation=before.generation + 1 if before else 1,
        serial_number=plan.serial_number,
        chain=tuple(one.public_bytes(Encoding.DER) for one in (certificate, *chain)),
        sealed_key=ports.secrets.seal(identity.encode() + b"\0" + keys.to_der(private_key)),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        renew_at=_half(now, certificate.not_valid_after_utc),
        created_at=now,
    )
    with ports.work() as work:
        kept = work.delegates.lock_or_add(mine)
        if kept.id == mine.id:
            audit.record(
                work,
                actor,
                now,
                "delegate_certified",
                "issuer",
                issuer.id,
                purpose=purpose.value,
                label=label,
                authority=authority,
                generation=mine.generation,
                serial_number=mine.serial_number,
                fingerprint=reading.fingerprint(certificate),
                not_after=mine.not_after.isoformat(),
            )
    ports.tripwire("delegate:3")
    return kept


def _chain_of(certifier: CertifiesDelegates, issuer: ConfiguredIssuer, authority: str) -> tuple[x509.Certificate, ...]:
    for one in certifier.authorities():
        if one.key_identifier.hex() == authority:
            return one.chain
    raise NotConfigured(f"issuer {issuer.id} has no CA {authority} that signs")


def _half(start: datetime, end: datetime) -> datetime:
    return start + (end - start) / 2
