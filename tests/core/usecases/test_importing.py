"""Import: certificates are kept as they are, once, and nothing is done to them by itself."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp

from certctl_core.errors import Conflict, Duplicate, Invalid
from certctl_core.ids import IssuerId, OwnerId, ProfileId, RenewalPolicyId, TargetId, TeamId
from certctl_core.models.access import Principal, Role, Scope
from certctl_core.models.catalog import Team
from certctl_core.models.certificates import CertificateSource, CertificateStatus, CertificateVersion, RevocationReason
from certctl_core.pki import ca, names, ocsp
from certctl_core.pki.plan import LeafPlan
from certctl_core.ports.store import Query
from certctl_core.usecases import certificates, importing, renewal, revocation
from certctl_core.usecases import ocsp as answering
from certctl_core.usecases.candidates import Entry, Failed
from certctl_core.usecases.certificates import UpdateCertificate
from certctl_core.usecases.importing import ImportCertificates, Result
from tests import strangers
from tests.core.usecases.world import ADMIN, START, World
from tests.strangers import DAY, certificate, dns, pem


def wish(*pems: str, **fields: object) -> ImportCertificates:
    common = {
        "owner_id": OwnerId("owner-1"),
        "team_id": TeamId("team-1"),
        "issuer_id": IssuerId("iss-local"),
        "renewal_policy_id": RenewalPolicyId("rp-test"),
        "entries": tuple(Entry(one) for one in pems),
    }
    return ImportCertificates(**common | fields)  # type: ignore[arg-type]


def imported(world: World, *pems: str, **fields: object) -> Result:
    return importing.import_certificates(world.ports, ADMIN, wish(*pems, **fields))


def site(name: str = "www.example.org", **how: object) -> x509.Certificate:
    return certificate(name, dns(name, f"alias.{name}"), **how)  # type: ignore[arg-type]


def own(world: World, name: str = "own.example.org", serial: str = "abc123") -> x509.Certificate:
    """A certificate of the issuer's own CA that the store does not know."""
    plan = LeafPlan(
        common_name=name,
        sans=names.names_of(name, ()),
        public_key=strangers.key().public_key(),
        serial_number=serial,
        not_before=START,
        not_after=START + 90 * DAY,
    )
    return ca.sign_leaf(world.ca.authority, plan)


def version_of(world: World, certificate_id: str) -> CertificateVersion:
    (version,) = certificates.versions(world.ports, ADMIN, certificate_id, 10, 0).items
    return version


def test_a_certificate_is_managed_with_what_it_says(world: World) -> None:
    leaf, above = site(serial=0x00ABCD), strangers.authority()

    (one,) = imported(world, pem(leaf, above), environment="production", tags={"a": "b"}).imported

    managed, version = world.now_is(one.certificate), version_of(world, one.certificate.id)
    assert (one.certificate, one.version) == (managed, version)
    assert (managed.name, managed.common_name) == ("www.example.org", "www.example.org")
    assert managed.sans == ("www.example.org", "alias.www.example.org")
    assert (managed.environment, managed.tags, managed.source) == ("production", {"a": "b"}, CertificateSource.IMPORT)
    assert (managed.status, managed.generation, managed.target_ids) == (CertificateStatus.ACTIVE, 1, ())
    assert (managed.valid_from, managed.expires_at) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    assert managed.last_renewal_at is None
    assert (version.serial_number, version.fingerprint_sha256) == ("abcd", leaf.fingerprint(hashes.SHA256()).hex())
    assert (version.not_before, version.not_after) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    assert (version.certificate, version.chain) == (leaf, (above,))
    assert (version.key_algorithm, version.key_size, version.agent_id, version.csr) == ("ECDSA", 256, None, None)


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (timedelta(days=1), CertificateStatus.ACTIVE),
        (timedelta(days=80), CertificateStatus.EXPIRING),
        (timedelta(days=91), CertificateStatus.EXPIRED),
    ],
)
def test_its_dates_say_in_which_state_it_is(world: World, age: timedelta, status: CertificateStatus) -> None:
    leaf = site(begins=START - age)
    (one,) = imported(world, pem(leaf)).imported
    managed = one.certificate
    assert managed.status is status
    is_over = status is CertificateStatus.EXPIRED
    assert (managed.renew_at is None, managed.next_alert_at is None) == (is_over, is_over)
    if status is CertificateStatus.ACTIVE:
        assert managed.renew_at is not None
        assert START < managed.renew_at < leaf.not_valid_after_utc
    if status is CertificateStatus.EXPIRING:
        assert managed.next_alert_at == START, "whose end is near is told of at once"
    renewal.sweep(world.ports)
    renewal.expire(world.ports)
    assert world.now_is(managed).status is status
    assert world.jobs() == [], "nothing is issued because of an import"


