"""Devices enrol by SCEP: through the one door, with a challenge, once; and renew with what they have."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.errors import NotFound, Unreadable
from certctl_core.ids import IssuerId, OwnerId, RenewalPolicyId, TeamId
from certctl_core.models.certificates import CertificateSource, RevocationReason
from certctl_core.models.delegates import Purpose
from certctl_core.models.enrolment import EnrolmentProtocol
from certctl_core.pki import asn1, ca, cms
from certctl_core.pki.keys import KeyKind
from certctl_core.pki.scep import FailInfo, MessageType
from certctl_core.policy import intune
from certctl_core.policy.shared_secret import SharedSecret
from certctl_core.ports.issuer import Ordered
from certctl_core.ports.store import Query
from certctl_core.usecases import delegates, enrolment_secrets, issuance, jobs, revocation, scep, scep_enrolling
from certctl_core.usecases.enrolment import Belonging
from certctl_core.usecases.enrolment_secrets import CreateSecret
from certctl_core.usecases.scep_doors import Door, Doors, SignedChallenges
from tests import devices, strangers
from tests.core.usecases.world import ADMIN, START, World
from tests.devices import Device, Said
from tests.tokens import token

BELONGS = Belonging(owner_id=OwnerId("owner-1"), team_id=TeamId("team-1"), renewal_policy_id=RenewalPolicyId("rp-test"))
SECRET = "open sesame"
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
CONNECTOR = strangers.key("connector")


class Anchors:
    """The connector's certificate."""

    def __call__(self) -> tuple[x509.Certificate, ...]:
        public_key = CONNECTOR.public_key()
        return (strangers.certificate("connector", public_key=public_key, begins=START - HOUR),)

    def reload(self) -> tuple[x509.Certificate, ...]:
        return self()


DOOR = Door(
    label="phones",
    issuer_id=IssuerId("iss-local"),
    profile_id=None,
    belongs=BELONGS,
    static=SharedSecret.of(SECRET),
    one_time=True,
    signed=SignedChallenges(rules=intune.Rules(audience="us"), trusted=Anchors()),
)


def own_ra() -> delegates.Opened:
    return delegates.Opened(devices.registration_authority(), (), devices.rsa_key("RA"))


class Service:
    """A door of SCEP in a world, as a client sees it. Its RA is one of the operator's, because making a key takes
    longer than all else."""

    def __init__(self, world: World, **changes: Any) -> None:
        self.world = world
        self.door = evolve(DOOR, **{"own_ra": own_ra, **changes})
        self.doors = Doors({self.door.label: self.door})

    @property
    def ra(self) -> x509.Certificate:
        return scep.authorities(self.world.ports, self.doors, self.door)[0]

    def answered(self, message: bytes) -> scep.Answered:
        return scep.operate(self.world.ports, self.doors, self.door, message, "req-1")

    def ask(self, device: Device, message: bytes) -> Said:
        return device.read(self.answered(message).message)

    def enrol(self, device: Device, challenge: str = SECRET, **changes: Any) -> Said:
        return self.ask(device, device.pkcs_req(self.ra, challenge, **changes))

    def enrolled(self, device: Device) -> Device:
        """The device with the certificate that it was given, and signs with from now on."""
        (certificate,) = self.enrol(device).certificates
        return Device(common_name=device.common_name, certificate=certificate)

    def versions(self) -> int:
        with self.world.ports.work() as work:
            return sum(work.versions.page(one.id, 10, 0).total for one in work.certificates.page(Query()).items)


@pytest.fixture
def service(world: World) -> Service:
    return Service(world)


def failed(said: Said, info: FailInfo) -> bool:
    return (said.status, said.fail_info, said.certificates) == ("2", info.value, ())


# Enrolling


def test_a_device_is_given_a_certificate_for_its_key(service: Service, world: World) -> None:
    device = Device(sans=("alias.example.com",))
    said = service.enrol(device)
    (given,) = said.certificates
    assert said.status == "0"
    assert given.public_key() == device.key.public_key()
    assert said.signer == service.ra
    with world.ports.work() as work:
        (certificate,) = work.certificates.page(Query()).items
        (event,) = (one for one in work.audit.page(Query(limit=100)).items if one.action == "scep_pkcsreq")
    assert (certificate.source, certificate.enrolment_label) == (CertificateSource.SCEP, "phones")
    assert (event.actor, event.request_id) == ("scep-client", "req-1")
    assert device.transaction_id in event.details.values()


