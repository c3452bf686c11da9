"""Revocation, the CRL and OCSP answers made from our own records."""

from datetime import timedelta

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp

from certctl_core.errors import Conflict, IllegalTransition
from certctl_core.ids import VersionId
from certctl_core.models.certificates import CertificateStatus, CertificateVersion, RevocationReason
from certctl_core.models.jobs import JobStatus
from certctl_core.pki import ca, ocsp
from certctl_core.pki.distribution import Place
from certctl_core.usecases import crls, revocation
from certctl_core.usecases import ocsp as answering
from tests.core.usecases.world import ADMIN, World


def ask(world: World, certificate: x509.Certificate) -> x509_ocsp.OCSPResponse:
    authority = world.ca.authority.chain[0]
    request = x509_ocsp.OCSPRequestBuilder().add_certificate(certificate, authority, hashes.SHA256()).build()
    asked = ocsp.read_request(request.public_bytes(Encoding.DER))
    return x509_ocsp.load_der_ocsp_response(answering.respond(world.ports, "iss-local", asked))


def published(world: World) -> bytes:
    """The complete CRL, after the loop has run."""
    crls.sweep(world.ports)
    stored = crls.first(world.ports, "iss-local", Place())
    assert stored is not None
    return b"".join(crls.content(world.ports, stored))


def serials_on(crl_der: bytes) -> set[int]:
    return {entry.serial_number for entry in x509.load_der_x509_crl(crl_der)}


def test_a_revoked_certificate_is_on_the_next_crl_and_revoked_by_ocsp(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    version = world.issued(certificate, agent).version
    assert version is not None
    serial = version.certificate.serial_number
    assert serial not in serials_on(published(world))
    assert ask(world, version.certificate).certificate_status is x509_ocsp.OCSPCertStatus.GOOD

    revoked = revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.KEY_COMPROMISE)

    assert revoked.status is CertificateStatus.REVOKED
    assert serial in serials_on(published(world))
    answer = ask(world, version.certificate)
    assert answer.certificate_status is x509_ocsp.OCSPCertStatus.REVOKED
    assert answer.revocation_reason is x509.ReasonFlags.key_compromise
    assert answer.revocation_time_utc == world.clock.now()


def test_every_unexpired_version_of_every_key_holder_is_revoked_and_open_jobs_end(world: World) -> None:
    first, second = world.agent("one"), world.agent("two")
    certificate = world.certificate(world.target(first), world.target(second))
    one = world.issued(certificate, first, "k1").version
    two = world.submit(certificate, second, "k2").version
    assert one is not None
    assert two is not None

    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)

    wanted = {one.certificate.serial_number, two.certificate.serial_number}
    assert wanted <= serials_on(published(world))
    assert not [job for job in world.jobs() if job.status in (JobStatus.PENDING, JobStatus.AWAITING_CSR)]


def test_an_expired_certificate_leaves_after_one_more_crl(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    version = world.issued(certificate, agent).version
    assert version is not None
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.UNSPECIFIED)
    world.clock.advance(timedelta(days=100))
    assert version.certificate.serial_number in serials_on(published(world))
    world.clock.advance(timedelta(days=1))
    assert serials_on(published(world)) == set()


def test_a_serial_number_we_did_not_issue_is_unknown(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    world.issued(certificate, agent)
    (request,) = world.ca.requests
    stranger = ca.sign_leaf(world.ca.authority, evolve(request.plan, serial_number="abc123"))
    assert ask(world, stranger).certificate_status is x509_ocsp.OCSPCertStatus.UNKNOWN


def test_revoking_twice_or_before_anything_was_issued_is_refused(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    with pytest.raises(Conflict, match="nothing has been issued"):
        revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    world.issued(certificate, agent)
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    with pytest.raises(IllegalTransition, match="Revoked"):
        revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)


def test_what_was_revoked_shortly_before_its_end_is_on_a_crl_made_after_it(world: World) -> None:
    """RFC 5280 section 3.3: an entry stays until it was on a CRL issued beyond the certificate's validity."""
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    version = world.issued(certificate, agent).version
    assert version is not None
    world.clock.present = version.not_after - timedelta(minutes=1)
    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.KEY_COMPROMISE)
    world.clock.advance(timedelta(hours=1))
    assert version.certificate.serial_number in serials_on(published(world))