def test_what_was_imported_is_renewed_like_any_other_once_it_has_a_target(world: World) -> None:
    agent = world.agent()
    (one,) = imported(world, pem(site(begins=START - timedelta(days=91)))).imported
    targets: tuple[TargetId, ...] = (world.target(agent).id,)
    certificates.update(world.ports, ADMIN, one.certificate.id, UpdateCertificate(target_ids=targets))
    renewal.sweep(world.ports)
    world.submit(one.certificate, agent)
    assert world.now_is(one.certificate).status is CertificateStatus.ACTIVE
    newest, old = certificates.versions(world.ports, ADMIN, one.certificate.id, 10, 0).items
    assert (newest.is_foreign, old.is_foreign) == (False, True)
    assert names.same_names(
        names.general_names(one.certificate.sans),
        newest.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value,
    )


# --- duplicates -------------------------------------------------------------------------------------------------------


def test_importing_again_imports_nothing(world: World) -> None:
    pems = strangers.fleet(3)
    first = imported(world, *pems)
    again = imported(world, *pems, environment="other", name_template="again {cn}")
    assert (len(first.imported), again.imported) == (3, ())
    assert [(one.index, one.certificate_id) for one in again.skipped] == [
        (index, one.certificate.id) for index, one in enumerate(first.imported)
    ]
    assert "managed already" in again.skipped[0].reason
    assert world.actions().count("certificate_imported") == 3


def test_what_comes_twice_is_imported_once(world: World) -> None:
    one, other = strangers.fleet(2)
    result = imported(world, one, other, one)
    assert [entry.index for entry in result.imported] == [0, 1]
    assert [(entry.index, entry.reason) for entry in result.skipped] == [(2, "it is the same as entry 0")]


def test_what_certctl_issued_itself_is_known(world: World) -> None:
    agent = world.agent()
    issued = world.certificate(world.target(agent))
    version = world.issued(issued, agent).version
    assert version is not None
    (skipped,) = imported(world, pem(version.certificate)).skipped
    assert skipped.certificate_id == issued.id


def test_what_others_have_is_not_told_by_id(world: World) -> None:
    (one,) = strangers.fleet(1)
    imported(world, one)
    with world.ports.work() as work:
        now = world.clock.now()
        work.teams.add(Team(id=TeamId("team-2"), name="two", created_at=now, updated_at=now))
    limited = Principal("lena", Role.OPERATOR, scope=Scope(team_ids=frozenset({TeamId("team-2")})))
    result = importing.import_certificates(world.ports, limited, wish(one, team_id=TeamId("team-2")))
    (skipped,) = result.skipped
    assert (skipped.reason, skipped.certificate_id) == ("it is managed already", None)


