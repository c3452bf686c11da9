"""CAs of an issuer: made, certified by a foreign CA, put in charge, and retired.

Theory of operation. An issuer has any number of CAs. One of them signs its new leafs: the active one that was put in
charge last (`signs_from`). All that are active or retiring sign their own CRLs and OCSP answers. A rollover is a new CA
beside the old one, which is then put in charge; the old one is retired, and is finished when the last certificate that
it signed has ended (`drain`, swept by `drains_at`).

Keys are made and certificates are signed outside of any transaction: a device may be asked for both. What comes of it
is written afterwards in one transaction. Killed in between, nothing has happened, but for a key without a name that
stays behind in a token.

Whoever connects to an issuer reads its CAs again when the issuer's row was written, so everything here writes it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.errors import Conflict, Invalid, NotFound, Refused
from certctl_core.ids import AuthorityId, IssuerId, RevocationId, mint
from certctl_core.lifecycle import authority as life
from certctl_core.models.access import Actor, SystemActor
from certctl_core.models.authorities import SEALED, AuthorityState, CertificateAuthority
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.models.certificates import Revocation, RevocationReason
from certctl_core.pki import ca, cacert, constraints, distribution, keys, paths, reading, serials, soundness
from certctl_core.pki.ca import Authority
from certctl_core.pki.distribution import Place
from certctl_core.pki.keys import KeyKind, PrivateKey
from certctl_core.pki.plan import CaPlan, PolicyInformation
from certctl_core.ports import Ports
from certctl_core.ports.issuer import AuthorityFacts, CertifiesCas, HasAuthorities
from certctl_core.ports.signer import KeptKey
from certctl_core.ports.store import Work
from certctl_core.usecases import audit, catalog, crl_scopes, scope

ROOT_LIFE: Final = timedelta(days=3650)
INTERMEDIATE_LIFE: Final = timedelta(days=1825)
BACKDATE: Final = timedelta(minutes=10)
SLACK: Final = timedelta(days=1)
"""What a CA signed is on record within so long after it has stopped."""

MOST: Final = 50
"""CAs of one issuer, retired ones included: each time it is connected all of them are read."""

BATCH: Final = 20
ACTOR: Final = SystemActor("hierarchy")
_NOUN: Final = "intermediate_ca"


@frozen(kw_only=True)
class CreateAuthority:
    """A CA to be. Below the CA `parent_id` (an issuer's id stands for the one that signs its leafs); with `is_external`
    one whose certificate a foreign CA is asked for; with `certificates` one that exists and whose key a device has;
    otherwise a root."""

    name: str
    subject: x509.Name
    parent_id: str = ""
    is_external: bool = False
    certificates: tuple[x509.Certificate, ...] = ()
    key_driver_id: str = SEALED
    key_kind: KeyKind = KeyKind.ECDSA_P256
    life: timedelta | None = None
    path_length: int | None = None
    permitted: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    policies: tuple[PolicyInformation, ...] = ()
    ocsp_responder_url: str = ""
    metadata: Mapping[str, str] = field(factory=dict)


@frozen
class Shown:
    """A CA, and whether it is the one that signs its issuer's new leafs."""

    authority: CertificateAuthority
    signs_leafs: bool

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """Its own certificate and those above it; empty while it waits for it."""
        return tuple(reading.certificate(der) for der in self.authority.chain)


# --- looking ----------------------------------------------------------------------------------------------------------


def list_of(ports: Ports, caller: Actor, issuer_id: str) -> Sequence[Shown]:
    """The CAs of an issuer in whatever state, oldest first. The first one is made if the issuer makes its own and has
    not been used yet."""
    issuer = _issuer(ports, caller, issuer_id)
    with ports.work() as work:
        found = work.authorities.of_issuer(issuer.id)
    return _shown(found)


def of_each(ports: Ports, issuer_ids: Iterable[IssuerId]) -> Mapping[IssuerId, Sequence[Shown]]:
    """The CAs of issuers that the caller has been shown, as they are on record: none is made or opened."""
    with ports.work() as work:
        found = work.authorities.of_issuers(wanted := tuple(issuer_ids))
    return {identity: _shown([one for one in found if one.issuer_id == identity]) for identity in wanted}


def get(ports: Ports, caller: Actor, authority_id: str) -> Shown:
    """Raises `NotFound`, also for CAs of issuers that the caller does not see and for the control plane's own."""
    with ports.work() as work:
        _, found = _reached(work, caller, authority_id)
        of_issuer = work.authorities.of_issuer(found.issuer_id) if found.issuer_id else ()
    return next(one for one in _shown(of_issuer) if one.authority.id == found.id)


def csr(ports: Ports, caller: Actor, authority_id: str) -> x509.CertificateSigningRequest:
    """What the certificate of a CA is asked for with: of a pending one as it was made, of another one anew, for its
    next certificate with the same key. Raises `Conflict` for one that is retired."""
    found = get(ports, caller, authority_id).authority
    if found.csr is not None:
        return x509.load_der_x509_csr(found.csr)
    if found.state is not AuthorityState.ACTIVE:
        raise Conflict(f"CA {found.id} is {found.state.value}: it needs no certificate any more")
    own = reading.certificate(found.chain[0])
    limits = own.extensions.get_extension_for_class(x509.BasicConstraints).value
    return cacert.request(own.subject, _key(ports, found), limits.path_length)


def _shown(found: Sequence[CertificateAuthority]) -> Sequence[Shown]:
    able = [(one.signs_from, one.id) for one in found if one.state is AuthorityState.ACTIVE and one.signs_from]
    signing = max(able)[1] if able else None
    return tuple(Shown(one, one.id == signing) for one in found)


# --- making -----------------------------------------------------------------------------------------------------------


def create(ports: Ports, caller: Actor, issuer_id: str, asked: CreateAuthority) -> Shown:
    """A CA of this issuer; the first that can sign does so at once, others when they are activated.

    Raises `Invalid` naming fields, `Refused` when the CA above must not have such a one below it, `Conflict` when the
    issuer has no CAs of its own or the CA above is not active, `Duplicate` for a name that is taken, and what the key
    driver raises.
    """
    issuer = _issuer(ports, caller, issuer_id)
    scope.must_change(caller, "issuer", issuer)
    _must_be_sound(ports, issuer, asked)
    parent = _parent(ports, caller, asked) if asked.parent_id else None
    identity = AuthorityId(mint("ica", now := ports.clock.now()))
    if asked.certificates:
        kept = KeptKey(asked.key_driver_id)
        made = _made_elsewhere(ports, asked, kept)
        chain, request = made.chain, None
    else:
        kept = ports.keys.make(asked.key_driver_id, asked.key_kind, identity)
        chain, request = _certified(ports, asked, ports.keys.open(kept), parent, now)
    links = _links(ports, issuer, chain, ports.keys.open(kept), now) if chain and parent is None else ()
    ports.tripwire("authority:1")
    with ports.work() as work:
        issuer = work.issuers.lock(issuer.id)
        before = work.authorities.of_issuer(issuer.id)
        if len(before) >= MOST:
            raise Conflict(f"issuer {issuer.id} has {MOST} CAs already", hint="Make another issuer.")
        added = CertificateAuthority(
            id=identity,
            issuer_id=issuer.id,
            parent_id=parent.stored if parent else None,
            name=asked.name,
            subject=(chain[0].subject if chain else asked.subject).rfc4514_string(),
            state=AuthorityState.ACTIVE if chain else AuthorityState.PENDING,
            chain=_ders(chain),
            csr=request.public_bytes(Encoding.DER) if request else None,
            links=_ders(links),
            key_driver_id=kept.driver_id,
            sealed_key=kept.sealed,
            signs_from=now if chain and not any(one.signs_leafs for one in _shown(before)) else None,
            ocsp_responder_url=asked.ocsp_responder_url,
            metadata=asked.metadata,
            created_at=now,
            updated_at=now,
        )
        work.authorities.add(added)
        _touched(work, issuer, now)
        _record(work, caller, now, "created", added, fingerprint=reading.fingerprint(chain[0]) if chain else "")
    return get(ports, caller, identity)


@frozen
class _Parent:
    """A CA that signs another one. `stored` is its row, None for one in files."""

    issuer: ConfiguredIssuer
    facts: AuthorityFacts
    signer: CertifiesCas
    stored: AuthorityId | None


def _must_be_sound(ports: Ports, issuer: ConfiguredIssuer, asked: CreateAuthority) -> None:
    if not ports.issuers.keeps_authorities(issuer.type):
        raise Conflict(f"issuer {issuer.id} has no CAs here: it is of type {issuer.type}")
    ways = [bool(asked.parent_id), asked.is_external, bool(asked.certificates)]
    if sum(ways) > 1:
        raise Invalid.field("parent_ca_id", "a CA is below one of ours, external or there already, not two of these")
    if not asked.name.strip():
        raise Invalid.field("name", "must not be empty")
    if not asked.subject.rdns and not asked.certificates:
        raise Invalid.field("subject", "must not be empty")
    if asked.ocsp_responder_url and not soundness.is_http_url(asked.ocsp_responder_url):
        raise Invalid.field("ocsp_responder_url", f"{asked.ocsp_responder_url!r} is not an http or https URL")
    if asked.is_external and (asked.permitted or asked.excluded or asked.policies or asked.life is not None):
        raise Invalid.field("external", "what is in its certificate is the affair of the CA that signs it")


def _parent(ports: Ports, caller: Actor, asked: CreateAuthority) -> _Parent:
    """The CA to sign with. The caller must be one who may change its issuer."""
    with ports.work() as work:
        stored = work.authorities.find(asked.parent_id)
        identity = stored.issuer_id if stored else asked.parent_id
        issuer = work.issuers.find(identity) if identity else None
    if issuer is None or not scope.reaches(caller, issuer):
        raise NotFound.of("certificate authority", asked.parent_id)
    scope.must_change(caller, "issuer", issuer)
    signer = ports.issuers.connect(issuer)
    if not isinstance(signer, CertifiesCas):
        raise Conflict(f"issuer {issuer.id} signs no CAs")
    if stored is None:
        facts = signer.authorities()[0]
        with ports.work() as work:
            known = work.authorities.find(facts.id)
        stored_id = known.id if known else None
    else:
        found = [one for one in signer.authorities() if one.id == stored.id]
        if not found or stored.state is not AuthorityState.ACTIVE:
            raise Conflict(f"CA {stored.id} is {stored.state.value} or has ended, and signs no other CAs")
        facts, stored_id = found[0], stored.id
    return _Parent(issuer, facts, signer, stored_id)


def _certified(
    ports: Ports, asked: CreateAuthority, private_key: PrivateKey, parent: _Parent | None, now: datetime
) -> tuple[tuple[x509.Certificate, ...], x509.CertificateSigningRequest | None]:
    """Its certificate and those above it, or the request for it."""
    if asked.is_external:
        return (), cacert.request(asked.subject, private_key, asked.path_length)
    plan = _plan(ports, asked, private_key, parent, now)
    if parent is None:
        return ca.self_signed(plan, private_key).chain, None
    return parent.signer.certify_ca(plan, parent.facts.key_identifier), None


def _plan(
    ports: Ports, asked: CreateAuthority, private_key: PrivateKey, parent: _Parent | None, now: datetime
) -> CaPlan:
    """A CA ends with the one above it at the latest."""
    starts = now.replace(microsecond=0) - BACKDATE
    ends = starts + (asked.life or (INTERMEDIATE_LIFE if parent else ROOT_LIFE))
    if parent is not None:
        starts = max(starts, parent.facts.certificate.not_valid_before_utc)
        ends = min(ends, parent.facts.certificate.not_valid_after_utc)
    path_length = asked.path_length if asked.path_length is not None or parent is None else 0
    plan = CaPlan(
        subject=asked.subject,
        public_key=private_key.public_key(),
        serial_number=serials.new_serial(),
        not_before=starts,
        not_after=ends,
        path_length=path_length,
        name_constraints=constraints.extension(asked.permitted, asked.excluded),
        policies=asked.policies,
    )
    if parent is None or not ports.public_url:
        return plan
    named = None if parent.facts.is_plain else parent.facts.key_identifier.hex()
    above = f"{ports.public_url}/.well-known/pki/ca/{parent.issuer.id}{f'/{named}' if named else ''}"
    return evolve(
        plan,
        crl_urls=(distribution.url(ports.public_url, parent.issuer.id, Place(named)),),
        ca_issuers_urls=(above,),
    )


def _links(
    ports: Ports, issuer: ConfiguredIssuer, chain: tuple[x509.Certificate, ...], private_key: PrivateKey, now: datetime
) -> tuple[x509.Certificate, ...]:
    """NewWithOld and OldWithNew (RFC 4210 section 4.4), where a new root follows one that signs the issuer's leafs: who
    trusts the one then believes what the other signs. None where a path length leaves no room for them."""
    if len(chain) > 1 or not issuer.config.get("make_root", True) or issuer.config.get("ca_cert_path"):
        return ()
    signer = ports.issuers.connect(issuer)
    if not isinstance(signer, CertifiesCas):
        return ()
    old, new = signer.authorities()[0], Authority(chain, private_key)
    if len(old.chain) > 1 or old.state is not AuthorityState.ACTIVE or old.key_identifier == new.key_identifier:
        return ()
    if 0 in (paths.room_below(old.chain), paths.room_below(new.chain)):
        return ()
    starts = now.replace(microsecond=0) - BACKDATE
    ends = min(old.certificate.not_valid_after_utc, new.certificate.not_valid_after_utc)
    try:
        return (
            signer.certify_ca(_link(new.certificate, old.chain, starts, ends), old.key_identifier)[0],
            ca.sign_ca(new, _link(old.certificate, new.chain, starts, ends))[0],
        )
    except Refused:
        return ()


def _link(of: x509.Certificate, above: Sequence[x509.Certificate], starts: datetime, ends: datetime) -> CaPlan:
    room = paths.room_below(above)
    return CaPlan(
        subject=of.subject,
        public_key=of.public_key(),
        serial_number=serials.new_serial(),
        not_before=starts,
        not_after=ends,
        path_length=None if room is None else room - 1,
        is_link=True,
    )


def _made_elsewhere(ports: Ports, asked: CreateAuthority, kept: KeptKey) -> Authority:
    """A CA that is there already, whose key a device has."""
    if kept.driver_id == SEALED:
        raise Invalid.field(
            "key_driver_id",
            "a CA that is there already needs its key in a token, such as pkcs11:LABEL",
            hint="For a key in a file see ca_cert_path and ca_key_path in the settings of an issuer.",
        )
    return _authority(ports, asked.certificates, ports.keys.open(kept))


def _authority(ports: Ports, given: Sequence[x509.Certificate], private_key: PrivateKey) -> Authority:
    """The CA that these certificates, in any order, make with this key. Raises `Invalid`."""
    own = next((one for one in given if keys.same_key(one, private_key)), None)
    if own is None:
        raise Invalid.field("certificate_pem", "none of the certificates is for the key of this CA")
    above = reading.chain_above(own, given)
    top = above[-1] if above else own
    if not reading.is_issued_by(top, top):
        raise Invalid.field(
            "certificate_pem",
            f"the chain ends with {top.subject.rfc4514_string()!r}, which is no root",
            hint="Send the certificates above it as well, up to the root.",
        )
    made = Authority((own, *above), private_key)
    made.require_valid(ports.clock.now())
    return made


# --- certifying, activating -------------------------------------------------------------------------------------------


def install(ports: Ports, caller: Actor, authority_id: str, given: Sequence[x509.Certificate]) -> Shown:
    """The certificate that a foreign CA gave to one of ours, with those above it up to the root, in any order: its
    first, or its next with the same key. Raises `Invalid` when it is not for this CA's key, is no CA certificate, has
    ended, or its chain is not right."""
    found = get(ports, caller, authority_id).authority
    if not life.AUTHORITY.allows(found.state, life.AuthorityEvent.CERTIFY):
        life.AUTHORITY.next(found.state, life.AuthorityEvent.CERTIFY)
    made = _authority(ports, given, _key(ports, found))
    ports.tripwire("authority:2")
    now = ports.clock.now()
    with ports.work() as work:
        issuer, stored = _reached(work, caller, authority_id, lock=True)
        scope.must_change(caller, "issuer", issuer)
        signs_already = any(one.signs_leafs for one in _shown(work.authorities.of_issuer(issuer.id)))
        changed = life.certify(stored, now, _ders(made.chain), made.certificate.subject.rfc4514_string())
        if not signs_already:
            changed = life.activate(changed, _after_all(work, issuer.id, now))
        saved = work.authorities.save(changed)
        _touched(work, issuer, now)
        _record(work, caller, now, "certified", saved, fingerprint=reading.fingerprint(made.certificate))
    return get(ports, caller, authority_id)


def activate(ports: Ports, caller: Actor, authority_id: str) -> Shown:
    """New leafs of the issuer are signed by this CA from now on. Raises `Conflict` for an issuer whose CA is in files,
    `Invalid` for a CA that has ended, `IllegalTransition` for one that is pending or retired."""
    found = get(ports, caller, authority_id).authority
    with ports.work() as work:
        issuer, _ = _reached(work, caller, authority_id)
    _must_not_be_in_files(issuer)
    if found.chain:
        Authority(tuple(map(reading.certificate, found.chain)), _key(ports, found)).require_valid(ports.clock.now())
    now = ports.clock.now()
    with ports.work() as work:
        issuer, stored = _reached(work, caller, authority_id, lock=True)
        scope.must_change(caller, "issuer", issuer)
        saved = work.authorities.save(life.activate(stored, _after_all(work, issuer.id, now)))
        _touched(work, issuer, now)
        _record(work, caller, now, "activated", saved)
    return get(ports, caller, authority_id)


def _after_all(work: Work, issuer_id: IssuerId, now: datetime) -> datetime:
    """Now, and behind the time that any CA of the issuer was put in charge, whatever the clocks of replicas say."""
    before = [one.signs_from for one in work.authorities.of_issuer(issuer_id) if one.signs_from is not None]
    return max([now, *(at + timedelta(microseconds=1) for at in before)])


def _must_not_be_in_files(issuer: ConfiguredIssuer) -> None:
    if issuer.config.get("ca_cert_path"):
        raise Conflict(
            f"issuer {issuer.id} signs with the CA in its files",
            hint="Take ca_cert_path and ca_key_path out of its settings first.",
        )


# --- retiring ---------------------------------------------------------------------------------------------------------


@frozen
class Retired:
    """What became of a CA that was to be retired. `drains_at` is when the last of its certificates ends."""

    authority: CertificateAuthority
    drains_at: datetime | None


def retire(ports: Ports, caller: Actor, authority_id: str, note: str = "", *, confirm: bool = False) -> Retired:
    """Have a CA sign no more certificates, and with `confirm` nothing at all.

    The first step drains it: it is finished by itself when the last certificate that it signed has ended. To confirm
    before that takes a note that says why. Raises `Conflict` for the CA that signs the issuer's new leafs, and for a
    confirmation that comes too early and says nothing.
    """
    now = ports.clock.now()
    with ports.work() as work:
        issuer, stored = _reached(work, caller, authority_id, lock=True)
        scope.must_change(caller, "issuer", issuer)
        _must_not_sign_leafs(work, issuer, stored)
        if confirm and stored.state is AuthorityState.RETIRING:
            saved = work.authorities.save(_finished(work, stored, now, note))
            action = "retired"
        else:
            saved = work.authorities.save(life.retire(stored, now, note, _drains_at(work, stored, now)))
            action = "retired" if saved.state is AuthorityState.RETIRED else "retiring"
        _touched(work, issuer, now)
        _record(work, caller, now, action, saved, note=note, drains_at=_when(stored.drains_at or saved.drains_at))
    return Retired(saved, saved.drains_at)


def _finished(work: Work, stored: CertificateAuthority, now: datetime, note: str) -> CertificateAuthority:
    ends = _drains_at(work, stored, now)
    if ends > now and not note.strip():
        raise Conflict(
            f"certificates of CA {stored.id} are valid until {ends:%Y-%m-%d %H:%M} UTC; "
            "without it nobody can learn that one of them is revoked",
            hint="Wait until then, or confirm with a note that says why.",
        )
    return life.finish(stored, now, note)


def revoke(ports: Ports, caller: Actor, authority_id: str, reason: RevocationReason, note: str = "") -> Shown:
    """Have the CA above say that the certificate of this one is not to be believed any more: it is on its CRL, and
    whatever is below this CA falls with it.

    Raises `Conflict` for the CA that signs the issuer's new leafs, for a root, and for one that a foreign CA signed,
    which has to revoke it.
    """
    now = ports.clock.now()
    with ports.work() as work:
        issuer, stored = _reached(work, caller, authority_id, lock=True)
        scope.must_change(caller, "issuer", issuer)
        _must_not_sign_leafs(work, issuer, stored)
        above = work.authorities.find(stored.parent_id) if stored.parent_id else None
        if above is None or above.issuer_id is None or not stored.chain:
            raise Conflict(
                f"CA {stored.id} was not signed by one of ours",
                hint="The CA above it has to revoke it. What trusts a root is told by hand.",
            )
        saved = work.authorities.save(life.revoke(stored, now, note))
        work.revocations.add_many([_revocation(saved, above.issuer_id, caller, reason, now)])
        _touched(work, issuer, now)
        _record(work, caller, now, "revoked", saved, reason=reason.value, note=note)
    return get(ports, caller, authority_id)


def _revocation(
    stored: CertificateAuthority, issuer_id: IssuerId, caller: Actor, reason: RevocationReason, now: datetime
) -> Revocation:
    """CAs name the part of the CRL that names no part."""
    own = reading.facts(reading.certificate(stored.chain[0]))
    revoked = Revocation(
        id=RevocationId(mint("rev", now)),
        certificate_id=None,
        issuer_id=issuer_id,
        serial_number=own.serial_number,
        reason=reason,
        revoked_by=caller.name,
        revoked_at=now,
        not_after=own.not_after,
        authority=(own.authority_key_identifier or b"").hex() or crl_scopes.UNKNOWN,
        partition=0,
    )
    return evolve(revoked, entry=crl_scopes.entry(revoked))


def _must_not_sign_leafs(work: Work, issuer: ConfiguredIssuer, stored: CertificateAuthority) -> None:
    if any(one.signs_leafs and one.authority.id == stored.id for one in _shown(work.authorities.of_issuer(issuer.id))):
        raise Conflict(
            f"CA {stored.id} signs the new certificates of issuer {issuer.id}",
            hint="Activate another CA of the issuer first.",
        )


def drain(ports: Ports) -> int:
    """Finish retiring CAs whose last certificate has ended. Returns how many were looked at."""
    with ports.work() as work:
        due = work.authorities.due_drained(ports.clock.now(), BATCH)
    for one in due:
        _finish_drained(ports, one.id)
    return len(due)


def _finish_drained(ports: Ports, authority_id: AuthorityId) -> None:
    """What was on record late may have put the end off."""
    now = ports.clock.now()
    with ports.work() as work:
        issuer, stored = _reached(work, ACTOR, authority_id, lock=True)
        if stored.state is not AuthorityState.RETIRING:
            return
        ends = _drains_at(work, stored, now)
        if ends > now:
            work.authorities.save(evolve(stored, drains_at=ends, updated_at=now))
            return
        saved = work.authorities.save(life.finish(stored, now))
        _touched(work, issuer, now)
        _record(work, ACTOR, now, "retired", saved, note="its last certificate has ended")


def _drains_at(work: Work, stored: CertificateAuthority, now: datetime) -> datetime:
    """When the last certificate that this CA signed has ended: a leaf while it was in charge, or a CA below it. Never
    later than its own end."""
    if not stored.chain:
        return now
    ends = [now, *(_end(one) for one in work.authorities.children(stored.id) if _still_counts(one))]
    if stored.issuer_id is not None and stored.signs_from is not None:
        until = _stopped_at(work.authorities.of_issuer(stored.issuer_id), stored, now)
        if last := work.authorities.last_end(stored.issuer_id, until + SLACK):
            ends.append(last)
    return max(now, min(max(ends), _end(stored)))


def _still_counts(child: CertificateAuthority) -> bool:
    return bool(child.chain) and child.state is not AuthorityState.RETIRED


def _stopped_at(of_issuer: Iterable[CertificateAuthority], stored: CertificateAuthority, now: datetime) -> datetime:
    """When another CA was put in charge."""
    mine = stored.signs_from or now
    later = [one.signs_from for one in of_issuer if one.signs_from is not None and one.signs_from > mine]
    return min([now, *later, *([stored.retiring_since] if stored.retiring_since else [])])


def _end(authority: CertificateAuthority) -> datetime:
    return reading.certificate(authority.chain[0]).not_valid_after_utc


# --- the same for all -------------------------------------------------------------------------------------------------


def _issuer(ports: Ports, caller: Actor, issuer_id: str) -> ConfiguredIssuer:
    """The issuer; its first CA is made now if it makes its own, so that there is one to show."""
    issuer = catalog.get_issuer(ports, caller, issuer_id)
    if ports.issuers.keeps_authorities(issuer.type) and issuer.config.get("make_root", True):
        connected = ports.issuers.connect(issuer)
        if isinstance(connected, HasAuthorities):
            connected.authorities()
    return issuer


def _reached(
    work: Work, caller: Actor, authority_id: str, *, lock: bool = False
) -> tuple[ConfiguredIssuer, CertificateAuthority]:
    """A CA and its issuer; the issuer is locked first, wherever both are."""
    found = work.authorities.get(authority_id)
    issuer = work.issuers.find(found.issuer_id) if found.issuer_id else None
    if issuer is None or not scope.reaches(caller, issuer):
        raise NotFound.of("certificate authority", authority_id)
    if lock:
        return work.issuers.lock(issuer.id), work.authorities.lock(authority_id)
    return issuer, found


def _key(ports: Ports, found: CertificateAuthority) -> PrivateKey:
    return ports.keys.open(KeptKey(found.key_driver_id, found.sealed_key))


def _touched(work: Work, issuer: ConfiguredIssuer, now: datetime) -> None:
    work.issuers.save(evolve(issuer, updated_at=now))


def _ders(chain: Iterable[x509.Certificate]) -> tuple[bytes, ...]:
    return tuple(one.public_bytes(Encoding.DER) for one in chain)


def _when(at: datetime | None) -> str:
    return at.isoformat() if at else ""


def _record(
    work: Work, actor: Actor, now: datetime, action: str, authority: CertificateAuthority, **details: object
) -> None:
    audit.record(
        work,
        actor,
        now,
        f"intermediate_ca_{action}",
        _NOUN,
        authority.id,
        issuer_id=authority.issuer_id,
        name=authority.name,
        subject=authority.subject,
        parent_ca_id=authority.parent_id or "",
        key_driver_id=authority.key_driver_id,
        **details,
    )