def test_the_ra_comes_before_the_chain_of_the_ca(world: World) -> None:
    service = Service(world, own_ra=None)
    ra, *chain = scep.authorities(world.ports, service.doors, service.door)
    assert tuple(chain) == world.ca.authority.chain
    assert ra.issuer == chain[0].subject
    usage = ra.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_encipherment


def test_there_is_no_door_without_a_label_of_its_own(service: Service) -> None:
    with pytest.raises(NotFound):
        service.doors.get("printers")


@pytest.mark.parametrize("challenge", ["", "open", SECRET.upper(), f"{SECRET} ", "ü" * 20])
def test_without_the_challenge_nothing_is_enrolled_or_remembered(service: Service, challenge: str) -> None:
    assert failed(service.enrol(Device(), challenge), FailInfo.BAD_REQUEST)
    with service.world.ports.work() as work:
        assert work.presented.count(f"{scep_enrolling.NONCES}phones") == 0
        assert work.certificates.page(Query()).total == 0


def test_a_device_signs_with_the_key_that_it_wants_a_certificate_for(service: Service) -> None:
    thief = Device(key=devices.rsa_key("other"))
    stolen = Device().csr(SECRET).public_bytes(Encoding.DER)
    message = thief.message(MessageType.PKCS_REQ, stolen, service.ra)
    assert failed(service.ask(thief, message), FailInfo.BAD_REQUEST)


def test_a_client_that_could_not_open_the_answer_is_refused_before_anything_is_issued(service: Service) -> None:
    key = strangers.key("elliptic")
    device = Device(certificate=strangers.certificate("e", public_key=key.public_key()), signing_key=key)
    answered = service.answered(device.pkcs_req(service.ra, SECRET))
    assert (answered.outcome, service.versions()) == ("bad_alg", 0)


# The CA that comes


def _coming(world: World) -> ca.Authority:
    """Another CA of the issuer, which has not signed anything yet."""
    coming = ca.create_root("Next CA", KeyKind.ECDSA_P256, START, timedelta(days=3650))
    world.ca.coming.append(coming)
    return coming


def test_the_present_ca_tells_of_the_next_one_and_its_ra(world: World) -> None:
    service = Service(world, own_ra=None)
    coming = _coming(world)
    message = cms.read_signed(scep.next_authorities(world.ports, service.doors, service.door))
    assert message.signer == world.ca.authority.certificate
    assert message.content is not None
    ra, authorities = devices.authorities(message.content)
    assert authorities == (coming.certificate,)
    assert ra.issuer == coming.certificate.subject
    assert ra != service.ra
    device = Device()
    assert service.ask(device, device.pkcs_req(ra, SECRET)).signer == service.ra


def test_there_is_nothing_to_tell_while_no_ca_comes(service: Service) -> None:
    with pytest.raises(NotFound):
        scep.next_authorities(service.world.ports, service.doors, service.door)
    _coming(service.world)
    assert scep.next_authorities(service.world.ports, service.doors, service.door)


# Repetitions and replays


def test_a_repeated_transaction_is_given_the_same_certificate(service: Service) -> None:
    device = Device()
    first, second = service.enrol(device), service.enrol(device)
    assert first.certificates == second.certificates
    assert first.sender_nonce != second.sender_nonce
    assert service.versions() == 1


def test_a_repeated_message_is_given_the_same_certificate_until_it_is_a_replay(service: Service) -> None:
    device = Device()
    message = device.pkcs_req(service.ra, SECRET)
    first = service.ask(device, message)
    service.world.clock.advance(HOUR)
    assert service.ask(device, message).certificates == first.certificates
    service.world.clock.advance(SECOND)
    assert failed(service.ask(device, message), FailInfo.BAD_REQUEST)
    assert service.versions() == 1


def test_a_nonce_is_good_for_one_message(service: Service) -> None:
    assert service.enrol(Device(), nonce=b"n" * 16).status == "0"
    other = Device(common_name="device-2.example.com", key=devices.rsa_key("other"))
    assert failed(service.enrol(other, nonce=b"n" * 16), FailInfo.BAD_REQUEST)
    service.world.clock.advance(scep_enrolling.REMEMBERED)
    assert scep.forget(service.world.ports) == 1
    assert service.enrol(other, nonce=b"n" * 16).status == "0"