def test_names_that_are_taken_get_an_end_of_their_own(world: World) -> None:
    leafs = [site(serial=number) for number in (1, 2, 3)]
    world.certificate(name="www.example.org")
    archived = world.certificate(name="free")
    certificates.archive(world.ports, ADMIN, archived.id)
    result = imported(world, *(pem(leaf) for leaf in leafs[:2]))
    more = imported(world, pem(leafs[2]))
    free = imported(world, pem(site("other")), name_template="free")
    fingerprints = [leaf.fingerprint(hashes.SHA256()).hex()[:8] for leaf in leafs]
    found = [one.certificate.name for one in (*result.imported, *more.imported, *free.imported)]
    assert found == [*(f"www.example.org-{fingerprint}" for fingerprint in fingerprints), "free"]


def test_somebody_who_is_faster_does_not_spoil_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another import of the same certificates commits between the look and the write."""
    pems = strangers.fleet(2)
    inner = importing._write
    tries: list[int] = []

    def late(*arguments: object) -> Result:
        tries.append(1)
        if len(tries) == 1:
            inner(*arguments)  # type: ignore[arg-type]
            raise Duplicate("somebody else was faster")
        return inner(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(importing, "_write", late)
    result = imported(world, *pems)
    assert (len(tries), result.imported, len(result.skipped)) == (2, (), 2)
    assert world.actions().count("certificate_imported") == 2


# --- hostile and useless entries --------------------------------------------------------------------------------------


def test_a_bad_entry_spoils_no_other(world: World) -> None:
    good = pem(site())
    result = imported(world, "rubbish", good, pem(strangers.authority()), "", good + "-----BEGIN PRIVATE KEY-----\n")
    assert [one.index for one in result.imported] == [1]
    assert [(one.index, "CA certificate of 'CN=Stranger CA'" in one.reason) for one in result.skipped] == [(2, True)]
    assert [one.index for one in result.failed] == [0, 3, 4]
    assert all(isinstance(one, Failed) and one.error for one in result.failed)
    assert world.actions().count("certificate_import_initiated") == 1
    assert world.actions().count("certificate_imported") == 1


def test_odd_names_are_kept_and_do_not_stand_in_the_way_of_other_changes(world: World) -> None:
    odd = certificate("Olga's laptop", x509.SubjectAlternativeName([x509.DirectoryName(strangers.name("Olga"))]))
    (one,) = imported(world, pem(odd)).imported
    assert (one.certificate.common_name, one.certificate.sans) == ("Olga's laptop", ("dirName:CN=Olga",))
    changed = certificates.update(
        world.ports, ADMIN, one.certificate.id, UpdateCertificate(environment="production", name="laptop")
    )
    assert (changed.environment, changed.sans) == ("production", ("dirName:CN=Olga",))
    with pytest.raises(Invalid, match="common_name"):
        certificates.update(world.ports, ADMIN, changed.id, UpdateCertificate(common_name="still not a name"))


# --- whose it is, and who issued it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner_id", OwnerId("nobody")),
        ("team_id", TeamId("nobody")),
        ("issuer_id", IssuerId("nobody")),
        ("renewal_policy_id", RenewalPolicyId("nobody")),
        ("profile_id", ProfileId("nobody")),
        ("name_template", "{nobody}"),
    ],
)
def test_what_all_have_in_common_must_be_there(world: World, field: str, value: str) -> None:
    with pytest.raises(Invalid) as refusal:
        imported(world, pem(site()), **{field: value})
    assert [problem.field for problem in refusal.value.fields] == [field]
    assert certificates.page(world.ports, ADMIN, Query()).total == 0


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        (Scope(team_ids=frozenset({TeamId("team-2")})), "team_id"),
        (Scope(environments=frozenset({"production"})), "environment"),
    ],
)
def test_a_limited_key_imports_within_its_limits(world: World, scope: Scope, field: str) -> None:
    limited = Principal("lena", Role.OPERATOR, scope=scope)
    with pytest.raises(Invalid) as refusal:
        importing.import_certificates(world.ports, limited, wish(pem(site())))
    assert field in [problem.field for problem in refusal.value.fields]


def status_by_ocsp(world: World, leaf: x509.Certificate) -> x509_ocsp.OCSPCertStatus:
    authority = world.ca.authority.chain[0]
    request = x509_ocsp.OCSPRequestBuilder().add_certificate(leaf, authority, hashes.SHA256()).build()
    asked = ocsp.read_request(request.public_bytes(Encoding.DER))
    return x509_ocsp.load_der_ocsp_response(answering.respond(world.ports, "iss-local", asked)).certificate_status


def test_an_issuer_vouches_only_for_what_its_key_signed(world: World) -> None:
    """Somebody makes a certificate in the issuer's name, with a serial number of their choice, and imports it."""
    forged = site(issuer="Test CA", serial=0xBAD)
    genuine = own(world, serial="600d")
    result = imported(world, pem(forged), pem(genuine, *world.ca.authority.chain))
    assert [one.version.is_foreign for one in result.imported] == [True, False]
    assert status_by_ocsp(world, forged) is x509_ocsp.OCSPCertStatus.UNKNOWN
    assert status_by_ocsp(world, genuine) is x509_ocsp.OCSPCertStatus.GOOD
    with pytest.raises(Conflict, match="Have that CA revoke it"):
        revocation.revoke(world.ports, ADMIN, result.imported[0].certificate.id, RevocationReason.SUPERSEDED)
    revocation.revoke(world.ports, ADMIN, result.imported[1].certificate.id, RevocationReason.SUPERSEDED)
    assert status_by_ocsp(world, genuine) is x509_ocsp.OCSPCertStatus.REVOKED


