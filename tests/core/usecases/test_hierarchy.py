"""CAs of an issuer: killed anywhere nothing is half there, and an order keeps its CA through a rollover."""

from datetime import timedelta

import pytest
from attrs import evolve
from cryptography import x509

from certctl_adapters.issuers import InstalledIssuers
from certctl_adapters.issuers.local import LocalIssuer
from certctl_adapters.memory import MemoryStore
from certctl_core.errors import Conflict, StaleWrite
from certctl_core.ids import IssuerId
from certctl_core.lifecycle import authority as life
from certctl_core.models.access import SYSTEM
from certctl_core.models.authorities import AuthorityState, CertificateAuthority
from certctl_core.models.catalog import ConfiguredIssuer
from certctl_core.pki import ca, keys, names, paths, reading
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import CaPlan
from certctl_core.ports import Ports
from certctl_core.ports.issuer import IssueRequest
from certctl_core.ports.store import Query
from certctl_core.ports.world import Tripwire
from certctl_core.usecases import hierarchy
from certctl_core.usecases.hierarchy import CreateAuthority, Shown
from tests import plans
from tests.contract.issuers import contract
from tests.core.usecases.world import AnyTarget
from tests.stand_ins import MovableClock, PlainBox

ISSUER = IssuerId("iss-local")
SECOND = timedelta(seconds=1)


class Killed(BaseException):
    """The process ended here."""


class KillAt(Tripwire):
    def __init__(self, point: str) -> None:
        self._point = point

    def __call__(self, point: str, /) -> None:
        if point == self._point:
            raise Killed


@pytest.fixture
def ports() -> Ports:
    store, clock, box = MemoryStore(), MovableClock(plans.NOW), PlainBox()
    return Ports(
        work=store.work,
        clock=clock,
        secrets=box,
        issuers=InstalledIssuers(store.work, box, clock),
        targets=AnyTarget(),
        public_url="https://pki.example.com",
    )


@pytest.fixture(autouse=True)
def issuer(ports: Ports) -> ConfiguredIssuer:
    made = ConfiguredIssuer(id=ISSUER, name="Local", type="GenericCA", created_at=plans.NOW, updated_at=plans.NOW)
    with ports.work() as work:
        work.issuers.add(made)
    return made


def _wish(name: str = "Issuing CA", **more: object) -> CreateAuthority:
    return CreateAuthority(name=name, subject=names.subject(name), **more)  # type: ignore[arg-type]


def _later(ports: Ports, by: timedelta = SECOND) -> None:
    assert isinstance(ports.clock, MovableClock)
    ports.clock.advance(by)


def _cas(ports: Ports) -> list[Shown]:
    return list(hierarchy.list_of(ports, SYSTEM, ISSUER))


def _connected(ports: Ports) -> LocalIssuer:
    with ports.work() as work:
        found = work.issuers.get(ISSUER)
    connected = ports.issuers.connect(found)
    assert isinstance(connected, LocalIssuer)
    return connected


def _foreign(csr_of: x509.CertificateSigningRequest) -> tuple[x509.Certificate, ...]:
    root = ca.create_root("Foreign", KeyKind.ECDSA_P256, plans.NOW - timedelta(days=1), timedelta(days=900))
    plan = CaPlan(
        subject=csr_of.subject,
        public_key=csr_of.public_key(),
        serial_number="5",
        not_before=plans.NOW,
        not_after=plans.NOW + timedelta(days=300),
    )
    return ca.sign_ca(root, plan)


# --- killed ---------------------------------------------------------------------------------------------------------


def test_killed_before_a_new_ca_is_on_record_there_is_none(ports: Ports) -> None:
    dying = evolve(ports, tripwire=KillAt("authority:1"))
    with pytest.raises(Killed):
        hierarchy.create(dying, SYSTEM, ISSUER, _wish(parent_id=ISSUER))
    assert [one.authority.id for one in _cas(ports)] == [ISSUER]
    _later(ports)
    made = hierarchy.create(ports, SYSTEM, ISSUER, _wish(parent_id=ISSUER))
    assert [one.authority.id for one in _cas(ports)][1:] == [made.authority.id]


