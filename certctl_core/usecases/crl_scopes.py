"""Which CRLs there are: the CAs of issuers, the parts of their certificates, and on which of them a certificate is.

A part is there, with a CRL that is published, before the first certificate names it, and for as long as one may. So
the number of parts that new certificates are spread over can change at any time; those that were issued before stay
where they are.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final

from attrs import evolve, frozen
from cryptography import x509

from certctl_core.errors import CertctlError, NotConfigured, NotFound
from certctl_core.ids import IssuerId
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.models.certificates import CertificateVersion, Revocation
from certctl_core.models.crls import CrlDuty, CrlScope
from certctl_core.pki import crl, distribution, reading
from certctl_core.pki.distribution import Place
from certctl_core.pki.plan import RevokedEntry
from certctl_core.policy import crls as policy
from certctl_core.policy import profile
from certctl_core.ports import Ports
from certctl_core.ports.issuer import HasAuthorities, SignsCrls
from certctl_core.ports.store import Work

LEASE: Final = timedelta(minutes=2)
LOOK_EVERY: Final = timedelta(minutes=2)
BATCH: Final = 500
UNKNOWN: Final = "unknown"
"""Authority of what does not say who signed it, and so is on no CRL."""


def entered(revocation: Revocation, version: CertificateVersion) -> Revocation:
    """A revocation with the CRL it is on, read off the certificate, and its entry there."""
    facts = reading.facts(version.certificate)
    signed_by = facts.authority_key_identifier
    return evolve(
        revocation,
        authority=signed_by.hex() if signed_by else UNKNOWN,
        partition=None if is_short_lived(version.certificate) else _partition(facts.crl_urls, version.issuer_id),
        entry=entry(revocation),
    )


def entry(revocation: Revocation) -> bytes:
    """What stands in a CRL for a revocation."""
    return crl.entry(
        RevokedEntry(
            revocation.serial_number,
            revocation.revoked_at,
            revocation.reason,
            revocation.invalid_since,
            is_removed=revocation.released_at is not None,
        )
    )


def is_short_lived(certificate: x509.Certificate) -> bool:
    """Whether it is over before anybody would hear that it was revoked, and so is on no CRL."""
    if reading.says_no_revocation(certificate):
        return True
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return life < profile.SHORT_LIVED and not reading.facts(certificate).crl_urls


def _partition(urls: Sequence[str], issuer_id: str) -> int:
    """Certificates with a distribution point of somebody else's, or none, are those of part 0."""
    places = (distribution.named_by(url, issuer_id) for url in urls)
    return next((place.partition for place in places if place is not None), 0)


def of_version(version: CertificateVersion) -> Place:
    """The CRL that tells of a certificate. Raises `NotFound` for what is on none."""
    if is_short_lived(version.certificate):
        raise NotFound("the certificate is short-lived, and on no CRL")
    facts = reading.facts(version.certificate)
    signed_by = facts.authority_key_identifier
    return Place(signed_by.hex() if signed_by else None, _partition(facts.crl_urls, version.issuer_id))


def assign(ports: Ports) -> int:
    """Work out on which CRL revocations are of which it is not known: those of before there was a choice. Returns how
    many there were."""
    done = 0
    while True:
        with ports.work() as work:
            found = work.revocations.unassigned(BATCH)
            versions = work.versions.with_serials({(one.issuer_id, one.serial_number) for one in found})
            known = [_assigned(one, versions.get((one.issuer_id, one.serial_number))) for one in found]
            work.revocations.change_many(known)
        done += len(known)
        if len(known) < BATCH:
            return done


def _assigned(revocation: Revocation, version: CertificateVersion | None) -> Revocation:
    return evolve(revocation, authority=UNKNOWN) if version is None else entered(revocation, version)


def ensure_place(ports: Ports, issuer_id: str, place: Place) -> CrlScope:
    """The scope of a place that a certificate may name, there from now on. Raises `NotFound` and `NotConfigured`."""
    with ports.work() as work:
        configured = work.issuers.get(issuer_id)
        known = {duty.scope for duty in work.crls.duties(configured.id)}
    found = standing(ports, configured)
    if found is None:
        raise NotConfigured(f"issuer {issuer_id} publishes its own CRL", hint="See the CDP in its certificates.")
    authority = place.authority or found.first
    scope = CrlScope(configured.id, authority, place.partition)
    if authority not in found.known or (scope not in known and place.partition > configured.crl_partitions):
        raise NotFound(f"issuer {issuer_id} has no CRL {place.text!r}")
    with ports.work() as work:
        _ensure(ports, work, configured, found.first, scope)
    return scope