def test_a_foreign_serial_number_is_not_in_the_way_of_the_issuer(world: World) -> None:
    """The number of an issued certificate, and one that is issued afterwards."""
    agent = world.agent()
    issued = world.certificate(world.target(agent))
    version = world.issued(issued, agent).version
    assert version is not None
    taken = int(version.serial_number, 16)
    result = imported(world, pem(site(serial=taken)), pem(site("b.example.org", serial=0xABC123)))
    assert len(result.imported) == 2
    after = imported(world, pem(own(world, serial="abc123")))
    assert [one.version.is_foreign for one in after.imported] == [False]


def test_a_serial_number_of_the_issuer_is_there_once(world: World) -> None:
    first, second = own(world, "a.example.org"), own(world, "b.example.org")
    (one,) = imported(world, pem(first)).imported
    result = imported(world, pem(second))
    assert [(skipped.index, skipped.certificate_id) for skipped in result.skipped] == [(0, one.certificate.id)]
    together = imported(world, *(pem(own(world, name, serial="77")) for name in ("c.example.org", "d.example.org")))
    assert (len(together.imported), len(together.skipped)) == (1, 1)


def test_where_it_was_found_is_a_tag(world: World) -> None:
    entries = (Entry(pem(site()), "/etc/ssl/www.pem"),)
    (one,) = imported(world, entries=entries, tags={"a": "b"}).imported
    assert one.certificate.tags == {importing.SOURCE_TAG: "/etc/ssl/www.pem", "a": "b"}


def names_of(result: Result) -> Sequence[str]:
    return [one.certificate.name for one in result.imported]


def test_order_and_index_are_those_of_the_request(world: World) -> None:
    pems = [pem(site(f"{letter}.example.org")) for letter in "zax"]
    result = imported(world, *pems)
    assert names_of(result) == ["z.example.org", "a.example.org", "x.example.org"]
    assert [one.index for one in result.imported] == [0, 1, 2]


def test_a_certificate_valid_for_ever_is_borne(world: World) -> None:
    """RFC 5280 section 4.1.2.5: 99991231235959Z is a certificate with no well-defined expiration date."""
    forever = site(begins=START - DAY, life=datetime(9999, 12, 31, 23, 59, 59, tzinfo=START.tzinfo) - (START - DAY))
    (one,) = imported(world, pem(forever)).imported
    assert one.certificate.status is CertificateStatus.ACTIVE
    assert evolve(one.certificate, name="x").expires_at == forever.not_valid_after_utc