def test_a_transaction_is_that_of_one_key_and_of_one_request(service: Service) -> None:
    device = Device()
    service.enrol(device)
    other = Device(key=devices.rsa_key("other"))
    assert failed(service.enrol(other, transaction_id=device.transaction_id), FailInfo.BAD_REQUEST)
    renamed = Device(common_name="device-2.example.com")
    assert failed(service.enrol(renamed, transaction_id=device.transaction_id), FailInfo.BAD_REQUEST)
    assert service.versions() == 1


class Crash(BaseException):
    """Stops a use case where a tripwire stands, as kill -9 would."""


@pytest.mark.parametrize("point", ["scep:1", "issue:1", "issue:2", "record:1"])
def test_a_device_that_repeats_itself_after_a_crash_is_given_one_certificate(service: Service, point: str) -> None:
    def trip(reached: str, /) -> None:
        if reached == point:
            raise Crash

    device, calm = Device(), service.world.ports
    message = device.pkcs_req(service.ra, SECRET)
    service.world.ports = evolve(calm, tripwire=trip)
    with pytest.raises(Crash):
        service.answered(message)
    service.world.ports = calm
    if service.ask(device, message).status == "3":
        service.world.clock.advance(calm.lease + SECOND)
        _let_workers_work(service.world)
    assert service.ask(device, message).status == "0"
    assert service.versions() == 1


def _let_workers_work(world: World) -> None:
    jobs.release_lapsed(world.ports)
    issuance.process_due(world.ports)


# What is wrong with a message


def test_what_cannot_be_answered_raises(service: Service) -> None:
    for data in (b"", b"noise" * 100, cms.degenerate([service.ra])):
        with pytest.raises(Unreadable):
            service.answered(data)


@pytest.mark.parametrize("number", [number for number in range(30) if number not in (17, 19, 20, 21, 22)])
def test_message_types_that_nobody_knows_are_refused(service: Service, number: int) -> None:
    device = Device()
    message = device.message(str(number), device.csr(SECRET).public_bytes(Encoding.DER), service.ra)
    assert failed(service.ask(device, message), FailInfo.BAD_REQUEST)
    assert service.versions() == 0


def test_a_message_that_was_changed_fails_its_check(service: Service) -> None:
    device = Device()
    message = device.pkcs_req(service.ra, SECRET, nonce=b"n" * 16)
    changed = message.replace(b"n" * 16, b"m" * 16)
    assert failed(service.ask(device, changed), FailInfo.BAD_MESSAGE_CHECK)


def test_an_envelope_that_does_not_open_or_makes_no_sense_fails_the_check_in_the_same_words(service: Service) -> None:
    device = Device()
    nonsense = device.message(MessageType.PKCS_REQ, b"nonsense", service.ra)
    broken = cms.sign(
        cms.envelop(b"x" * 64, service.ra)[:-1] + b"\0",
        device.signer,
        {
            devices.MESSAGE_TYPE: asn1.printable("19"),
            devices.TRANSACTION_ID: asn1.printable("t"),
            devices.SENDER_NONCE: asn1.octets(bytes(16)),
        },
    )
    said = [service.ask(device, one) for one in (nonsense, broken)]
    assert all(failed(one, FailInfo.BAD_MESSAGE_CHECK) for one in said)
    assert {one.text for one in said} == {cms.CLOSED}


def test_an_envelope_for_another_ra_fails_the_check(service: Service) -> None:
    other = strangers.certificate("RA", public_key=devices.rsa_key("other").public_key())
    device = Device()
    assert failed(service.ask(device, device.pkcs_req(other, SECRET)), FailInfo.BAD_MESSAGE_CHECK)


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({"cipher": cms.Cipher.TRIPLE_DES}, cms.MODERN.also(cms.Cipher.TRIPLE_DES)),
        ({"cipher": cms.Cipher.DES}, cms.MODERN.also(cms.Cipher.DES)),
        ({"digest": cms.Digest.SHA1}, cms.MODERN.also(cms.Digest.SHA1)),
    ],
    ids=["3DES", "DES", "SHA-1"],
)
def test_old_algorithms_are_refused_unless_the_door_accepts_them(
    service: Service, changes: dict[str, Any], accepted: cms.Accepted
) -> None:
    device = Device(**changes)
    assert failed(service.enrol(device), FailInfo.BAD_ALG)
    open_door = Service(service.world, accepted=accepted)
    assert open_door.enrol(device).status == "0"


