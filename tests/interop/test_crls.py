"""OpenSSL follows our CRLs: complete, in parts, with deltas, on hold and released; and they are what cryptography's
builder would have made."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl_core.ids import IssuerId
from certctl_core.models.certificates import ManagedCertificate, RevocationReason
from certctl_core.models.crls import CrlRules
from certctl_core.pki import bundle, ca, crl, distribution, signing
from certctl_core.pki.ca import Authority
from certctl_core.pki.distribution import Place
from certctl_core.pki.keys import KeyKind
from certctl_core.usecases import crls, revocation
from tests.core.usecases.world import ADMIN, START, World, make_world
from tests.interop.peers import Peer, peer

pytestmark = pytest.mark.interop

HERE = "http://pki.example.com"
ISSUER = IssuerId("iss-local")
PLAIN = Place()


@define
class Party:
    """A control plane with an intermediate CA, and a relying party with OpenSSL that trusts that CA alone."""

    world: World
    openssl: Peer
    folder: Path

    def rules(self, **rules: Any) -> None:
        self.world.ports = evolve(
            self.world.ports, public_url=HERE, crls=CrlRules(**{"deltas_from": None, "partitions": 1} | rules)
        )
        crls.sweep(self.world.ports)

    def issued(self, name: str) -> ManagedCertificate:
        agent = self.world.agent(name)
        certificate = self.world.certificate(self.world.target(agent), name=name)
        self.world.issued(certificate, agent, name)
        return certificate

    def leaf(self, certificate: ManagedCertificate) -> x509.Certificate:
        with self.world.ports.work() as work:
            version = work.versions.latest(certificate.id)
        assert version is not None
        return version.certificate

    def place(self, certificate: ManagedCertificate) -> Place:
        """Where the certificate says that its CRL is."""
        (point,) = self.leaf(certificate).extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert point.full_name is not None
        found = distribution.named_by(point.full_name[0].value, ISSUER)
        assert found is not None
        return found

    def revoke(self, certificate: ManagedCertificate, reason: RevocationReason = RevocationReason.SUPERSEDED) -> None:
        revocation.revoke(self.world.ports, ADMIN, certificate.id, reason)

    def der(self, place: Place = PLAIN, *, is_delta: bool = False) -> bytes:
        stored = crls.published(self.world.ports, ISSUER, place, is_delta=is_delta)
        assert stored is not None
        return b"".join(crls.content(self.world.ports, stored))

    def verify(self, certificate: ManagedCertificate, *lists: bytes, deltas: bool = False) -> str:
        """What OpenSSL says of a certificate, given these CRLs, now by the control plane's clock."""
        (self.folder / "ca.pem").write_text(bundle.to_pem(self.world.ca.authority.certificate))
        (self.folder / "leaf.pem").write_text(bundle.to_pem(self.leaf(certificate)))
        pems = [crl.read(one).public_bytes(Encoding.PEM) for one in lists]
        (self.folder / "lists.pem").write_bytes(b"".join(pems))
        command: list[str] = [
            "verify", "-partial_chain", "-trusted", "ca.pem", "-crl_check", *(["-use_deltas"] if deltas else []),
            "-attime", str(int(self.world.clock.now().timestamp())), "-CRLfile", "lists.pem", "leaf.pem",
        ]  # fmt: skip
        return self.openssl.any(*command, folder=self.folder)


def _intermediate(kind: KeyKind) -> Authority:
    root = ca.create_root("Test root", kind, START - timedelta(days=2), timedelta(days=3650))
    return ca.create_intermediate(root, "Test CA", kind, START - timedelta(days=1), timedelta(days=365))


@pytest.fixture(params=[KeyKind.ECDSA_P256, KeyKind.RSA_2048], ids=lambda kind: str(kind.value))
def party(request: pytest.FixtureRequest, tmp_path: Path) -> Party:
    world = make_world()
    world.ca.authority = _intermediate(request.param)
    made = Party(world, peer("openssl"), tmp_path)
    made.rules()
    return made


def test_openssl_reads_and_verifies_what_is_published(party: Party) -> None:
    certificate = party.issued("a")
    since = party.world.clock.now() - timedelta(days=3)
    revocation.revoke(party.world.ports, ADMIN, certificate.id, RevocationReason.KEY_COMPROMISE, since)
    crls.sweep(party.world.ports)
    (party.folder / "list.crl").write_bytes(party.der())
    (party.folder / "ca.pem").write_text(bundle.to_pem(party.world.ca.authority.certificate))
    said = party.openssl.run(
        "crl", "-inform", "DER", "-in", "list.crl", "-CAfile", "ca.pem", "-noout", "-text", folder=party.folder
    )
    assert "verify OK" in said
    assert "Key Compromise" in said
    assert f"{since:%b %e %H:%M:%S %Y} GMT" in said