def test_a_client_whose_clock_is_slow_believes_a_fresh_crl_and_a_fresh_answer(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    version = world.issued(certificate, agent).version
    assert version is not None
    slow = world.clock.now() - timedelta(minutes=4)
    assert x509.load_der_x509_crl(published(world)).last_update_utc <= slow
    assert ask(world, version.certificate).this_update_utc <= slow


def imported(world: World, like: CertificateVersion, **fields: object) -> CertificateVersion:
    """The same certificate, as if another CA had issued it and it had been imported."""
    foreign = evolve(
        like,
        id=VersionId("certver-foreign"),
        generation=like.generation + 1,
        agent_id=None,
        job_id=None,
        attempt_id=None,
        fingerprint_sha256="f0" * 32,
        is_foreign=True,
        **fields,
    )
    with world.ports.work() as work:
        work.versions.add(foreign)
    return foreign


def test_an_issuer_answers_only_for_what_its_own_ca_issued(world: World) -> None:
    agent = world.agent()
    certificate = world.certificate(world.target(agent))
    version = world.issued(certificate, agent).version
    assert version is not None
    stranger = ca.sign_leaf(world.ca.authority, evolve(world.ca.requests[0].plan, serial_number="abc123"))

    imported(world, version, serial_number="abc123")

    assert ask(world, stranger).certificate_status is x509_ocsp.OCSPCertStatus.UNKNOWN
    assert ask(world, version.certificate).certificate_status is x509_ocsp.OCSPCertStatus.GOOD


def test_revoking_spares_the_serial_numbers_of_foreign_certificates(world: World) -> None:
    agent = world.agent()
    target = world.target(agent)
    other, certificate = world.certificate(target, name="other"), world.certificate(target)
    innocent, version = world.issued(other, agent).version, world.issued(certificate, agent).version
    assert innocent is not None
    assert version is not None
    imported(world, version, serial_number=innocent.serial_number)

    revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)

    assert serials_on(published(world)) == {version.certificate.serial_number}
    assert ask(world, innocent.certificate).certificate_status is x509_ocsp.OCSPCertStatus.GOOD


def test_what_only_a_foreign_ca_issued_cannot_be_revoked_here(world: World) -> None:
    agent = world.agent()
    target = world.target(agent)
    source, certificate = world.certificate(target, name="source"), world.certificate(target)
    version = world.issued(source, agent).version
    assert version is not None
    imported(world, evolve(version, certificate_id=certificate.id))
    with pytest.raises(Conflict, match=r"Test CA.*Have that CA revoke it"):
        revocation.revoke(world.ports, ADMIN, certificate.id, RevocationReason.SUPERSEDED)
    assert world.now_is(certificate).status is CertificateStatus.PENDING


def test_of_many_those_that_cannot_be_revoked_keep_no_other_from_it(world: World) -> None:
    agent = world.agent()
    target = world.target(agent)
    issued, revoked, blank = (world.certificate(target, name=name) for name in ("issued", "revoked", "blank"))
    for certificate in (issued, revoked):
        world.issued(certificate, agent)
    revocation.revoke(world.ports, ADMIN, revoked.id, RevocationReason.KEY_COMPROMISE)

    with world.ports.work() as work:
        held = work.certificates.lock_many([issued.id, revoked.id, blank.id])
        outcomes = revocation.revoke_many(
            work, ADMIN, [held[c.id] for c in (revoked, issued, blank)], RevocationReason.SUPERSEDED, world.clock.now()
        )

    assert [one.certificate.id for one in outcomes] == [revoked.id, issued.id, blank.id]
    assert [type(one.problem) for one in outcomes] == [IllegalTransition, type(None), Conflict]
    assert outcomes[1].certificate == world.now_is(issued)
    assert world.now_is(issued).revocation_reason is RevocationReason.SUPERSEDED
    assert world.now_is(revoked).revocation_reason is RevocationReason.KEY_COMPROMISE
    assert world.now_is(blank).status is CertificateStatus.PENDING
    assert len(serials_on(published(world))) == 2
    assert world.actions().count("certificate_revoked") == 2