def test_a_weak_key_is_refused(service: Service) -> None:
    device = Device()
    weak = Device(key=devices.weak_key())
    message = device.message(MessageType.PKCS_REQ, weak.csr(SECRET).public_bytes(Encoding.DER), service.ra)
    assert failed(service.ask(device, message), FailInfo.BAD_ALG)


def test_a_signing_time_that_is_not_of_now_is_a_bad_time(service: Service) -> None:
    day, now = timedelta(days=1), service.world.clock.now()
    for number, (at, good) in enumerate(
        [(now, True), (now - day, True), (now + day, True), (now - day - SECOND, False), (now + day + SECOND, False)]
    ):
        device = Device(common_name=f"device-{number}.example.com")
        said = service.enrol(device, transaction_id=f"t-{number}", attributes={devices.SIGNING_TIME: asn1.time(at)})
        assert said.status == "0" if good else failed(said, FailInfo.BAD_TIME)


def test_what_the_door_can_do_says_what_it_accepts(world: World) -> None:
    def can(**changes: Any) -> set[str]:
        service = Service(world, **changes)
        return set(scep.capabilities(world.ports, service.doors, service.door))

    always = {"AES", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-256", "SHA-512", "GetNextCACert"}
    assert can() == always
    assert can(accepted=devices.EVERYTHING) == always | {"DES3", "SHA-1"}


# Pending


@pytest.fixture
def slow(service: Service) -> Service:
    """A CA that answers later."""
    service.world.ca.answer = lambda request: Ordered("order-1")
    return service


def _poll(service: Service, device: Device, **changes: Any) -> Said:
    issuer = service.world.ca.authority.certificate.subject
    return service.ask(device, device.cert_poll(service.ra, issuer, **changes))


def test_a_device_polls_until_its_certificate_is_there(slow: Service) -> None:
    device = Device()
    assert slow.enrol(device).status == "3"
    assert _poll(slow, device).status == "3"
    assert slow.enrol(device).status == "3"
    slow.world.ca.answer = None
    slow.world.clock.advance(timedelta(days=1))
    _let_workers_work(slow.world)
    said = _poll(slow, device)
    assert said.status == "0"
    assert said.certificates[0].public_key() == device.key.public_key()
    assert slow.versions() == 1


def test_only_who_asked_may_poll(slow: Service) -> None:
    device = Device()
    slow.enrol(device)
    other = Device(key=devices.rsa_key("other"))
    assert failed(_poll(slow, other, transaction_id=device.transaction_id), FailInfo.BAD_CERT_ID)
    assert failed(_poll(slow, device, transaction_id="unknown"), FailInfo.BAD_CERT_ID)
    assert failed(_poll(slow, device, subject=strangers.name("somebody else")), FailInfo.BAD_CERT_ID)


# Renewing


def test_a_device_renews_with_its_certificate_and_without_a_challenge(service: Service) -> None:
    device = service.enrolled(Device())
    renewing = Device(key=devices.rsa_key("new"), certificate=device.certificate, signing_key=device.key)
    said = service.ask(renewing, renewing.renewal_req(service.ra))
    assert said.status == "0"
    assert said.certificates[0].public_key() == renewing.key.public_key()
    with service.world.ports.work() as work:
        (certificate,) = work.certificates.page(Query()).items
        assert work.versions.page(certificate.id, 10, 0).total == 2
    assert "scep_renewalreq" in service.world.actions()


def test_a_device_that_shows_what_it_was_given_is_not_given_it_again(service: Service) -> None:
    """Many clients name a transaction by the key, and the key may stay."""
    device = service.enrolled(Device())
    message = device.renewal_req(service.ra)
    first = service.ask(device, message).certificates
    assert first != (device.certificate,)
    assert service.ask(device, message).certificates == first
    assert service.versions() == 2


def test_a_key_that_has_a_certificate_gets_another_version_in_another_transaction(service: Service) -> None:
    device = Device()
    (first,), (second,) = (service.enrol(device, transaction_id=name).certificates for name in ("t-1", "t-2"))
    assert first != second
    with service.world.ports.work() as work:
        assert work.certificates.page(Query()).total == 1
    assert service.versions() == 2
    other_names = Device(sans=("other.example.com",))
    assert failed(service.enrol(other_names, transaction_id="t-3"), FailInfo.BAD_REQUEST)


@pytest.mark.parametrize("challenge", ["", SECRET])
def test_clients_that_know_no_renewal_renew_with_a_first_request(service: Service, challenge: str) -> None:
    device = service.enrolled(Device())
    renewing = Device(key=devices.rsa_key("new"), certificate=device.certificate, signing_key=device.key)
    assert service.ask(renewing, renewing.pkcs_req(service.ra, challenge)).status == "0"
    assert "scep_renewalreq" in service.world.actions()
    assert service.versions() == 2


def _renew(service: Service, device: Device, **changes: Any) -> Said:
    renewing = evolve_device(device, **changes)
    return service.ask(renewing, renewing.renewal_req(service.ra))


def evolve_device(device: Device, **changes: Any) -> Device:
    usual: dict[str, Any] = {
        "key": devices.rsa_key("new"), "certificate": device.certificate, "signing_key": device.key,
        "common_name": device.common_name,
    }  # fmt: skip
    return Device(**{**usual, **changes})


def test_a_certificate_that_is_not_ours_renews_nothing(service: Service) -> None:
    service.enrolled(Device())
    foreign = strangers.certificate("device-1.example.com", public_key=devices.rsa_key().public_key())
    assert failed(_renew(service, Device(certificate=foreign)), FailInfo.BAD_REQUEST)
    assert failed(_renew(service, Device(), certificate=None, signing_key=None), FailInfo.BAD_REQUEST)
    assert service.versions() == 1


def test_a_revoked_certificate_renews_nothing(service: Service) -> None:
    device = service.enrolled(Device())
    with service.world.ports.work() as work:
        (certificate,) = work.certificates.page(Query()).items
    revocation.revoke(service.world.ports, ADMIN, certificate.id, RevocationReason.KEY_COMPROMISE)
    assert failed(_renew(service, device), FailInfo.BAD_REQUEST)


def test_a_certificate_that_has_ended_renews_nothing(service: Service) -> None:
    device = service.enrolled(Device())
    service.world.clock.advance(timedelta(days=91))
    assert failed(_renew(service, device), FailInfo.BAD_REQUEST)


def test_renewing_keeps_the_names(service: Service) -> None:
    device = service.enrolled(Device())
    assert failed(_renew(service, device, common_name="device-2.example.com"), FailInfo.BAD_REQUEST)
    assert failed(_renew(service, device, sans=("other.example.com",)), FailInfo.BAD_REQUEST)


def test_renewing_is_done_at_the_door_that_enrolled(service: Service) -> None:
    device = service.enrolled(Device())
    other = Service(service.world, label="printers")
    assert failed(_renew(other, device), FailInfo.BAD_REQUEST)


# GetCert and GetCRL


def test_holders_of_certificates_are_shown_certificates(service: Service) -> None:
    device = service.enrolled(Device())
    other = service.enrolled(Device(common_name="device-2.example.com", key=devices.rsa_key("other")))
    assert device.certificate is not None
    assert other.certificate is not None
    said = service.ask(device, device.get_cert(service.ra, other.certificate))
    assert said.certificates == (other.certificate,)
    own = Device()
    assert service.ask(own, own.get_cert(service.ra, device.certificate)).certificates == (device.certificate,)
    stranger = Device(key=devices.rsa_key("new"))
    assert failed(service.ask(stranger, stranger.get_cert(service.ra, other.certificate)), FailInfo.BAD_REQUEST)


def test_what_was_not_issued_here_cannot_be_shown(service: Service) -> None:
    device = service.enrolled(Device())
    foreign = strangers.certificate("foreign")
    assert failed(service.ask(device, device.get_cert(service.ra, foreign)), FailInfo.BAD_CERT_ID)
    assert failed(service.ask(device, device.get_crl(service.ra, foreign)), FailInfo.BAD_CERT_ID)


def test_the_crl_is_handed_over(service: Service) -> None:
    device = service.enrolled(Device())
    assert device.certificate is not None
    (crl,) = service.ask(device, device.get_crl(service.ra, device.certificate)).crls
    assert crl.is_signature_valid(service.world.ca.authority.certificate.public_key())  # type: ignore[arg-type]


# Challenges for one device


def _secret(world: World, **changes: Any) -> str:
    asked = CreateSecret(protocol=EnrolmentProtocol.SCEP, **{"label": "phones", **changes})
    return enrolment_secrets.create(world.ports, ADMIN, asked).plain


def test_a_one_time_challenge_is_good_once_and_for_its_device(service: Service, world: World) -> None:
    device, other = Device(), Device(common_name="device-2.example.com", key=devices.rsa_key("other"))
    challenge = _secret(world, common_name=device.common_name)
    assert failed(service.enrol(other, challenge), FailInfo.BAD_REQUEST)
    assert service.enrol(device, challenge).status == "0"
    assert service.enrol(device, challenge).status == "0"
    assert failed(service.enrol(other, challenge), FailInfo.BAD_REQUEST)
    assert service.versions() == 1


def test_a_one_time_challenge_is_good_for_its_time_and_its_door(service: Service, world: World) -> None:
    assert failed(service.enrol(Device(), _secret(world, label="printers")), FailInfo.BAD_REQUEST)
    closed = Service(world, one_time=False)
    assert failed(closed.enrol(Device(), _secret(world)), FailInfo.BAD_REQUEST)
    challenge = _secret(world)
    world.clock.advance(enrolment_secrets.LIFE)
    assert failed(service.enrol(Device(), challenge), FailInfo.BAD_REQUEST)


# Challenges that a connector signed


def _signed(world: World, device: Device, key: Any = CONNECTOR, **changes: Any) -> str:
    at = int(world.clock.now().timestamp())
    claims = {
        "iss": "connector", "sub": "guid-1", "aud": "us", "iat": at, "exp": at + 3600, "nonce": "n-1",
        "device_name": device.common_name, **changes,
    }  # fmt: skip
    return token(claims, key)


def test_a_signed_challenge_is_good_once_and_for_its_device(service: Service, world: World) -> None:
    device, other = Device(), Device(common_name="device-2.example.com", key=devices.rsa_key("other"))
    challenge = _signed(world, device)
    assert failed(service.enrol(other, challenge), FailInfo.BAD_REQUEST)
    assert service.enrol(device, challenge).status == "0"
    assert service.enrol(device, challenge).status == "0"
    imposter = Device(key=devices.rsa_key("new"))
    assert failed(service.enrol(imposter, challenge), FailInfo.BAD_REQUEST)
    assert service.versions() == 1


FORGED: dict[str, Callable[[World, Device], str]] = {
    "another's signature": lambda world, device: _signed(world, device, strangers.key("stranger")),
    "no signature": lambda world, device: _signed(world, device, None),
    "a shared secret": lambda world, device: _signed(world, device, b"secret"),
    "another audience": lambda world, device: _signed(world, device, aud="them"),
    "a time that is over": lambda world, device: _signed(world, device, iat=1, exp=2),
    "other names": lambda world, device: _signed(world, device, san_dns=["other.example.com"]),
    "no nonce": lambda world, device: _signed(world, device, nonce=""),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_challenge_that_is_not_as_it_must_be_admits_nobody(service: Service, world: World, case: str) -> None:
    device = Device()
    assert failed(service.enrol(device, FORGED[case](world, device)), FailInfo.BAD_REQUEST)
    assert service.versions() == 0


def test_a_signed_challenge_is_nothing_where_none_are_accepted(world: World) -> None:
    device = Device()
    assert failed(Service(world, signed=None).enrol(device, _signed(world, device)), FailInfo.BAD_REQUEST)


def test_a_device_has_a_quota_of_signed_challenges(service: Service, world: World) -> None:
    def enrol(number: int) -> str:
        device = Device(key=devices.rsa_key(("device", "other", "new", "RA", "connector")[number]))
        return service.enrol(device, _signed(world, device, nonce=f"n-{number}")).status

    assert [enrol(number) for number in range(4)] == ["0", "0", "0", "2"]
    world.clock.advance(timedelta(days=1))
    assert enrol(4) == "0"
    with world.ports.work() as work:
        assert work.presented.count("intune phones") == 4


# Registration authorities


def test_clients_that_know_the_ra_of_before_are_understood(world: World) -> None:
    service = Service(world, own_ra=None)
    before, device = service.ra, Device()
    world.clock.advance(delegates.LIFE * 2 / 3)
    assert delegates.renew_due(world.ports) == 1
    assert service.ra != before
    assert service.ask(device, device.pkcs_req(before, SECRET)).signer == service.ra


def test_an_ra_of_the_operator_is_used_in_the_place_of_a_delegate(service: Service, world: World) -> None:
    assert service.ra == own_ra().certificate
    assert service.enrol(Device()).signer == service.ra
    assert delegates.living(world.ports, "iss-local", Purpose.RA, "phones") == ()