def test_killed_before_a_certificate_is_on_record_it_can_be_installed_again(ports: Ports) -> None:
    made = hierarchy.create(ports, SYSTEM, ISSUER, _wish(is_external=True)).authority
    chain = _foreign(hierarchy.csr(ports, SYSTEM, made.id))
    with pytest.raises(Killed):
        hierarchy.install(evolve(ports, tripwire=KillAt("authority:2")), SYSTEM, made.id, chain)
    assert hierarchy.get(ports, SYSTEM, made.id).authority.state is AuthorityState.PENDING
    for _ in range(2):
        done = hierarchy.install(ports, SYSTEM, made.id, chain)
        assert done.authority.state is AuthorityState.ACTIVE


def test_of_two_who_change_a_ca_at_once_one_is_told(ports: Ports) -> None:
    made = hierarchy.create(ports, SYSTEM, ISSUER, _wish(parent_id=ISSUER)).authority
    hierarchy.activate(ports, SYSTEM, made.id)
    with pytest.raises(StaleWrite), ports.work() as work:
        work.authorities.save(life.activate(made, ports.clock.now()))


# --- a rollover -----------------------------------------------------------------------------------------------------


def _order(ports: Ports) -> IssueRequest:
    return evolve(contract.request(), ordered_at=ports.clock.now())


def test_an_order_that_is_asked_again_after_a_rollover_gets_the_same_certificate(ports: Ports) -> None:
    old, order = _connected(ports), _order(ports)
    first = old.issue(order)
    _later(ports)
    made = hierarchy.create(ports, SYSTEM, ISSUER, _wish("Next"))
    hierarchy.activate(ports, SYSTEM, made.authority.id)
    new = _connected(ports)
    again = new.issue(order)
    assert again.certificate == first.certificate
    _later(ports)
    later = new.issue(_order(ports))
    assert reading.is_issued_by(later.certificate, made.chain[0])
    hierarchy.retire(ports, SYSTEM, ISSUER)
    moved = _connected(ports).issue(order)
    assert reading.is_issued_by(moved.certificate, made.chain[0]), "one that is retiring signs no certificate"


def test_whoever_reads_the_issuer_anew_has_its_new_cas(ports: Ports) -> None:
    """Another process has opened what there was before."""
    other = evolve(ports, issuers=InstalledIssuers(ports.work, ports.secrets, ports.clock))
    assert len(_connected(other).authorities()) == 1
    hierarchy.create(ports, SYSTEM, ISSUER, _wish("Next"))
    assert len(_connected(other).authorities()) == 2


def test_a_ca_below_names_the_crl_and_the_certificate_of_the_one_above(ports: Ports) -> None:
    first = hierarchy.create(ports, SYSTEM, ISSUER, _wish("First", parent_id=ISSUER, path_length=1))
    second = hierarchy.create(ports, SYSTEM, ISSUER, _wish("Second", parent_id=first.authority.id))
    above = reading.key_identifier_of(first.chain[0]).hex()
    assert reading.facts(first.chain[0]).crl_urls == ("https://pki.example.com/.well-known/pki/crl/iss-local",)
    known = reading.facts(second.chain[0])
    assert known.crl_urls == (f"https://pki.example.com/.well-known/pki/crl/iss-local/{above}",)
    assert known.ca_issuers_urls == (f"https://pki.example.com/.well-known/pki/ca/iss-local/{above}",)


def test_leafs_of_a_ca_name_its_own_ocsp_responder(ports: Ports) -> None:
    url = "http://ocsp.example.com/"
    made = hierarchy.create(ports, SYSTEM, ISSUER, _wish(parent_id=ISSUER, ocsp_responder_url=url))
    assert reading.facts(_connected(ports).issue(_order(ports)).certificate).ocsp_urls != (url,)
    hierarchy.activate(ports, SYSTEM, made.authority.id)
    _later(ports)
    assert reading.facts(_connected(ports).issue(_order(ports)).certificate).ocsp_urls == (url,)


@pytest.mark.parametrize("kind", [KeyKind.ML_DSA_44, KeyKind.ML_DSA_65], ids=lambda kind: str(kind.value))
def test_a_hierarchy_of_ml_dsa_cas_signs_paths_that_are_right(ports: Ports, kind: KeyKind) -> None:
    root = hierarchy.create(ports, SYSTEM, ISSUER, _wish("PQ Root", key_kind=kind))
    below = hierarchy.create(
        ports, SYSTEM, ISSUER, _wish("PQ CA", parent_id=root.authority.id, key_kind=kind, permitted=("example.com",))
    )
    hierarchy.activate(ports, SYSTEM, below.authority.id)
    _later(ports)
    order = _order(ports)
    sans = names.names_of("a.example.com", ["b.example.com"])
    issued = _connected(ports).issue(evolve(order, plan=evolve(order.plan, sans=sans)))
    assert keys.describe(issued.chain[0].public_key()).algorithm == kind.value
    assert paths.judge(issued.certificate, issued.chain, [root.chain[0]], ports.clock.now(), eku="serverAuth")