def test_good_revoked_held_and_released(party: Party) -> None:
    good, held = party.issued("good"), party.issued("held")
    assert "leaf.pem: OK" in party.verify(held, party.der())
    party.revoke(held, RevocationReason.CERTIFICATE_HOLD)
    crls.sweep(party.world.ports)
    assert "certificate revoked" in party.verify(held, party.der())
    assert "leaf.pem: OK" in party.verify(good, party.der())
    revocation.release(party.world.ports, ADMIN, held.id)
    crls.sweep(party.world.ports)
    assert "leaf.pem: OK" in party.verify(held, party.der())


def test_a_part_is_believed_for_its_own_certificates_only(party: Party) -> None:
    early = party.issued("early")
    party.rules(partitions=3)
    party.world.clock.advance(timedelta(minutes=5))
    party.rules(partitions=3)
    late = [party.issued(f"late-{number}") for number in range(6)]
    revoked = next(one for one in late[1:] if party.place(one) != party.place(late[0]))
    party.revoke(revoked)
    party.revoke(early)
    crls.sweep(party.world.ports)
    good = late[0]

    assert "leaf.pem: OK" in party.verify(good, party.der(party.place(good)))
    assert "certificate revoked" in party.verify(revoked, party.der(party.place(revoked)))
    assert "certificate revoked" in party.verify(early, party.der())
    for wrong in (party.place(good), PLAIN):
        said = party.verify(revoked, party.der(wrong))
        assert "CRL scope" in said
        assert "certificate revoked" not in said
    every_part = [party.der(Place(partition=number)) for number in (1, 2, 3)]
    assert "certificate revoked" in party.verify(revoked, party.der(), *every_part)
    assert "leaf.pem: OK" in party.verify(good, party.der(), *every_part)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_delta_adds_to_the_complete_crl_that_is_held(party: Party, parts: int) -> None:
    party.rules(deltas_from=0, partitions=parts)
    party.world.clock.advance(timedelta(minutes=5))
    party.rules(deltas_from=0, partitions=parts)
    held, other = party.issued("held"), party.issued("other")
    party.revoke(held, RevocationReason.CERTIFICATE_HOLD)
    crls.sweep(party.world.ports)
    base = {one.id: party.der(party.place(one)) for one in (held, other)}
    party.world.clock.advance(timedelta(minutes=10))
    revocation.release(party.world.ports, ADMIN, held.id)
    party.revoke(other)
    crls.sweep(party.world.ports)

    def delta(certificate: ManagedCertificate) -> bytes:
        return party.der(party.place(certificate), is_delta=True)

    assert "certificate revoked" in party.verify(held, base[held.id])
    assert "leaf.pem: OK" in party.verify(held, base[held.id], delta(held), deltas=True)
    assert "leaf.pem: OK" in party.verify(other, base[other.id])
    assert "certificate revoked" in party.verify(other, base[other.id], delta(other), deltas=True)


def test_a_complete_crl_alone_is_enough_for_who_uses_deltas(party: Party) -> None:
    party.rules(deltas_from=0)
    certificate = party.issued("a")
    party.revoke(certificate)
    crls.sweep(party.world.ports)
    said = party.verify(certificate, party.der(), party.der(is_delta=True), deltas=True)
    assert "certificate revoked" in said


def test_what_is_published_is_what_cryptographys_builder_makes(party: Party) -> None:
    party.rules(deltas_from=0, partitions=2)
    party.world.clock.advance(timedelta(minutes=5))
    party.rules(deltas_from=0, partitions=2)
    some = [party.issued(f"n-{number}") for number in range(4)]
    for certificate, reason in zip(some, RevocationReason, strict=False):
        party.revoke(certificate, reason)
    crls.sweep(party.world.ports)
    for place in (PLAIN, Place(partition=1), Place(partition=2)):
        for is_delta in (False, True):
            der = party.der(place, is_delta=is_delta)
            assert _rebuilt(party.world.ca.authority, der) == der


def _rebuilt(authority: Authority, der: bytes) -> bytes:
    """The same list, made anew by the library of what it says."""
    read = x509.load_der_x509_crl(der)
    assert read.next_update_utc is not None
    builder = (
        x509.CertificateRevocationListBuilder(revoked_certificates=list(read))
        .issuer_name(authority.certificate.subject)
        .last_update(read.last_update_utc)
        .next_update(read.next_update_utc)
    )
    for extension in read.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    made = builder.sign(
        authority.private_key,
        signing.hash_for(authority.private_key),
        ecdsa_deterministic=signing.deterministic(authority.private_key),
    )
    return made.public_bytes(Encoding.DER)
