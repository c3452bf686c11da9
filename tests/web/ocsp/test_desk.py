"""Answering OCSP from memory: quick, and never wrong for longer than a second."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from attrs import define, evolve
from cryptography.x509 import ocsp as library

from certctl_core.errors import NotFound, Refused, UpstreamUnavailable
from certctl_core.models.certificates import RevocationReason
from certctl_core.models.delegates import Purpose
from certctl_core.models.standings import Standing
from certctl_core.pki import ca, ocsp
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.plan import OcspRequest
from certctl_core.ports.store import Work
from certctl_core.usecases import delegates, revocation
from certctl_web.ocsp import desk as module
from certctl_web.ocsp.desk import Answered, OcspDesk
from tests.core.usecases.world import ADMIN, START, World, make_world

GOOD, REVOKED, UNKNOWN = (getattr(library.OCSPCertStatus, name) for name in ("GOOD", "REVOKED", "UNKNOWN"))


@define
class Counting:
    """The store, which counts what is looked up, does something in the middle of it when told to, and may be away."""

    work: Callable[[], AbstractContextManager[Work]]
    looked_up: int = 0
    is_away: bool = False
    meanwhile: Callable[[], None] | None = None

    def __call__(self) -> AbstractContextManager[Work]:
        return self._work()

    @contextmanager
    def _work(self) -> Iterator[Work]:
        if self.is_away:
            raise UpstreamUnavailable("the database is away")
        with self.work() as work:
            found = work.standings.of

            def of(issuer_id: Any, serial_numbers: Any) -> Mapping[str, Standing]:
                self.looked_up += 1
                return found(issuer_id, serial_numbers)

            work.standings.of = of  # type: ignore[method-assign]
            yield work
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()


@define
class Office:
    """A desk, the world it tells of, and its own clock."""

    world: World
    store: Counting
    desk: OcspDesk
    now: list[float]

    def issue(self, name: str = "site") -> str:
        """A certificate; its serial number."""
        certificate = self.world.certificate(self.world.target(self.world.agent(name), name), name=name)
        issued = self.world.issued(certificate, self.agents(name))
        assert issued.version is not None
        return issued.version.serial_number

    def agents(self, name: str) -> Any:
        with self.world.ports.work() as work:
            return work.agents.get(f"agent-{name}")

    def revoke(self, name: str = "site", reason: RevocationReason = RevocationReason.SUPERSEDED) -> None:
        revocation.revoke(self.world.ports, ADMIN, f"mc-{name}", reason)

    def request(self, serial: str, hash_name: str = "sha1") -> OcspRequest:
        return ocsp.request_about(self.world.ca.authority.certificate, serial, hash_name)

    def ask(self, serial: str, hash_name: str = "sha1", nonce: bytes | None = None) -> Answered:
        return self.desk.answer("iss-local", evolve(self.request(serial, hash_name), nonce=nonce))

    def status(self, serial: str) -> library.OCSPCertStatus:
        return read(self.ask(serial)).certificate_status

    def pass_time(self, seconds: float) -> None:
        self.now[0] += seconds
        self.world.clock.advance(timedelta(seconds=seconds))

    def catch_up(self) -> None:
        self.desk.keep_up()
        self.desk.look_after()


def read(answered: Answered) -> library.OCSPResponse:
    return library.load_der_ocsp_response(answered.der)


@pytest.fixture
def office() -> Office:
    world = make_world()
    store = Counting(world.ports.work)
    now = [1000.0]
    desk = OcspDesk(evolve(world.ports, work=store), clock=lambda: now[0])
    return Office(world, store, desk, now)


def test_an_answer_is_signed_once_and_given_to_everybody(office: Office) -> None:
    serial = office.issue()
    office.status(serial)
    office.catch_up()
    first = office.ask(serial)
    assert read(first).certificate_status is GOOD
    assert first.is_for_everybody
    assert office.ask(serial).head is first.head
    assert office.ask(serial, "sha256").head is not first.head
    office.pass_time(0.5)
    assert office.ask(serial).head is first.head


def test_what_is_in_the_register_is_not_looked_up(office: Office) -> None:
    serial = office.issue()
    office.status(serial)
    office.catch_up()
    before = office.store.looked_up
    assert office.status(serial) is GOOD
    assert office.ask(serial, "sha384").status == "good"
    assert office.store.looked_up == before


def test_an_answer_is_verified_with_the_ca_alone(office: Office) -> None:
    response = read(office.ask(office.issue()))
    (delegate,) = response.certificates
    delegate.verify_directly_issued_by(office.world.ca.authority.certificate)
    assert response.responder_key_hash == ocsp.issuer_hashes(delegate, "sha1")[1]


def test_a_nonce_is_answered_to_the_one_who_sent_it(office: Office) -> None:
    serial = office.issue()
    office.ask(serial)
    office.catch_up()
    answered = office.ask(serial, nonce=b"mine")
    assert not answered.is_for_everybody
    assert [one.value.nonce for one in read(answered).extensions] == [b"mine"]  # type: ignore[attr-defined]
    assert office.ask(serial).head is office.ask(serial).head


def test_a_revocation_is_heard_of_at_the_next_look(office: Office) -> None:
    serial = office.issue()
    office.status(serial)
    office.catch_up()
    kept = office.ask(serial)
    office.revoke()
    assert office.ask(serial).head is kept.head
    office.pass_time(module.PAUSE)
    office.desk.keep_up()
    response = read(office.ask(serial))
    assert response.certificate_status is REVOKED
    assert response.revocation_reason is not None
    assert office.ask(serial).is_for_everybody


def test_a_hold_and_its_release_are_heard_of(office: Office) -> None:
    serial = office.issue()
    office.status(serial)
    office.catch_up()
    office.revoke(reason=RevocationReason.CERTIFICATE_HOLD)
    office.desk.keep_up()
    assert office.status(serial) is REVOKED
    revocation.release(office.world.ports, ADMIN, "mc-site")
    office.desk.keep_up()
    assert office.status(serial) is GOOD


def test_nothing_in_memory_is_believed_a_second_after_the_last_look(office: Office) -> None:
    serial = office.issue()
    office.status(serial)
    office.catch_up()
    kept = office.ask(serial)
    office.revoke()
    office.pass_time(module.TRUST - 0.01)
    assert office.ask(serial).head is kept.head
    office.pass_time(0.02)
    assert office.status(serial) is REVOKED
    assert module.PAUSE < module.TRUST < 1


def test_without_the_store_there_is_no_answer_a_second_later(office: Office) -> None:
    serial = office.issue()
    office.status(serial)
    office.catch_up()
    office.ask(serial)
    office.store.is_away = True
    assert office.status(serial) is GOOD
    with pytest.raises(UpstreamUnavailable):
        office.desk.keep_up()
    office.pass_time(1)
    with pytest.raises(UpstreamUnavailable):
        office.ask(serial)
    office.store.is_away = False
    office.desk.keep_up()
    assert office.status(serial) is GOOD


def test_a_standing_read_before_a_revocation_is_not_kept_after_it(office: Office) -> None:
    """The store is asked, then somebody revokes and it is heard of, and only then is the answer signed."""
    serial = office.issue()
    office.desk.open_all()
    office.desk.keep_up()

    def meanwhile() -> None:
        office.revoke()
        office.desk.keep_up()

    office.store.meanwhile = meanwhile
    assert office.status(serial) is GOOD  # it was, when it was asked
    assert office.status(serial) is REVOKED


def test_a_revocation_during_the_reading_of_the_register_is_in_it(office: Office) -> None:
    serial = office.issue()
    office.desk.open_all()
    office.desk.keep_up()

    def meanwhile() -> None:
        office.revoke()
        office.desk.keep_up()

    office.store.meanwhile = meanwhile  # behind the reading of what is unexpired
    office.desk.look_after()
    before = office.store.looked_up
    assert office.status(serial) is REVOKED
    assert office.store.looked_up == before


def test_unknown_is_never_kept(office: Office) -> None:
    office.issue()
    office.desk.open_all()
    office.catch_up()
    first = office.ask("abcdef")
    assert read(first).certificate_status is UNKNOWN
    assert not first.is_for_everybody
    assert office.ask("abcdef").head is not first.head


def test_what_was_issued_since_is_good_at_once(office: Office) -> None:
    office.desk.open_all()
    office.catch_up()
    assert office.status(office.issue()) is GOOD


def test_delegates_and_cas_of_ours_are_good(office: Office) -> None:
    office.desk.open_all()
    office.catch_up()
    root = office.world.ca.authority.certificate
    with office.world.ports.work() as work:
        configured = work.issuers.get("iss-local")
    registrar = delegates.current(office.world.ports, configured, Purpose.RA).certificate
    assert office.status(f"{root.serial_number:x}") is GOOD
    assert office.status(f"{registrar.serial_number:x}") is GOOD


def test_an_expired_certificate_tells_how_long_records_are_kept(office: Office) -> None:
    serial = office.issue()
    office.world.clock.advance(timedelta(days=100))
    response = read(office.ask(serial))
    assert response.certificate_status is GOOD
    assert [one.oid.dotted_string for one in response.single_extensions] == ["1.3.6.1.5.5.7.48.1.6"]


def test_a_certificate_of_another_ca_of_the_issuer_is_unknown_to_this_one(office: Office) -> None:
    serial = office.issue()
    old = ca.create_root("Old CA", KeyKind.ECDSA_P256, START - timedelta(days=1), timedelta(days=400))
    office.world.ca.older.append(old)
    about_old = ocsp.request_about(old.certificate, serial)
    response = read(office.desk.answer("iss-local", about_old))
    assert response.certificate_status is UNKNOWN
    response.certificates[0].verify_directly_issued_by(old.certificate)
    assert office.status(serial) is GOOD


def test_questions_about_others_are_not_ours_to_answer(office: Office) -> None:
    stranger = ca.create_root("Stranger", KeyKind.ECDSA_P256, START, timedelta(days=1)).certificate
    with pytest.raises(Refused):
        office.desk.answer("iss-local", ocsp.request_about(stranger, "ab"))
    both = (office.request("ab").questions[0], ocsp.request_about(stranger, "ab").questions[0])
    with pytest.raises(Refused):
        office.desk.answer("iss-local", OcspRequest(both))
    with pytest.raises(NotFound):
        office.desk.answer("iss-none", office.request("ab"))


def test_several_questions_get_their_answers_in_one_response(office: Office) -> None:
    serials = [office.issue("one"), office.issue("two"), "abc"]
    office.revoke("two")
    questions = tuple(office.request(serial).questions[0] for serial in serials)
    answered = office.desk.answer("iss-local", OcspRequest(questions))
    assert [one.certificate_status for one in read(answered).responses] == [GOOD, REVOKED, UNKNOWN]
    assert not answered.is_for_everybody


def test_an_answer_is_signed_anew_before_it_ends(office: Office) -> None:
    serial = office.issue()
    office.status(serial)
    office.catch_up()
    first = office.ask(serial)
    assert first.next_update - first.this_update == pytest.approx(3600 + 300)
    for _ in range(9):
        office.pass_time(300)
        office.catch_up()
        office.ask(serial)
    office.pass_time(1)
    office.catch_up()
    second = office.ask(serial)
    assert second.next_update > first.next_update
    assert second.next_update - office.world.clock.now().timestamp() >= 0.25 * 3600


def test_no_more_is_kept_than_there_is_room_for(office: Office) -> None:
    office.desk._most_answers = 2
    serials = [office.issue(name) for name in ("one", "two", "three")]
    office.ask(serials[0])
    office.catch_up()
    kept = [office.ask(serial) for serial in serials]
    assert office.ask(serials[2]).head is kept[2].head
    assert office.ask(serials[0]).head is not kept[0].head
    assert len(office.desk._answers) == 2


def test_registers_together_have_a_bound_and_the_store_knows_the_rest(office: Office) -> None:
    office.desk._most_standings = 1
    serials = [office.issue(name) for name in ("one", "two")]
    office.desk.open_all()
    office.catch_up()
    assert office.desk._issuers["iss-local"].register.count == 1
    assert [office.status(serial) for serial in serials] == [GOOD, GOOD]
    office.revoke("one")
    office.revoke("two")
    office.desk.keep_up()
    assert [office.status(serial) for serial in serials] == [REVOKED, REVOKED]


def test_who_answers_is_looked_at_again(office: Office) -> None:
    serial = office.issue()
    first = read(office.ask(serial)).certificates[0]
    office.world.clock.advance(timedelta(days=16))
    assert delegates.renew_due(office.world.ports) == 1
    office.now[0] += module.LOOK_AGAIN + 1
    office.catch_up()
    second = read(office.ask(serial)).certificates[0]
    assert second != first
    assert second.not_valid_after_utc > first.not_valid_after_utc


def test_an_issuer_that_is_gone_is_not_answered_for(office: Office) -> None:
    office.desk.open_all()
    office.catch_up()
    with office.world.ports.work() as work:
        work.issuers.remove("iss-local")
    office.now[0] += module.LOOK_AGAIN + 1
    office.desk.open_all()
    office.catch_up()
    with pytest.raises(NotFound):
        office.ask("ab")


def test_while_nobody_asks_nothing_is_looked_at(office: Office) -> None:
    serial = office.issue()
    office.status(serial)
    office.catch_up()
    office.pass_time(module.IDLE_AFTER + 1)
    office.store.is_away = True
    office.catch_up()
    office.store.is_away = False
    office.revoke()
    assert office.status(serial) is REVOKED
    office.catch_up()
    assert office.status(serial) is REVOKED


def test_after_a_long_silence_everything_is_read_anew(office: Office) -> None:
    serial = office.issue()
    office.status(serial)
    office.catch_up()
    kept = office.ask(serial)
    office.pass_time(13 * 3600)
    office.status(serial)
    office.catch_up()
    assert office.ask(serial).head is not kept.head
    assert office.desk._issuers["iss-local"].register.get(serial) is not None


def test_answers_are_signed_ahead(office: Office) -> None:
    serials = [office.issue(name) for name in ("one", "two", "three")]
    office.revoke("two")
    office.desk.open_all()
    office.catch_up()
    office.desk.begin_ahead()
    signed = 0
    while not office.desk.is_ahead():
        signed += office.desk.sign_ahead(1)
    assert signed == 3  # two certificates, and the responder's own
    kept = {office.desk._answers[key][1] for key in office.desk._answers}
    for serial in (serials[0], serials[2]):
        assert office.ask(serial).head in kept
    office.desk.begin_ahead()
    assert office.desk.sign_ahead(100) == 0
    office.pass_time(3600 * 0.75 - module.SOON + 1)
    office.desk.open_all()
    office.catch_up()
    office.desk.begin_ahead()
    assert office.desk.sign_ahead(100) == 3


def test_nothing_is_signed_ahead_of_what_may_be_wrong(office: Office) -> None:
    office.issue()
    office.desk.open_all()
    office.catch_up()
    office.desk.begin_ahead()
    office.pass_time(1)
    assert office.desk.sign_ahead(100) == 0
    assert not office.desk.is_ahead()


def test_it_knows_how_long_nobody_has_asked(office: Office) -> None:
    office.ask("ab")
    assert not office.desk.is_idle_for(0.05)
    office.pass_time(0.06)
    assert office.desk.is_idle_for(0.05)
