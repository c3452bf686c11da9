"""Devices that enrol: through the one door, once, whatever is lost on the way; and only the device renews."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certctl_core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotAuthenticated,
    NotFound,
    Refused,
    UpstreamRejected,
    UpstreamUnavailable,
)
from certctl_core.ids import EnrolmentSecretId, IssuerId, OwnerId, ProfileId, RenewalPolicyId, TeamId
from certctl_core.models.access import EVERYTHING, Principal, Role, Scope
from certctl_core.models.catalog import CertificateProfile
from certctl_core.models.certificates import CertificateSource, CertificateStatus, CertificateVersion, RevocationReason
from certctl_core.models.enrolment import EnrolmentProtocol
from certctl_core.models.jobs import JobStatus, JobType
from certctl_core.pki import ca, names
from certctl_core.ports.issuer import Issued, IssueRequest, Ordered
from certctl_core.ports.store import Query
from certctl_core.usecases import (
    alerts,
    approvals,
    certificates,
    enrolment,
    enrolment_secrets,
    issuance,
    jobs,
    renewal,
    revocation,
    watchdog,
)
from certctl_core.usecases.enrolment import Belonging, Client, Deed, Enrol, Enrolled
from certctl_core.usecases.enrolment_secrets import CreateSecret
from tests.core.usecases.world import ADMIN, World

CLIENT = Client(protocol=EnrolmentProtocol.EST, name="anyone", method="none", request_id="req-1")
BELONGS = Belonging(owner_id=OwnerId("owner-1"), team_id=TeamId("team-1"), renewal_policy_id=RenewalPolicyId("rp-test"))
PHONE = "phone-1.example.com"


class Crash(BaseException):
    """Stops a use case where a tripwire stands, as kill -9 would."""


def crash_at(world: World, point: str) -> None:
    def trip(reached: str, /) -> None:
        if reached == point:
            raise Crash(point)

    world.ports = evolve(world.ports, tripwire=trip)


def calm(world: World) -> None:
    world.ports = evolve(world.ports, tripwire=lambda _point, /: None)


def request(
    world: World,
    common_name: str = PHONE,
    *extensions: x509.ExtensionType,
    sans: tuple[str, ...] = (),
    key: str = "phone",
    subject: tuple[x509.NameAttribute[str], ...] = (),
) -> x509.CertificateSigningRequest:
    private_key = world.keys.setdefault(key, ec.generate_private_key(ec.SECP256R1()))
    common = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([*subject, *common]))
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(names.general_names(sans)), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(private_key, hashes.SHA256())


def asked(csr: x509.CertificateSigningRequest, **changes: object) -> Enrol:
    plain = Enrol(
        protocol=EnrolmentProtocol.EST,
        label="phones",
        transaction=enrolment.transaction_of(csr),
        issuer_id=IssuerId("iss-local"),
        profile_id=None,
        belongs=BELONGS,
        csr=csr,
        deed=Deed.EST_ENROLS,
    )
    return evolve(plain, **changes)  # type: ignore[arg-type]


def enrol(world: World, csr: x509.CertificateSigningRequest, client: Client = CLIENT, **changes: object) -> Enrolled:
    return enrolment.enrol(world.ports, client, asked(csr, **changes))


def issued(world: World, csr: x509.CertificateSigningRequest, **changes: object) -> CertificateVersion:
    version = enrol(world, csr, **changes).version
    assert version is not None
    return version


def renew(world: World, csr: x509.CertificateSigningRequest, shown: CertificateVersion, **changes: object) -> Enrolled:
    found = enrolment.renewable(world.ports, shown.certificate)
    assert found == shown
    return enrol(world, csr, renews=found, deed=Deed.EST_RENEWS, **changes)


def profile(world: World, **changes: object) -> ProfileId:
    now = world.clock.now()
    fields = {"allowed_ekus": ("clientAuth",), "created_at": now, "updated_at": now} | changes
    made = CertificateProfile(id=ProfileId("prof-1"), name="phones", **fields)  # type: ignore[arg-type]
    with world.ports.work() as work:
        work.profiles.add(made)
    return made.id


def test_what_a_device_enrols_for_is_in_the_inventory_and_on_the_audit_trail(world: World) -> None:
    csr = request(world, sans=("192.0.2.7",))

    enrolled = enrol(world, csr)

    assert enrolled.version is not None
    certificate = certificates.get(world.ports, ADMIN, enrolled.certificate.id)
    assert certificate.status is CertificateStatus.ACTIVE
    assert (certificate.source, certificate.enrolment_label) == (CertificateSource.EST, "phones")
    assert (certificate.common_name, certificate.sans) == (PHONE, ("192.0.2.7",))
    assert (certificate.owner_id, certificate.team_id) == ("owner-1", "team-1")
    assert certificate.next_alert_at is not None, "its owner is told before it ends"
    assert enrolled.version.certificate.public_key() == csr.public_key()
    assert enrolled.job.type is JobType.ISSUANCE
    with world.ports.work() as work:
        (event,) = [e for e in work.audit.page(Query(sort="timestamp")).items if e.action == "est_simple_enroll"]
    assert event.actor == "est-client"
    assert event.request_id == "req-1"
    assert event.resource_id == certificate.id
    expected = {"protocol": "EST", "label": "phones", "client": "anyone", "serial": enrolled.version.serial_number}
    assert expected.items() <= event.details.items()


def test_asking_again_is_answered_with_the_same_certificate_and_nothing_is_issued_twice(world: World) -> None:
    first = issued(world, request(world))
    world.clock.advance(timedelta(minutes=59))

    again = issued(world, request(world))

    assert again == first
    assert len(world.ca.requests) == 1


def test_an_hour_later_the_same_key_gets_a_new_version_of_the_same_certificate(world: World) -> None:
    first = enrol(world, request(world))
    world.clock.advance(timedelta(hours=1, seconds=1))

    again = enrol(world, request(world))

    assert again.certificate.id == first.certificate.id
    assert again.version is not None
    assert again.version.generation == 2
    assert again.job.type is JobType.RENEWAL


def test_another_key_for_the_same_name_is_another_certificate(world: World) -> None:
    one, other = enrol(world, request(world)), enrol(world, request(world, key="another"))

    assert one.certificate.id != other.certificate.id
    assert one.certificate.name != other.certificate.name


@pytest.mark.parametrize("point", ["issue:1", "issue:2"])
def test_a_crash_before_recording_leaves_it_pending_until_a_worker_has_made_it_good(world: World, point: str) -> None:
    crash_at(world, point)
    with pytest.raises(Crash):
        enrol(world, request(world))
    calm(world)

    pending = enrol(world, request(world))
    assert pending.version is None
    assert pending.retry_after == timedelta(seconds=5)
    world.clock.advance(world.ports.lease + timedelta(seconds=1))
    assert jobs.release_lapsed(world.ports) == 1
    assert issuance.process_due(world.ports) == 1

    version = issued(world, request(world))
    assert len({one.plan.serial_number for one in world.ca.requests}) == 1, "the CA was asked for one certificate"
    with world.ports.work() as work:
        assert work.versions.page(version.certificate_id, 10, 0).total == 1


def test_a_crash_after_recording_is_answered_with_what_was_issued(world: World) -> None:
    crash_at(world, "record:1")
    with pytest.raises(Crash):
        enrol(world, request(world))
    calm(world)

    assert issued(world, request(world))
    assert len(world.ca.requests) == 1


def test_a_slow_ca_is_pending_and_then_the_answer(world: World) -> None:
    later = world.clock.now() + timedelta(minutes=10)
    world.ca.answer = lambda _request: Ordered("order 7", later)

    pending = enrol(world, request(world))
    assert pending.version is None
    assert pending.retry_after == timedelta(minutes=10)
    asked_before = enrol(world, request(world))
    assert (asked_before.job.id, asked_before.version) == (pending.job.id, None)

    world.ca.answer = None
    world.clock.advance(timedelta(minutes=10))
    issuance.process_due(world.ports)
    assert issued(world, request(world)).job_id == pending.job.id


def test_a_ca_that_is_away_is_pending(world: World) -> None:
    world.ca.trouble = UpstreamUnavailable("no route")
    assert enrol(world, request(world)).version is None

    world.ca.trouble = None
    world.clock.advance(timedelta(days=1))
    jobs.retry_due(world.ports)
    issuance.process_due(world.ports)
    assert issued(world, request(world))


def test_what_the_ca_refuses_is_told_and_remembered(world: World) -> None:
    world.ca.trouble = UpstreamRejected("not that name")
    with pytest.raises(UpstreamRejected, match="not that name"):
        enrol(world, request(world))
    (job,) = world.jobs()
    while job.next_attempt_at is not None:
        world.clock.advance(timedelta(days=1))
        jobs.retry_due(world.ports)
        issuance.process_due(world.ports)
        (job,) = world.jobs()

    with pytest.raises(Refused, match="not that name"):
        enrol(world, request(world))
    world.ca.trouble = None
    world.clock.advance(timedelta(hours=2))
    assert issued(world, request(world)), "after an hour it is a new request"


def test_a_device_renews_with_another_key_and_keeps_its_names(world: World) -> None:
    first = enrol(world, request(world, sans=("192.0.2.7",)))
    assert first.version is not None

    second = renew(world, request(world, sans=("192.0.2.7",), key="fresh"), first.version)

    assert second.certificate.id == first.certificate.id
    assert second.version is not None
    assert second.version.generation == 2
    now_is = certificates.get(world.ports, ADMIN, first.certificate.id)
    assert now_is.status is CertificateStatus.ACTIVE
    assert now_is.expires_at == second.version.not_after


def test_a_renewal_copies_subject_and_sans_of_what_is_renewed(world: World) -> None:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")
    first = issued(world, request(world, subject=(organisation,)))
    assert first.certificate.subject == names.subject(PHONE), "of the subject only the common name is taken"

    as_issued = renew(world, request(world, sans=(PHONE,), key="two"), first)
    assert as_issued.version is not None
    as_configured = renew(world, request(world, subject=(organisation,), key="three"), first)

    assert as_configured.version is not None
    assert as_configured.version.generation == 3


@pytest.mark.parametrize(
    "other",
    [
        lambda world: request(world, "phone-2.example.com", key="fresh"),
        lambda world: request(world, sans=("phone-2.example.com",), key="fresh"),
        lambda world: request(world, subject=(x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Other"),), key="fresh"),
    ],
    ids=["common name", "SAN", "organisation"],
)
def test_a_renewal_for_other_names_is_refused(
    world: World, other: Callable[[World], x509.CertificateSigningRequest]
) -> None:
    first = issued(world, request(world))

    with pytest.raises(Refused, match="being renewed"):
        renew(world, other(world), first)
    assert len(world.ca.requests) == 1


def test_a_renewal_under_another_label_or_protocol_is_refused(world: World) -> None:
    first = issued(world, request(world))

    with pytest.raises(Refused, match="not enrolled here"):
        renew(world, request(world, key="fresh"), first, label="servers")
    with pytest.raises(Refused, match="not enrolled here"):
        renew(world, request(world, key="fresh"), first, protocol=EnrolmentProtocol.SCEP)


def test_what_is_revoked_or_over_or_unknown_cannot_be_renewed(world: World) -> None:
    first = issued(world, request(world))
    other = issued(world, request(world, key="another"))
    revocation.revoke(world.ports, ADMIN, first.certificate_id, RevocationReason.KEY_COMPROMISE)

    assert enrolment.renewable(world.ports, first.certificate) is None
    with pytest.raises(Refused, match="revoked"):
        enrol(world, request(world, key="fresh"), renews=first, deed=Deed.EST_RENEWS)
    assert enrolment.renewable(world.ports, world.ca.authority.certificate) is None
    world.clock.advance(timedelta(days=90))
    assert enrolment.renewable(world.ports, other.certificate) is None


def test_the_key_of_a_revoked_certificate_does_not_enrol_again(world: World) -> None:
    first = issued(world, request(world))
    revocation.revoke(world.ports, ADMIN, first.certificate_id, RevocationReason.KEY_COMPROMISE)

    for _ in range(2):
        with pytest.raises(Refused):
            enrol(world, request(world))
        world.clock.advance(timedelta(hours=2))


def test_a_transaction_is_one_keys(world: World) -> None:
    enrol(world, request(world), transaction="17")
    with pytest.raises(Conflict, match="another key"):
        enrol(world, request(world, key="another"), transaction="17")


def test_a_device_may_poll_for_its_transaction(world: World) -> None:
    world.ca.answer = lambda _request: Ordered("order 7", None)
    enrol(world, request(world), transaction="17")
    assert enrolment.poll(world.ports, CLIENT, EnrolmentProtocol.EST, "phones", "17").version is None
    world.ca.answer = None
    world.clock.advance(timedelta(minutes=1))
    issuance.process_due(world.ports)

    assert enrolment.poll(world.ports, CLIENT, EnrolmentProtocol.EST, "phones", "17").version is not None
    for label, transaction in (("phones", "18"), ("other", "17")):
        with pytest.raises(NotFound):
            enrolment.poll(world.ports, CLIENT, EnrolmentProtocol.EST, label, transaction)


# --- what is permitted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda world: request(world, "", sans=()), "names nothing"),
        (lambda world: request(world, PHONE, x509.BasicConstraints(ca=True, path_length=None)), "CA certificate"),
        (
            lambda world: request(world, PHONE, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])),
            "codeSigning",
        ),
        (
            lambda world: request(
                world, PHONE, x509.SubjectAlternativeName([x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))])
            ),
            "does not issue",
        ),
        (
            lambda world: request(world, "", x509.SubjectAlternativeName([x509.DNSName("*.*.example.com")])),
            "does not issue",
        ),
    ],
    ids=["no names", "a CA", "another usage", "a strange kind of name", "a bad name"],
)
def test_what_nobody_should_be_issued_is_refused_and_leaves_no_trace(
    world: World, make: Callable[[World], x509.CertificateSigningRequest], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        enrol(world, make(world))

    assert world.jobs() == []
    assert certificates.page(world.ports, ADMIN, Query()).items == ()


def test_a_profile_judges_what_a_device_asks_for(world: World) -> None:
    limited = profile(world, required_san_patterns=(r"phone-[0-9]+\.example\.com",))

    assert issued(world, request(world), profile_id=limited)
    with pytest.raises(Refused, match="bank"):
        enrol(world, request(world, "www.bank.example", key="another"), profile_id=limited)


def test_a_device_may_be_called_what_is_no_name(world: World) -> None:
    clients = profile(world)

    version = issued(world, request(world, "Jane Doe 12"), profile_id=clients)

    assert names.common_name_of(version.certificate.subject) == "Jane Doe 12"
    with pytest.raises(x509.ExtensionNotFound):
        version.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    with pytest.raises(Invalid, match="visible"):
        enrol(world, request(world, "Jane\u202eDoe", key="another"), profile_id=clients)
    with pytest.raises(Refused, match="needs a SAN"):
        enrol(world, request(world, "Jane Doe 13", key="another"))


def test_approval_is_pending_and_then_only_that_key_gets_what_was_approved(world: World) -> None:
    careful = profile(world, requires_approval=True)
    pending = enrol(world, request(world), profile_id=careful)
    assert pending.version is None
    assert pending.job.status is JobStatus.AWAITING_APPROVAL
    assert enrol(world, request(world), profile_id=careful).version is None
    assert world.ca.requests == []

    assert pending.job.approval_id is not None
    approvals.approve(world.ports, ADMIN, pending.job.approval_id)

    assert issued(world, request(world), profile_id=careful).job_id == pending.job.id


def test_what_was_rejected_is_refused_and_nobody_is_asked_again(world: World) -> None:
    careful = profile(world, requires_approval=True)
    pending = enrol(world, request(world), profile_id=careful)
    assert pending.job.approval_id is not None
    approvals.reject(world.ports, ADMIN, pending.job.approval_id, "not ours")

    with pytest.raises(Refused, match="not ours"):
        enrol(world, request(world), profile_id=careful)
    assert len(world.jobs()) == 1


# --- renewal is the device's ------------------------------------------------------------------------------------------


def test_the_schedule_opens_no_job_that_nobody_could_answer(world: World) -> None:
    enrolled = enrol(world, request(world))
    now_is = certificates.get(world.ports, ADMIN, enrolled.certificate.id)
    assert now_is.renew_at is not None
    world.clock.advance(now_is.renew_at - world.clock.now())

    renewal.sweep(world.ports)

    after = certificates.get(world.ports, ADMIN, enrolled.certificate.id)
    assert after.status is CertificateStatus.EXPIRING
    assert "its device renews it" in after.status_reason
    assert after.renew_at is None
    assert len(world.jobs()) == 1
    with pytest.raises(Conflict, match="on the device"):
        renewal.renew(world.ports, ADMIN, enrolled.certificate.id)


def test_the_owner_is_told_that_the_device_is_late_and_before_the_end(world: World) -> None:
    enrol(world, request(world))
    world.clock.advance(timedelta(days=75))
    renewal.sweep(world.ports)
    assert alerts.sweep(world.ports) + watchdog.report(world.ports) > 0

    with world.ports.work() as work:
        messages = [one.message for one in work.notifications.page(Query()).items]
    assert any("should have been renewed" in message for message in messages)
    assert all("The device that enrolled for it renews it, by EST" in message for message in messages)


def test_a_device_renews_what_is_expiring_and_what_failed(world: World) -> None:
    first = issued(world, request(world))
    world.clock.advance(timedelta(days=80))
    renewal.sweep(world.ports)
    world.ca.answer = lambda asked_: Issued(world.ca.authority.certificate)

    with pytest.raises(Refused):
        renew(world, request(world, key="fresh"), first)
    world.ca.answer = None

    assert renew(world, request(world, key="fresher"), first).version is not None


# --- secrets ----------------------------------------------------------------------------------------------------------


def secret(world: World, **changes: object) -> enrolment_secrets.NewSecret:
    wish = evolve(CreateSecret(protocol=EnrolmentProtocol.EST, label="phones"), **changes)  # type: ignore[arg-type]
    return enrolment_secrets.create(world.ports, ADMIN, wish)


def holder(made: enrolment_secrets.NewSecret) -> Client:
    return evolve(CLIENT, name=f"secret {made.record.id}", method="basic", secret_id=made.record.id)


def present(world: World, plain: str, label: str = "phones") -> EnrolmentSecretId:
    return enrolment_secrets.present(world.ports, EnrolmentProtocol.EST, label, plain).id


def test_a_secret_is_kept_as_its_digest_and_known_by_it(world: World) -> None:
    made = secret(world)

    assert present(world, made.plain) == made.record.id
    assert made.plain not in repr(made.record)
    assert len(made.plain) == 32
    for plain, label in ((made.plain + "x", "phones"), (made.plain, "servers"), ("", "phones")):
        with pytest.raises(NotAuthenticated):
            present(world, plain, label)
    world.clock.advance(timedelta(days=1))
    with pytest.raises(NotAuthenticated):
        present(world, made.plain)


def test_a_single_use_secret_is_used_up_by_one_transaction_which_may_be_repeated(world: World) -> None:
    client = holder(secret(world))

    first = enrol(world, request(world), client)
    assert enrol(world, request(world), client).version == first.version
    with pytest.raises(NotAuthenticated, match="has been used"):
        enrol(world, request(world, key="another"), client)


def test_what_was_refused_uses_no_secret_up(world: World) -> None:
    client = holder(secret(world))
    with pytest.raises(Refused):
        enrol(world, request(world, PHONE, x509.BasicConstraints(ca=True, path_length=None)), client)

    assert enrol(world, request(world, key="another"), client).version is not None


def test_a_shared_secret_serves_many_and_says_when_last(world: World) -> None:
    made = secret(world, single_use=False)
    for number in range(3):
        enrol(world, request(world, key=f"key {number}"), holder(made))

    (listed,) = enrolment_secrets.page(world.ports, ADMIN, Query()).items
    assert listed.last_used_at == world.clock.now()


def test_a_bound_secret_is_good_for_its_names_only(world: World) -> None:
    client = holder(secret(world, single_use=False, common_name=PHONE.upper(), sans=("192.0.2.7",)))

    assert enrol(world, request(world, sans=("192.0.2.7", PHONE)), client).version is not None
    for other in (request(world, "phone-2.example.com", key="b"), request(world, sans=("192.0.2.8",), key="b")):
        with pytest.raises(Refused, match="secret"):
            enrol(world, other, client)


def test_a_removed_secret_is_good_for_nothing(world: World) -> None:
    made = secret(world, single_use=False)
    enrolment_secrets.remove(world.ports, ADMIN, made.record.id)

    with pytest.raises(NotAuthenticated):
        present(world, made.plain)
    with pytest.raises(NotAuthenticated):
        enrol(world, request(world), holder(made))
    shown_before = secret(world, single_use=False)
    assert present(world, shown_before.plain)
    enrolment_secrets.remove(world.ports, ADMIN, shown_before.record.id)
    with pytest.raises(NotAuthenticated):
        enrol(world, request(world), holder(shown_before))
    with pytest.raises(NotFound):
        enrolment_secrets.remove(world.ports, ADMIN, made.record.id)


def test_old_secrets_are_forgotten(world: World) -> None:
    secret(world)
    world.clock.advance(timedelta(days=1) + enrolment_secrets.KEPT)
    assert enrolment_secrets.purge(world.ports) == 0
    world.clock.advance(timedelta(seconds=1))
    assert enrolment_secrets.purge(world.ports) == 1


def test_secrets_are_not_for_limited_keys(world: World) -> None:
    limited = Principal("bob", Role.OPERATOR, scope=Scope(team_ids=frozenset({TeamId("team-1")})))
    assert limited.scope != EVERYTHING
    with pytest.raises(Forbidden):
        enrolment_secrets.create(world.ports, limited, CreateSecret(protocol=EnrolmentProtocol.EST))
    with pytest.raises(Forbidden):
        enrolment_secrets.page(world.ports, limited, Query())


@pytest.mark.parametrize("life", [timedelta(0), timedelta(days=366)], ids=["none", "over a year"])
def test_a_secret_lives_for_some_time_and_not_for_ever(world: World, life: timedelta) -> None:
    with pytest.raises(Invalid, match="ttl_seconds"):
        secret(world, life=life)


def test_a_certificate_that_was_not_asked_for_is_not_believed(world: World) -> None:
    def other(given: IssueRequest) -> Issued:
        plan = evolve(given.plan, sans=(*given.plan.sans, *names.general_names(("other.example.com",))))
        return Issued(ca.sign_leaf(world.ca.authority, plan))

    world.ca.answer = other
    with pytest.raises(Refused, match="not ordered"):
        enrol(world, request(world))