@frozen
class Standing:
    """The CAs of an issuer whose CRLs are made here, by key identifier (hex). `signs` is the one that signs new leafs,
    `first` the one that is meant where no CA is named."""

    known: tuple[str, ...]
    signs: str
    first: str


def standing(ports: Ports, configured: ConfiguredIssuer) -> Standing | None:
    """None for an issuer that publishes its own CRL."""
    issuer = ports.issuers.connect(configured)
    if not isinstance(issuer, SignsCrls) or not isinstance(issuer, HasAuthorities):
        return None
    found = issuer.authorities()
    if not found:
        return None
    plain = next((one for one in found if one.is_plain), found[0])
    known = tuple(one.key_identifier.hex() for one in found)
    return Standing(known, known[0], plain.key_identifier.hex())


def look_around(ports: Ports, make: Callable[[Ports, CrlDuty], int]) -> Iterator[str]:
    """See to it that every CA has its scopes, and that certificates are spread over as many parts as they should be.
    Yields what went wrong."""
    now = ports.clock.now()
    with ports.work() as work:
        due = work.crls.due_issuers(now, now + LOOK_EVERY, BATCH)
    for issuer_id in due:
        try:
            _look_at(ports, issuer_id, make)
        except NotConfigured:
            continue  # It has no CA yet, or none any more; what was published is made on its own account.
        except CertctlError as problem:
            yield f"{issuer_id}: {problem}"


def _look_at(ports: Ports, issuer_id: IssuerId, make: Callable[[Ports, CrlDuty], int]) -> None:
    with ports.work() as work:
        configured = work.issuers.get(issuer_id)
    found = standing(ports, configured)
    if found is None:
        return
    with ports.work() as work:
        parts = _parts(ports, work, configured)
        known = {duty.scope for duty in work.crls.duties(issuer_id)}
        wanted = {CrlScope(issuer_id, authority) for authority in found.known} | {
            CrlScope(issuer_id, found.signs, number) for number in range(1, parts + 1)
        }
        for scope in sorted(wanted | {scope for scope in known if scope.authority in found.known}):
            _ensure(ports, work, configured, found.first, scope)
        whole = CrlScope(issuer_id, found.signs)
        if parts and not any(one.partition for one in known if one.authority == whole.authority):
            # From now on it is about a part, and has to say so.
            work.crls.touch(whole, ports.clock.now())
    if parts != configured.crl_partitions:
        _spread(ports, whole, parts, make)


def _spread(ports: Ports, whole: CrlScope, parts: int, make: Callable[[Ports, CrlDuty], int]) -> None:
    """Have new certificates spread over so many parts, as soon as the CRL of each of them is published."""
    for number in range(parts + 1):
        scope = evolve(whole, partition=number)
        with ports.work() as work:
            stored = work.crls.find(scope.issuer_id, scope.authority, number)
            duty = work.crls.duty(scope)
            is_ready = stored is not None and duty is not None and (number > 0 or stored.changes >= duty.changes)
            claimed = None if is_ready else work.crls.claim(scope, ports.clock.now(), LEASE)
        if claimed is not None:
            make(ports, claimed)
        elif not is_ready:
            return  # Somebody else is at it; the next look will find it done.
    with ports.work() as work:
        work.crls.spread(whole.issuer_id, parts)


def _parts(ports: Ports, work: Work, configured: ConfiguredIssuer) -> int:
    """A part must be named by its certificates, which ours cannot without an address, or with one of the operator's."""
    if not ports.public_url or _own_addresses(configured):
        return 0
    return policy.partitions(ports.crls, configured.crl_partitions, work.crls.entries(configured.id))


def _ensure(ports: Ports, work: Work, configured: ConfiguredIssuer, first: str, scope: CrlScope) -> None:
    is_first = scope.authority == first
    work.crls.ensure(
        CrlDuty(
            scope=scope,
            due_at=ports.clock.now(),
            addresses=_addresses(ports, configured, scope, is_first=is_first),
            is_first=is_first,
        )
    )


def _addresses(ports: Ports, configured: ConfiguredIssuer, scope: CrlScope, *, is_first: bool) -> tuple[str, ...]:
    """The URLs by which certificates name the scope."""
    own = _own_addresses(configured) if scope.partition == 0 else ()
    if not ports.public_url:
        return own
    places = [Place(None, scope.partition)] if is_first else []
    places.append(Place(scope.authority, scope.partition))
    return (*(distribution.url(ports.public_url, scope.issuer_id, place) for place in places), *own)


def _own_addresses(configured: ConfiguredIssuer) -> tuple[str, ...]:
    """Where the operator publishes the CRL, when that is what certificates say."""
    return tuple(map(str, configured.config.get("crl_distribution_point_urls") or ()))