def test_who_trusts_one_root_believes_what_the_other_signs(ports: Ports) -> None:
    old = _connected(ports).authorities()[0].certificate
    made = hierarchy.create(ports, SYSTEM, ISSUER, _wish("Next"))
    new = made.chain[0]
    new_with_old, old_with_new = map(reading.certificate, made.authority.links)
    before = _connected(ports).issue(_order(ports)).certificate
    hierarchy.activate(ports, SYSTEM, made.authority.id)
    _later(ports)
    after = _connected(ports).issue(_order(ports)).certificate
    now = ports.clock.now()
    assert paths.judge(after, [new_with_old], [old], now)
    assert paths.judge(before, [old_with_new], [new], now)
    assert not paths.judge(after, [], [old], now)
    links = [one.links for one in _connected(ports).authorities()]
    assert links == [(new_with_old, old_with_new), ()]


def test_a_root_without_room_below_it_has_no_links(ports: Ports) -> None:
    first = hierarchy.create(ports, SYSTEM, ISSUER, _wish("Tight", path_length=0))
    assert first.authority.links == ()
    hierarchy.activate(ports, SYSTEM, first.authority.id)
    assert hierarchy.create(ports, SYSTEM, ISSUER, _wish("Next")).authority.links == ()


def test_the_next_ca_is_the_one_that_waits_to_sign_leafs(ports: Ports) -> None:
    hierarchy.create(ports, SYSTEM, ISSUER, _wish("Policy CA", parent_id=ISSUER, path_length=1))
    policy = _cas(ports)[-1].authority if _cas(ports)[-1].authority.id != ISSUER else _cas(ports)[0].authority
    below = hierarchy.create(ports, SYSTEM, ISSUER, _wish("Issuing CA", parent_id=policy.id)).authority
    facts = {one.id: one.is_next for one in _connected(ports).authorities()}
    assert facts == {ISSUER: False, policy.id: False, below.id: True}
    hierarchy.activate(ports, SYSTEM, below.id)
    assert not any(one.is_next for one in _connected(ports).authorities())


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_ca_that_signed_nothing_is_finished_at_the_next_look(ports: Ports) -> None:
    spare = hierarchy.create(ports, SYSTEM, ISSUER, _wish("Spare", parent_id=ISSUER)).authority
    assert hierarchy.retire(ports, SYSTEM, spare.id).drains_at == ports.clock.now()
    assert hierarchy.drain(ports) == 1
    assert hierarchy.get(ports, SYSTEM, spare.id).authority.state is AuthorityState.RETIRED
    assert hierarchy.drain(ports) == 0


def test_a_pending_ca_is_given_up_at_once(ports: Ports) -> None:
    made = hierarchy.create(ports, SYSTEM, ISSUER, _wish(is_external=True)).authority
    hierarchy.retire(ports, SYSTEM, made.id, "ordered by mistake")
    found: CertificateAuthority = hierarchy.get(ports, SYSTEM, made.id).authority
    assert (found.state, found.csr, found.note) == (AuthorityState.RETIRED, None, "ordered by mistake")


def test_an_issuer_has_a_bounded_number_of_cas(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchy, "MOST", 2)
    hierarchy.create(ports, SYSTEM, ISSUER, _wish("Second"))
    with pytest.raises(Conflict, match="2 CAs"):
        hierarchy.create(ports, SYSTEM, ISSUER, _wish("Third"))


def test_what_happens_to_a_ca_is_on_record(ports: Ports) -> None:
    made = hierarchy.create(ports, SYSTEM, ISSUER, _wish(is_external=True)).authority
    hierarchy.install(ports, SYSTEM, made.id, _foreign(hierarchy.csr(ports, SYSTEM, made.id)))
    hierarchy.activate(ports, SYSTEM, made.id)
    hierarchy.retire(ports, SYSTEM, ISSUER)
    hierarchy.retire(ports, SYSTEM, ISSUER, "by test", confirm=True)
    with ports.work() as work:
        events = work.audit.page(Query(sort="timestamp", limit=50)).items
    assert {event.action for event in events} == {
        f"intermediate_ca_{word}" for word in ("created", "certified", "activated", "retiring", "retired")
    }
